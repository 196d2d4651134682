"""The moves of a review: a finished reply is submitted, and sent back where it is not right (SD-07, SD-08).

What the ticket was before it was submitted stands in `Ticket.review`, and comes back with the verdict. A reply that
passed leaves by moves.resolve or moves.withhold, with the same fields.
"""

from __future__ import annotations

from typing import Any

from .lifecycle import Move, State
from .moving import by_agent
from .report import Resolved, Reviewed
from .review import Review
from .store import Change
from .ticket import Ticket

__all__ = ["judged", "send_back", "submit", "verdict_of"]


def submit(ticket: Ticket, report: Resolved, *, to: str, reason: str, held: int, now: float, epoch: int) -> Change:
    """The reply is looked at by somebody who can `to`, and by nobody who wrote at it."""
    author, before = ticket.assigned_to or "", ticket.review
    authors = [*(a for a in (before.authors if before else []) if a != author), author]
    verdict = before.verdict if before else None
    review = Review(
        authors=authors, needs=ticket.needs, excluded=ticket.excluded, step=ticket.step, verdict=verdict
    )  # fmt: skip
    values = {
        "result": report.model_dump(), "review": review, "needs": [to], "named": None, "step": "review",
        "excluded": list(dict.fromkeys([*ticket.excluded, *authors])), "prefers": (verdict or {}).get("by"),
        "ready_at": now, "reason": reason,
    }  # fmt: skip
    return by_agent(ticket, Move.SUBMIT, State.READY, held, now, epoch, values, report.model_dump())


def send_back(
    ticket: Ticket, report: Reviewed, *, prefers: str | None, named: str | None, held: int, now: float, epoch: int,
    reason: str = "",
) -> Change:  # fmt: skip
    """The reply is revised: by whoever it `prefers` or by somebody else who has what the ticket needed before the
    review, or by `named` alone."""
    values = judged(ticket, report) | {
        "checks": report.failed_checks, "round": ticket.round + 1, "prefers": prefers, "named": named,
        "ready_at": now, "reason": reason,
    }  # fmt: skip
    detail = report.model_dump(exclude={"findings"}) | verdict_of(values) | {"to": named or prefers, "reason": reason}
    return by_agent(ticket, Move.SEND_BACK, State.READY, held, now, epoch, values, detail)


def judged(ticket: Ticket, report: Reviewed) -> dict[str, Any]:
    """The fields of a ticket whose reply was looked at: what it was before, and the verdict."""
    review = ticket.review
    assert review is not None
    verdict = {
        "by": ticket.assigned_to, "author": review.author, "round": ticket.round + 1, "passed": report.passed,
        "needs_revision": not report.passed, "failed_checks": report.failed_checks, "notes": report.notes,
        "findings": [finding.model_dump() for finding in report.findings],
    }  # fmt: skip
    closed = review.model_copy(update={"open": False, "verdict": verdict})
    return {"review": closed, "needs": review.needs, "excluded": review.excluded, "step": review.step, "checks": []}


def verdict_of(values: dict[str, Any]) -> dict[str, Any]:
    """What stands in the line beside the report of a judged reply."""
    return {"review": values["review"].verdict} if "review" in values else {}
