"""One function per move: a ticket and what was decided go in, the change to commit comes out. All pure.

What people do stands in moves_of_people.py, the review of a reply in moves_of_review.py. Every change passes
`moving.changed`, which asks the lifecycle table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .lifecycle import Move, State
from .moves_of_people import answer, cancel, edit, join, merge, reassign, reopen, snooze
from .moves_of_review import judged, send_back, submit, verdict_of
from .moving import by_agent, changed, line_of, next_token, report_op
from .report import AskHuman, AskRequester, Blocked, Failed, HandOff, Later, Resolved, StepDone
from .store import Change, Idempotency
from .ticket import Attempts, Draft, FlowPlace, Ticket

__all__ = [
    "accept", "admit", "advance", "answer", "ask", "assign", "block", "cancel", "claim", "defer", "edit", "escalate",
    "fail", "give_back", "hand_off", "join", "judged", "merge", "next_token", "note", "reassign", "recover", "release",
    "reopen", "report_op", "resolve", "resume", "send_back", "snooze", "step_result", "submit", "triage", "wake",
    "withhold",
]  # fmt: skip

ONE_DAY_S = 86_400.0
REQUESTER_S = 7 * ONE_DAY_S  # a requester who does not answer for so long: the agent decides what to do


def accept(
    draft: Draft, *, ticket_id: str, number: str, team: str, actor: str, now: float, epoch: int, trace_id: str,
    idempotency: Idempotency | None = None, **lineage: Any,
) -> Change:  # fmt: skip
    """A new ticket from a draft; `lineage` sets parent, children's fields and the packet."""
    first_line = next((line.strip() for line in draft.body.splitlines() if line.strip()), "")
    values: dict[str, Any] = draft.model_dump(exclude={"team", "number", "assigned_to", "title", "priority"})
    values |= {
        "title": draft.title or first_line[:140],
        "priority": draft.priority or "normal",
        "given_priority": draft.priority,
        "named": draft.assigned_to,
        "brought_by": actor,
    }
    after = Ticket(
        **(values | lineage), id=ticket_id, number=number, team=team, state=State.NEW, version=1,
        token=next_token(0, epoch), created_at=now, updated_at=now, due=now, trace_id=trace_id,
    )  # fmt: skip
    detail = draft.model_dump(exclude_defaults=True, exclude={"team"})
    if after.packet:
        detail["packet"] = after.packet.model_dump()
    line = line_of(after, Move.ACCEPT, actor, now, None, detail=detail)
    return Change(None, after, line, idempotency=idempotency)


def triage(
    ticket: Ticket, *, state: State, reasons: Sequence[str], actor: str, now: float, epoch: int, **decided: Any
) -> Change:
    values = decided | ({"ready_at": now} if state is State.READY else {})
    values |= {"closed_at": now} if state is State.CANCELLED else {}
    detail = {k: v for k, v in decided.items() if v not in (None, [], "")}
    return changed(
        ticket, Move.TRIAGE, actor, now, epoch, state, reason="; ".join(reasons), detail=detail,
        values=values | {"reason": "; ".join(reasons)},
    )  # fmt: skip


def wake(ticket: Ticket, *, now: float, epoch: int) -> Change:
    values = {"not_before": None, "ready_at": now}
    return changed(ticket, Move.WAKE, "timer:wake", now, epoch, State.READY, values=values)


def admit(ticket: Ticket, *, now: float, epoch: int) -> Change:
    """Its customer's turn has come: it stands with the others now."""
    reason = "one of its customer's ready tickets was taken"
    return changed(ticket, Move.ADMIT, "coordinator", now, epoch, State.READY, values={"behind": False}, reason=reason)


def assign(
    ticket: Ticket, agent: str, *, reasons: Sequence[str], capacity: int, claim_by: float | None, now: float,
    epoch: int, weight: int = 1,
) -> Change:  # fmt: skip
    """Give it to `agent`: `weight` slots are taken, or the commit is refused with `slots`."""
    reason = "; ".join(reasons)
    values = {
        "assigned_to": agent, "assigned_at": now, "claim_by": claim_by, "reason": reason, "weight": weight,
        "behind": False,
    }  # fmt: skip
    return changed(
        ticket, Move.ASSIGN, "coordinator", now, epoch, State.ASSIGNED, values=values, reason=reason, capacity=capacity
    )


def claim(ticket: Ticket, worker: str, *, alone: bool, lease_until: float | None, now: float, epoch: int) -> Change:
    values = {
        "worker": worker, "alone": alone, "lease_until": lease_until, "claim_by": None, "accept_by": None,
        "last_op": f"claim:{worker}",
    }  # fmt: skip
    return changed(
        ticket, Move.CLAIM, f"agent:{ticket.assigned_to}", now, epoch, State.WORKING, values=values,
        detail={"worker": worker, "lease_until": lease_until} | ({"alone": True} if alone else {}),
    )  # fmt: skip


def give_back(
    ticket: Ticket, *, reason: str, actor: str, now: float, epoch: int, counter: str = "", held: int | None = None,
    suspect: bool | None = None, **values: Any,
) -> Change:  # fmt: skip
    """Back to ready. `counter`: undelivered, handed_back or crashed."""
    values = {"ready_at": now, "reason": reason} | values
    if counter:
        values["attempts"] = _counted(ticket, counter)
    if suspect is not None:
        values["suspect"] = suspect
    return changed(
        ticket, Move.GIVE_BACK, actor, now, epoch, State.READY, values=values, reason=reason, held=held,
        detail={"counter": counter} if counter else None,
    )  # fmt: skip


def recover(ticket: Ticket, *, now: float, epoch: int) -> Change:
    """After a rebuild nobody is known to hold anything; the agent that did is asked first."""
    values = {"prefers": ticket.assigned_to, "ready_at": now, "reason": "the queues were rebuilt from the ledger"}
    return changed(
        ticket, Move.RECOVER, "coordinator", now, epoch, State.READY, values=values, reason=str(values["reason"])
    )


def advance(
    ticket: Ticket, report: StepDone, *, next_needs: list[str], held: int, now: float, epoch: int, reason: str = "",
    flow: FlowPlace | None = None,
) -> Change:  # fmt: skip
    """On to whoever can `next_needs`; `reason` says why there."""
    result = step_result(ticket, report, now)
    values = {
        "steps": ticket.steps | {report.name: result}, "step": report.name, "needs": next_needs, "named": None,
        "prefers": None, "ready_at": now, "flow": flow,
        "reason": reason or ticket.reason,
    }  # fmt: skip
    detail = {"step": report.name, **result, "needs": next_needs} | ({"reason": reason} if reason else {})
    return by_agent(ticket, Move.ADVANCE, State.READY, held, now, epoch, values, detail)


def step_result(ticket: Ticket, report: StepDone, now: float) -> dict[str, Any]:
    """What stands under `steps` of a step that is done."""
    return {"result": report.result, "confidence": report.confidence, "agent": ticket.assigned_to, "at": now}


def resolve(
    ticket: Ticket, report: Resolved, *, author: str | None, held: int | None, now: float, epoch: int, **values: Any
) -> Change:
    """Done. `author` has done it, also where it is a checker who lets it leave; `values`: see `judged`."""
    values = values | {
        "result": report.model_dump(), "closed_at": now, "reason": report.reason, "suspect": False,
        "first_reply_at": ticket.first_reply_at or now, "assigned_to": author,
    }  # fmt: skip
    detail = report.model_dump() | verdict_of(values)
    return by_agent(ticket, Move.RESOLVE, State.RESOLVED, held, now, epoch, values, detail)


def withhold(
    ticket: Ticket, report: Resolved, *, author: str | None, until: float, held: int, now: float, epoch: int,
    **values: Any,
) -> Change:  # fmt: skip
    """The work is done; its result is a side effect, and leaves when the action hours of its author begin."""
    values = values | {
        "result": report.model_dump(), "withheld": True, "waits_for": "action hours", "waits_until": until,
        "prefers": author, "suspect": False, "ladder_at": None,
    }  # fmt: skip
    detail = report.model_dump() | verdict_of(values)
    return by_agent(ticket, Move.WITHHOLD, State.WAITING, held, now, epoch, values, detail)


def release(ticket: Ticket, *, now: float, epoch: int) -> Change:
    """A withheld result leaves: action hours have begun."""
    values = {
        "withheld": False, "waits_for": "", "waits_until": None, "closed_at": now, "assigned_to": ticket.prefers,
        "first_reply_at": ticket.first_reply_at or now,
    }  # fmt: skip
    reason = "action hours have begun"
    return changed(ticket, Move.RESOLVE, "timer:wait", now, epoch, State.RESOLVED, values=values, reason=reason)


def hand_off(
    ticket: Ticket, children: Iterable[Ticket], report: HandOff | Resolved, *, held: int, now: float, epoch: int
) -> Change:
    """Wait for the children; the agent that asked goes on with their results."""
    made = list(children)
    values = {
        "children": [*ticket.children, *(c.id for c in made)],
        "awaits": [c.id for c in made], "waits_for": "children", "waits_until": None,
        "prefers": ticket.assigned_to, "suspect": False,
        "reason": report.why if isinstance(report, HandOff) else report.reason,
    }  # fmt: skip
    detail = report.model_dump() | {"children": [c.number for c in made]}
    return by_agent(ticket, Move.HAND_OFF, State.WAITING, held, now, epoch, values, detail)


def ask(
    ticket: Ticket, report: AskHuman | AskRequester, child: Ticket | None, *, held: int, now: float, epoch: int
) -> Change:
    values: dict[str, Any] = {
        "prefers": ticket.assigned_to, "waits_for": "requester", "waits_until": now + REQUESTER_S,
    }  # fmt: skip
    detail = report.model_dump()
    if child is None:
        # The ladder's clock stands while the requester is asked.
        left = None if ticket.ladder_at is None else max(0.0, ticket.ladder_at - now)
        values |= {"ladder_left": left, "ladder_at": None, "first_reply_at": ticket.first_reply_at or now}
        values["reason"] = detail["question"]
    if child is not None:
        values |= {"children": [*ticket.children, child.id], "awaits": [child.id], "waits_for": "children"}
        values["waits_until"] = None
        detail["children"] = [child.number]
    return by_agent(ticket, Move.ASK, State.WAITING, held, now, epoch, values, detail)


def block(ticket: Ticket, report: Blocked, *, held: int, now: float, epoch: int) -> Change:
    until = report.until if report.until is not None else now + ONE_DAY_S
    values = {"waits_for": f"{report.owner}: {report.action}", "waits_until": until, "prefers": ticket.assigned_to}
    return by_agent(ticket, Move.BLOCK, State.WAITING, held, now, epoch, values, report.model_dump())


def defer(
    ticket: Ticket, report: Later | Failed, *, until: float, held: int, now: float, epoch: int, **values: Any
) -> Change:  # fmt: skip
    values = {"not_before": until} | values
    if isinstance(report, Failed):
        values |= {"attempts": _counted(ticket, "handed_back"), "reason": report.error[:500]}
    else:
        values["prefers"] = ticket.assigned_to
    return by_agent(
        ticket, Move.DEFER, State.SCHEDULED, held, now, epoch, values, report.model_dump() | {"until": until}
    )


def resume(ticket: Ticket, answers: list[dict[str, Any]], *, actor: str, reason: str, now: float, epoch: int) -> Change:
    values = {
        "answers": [*ticket.answers, *answers], "awaits": [], "waits_for": "", "waits_until": None, "ready_at": now,
        "reason": reason, "withheld": False,
    }  # fmt: skip
    if any(answer.get("aided") for answer in answers):
        values["aided"] = True
    if ticket.ladder_left is not None:
        values |= {"ladder_at": now + ticket.ladder_left, "ladder_left": None}
    return changed(
        ticket, Move.RESUME, actor, now, epoch, State.READY, values=values, reason=reason, detail={"answers": answers}
    )


def escalate(
    ticket: Ticket, *, ladder: int, ladder_at: float | None, told: Sequence[str], to: str | None, reason: str,
    now: float, epoch: int, actor: str = "timer:ladder", **values: Any,
) -> Change:  # fmt: skip
    """One step of the ladder: somebody is told, or (`to`) somebody else gets it."""
    values = {"ladder": ladder, "ladder_at": ladder_at, "escalations": ticket.escalations + 1} | values
    if to is not None or {"named", "needs"} & values.keys():
        values["behind"] = False  # whom it is given to does not wait for the customer's other tickets
    state = ticket.state
    if to is not None:
        state = State.READY
        values |= {"named": to, "prefers": None, "ready_at": now, "reason": reason}
    detail = {"step": ladder, "told": list(told)} | ({"reassigned_to": to} if to else {})
    return changed(ticket, Move.ESCALATE, actor, now, epoch, state, values=values, reason=reason, detail=detail)


def fail(
    ticket: Ticket, *, reason: str, actor: str, now: float, epoch: int, held: int | None = None, **values: Any
) -> Change:
    result = {"kind": "failed", "error": reason}
    return changed(
        ticket, Move.FAIL, actor, now, epoch, State.FAILED, reason=reason, held=held, detail=result,
        values={"closed_at": now, "reason": reason, "result": result} | values,
    )  # fmt: skip


def note(
    ticket: Ticket, text: str, *, actor: str, now: float, kind: str = "note", held: int | None = None, **detail: Any
) -> Change:
    """A ledger line without a move."""
    line = line_of(ticket, kind, actor, now, ticket.state, reason=text, detail=detail)
    return Change(ticket, ticket, line, note=True, held=held)


def _counted(ticket: Ticket, counter: str) -> Attempts:
    return ticket.attempts.model_copy(update={counter: getattr(ticket.attempts, counter) + 1})
