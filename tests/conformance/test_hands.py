"""People's hands on tickets: each a move with an actor and a reason, on every server."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.coordinator.inbox import inbox
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, IllegalMove, NotFound, Refused, StaleToken
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, AskRequester, HandOff, Resolved
from tests.desks import a_new_ticket, a_working_ticket, an_assigned_ticket, triaged, where

LEAD = "person:lead"


def last(desk: Desk, ticket_id: str) -> Any:
    return desk.history(ticket_id)[-1]


def an_approval(desk: Desk, **context: Any) -> Any:
    """An open approval whose gate has these terms, and the ticket that waits for it."""
    parent = a_working_ticket(desk)
    ask = AskHuman(action="start_work", arguments={"scope": "checkout only"}, why="a change")
    desk.report(parent.id, parent.token, ask, agent="iris_support")
    approval = desk.find(desk.find(parent.id).awaits[0])
    values = {"named": "felix_ceo", "needs": [], "context": approval.context | context}
    return desk.find(parent.id), triaged(desk, approval, **values)


def test_a_new_priority_moves_the_due_time_and_the_lane_but_not_the_ladder(desk: Desk) -> None:
    """EN-09: no move re-arms the ladder's clock."""
    ticket = triaged(desk, a_new_ticket(desk), ladder_at=2e9)
    after = desk.edit(ticket.id, {"priority": "urgent", "title": "The shop is down"}, actor=LEAD, reason="outage")
    assert (after.state, after.due, after.ladder_at) == (State.READY, ticket.created_at + 300, 2e9)
    assert "ready:urgent:billing" in where(desk, ticket.id)
    assert "ready:rest:billing" not in where(desk, ticket.id)
    line = last(desk, ticket.id)
    assert (line.move, line.actor, line.reason) == ("edit", LEAD, "outage")
    assert line.detail["before"]["priority"] == "normal"
    assert after.aided


def test_an_edit_while_somebody_works_leaves_the_holder_alone(desk: Desk) -> None:
    working = a_working_ticket(desk)
    after = desk.edit(working.id, {"component": "checkout"}, actor=LEAD, reason="")
    assert (after.state, after.token) == (State.WORKING, working.token)
    assert desk.report(working.id, working.token, Resolved(reply="ok"), agent="iris_support").state is State.RESOLVED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prioritty": "urgent"}, "Did you mean 'priority'"),
        ({"state": "resolved"}, "cannot be edited"),
        ({"priority": "soon"}, "priority"),
        ({"priority": None}, "urgent, high, normal or low"),
        ({"needs": ["Not A Capability"]}, "needs"),
        ({"body": "nul \0"}, "NUL"),
        ({}, "What can"),
        ({"type": "approval"}, "made by Shiftlead"),
    ],
)
def test_what_cannot_be_edited_is_refused_by_name(desk: Desk, changes: dict[str, Any], words: str) -> None:
    ticket = triaged(desk, a_new_ticket(desk))
    with pytest.raises(BadInput, match=words):
        desk.edit(ticket.id, changes, actor=LEAD, reason="")
    assert desk.find(ticket.id).version == ticket.version


def test_whoever_held_a_reassigned_ticket_must_stop(desk: Desk) -> None:
    """I4: the token rises with the change of holder."""
    working = a_working_ticket(desk)
    after = desk.reassign(working.id, to="devin_engineering", actor=LEAD, reason="he knows the job")
    assert (after.state, after.named, after.assigned_to) == (State.READY, "devin_engineering", None)
    with pytest.raises(StaleToken):
        desk.report(working.id, working.token, Resolved(reply="mine"), agent="iris_support")
    assert where(desk, working.id) == ["queue:intake", "ready:rest:@devin_engineering"]


def test_reassigning_says_who_cannot_and_why(desk: Desk) -> None:
    ticket = an_assigned_ticket(desk)
    for call, words in (
        ({"to": "iris_support"}, "already"),
        ({"to": "on_call"}, "pulls no tickets"),
    ):
        with pytest.raises(Refused, match=words):
            desk.reassign(ticket.id, **call, actor=LEAD, reason="")  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="Did you mean 'felix_ceo'"):
        desk.reassign(ticket.id, to="felix_cco", actor=LEAD, reason="")
    with pytest.raises(BadInput, match="either who"):
        desk.reassign(ticket.id, actor=LEAD, reason="")


def test_a_snoozed_ticket_comes_back_at_its_time_to_whoever_had_it(desk: Desk, clock: ManualClock) -> None:
    working = a_working_ticket(desk)
    until = clock.now() + 7200
    after = desk.snooze(working.id, until, actor=LEAD, reason="the customer is away")
    assert (after.state, after.not_before, after.prefers) == (State.SCHEDULED, until, "iris_support")
    with pytest.raises(BadInput, match="within a year"):
        desk.snooze(working.id, clock.now() - 1, actor=LEAD, reason="")
    with pytest.raises(StaleToken):
        desk.renew(working)


def test_a_merged_ticket_lives_on_in_the_other_with_both_requesters(desk: Desk) -> None:
    """EN-02: similarity only suggests, a person merges."""
    one = triaged(desk, a_new_ticket(desk, reporter="mia", links=["https://ci.example/1"]))
    two = triaged(desk, a_new_ticket(desk, reporter="tom", body="it fails for me", links=["https://ci.example/2"]))
    stays = desk.merge(two.number, one.number, actor=LEAD, reason="the same job")

    assert stays.id == one.id
    assert [j["reporter"] for j in stays.joined] == ["tom"]
    assert stays.links == ["https://ci.example/1", "https://ci.example/2"]
    assert last(desk, one.id).detail["text"] == "it fails for me"
    gone = desk.find(two.id)
    assert (gone.state, gone.merged_into) == (State.CANCELLED, one.number)
    assert [line.move for line in desk.history(two.id)] == ["accept", "triage", "merge"]
    with pytest.raises(Refused, match="closed already"):
        desk.merge(two.id, one.id, actor=LEAD, reason="")
    with pytest.raises(Refused, match="itself"):
        desk.merge(one.id, one.id, actor=LEAD, reason="")


def test_a_part_of_another_ticket_cannot_be_merged_away(desk: Desk) -> None:
    parent = a_working_ticket(desk)
    desk.report(parent.id, parent.token, HandOff(needs=["bug"], question="why?"), agent="iris_support")
    child = desk.find(desk.find(parent.id).awaits[0])
    other = triaged(desk, a_new_ticket(desk))
    with pytest.raises(Refused, match="waits for its answer"):
        desk.merge(child.id, other.id, actor=LEAD, reason="")


def test_merging_a_ticket_cancels_what_worked_for_it(desk: Desk) -> None:
    """EN-08: in the same commit."""
    parent = a_working_ticket(desk)
    desk.report(parent.id, parent.token, HandOff(needs=["bug"], question="why?"), agent="iris_support")
    child = desk.find(parent.id).awaits[0]
    other = triaged(desk, a_new_ticket(desk))
    desk.merge(parent.id, other.id, actor=LEAD, reason="")
    assert desk.find(child).state is State.CANCELLED


def test_an_approval_without_what_must_be_confirmed_cannot_be_approved(desk: Desk) -> None:
    """TA-08, EN-10: scope AND acceptance criteria stand before anybody can say yes."""
    _, approval = an_approval(desk, confirms=["scope", "acceptance_criteria"])
    with pytest.raises(Refused, match="acceptance_criteria must be confirmed"):
        desk.answer(approval.id, "approve", actor=LEAD, reason="")
    assert desk.answer(approval.id, "deny", actor=LEAD, reason="say when it is done").state is State.RESOLVED


def test_a_yes_says_what_it_confirmed_and_which_action_it_is_for(desk: Desk) -> None:
    """TA-08, I23: bound to the action's hash."""
    _, approval = an_approval(desk, confirms=["scope"])
    desk.answer(approval.id, "approve", actor=LEAD, reason="go")
    line = last(desk, approval.id)
    assert line.detail["confirmed"] == {"scope": "checkout only"}
    assert line.detail["hash"] == approval.context["hash"]
    with pytest.raises(IllegalMove):
        desk.answer(approval.id, "deny", actor=LEAD, reason="changed my mind")


def test_an_approval_can_be_delegated_but_not_to_its_requester(desk: Desk) -> None:
    """EN-10: delegate; never approved by its requester."""
    parent, approval = an_approval(desk)
    after = desk.delegate(parent.number, "on_call", actor=LEAD, reason="felix is away")
    assert (after.id, after.named, after.expires_at) == (approval.id, "on_call", approval.expires_at)
    with pytest.raises(Refused, match="may not answer"):
        desk.delegate(approval.id, "iris_support", actor=LEAD, reason="")
    with pytest.raises(Refused, match="cannot approve"):
        desk.delegate(approval.id, "devin_engineering", actor=LEAD, reason="")
    with pytest.raises(NotFound):
        desk.delegate(approval.id, "nobody", actor=LEAD, reason="")


def test_a_gate_that_wants_a_person_is_not_opened_by_a_program(desk: Desk) -> None:
    """EN-10, I23."""
    from tests.desks import assigned

    _, approval = an_approval(desk, human=True)
    held = desk.claim(assigned(desk, approval, "felix_ceo").id, "felix_ceo", "w")
    with pytest.raises(BadInput, match="only a person"):
        desk.report(held.id, held.token, Resolved(decision="approve"), agent="felix_ceo")
    denied = desk.report(held.id, held.token, Resolved(decision="deny", reason="no"), agent="felix_ceo")
    assert denied.state is State.RESOLVED


def test_the_inbox_holds_approvals_and_questions_for_those_they_are_for(desk: Desk) -> None:
    """EN-10: what waits for people, the most pressing first, with the command that answers it."""
    parent, approval = an_approval(desk, confirms=["scope", "acceptance_criteria"])
    asked = a_working_ticket(desk, reporter="mia")
    desk.report(asked.id, asked.token, AskRequester(question="Which order?"), agent="iris_support")

    assert [i.number for i in inbox(desk)] == [approval.number, asked.number]
    [item] = inbox(desk, "felix_ceo")
    assert (item.action, item.terms, item.missing) == ("start_work", ["scope", "acceptance_criteria"], item.missing)
    assert item.missing == ["acceptance_criteria"]
    assert item.answer_with == f"shiftlead approve {approval.number}"
    assert [i.asks for i in inbox(desk, "mia")] == ["Which order?"]
    assert inbox(desk, parent.prefers) == []
    with pytest.raises(NotFound, match="Did you mean 'felix_ceo'"):
        inbox(desk, "felix_ceoo")
    with pytest.raises(NotFound, match="nobody called"):
        inbox(desk, "m" * 100_000)


def test_the_inbox_cuts_what_is_long_and_keeps_the_terms(desk: Desk) -> None:
    """I17: a list of two thousand must not carry their whole texts; `show` has them."""
    parent = a_working_ticket(desk)
    given = {f"a{n}": "x" * 1_000 for n in range(90)} | {"scope": "checkout only"}
    desk.report(parent.id, parent.token, AskHuman(action="start_work", arguments=given, why="y"), agent="iris_support")
    approval = desk.find(desk.find(parent.id).awaits[0])
    triaged(desk, approval, named="felix_ceo", needs=[], context=approval.context | {"confirms": ["scope"]})
    [item] = inbox(desk, "felix_ceo")
    assert next(iter(item.arguments.items())) == ("scope", "checkout only")
    assert len(str(item.as_dict())) < 30_000


def test_an_agent_cannot_wake_its_own_ticket(desk: Desk) -> None:
    """EN-08: an actor's own event never wakes it."""
    asked = a_working_ticket(desk)
    desk.report(asked.id, asked.token, AskRequester(question="Which order?"), agent="iris_support")
    with pytest.raises(Refused, match="own"):
        desk.reply(asked.id, "4711", actor="agent:iris_support")
    assert desk.reply(asked.id, "4711", actor="door:http:shop").state is State.READY


def test_the_ladder_stands_while_the_requester_is_asked(desk: Desk, clock: ManualClock) -> None:
    """EN-09: it pauses only then, and goes on with what was left."""
    ticket = triaged(desk, a_new_ticket(desk), ladder_at=clock.now() + 1800)
    from tests.desks import assigned

    held = desk.claim(assigned(desk, ticket, "iris_support").id, "iris_support", "w")
    clock.advance(600)
    waiting = desk.report(held.id, held.token, AskRequester(question="Which order?"), agent="iris_support")
    assert (waiting.ladder_at, waiting.ladder_left) == (None, 1200)
    clock.advance(86_400)
    after = desk.reply(ticket.id, "4711", actor="door:http:shop")
    assert (after.ladder_at, after.ladder_left) == (clock.now() + 1200, None)


def test_what_an_agent_has_just_done_is_kept_newest_last_and_does_not_touch_a_hold(desk: Desk) -> None:
    """EN-06, FO-10: twenty events at most, with who said so."""
    desk.set_agent("devin_engineering", actor=LEAD, busy_until=desk.clock.now() + 60, reason="release")
    for n in range(25):
        state = desk.agent_event("devin_engineering", "deployed", ref=f"v{n}", actor="agent:devin_engineering")
    assert [e.ref for e in state.events] == [f"v{n}" for n in range(5, 25)]
    assert (state.reason, state.busy_until) == ("release", desk.clock.now() + 60)
    with pytest.raises(BadInput):
        desk.agent_event("devin_engineering", " ", actor=LEAD)
