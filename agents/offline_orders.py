"""Shipping and returns, offline: what the shop's books say of the order, then the page that answers.

A matter that comes a second time is not answered with the same page twice: a person looks at it (SD-10).
"""

from __future__ import annotations

import re

from .agent import HandOff, Packet, Report, Work
from .cues import answers_of, complaint_cue, cut, said
from .knowledge import Knowledge
from .offline_shop import Order, order_of, seen_before, with_page
from .offline_support import complaint, reply_from_answers

__all__ = ["returns", "shipping"]

WINDOW_DAYS = 30  # as the returns pages say
SENT_BACK = re.compile(
    r"\b(?:sent|shipped|returned|posted|dropped)\b[^.!?]{0,40}\b(?:back|it|them|off|return)\b[^?]{0,200}\b(?:refund|money)",
    re.I,
)


def shipping(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket about a delivery."""
    if answers_of(work):
        return reply_from_answers(work)
    if cue := complaint_cue(work.text):
        return complaint(work, cue)
    number, order, _ = order_of(work)
    if before := seen_before(work, number):
        why = f"order {number} was asked about before ({before.number}), and it is not settled"
        return with_page(
            work,
            knowledge,
            _stands(number, order),
            why,
            requires_escalation=True,
            reason=f"{why}: {cut(said(work), 400)}",
        )
    return with_page(work, knowledge, _stands(number, order), "told where the order is" if order else "answered")


def returns(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket about a return or an exchange."""
    if answers_of(work):
        return reply_from_answers(work)
    if cue := complaint_cue(work.text):
        return complaint(work, cue)
    number, order, _ = order_of(work)
    if order and SENT_BACK.search(work.text) and (not work.team_can or "billing" in work.team_can):
        return _to_billing(work, number)
    return with_page(work, knowledge, _may_return(number, order), "told about the return" if order else "answered")


def _stands(number: str, order: Order | None) -> str:
    if order is None:
        return ""
    days = order["days_since_purchase"]
    return f"Order {number} is {order['status']}; it was placed on {order['purchased_on']}, {days} days ago."


def _may_return(number: str, order: Order | None) -> str:
    if order is None:
        return ""
    days = order["days_since_purchase"]
    items = ", ".join(dict.fromkeys(i["name"] for i in order["items"]))
    if days > WINDOW_DAYS:
        return (
            f"Order {number} ({items}) was placed {days} days ago. The {WINDOW_DAYS} days for a return are over; a "
            "defect is another matter, tell us if it is one."
        )
    return f"Order {number} ({items}) was placed {days} days ago, so it may come back until day {WINDOW_DAYS}."


def _to_billing(work: Work, number: str) -> Report:
    """The goods went back and the money is missing: billing acts, and we tell the customer."""
    return HandOff(
        needs=["billing"],
        type="refund",
        title=f"Refund for returned order {number}",
        question=f"Order {number} was sent back, and its refund is asked for. They write: {cut(said(work), 1000)}",
        packet=Packet(
            task_id=work.ticket.number, source=work.ticket.source, urgency=work.ticket.priority,
            impact_summary=f"{work.ticket.customer or 'A customer'} waits for money of order {number}.",
            evidence_snippets=[cut(said(work), 300)], next_questions=["Has the parcel been booked in?"],
            state={"order": number, "by": "offline brain"},
        ),
    )  # fmt: skip
