"""The end of the demonstration: what the ledger says of it, and what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from shiftlead.config.team import load_team
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_verify import verify

from .demo_events import five_events, records
from .demo_view import summary_table
from .output import Run

if TYPE_CHECKING:
    from shiftlead.config.settings import Settings

    from .demo import Show

__all__ = ["tell"]


def tell(run: Run, settings: Settings, show: Show) -> None:
    """Read the ledger, print what it says, and end with the right code."""
    team = load_team(settings.team, settings, overlay=settings.overlay)
    ledger = Ledger(settings.database_address, read_only=True)
    try:
        lines = [line for _, line in ledger.events(settings.team, limit=1_000_000, after=0)]
        stored = {t.number for t, _ in ledger.recent_completed(settings.team, 1_000_000) if t.parent is None}
        audit = verify(ledger, settings.team)
    finally:
        ledger.close()
    events, track = five_events(team, lines), records(team, lines)
    completed = [number for number in show.numbers if number in stored]
    enqueued = len(show.numbers) + len(show.refused)
    lost = enqueued - len(completed)
    verified = "ledger verified" if audit.ok else f"ledger NOT verified ({audit.found} problems)"
    ok = lost == 0 and enqueued == len(show.drafts) and audit.ok and all(e.ok for e in events)
    data: dict[str, Any] = {
        "ok": ok, "enqueued": enqueued, "completed": len(completed), "lost": lost, "verified": audit.ok,
        "seconds": round(show.took_s, 1), "home": str(settings.data),
        "events": [{"ok": e.ok, "what": e.what, "ticket": e.number, "detail": e.detail} for e in events],
        "agents": [asdict(record) for record in track],
    }  # fmt: skip
    said: list[Any] = [
        "",
        summary_table(track),
        "",
    ]
    for event in events:
        mark = Text("✔ " if event.ok else "✘ ", style="green" if event.ok else "red")
        said.append(mark + Text(f"{event.number + ' ' if event.number else ''}{event.what}: {event.detail}"))
    said += [Text(f"✘ refused at the door: {text}", style="red") for text in show.refused]
    if not show.complete:
        said.append(
            Text(
                f"✘ not everything was completed within {show.deadline_s:g} s. Logs: {settings.data / 'logs'}",
                style="red",
            )
        )
    said += [
        Text(line)
        for line in [
            "",
            *_next(
                run,
                settings,
                next((e.number for e in events if e.ok), show.numbers[0] if show.numbers else "T-2026-001"),
            ),
            "",
        ]
    ]
    run.say(data, *said)
    if not run.as_json:
        print(f"demo: {enqueued} tickets · {len(completed)} completed · {lost} lost · {verified}", flush=True)
    if not ok:
        raise typer.Exit(1)


def _next(run: Run, settings: Settings, number: str) -> list[str]:
    """What to do next, in commands that work as they stand."""
    cli, home = _command(), shlex.quote(_near(settings.data))
    usual = run.settings if run.home is None else settings
    http, flower = f"http://{usual.host}:{usual.port}/docs", f"http://{usual.host}:{usual.flower_port}"
    return [
        "Next:",
        f"  {cli} show {number} --home {home}",
        f"  {cli} why {number} --home {home}",
        f"  {cli} audit verify --home {home}",
        f"  data folder: {settings.data} (delete it when you have seen enough)",
        f"  make up (or {cli} up): it stays up, with HTTP at {http} and Flower at {flower}",
        f"  {cli} team init acme: a team of your own",
    ]


def _command() -> str:
    """How this command line was called, so that it can be called again from here."""
    program = Path(sys.argv[0])
    if program.name != "shiftlead":
        return f"{shlex.quote(_near(Path(sys.executable)))} -m shiftlead.coordinator"
    found = shutil.which("shiftlead")
    if found and Path(found).exists() and program.exists() and Path(found).samefile(program):
        return "shiftlead"
    return shlex.quote(_near(program.absolute()))


def _near(path: Path) -> str:
    """The path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
