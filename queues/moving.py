"""The one way a ticket is moved: the lifecycle table is asked, and the fencing token rises where the holder changes."""

from __future__ import annotations

from typing import Any

from .errors import IllegalMove
from .lifecycle import HELD, OPEN, Move, State, allows, legal_moves
from .store import Change
from .ticket import Line, Ticket

__all__ = ["by_agent", "changed", "line_of", "next_token", "report_op"]

EPOCH_STEP = 1_000_000
NO_AID = frozenset({Move.ACCEPT, Move.JOIN, Move.CLAIM})  # to bring a ticket, or to begin on it, is no help yet
FREE: dict[str, Any] = {"assigned_to": None, "worker": None, "alone": False, "claim_by": None, "lease_until": None}


def changed(
    ticket: Ticket, move: Move, actor: str, now: float, epoch: int, state: State, *,
    values: dict[str, Any] | None = None, reason: str = "", detail: dict[str, Any] | None = None,
    held: int | None = None, capacity: int | None = None,
) -> Change:  # fmt: skip
    kind = actor.partition(":")[0]
    if not allows(move, kind, ticket.state, state):
        raise IllegalMove(ticket.number, move, ticket.state, legal_moves(ticket.state), kind)
    values = dict(values or {})
    if kind == "person" and not ticket.aided and move not in NO_AID:
        values["aided"] = True
    if ticket.state in HELD and state not in HELD:
        free = FREE if state in OPEN else {"lease_until": None}  # a closed ticket tells who did it
        values = free | values
    moved = state is not ticket.state
    after = ticket.changed(
        **values, state=state, version=ticket.version + 1, updated_at=now,
        token=next_token(ticket.token, epoch) if moved else ticket.token,
    )  # fmt: skip
    line = line_of(after, move, actor, now, ticket.state, reason=reason, detail=detail or {})
    if line.agent is None:
        line.agent = ticket.assigned_to
    return Change(ticket, after, line, held=held, capacity=capacity)


def by_agent(
    ticket: Ticket, move: Move, state: State, held: int | None, now: float, epoch: int, values: dict[str, Any],
    detail: dict[str, Any],
) -> Change:  # fmt: skip
    """A report of the holding agent; repeated, it gets the stored answer."""
    values = values | {"last_op": report_op(ticket), "turns": ticket.turns + 1}
    actor = f"agent:{ticket.assigned_to}"
    reason = str(detail.get("reason") or detail.get("error") or detail.get("why") or "")
    return changed(ticket, move, actor, now, epoch, state, values=values, detail=detail, held=held, reason=reason)


def report_op(ticket: Ticket) -> str:
    """The operation id of the holder's report: with the same token by the same agent, it is the same report."""
    return f"report:{ticket.token}:{ticket.assigned_to}"


def line_of(
    after: Ticket, move: str, actor: str, now: float, before: State | None, *, reason: str = "",
    detail: dict[str, Any] | None = None,
) -> Line:  # fmt: skip
    return Line(
        ticket=after.id, number=after.number, move=str(move), actor=actor, at=now, before=before, after=after.state,
        version=after.version, token=after.token, life=after.life, agent=after.assigned_to, reason=reason,
        detail=detail or {},
    )  # fmt: skip


def next_token(token: int, epoch: int) -> int:
    """The next fencing token: higher than every one before it, also than any of an earlier epoch (I3)."""
    return max(token + 1, epoch * EPOCH_STEP)
