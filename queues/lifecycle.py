"""THE table: in which states a ticket can be, and which moves there are. Everything else follows it.

A state says who must act next. A move says who may ask for it, which states it leaves, which one it enters and
whether the holder changes with it: a change of holder raises the fencing token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["MOVES", "NOTES", "OPEN", "QUEUE_OF", "Move", "MoveRow", "Queue", "State", "legal_moves", "row"]


class Queue(StrEnum):
    INTAKE = "intake"
    ACTIVE = "active"
    COMPLETED = "completed"


class State(StrEnum):
    NEW = "new"  # coordinator: triage
    SCHEDULED = "scheduled"  # its timer (not before)
    READY = "ready"  # coordinator: find a free agent who can
    ASSIGNED = "assigned"  # the agent named on it: claim before the claim deadline
    WORKING = "working"  # that agent: report before the lease runs out
    WAITING = "waiting"  # its children, the requester's reply, or a named owner with a timer
    RESOLVED = "resolved"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = State
QUEUE_OF: dict[State, Queue] = {
    S.NEW: Queue.INTAKE,
    S.SCHEDULED: Queue.INTAKE,
    S.READY: Queue.INTAKE,
    S.ASSIGNED: Queue.ACTIVE,
    S.WORKING: Queue.ACTIVE,
    S.WAITING: Queue.ACTIVE,
    S.RESOLVED: Queue.COMPLETED,
    S.FAILED: Queue.COMPLETED,
    S.CANCELLED: Queue.COMPLETED,
}
CLOSED = frozenset({S.RESOLVED, S.FAILED, S.CANCELLED})
OPEN = frozenset(State) - CLOSED
HELD = frozenset({S.ASSIGNED, S.WORKING})  # a slot of its agent is taken, in these states and no others


class Move(StrEnum):
    ACCEPT = "accept"
    TRIAGE = "triage"
    WAKE = "wake"
    ASSIGN = "assign"
    CLAIM = "claim"
    GIVE_BACK = "give_back"
    ADVANCE = "advance"
    SUBMIT = "submit"
    RESOLVE = "resolve"
    ANSWER = "answer"
    SEND_BACK = "send_back"
    HAND_OFF = "hand_off"
    ASK = "ask"
    BLOCK = "block"
    DEFER = "defer"
    RESUME = "resume"
    ESCALATE = "escalate"
    FAIL = "fail"
    CANCEL = "cancel"
    RECOVER = "recover"
    REOPEN = "reopen"
    ADMIT = "admit"
    WITHHOLD = "withhold"
    EDIT = "edit"
    JOIN = "join"
    REASSIGN = "reassign"
    SNOOZE = "snooze"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One row of the table. An empty `leaves` means the ticket does not exist yet."""

    move: Move
    by: frozenset[str]  # kinds of actor: door, coordinator, timer, agent, person
    leaves: frozenset[State]
    enters: frozenset[State]
    acknowledged: bool = False  # the caller hears yes only when the line stands in SQL


def _r(
    move: Move, by: str, leaves: Iterable[State], enters: Iterable[State], acknowledged: bool = False
) -> tuple[Move, MoveRow]:
    return move, MoveRow(move, frozenset(by.split()), frozenset(leaves), frozenset(enters), acknowledged)


M = Move
MOVES: dict[Move, MoveRow] = dict(
    [
        #  move       asked for by                    leaves                          enters
        _r(M.ACCEPT, "door agent coordinator person", [], [S.NEW], acknowledged=True),
        # from ready: the team file has changed, and somebody can do now what nobody could
        _r(M.TRIAGE, "coordinator", [S.NEW, S.READY], [S.READY, S.SCHEDULED, S.CANCELLED]),
        _r(M.WAKE, "timer", [S.SCHEDULED], [S.READY]),
        _r(M.ASSIGN, "coordinator", [S.READY], [S.ASSIGNED]),
        _r(M.CLAIM, "agent person", [S.ASSIGNED], [S.WORKING]),
        _r(M.GIVE_BACK, "agent timer coordinator person", HELD, [S.READY]),
        _r(M.ADVANCE, "agent person", [S.WORKING], [S.READY]),
        _r(M.SUBMIT, "agent person", [S.WORKING], [S.READY]),
        # from waiting: a result that was withheld until the action hours leaves now
        _r(M.RESOLVE, "agent person timer", [S.WORKING, S.WAITING], [S.RESOLVED], acknowledged=True),
        # a person decides an approval wherever it stands, also while an agent is about to look at it
        _r(M.ANSWER, "person", OPEN, [S.RESOLVED], acknowledged=True),
        _r(M.SEND_BACK, "agent person", [S.WORKING], [S.READY]),
        _r(M.HAND_OFF, "agent person", [S.WORKING], [S.WAITING], acknowledged=True),
        _r(M.ASK, "agent person", [S.WORKING], [S.WAITING], acknowledged=True),
        _r(M.BLOCK, "agent person", [S.WORKING], [S.WAITING]),
        _r(M.DEFER, "agent person", [S.WORKING], [S.SCHEDULED]),
        _r(M.RESUME, "coordinator person timer door", [S.WAITING], [S.READY]),
        _r(M.ESCALATE, "timer", OPEN, [*OPEN]),  # the same state, or ready where it reassigns
        _r(M.FAIL, "agent coordinator timer person", OPEN, [S.FAILED]),
        _r(M.CANCEL, "person door coordinator", OPEN, [S.CANCELLED], acknowledged=True),
        _r(M.RECOVER, "coordinator", HELD, [S.READY]),
        _r(M.REOPEN, "person door", CLOSED, [S.READY], acknowledged=True),
        _r(M.ADMIT, "coordinator", [S.READY], [S.READY]),  # its customer's turn has come
        _r(M.WITHHOLD, "agent person", [S.WORKING], [S.WAITING], acknowledged=True),  # done; leaves at action hours
        _r(M.EDIT, "person door coordinator", OPEN, [*OPEN]),  # the same state
        _r(M.JOIN, "door person coordinator agent", OPEN, [*OPEN], acknowledged=True),  # the same state
        _r(M.REASSIGN, "person", [S.READY, S.SCHEDULED, S.ASSIGNED, S.WORKING], [S.READY]),
        _r(M.SNOOZE, "person", [S.READY, S.SCHEDULED, S.ASSIGNED, S.WORKING], [S.SCHEDULED]),
        _r(M.MERGE, "person", OPEN, [S.CANCELLED], acknowledged=True),
    ]
)
NOTES = frozenset({"note", "held", "erase", "outcome"})  # lines that move nothing: legal in every state
IN_PLACE = frozenset({M.EDIT, M.JOIN})  # they change what a ticket says, never where it stands
REASSIGNABLE = frozenset({S.NEW, S.READY, S.ASSIGNED, S.WORKING})  # an escalation may give these to somebody else


def row(move: Move) -> MoveRow:
    """The row of `move`."""
    return MOVES[move]


def legal_moves(state: State | None) -> list[Move]:
    """Moves that leave `state` (None = the ticket does not exist yet), in the table's order."""
    return [m for m, r in MOVES.items() if (state in r.leaves if state else not r.leaves)]


def allows(move: Move, actor_kind: str, before: State | None, after: State) -> bool:
    """Whether the table lets `actor_kind` take a ticket from `before` to `after` by `move`."""
    r = MOVES[move]
    if actor_kind not in r.by or after not in r.enters or (before not in r.leaves if before else bool(r.leaves)):
        return False
    if move is M.RESOLVE and (actor_kind == "timer") is not (before is S.WAITING):
        return False  # only a withheld result leaves from waiting, and only by its timer
    if move in IN_PLACE:
        return after is before
    if move is M.ESCALATE:
        return after is before or (after is S.READY and before in REASSIGNABLE)
    return True
