"""The offline checker: bad replies fail by the name of what is wrong with them, good ones pass (SD-07)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import Failed, Finding, FollowUp, Resolved, Reviewed, Work
from shiftlead.agents.checker import CHECKS, floor, review
from shiftlead.agents.knowledge import Knowledge
from shiftlead.agents.offline import OfflineBrain
from shiftlead.queues.review import Review
from shiftlead.queues.ticket import Line, Ticket

NOW = 1_800_000_000.0
PAGES = """# Refunds
## How long a refund takes
A refund goes back to the payment method of the order within 5 to 7 business days. Gift cards show it immediately.

## Returns
You can return an unused item within 30 days. The return label is free.
There is a restocking fee of 15 % for opened items.

# Contact
## How to reach us
Write to help@shop.example, call +1 555 010 9999, or see https://shop.example/returns for the label.
We answer within 4 hours.

# Account
## Resetting the password
Choose "Forgot password" on the login page. We never ask for your password or a full card number.
"""
ORDER = {
    "order_id": "#W4689314", "status": "delivered", "paid": 2895.55, "refunded": 0, "refundable": 2895.55,
    "purchased_on": "2026-12-16", "days_since_purchase": 12, "payment_method_id": "credit_card_8897086",
    "items": [{"item_id": "9999", "name": "Camera", "price": 2700.05}, {"name": "Bag", "price": 195.5}],
}  # fmt: skip
GOLD = {"customer_id": "sofia_li_9219", "name": "Sofia Li", "tier": "gold", "email": "sofia@example.com"}
REFUNDED = {
    "type": "effect", "tool": "process_refund", "target": "#W4689314", "status": "done",
    "result": {"order_id": "#W4689314", "amount": 620.0, "currency": "USD", "refunded_in_all": 620.0},
}  # fmt: skip
YES = {
    "type": "approval", "state": "resolved", "decision": "approve", "number": "T-2026-009", "agent": "mara",
    "action": "process_refund", "arguments": {"order_id": "#W4689314", "amount": 620.0},
}  # fmt: skip
WHERE = "Where is my refund for order #W4689314?"
HELLO, SIGNED = "Hello,\n\n", "\n\nYour support team"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    folder = tmp_path_factory.mktemp("knowledge")
    (folder / "shop.md").write_text(PAGES)
    return Knowledge(folder)


def some_work(
    reply: str, request: str = WHERE, *, tools: tuple[Any, ...] = (), answers: tuple[Any, ...] = (), tier: str = "",
    customer: str = "", follow_ups: tuple[FollowUp, ...] = (), **values: Any,
) -> Work:  # fmt: skip
    """A ticket in review: `tools` is what tools told the author, `answers` what colleagues and effects did."""
    draft = Resolved(reply=reply, follow_ups=list(follow_ups), evidence=["USD 9,999.99 by my own word"])
    ticket = Ticket(
        id="t1", number="T-2026-001", team="shop", title=request[:60], body=request, customer=customer, created_at=NOW,
        context={"tier": tier} if tier else {}, result=draft.model_dump(), answers=list(answers),
        review=Review(authors=["ann"], needs=["billing"]), step="review", **values,
    )  # fmt: skip
    story = [
        Line(ticket="t1", move="note", actor="agent:ann", at=NOW, detail={"effect": {"tool": "look", "result": told}})
        for told in tools
    ]
    return Work(agent="quinn", role="checker", ticket=ticket, token=1, history=story, answers=list(answers))


def verdict(work: Work, pages: Knowledge) -> Reviewed:
    report = review(work, pages)
    assert isinstance(report, Reviewed)
    return report


TONE, POLICY, MADE_UP, LACKS = CHECKS
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("Your refund for order #W4689314 takes 5 to 7 business days to show.", {}),
    ("We refunded USD 620.00 of order #W4689314. It shows within 5 to 7 business days.", {"answers": (REFUNDED,)}),
    ("Your refund of $620.00 for order #W4689314 is approved (T-2026-009).", {"answers": (YES,)}),
    ("Your refund of $100.00 for order #W4689314 is granted.", {"request": WHERE + " It was $100.00", "tier": "basic"}),
    ("Your refund of $500 for order #W4689314 is granted.", {"request": WHERE + " I want $500 back", "tier": "silver"}),
    ("We cannot refund $620 for order #W4689314 without a decision.", {"request": WHERE + " It was $620"}),
    ("Order #W4689314 was delivered. You paid $2,895.55: $2,700.05 and $195.50.", {"tools": (ORDER,)}),
    ("For order #W4689314, the camera is $2,700.05 and the bag is $195.50, $2,895.55 in all.", {"tools": (ORDER,)}),
    ("Order #W4689314 was bought 12 days ago, on December 16, with the card ending in 8897086.", {"tools": (ORDER,)}),
    ("Hello Sofia,\n\nyour refund for order #W4689314 takes 5 to 7 business days.", {"tools": (GOLD,)}),
    ("Hello Sofia,\n\nyour refund for order #W4689314 takes 5 to 7 business days.",
     {"tier": "premium", "customer": "sofia_li_9219"}),
    ("We do not know yet where the refund for order #W4689314 is. We are sorry.", {}),
    ('Choose "Forgot password" on the login page.', {"request": "How do I reset my password?"}),
    ("We never ask for your password. Use the link on the login page.", {"request": "Do you need my password?"}),
    ("You can return it within 30 days; for opened items we keep 15 %.", {"request": "May I return an opened item?"}),
    ("The label is at https://shop.example/returns, or write to help@shop.example.", {"request": "Have you a label?"}),
    ("Call us at +1 555 010 9999.", {"request": "Can I call you?"}),
    ("We have your request for the refund of order #W4689314. A colleague will answer within 4 hours.",
     {"follow_ups": (FollowUp(type="promise", needs=["follow_up"], within_s=4 * 3600),)}),
    ("Thank you for telling us. Your complaint has gone to a decision-maker.",
     {"request": "This is a formal complaint about your courier."}),
    ("Please reply with the order number and the e-mail address of the account.",
     {"request": "Please cancel my order"}),
    ("We asked our colleagues: the parcel of order #W4689314 was shipped on December 20.",
     {"request": "Where is order #W4689314?", "answers": ({"type": "handoff", "state": "resolved", "reply":
      "it was shipped on December 20", "agent": "sven"},)}),
    ("We are sorry that your order was cancelled. We do not know why yet.",
     {"request": "Why was my order cancelled?"}),
]  # fmt: skip
BAD: list[tuple[str, str, dict[str, Any]]] = [
    (TONE, "You should have read the page about refunds of order #W4689314.", {}),
    (TONE, "That is your own fault. The refund for order #W4689314 takes time.", {}),
    (TONE, "As we already told you, the refund of order #W4689314 takes time.", {}),
    (TONE, "Calm down. The refund of order #W4689314 is coming.", {}),
    (TONE, "YOUR REFUND IS COMING for order #W4689314.", {}),
    (TONE, "Your refund for order #W4689314 takes time!!", {}),
    (TONE, "The refund of order #W4689314 is not our problem.", {}),
    (TONE, "Hello [customer name], the refund of order #W4689314 takes time.", {}),
    (TONE, "The refund of order #W4689314 takes time.", {"tier": "gold"}),
    (TONE, "Hello,\n\nThe refund of order #W4689314 takes time.", {"tier": "gold", "customer": "sofia_li_9219"}),
    (TONE, "Hello Sofia,\n\nSorry for any inconvenience with the refund of order #W4689314.", {"tools": (GOLD,)}),
    (TONE, "Hello Sofia,\n\n" + "The refund of order #W4689314 takes a while. " * 30, {"tools": (GOLD,)}),
    (TONE, "The refund of order #W4689314 is what it is.", {"request": WHERE + " I will call my lawyer."}),
    (POLICY, "Your refund of $500.01 for order #W4689314 is granted.", {"request": WHERE + " It was $500.01"}),
    (POLICY, "Your refund of $100.01 for order #W4689314 is granted.",
     {"request": WHERE + " It was $100.01", "tier": "basic"}),
    (POLICY, "Your refund of $40 for order #W4689314 is granted.",
     {"request": WHERE + " It was $40", "tools": (ORDER | {"days_since_purchase": 31},)}),
    (POLICY, "We will refund all of order #W4689314.", {"request": "Refund order #W4689314, I paid $900 for it."}),
    (POLICY, "Your refund of $700.00 for order #W4689314 is granted.",
     {"request": WHERE + " It was $700.00", "answers": (YES,)}),
    (POLICY, "We have put a credit of $50.01 on your account for order #W4689314.",
     {"request": "Order #W4689314 was late, can I have a credit of $50.01?"}),
    (POLICY, "You will get a voucher of $80 for order #W4689314.", {"request": "A voucher of $80 for #W4689314?"}),
    (POLICY, "The refund of order #W4689314 will be there by Friday.", {}),
    (POLICY, "We will call you within 2 hours about the refund of order #W4689314.", {}),
    (POLICY, "We will answer tomorrow about the refund of order #W4689314.", {}),
    (POLICY, "We guarantee the refund of order #W4689314.", {}),
    (POLICY, "Please send us your password to look for the refund of order #W4689314.", {}),
    (POLICY, "To find the refund of order #W4689314, reply with your full card number and the CVV.", {}),
    (POLICY, "The refund of order #W4689314 goes to card 4111 1111 1111 1111.", {}),
    (MADE_UP, "Your refund for order #W4689314 is $13.37.", {}),
    (MADE_UP, "Order #W4689314 was paid with USD 9,999.99.", {}),  # only the author's own evidence says so
    (MADE_UP, "Your refund for orders #W4689314 and #W9999999 takes time.", {}),
    (MADE_UP, "Your refund for order #W4689314 began on March 3, 2026.", {}),
    (MADE_UP, "The refund of order #W4689314 has a restocking fee of 25 %.", {}),
    (MADE_UP, "Refunds like that of order #W4689314 take 45 days.", {}),
    (MADE_UP, "About the refund of order #W4689314, write to refunds@elsewhere.example.", {}),
    (MADE_UP, "The refund of order #W4689314 is at https://evil.example/track.", {}),
    (MADE_UP, "About the refund of order #W4689314, call +1 800 555 1234.", {}),
    (MADE_UP, "Your refund for order #W4689314 has been processed and the money has been refunded.", {}),
    (MADE_UP, "We have cancelled order #W4689314.", {"request": "Please cancel order #W4689314"}),
    (MADE_UP, "Order #W4689314 was shipped.", {"request": "Has order #W4689314 been shipped yet?"}),
    (MADE_UP, "Order #W4689314 has been refunded.", {"tools": (ORDER,)}),  # the books say: refunded 0
    (MADE_UP, "Your tracking number for order #W4689314 is 1Z999AA10123456784. Your refund waits.", {}),
    (LACKS, "", {}),
    (LACKS, "Ok, done.", {}),
    (LACKS, "Your refund takes 5 to 7 business days.", {}),  # which order?
    (LACKS, "Our shop opens every morning and has many nice cameras.", {"request": "How do I reset my password?"}),
    (LACKS, "The refund takes 5 to 7 business days.", {"request": "When does my refund come? And can I change the "
     "delivery address of my parcel?"}),
    (LACKS, 'Choose "Forgot password" on the login page.', {"request": "Please reset my password and also send me the "
     "invoice"}),
    (LACKS, "The refund of order #W1111111 takes 5 to 7 business days.",
     {"request": "Refund #W1111111 and #W2222222?"}),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "more"), GOOD, ids=[g[0][:50] for g in GOOD])
def test_a_good_reply_passes_with_evidence_for_each_check(pages: Knowledge, reply: str, more: dict[str, Any]) -> None:
    """SD-07: approved."""
    found = verdict(some_work(reply + SIGNED, **more), pages)
    assert (found.passed, found.failed_checks) == (True, []), found.notes
    assert [f.check for f in found.findings] == list(CHECKS)
    assert all(f.passed and f.evidence for f in found.findings)


@pytest.mark.parametrize(("check", "reply", "more"), BAD, ids=[f"{b[0][:4]} {b[1][:50]}" for b in BAD])
def test_a_bad_reply_fails_by_name(pages: Knowledge, check: str, reply: str, more: dict[str, Any]) -> None:
    """SD-07: with the list of failed names, and what was found where."""
    found = verdict(some_work(reply, **more), pages)
    assert check in found.failed_checks, found
    [finding] = [f for f in found.findings if f.check == check]
    assert not finding.passed and finding.evidence
    assert check in found.notes and "(offline brain)" in found.notes


def test_the_table_is_large_enough_and_knows_both_sides() -> None:
    assert len(GOOD) + len(BAD) >= 60
    assert {b[0] for b in BAD} == set(CHECKS)


def test_a_model_cannot_pass_a_made_up_amount(pages: Knowledge) -> None:
    """SD-07: numbers are held by rules whatever a model says; in tone it may be stricter, and its word stays."""
    kind = Reviewed(passed=True, findings=[Finding(check="no_hallucinations", passed=True, evidence=["looks right"])])
    work = some_work("Your refund for order #W4689314 is $13.37.")
    held = floor(work, kind, pages)
    assert isinstance(held, Reviewed) and (held.passed, held.failed_checks) == (False, [MADE_UP])
    assert "13.37 is in no source" in held.notes and not next(f for f in held.findings if f.check == MADE_UP).passed

    strict = Reviewed(passed=False, failed_checks=[TONE], notes="cold")
    fine = some_work("Your refund for order #W4689314 takes 5 to 7 business days.")
    assert floor(fine, strict, pages) == strict
    assert floor(fine, kind, pages) == kind
    both = floor(work, strict, pages)
    assert isinstance(both, Reviewed) and both.failed_checks == [TONE, MADE_UP]
    given_up = Failed(error="no", retryable=True)
    assert floor(work, given_up, pages) is given_up


def test_whoever_has_a_ticket_in_review_judges_it(tmp_path: Path) -> None:
    """I11: a ladder may give it to any role."""
    for role in ("checker", "support", "decision-maker", "engineering"):
        assert isinstance(OfflineBrain(role, tmp_path).handle(some_work("Ok, done.")), Reviewed)


@pytest.mark.parametrize(
    "piece",
    ["a-", "1 111", "$1 ", "a.", "you will ", "#W12345 ", "\n", "is now ", "credit ", "5 to ", "full card "],
)  # fmt: skip
def test_a_hostile_reply_takes_no_longer_than_a_plain_one(pages: Knowledge, piece: str) -> None:
    """I17, SD-07: time grows with the length only."""

    def took(length: int) -> float:
        text = (piece * length)[:length]
        work = some_work(text, request=text)
        begun = time.process_time()
        verdict(work, pages)
        return time.process_time() - begun

    took(1_000)
    assert took(20_000) < 10 * max(took(5_000), 0.02)
