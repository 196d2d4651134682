"""A finished result leaves: now, or when the action hours of its author begin (EN-04). Its follow-ups come with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import moves
from .asked import Asked, to_a_decider
from .following_up import follow_ups
from .handing_on import bound_reached
from .report import Resolved
from .store import Change
from .ticket import Ticket

__all__ = ["leaves"]


def leaves(
    ticket: Ticket, report: Resolved, author: str | None, asked: Asked, at: dict[str, Any], **values: Any
) -> list[Change]:
    """The change, and the follow-ups of `author`. `values` are further fields, of a reply that was judged.

    Raises:
        BadInput: a follow-up can go to nobody; names the field.
    """
    if report.follow_ups and (why := bound_reached(ticket, report.follow_ups, asked)):
        return to_a_decider(ticket, report, f"{why}, so there are no follow-ups any more", asked, at, **values)
    until = _closed_until(ticket, author, asked)
    if until is None:
        change = moves.resolve(ticket, report, author=author, **at, **values)
    else:
        change = moves.withhold(ticket, report, author=author, until=until, **at, **values)
    made = follow_ups(ticket.changed(assigned_to=author), report, asked, begins=until or asked.now)
    if not made:
        return [change]
    after = change.after.changed(children=[*ticket.children, *(c.after.id for c in made)])
    detail = change.line.detail | {"children": [c.after.number for c in made]}
    return [replace(change, after=after, line=change.line.model_copy(update={"detail": detail})), *made]


def _closed_until(ticket: Ticket, author: str | None, asked: Asked) -> float | None:
    """When a result of `author` may leave, None for now. A word to the ticket that asked for it is no side effect."""
    spec = asked.team.agents.get(author or "")
    answers_a_ticket = ticket.parent is not None and ticket.source != "follow_up"
    if spec is None or spec.action_hours is None or ticket.type == "approval" or answers_a_ticket:
        return None
    until = spec.action_hours.next_open(asked.now, asked.team.days_off)
    return until if until > asked.now else None
