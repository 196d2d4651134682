"""One cycle of coordination on every server: routing, holds, ladders, handoffs that come back, timers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.coordinator.cycle import Cycle
from shiftlead.coordinator.why import explain
from shiftlead.queues.broker import Ring
from shiftlead.queues.desk import Desk
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.report import AskHuman, HandOff, Later, Resolved
from shiftlead.queues.ticket import Draft, Ticket

AGENTS = ("iris_support", "devin_engineering", "felix_ceo")


class Floor:
    """A team at work: the cycle runs, everybody is there, and what was rung is kept."""

    def __init__(self, desk: Desk, clock: ManualClock) -> None:
        self.desk, self.clock, self.rings = desk, clock, list[Ring]()
        self.agents: tuple[str, ...] = AGENTS
        self.cycle = Cycle(desk, None, self.rings.extend)  # type: ignore[arg-type]
        self.presence = Presence(desk.store.client, desk.keys, clock, desk.settings)

    def run(self) -> None:
        for agent in self.agents:
            self.presence.beat([agent], "w", WorkerInfo())
        for _ in range(20):
            if not self.cycle.run(self.clock.now()):
                return
        raise AssertionError("the cycle never comes to rest")

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run()

    def enqueue(self, body: str = "where is my card?", **fields: Any) -> str:
        ticket = self.desk.accept(Draft.model_validate({"body": body} | fields), actor="door:test").ticket
        self.run()
        return ticket.id

    def claim(self, ticket_id: str) -> Ticket:
        ticket = self.desk.find(ticket_id)
        return self.desk.claim(ticket.id, ticket.assigned_to or "", "w")

    def report(self, ticket_id: str, report: Any) -> Ticket:
        held = self.claim(ticket_id)
        after = self.desk.report(held.id, held.token, report, agent=held.assigned_to or "")
        self.run()
        return after

    def moves(self, ticket_id: str) -> list[str]:
        return [line.move for line in self.desk.history(ticket_id)]


@pytest.fixture
def floor(desk: Desk, clock: ManualClock) -> Floor:
    floor = Floor(desk, clock)
    floor.run()
    return floor


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        ({"type": "code_review"}, "devin_engineering"),
        ({"type": "customer_issue"}, "iris_support"),
        ({"type": "customer_complaint"}, "iris_support"),
        ({"type": "request", "needs": ["decision"]}, "felix_ceo"),
        ({"type": "something nobody has heard of", "body": "lorem ipsum dolor"}, "iris_support"),
    ],
)
def test_a_ticket_goes_to_who_can(floor: Floor, fields: dict[str, Any], agent: str) -> None:
    """FO-02, FO-03, EN-03: by type, by need, else the catch-all with a visible reason."""
    ticket = floor.desk.find(floor.enqueue(**fields))
    assert (ticket.state, ticket.assigned_to) == (State.ASSIGNED, agent)
    assert floor.rings[-1].agent == agent
    triage_line = floor.desk.history(ticket.id)[1]
    assert triage_line.reason


def test_a_decision_is_held_while_the_decision_maker_is_busy_and_served_afterwards(floor: Floor) -> None:
    """FO-09: with the reason on the ticket; EN-06: `why` names who is in the way."""
    floor.desk.set_agent(
        "felix_ceo", actor="person:lead", busy_until=floor.clock.now() + 10_800, reason="strategy session"
    )
    ticket_id = floor.enqueue(needs=["decision"])

    held = floor.desk.find(ticket_id)
    assert held.state is State.READY
    assert floor.moves(ticket_id) == ["accept", "triage", "held"]
    why = explain(floor.desk, held, now=floor.clock.now())
    assert "strategy session" in why.text
    assert why.blockers == ["felix_ceo"]
    assert [kind for kind, _, _ in why.timers] == ["ladder"]
    assert "felix_ceo becomes free" in why.moves_it

    floor.later(10_801)
    assert floor.desk.find(ticket_id).assigned_to == "felix_ceo"
    assert floor.moves(ticket_id).count("held") == 1


def test_after_thirty_minutes_the_decision_maker_is_told_and_the_clock_is_never_re_armed(floor: Floor) -> None:
    """FO-12, EN-09: a ticket that bounces every 29 minutes still escalates at 30."""
    ticket_id = floor.enqueue(priority="high")
    opened = floor.desk.find(ticket_id).created_at
    floor.desk.hand_back(ticket_id, floor.claim(ticket_id).token, reason="bounce", actor="agent:iris_support")
    floor.later(29 * 60)
    assert "escalate" not in floor.moves(ticket_id)
    floor.later(61)
    line = next(line for line in floor.desk.history(ticket_id) if line.move == "escalate")
    assert 1800 <= line.at - opened <= 1861
    assert line.detail["told"] == ["felix_ceo"]
    notice = json.loads((floor.desk.settings.data / "notices.jsonl").read_text().splitlines()[0])
    assert (notice["to"], notice["ticket"]) == ("felix_ceo", floor.desk.find(ticket_id).number)


def test_a_ticket_nobody_can_do_reaches_the_decision_maker(floor: Floor) -> None:
    """FO-14: a ticket never sits for ever."""
    ticket_id = floor.enqueue(needs=["field_visit"], priority="high")
    assert floor.desk.find(ticket_id).state is State.READY
    assert (
        "nobody on the team can field_visit"
        in explain(floor.desk, floor.desk.find(ticket_id), now=floor.clock.now()).text
    )
    floor.later(31 * 60)
    floor.later(15 * 60)
    assert floor.desk.find(ticket_id).assigned_to == "felix_ceo"


def test_a_handoff_comes_back_to_the_agent_that_asked(floor: Floor) -> None:
    """FO-04, FO-06, EN-08."""
    ticket_id = floor.enqueue()
    parent = floor.report(ticket_id, HandOff(needs=["bug"], question="why does it crash?"))
    child_id = parent.awaits[0]
    assert floor.desk.find(child_id).assigned_to == "devin_engineering"
    floor.report(child_id, Resolved(reply="a null pointer", evidence=["line 7"]))

    back = floor.desk.find(ticket_id)
    assert (back.state, back.assigned_to) == (State.ASSIGNED, "iris_support")
    assert back.answers[0]["reply"] == "a null pointer"
    assert back.answers[0]["evidence"] == ["line 7"]


def test_a_failed_child_is_an_answer_too(floor: Floor) -> None:
    ticket_id = floor.enqueue()
    parent = floor.report(ticket_id, HandOff(needs=["bug"], question="?"))
    floor.desk.cancel(parent.awaits[0], actor="person:p", reason="not needed")
    floor.run()
    back = floor.desk.find(ticket_id)
    assert (back.state, back.answers[0]["error"]) == (State.ASSIGNED, "not needed")


def test_an_approval_goes_to_its_approver_and_expires_into_a_no(floor: Floor) -> None:
    """EN-10: routed by the gate, then to whom the gate names next; nobody answered is not a yes."""
    ticket_id = floor.enqueue()
    arguments = {"amount": 620.0, "days_since_purchase": 3}
    parent = floor.report(ticket_id, AskHuman(action="process_refund", arguments=arguments))
    child_id = parent.awaits[0]
    assert floor.desk.find(child_id).assigned_to == "felix_ceo"
    floor.later(4 * 3600 + 1)
    assert floor.desk.find(child_id).named == "on_call"
    floor.later(4 * 3600 + 1)
    assert floor.desk.find(child_id).state is State.FAILED
    assert floor.desk.find(ticket_id).answers[0]["decision"] == "deny"


def test_an_unclaimed_ticket_is_rung_again_and_then_given_back(floor: Floor) -> None:
    """I5, I12: a lost ring costs a second; undelivered never fails a ticket."""
    ticket_id = floor.enqueue()
    rung = len(floor.rings)
    floor.cycle._swept = 0.0
    floor.later(1.5)
    assert len(floor.rings) == rung + 1
    floor.later(10)
    ticket = floor.desk.find(ticket_id)
    assert ticket.attempts.undelivered == 1
    assert ticket.is_open


def test_a_silent_agent_loses_the_ticket_but_not_the_story(floor: Floor) -> None:
    """I5, EN-07: the lease ran out; the process is there, so nobody is suspected."""
    ticket_id = floor.enqueue()
    held = floor.claim(ticket_id)
    floor.desk.note(held.id, "reproduced on store 2", actor="agent:iris_support", token=held.token)
    floor.later(31)
    ticket = floor.desk.find(ticket_id)
    assert (ticket.attempts.handed_back, ticket.suspect) == (1, False)
    assert "reproduced on store 2" in [line.reason for line in floor.desk.history(ticket_id)]


def test_a_renewed_lease_is_not_reaped(floor: Floor) -> None:
    """EN-07."""
    ticket_id = floor.enqueue()
    held = floor.claim(ticket_id)
    for _ in range(6):
        floor.later(20)
        floor.desk.renew(held)
    assert floor.desk.find(ticket_id).state is State.WORKING
    floor.later(31)
    assert floor.desk.find(ticket_id).state is not State.WORKING


def test_a_deferred_ticket_wakes_late_but_never_early(floor: Floor) -> None:
    """I6."""
    ticket_id = floor.enqueue()
    floor.report(ticket_id, Later(at=floor.clock.now() + 100, why="bank is closed"))
    floor.later(99)
    assert floor.desk.find(ticket_id).state is State.SCHEDULED
    floor.later(1.5)
    assert floor.desk.find(ticket_id).state is State.ASSIGNED


def test_urgent_work_is_not_buried_under_routine(floor: Floor) -> None:
    """FO-11, FO-14: with every slot taken, the urgent one gets the first that is free."""
    first = [floor.enqueue(f"question {n}", priority="normal") for n in range(4)]
    waiting = [floor.enqueue(f"question {n}", priority="normal") for n in range(4, 8)]
    urgent = floor.enqueue("my card was stolen", priority="urgent")
    assert all(floor.desk.find(i).state is State.READY for i in [*waiting, urgent])
    floor.report(first[0], Resolved(reply="done"))
    assert floor.desk.find(urgent).state is State.ASSIGNED
    assert all(floor.desk.find(i).state is State.READY for i in waiting)


def test_nobody_gets_a_ticket_who_is_not_there(floor: Floor) -> None:
    """FO-03, EN-04: availability is presence, too."""
    floor.clock.advance(60)
    ticket = floor.desk.accept(Draft(body="hello, where is my card"), actor="door:test").ticket
    while floor.cycle.run(floor.clock.now()):
        pass
    assert floor.desk.find(ticket.id).state is State.READY
    assert "has no worker running" in explain(floor.desk, floor.desk.find(ticket.id), now=floor.clock.now()).text
