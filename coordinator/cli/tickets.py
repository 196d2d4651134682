"""Looking at tickets: list, show, why. They also read the ledger of a stopped data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, ago, command, in_time

if TYPE_CHECKING:
    from shiftlead.queues.ticket import Ticket
    from shiftlead.queues.views import View

    from .doors import Looking

__all__ = ["add"]

PANEL = "Tickets"
QUEUES = ("intake", "active", "completed")


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app, "list", panel=PANEL,
        examples=["shiftlead list --queue active", "shiftlead list --state ready --agent felix_ceo --json"],
    )(list_tickets)  # fmt: skip
    command(
        app,
        "show",
        panel=PANEL,
        examples=["shiftlead show T-2026-007", "shiftlead show T-2026-007 --json | jq .history"],
    )(show)
    command(app, "why", panel=PANEL, examples=["shiftlead why T-2026-007"])(why)


def list_tickets(
    run: Run,
    queue: Annotated[str | None, typer.Option(help="intake, active or completed.")] = None,
    state: Annotated[str | None, typer.Option(help="new, scheduled, ready, assigned, working, waiting, ...")] = None,
    agent: Annotated[str | None, typer.Option(help="Only tickets of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
) -> None:
    """List tickets: open ones oldest first, then completed ones newest first."""
    from .doors import open_view

    _known(queue, state)
    with open_view(run) as looking:
        tickets = looking.view.tickets(queue=queue, state=state, agent=agent, limit=limit)
        counts = looking.view.counts()
        if run.as_json:
            run.say({"counts": counts, "tickets": [t.model_dump(mode="json") for t in tickets]})
            return
        from .story import ticket_table

        shown = f"{len(tickets)} shown" if tickets else "nothing matches"
        parts = [*(f"{name} {counts[name]}" for name in QUEUES if name in counts), shown]
        run.say(None, ticket_table(tickets, looking.now, lambda t: _who(looking.view, t)), " · ".join(parts))


def show(run: Run, ticket: Annotated[str, typer.Argument(help="Number or id.", metavar="TICKET")]) -> None:
    """Show a ticket: its head, its story from the ledger, whom it was handed on to, and the replies."""
    from shiftlead.queues.views import tree

    from .cost import ticket_cost, ticket_cost_table
    from .doors import open_view

    with open_view(run) as looking:
        found = looking.view.find(ticket)
        history = looking.view.history(found.id)
        family = tree(looking.view, found)
        spent = ticket_cost(looking, found)
        if run.as_json:
            from .story import family_json

            lines = [line.model_dump(mode="json") for line in history]
            cost = spent.model_dump(mode="json") if spent is not None else None
            said = {"ticket": found.model_dump(mode="json"), "history": lines, "family": family_json(family)}
            run.say(said | {"cost": cost})
            return
        from .steps_view import steps_table
        from .story import family_tree, head, replies, timeline

        parts: list[Any] = [head(found, looking.now), timeline(history, looking.now)]
        if (steps := steps_table(found)) is not None:
            parts.append(steps)
        if spent is not None and (table := ticket_cost_table(spent)) is not None:
            parts.append(table)
        if family.children:
            parts.append(family_tree(family, found.id))
        run.say(None, *parts, *replies(found))


def why(run: Run, ticket: Annotated[str, typer.Argument(help="Number or id.", metavar="TICKET")]) -> None:
    """Say why a ticket is where it is, what would move it, and its next timer."""
    from .doors import open_view

    with open_view(run) as looking:
        number, lines = _why(looking, ticket)
        run.say({"ticket": number, "why": lines}, *lines)


def _why(looking: Looking, name: str) -> tuple[str, list[str]]:
    if looking.why is not None:
        number, lines = looking.why(name)
        return str(number), list(lines)
    ticket = looking.view.find(name)
    if looking.desk is not None:
        from shiftlead.coordinator.why import explain

        return ticket.number, explain(looking.desk, ticket, now=looking.now).lines(looking.now)
    return ticket.number, _why_stopped(looking, ticket)


def _why_stopped(looking: Looking, ticket: Ticket) -> list[str]:
    """What the ledger alone can tell."""
    history = looking.view.history(ticket.id)
    last = next((line for line in reversed(history) if line.before != line.after), None)
    lines = [f"{ticket.number} was {ticket.state} ({ticket.queue}) when Shiftlead stopped."]
    if last is not None:
        because = f": {last.reason}" if last.reason else ""
        lines.append(f"Last move, {ago(looking.now - last.at)} ago: {last.move} by {last.actor}{because}")
    if ticket.is_open:
        lines.append(
            f"Its next escalation: {in_time(ticket.ladder_at, looking.now)}; timers go on when Shiftlead runs."
        )
    return lines


def _known(queue: str | None, state: str | None) -> None:
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.lifecycle import State

    if queue is not None and queue not in QUEUES:
        raise BadInput(f"There is no queue {queue!r}. Queues: {', '.join(QUEUES)}.", field="queue")
    if state is not None and state not in list(State):
        raise BadInput(f"There is no state {state!r}. States: {', '.join(State)}.", field="state")


def _who(view: View, ticket: Ticket) -> str:
    """Who has the ticket, or had it last."""
    if ticket.is_open:
        return ticket.assigned_to or (f"({ticket.named or ticket.prefers})" if ticket.named or ticket.prefers else "-")
    lines = [] if ticket.assigned_to else view.history(ticket.id)
    return ticket.assigned_to or next((line.agent for line in reversed(lines) if line.agent), None) or "-"
