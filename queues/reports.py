"""What each Report means for the ticket: the changes to commit. Pure but for the questions in `Asked`.

| report        | change                                                                                          |
|---------------|-------------------------------------------------------------------------------------------------|
| Resolved      | resolved, or withheld (leaving.py); first handed on, where it must be seen by others             |
|               | (`requires_handoff`, escalation), then looked at by a checker, where the team has one            |
| StepDone      | ready for the next capability, with the result under `steps`; after the last step of a pipeline  |
|                | resolved (flow_steps.py)                                                                         |
| Reviewed      | resolved with the author's result, or sent back to be revised (reviewing.py)                     |
| HandOff       | waiting for a child with the packet, or for several (handing_on.py)                              |
| AskHuman      | waiting for an approval child                                                                    |
| AskRequester  | waiting for the requester                                                                        |
| Blocked       | waiting for a named owner or another ticket, with a timer (blocking.py)                          |
| Later         | scheduled; a watch only as often as it may look (following_up.py)                                |
| Failed        | failed; or, where it may be tried again: ready at once the first time, later after that, and     |
|               | when one agent failed it twice for others (failing.py)                                           |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shiftlead.config.settings import Settings

from . import moves
from .asked import Asked, child_of, packet_of, to_a_decider
from .blocking import blocked
from .denials import denials, last_no, same_wish
from .errors import BadInput, TooLarge
from .failing import failed
from .flow_steps import after, check_result, ending
from .following_up import later, turns_allowed
from .handing_on import hand_off, handed_on
from .leaving import leaves
from .report import (
    AskHuman,
    AskRequester,
    Blocked,
    Failed,
    HandOff,
    Later,
    Part,
    Report,
    Resolved,
    Reviewed,
    StepDone,
)
from .reviewing import cannot_judge, reviewed, submitted
from .store import Change
from .ticket import Ticket

__all__ = ["Asked", "action_hash", "changes_for"]


def changes_for(ticket: Ticket, report: Report, asked: Asked) -> Sequence[Change]:
    """The changes `report` asks for; the ticket's own comes first. A person's report makes the ticket an aided one.

    Raises:
        BadInput: it names an agent the team does not have, capabilities and an agent at once, a circle, ...
        TooLarge: the ticket would become too large to carry.
    """
    first, *rest = _changes(ticket, report, asked)
    spec = asked.team.agents.get(ticket.assigned_to or "")
    if spec is not None and spec.human:
        first = replace(first, after=first.after.changed(aided=True))
    return [first, *rest]


def _changes(ticket: Ticket, report: Report, asked: Asked) -> list[Change]:
    at: dict[str, Any] = {"held": asked.held, "now": asked.now, "epoch": asked.epoch}
    _bounded(ticket, report, asked.settings)
    if ticket.in_review and not isinstance(report, Reviewed | Failed | Blocked | Later):
        raise BadInput(
            f"{ticket.number} is in review: its reply is judged with a report `reviewed`, and nothing else is done.",
            field="kind",
        )
    goes_on = not isinstance(report, Resolved | Reviewed | Failed)
    max_turns = asked.team.limits.max_turns or asked.settings.max_turns
    if goes_on and ticket.turns >= turns_allowed(ticket, max_turns):
        return to_a_decider(ticket, report, f"{ticket.turns} turns are the limit (max_turns)", asked, at)
    match report:
        case Resolved():
            return _resolved(ticket, report, asked, at)
        case StepDone():
            return _step_done(ticket, report, asked, at)
        case Reviewed():
            return reviewed(ticket, report, asked, at)
        case HandOff():
            return hand_off(ticket, report, asked, at)
        case AskHuman():
            return _ask_human(ticket, report, asked, at)
        case AskRequester():
            return [moves.ask(ticket, report, None, **at)]
        case Blocked():
            return blocked(ticket, report, asked, at)
        case Later():
            return later(ticket, report, asked, at)
        case Failed() if ticket.in_review and not report.retryable:
            return cannot_judge(ticket, report, asked, at)
        case Failed():
            return failed(ticket, report, asked, at)


def action_hash(action: str, arguments: dict[str, Any]) -> str:
    """What an approval is bound to: the action and its exact arguments."""
    text = json.dumps([action, arguments], sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _step_done(ticket: Ticket, report: StepDone, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """On to the next step; the last one of a pipeline resolves the ticket, and its result is kept like the others'."""
    check_result(ticket, report)
    onward = after(ticket, report)
    done = report.model_copy(update={"name": onward.step})
    if onward.needs:
        return [moves.advance(ticket, done, next_needs=onward.needs, flow=onward.flow, reason=onward.reason, **at)]
    steps = ticket.steps | {done.name: moves.step_result(ticket, done, asked.now)}
    whole = ticket.changed(steps=steps, step=done.name, flow=onward.flow)
    first, *rest = _resolved(whole, ending(whole), asked, at)
    line = first.line.model_copy(update={"detail": first.line.detail | {"step": done.name, "step_result": done.result}})
    return [replace(first, line=line), *rest]


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
        wanted = [Part(to=a, title=ticket.title, question=question) for a in dict.fromkeys(missing)]
        return handed_on(ticket, wanted, report, asked, at)
    escalated = any(a.get("type") == "escalation" for a in ticket.answers)
    if report.requires_escalation and not escalated:
        deciders = [a for a in asked.team.decision_makers() if a != ticket.assigned_to]
        if deciders:
            wanted = [Part(to=deciders[0], type="escalation", title=ticket.title, question=question)]
            return handed_on(ticket, wanted, report, asked, at)
    return submitted(ticket, report, asked, at) or leaves(ticket, report, ticket.assigned_to, asked, at)


def _ask_human(ticket: Ticket, report: AskHuman, asked: Asked, at: dict[str, Any]) -> list[Change]:
    nos = denials(a for t in [*(asked.ancestors() if ticket.lineage else []), ticket] for a in t.answers)
    for no in nos:
        if same_wish(report.action, report.arguments, no):
            raise BadInput(
                f"{ticket.number}: {report.action} with these arguments was denied by {no.get('agent')} "
                f"({no.get('number')}): do not ask again, nor with other words. Go on without it.",
                field="action",
            )
    to = _asked_again(ticket, report, last_no(report.action, nos), asked)
    wanted = Part(
        type="approval", title=f"Approve {report.action} for {ticket.number}?", question=report.why, to=to,
        needs=[] if to else ["approval"],
    )  # fmt: skip
    packet = packet_of(ticket, report.why, None).model_copy(update={"human_approval_needed": True})
    child = child_of(
        ticket, wanted, asked, source="approval", packet=packet, links=[], excluded=[ticket.assigned_to],
        context={
            "action": report.action, "arguments": report.arguments, "why": report.why,
            "hash": action_hash(report.action, report.arguments),
        },
        expires_at=asked.now + asked.settings.approval_expires_s,
    )  # fmt: skip
    return [moves.ask(ticket, report, child.after, **at), child]


def _asked_again(ticket: Ticket, report: AskHuman, no: Mapping[str, Any] | None, asked: Asked) -> str | None:
    """Whom the agent asks. After a no to that action whoever said it, so that nobody looks for a milder one: only from
    a program to a person is a step up. A closed gate names its approver in any case (coordinator/approval.py)."""
    who = str(no.get("agent") or "") if no else ""
    if not who or who == ticket.assigned_to or "approval" not in asked.team.can(who):
        return report.to
    steps_up = report.to is not None and _is_person(report.to, asked) and not _is_person(who, asked)
    return report.to if steps_up else who


def _is_person(name: str, asked: Asked) -> bool:
    spec = asked.team.agents.get(name)
    return name in asked.team.people or (spec is not None and spec.human)


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
