"""What every report may need: the facts around it, a linked child with its packet, and the end of a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from . import moves
from .report import Blocked, Failed, FollowUp, Packet, Part, Report
from .store import Change
from .ticket import Draft, Ticket

__all__ = ["Asked", "beyond_budget", "child_of", "packet_of", "soon", "to_a_decider"]

YEAR_S = 365 * 86_400.0
A_PERSON_S = 7 * 86_400.0  # a person should have looked by then


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts around one report."""

    team: Team
    settings: Settings
    now: float
    epoch: int
    held: int
    ancestors: Callable[[], list[Ticket]]  # parent, grandparent, ...
    new_id: Callable[[], tuple[str, str]]  # a fresh id and number
    find: Callable[[str], Ticket] | None = None  # a ticket by id or number, or NotFound


def child_of(
    ticket: Ticket, part: Part | FollowUp, asked: Asked, *, source: str, packet: Packet, context: dict[str, Any],
    links: list[str], **values: Any,
) -> Change:  # fmt: skip
    """A linked child: what is asked in `part`, with the story behind it. `values` are fields a sender cannot set."""
    draft = Draft.model_construct(
        type=part.type, title=part.title or ticket.title, body=part.question, source=source, needs=list(part.needs),
        assigned_to=part.to, context=context, links=links, number=None, team=None, reporter=ticket.reporter,
        customer=ticket.customer, urgency=ticket.urgency, priority=ticket.priority, component=ticket.component,
        requires_handoff=[],
    )  # fmt: skip
    ticket_id, number = asked.new_id()
    return moves.accept(
        draft, ticket_id=ticket_id, number=number, team=ticket.team, actor=f"agent:{ticket.assigned_to}", now=asked.now,
        epoch=asked.epoch, trace_id=ticket.trace_id, parent=ticket.id, lineage=[ticket.id, *ticket.lineage],
        hops=ticket.hops + 1, asked_by=ticket.assigned_to, team_version=ticket.team_version, packet=packet, **values,
    )  # fmt: skip


def packet_of(ticket: Ticket, question: str, given: Packet | None) -> Packet:
    """The handoff message of `ticket` (TA-11). Slots the agent did not fill are filled from the ticket.

    Whose history goes along is the ticket's own word, never the agent's: nobody can leave a part of the story out.
    """
    base = given or Packet(task_id=ticket.number)
    return base.model_copy(
        update={
            "task_id": ticket.number,
            "source": base.source or ticket.source,
            "urgency": base.urgency if given else ticket.priority,
            "impact_summary": base.impact_summary or ticket.summary or ticket.title,
            "next_questions": base.next_questions or ([question] if question else []),
            "evidence_snippets": base.evidence_snippets or ([ticket.body[:2000]] if ticket.body else []),
            "lineage": [*(ticket.packet.lineage if ticket.packet else []), ticket.number],
            "history_of": [*reversed(ticket.lineage), ticket.id],
            "from_agent": ticket.assigned_to or "",
            "state": base.state | ({"steps": ticket.steps} if ticket.steps else {}),
        }
    )


def to_a_decider(
    ticket: Ticket, report: Report, reason: str, asked: Asked, at: dict[str, Any], **values: Any
) -> list[Change]:
    """A bound is reached: a decision-maker ends it; if one of them has it for that already, the ticket fails.

    What the agent reported stands in the line, so nothing it found out is lost.
    """
    actor = f"agent:{ticket.assigned_to}"
    deciders = asked.team.decision_makers()
    others = [a for a in deciders if a != ticket.assigned_to and a not in ticket.excluded]
    ended = {"last_op": moves.report_op(ticket)} | values
    if not others or (ticket.named == ticket.assigned_to and ticket.named in deciders):
        why = f"{reason}; no further decision-maker can end it"
        change = moves.fail(ticket, reason=why, actor=actor, **at, **ended)
    else:
        why = f"{reason}; a decision-maker ends it"
        change = moves.give_back(ticket, reason=why, actor=actor, named=others[0], **at, **ended)
    line = change.line.model_copy(update={"detail": change.line.detail | {"report": report.model_dump()}})
    return [replace(change, line=line)]


def beyond_budget(ticket: Ticket, report: Report, asked: Asked) -> list[Change]:
    """The ticket's budget is used up (EN-12): a decision-maker who costs nothing ends it, a person before a program.

    Where there is none it waits for a person, who may reassign it, cancel it or give it more. It never fails for want
    of money, and it never comes back by itself to whoever used it up. Who else may answer an approval says its gate,
    not a budget: it waits, and expires as every approval.
    """
    at: dict[str, Any] = {"held": asked.held, "now": asked.now, "epoch": asked.epoch}
    reason = report.error if isinstance(report, Failed) else "the budget is used up"
    agents, actor = asked.team.agents, f"agent:{ticket.assigned_to}"
    never = {ticket.assigned_to, ticket.asked_by, *ticket.excluded}
    deciders = [n for n in asked.team.decision_makers() if n not in never]
    free = [n for n in deciders if agents[n].human]
    me = agents.get(ticket.assigned_to or "")
    if me is None or me.brain == "openai" or ticket.assigned_to not in asked.team.decision_makers():
        free += [n for n in deciders if agents[n].brain != "openai"]
    if free and ticket.type != "approval":
        to = free[0]
        why, op = f"{reason}; {to} ends it", moves.report_op(ticket)
        return [moves.give_back(ticket, reason=why[:1000], actor=actor, named=to, last_op=op, **at)]
    wanted = f"{reason}. Raise `budgets` in team.yaml or reassign it, and then answer it; or cancel it."
    waits = Blocked(owner="a person", action=wanted, until=asked.now + A_PERSON_S)
    return [moves.block(ticket, waits, **at)]


def soon(at: float, now: float) -> float:
    """A moment a ticket may wait for: at least a second from now, at most a year."""
    return min(max(at, now + 1.0), now + YEAR_S)
