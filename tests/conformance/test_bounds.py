"""What one sender, one agent or one odd ticket must not be able to do to the others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shiftlead.agents.agent import as_report
from shiftlead.config.clock import ManualClock
from shiftlead.coordinator.approval import approver_for
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, Refused, TooLarge
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, Blocked, HandOff, Later, Resolved, Reviewed, StepDone
from shiftlead.queues.ticket import Draft, parse_draft
from tests.conformance.test_cycle import Floor
from tests.desks import a_new_ticket, a_working_ticket, assigned, triaged, where


@pytest.fixture
def floor(desk: Desk, clock: ManualClock) -> Floor:
    floor = Floor(desk, clock)
    floor.run()
    return floor


@pytest.mark.parametrize("need", ["zzz\nledger", "@felix_ceo", "a+b", "", "Ü", "x" * 101, "bug\n"])
def test_a_need_is_a_capabilitys_name_and_nothing_else(need: str) -> None:
    """I11: a need is part of a key's name; a line feed or a sign in it would be a queue of somebody else."""
    with pytest.raises(BadInput, match="needs"):
        parse_draft({"needs": [need]}, max_bytes=10_000)
    with pytest.raises(ValidationError):
        HandOff(needs=[need], question="?")


def test_needs_nobody_has_do_not_make_the_team_slow(floor: Floor) -> None:
    """Every invention of a sender stands in one set; a set that is empty is forgotten."""
    ids = [floor.enqueue(f"hello {n}", needs=[f"invented_{n}"]) for n in range(30)]
    client, keys = floor.desk.store.client, floor.desk.keys
    assert client.smembers(keys.groups) == {"rest:?"}
    for ticket_id in ids:
        floor.desk.cancel(ticket_id, actor="person:p", reason="no")
    floor.cycle._swept = 0.0
    floor.run()
    assert client.smembers(keys.groups) == set()


def test_a_note_on_a_ticket_that_left_redis_is_refused(desk: Desk) -> None:
    """I7: its lines would be counted from one again, and contradict SQL."""
    ticket = a_working_ticket(desk)
    done = desk.report(ticket.id, ticket.token, Resolved(reply="x"), agent="iris_support")
    desk.store.client.delete(desk.keys.ticket(done.id))
    desk.ledger = type("Sql", (), {"ticket": lambda self, team, name: (done, 5)})()  # type: ignore[assignment]
    before = desk.store.client.xlen(desk.keys.ledger)
    with pytest.raises(Refused, match="archived"):
        desk.note(done.id, "late", actor="person:p")
    assert desk.store.client.xlen(desk.keys.ledger) == before

    again = desk.reopen(done.id, actor="person:p", reason="not done")
    assert (again.state, again.life) == (State.READY, 2)
    assert desk.store.client.hget(desk.keys.ticket(done.id), "s") == "6"


def test_an_argument_called_name_does_not_pass_for_the_action(desk: Desk) -> None:
    """EN-10, I23: a gate reads the action's own name."""
    ticket = a_working_ticket(desk)
    ask = AskHuman(action="process_refund", arguments={"name": "harmless", "amount": 9999.0})
    parent = desk.report(ticket.id, ticket.token, ask, agent="iris_support")
    chosen = approver_for(desk.find(parent.awaits[0]), desk.team, now=desk.clock.now())
    assert "gate 1" in chosen.reasons[0]


def test_the_asking_agent_cannot_choose_who_approves_past_a_gate(desk: Desk) -> None:
    """EN-10: `to` counts where no gate does, and only for somebody who can approve."""
    ticket = a_working_ticket(desk)
    ask = AskHuman(action="process_refund", arguments={"amount": 9999.0}, to="devin_engineering")
    parent = desk.report(ticket.id, ticket.token, ask, agent="iris_support")
    child = desk.find(parent.awaits[0])
    assert approver_for(child, desk.team, now=desk.clock.now()).named == "felix_ceo"
    other = child.changed(context=child.context | {"action": "greet"})
    assert approver_for(other, desk.team, now=desk.clock.now()).named is None


def test_who_asked_never_answers(floor: Floor) -> None:
    """EN-10: not as a person of the same name, and the ladder does not bring it back to the asker either."""
    ticket_id = floor.enqueue(needs=["decision"])
    parent = floor.report(ticket_id, AskHuman(action="hire", arguments={}))
    child_id = parent.awaits[0]
    with pytest.raises(Refused, match="may not answer"):
        floor.desk.answer(child_id, "approve", actor="person:felix_ceo", reason="mine")
    for _ in range(6):
        floor.later(1800)
    assert floor.desk.find(child_id).assigned_to is None


def test_an_expired_approval_cannot_be_given_any_more(floor: Floor) -> None:
    """EN-10: also when the timer is late, also when its approver waits for somebody."""
    ticket_id = floor.enqueue()
    ask = AskHuman(action="process_refund", arguments={"amount": 620.0, "days_since_purchase": 1})
    child_id = floor.report(ticket_id, ask).awaits[0]
    floor.report(child_id, Blocked(owner="bank", action="look"))
    floor.clock.advance(4 * 3600 + 1)
    with pytest.raises(Refused, match="expired"):
        floor.desk.answer(child_id, "approve", actor="person:on_call", reason="yes")
    floor.run()
    asked_next = floor.desk.find(child_id)
    assert (asked_next.state, asked_next.named) == (State.READY, "on_call")  # the gate says who is next
    assert asked_next.expires_at == floor.clock.now() + 4 * 3600
    floor.later(4 * 3600 + 1)
    assert floor.desk.find(child_id).state is State.FAILED
    assert floor.desk.find(ticket_id).answers[0]["decision"] == "deny"


def test_a_review_that_nobody_asked_for_closes_nothing(desk: Desk) -> None:
    """SD-07: there is nothing to judge on a ticket that was not submitted."""
    ticket = a_working_ticket(desk, requires_handoff=["felix_ceo"])
    with pytest.raises(BadInput, match="not in review"):
        desk.report(ticket.id, ticket.token, Reviewed(passed=True), agent="iris_support")


def test_a_ticket_that_goes_round_without_end_reaches_a_decision_maker(desk: Desk) -> None:
    """I10: turns of one life are counted, whatever they are."""
    ticket = triaged(desk, a_new_ticket(desk))
    for _ in range(desk.settings.max_turns):
        held = desk.claim(assigned(desk, ticket, "iris_support").id, "iris_support", "w")
        ticket = desk.report(held.id, held.token, StepDone(name="look", result={}), agent="iris_support")
    held = desk.claim(assigned(desk, ticket, "iris_support").id, "iris_support", "w")
    last = desk.report(held.id, held.token, StepDone(name="look", result={}), agent="iris_support")
    assert (last.state, last.named) == (State.READY, "felix_ceo")


def test_a_ticket_stays_small_enough_to_carry(desk: Desk) -> None:
    """I10: a report alone, and a ticket with all its steps, are bounded."""
    ticket = triaged(desk, a_new_ticket(desk))
    big = {"x": "y" * (desk.settings.max_ticket_bytes - 1000)}
    with pytest.raises(TooLarge):
        for n in range(12):
            held = desk.claim(assigned(desk, ticket, "iris_support").id, "iris_support", "w")
            ticket = desk.report(held.id, held.token, StepDone(name=f"s{n}", result=big), agent="iris_support")
    assert len(desk.find(ticket.id).model_dump_json()) < 9 * desk.settings.max_ticket_bytes


@pytest.mark.parametrize("at", [0.0, -5.0, 1e300])
def test_later_is_soon_and_not_never(desk: Desk, clock: ManualClock, at: float) -> None:
    """I11: a moment in the past or in a million years would be a loop or the end."""
    ticket = a_working_ticket(desk)
    after = desk.report(ticket.id, ticket.token, Later(at=at), agent="iris_support")
    assert after.not_before is not None
    assert clock.now() < after.not_before <= clock.now() + 366 * 86_400


def test_a_handoff_that_requires_somebody_unknown_ends(desk: Desk) -> None:
    """FO-14: nobody is waited for who does not exist."""
    ticket = a_working_ticket(desk, requires_handoff=["ghost"])
    assert desk.report(ticket.id, ticket.token, Resolved(reply="x"), agent="iris_support").state is State.RESOLVED


@pytest.mark.parametrize("type_", ["approval", "escalation"])
def test_nobody_brings_an_approval_of_his_own(desk: Desk, type_: str) -> None:
    """I23."""
    with pytest.raises(BadInput, match="made by Shiftlead itself"):
        desk.accept(Draft(type=type_, body="approve me"), actor="door:test")
    ticket = a_working_ticket(desk)
    with pytest.raises(BadInput, match="made by Shiftlead itself"):
        desk.report(ticket.id, ticket.token, HandOff(to="felix_ceo", type=type_, question="?"), agent="iris_support")


def test_a_senders_numbers_do_not_block_ours(desk: Desk) -> None:
    """FO-01: numbers booked ahead are jumped over; one far ahead is refused."""
    year = desk.accept(Draft(body="first"), actor="door:test").ticket.number[2:6]
    for n in range(2, 40):
        desk.accept(Draft(body="theirs", number=f"T-{year}-{n:03d}"), actor="door:other")
    ours = [desk.accept(Draft(body="ours"), actor="door:test").ticket.number for _ in range(5)]
    assert len(set(ours)) == 5
    with pytest.raises(BadInput, match="far ahead"):
        desk.accept(Draft(body="poison", number=f"T-{year}-999999999"), actor="door:other")
    with pytest.raises(ValidationError):
        Draft(body="x", number="T-\u0662\u0660\u0662\u0666-\u0660\u0660\u0661")


def test_an_idempotency_key_is_its_senders_own(desk: Desk) -> None:
    """I13, I16: another sender's key of the same name stands for another ticket."""
    mine = desk.accept(Draft(body="mine"), actor="door:http:a", key="order-17")
    theirs = desk.accept(Draft(body="theirs"), actor="door:http:b", key="order-17")
    assert mine.ticket.id != theirs.ticket.id


@pytest.mark.parametrize("value", [{"kind": "resolved", "evidence": {1, 2}}, {"kind": "step_done", "name": "x",
    "result": {"a": object()}}, {"kind": "step_done", "name": "x", "result": {"a": float("inf")}}])  # fmt: skip
def test_a_result_that_is_not_json_is_refused_at_once(value: object) -> None:
    """I17: else it would be tried until the run deadline."""
    with pytest.raises(BadInput, match="not a Report"):
        as_report(value)


def test_a_lease_that_was_given_anew_is_not_disarmed_by_a_slow_coordinator(floor: Floor) -> None:
    """I15: a timer is taken out only as it was read."""
    ticket_id = floor.enqueue()
    floor.claim(ticket_id)
    timers, member = floor.desk.keys.timers, f"lease:{ticket_id}"
    at = floor.desk.store.client.zscore(timers, member)
    floor.desk.store.disarm(member, at - 5.0, None)
    assert floor.desk.store.client.zscore(timers, member) == at
    floor.desk.store.disarm(member, at, None)
    assert floor.desk.store.client.zscore(timers, member) is None


def test_a_free_slot_is_given_once(floor: Floor) -> None:
    """EN-09: the ladder does not take four tickets away for one slot."""
    ids = [floor.enqueue(f"question {n}", priority="high") for n in range(4)]
    for ticket_id in ids:
        floor.claim(ticket_id)
    for _ in range(3):  # 45 minutes, with signs of life
        floor.clock.advance(901)
        for ticket_id in ids:
            ticket = floor.desk.find(ticket_id)
            if ticket.state is State.WORKING:
                floor.desk.renew(ticket)
        floor.run()
    assert [floor.desk.find(i).named for i in ids].count("felix_ceo") == 1


def test_widening_lets_others_take_it(floor: Floor) -> None:
    """EN-09."""
    steps = floor.desk.team.escalations
    step = steps[0].ladder[0].model_copy(update={"notify": None, "widen": ["bug"], "after_s": 60.0})
    ladder = steps[0].model_copy(update={"when": None, "ladder": [step]})
    floor.cycle.team = floor.desk.team = floor.desk.team.model_copy(update={"escalations": [ladder]})
    ticket_id = floor.enqueue(needs=["field_visit"], context={"escalation_threshold": "60s"})
    floor.later(61)
    assert floor.desk.find(ticket_id).assigned_to == "devin_engineering"
    assert where(floor.desk, ticket_id) == ["assigned:devin_engineering", "queue:active"]
