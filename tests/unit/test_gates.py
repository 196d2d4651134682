"""Policies as data: gates, then review rules; who is asked is asked by what the toolbox saw (SD-05, SD-06)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from shiftlead.agents.tool import Call, Facts, registry, tool
from shiftlead.agents.tools import Outcome
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.config.team_file import Gate
from shiftlead.coordinator.approval import Approver, approver_for
from shiftlead.coordinator.inbox import inbox
from shiftlead.coordinator.why import explain
from shiftlead.queues.report import AskHuman
from tests.conformance.test_cycle import Floor
from tests.conftest import open_desk
from tests.till import BASIC, CAMERA, GOLD, KETTLES, MOUSE, SILVER, Till

REFUND, CREDIT = "process_refund", "issue_credit"
DAY = 86_400.0


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path)
    yield made
    made.close()


def approver(till: Till, outcome: Outcome, customer: str, team: Team | None = None) -> Approver:
    """Who is asked for what the toolbox asks."""
    context = {"action": outcome.tool, "arguments": outcome.arguments, "why": outcome.why}
    asked = till.ticket(customer, type="approval", asked_by="bill", context=context)
    return approver_for(asked, team or till.team, now=till.clock.now())


@pytest.mark.parametrize(
    ("customer", "action", "arguments", "days_later", "terms"),
    [
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 500.01}, 0, ("gate", "refund_over_threshold")),
        (BASIC, REFUND, {"order_id": KETTLES, "amount": 100.01}, 0, ("gate", "refund_over_threshold")),
        (SILVER, REFUND, {"order_id": MOUSE, "amount": 1.0}, 0, ("gate", "refund_over_threshold")),  # 31 days
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 1.0}, 1, ("gate", "refund_over_threshold")),
        (GOLD, CREDIT, {"customer_id": GOLD, "amount": 50.01, "reason": "late"}, 0, ("review", "manager_review")),
        (BASIC, CREDIT, {"customer_id": BASIC, "amount": 600.0, "reason": "late"}, 90, ("review", "manager_review")),
    ],
)
def test_whoever_is_asked_is_asked_for_the_reason_the_toolbox_had(
    till: Till, customer: str, action: str, arguments: dict[str, Any], days_later: int, terms: tuple[str, str]
) -> None:
    """SD-05, SD-06: the same rule, the same facts, the same word; the tier is the database's on both sides."""
    till.clock.advance(days_later * DAY)
    outcome = till.toolbox(till.ticket(customer)).use(action, arguments)
    kind, word = terms
    assert outcome.status == "needs_approval" and outcome.why.startswith(f"{word}: {kind} 1 is closed: ")

    chosen = approver(till, outcome, customer)
    assert (chosen.named, chosen.terms["reason"], chosen.terms[kind]) == ("boss", word, 1)
    assert "could not be evaluated" not in chosen.reasons[0]
    assert chosen.terms["human"] is (kind == "gate")


def test_the_gates_decide_before_the_review_rules(till: Till) -> None:
    """SD-05: high risk is escalated; only what is not is flagged for a manager."""
    every_refund = till.team.review[0].model_copy(update={"when": till.team.gates[0].when, "approver": "on_call"})
    till.team = till.team.model_copy(update={"review": [every_refund, *till.team.review]})
    refund = till.toolbox().use(REFUND, {"order_id": CAMERA, "amount": 600.0})
    assert approver(till, refund, GOLD).terms["gate"] == 1
    credit = till.toolbox().use(CREDIT, {"customer_id": GOLD, "amount": 60.0, "reason": "r"})
    assert approver(till, credit, GOLD).terms["review"] == 2


def test_a_tier_chooses_among_gates_as_the_database_has_it(till: Till) -> None:
    """EN-10: a gate for one tier must not catch another's action, only because nobody told the tier."""
    gold = Gate.model_validate({"when": 'customer.tier == "gold"', "approver": "on_call", "reason": "gold"})
    team = till.team.model_copy(update={"gates": [gold, *till.team.gates]})
    till.team = team
    mine = till.toolbox(till.ticket(GOLD)).use(REFUND, {"order_id": CAMERA, "amount": 600.0})
    other = till.toolbox(till.ticket(BASIC)).use(REFUND, {"order_id": KETTLES, "amount": 150.0})
    assert approver(till, mine, GOLD, team).named == "on_call"
    chosen = approver(till, other, BASIC, team)
    assert (chosen.named, chosen.terms["gate"]) == ("boss", 2)


def test_what_a_tool_knows_of_the_customer_alone_goes_along(till: Till) -> None:
    """EN-10: facts that are no argument of the action are asked for with it, and judged again."""

    def known(call: Call, arguments: Any) -> Facts:
        return Facts({}, {"id": "c1", "risk": "high"})

    @tool(target="door", idempotent=True, facts=known)
    def open_door(call: Call, door: str) -> str:
        return "open"

    risky = Gate.model_validate({"when": 'customer.risk == "high"', "approver": "boss", "reason": "risk"})
    agents = till.team.agents
    bill = agents["bill"].model_copy(update={"tools": ["open_door"]})
    till.team = till.team.model_copy(update={"gates": [risky], "agents": agents | {"bill": bill}})
    outcome = till.toolbox(registry=registry(open_door)).use("open_door", {"door": "a"})
    assert outcome.arguments == {"door": "a", "customer_facts": {"risk": "high"}}
    assert approver(till, outcome, GOLD).terms["reason"] == "risk"
    with pytest.raises(TypeError, match="customer_facts"):
        tool(target="door")(lambda call, door, customer_facts: None)


def test_an_approval_says_in_a_word_why_it_is_asked_for(till: Till, settings: Settings) -> None:
    """SD-05: on the ticket, in the inbox and in `why`."""
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    floor = Floor(open_desk(client, till.team, till.clock, settings), till.clock)
    floor.agents = ("bill",)
    floor.run()
    outcome = till.toolbox().use(CREDIT, {"customer_id": GOLD, "amount": 60.0, "reason": "late"})
    ask = AskHuman(action=outcome.tool, arguments=outcome.arguments, why=outcome.why)
    waits = floor.report(floor.enqueue(customer=GOLD), ask)

    approval = floor.desk.find(waits.awaits[0])
    assert (approval.context["reason"], approval.context["review"]) == ("manager_review", 1)
    assert "manager_review" in approval.body
    [item] = inbox(floor.desk, "boss")
    assert (item.number, item.reason) == (approval.number, "manager_review")
    said = explain(floor.desk, approval, now=till.clock.now())
    assert said.reasons[0] == "asked because of manager_review"
