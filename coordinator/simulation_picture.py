"""A dry run as one picture: the queue over time and the load of each agent, in one SVG file of its own.

No script, no font and no address in it; light and dark by the reader's own setting; every text escaped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from .cli.output import ago, safe
from .simulation_figures import PRIORITIES, figures, load_of_the_week, queue_curve
from .simulation_record import Dry

__all__ = ["picture"]

WIDE, LEFT, RIGHT = 960, 150, 20
PLOT_H, ROW_H = 180, 18
COLUMNS = 400
STYLE = """
  :root { color-scheme: light dark }
  text { font: 12px system-ui, sans-serif; fill: #1c2430 } .h { font-size: 17px; font-weight: 600 } .s { fill: #5a6675 }
  .bg { fill: #fff } .line { fill: none; stroke: #1f6feb; stroke-width: 1.5 } .area { fill: #1f6feb; opacity: .18 }
  .axis { stroke: #b8c1cc; stroke-width: 1 } .cell { fill: #1f6feb } .off { fill: #e9edf2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e9f0 } .s { fill: #9aa7b6 } .bg { fill: #11161d } .line { stroke: #6cb0ff } .area { fill: #6cb0ff }
    .axis { stroke: #47525f } .cell { fill: #6cb0ff } .off { fill: #1d2530 }
  }
"""


def picture(dry: Dry, found: dict[str, Any] | None = None) -> str:
    """The SVG document."""
    found = found or figures(dry)
    agents = load_of_the_week(dry)
    height = 120 + PLOT_H + 70 + ROW_H * len(agents) + 60
    t = found["tickets"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" width="{WIDE}" height="{height}" '
        f'role="img" aria-label="{_text("Dry run of team " + found["team"])}">',
        f"<style>{STYLE}</style>",
        f'<rect class="bg" width="{WIDE}" height="{height}"/>',
        _say(20, 30, f"Dry run of team {found['team']}", "h"),
        _say(20, 50, f"{_when(found['from'])} to {_when(found['to'])} UTC · {t['sent']:,} tickets · "
                     f"{t.get('resolved', 0):,} resolved · {t['open']:,} open at the end", "s"),
        _say(20, 70, " · ".join(_wait(p, found["waiting"][p]) for p in PRIORITIES if found["waiting"][p]["tickets"])),
        *_curve(dry, found, 110),
        *_map(agents, 110 + PLOT_H + 70),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _wait(priority: str, w: dict[str, Any]) -> str:
    return f"{priority}: p95 {ago(w['p95_s'])} of {ago(w['target_s'])}, {100 * (w['begun_in_time'] or 0):.0f}% in time"


def _curve(dry: Dry, found: dict[str, Any], top: int) -> list[str]:
    curve, most = queue_curve(dry, COLUMNS), max(1, found["queue"]["most"])
    width, bottom = WIDE - LEFT - RIGHT, top + PLOT_H
    points = [(LEFT + width * i / (COLUMNS - 1), bottom - PLOT_H * n / most) for i, n in enumerate(curve)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    out = [_say(20, top - 10, "Tickets that wait for somebody")]
    out += [f'<polygon class="area" points="{LEFT},{bottom} {line} {LEFT + width},{bottom}"/>']
    out += [f'<polyline class="line" points="{line}"/>']
    out += [f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{LEFT + width}" y2="{bottom}"/>']
    out += [_say(LEFT - 10, bottom, "0", "s", "end"), _say(LEFT - 10, top + 10, f"{most:,}", "s", "end")]
    for i in range(8):
        at = found["from"] + (found["to"] - found["from"]) * i / 8
        out.append(_say(LEFT + width * i / 8, bottom + 18, datetime.fromtimestamp(at, UTC).strftime("%a %H:%M"), "s"))
    return out


def _map(agents: dict[str, list[float | None]], top: int) -> list[str]:
    width = (WIDE - LEFT - RIGHT) / 168
    out = [_say(20, top - 24, "Share of each agent's slots that is taken, by hour of the week (UTC)")]
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    out += [_say(LEFT + width * 24 * i, top - 6, day, "s") for i, day in enumerate(days)]
    for row, (name, hours) in enumerate(agents.items()):
        y = top + ROW_H * row
        out.append(_say(LEFT - 10, y + 13, name[:20], "", "end"))
        for hour, share in enumerate(hours):
            x = LEFT + width * hour
            box = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{ROW_H - 2}"'
            if share is None:
                out.append(f'<rect class="off" {box}/>')
            elif share > 0.005:
                out.append(f'<rect class="cell" {box} opacity="{0.12 + 0.88 * share:.2f}"/>')
    return out


def _say(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" class="{css}" text-anchor="{anchor}">{_text(text)}</text>'


def _text(text: str) -> str:
    return escape(safe(text), quote=True)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%a %d %b %Y %H:%M")
