"""Rules of a team file: what they answer, and what they refuse to be."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.config.rules import TICKET_FIELDS, Rule, RuleError
from shiftlead.queues.ticket import Ticket

REFUND = Rule(
    'action.name == "process_refund" && (action.amount > 500.0 || (customer.tier == "basic" && action.amount > 100.0)'
    " || action.days_since_purchase > 30)"
)


def refund(amount: Any = 10, days: Any = 1, tier: str = "gold") -> dict[str, Any]:
    action = {"name": "process_refund", "amount": amount, "days_since_purchase": days}
    return {"action": action, "customer": {"tier": tier}}


@pytest.mark.parametrize("number", [int, float])
def test_the_refund_limits_are_strict_for_whole_and_broken_numbers(number: Any) -> None:
    """SD-06: 500/500.01, 100/100.01, 30/31, and an int is as good as a float."""
    assert REFUND.evaluate(refund(amount=number(500))).value is False
    assert REFUND.evaluate(refund(amount=500.01)).value is True
    assert REFUND.evaluate(refund(amount=number(501))).value is True
    assert REFUND.evaluate(refund(amount=number(100), tier="basic")).value is False
    assert REFUND.evaluate(refund(amount=100.01, tier="basic")).value is True
    assert REFUND.evaluate(refund(days=number(30))).value is False
    assert REFUND.evaluate(refund(days=number(31))).value is True


@pytest.mark.parametrize("amount", ["501", None, True, float("nan"), [], object(), "\ud800"])
def test_an_ill_typed_value_gives_neither_yes_nor_no(amount: Any) -> None:
    """EN-10: a rule that cannot be evaluated closes the gate; it never raises."""
    verdict = REFUND.evaluate(refund(amount=amount))
    assert verdict.value is None
    assert verdict.problem


def test_a_missing_value_is_named() -> None:
    verdict = Rule("action.amount > 500.0").evaluate({"action": {}})
    assert (verdict.value, verdict.problem) == (None, "no such key: amount")
    assert Rule("action.amount > 500.0").evaluate({}).value is None


def test_an_answer_that_is_no_yes_or_no_is_a_problem() -> None:
    assert Rule("ticket.type").evaluate({"ticket": {"type": "bug"}}).value is None


@pytest.mark.parametrize(
    ("source", "near", "column"),
    [
        ('tickt.type == "x"', "ticket", 1),
        ('ticket.title != "" && ticket.categry == "x"', "category", 30),
        ('ticket["prioritty"] == "x"', "priority", 9),
        ('ticket.title.startWith("x")', "startsWith", 14),
    ],
)
def test_an_unknown_word_is_refused_with_a_near_match(source: str, near: str, column: int) -> None:
    with pytest.raises(RuleError) as error:
        Rule(source)
    assert (error.value.hint, error.value.column) == (near, column)


def test_what_looks_like_a_field_inside_a_text_is_not_one() -> None:
    assert Rule('ticket.title == "ticket.colour"').evaluate({"ticket": {"title": "ticket.colour"}}).value is True
    assert Rule('ticket.needs.exists(n, n == "bug")').evaluate({"ticket": {"needs": ["bug"]}}).value is True


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(RuleError, match="not CEL") as error:
        Rule('ticket.type == "x" &&')
    assert error.value.line == 1
    assert error.value.column > 15


def test_rules_know_exactly_the_fields_of_a_ticket() -> None:
    """The list in config/rules.py and the model in queues/ticket.py are the same."""
    assert set(Ticket.model_fields) == TICKET_FIELDS
