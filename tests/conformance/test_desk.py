"""The desk keeps its promises on every server we claim to support."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.queues import moves
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import (
    BadInput,
    IllegalMove,
    KeyReused,
    NoSlot,
    NotFound,
    NotYours,
    Rebuilding,
    Refused,
    StaleToken,
)
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, AskRequester, Failed, HandOff, Later, Report, Resolved, StepDone
from shiftlead.queues.ticket import Draft
from tests.desks import _one, a_new_ticket, a_working_ticket, an_assigned_ticket, assigned, triaged, where


def test_a_ticket_stands_in_one_queue_at_every_step(desk: Desk) -> None:
    """I1, FO-08: intake, active, completed; never two, never none."""
    seen = []
    ticket = a_new_ticket(desk)
    seen.append(where(desk, ticket.id))
    ticket = triaged(desk, ticket)
    seen.append(where(desk, ticket.id))
    ticket = assigned(desk, ticket, "iris_support")
    seen.append(where(desk, ticket.id))
    ticket = desk.claim(ticket.id, "iris_support", "w1")
    seen.append(where(desk, ticket.id))
    ticket = desk.report(ticket.id, ticket.token, Resolved(reply="done"), agent="iris_support")
    seen.append(where(desk, ticket.id))

    assert seen == [
        ["new", "queue:intake"],
        ["queue:intake", "ready:rest:billing"],
        ["assigned:iris_support", "queue:active"],
        ["queue:active", "working:iris_support"],
        ["queue:completed"],
    ]
    assert desk.store.client.zcard(desk.keys.timers) == 0


def test_every_line_of_a_ticket_has_the_next_number_and_tells_the_move(desk: Desk) -> None:
    """FO-13, I7: what happened and when, from 1 without a gap."""
    ticket = a_working_ticket(desk)
    desk.note(ticket.id, "reproduced on store 2", actor="agent:iris_support", token=ticket.token)
    desk.report(ticket.id, ticket.token, Resolved(reply="done"), agent="iris_support")

    lines = desk.history(ticket.id)
    assert [line.seq for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line.move for line in lines] == ["accept", "triage", "assign", "claim", "note", "resolve"]
    assert lines[4].reason == "reproduced on store 2"
    assert lines[0].detail["body"] == "I was charged twice"


def test_the_token_rises_whenever_the_holder_changes(desk: Desk, clock: ManualClock) -> None:
    """I3: at assign, claim, give_back, cancel; by whoever changes it."""
    first = an_assigned_ticket(desk)
    held = desk.claim(first.id, "iris_support", "w1")
    back = desk.hand_back(held.id, held.token, reason="stopping", actor="agent:iris_support")
    again = assigned(desk, back, "iris_support")
    gone = desk.cancel(again.id, actor="person:p", reason="no longer needed")

    tokens = [first.token, held.token, back.token, again.token, gone.token]
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize(
    "verb",
    [
        lambda d, t, token: d.report(t.id, token, Resolved(reply="late"), agent="iris_support"),
        lambda d, t, token: d.renew(t, token=token),
        lambda d, t, token: d.note(t.id, "late", actor="agent:iris_support", token=token),
        lambda d, t, token: d.hand_back(t.id, token, reason="late", actor="agent:iris_support"),
    ],
    ids=["report", "renew", "note", "hand_back"],
)
def test_a_late_writer_is_refused_and_changes_nothing(desk: Desk, verb: Any) -> None:
    """I4: every mutating verb with an old token."""
    late = a_working_ticket(desk)
    back = desk.hand_back(late.id, late.token, reason="lease_lost", actor="timer:lease")
    now_held = desk.claim(assigned(desk, back, "iris_support").id, "iris_support", "w2")
    before = (desk.find(late.id), len(desk.history(late.id)))

    with pytest.raises(StaleToken, match=r"out of date.*iris_support holds it now"):
        verb(desk, late, late.token)

    assert (desk.find(late.id), len(desk.history(late.id))) == before
    assert desk.find(late.id).worker == now_held.worker == "w2"


def test_a_repeated_report_gets_the_stored_answer(desk: Desk) -> None:
    """I2: a lost reply may be asked for again; the ticket is completed once."""
    ticket = a_working_ticket(desk)
    first = desk.report(ticket.id, ticket.token, Resolved(reply="done"), agent="iris_support")
    second = desk.report(ticket.id, ticket.token, Resolved(reply="done"), agent="iris_support")

    assert first == second
    assert [line.move for line in desk.history(ticket.id)].count("resolve") == 1


def test_a_repeated_claim_of_the_same_worker_is_the_same_claim(desk: Desk) -> None:
    """I12: a doorbell that rings twice changes nothing."""
    ticket = an_assigned_ticket(desk)
    assert desk.claim(ticket.id, "iris_support", "w1") == desk.claim(ticket.id, "iris_support", "w1")
    with pytest.raises(IllegalMove):
        desk.claim(ticket.id, "iris_support", "w2")


def test_an_agent_cannot_touch_anothers_ticket(desk: Desk) -> None:
    """FO-07: each agent works on its own queue."""
    ticket = an_assigned_ticket(desk)
    with pytest.raises(NotYours):
        desk.claim(ticket.id, "devin_engineering", "w1")
    held = desk.claim(ticket.id, "iris_support", "w1")
    with pytest.raises(NotYours):
        desk.report(held.id, held.token, Resolved(reply="mine"), agent="devin_engineering")


def test_an_agent_never_has_more_than_its_capacity(desk: Desk) -> None:
    """A slot is membership in assigned or working, nothing else."""
    assigned(desk, triaged(desk, a_new_ticket(desk)), "felix_ceo")
    second = triaged(desk, a_new_ticket(desk))
    with pytest.raises(NoSlot):
        assigned(desk, second, "felix_ceo")
    assert desk.find(second.id).state is State.READY


def test_the_same_key_and_request_give_the_same_ticket(desk: Desk) -> None:
    """EN-02, I13: repeated = the stored reply; another request under the key = refused."""
    draft = Draft(body="charged twice")
    first = desk.accept(draft, actor="door:test", key="order-1")
    second = desk.accept(draft, actor="door:test", key="order-1")
    assert (first.created, second.created) == (True, False)
    assert first.ticket.number == second.ticket.number
    with pytest.raises(KeyReused):
        desk.accept(Draft(body="something else"), actor="door:test", key="order-1")


def test_a_senders_own_number_is_kept_once(desk: Desk) -> None:
    """FO-01: ticket_id T-2024-001 is the number; a second one of that number is refused."""
    given = Draft.model_validate({"ticket_id": "T-2024-001", "context": {"customer": "mia", "issue": "Late parcel"}})
    ticket = desk.accept(given, actor="door:test").ticket
    assert (ticket.number, ticket.customer, ticket.title) == ("T-2024-001", "mia", "Late parcel")
    with pytest.raises(Refused, match="exists already"):
        desk.accept(given, actor="door:test")


def test_numbers_are_never_given_twice(desk: Desk) -> None:
    numbers = {desk.accept(Draft(body=str(i)), actor="door:test").ticket.number for i in range(50)}
    assert len(numbers) == 50
    assert all(n.startswith("T-2027-") and len(n) >= 10 for n in numbers)


def test_nothing_is_written_without_an_epoch(desk: Desk) -> None:
    """I8: after a FLUSHALL every commit is refused until the queues are rebuilt."""
    ticket = a_working_ticket(desk)
    desk.store.client.flushall()
    for act in (
        lambda: desk.accept(Draft(body="x"), actor="door:test"),
        lambda: desk.claim(ticket.id, "iris_support", "w1"),
        lambda: desk.renew(ticket),
        lambda: desk.report(ticket.id, ticket.token, Resolved(reply="x"), agent="iris_support"),
    ):
        with pytest.raises(Rebuilding, match="being rebuilt"):
            act()
    assert desk.store.client.keys("*") == []


def test_a_handoff_is_a_child_with_the_packet_in_the_same_commit(desk: Desk) -> None:
    """FO-05, FO-06, EN-08, TA-11: created with the parent's move, whole story referenced, eight slots."""
    ticket = a_working_ticket(desk, customer="mia", title="App crashes")
    parent = desk.report(
        ticket.id,
        ticket.token,
        HandOff(needs=["bug"], title="Crash on start", question="Why does it crash?"),
        agent="iris_support",
    )
    child = desk.find(parent.awaits[0])

    assert (parent.state, child.state) == (State.WAITING, State.NEW)
    assert (child.parent, child.customer, child.needs, child.asked_by) == (ticket.id, "mia", ["bug"], "iris_support")
    assert child.packet is not None
    assert child.packet.lineage == [parent.number]
    assert child.packet.history_of == [parent.id]
    assert child.packet.evidence_snippets == ["I was charged twice"]
    slots = set(type(child.packet).model_fields)
    assert slots >= {
        "task_id", "source", "urgency", "impact_summary", "hypotheses", "evidence_snippets", "next_questions",
        "human_approval_needed",
    }  # fmt: skip
    assert "working:iris_support" not in where(desk, ticket.id)


def test_a_closed_child_wakes_its_parent_in_the_same_commit(desk: Desk) -> None:
    """FO-14: a promised answer cannot get lost between two writes."""
    ticket = a_working_ticket(desk)
    parent = desk.report(ticket.id, ticket.token, HandOff(needs=["bug"], question="why?"), agent="iris_support")
    child = desk.find(parent.awaits[0])
    held = desk.claim(assigned(desk, triaged(desk, child), "devin_engineering").id, "devin_engineering", "w2")
    assert not desk.store.client.smembers(desk.keys.wake)
    desk.report(held.id, held.token, Resolved(reply="fixed"), agent="devin_engineering")
    assert desk.store.client.smembers(desk.keys.wake) == {parent.id}


def test_cancelling_a_parent_cancels_its_children(desk: Desk) -> None:
    """EN-08: in one commit."""
    ticket = a_working_ticket(desk)
    parent = desk.report(ticket.id, ticket.token, HandOff(needs=["bug"], question="why?"), agent="iris_support")
    desk.cancel(parent.id, actor="person:p", reason="withdrawn")
    assert desk.find(parent.awaits[0]).state is State.CANCELLED


def test_a_result_that_requires_escalation_is_handed_to_the_decision_maker(desk: Desk) -> None:
    """FO-05: by the coordinator's side, not by the agent."""
    ticket = a_working_ticket(desk)
    report = Resolved(reply="sorry", requires_escalation=True, reason="threatens to sue")
    parent = desk.report(ticket.id, ticket.token, report, agent="iris_support")
    child = desk.find(parent.awaits[0])
    assert (parent.state, child.type, child.named) == (State.WAITING, "escalation", "felix_ceo")


def test_a_ticket_is_not_resolved_before_each_named_agent_has_answered(desk: Desk) -> None:
    """FO-01, FO-02: requires_handoff names felix; the ticket goes to him first."""
    ticket = a_working_ticket(desk, requires_handoff=["felix_ceo"], type="customer_complaint", priority="high")
    parent = desk.report(ticket.id, ticket.token, Resolved(reply="sorry"), agent="iris_support")
    assert parent.state is State.WAITING
    assert desk.find(parent.awaits[0]).named == "felix_ceo"


def test_an_approval_is_bound_to_the_action_and_answered_by_a_person(desk: Desk) -> None:
    """EN-10: the child carries the action and its hash; approve works wherever the child stands."""
    ticket = a_working_ticket(desk)
    ask = AskHuman(action="process_refund", arguments={"amount": 620.0, "order": "#W1"}, why="over 500")
    parent = desk.report(ticket.id, ticket.token, ask, agent="iris_support")
    child = desk.find(parent.awaits[0])
    assert (child.type, child.excluded, len(child.context["hash"])) == ("approval", ["iris_support"], 64)
    answered = desk.answer(parent.number, "approve", actor="person:on_call", reason="the customer is right")
    assert (answered.id, answered.state) == (child.id, State.RESOLVED)
    assert (answered.result or {})["decision"] == "approve"
    with pytest.raises(Refused):
        desk.answer(parent.number, "approve", actor="person:on_call", reason="twice")


def test_a_step_sends_the_same_ticket_on_with_its_result(desk: Desk) -> None:
    ticket = a_working_ticket(desk)
    report = StepDone(name="classify", result={"category": "billing"}, confidence=0.9, needs=["customer_issue"])
    after = desk.report(ticket.id, ticket.token, report, agent="iris_support")
    assert (after.state, after.needs, after.steps["classify"]["result"]) == (
        State.READY, ["customer_issue"], {"category": "billing"},
    )  # fmt: skip


def test_what_may_be_tried_again_is_tried_by_others_then_by_one_who_decides_and_later_after_that(
    desk: Desk, clock: ManualClock
) -> None:
    """SS-05, I18."""
    ticket = a_working_ticket(desk)
    after = desk.report(ticket.id, ticket.token, Failed(error="timeout", retryable=True), agent="iris_support")
    assert (after.state, after.attempts.handed_back) == (State.READY, 1)
    held = desk.claim(assigned(desk, after, "iris_support").id, "iris_support", "w1")
    decided = desk.report(held.id, held.token, Failed(error="timeout", retryable=True), agent="iris_support")
    assert (decided.state, decided.named, decided.failures) == (State.READY, "felix_ceo", {"iris_support": 2})
    for _ in range(2):  # who decides fails, too: nobody is left, so it comes back later and later
        held = desk.claim(assigned(desk, decided, "felix_ceo").id, "felix_ceo", "w1")
        decided = desk.report(held.id, held.token, Failed(error="timeout", retryable=True), agent="felix_ceo")
        assert decided.state is State.SCHEDULED
        assert decided.not_before is not None and decided.not_before > clock.now()
        clock.advance(decided.not_before - clock.now())
        decided = _one(desk, decided, lambda t, epoch: [moves.wake(t, now=clock.now(), epoch=epoch)])
    assert (decided.failures, decided.named) == ({}, None), "all may try again"


def test_a_deferred_ticket_waits_for_its_timer(desk: Desk, clock: ManualClock) -> None:
    ticket = a_working_ticket(desk)
    after = desk.report(ticket.id, ticket.token, Later(at=clock.now() + 60, why="bank is closed"), agent="iris_support")
    assert after.state is State.SCHEDULED
    assert desk.store.client.zscore(desk.keys.timers, f"wake:{ticket.id}") == clock.now() + 60


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (HandOff(question="?"), "needs"),
        (HandOff(needs=["bug"], to="felix_ceo", question="?"), "needs"),
        (HandOff(to="nobody_here", question="?"), "to"),
    ],
)
def test_a_report_that_cannot_be_is_refused_and_the_ticket_stays(desk: Desk, report: Report, field: str) -> None:
    ticket = a_working_ticket(desk)
    with pytest.raises(BadInput) as refused:
        desk.report(ticket.id, ticket.token, report, agent="iris_support")
    assert refused.value.field == field
    assert desk.find(ticket.id).state is State.WORKING


def test_a_line_of_handoffs_is_bounded(desk: Desk) -> None:
    """I10: the ninth handoff goes to the decision-maker instead."""
    ticket = a_new_ticket(desk)
    for _ in range(desk.settings.max_handoffs):
        held = desk.claim(assigned(desk, triaged(desk, ticket), "devin_engineering").id, "devin_engineering", "w")
        parent = desk.report(held.id, held.token, HandOff(needs=["billing"], question="?"), agent="devin_engineering")
        assert parent.state is State.WAITING
        ticket = desk.find(parent.awaits[0])
    held = desk.claim(assigned(desk, triaged(desk, ticket), "devin_engineering").id, "devin_engineering", "w")
    last = desk.report(held.id, held.token, HandOff(needs=["billing"], question="?"), agent="devin_engineering")
    assert (last.state, last.named) == (State.READY, "felix_ceo")


def test_an_agents_hold_is_a_line_of_its_own(desk: Desk, clock: ManualClock) -> None:
    """FO-13: pausing and holding agents is part of what happened."""
    state = desk.set_agent("felix_ceo", actor="person:lead", busy_until=clock.now() + 60, reason="strategy session")
    assert state.busy_until == clock.now() + 60
    assert [line.move for line in desk.history("@felix_ceo")] == ["agent"]
    with pytest.raises(NotFound, match="iris_support"):
        desk.set_agent("felix", actor="person:lead", paused=True)


def test_what_a_dead_worker_held_comes_back_at_once_and_runs_alone(desk: Desk) -> None:
    """I5, I17: reported dead = suspect at once; only a crash while alone counts, the third one fails the ticket."""
    ticket = a_working_ticket(desk, worker="iris@host:1:77")
    assert desk.worker_gone("iris@host:1:") == [ticket.number]
    back = desk.find(ticket.id)
    assert (back.state, back.suspect, back.attempts.crashed) == (State.READY, True, 0)
    for n in (1, 2, 3):
        held = desk.claim(assigned(desk, back, "iris_support").id, "iris_support", f"iris@host:{n}:7", alone=True)
        desk.worker_gone(f"iris@host:{n}:")
        back = desk.find(held.id)
    assert back.state is State.FAILED
    assert "crashed its worker 3 times" in back.reason


def test_the_requesters_answer_lets_the_ticket_go_on(desk: Desk) -> None:
    """A question that is answered is answered once; a ticket that asked nothing takes no answer."""
    ticket = a_working_ticket(desk)
    with pytest.raises(Refused, match="waits for no answer"):
        desk.reply(ticket.id, "order 4711", actor="door:test")
    waiting = desk.report(ticket.id, ticket.token, AskRequester(question="which order?"), agent="iris_support")
    assert (waiting.state, waiting.waits_for) == (State.WAITING, "requester")
    after = desk.reply(ticket.number, "order 4711", actor="door:test")
    assert (after.state, after.prefers, after.answers[-1]["reply"]) == (State.READY, "iris_support", "order 4711")


def test_a_reopened_ticket_has_a_new_life_and_its_whole_story(desk: Desk) -> None:
    """I2: one terminal event per life."""
    ticket = a_working_ticket(desk)
    done = desk.report(ticket.id, ticket.token, Resolved(reply="done"), agent="iris_support")
    again = desk.reopen(done.number, actor="person:p", reason="it is not")
    assert (again.state, again.life, again.result) == (State.READY, 2, None)
    assert again.token > done.token
    held = desk.claim(assigned(desk, again, "iris_support").id, "iris_support", "w1")
    desk.report(held.id, held.token, Resolved(reply="now"), agent="iris_support")
    ends = [(line.life, line.move) for line in desk.history(ticket.id) if line.move == "resolve"]
    assert ends == [(1, "resolve"), (2, "resolve")]
    with pytest.raises(IllegalMove):
        desk.reopen(an_assigned_ticket(desk).id, actor="person:p", reason="open")
