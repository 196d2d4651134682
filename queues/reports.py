"""What each Report means for the ticket: the changes to commit. Pure but for the two questions in `Asked`.

| report        | change                                                                                          |
|---------------|-------------------------------------------------------------------------------------------------|
| Resolved      | resolved; or handed on first, where it must be seen by others (`requires_handoff`, escalation)   |
| StepDone      | ready for the next capability, with the result under `steps`                                     |
| Reviewed      | resolved with the author's result, or sent back to the author                                    |
| HandOff       | waiting for a child with the packet                                                              |
| AskHuman      | waiting for an approval child                                                                    |
| AskRequester  | waiting for the requester                                                                        |
| Blocked       | waiting for a named owner, with a timer                                                          |
| Later         | scheduled                                                                                        |
| Failed        | failed; or, where it may be tried again, ready at once the first time and later after that       |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from . import moves
from .errors import BadInput, TooLarge
from .report import (
    AskHuman,
    AskRequester,
    Blocked,
    Failed,
    HandOff,
    Later,
    Packet,
    Report,
    Resolved,
    Reviewed,
    StepDone,
)
from .store import Change
from .ticket import Draft, Ticket

__all__ = ["Asked", "RESERVED", "action_hash", "changes_for"]

MAX_ROUNDS = 3
RESERVED = frozenset({"approval", "escalation"})  # types only Shiftlead gives
BACK_OFF_S = 300.0


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


def changes_for(ticket: Ticket, report: Report, asked: Asked) -> list[Change]:
    """The changes `report` asks for; the ticket's own comes first.

    Raises:
        BadInput: it names an agent the team does not have, or capabilities and an agent at once.
    """
    at: dict[str, Any] = {"held": asked.held, "now": asked.now, "epoch": asked.epoch}
    _bounded(ticket, report, asked.settings)
    if not isinstance(report, Resolved | Reviewed | Failed) and ticket.turns >= asked.settings.max_turns:
        return _to_a_decider(ticket, f"{ticket.turns} turns are the limit (max_turns)", asked, at)
    match report:
        case Resolved():
            return _resolved(ticket, report, asked, at)
        case StepDone():
            return [moves.advance(ticket, report, next_needs=report.needs or ticket.needs, **at)]
        case Reviewed():
            return _reviewed(ticket, report, at)
        case HandOff():
            return _hand_off(ticket, report, asked, at)
        case AskHuman():
            return _ask_human(ticket, report, asked, at)
        case AskRequester():
            return [moves.ask(ticket, report, None, **at)]
        case Blocked():
            until = None if report.until is None else _soon(report.until, asked.now)
            return [moves.block(ticket, report.model_copy(update={"until": until}), **at)]
        case Later():
            return [moves.defer(ticket, report, until=_soon(report.at, asked.now), **at)]
        case Failed():
            return _failed(ticket, report, asked, at)


def action_hash(action: str, arguments: dict[str, Any]) -> str:
    """What an approval is bound to: the action and its exact arguments."""
    text = json.dumps([action, arguments], sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _resolved(ticket: Ticket, report: Resolved, asked: Asked, at: dict[str, Any]) -> list[Change]:
    if ticket.type == "approval" and report.decision is None:
        raise BadInput(
            f"{ticket.number} is an approval: the answer must say decision approve or deny.", field="decision"
        )
    if ticket.type == "approval" and ticket.assigned_to in (ticket.asked_by, *ticket.excluded):
        raise BadInput(
            f"{ticket.number} was asked for by {ticket.assigned_to}, who may not answer it.", field="decision"
        )
    answered = {a.get(who) for a in ticket.answers for who in ("agent", "asked_of")}
    known = {*asked.team.agents, *asked.team.people}  # a name nobody has cannot answer, so it is not waited for
    missing = [a for a in ticket.requires_handoff if a in known and a not in answered and a != ticket.assigned_to]
    question = report.reason or report.summary or report.reply
    if missing:
        wanted = [HandOff(to=a, title=ticket.title, question=question) for a in missing]
        return _handed_on(ticket, wanted, report, asked, at)
    escalated = any(a.get("type") == "escalation" for a in ticket.answers)
    if report.requires_escalation and not escalated:
        deciders = [a for a in asked.team.decision_makers() if a != ticket.assigned_to]
        if deciders:
            return _handed_on(
                ticket,
                [HandOff(to=deciders[0], type="escalation", title=ticket.title, question=question)],
                report,
                asked,
                at,
            )
    return [moves.resolve(ticket, report, **at)]


def _reviewed(ticket: Ticket, report: Reviewed, at: dict[str, Any]) -> list[Change]:
    if ticket.step != "review" or (ticket.result or {}).get("kind") != "resolved":
        raise BadInput(f"{ticket.number} is not in review: there is no result to judge.", field="kind")
    draft = Resolved.model_validate(ticket.result)
    if report.passed:
        return [moves.resolve(ticket, draft, **at)]
    author = ticket.excluded[-1] if ticket.excluded else ""
    if ticket.round + 1 >= MAX_ROUNDS:
        failed = ", ".join(report.failed_checks)
        reason = f"{ticket.round + 1} reviews failed ({failed}); a decision-maker looks at it"
        back = {k: v for k, v in at.items() if k != "held"}
        return [
            moves.give_back(
                ticket, reason=reason, actor=f"agent:{ticket.assigned_to}", held=at["held"], needs=["decision"], **back
            )
        ]
    return [moves.send_back(ticket, report, author=author, needs=ticket.needs, **at)]


def _hand_off(ticket: Ticket, report: HandOff, asked: Asked, at: dict[str, Any]) -> list[Change]:
    if bool(report.needs) == bool(report.to):
        raise BadInput(
            "A HandOff names either `needs` (capabilities) or `to` (an agent), not both and not none.", field="needs"
        )
    if report.to and report.to not in asked.team.agents and report.to not in asked.team.people:
        known = ", ".join([*asked.team.agents, *asked.team.people])
        raise BadInput(f"{ticket.number} cannot be handed to {report.to!r}: the team has {known}.", field="to")
    if report.type in RESERVED:
        raise BadInput(f"{report.type!r} tickets are made by Shiftlead itself; use AskHuman.", field="type")
    if report.to == ticket.assigned_to:
        raise BadInput(f"{ticket.number} cannot be handed to {report.to}, who holds it.", field="to")
    return _handed_on(ticket, [report], report, asked, at)


def _handed_on(
    ticket: Ticket, wanted: list[HandOff], report: HandOff | Resolved, asked: Asked, at: dict[str, Any]
) -> list[Change]:  # fmt: skip
    if ticket.hops >= (asked.team.limits.max_handoffs or asked.settings.max_handoffs):
        return _to_a_decider(ticket, f"{ticket.hops} handoffs are the limit (max_handoffs)", asked, at)
    ancestors = asked.ancestors()
    numbers = [*(a.number for a in reversed(ancestors)), ticket.number]
    children = []
    for part in wanted:
        draft = Draft.model_construct(
            type=part.type, title=part.title or ticket.title, body=part.question, source="handoff",
            needs=list(part.needs), assigned_to=part.to, context={}, links=list(ticket.links),
            **_inherited(ticket),
        )  # fmt: skip
        packet = _packet(ticket, part, ancestors, numbers=numbers)
        children.append(
            _child(
                ticket,
                draft,
                asked,
                packet=packet,
                asked_of=part.to,
                accept_by=asked.now + asked.settings.accept_deadline_s,
            )
        )
    return [moves.hand_off(ticket, [c.after for c in children], report, **at), *children]


def _ask_human(ticket: Ticket, report: AskHuman, asked: Asked, at: dict[str, Any]) -> list[Change]:
    digest = action_hash(report.action, report.arguments)
    draft = Draft.model_construct(
        type="approval", title=f"Approve {report.action} for {ticket.number}?", body=report.why, source="approval",
        needs=[] if report.to else ["approval"], assigned_to=report.to, links=[],
        context={"action": report.action, "arguments": report.arguments, "why": report.why, "hash": digest},
        **_inherited(ticket),
    )  # fmt: skip
    ancestors = asked.ancestors()
    wanted = HandOff(to=report.to or "x", question=report.why)
    numbers = [*(a.number for a in reversed(ancestors)), ticket.number]
    packet = _packet(ticket, wanted, ancestors, numbers=numbers).model_copy(update={"human_approval_needed": True})
    child = _child(
        ticket, draft, asked, packet=packet, excluded=[ticket.assigned_to],
        expires_at=asked.now + asked.settings.approval_expires_s,
    )  # fmt: skip
    return [moves.ask(ticket, report, child.after, **at), child]


def _failed(ticket: Ticket, report: Failed, asked: Asked, at: dict[str, Any]) -> list[Change]:
    actor = f"agent:{ticket.assigned_to}"
    if not report.retryable:
        return [moves.fail(ticket, reason=report.error, actor=actor, **at, last_op=moves.report_op(ticket))]
    tried = ticket.attempts.handed_back
    if tried == 0:
        back: dict[str, Any] = {"counter": "handed_back", "last_op": moves.report_op(ticket)}
        return [moves.give_back(ticket, reason=report.error[:500], actor=actor, **at, **back)]
    return [moves.defer(ticket, report, until=asked.now + min(2.0**tried, BACK_OFF_S), **at)]


def _bounded(ticket: Ticket, report: Report, settings: Settings) -> None:
    """A report that would make the ticket too large to carry is refused (I10).

    Raises:
        TooLarge: the report alone, or the ticket with all its steps and answers.
    """
    size = len(report.model_dump_json())
    whole = size + (len(ticket.model_dump_json()) if size > 4096 else 0)
    if size > settings.max_ticket_bytes or whole > 8 * settings.max_ticket_bytes:
        raise TooLarge(
            f"{ticket.number}: a report of {size:,} bytes is too large (a report may have "
            f"{settings.max_ticket_bytes:,}, a ticket with all its steps eight times that). Put material behind a link."
        )


def _soon(at: float, now: float) -> float:
    """A moment a ticket may wait for: at least a second from now, at most a year."""
    return min(max(at, now + 1.0), now + 365 * 86_400.0)


def _to_a_decider(ticket: Ticket, reason: str, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """A bound is reached: a decision-maker ends it; if that is who reached it, the ticket fails."""
    reason = f"{reason}; a decision-maker ends it"
    actor = f"agent:{ticket.assigned_to}"
    deciders = [a for a in asked.team.decision_makers() if a != ticket.assigned_to]
    if not deciders or ticket.named in deciders:
        return [moves.fail(ticket, reason=reason, actor=actor, **at)]
    return [moves.give_back(ticket, reason=reason, actor=actor, named=deciders[0], **at)]


def _packet(
    ticket: Ticket, report: HandOff | Resolved, ancestors: Sequence[Ticket], *, numbers: Sequence[str]
) -> Packet:
    """The handoff message of `ticket` (TA-11). Slots the agent did not fill are filled from the ticket."""
    given = report.packet if isinstance(report, HandOff) and report.packet else None
    base = given or Packet(task_id=ticket.number)
    summary = report.question if isinstance(report, HandOff) else report.reason or report.summary
    return base.model_copy(
        update={
            "task_id": ticket.number,
            "source": base.source or ticket.source,
            "urgency": base.urgency if given else ticket.priority,
            "impact_summary": base.impact_summary or ticket.summary or ticket.title,
            "next_questions": base.next_questions or ([summary] if summary else []),
            "evidence_snippets": base.evidence_snippets or ([ticket.body[:2000]] if ticket.body else []),
            "lineage": list(numbers)[-50:],
            "history_of": [*(a.id for a in reversed(ancestors)), ticket.id][-50:],
            "from_agent": ticket.assigned_to or "",
            "state": base.state | ({"steps": ticket.steps} if ticket.steps else {}),
        }
    )


def _child(ticket: Ticket, draft: Draft, asked: Asked, **values: Any) -> Change:
    ticket_id, number = asked.new_id()
    return moves.accept(
        draft, ticket_id=ticket_id, number=number, team=ticket.team, actor=f"agent:{ticket.assigned_to}", now=asked.now,
        epoch=asked.epoch, trace_id=ticket.trace_id, parent=ticket.id, lineage=[ticket.id, *ticket.lineage],
        hops=ticket.hops + 1, asked_by=ticket.assigned_to, team_version=ticket.team_version, **values,
    )  # fmt: skip


def _inherited(ticket: Ticket) -> dict[str, Any]:
    """What a child takes over as it is."""
    return {
        "number": None, "team": None, "reporter": ticket.reporter, "customer": ticket.customer,
        "urgency": ticket.urgency, "priority": ticket.priority, "component": ticket.component, "requires_handoff": [],
    }  # fmt: skip
