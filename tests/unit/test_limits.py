"""Limits hold for the whole sum and for the whole life of a ticket, not for one call (SD-05, SD-06, EN-10, I23)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.tools import Toolbox
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from tests.till import BASIC, CAMERA, GOLD, KETTLES, Till

REFUND, CREDIT = "process_refund", "issue_credit"
DAY = 86_400.0


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """The till with the gates and review rules of the shipped support desk."""
    made, shipped = Till(tmp_path), load_team("support_desk", Settings(home=tmp_path))
    made.team = made.team.model_copy(update={"gates": shipped.gates, "review": shipped.review})
    yield made
    made.close()


def a_ticket_of(till: Till, customer: str, number: int, **more: Any) -> Toolbox:
    return till.toolbox(till.ticket(customer, id=f"t{number}", number=f"T-2026-{number:03}"), **more)


# -- the whole sum -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("customer", "action", "arguments", "days_later", "asks"),
    [
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 500.0}, 0, False),
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 500.01}, 0, True),
        (BASIC, REFUND, {"order_id": KETTLES, "amount": 100.0}, 0, False),
        (BASIC, REFUND, {"order_id": KETTLES, "amount": 100.01}, 0, True),
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 1.0}, 0, False),  # 30 days
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 1.0}, 1, True),  # 31 days
        (GOLD, CREDIT, {"customer_id": GOLD, "amount": 50.0, "reason": "late"}, 0, False),
        (GOLD, CREDIT, {"customer_id": GOLD, "amount": 50.01, "reason": "late"}, 0, True),
    ],
)
def test_the_shipped_desk_asks_for_a_first_sum_exactly_above_its_thresholds(
    till: Till, customer: str, action: str, arguments: dict[str, Any], days_later: int, asks: bool
) -> None:
    """SD-05, SD-06: 500/500.01, 100/100.01, 30/31 days, a credit 50/50.01."""
    till.clock.advance(days_later * DAY)
    outcome = till.toolbox(till.ticket(customer)).use(action, arguments)
    assert (outcome.status, till.changes()) == (("needs_approval", 0) if asks else ("done", 1)), outcome.why


def test_four_tickets_of_499_on_one_order_are_one_refund_of_1996(till: Till) -> None:
    """SD-06: the second one asks, and so does every further one, whichever ticket brings it."""
    wanted = {"order_id": CAMERA, "amount": 499.0}
    outcomes = [a_ticket_of(till, GOLD, number).use(REFUND, wanted) for number in (1, 2, 3, 4)]

    assert [o.status for o in outcomes] == ["done", "needs_approval", "needs_approval", "needs_approval"]
    assert till.refunded(CAMERA) == 49_900
    assert outcomes[1].arguments["amount_in_all"] == 998.0 and "refund_over_threshold" in outcomes[1].why
    assert a_ticket_of(till, GOLD, 5).use(REFUND, {"order_id": CAMERA, "amount": 1.0}).status == "done", "500 in all"
    assert a_ticket_of(till, GOLD, 6).use(REFUND, {"order_id": CAMERA, "amount": 0.01}).status == "needs_approval"


def test_credits_of_one_customer_are_summed_over_thirty_days(till: Till) -> None:
    """SD-05: by whichever ticket; another customer's do not count, and after 30 days they are forgotten."""
    wanted = {"customer_id": GOLD, "amount": 30.0, "reason": "late"}
    other = {"customer_id": BASIC, "amount": 50.0, "reason": "late"}
    first = a_ticket_of(till, GOLD, 1).use(CREDIT, wanted)
    second = a_ticket_of(till, GOLD, 2).use(CREDIT, wanted)

    assert (first.status, second.status, till.credit(GOLD)) == ("done", "needs_approval", 3_000)
    assert second.arguments["credited_in_30_days"] == 60.0 and "manager_review" in second.why
    assert a_ticket_of(till, BASIC, 3).use(CREDIT, other).status == "done"
    till.clock.advance(30 * DAY)
    assert a_ticket_of(till, GOLD, 4).use(CREDIT, wanted).status == "done"


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        (REFUND, {"order_id": CAMERA, "amount": 499.0}),
        (CREDIT, {"customer_id": GOLD, "amount": 50.0, "reason": "late"}),
    ],
)
def test_two_tickets_that_pass_the_gate_at_once_do_not_both_pay(
    till: Till, action: str, wanted: dict[str, Any]
) -> None:
    """SD-06: the sum is looked at again where the money moves; whoever comes second looks again, and is asked."""
    others: list[str] = []

    def another_comes_first() -> None:
        if not others:  # between the gates of the first ticket and its effect
            others.append(a_ticket_of(till, GOLD, 2).use(action, wanted).status)

    late = a_ticket_of(till, GOLD, 1, holds=another_comes_first)
    outcome = late.use(action, wanted)

    assert (others, outcome.status, till.changes()) == (["done"], "refused", 1)
    assert "meanwhile" in outcome.why
    assert late.use(action, wanted).status == "needs_approval"


def test_a_refund_that_broke_off_after_it_was_made_does_not_count_itself(till: Till) -> None:
    """EN-11: the next holder repeats it with the same key: nobody is asked, and the money moves once."""
    whole = {"order_id": KETTLES, "amount": 100.0}
    first = till.toolbox(till.ticket(BASIC))
    spec = first.allowed[REFUND]
    arguments = spec.arguments(whole)
    given = arguments.model_dump(mode="json", exclude_none=True)
    intent = till.effects.begin("t1", 1, REFUND, KETTLES, given, 5, "bill", idempotent=True)
    spec.run(first.call_of(intent, spec.facts(first.call_of(), arguments)), arguments)  # and then its worker is gone

    outcome = till.toolbox(till.ticket(BASIC, token=9)).use(REFUND, whole)
    assert (outcome.status, till.refunded(KETTLES), till.changes()) == ("done", 10_000, 1), outcome.why
