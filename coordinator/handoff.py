"""Decide when a ticket that waits for its children goes on, and what they bring back.

A child brings back everything it said, however it ended: a failed or cancelled child is an answer too, and the agent
that asked must hear it. Nobody is woken by a part of the answers: a fan-out joins. A ticket that was only blocked on
another one hears that it closed, and nothing of what was said there: that may be another customer's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shiftlead.queues.denials import denials
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

__all__ = ["answer_of", "joined"]


def joined(ticket: Ticket, children: Sequence[Ticket | None]) -> list[dict[str, Any]] | None:
    """The answers of all awaited children, in the order they were asked; None while one is open."""
    if ticket.state is not State.WAITING or not ticket.awaits:
        return None
    if any(child is not None and child.is_open for child in children):
        return None
    tell = answer_of if ticket.waits_for in ("", "children") else _word_of
    return [
        tell(child) if child is not None else {"ticket": awaited, "state": "unknown", "error": "it is not to be found"}
        for awaited, child in zip(ticket.awaits, children, strict=True)
    ]


def answer_of(child: Ticket) -> dict[str, Any]:
    """What a closed child tells the ticket that waits for it."""
    result = child.result or {}
    answer: dict[str, Any] = {
        "ticket": child.id,
        "number": child.number,
        "type": child.type,
        "title": child.title,
        "needs": child.needs,
        "state": str(child.state),
        "aided": child.aided,
        "agent": child.assigned_to or result.get("agent") or child.named or "",
        "asked_of": child.asked_of,
        "question": child.body,
        "reply": result.get("reply", ""),
        "summary": result.get("summary", ""),
        "evidence": result.get("evidence", []),
    }
    if denied := denials(child.answers):  # a no to a part is a no to the whole: queues/denials.py
        answer["denied"] = denied
    if child.context.get("bound"):  # written by queues/handing_on.py: who asked does not try the same way again
        answer["bound"] = child.context["bound"]
    if child.state is not State.RESOLVED:
        answer["error"] = result.get("error") or child.reason
    if child.type == "approval":
        approved = child.state is State.RESOLVED and result.get("decision") == "approve"
        answer |= {
            "decision": "approve" if approved else "deny",
            "action": child.context.get("action"),
            "arguments": child.context.get("arguments"),
            "hash": child.context.get("hash"),
            "reason": result.get("reason") or result.get("reply") or child.reason,
        }
    return answer


def _word_of(blocker: Ticket) -> dict[str, Any]:
    """Only that it closed, and how: no decision in it is the waiting ticket's, whatever its type says."""
    return {"ticket": blocker.id, "number": blocker.number, "type": "blocker", "state": str(blocker.state)}
