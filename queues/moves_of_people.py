"""What people do to tickets, one function per move. Every one has an actor and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .approvals import confirmed
from .lifecycle import Move, State
from .moving import changed
from .report import Resolved
from .store import Change, Idempotency
from .ticket import Attempts, Ticket

__all__ = ["answer", "cancel", "edit", "join", "merge", "reassign", "reopen", "snooze"]


def answer(ticket: Ticket, report: Resolved, *, actor: str, now: float, epoch: int) -> Change:
    """A person's word on an approval, bound to the action's hash; a yes says what it confirms."""
    values = {
        "result": report.model_dump(), "closed_at": now, "reason": report.reason,
        "assigned_to": actor.partition(":")[2], "worker": None,
    }  # fmt: skip
    detail = report.model_dump() | {"action": ticket.context.get("action"), "hash": ticket.context.get("hash")}
    if report.decision == "approve" and (terms := confirmed(ticket)):
        detail["confirmed"] = terms
    return changed(
        ticket, Move.ANSWER, actor, now, epoch, State.RESOLVED, values=values, detail=detail, reason=report.reason
    )


def cancel(ticket: Ticket, *, reason: str, actor: str, now: float, epoch: int) -> Change:
    return changed(
        ticket,
        Move.CANCEL,
        actor,
        now,
        epoch,
        State.CANCELLED,
        reason=reason,
        values={"closed_at": now, "reason": reason},
    )


def reopen(
    ticket: Ticket, *, reason: str, actor: str, now: float, epoch: int, due: float, ladder_at: float | None,
    marks: Sequence[str],
) -> Change:  # fmt: skip
    values: dict[str, Any] = {
        "life": ticket.life + 1, "closed_at": None, "ready_at": now, "due": due, "ladder": 0, "ladder_at": ladder_at,
        "attempts": Attempts(), "failures": {}, "turns": 0, "result": None, "reason": reason, "expires_at": None,
        "awaits": [], "answers": [], "waits_for": "", "waits_until": None, "named": None, "withheld": False,
        "suspect": False, "ladder_left": None, "behind": False, "merged_into": None, "assigned_to": None,
        "accept_by": None, "marks": list(marks), "round": 0, "checks": [], "review": None,
    }  # fmt: skip
    if ticket.review is not None and ticket.review.open:  # closed while somebody was to look at its reply
        values |= ticket.review.model_dump(include={"needs", "excluded", "step"})
    return changed(ticket, Move.REOPEN, actor, now, epoch, State.READY, values=values, reason=reason)


def edit(
    ticket: Ticket, changes: dict[str, Any], *, actor: str, reason: str, now: float, epoch: int, **values: Any
) -> Change:
    """What a ticket says is set right; `values` is what follows from it, as a new due time."""
    before = {k: getattr(ticket, k) for k in changes}
    after = changes | values
    if ticket.review is not None and ticket.in_review and "needs" in changes:  # of its next author, not of its judge
        before["needs"] = ticket.review.needs
        review = ticket.review.model_copy(update={"needs": changes["needs"]})
        after |= {"review": review, "needs": ticket.needs, "named": ticket.named}
    return changed(
        ticket, Move.EDIT, actor, now, epoch, ticket.state, values=after, reason=reason,
        detail={"changed": changes, "before": before},
    )  # fmt: skip


def join(
    ticket: Ticket, entry: dict[str, Any], *, links: Sequence[str], marks: Sequence[str], text: str, actor: str,
    reason: str, now: float, epoch: int, idempotency: Idempotency | None = None,
) -> Change:  # fmt: skip
    """The same was brought once more: whoever brought it is kept, its links too, its text stands in the story."""
    values: dict[str, Any] = {
        "joined": [*ticket.joined, entry],
        "links": list(dict.fromkeys([*ticket.links, *links])),
        "marks": list(dict.fromkeys([*ticket.marks, *marks])),
    }
    change = changed(
        ticket, Move.JOIN, actor, now, epoch, ticket.state, values=values, reason=reason,
        detail={"joined": entry, "text": text, "links": list(links)},
    )  # fmt: skip
    return change if idempotency is None else replace(change, idempotency=idempotency)


def merge(ticket: Ticket, into: Ticket, *, actor: str, reason: str, now: float, epoch: int) -> Change:
    """A person says it is the same matter as `into`: it is closed, and lives on there."""
    why = f"merged into {into.number}" + (f": {reason}" if reason else "")
    values = {"closed_at": now, "reason": why, "merged_into": into.number, "marks": []}
    detail = {"into": into.number, "into_id": into.id}
    return changed(ticket, Move.MERGE, actor, now, epoch, State.CANCELLED, values=values, reason=why, detail=detail)


def reassign(
    ticket: Ticket, *, to: str | None, needs: Sequence[str], actor: str, reason: str, now: float, epoch: int
) -> Change:
    """A person gives it to somebody else: to `to`, or to whoever can `needs`.

    In review `to` judges the reply. Whoever can `needs` writes one, unless these are what its judge must have.
    """
    values: dict[str, Any] = {
        "named": to, "prefers": None, "ready_at": now, "not_before": None, "reason": reason, "behind": False,
    }  # fmt: skip
    if needs:
        values["needs"] = list(needs)
        if ticket.review is not None and ticket.in_review and not set(ticket.needs) <= set(needs):
            values |= ticket.review.model_dump(include={"excluded", "step"})
            values["review"] = ticket.review.model_copy(update={"open": False})
    detail = {"to": to} if to else {"needs": list(needs)}
    return changed(ticket, Move.REASSIGN, actor, now, epoch, State.READY, values=values, reason=reason, detail=detail)


def snooze(ticket: Ticket, *, until: float, actor: str, reason: str, now: float, epoch: int) -> Change:
    """A person puts it off. Its ladder's clock goes on: whoever is told late is told for a reason."""
    values: dict[str, Any] = {"not_before": until, "prefers": ticket.assigned_to or ticket.prefers, "reason": reason}
    return changed(
        ticket, Move.SNOOZE, actor, now, epoch, State.SCHEDULED, values=values, reason=reason, detail={"until": until}
    )
