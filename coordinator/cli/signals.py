"""The signals of a ticket's matter on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, ago, command, local_time

if TYPE_CHECKING:
    from shiftlead.coordinator.signals import Seen, Signals
    from shiftlead.queues.spending import Step
    from shiftlead.queues.views import Node

    from .doors import Looking

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    examples = ["shiftlead signals T-2026-001", "shiftlead signals T-2026-001 --json"]
    command(app, "signals", panel="Tickets", examples=examples)(signals)


def signals(run: Run, ticket: Annotated[str, typer.Argument(help="Number or id.", metavar="TICKET")]) -> None:
    """Show a ticket's signals: age, time in each state, runs and retries, cost, gates and by whom, deployments.

    Beside its own times they are those of the whole matter: of everything it was handed on as.
    """
    from shiftlead.coordinator.signals import signals_of
    from shiftlead.queues.views import below

    from .doors import open_view

    with open_view(run) as looking:
        found = looking.view.find(ticket)
        family = _flat(below(looking.view, found))
        matter = [(one, looking.view.history(one.id)) for one in family]
        seen = signals_of(matter, _steps(run, looking, [one.id for one in family]), looking.now)
    run.say(seen.model_dump(mode="json"), *_lines(seen))


def _flat(node: Node) -> list[Any]:
    return [node.ticket, *(ticket for child in node.children for ticket in _flat(child))]


def _steps(run: Run, looking: Looking, ids: list[str]) -> Sequence[Step] | None:
    """What agents took stands in SQL; over HTTP it is not told."""
    from shiftlead.queues.ledger import Ledger
    from shiftlead.queues.spending import Spending

    from .doors import stopped_ledger

    if looking.desk is not None and isinstance(looking.desk.ledger, Ledger):
        return Spending(looking.desk.ledger, looking.desk.team.team).of(*ids)
    if run.settings.url:
        return None
    with stopped_ledger(run) as ledger:
        return Spending(ledger, run.settings.team).of(*ids)


def _lines(seen: Signals) -> list[str]:
    times = ", ".join(f"{state} {ago(span)}" for state, span in seen.in_state_s.items())
    back = ", ".join(f"{count} x {why}" for why, count in seen.retries.items())
    lines = [
        f"{seen.number} has been {seen.state} for {ago(seen.in_this_state_s)}; it was open for {ago(seen.age_s)}.",
        f"time in each state   {times or 'none'}",
        f"tickets, runs        {seen.tickets} in the matter, {seen.runs} runs, {seen.escalations} escalations",
        f"retries              {back or 'none'}",
        f"tokens and cost      {_cost(seen)}",
    ]
    gates = [
        f"{local_time(g.at)}  {g.number}  {g.action}: {g.decision} by {g.by}, {'a person' if g.person else 'a program'}"
        for g in seen.gates
    ]
    lines += _part("gates", gates)
    lines += _part("effects", _seen(seen.effects))
    return lines + _part("deploy signals", _seen(seen.deploy))


def _cost(seen: Signals) -> str:
    if seen.took is None:
        return "not told over HTTP"
    took = seen.took
    more = f", {took.unpriced} calls of unknown cost" if took.unpriced else ""
    return f"{took.tokens:,} tokens in {took.calls} calls of a model, {took.cost:.4f}{more}"


def _part(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else [f"{title}: none"]


def _seen(found: Sequence[Seen]) -> list[str]:
    return [f"{local_time(s.at)}  {s.number}  {s.by}: {s.what}" for s in found]
