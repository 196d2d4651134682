"""Show a dry run to a person: tables and plots of characters, readable without colour, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from textwrap import fill
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .cli.output import ago, plain, safe
from .simulation_figures import PRIORITIES, figures, load_of_the_week
from .simulation_record import Dry

__all__ = ["parts"]

WIDTH = 100
ROWS = 10
BARS = " ▁▂▃▄▅▆▇█"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MOST_ROUTES = 15


def parts(dry: Dry, found: dict[str, Any] | None = None) -> Iterator[RenderableType]:
    """The report from top to bottom."""
    found = found or figures(dry)
    yield _summary(found)
    yield _waiting(found)
    yield _routes(found)
    yield _escalations(found)
    yield Text("\n".join(_heat(dry)))
    yield _queue(found)
    yield _worst(found)
    yield _help(found)


def _summary(found: dict[str, Any]) -> RenderableType:
    t = found["tickets"]
    said = [
        f"Dry run of team {found['team']}, {_when(found['from'])} to {_when(found['to'])} UTC (seed {found['seed']}): "
        "nothing was sent to anybody.",
        f"{t['sent']:,} tickets came · {t.get('resolved', 0):,} resolved · {t.get('failed', 0):,} failed · "
        f"{t.get('cancelled', 0):,} cancelled · {t['open']:,} open at the end, {t['waiting_at_end']:,} of them "
        "nobody had begun.",
    ]
    more = [f"{t[key]:,} {words}" for key, words in _MORE if t[key]]
    said += [" · ".join(more)] if more else []
    said += [f"Left out: {', '.join(found['absent'])}"] if found["absent"] else []
    said += [f"  refused  {line}" for line in found["refused"][:5]]
    said += [f"  the engine said ({times} times): {what}" for what, times in list(found["complaints"].items())[:5]]
    return _wrapped(said)


_MORE = (("joined", "joined an open ticket"), ("refused", "were refused"), ("handed_on", "handoffs and approvals"))


def _waiting(found: dict[str, Any]) -> Table:
    table = _table("Waiting: until somebody begins, and until the first answer, against the target")
    for name in ("priority", "tickets", "target", "p50", "p95", "max", "in time", "answer p50", "p95", "in time"):
        table.add_column(name, justify="left" if name == "priority" else "right", no_wrap=True)
    for priority in PRIORITIES:
        w = found["waiting"][priority]
        if not w["tickets"]:
            continue
        table.add_row(
            priority, f"{w['tickets']:,}", ago(w["target_s"]), ago(w["p50_s"]), ago(w["p95_s"]), ago(w["max_s"]),
            _percent(w["begun_in_time"]), ago(w["answer_p50_s"]), ago(w["answer_p95_s"]),
            _percent(w["answered_in_time"]),
        )  # fmt: skip
    return table


def _routes(found: dict[str, Any]) -> Table:
    table = _table("Routes: which rule sent how many where")
    for name in ("rule", "needs", "tickets", "share", "wait p95"):
        table.add_column(name, justify="left" if name in ("rule", "needs") else "right", no_wrap=name != "needs")
    table.add_column("to (tickets)", ratio=1)
    for r in found["routes"][:MOST_ROUTES]:
        to = [f"{name} {count:,}" for name, count in list(r["to"].items())[:3]]
        to += [f"{len(r['to']) - 3} more"] if len(r["to"]) > 3 else []
        to += [f"nobody {r['never_given']:,}"] if r["never_given"] else []
        table.add_row(
            r["rule"], plain(r["needs"]), f"{r['tickets']:,}", _percent(r["share"]), ago(r["p95_s"]),
            plain(", ".join(to)),
        )  # fmt: skip
    left = found["routes"][MOST_ROUTES:]
    if left:
        table.add_row("", f"{len(left)} more", f"{sum(r['tickets'] for r in left):,}", "", "", "")
    return table


def _escalations(found: dict[str, Any]) -> RenderableType:
    if not found["escalations"]:
        return Text("Escalations: none.")
    table = _table("Escalations by step and target")
    for name in ("timer", "step", "what", "target", "times"):
        table.add_column(name, justify="right" if name in ("step", "times") else "left", no_wrap=True)
    for e in found["escalations"]:
        step = str(e["step"]) if e["step"] else "-"
        table.add_row(e["kind"], step, e["did"], plain(e["target"]), f"{e['times']:,}")
    return table


def _heat(dry: Dry) -> Iterator[str]:
    """Each agent's share of taken slots, two hours a character."""
    yield "Load: share of each agent's slots that is taken, by hour of the week (UTC), two hours a character"
    yield " " * 15 + "".join(f"{day:<12}" for day in DAYS)
    for name, hours in load_of_the_week(dry).items():
        yield f"{name[:14]:<14} " + "".join(_cell(hours[h : h + 2]) for h in range(0, len(hours), 2))
    yield " " * 15 + f"{BARS[1]} some … {BARS[4]} half … {BARS[8]} all; blank: free, · off duty or outside the run"


def _cell(pair: Sequence[float | None]) -> str:
    known = [v for v in pair if v is not None]
    if not known:
        return "·"
    share = sum(known) / len(known)
    return BARS[min(8, max(1, round(share * 8)))] if share > 0.005 else BARS[0]


def _queue(found: dict[str, Any]) -> Text:
    """Tickets nobody had begun, the most in each part of the time."""
    curve, most = found["queue"]["curve"], max(1, found["queue"]["most"])
    lines = [f"Queue: tickets that waited for somebody, at most {found['queue']['most']:,}"]
    for row in range(ROWS, 0, -1):
        label = most * row / ROWS if row in (ROWS, ROWS // 2) else None
        cells = (BARS[min(8, max(0, round((n * ROWS / most - (row - 1)) * 8)))] for n in curve)
        lines.append(f"{'' if label is None else f'{label:,.0f}':>7} │" + "".join(cells))
    lines.append(f"{'0':>7} └" + "─" * len(curve))
    span, marks = found["to"] - found["from"], [" "] * (len(curve) + 9)
    for place in range(0, len(curve) - 10, 14):
        text = datetime.fromtimestamp(found["from"] + span * place / len(curve), UTC).strftime("%a %H:%M")
        marks[place + 9 : place + 9 + len(text)] = text
    return Text("\n".join([*lines, "".join(marks).rstrip()]))


def _worst(found: dict[str, Any]) -> Table:
    table = _table("The ten that waited longest beyond their target, and why")
    for name in ("ticket", "priority", "waited", "state"):
        table.add_column(name, justify="right" if name == "waited" else "left", no_wrap=True)
    table.add_column("why", ratio=1)
    for w in found["worst"]:
        why = w["why"] if len(w["why"]) <= 300 else w["why"][:299] + "…"
        when = f" (as of {_when(w['why_at'])})" if w["why_at"] else ""
        name = w["name"] or w["number"]
        table.add_row(plain(name[:20]), w["priority"], ago(w["wait_s"]), w["state"], plain(why + when))
    return table


def _help(found: dict[str, Any]) -> Text:
    lines = ["What would help"]
    b = found["bottleneck"]
    if b and b["average"] >= 0.05:
        who = ", ".join(f"{n} (idle {_percent(i)})" for n, i in b["idle"].items()) or "nobody on the team"
        lines.append(
            f"  The longest queue was {b['needs'] or 'anybody'}: {b['most']:,} at {_when(b['most_at'])}, "
            f"{b['average']:.1f} on average. Who can: {who}."
        )
        lines.append(
            f"  On duty when it was longest: {', '.join(b['at_the_most']) or 'nobody: hours are what is missing'}."
        )
    else:
        lines.append("  No queue worth speaking of.")
    catch_all = sum(r["tickets"] for r in found["routes"] if r["rule"] == "catch-all")
    if catch_all:
        share = catch_all / max(1, found["tickets"]["accepted"])
        lines.append(f"  {catch_all:,} tickets ({_percent(share)}) went to the catch-all: nobody's rule matched.")
    idle = sorted(((a["idle"], name) for name, a in found["agents"].items()), reverse=True)[:3]
    lines.append("  Idle in their hours: " + ", ".join(f"{name} {_percent(share)}" for share, name in idle) + ".")
    return _wrapped(lines)


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, width=WIDTH, pad_edge=False
    )


def _wrapped(lines: Sequence[str]) -> Text:
    """Sentences in the width of the tables; what goes on is set in."""
    told = [fill(safe(line), WIDTH, subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    return Text("\n".join(told))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}%" if share >= 0.01 or not share else "<1%"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%a %d %b %H:%M")
