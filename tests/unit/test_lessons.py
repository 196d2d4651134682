"""What a resolved ticket teaches, and that nobody is to be recognised in it (TP-03, I24)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shiftlead.queues.knowledge_lessons import MOST_REPLY, NO_ANSWER, Lesson, lesson_of, masked
from shiftlead.queues.knowledge_words import words
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

PAGES = frozenset(words("card app refund Profile Payments Report freeze PIN transfer express delivery Orders"))


def a_ticket(**values: Any) -> Ticket:
    result = {"kind": "resolved", "reply": "Hello Mia,\n\nOpen the app and choose Card, Freeze.", "summary": "told"}
    given: dict[str, Any] = {
        "id": "t1", "number": "T-2026-007", "team": "front_office", "customer": "Mia Garcia", "state": State.RESOLVED,
        "title": "Lost card", "body": "I lost my card on the train.", "result": result, "closed_at": 5.0,
    }  # fmt: skip
    return Ticket.model_validate(given | values)


def lesson(**values: Any) -> Lesson:
    found = lesson_of(a_ticket(**values), PAGES)
    assert found is not None
    return found


def test_a_lesson_is_a_question_and_the_reply_that_was_sent() -> None:
    found = lesson()
    assert (found.number, found.title, found.question) == ("T-2026-007", "Lost card", "I lost my card on the train.")
    assert found.reply == "Open the app and choose Card, Freeze."


@pytest.mark.parametrize(
    "values",
    [
        {"state": State.FAILED},
        {"state": State.CANCELLED, "merged_into": "T-2026-001"},
        {"state": State.READY, "result": None, "life": 2},
        {"customer": ""},
        {"parent": "t0"},
        {"type": "approval"},
        {"source": "shiftlead", "type": "brief"},
        {"result": {"kind": "resolved", "reply": " "}},
        {"result": {"kind": "failed", "error": "no"}},
        {"result": {"kind": "resolved", "reply": "We look at it.", "requires_escalation": True}},
        {"result": {"kind": "resolved", "reply": "We do not know.", "summary": f"{NO_ANSWER} (offline brain)"}},
        {"title": "(erased)", "body": "", "result": {"kind": "resolved"}},
    ],
)
def test_what_is_no_customers_answer_teaches_nothing(values: dict[str, Any]) -> None:
    """Only customer-facing, resolved, answered, not erased, merged, failed or cancelled ones."""
    assert lesson_of(a_ticket(**values), PAGES) is None


SECRETS = {
    "names": (
        "My name is Anna Kowalski. I am Anna and my husband Piotr Nowak paid. Mia Garcia told me. Ask Kowalski.",
        ("Anna", "Kowalski", "Piotr", "Nowak", "Mia", "Garcia"),
    ),
    "mail": ("Write to anna.k+shop@example.co.uk or to <mia@example.com>.", ("anna", "example", "mia@")),
    "orders": ("Order #W4689314, invoice 2026-00123, ticket T-2026-044, AB12CD3.", ("46893", "00123", "044", "AB12")),
    "telephone": ("Call +49 (0)30 1234567 or 0171/5556677 or 555 123 4567.", ("1234567", "5556677", "4567", "555")),
    "bank": ("IBAN DE89 3704 0044 0532 0130 00, card 4111-1111-1111-1111.", ("3704", "0532", "4111", "DE89")),
    "links": ("See https://shop.example/orders/991?token=abc and www.example.org/u/mia.", ("shop", "token", "org")),
    "regards": ("It works now, thank you.\n\nKind regards,\nAnna Kowalski", ("Anna", "Kowalski")),
    "greeting": ("Dear Mr Garcia,\nmy card is lost.", ("Garcia",)),
    "start": ("Anna Kowalski lost her card.", ("Anna", "Kowalski")),
    "german": ("Hallo Frau Schulze, meine Karte ist weg. Viele Grüße\nPeter Lustig", ("Schulze", "Peter", "Lustig")),
}  # fmt: skip


@pytest.mark.parametrize("what", SECRETS)
def test_nothing_of_the_customer_is_kept(what: str) -> None:
    """I24: names, addresses, numbers and links become marks, in question and reply."""
    text, secrets = SECRETS[what]
    found = lesson(body=text, result={"kind": "resolved", "reply": f"Hello Mia,\n\n{text}", "summary": "told"})
    kept = f"{found.title} {found.question} {found.reply}"
    assert [secret for secret in secrets if secret.lower() in kept.lower()] == []


def test_the_tickets_own_fields_and_context_are_masked_wherever_they_stand() -> None:
    context = {"customer_name": "anna-lena", "address": {"street": "long lane", "city": "bielefeld"}, "plan": "gold"}
    found = lesson(
        customer="sofia_li_9219", reporter="piotr", context=context,
        body="anna-lena of long lane, bielefeld asks for sofia; piotr wrote it. The gold plan is fine.",
    )  # fmt: skip
    for secret in ("anna", "long lane", "bielefeld", "sofia", "piotr"):
        assert secret not in found.question
    assert "gold plan" in found.question


def test_what_is_nobodys_stays() -> None:
    """Masks must not eat what makes a question findable."""
    text = "My PIN is blocked since Monday. I use an iPhone and Android in the UK. It took 14 days and cost 30."
    assert masked(text, (), PAGES) == text
    text = "The Card page under Profile says: choose Report. We refund within 5 to 7 days."
    assert masked(text, (), PAGES) == text


def test_german_nouns_are_not_names() -> None:
    text = "Meine neue Karte ist seit zwei Wochen nicht angekommen und die Lieferung war mit Express bestellt"
    assert masked(text, (), PAGES) == text


def test_only_a_reply_without_marks_is_general() -> None:
    assert lesson().general
    reply = "Your refund of 120.00 for order #W123 is granted."
    assert not lesson(result={"kind": "resolved", "reply": reply, "summary": ""}).general


def test_masking_a_long_hostile_text_takes_no_time_to_speak_of() -> None:
    """No pattern of ours backtracks."""
    began = time.process_time()
    for text in ("1 ", "Aa ", "a@", "regards ", "Dear ", "(1)", "www.", "a.b-", "thanks\n", "I am A ", ". A", "mr "):
        masked((text * MOST_REPLY)[:MOST_REPLY], ("x",), ())
    assert time.process_time() - began < 3
