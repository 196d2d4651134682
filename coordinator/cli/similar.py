"""Suggestions: other tickets that may be about the same. They also come from the ledger of a stopped data folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from .output import Run, command

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    examples = ["shiftlead similar T-2026-007", "shiftlead similar T-2026-007 --limit 10 --json"]
    command(app, "similar", panel="Tickets", examples=examples)(similar)


def similar(
    run: Run,
    ticket: Annotated[str, typer.Argument(help="Number or id.", metavar="TICKET")],
    limit: Annotated[int, typer.Option(min=1, max=20, help="At most so many.")] = 5,
) -> None:
    """Name other tickets that may be about the same, and what they have in common. Nothing is joined by it."""
    from shiftlead.coordinator import similar as likeness

    from .doors import open_view

    with open_view(run) as looking:
        found = looking.view.find(ticket)
        if looking.desk is not None:
            alike = likeness.similar(looking.desk, found, limit=limit)
        else:  # another machine, or a stopped ledger: what it lists is compared here
            alike = likeness.rank(found, looking.view.tickets(limit=likeness.NEWEST), limit=limit)
    lines = [f"{s.number}  {s.state:<9}  {s.title}  ({', '.join(s.why)})" for s in alike]
    head = f"May be about the same as {found.number}:" if lines else f"Nothing like {found.number} is known."
    run.say({"ticket": found.number, "similar": [asdict(s) for s in alike]}, head, *lines)
