"""The pure steps: who gets a ticket, what an escalation does, when a parent goes on, who approves."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.config.team import Ladder, LadderStep, Team
from shiftlead.coordinator.approval import approver_for
from shiftlead.coordinator.assignment import AgentFacts, choose, in_order
from shiftlead.coordinator.escalation import DAY_S, first_at, next_step
from shiftlead.coordinator.handoff import joined
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

NOW = 1_800_000_000.0


def a_ticket(**values: Any) -> Ticket:
    base = {"id": "x", "number": "T-2027-001", "team": "front_office", "created_at": NOW, "due": NOW + 60}
    return Ticket.model_validate(base | {"state": State.READY, "needs": ["billing"]} | values)


def an_agent(name: str, *can: str, capacity: int = 2, **values: Any) -> AgentFacts:
    return AgentFacts(name=name, can=frozenset(can), capacity=capacity, **values)


def agents(*facts: AgentFacts) -> dict[str, AgentFacts]:
    return {a.name: a for a in facts}


def test_who_can_and_is_free_gets_it() -> None:
    """FO-03, FO-04: by capability AND availability."""
    choice = choose(a_ticket(), agents(an_agent("iris", "billing"), an_agent("devin", "bug")), NOW)
    assert choice.agent == "iris"
    assert "iris can billing and is free" in choice.reasons[0]


def test_the_specialist_goes_before_the_generalist_and_load_breaks_the_tie() -> None:
    """EN-06, FO-15: fit, then load."""
    team = agents(an_agent("all", "billing", "bug"), an_agent("b", "billing", load=1), an_agent("a", "billing"))
    assert choose(a_ticket(), team, NOW).agent == "a"
    team["a"].load = 2
    assert choose(a_ticket(), team, NOW).agent == "b"


def test_whoever_knows_the_story_goes_first_if_free() -> None:
    """EN-06."""
    team = agents(an_agent("a", "billing"), an_agent("b", "billing", load=1))
    assert choose(a_ticket(prefers="b"), team, NOW).agent == "b"
    team["b"].load = 2
    assert choose(a_ticket(prefers="b"), team, NOW).agent == "a"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"busy_until": NOW + 10_800, "reason": "strategy session"},
            "felix is busy until 11:00:00 UTC (strategy session)",
        ),
        ({"paused": True, "reason": "on leave"}, "felix is paused (on leave)"),
        ({"present": False}, "felix has no worker running"),
        ({"load": 2}, "felix is full (2 of 2 slots)"),
        ({"off_until": NOW + 60}, "felix is off duty until"),
    ],
)
def test_a_ticket_waits_and_says_for_whom_and_why(facts: dict[str, Any], words: str) -> None:
    """FO-09, EN-06: held while busy, with the reason."""
    choice = choose(a_ticket(needs=["decision"]), agents(an_agent("felix", "decision", **facts)), NOW)
    assert choice.agent is None
    assert words in choice.reasons[0]
    assert choice.blockers == ["felix"]


def test_a_hold_that_is_over_holds_nothing() -> None:
    assert choose(a_ticket(), agents(an_agent("iris", "billing", busy_until=NOW - 1)), NOW).agent == "iris"


def test_nobody_who_can_is_said_plainly() -> None:
    choice = choose(a_ticket(needs=["field_visit"]), agents(an_agent("iris", "billing")), NOW)
    assert (choice.agent, choice.reasons) == (None, ["nobody on the team can field_visit"])


def test_an_author_never_gets_its_own_ticket_to_judge() -> None:
    team = agents(an_agent("a", "approval"), an_agent("b", "approval"))
    assert choose(a_ticket(needs=["approval"], excluded=["a"]), team, NOW).agent == "b"


def test_urgent_goes_first_then_what_is_due_first() -> None:
    """FO-11: urgent first, the rest by due time."""
    late = a_ticket(number="T-2027-001", due=NOW + 9)
    soon = a_ticket(number="T-2027-002", due=NOW + 5)
    urgent = a_ticket(number="T-2027-003", priority="urgent", due=NOW + 99)
    assert [t.number for t in in_order([late, soon, urgent])] == ["T-2027-003", "T-2027-002", "T-2027-001"]


LADDER = Ladder(
    ladder=[
        LadderStep(after="30m", notify="felix_ceo"),
        LadderStep(after="45m", reassign="felix_ceo"),
        LadderStep(after="2h", notify="on_call"),
    ]
)


def test_after_thirty_minutes_the_decision_maker_is_told() -> None:
    """FO-12."""
    assert first_at(LADDER, NOW, {}) == NOW + 1800
    step = next_step(a_ticket(state=State.WORKING, ladder_at=NOW + 1800), LADDER, free=set(), now=NOW + 1800)
    assert (step.told, step.to, step.ladder, step.at) == (["felix_ceo"], None, 1, NOW + 2700)


def test_a_threshold_of_the_tickets_own_replaces_the_first_time() -> None:
    """FO-01, EN-09: `escalation_threshold: 10_minutes`."""
    assert first_at(LADDER, NOW, {"escalation_threshold": "10_minutes"}) == NOW + 600


def test_reassign_needs_a_free_slot_else_they_are_told() -> None:
    """EN-09."""
    ticket = a_ticket(ladder=1, ladder_at=NOW + 2700)
    assert next_step(ticket, LADDER, free={"felix_ceo"}, now=NOW + 2700).to == "felix_ceo"
    full = next_step(ticket, LADDER, free=set(), now=NOW + 2700)
    assert (full.to, full.told) == (None, ["felix_ceo"])


def test_what_nobody_can_do_waits_for_whom_the_ladder_names() -> None:
    """EN-09, I11: told once and then left, it would stand until the last step of the ladder for ever."""
    ticket = a_ticket(ladder=1, ladder_at=NOW + 2700, needs=["field_visit"])
    step = next_step(ticket, LADDER, free=set(), now=NOW + 2700, others=False, nobody=True)
    assert step.to == "felix_ceo" and "nobody can field_visit, so it waits for felix_ceo" in step.reason
    named = a_ticket(ladder=1, ladder_at=NOW + 2700, needs=["field_visit"], named="bob")
    assert next_step(named, LADDER, free=set(), now=NOW + 2700, others=False, nobody=True).to is None


def test_a_waiting_ticket_is_never_taken_from_its_children() -> None:
    ticket = a_ticket(state=State.WAITING, ladder=1, ladder_at=NOW)
    assert next_step(ticket, LADDER, free={"felix_ceo"}, now=NOW).to is None


def test_the_last_step_repeats_every_day() -> None:
    """EN-09: never quietly forgotten."""
    step = next_step(a_ticket(ladder=2, ladder_at=NOW), LADDER, free=set(), now=NOW)
    again = next_step(a_ticket(ladder=step.ladder, ladder_at=step.at), LADDER, free=set(), now=step.at)
    assert (step.at, again.told, again.at) == (NOW + DAY_S, ["on_call"], NOW + 2 * DAY_S)


def test_a_parent_goes_on_when_all_children_have_closed() -> None:
    """EN-08: fan-out and join; a failed child is an answer too."""
    parent = a_ticket(state=State.WAITING, awaits=["a", "b"])
    done = a_ticket(id="a", number="T-2027-002", state=State.RESOLVED, assigned_to="devin", result={"reply": "fixed"})
    open_ = a_ticket(id="b", number="T-2027-003", state=State.WORKING)
    failed = a_ticket(id="b", number="T-2027-003", state=State.FAILED, reason="nobody can")
    assert joined(parent, [done, open_]) is None
    answers = joined(parent, [done, failed])
    assert answers is not None
    assert [(a["agent"], a["reply"], a.get("error")) for a in answers] == [
        ("devin", "fixed", None),
        ("", "", "nobody can"),
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"amount": 500.01, "days_since_purchase": 3}, "gate 1 asks for felix_ceo"),
        ({"amount": 50.0, "days_since_purchase": 31}, "gate 1 asks for felix_ceo"),
        ({"amount": 150.0, "days_since_purchase": 3}, "could not be evaluated"),  # nobody trusted knows the tier
        ({"amount": "a lot"}, "could not be evaluated"),
    ],
)
def test_a_gate_names_the_approver_and_a_doubtful_gate_is_closed(
    team: Team, arguments: dict[str, Any], reason: str
) -> None:
    """EN-10, SD-06: strict thresholds."""
    context = {"action": "process_refund", "arguments": arguments, "customer": {"tier": "gold"}}
    chosen = approver_for(a_ticket(type="approval", asked_by="iris_support", context=context), team, now=NOW)
    assert chosen.named == "felix_ceo"
    assert reason in chosen.reasons[0]
    assert chosen.terms["reason"] == "refund_over_threshold"
