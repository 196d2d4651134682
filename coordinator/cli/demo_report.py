"""The end of the demonstration: what the ledger says of it, and what to do next."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from shiftlead.config.team import load_team
from shiftlead.coordinator.hints import called
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.lifecycle import State

from .demo_events import events_shown, records
from .demo_view import summary_table
from .output import Run

if TYPE_CHECKING:
    from shiftlead.config.settings import Settings

    from .demo import Show

__all__ = ["in_all", "tell"]


def tell(run: Run, settings: Settings, show: Show) -> None:
    """Read the ledger, print what it says, and end with the right code."""
    team = load_team(settings.team, settings, overlay=settings.overlay)
    ledger = Ledger(settings.database_address, read_only=True)
    try:
        lines = [line for _, line in ledger.events(settings.team, limit=1_000_000, after=0)]
        closed = [ticket for ticket, _ in ledger.recent_completed(settings.team, 1_000_000)]
        audit = verify(ledger, settings.team)
    finally:
        ledger.close()
    events = events_shown(team, lines, show.script.shows, killed=show.killed)
    track = records(team, lines)
    stored = {t.number: t for t in closed if t.parent is None}
    completed = [number for number in show.numbers if number in stored]
    failed = sum(stored[number].state == State.FAILED for number in completed)
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
        Text(in_all(len(completed), failed, len(closed) - len(stored))),
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


def in_all(completed: int, failed: int, handed_on: int) -> str:
    """How the tickets that went in become the number in the completed queue."""
    closed = f"{completed} completed"
    if failed:
        closed += f", of them {failed} closed as failed with a reason"
    if handed_on:
        closed += f"; {completed + handed_on} with the {handed_on} that agents handed on"
    return closed


def _next(run: Run, settings: Settings, number: str) -> list[str]:
    """What to do next, in commands that work as they stand."""
    own = run.home is None  # without --home, `up` means the usual data folder and not the demonstration's
    start = called(run.settings if own else settings, "up", team=False, home=not own)
    usual = run.settings if run.home is None else settings
    http, flower = f"http://{usual.host}:{usual.port}/openapi.json", f"http://{usual.host}:{usual.flower_port}"
    return [
        "Next:",
        f"  {called(settings, 'show', number)}",
        f"  {called(settings, 'why', number)}",
        f"  {called(settings, 'audit', 'verify')}",
        f"  data folder: {settings.data} (delete it when you have seen enough)",
        f"  {'make up (or ' + start + ')' if own else start}: it stays up, with HTTP at {http} and Flower at {flower}",
        f"  {called(settings, 'team', 'init', 'acme', team=False, home=False)}: a team of your own",
    ]
