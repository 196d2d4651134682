"""What senders and agents may not forge, swallow or lift: gates, other people's tickets, a person's word."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.coordinator.handoff import answer_of
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, Refused
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, HandOff, Resolved
from shiftlead.queues.ticket import Draft, Ticket
from tests.conformance.test_cycle import Floor
from tests.desks import a_new_ticket, a_working_ticket, assigned, triaged

LINK = "https://ci.example/jobs/1173"


def taken(desk: Desk, *, actor: str = "door:http:shop", **fields: Any) -> Ticket:
    return desk.accept(Draft.model_validate({"body": "the nightly job fails"} | fields), actor=actor).ticket


@pytest.mark.parametrize(
    "kind", ["approval", "Approval", " APPROVAL", "ap\u200bproval", "approval_", "Escalation", "brief"]
)
def test_no_spelling_makes_a_senders_ticket_an_approval(desk: Desk, kind: str) -> None:
    """I23: text opens no gate, and no ticket can pass for one that a gate made."""
    with pytest.raises(BadInput, match="made by Shiftlead"):
        taken(desk, type=kind, context={"action": "deploy", "hash": "0", "confirms": [], "human": False})
    ticket = triaged(desk, a_new_ticket(desk))
    with pytest.raises(BadInput, match="made by Shiftlead"):
        desk.edit(ticket.id, {"type": kind}, actor="person:lead", reason="")
    held = a_working_ticket(desk)
    with pytest.raises(BadInput, match="made by Shiftlead"):
        desk.report(held.id, held.token, HandOff(to="felix_ceo", type=kind), agent="iris_support")
    with pytest.raises(BadInput, match="source"):
        taken(desk, source="Shiftlead")


def test_an_answer_of_an_ordinary_part_is_no_decision(desk: Desk) -> None:
    """I23: only what AskHuman made says yes or no to an action."""
    held = a_working_ticket(desk)
    desk.report(held.id, held.token, HandOff(to="felix_ceo", question="may we?"), agent="iris_support")
    child = desk.find(desk.find(held.id).awaits[0])
    yes = desk.claim(assigned(desk, triaged(desk, child), "felix_ceo").id, "felix_ceo", "w")
    desk.report(yes.id, yes.token, Resolved(decision="approve", reply="yes"), agent="felix_ceo")
    assert "decision" not in answer_of(desk.find(child.id))


def test_a_typed_ticket_never_disappears_in_an_untyped_one(desk: Desk) -> None:
    """EN-02, FO-14: whoever opened a ticket with everybody's link first does not decide where an incident goes."""
    hole = taken(desk, title="thanks", body="thanks for all", links=[LINK], assigned_to="on_call", priority="low")
    incident = taken(desk, type="incident", priority="urgent", links=[LINK], actor="door:http:ops")
    assert incident.id != hole.id
    wishes = taken(desk, body="look at this job please", links=[LINK], needs=["billing"], actor="door:http:ops")
    assert wishes.id not in (hole.id, incident.id)


def test_what_somebody_joined_is_nobodys_test_any_more(floor: Floor) -> None:
    """EN-02: the first was a test, the second is not."""
    desk = floor.desk
    first = taken(desk, title="test", body="test", links=[LINK])
    joined = desk.accept(Draft(body="the job fails again", links=[LINK]), actor="door:mail")
    assert (joined.joined, joined.ticket.id) == (True, first.id)
    floor.run()
    assert desk.find(first.id).state is not State.CANCELLED


def test_a_joiner_is_escalated_in_time_whatever_the_first_one_asked_for(floor: Floor) -> None:
    """EN-09: nobody's threshold of ten years keeps others waiting."""
    desk = floor.desk
    ticket = taken(desk, links=[LINK], context={"escalation_threshold": "3650d"})
    floor.run()
    desk.accept(Draft(body="it fails for us, too", links=[LINK]), actor="door:mail")
    assert (desk.find(ticket.id).ladder_at or 0) <= floor.clock.now() + desk.team.escalation_s


def test_what_is_large_is_a_ticket_of_its_own(desk: Desk) -> None:
    """I10: a hundred joins must not fill one ticket."""
    first = taken(desk, links=[LINK])
    assert taken(desk, body="x" * 40_000, links=[LINK]).id != first.id


def test_an_agent_cannot_lift_a_persons_hold_nor_hide_for_long(desk: Desk) -> None:
    """EN-04: a pause is a person's word."""
    agent = "agent:devin_engineering"
    desk.set_agent("devin_engineering", actor="person:lead", paused=True, reason="misbehaves")
    for values in ({"paused": False}, {"draining": False}, {"busy_until": None}):
        with pytest.raises(Refused):
            desk.set_agent("devin_engineering", actor=agent, **values)
    assert desk.store.agent_states(["devin_engineering"])["devin_engineering"].reason == "misbehaves"
    desk.set_agent("devin_engineering", actor="person:lead", paused=False)
    with pytest.raises(Refused, match="24 h"):
        desk.set_agent("devin_engineering", actor=agent, busy_until=desk.clock.now() + 10 * 86_400)
    held = desk.set_agent("devin_engineering", actor=agent, busy_until=desk.clock.now() + 60, reason="429")
    assert held.reason == "429"


def an_approval(desk: Desk, **values: Any) -> Ticket:
    parent = a_working_ticket(desk)
    ask = AskHuman(action="deploy", arguments={"scope": values.pop("scope", "docs")}, why="a change")
    desk.report(parent.id, parent.token, ask, agent="iris_support")
    approval = desk.find(desk.find(parent.id).awaits[0])
    return triaged(desk, approval, named="felix_ceo", needs=[], context=approval.context | values)


def test_an_approval_is_delegated_never_reassigned(desk: Desk) -> None:
    """EN-10: reassign would go round every check of who may decide."""
    approval = an_approval(desk)
    for call in ({"to": "devin_engineering"}, {"needs": ["billing"]}):
        with pytest.raises(Refused, match="delegate"):
            desk.reassign(approval.id, actor="person:lead", reason="", **call)  # type: ignore[arg-type]
    plain = triaged(desk, a_new_ticket(desk))
    with pytest.raises(Refused, match="not merged"):
        desk.merge(plain.id, approval.id, actor="person:lead", reason="")


def test_an_agents_yes_is_too_late_after_the_expiry_like_a_persons(desk: Desk, clock: ManualClock) -> None:
    """EN-10: also when the timer is late."""
    approval = an_approval(desk)
    held = desk.claim(assigned(desk, approval, "felix_ceo").id, "felix_ceo", "w")
    clock.advance(desk.settings.approval_expires_s + 1)
    with pytest.raises(Refused, match="expired"):
        desk.report(held.id, held.token, Resolved(decision="approve"), agent="felix_ceo")


@pytest.mark.parametrize("scope", [" ", "\u200b", "", None])
def test_what_nobody_can_read_confirms_nothing(desk: Desk, scope: Any) -> None:
    """TA-08: blanks and invisible characters are no scope."""
    approval = an_approval(desk, scope=scope, confirms=["scope"])
    with pytest.raises(Refused, match="scope must be confirmed"):
        desk.answer(approval.id, "approve", actor="person:lead", reason="")


def test_whoever_writes_other_peoples_names_pushes_back_only_his_own(floor: Floor) -> None:
    """EN-05: fairness is between customers of one door, so it is no weapon."""
    floor.desk.set_agent("iris_support", actor="person:lead", paused=True)
    for n in range(8):
        taken(floor.desk, body=f"flood number {n} of many", customer="victim", type="billing", actor="door:http:evil")
    floor.run()
    real = taken(floor.desk, body="my card is blocked", customer="victim", type="billing", actor="door:http:shop")
    floor.run()
    assert not floor.desk.find(real.id).behind
    flood = floor.cycle.store.client.zrange(floor.desk.keys.queue("intake"), 0, -1)
    assert sum(floor.desk.find(t).behind for t in flood) == 3


def test_a_hold_that_moves_again_and_again_fills_no_story(floor: Floor) -> None:
    ticket_id = floor.enqueue(needs=["decision"])
    floor.desk.hand_back(ticket_id, floor.claim(ticket_id).token, reason="meeting", actor="agent:felix_ceo")
    for n in range(5):
        floor.desk.set_agent("felix_ceo", actor="person:lead", busy_until=floor.clock.now() + 7200 + n, reason=f"r{n}")
        floor.later(1.0)
    assert floor.moves(ticket_id).count("held") == 1


@pytest.fixture
def floor(desk: Desk, clock: ManualClock) -> Floor:
    made = Floor(desk, clock)
    made.run()
    return made
