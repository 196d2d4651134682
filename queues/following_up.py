"""What stays to be done after a ticket is resolved (TA-10, SD-12): linked tickets that nobody waits for.

A follow-up begins when its time comes, is due `within_s` after that, and its ladder's first step is then, too. A watch
may look a number of times: each `Later` uses one up, and after the last one a decision-maker has the word. Follow-ups
count as handoffs, so follow-ups of follow-ups end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import moves
from .asked import Asked, child_of, packet_of, soon, to_a_decider
from .handing_on import check_target
from .report import FollowUp, Later, Packet, Resolved
from .store import Change
from .ticket import Ticket

__all__ = ["check_follow_ups", "follow_ups", "later", "turns_allowed"]

PROMISE_S = 4 * 3600.0
MAX_LOOKS = 50


def follow_ups(ticket: Ticket, report: Resolved, asked: Asked, *, begins: float) -> list[Change]:
    """The children `report` leaves behind; their seconds count from `begins`, when the result leaves.

    Raises:
        BadInput: one of them can go to nobody; names the field.
    """
    check_follow_ups(ticket, report, asked)
    return [_one(ticket, report, one, asked, begins) for one in report.follow_ups]


def check_follow_ups(ticket: Ticket, report: Resolved, asked: Asked) -> None:
    """Refuse those that can go to nobody.

    Raises:
        BadInput: names the field.
    """
    for index, one in enumerate(report.follow_ups):
        check_target(ticket, one, asked, f"follow_ups.{index}.")


def later(ticket: Ticket, report: Later, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """The ticket is looked at again later; a watch only as often as it may."""
    if ticket.looks_left == 1:
        looks = ticket.context.get("looks", "")
        return to_a_decider(ticket, report, f"watched {looks} times, and it is not settled", asked, at, looks_left=0)
    change = moves.defer(ticket, report, until=soon(report.at, asked.now), **at)
    if ticket.looks_left:
        left = ticket.looks_left - 1
        line = change.line.model_copy(update={"detail": change.line.detail | {"looks_left": left}})
        change = replace(change, after=change.after.changed(looks_left=left), line=line)
    return [change]


def turns_allowed(ticket: Ticket, max_turns: int) -> int:
    """Looks of a watch are bounded by themselves and are no turns."""
    return max_turns + (MAX_LOOKS if ticket.looks_left is not None else 0)


def _one(ticket: Ticket, report: Resolved, wanted: FollowUp, asked: Asked, begins: float) -> Change:
    starts = begins + wanted.after_s
    usual = PROMISE_S if wanted.type == "promise" else asked.team.target_s(ticket.priority)
    due = starts + (wanted.within_s or usual)
    # Counted from when it is opened, as any threshold: a ladder must not climb while the ticket sleeps.
    context: dict[str, Any] = {"escalation_threshold": round(due - asked.now, 3)}
    if wanted.ref:
        context["ref"] = wanted.ref
    if wanted.looks is not None:
        context["looks"] = wanted.looks
    links = list(ticket.links)
    if wanted.ref.startswith(("https://", "http://")) and wanted.ref not in links:
        links.append(wanted.ref)
    given = Packet(
        task_id=ticket.number, urgency=ticket.priority, impact_summary=report.summary, evidence_snippets=report.evidence
    )
    title = wanted.title or f"{wanted.type}: {ticket.title}"[:500]
    change = child_of(
        ticket, wanted.model_copy(update={"title": title}), asked, source="follow_up",
        packet=packet_of(ticket, wanted.question, given), context=context, links=links, asked_of=wanted.to,
        looks_left=wanted.looks, not_before=starts if starts > asked.now else None,
    )  # fmt: skip
    return replace(change, after=change.after.changed(due=due))
