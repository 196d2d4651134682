"""One letter out of several, and what contradicts what (SS-03)."""

from __future__ import annotations

from time import process_time

import pytest

from shiftlead.agents.one_reply import Piece, bare, conflicts, one_reply


def piece(text: str, agent: str = "sales", about: str = "Sales") -> Piece:
    return Piece(about, f"T-2026-00{len(agent)}", agent, text)


@pytest.mark.parametrize(
    ("letter", "body"),
    [
        ("Hello Mia,\n\nIt costs 9 euros.\n\nYour support team", "It costs 9 euros."),
        ("Dear Mr Ode!\nIt costs 9 euros.\n\nKind regards,\nYour sales team", "It costs 9 euros."),
        ("Hi\n\n1. Open it.\n2. Close it.\n\nBest regards\nTom", "1. Open it.\n2. Close it."),
        ("Hello is what you press first. It costs 9 euros.", "Hello is what you press first. It costs 9 euros."),
        ("answered from plans.md (offline brain)", "answered from plans.md"),
        ("Hello Mia,", ""),
        ("Hello Oak & Son,\n\nIt costs 9 euros.", "It costs 9 euros."),
    ],
)
def test_a_letter_without_its_greeting_and_signature(letter: str, body: str) -> None:
    """SS-03: each colleague greets and signs; the one who puts it together greets and signs once."""
    assert bare(letter) == body


def test_what_two_colleagues_wrote_stands_once() -> None:
    """SS-03: no repeated greeting, no sentence twice; short steps may come again."""
    both = "You find all of it under Settings > Plan."
    first = piece(f"Hello Mia,\n\nThe plan costs 9 euros. {both}\n1. Open it.\n\nYour support team")
    second = piece(f"Hello Mia,\n\nThe invoice comes on the first. {both}\n1. Open it.", "billing", "Billing")
    text = one_reply([first, second], hello="Hello Mia,", sign="Your team", after=["That is all."])
    assert text.count("Hello") == text.count(both) == text.count("Your team") == 1
    assert text.count("1. Open it.") == 2
    assert [text.index(word) for word in ("Sales:", "Billing:", "That is all.", "Your team")] == sorted(
        text.index(word) for word in ("Sales:", "Billing:", "That is all.", "Your team")
    )


def test_a_single_colleague_needs_no_heading() -> None:
    assert one_reply([piece("It costs 9 euros.")], hello="Hello,", sign="Bye") == "Hello,\n\nIt costs 9 euros.\n\nBye"


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        ("A payment is refunded within 30 days.", "A payment is refunded within 14 days.", True),
        ("The Team plan costs 9 euros a month.", "The Team plan costs 12 euros a month.", True),
        ("The trial needs a credit card.", "The trial does not need a credit card.", True),
        ("A payment is refunded within 30 days.", "The trial of a plan lasts 14 days.", False),
        ("The Team plan costs 9 euros a month.", "The Team plan costs 9 euros a month.", False),
        ("The Team plan costs 9 euros a month.", "The Team plan is for 25 people.", False),
        ("Nothing is deleted.", "The workspace is yours.", False),
    ],
)
def test_two_sentences_contradict_each_other_in_a_number_or_in_a_not(one: str, other: str, contradict: bool) -> None:
    """SS-03: only where they otherwise say the same."""
    found = conflicts([piece(one), piece(other, "billing")])
    assert bool(found) is contradict
    if found:
        assert one in str(found[0]) and other in str(found[0]) and "billing" in str(found[0])


def test_a_colleague_does_not_contradict_itself() -> None:
    """Two parts by the same agent are its own business; its second word may be the newer one."""
    assert not conflicts([piece("It costs 9 euros a month."), piece("It costs 12 euros a month.")])


def test_a_long_letter_is_compared_in_time() -> None:
    """Sentences are bounded by what a report may hold; a hostile one must not stop the manager."""
    began = process_time()
    conflicts([piece("a" * 30_000 + ". " + "b c " * 7000), piece("Hello " * 9000 + "1 " * 3000, "billing")])
    one_reply([piece("x" + "\n" * 30_000 + "x, " * 9000), piece("A b. " * 12_000, "b")], hello="", sign="")
    assert process_time() - began < 3
