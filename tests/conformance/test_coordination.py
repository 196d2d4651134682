"""Coordination in depth, through the real cycle on every server: order, fairness, events, holds, hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.why import explain
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, AskRequester, HandOff, Resolved
from tests.conformance.test_cycle import Floor
from tests.conftest import open_desk
from tests.desks import where

MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()  # 10:00 in Berlin
TEAM = """
team: crew
agents:
  ann: {{role: support, can: [work, heavy], capacity: {capacity}{ann}}}
  bob: {{role: engineering, can: [work, watch], capacity: 1{bob}}}
  zoe: {{role: decision-maker, can: [decision, approval], capacity: 1{zoe}}}
people:
  eve: {{notify: "mailto://eve@localhost", can: [approval]}}
routes:
  - needs: [work]
{more}
"""

Make = Callable[..., Floor]


@pytest.fixture
def crew(any_redis: Any, settings: Settings, tmp_path: Path) -> Make:
    """A floor with a team of three; words are put into its file."""

    def make(*, capacity: int = 1, ann: str = "", bob: str = "", zoe: str = "", more: str = "") -> Floor:
        text = TEAM.format(capacity=capacity, ann=ann, bob=bob, zoe=zoe, more=more)
        (tmp_path / "team.yaml").write_text(text)
        clock = ManualClock(MONDAY)
        floor = Floor(open_desk(any_redis, load_team(tmp_path, settings), clock, settings), clock)
        floor.agents = ("ann", "bob", "zoe")
        floor.run()
        return floor

    return make


def off(agent: str, floor: Floor) -> None:
    floor.desk.set_agent(agent, actor="person:lead", paused=True)


def who(floor: Floor, ticket_id: str) -> str | None:
    return floor.desk.find(ticket_id).assigned_to


def test_of_five_assignments_one_is_routine_whatever_is_urgent(crew: Make) -> None:
    """EN-05, FO-11: urgent first, routine fills the gaps: the oldest-due other ticket after four urgent ones."""
    floor = crew()
    off("bob", floor)
    off("ann", floor)
    routine = [floor.enqueue(priority="normal") for _ in range(2)]
    urgent = [floor.enqueue(priority="urgent") for _ in range(9)]
    floor.desk.set_agent("ann", actor="person:lead", paused=False)
    floor.run()

    order = []
    for _ in range(11):
        [ticket_id] = floor.desk.store.client.zrange(floor.desk.keys.assigned("ann"), 0, -1)
        order.append(ticket_id)
        floor.report(ticket_id, Resolved(reply="done"))
    assert [order.index(t) for t in routine] == [4, 9]
    assert [t for t in order if t in urgent] == urgent
    given = next(line for line in floor.desk.history(routine[0]) if line.move == "assign")
    assert "4 urgent tickets in a row" in given.reason


def test_one_customers_many_do_not_hide_another_customers_one(crew: Make) -> None:
    """EN-05: at most K ready tickets a customer, the rest behind them; each comes forward when one is taken."""
    floor = crew(more="intake: {per_customer: 2}")
    off("ann", floor)
    off("bob", floor)
    many = [floor.enqueue(customer="acme", body=f"matter {n}") for n in range(6)]
    other = floor.enqueue(customer="mia", body="mine")
    client, keys = floor.desk.store.client, floor.desk.keys
    assert client.zrange(keys.ready("rest", "work"), 0, -1) == [*many[:2], other]
    behind = floor.desk.find(many[2])
    assert behind.behind
    why = explain(floor.desk, behind, now=floor.clock.now())
    assert "acme has 2 ready tickets" in why.text
    assert "at place 1 behind them" in why.text

    floor.desk.cancel(many[0], actor="person:lead", reason="sent twice")
    floor.later(1.0)
    assert client.zrange(keys.ready("rest", "work"), 0, -1) == [many[1], many[2], other]

    floor.desk.set_agent("bob", actor="person:lead", paused=False)
    floor.run()
    done = []
    while (found := client.zrange(keys.assigned("bob"), 0, -1)) and len(done) < 10:
        done.append(found[0])
        floor.report(found[0], Resolved(reply="done"))
    assert sorted(done) == sorted([*many[1:], other])
    assert not list(client.scan_iter(match=f"{keys.tag}:behind:*"))
    floor.later(1.0)
    assert client.smembers(keys.behinds) == set()


def test_one_customers_matter_is_never_with_two_agents(crew: Make) -> None:
    """FO-14, EN-02: the second ticket waits for whoever has the first, until that one is away."""
    floor = crew()
    first = floor.enqueue(customer="mia", body="my card is lost")
    holder = who(floor, first)
    second = floor.enqueue(customer="Mia ", body="and my phone, too")
    assert floor.desk.find(second).state is State.READY
    why = explain(floor.desk, floor.desk.find(second), now=floor.clock.now())
    assert f"{holder} has another ticket of this customer about the same" in why.text
    assert why.blockers == [holder]

    stranger = floor.enqueue(customer="tom", body="hello there")
    assert who(floor, stranger) not in (None, holder)
    floor.report(stranger, Resolved(reply="hello"))

    off(str(holder), floor)
    floor.run()
    assert who(floor, second) not in (None, holder)


def test_who_served_a_customer_last_gets_the_next_one_if_free(crew: Make) -> None:
    """EN-06: affinity by customer."""
    floor = crew(capacity=4)
    off("bob", floor)
    first = floor.enqueue(customer="mia", body="my card is lost")
    assert who(floor, first) == "ann"
    floor.report(first, Resolved(reply="done"))
    floor.desk.set_agent("bob", actor="person:lead", paused=False)
    floor.later(2)  # at once it would still be the same conversation
    load = floor.enqueue(body="something else")  # bob is idle, ann is not
    assert who(floor, load) is not None
    second = floor.enqueue(customer="mia", body="it is still lost")
    assert who(floor, second) == "ann"
    assert "served this customer last" in floor.desk.find(second).reason


def test_the_watch_goes_to_whoever_has_just_deployed(crew: Make) -> None:
    """FO-10, EN-06: as data, and `why` says so."""
    floor = crew(capacity=4, more='affinity: [{when: ticket.type == "watch", event: deployed, within: 24h}]')
    floor.desk.agent_event("bob", "deployed", ref="shop 4.7.1", actor="agent:bob")
    assert who(floor, floor.enqueue(body="routine")) == "ann"
    watch = floor.enqueue(type="watch", needs=["work"], component="shop 4.7.1")
    assert who(floor, watch) == "bob"
    assert "bob has deployed shop 4.7.1" in floor.desk.find(watch).reason
    floor.report(watch, Resolved(reply="quiet"))
    floor.later(86_401)
    assert who(floor, floor.enqueue(type="watch", needs=["work"])) == "ann"


def test_a_heavy_ticket_takes_more_slots(crew: Make) -> None:
    """EN-04: slot weights; never over capacity."""
    floor = crew(capacity=4, ann=", weights: {heavy: 3}")
    heavy = floor.enqueue(type="x", needs=["heavy"])
    assert (who(floor, heavy), floor.desk.find(heavy).weight) == ("ann", 3)
    second = floor.enqueue(type="x", needs=["heavy"])
    assert floor.desk.find(second).state is State.READY
    assert "1 of the 3 slots" in explain(floor.desk, floor.desk.find(second), now=floor.clock.now()).text
    floor.report(heavy, Resolved(reply="done"))
    assert who(floor, second) == "ann"
    assert floor.desk.store.client.hgetall(floor.desk.keys.heavy("ann")) == {second: "2"}


def test_a_draining_agent_ends_what_it_has_begun_and_gets_nothing_new(crew: Make) -> None:
    """EN-04."""
    floor = crew(capacity=4)
    off("bob", floor)
    begun = floor.enqueue(needs=["heavy"])
    floor.report(begun, AskRequester(question="which one?"))
    floor.desk.set_agent("ann", actor="person:lead", draining=True, reason="new release")
    new = floor.enqueue(needs=["heavy"])
    assert floor.desk.find(new).state is State.READY
    assert "draining" in explain(floor.desk, floor.desk.find(new), now=floor.clock.now()).text
    floor.desk.reply(begun, "the blue one", actor="door:http:shop")
    floor.run()
    assert who(floor, begun) == "ann"


def test_held_tickets_are_served_in_order_when_the_agent_is_free(crew: Make) -> None:
    """FO-09: by due time, one after the other."""
    floor = crew()
    floor.desk.set_agent("zoe", actor="person:lead", busy_until=MONDAY + 10_800, reason="strategy session")
    normal = floor.enqueue(needs=["decision"], priority="normal")
    high = floor.enqueue(needs=["decision"], priority="high")
    urgent = floor.enqueue(needs=["decision"], priority="urgent")
    assert {floor.desk.find(t).state for t in (normal, high, urgent)} == {State.READY}
    floor.later(10_801)
    served = []
    for _ in range(3):
        [ticket_id] = floor.desk.store.client.zrange(floor.desk.keys.assigned("zoe"), 0, -1)
        served.append(ticket_id)
        floor.report(ticket_id, Resolved(reply="yes"))
    assert served == [urgent, high, normal]


def test_a_calendar_keeps_an_agent_busy(crew: Make, tmp_path: Path) -> None:
    """EN-04: an iCalendar file of the agent; `why` says what it is in."""
    (tmp_path / "zoe.ics").write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20261101T000000Z\r\n"
        "DTSTART:20261123T083000Z\r\nDTEND:20261123T100000Z\r\nSUMMARY:strategy session\r\nEND:VEVENT\r\n"
        "END:VCALENDAR\r\n"
    )
    floor = crew(zoe=", calendar: zoe.ics")
    floor.cycle.meetings.refresh_now()
    floor.later(1.0)
    waits = floor.enqueue(needs=["decision"])
    assert floor.desk.find(waits).state is State.READY
    assert (
        "in a meeting until 10:00:00 UTC (strategy session)"
        in explain(floor.desk, floor.desk.find(waits), now=floor.clock.now()).text
    )
    assert "held" in floor.moves(waits)
    floor.later(3601)
    assert who(floor, waits) == "zoe"


def test_nobody_works_on_a_holiday(crew: Make) -> None:
    """EN-04: working hours with time zones, and the team's days off."""
    hours = ', hours: "Mon-Fri 08:00-18:00 Europe/Berlin"'
    floor = crew(ann=hours, bob=hours, more="holidays: [2026-11-23]")
    waits = floor.enqueue()
    assert "off duty" in explain(floor.desk, floor.desk.find(waits), now=floor.clock.now()).text
    floor.clock.advance(datetime(2026, 11, 24, 7, 0, 1, tzinfo=UTC).timestamp() - floor.clock.now())
    floor.run()
    assert who(floor, waits) in ("ann", "bob")


def test_a_result_waits_for_the_action_hours_and_then_leaves_by_itself(crew: Make) -> None:
    """EN-04: work may start, the side effect waits."""
    floor = crew(ann=', action_hours: "Mon-Fri 14:00-18:00 Europe/Berlin"')
    off("bob", floor)
    ticket_id = floor.enqueue()
    after = floor.report(ticket_id, Resolved(reply="it is on its way"))
    assert (after.state, after.withheld) == (State.WAITING, True)
    assert "leaves when action hours begin" in explain(floor.desk, after, now=floor.clock.now()).text
    floor.later(4 * 3600 - 1)
    assert floor.desk.find(ticket_id).state is State.WAITING
    floor.later(2)
    done = floor.desk.find(ticket_id)
    assert (done.state, done.withheld, done.assigned_to) == (State.RESOLVED, False, "ann")
    assert done.result and done.result["reply"] == "it is on its way"
    assert floor.moves(ticket_id)[-2:] == ["withhold", "resolve"]


def test_an_approval_that_expires_goes_to_the_next_who_decides(crew: Make) -> None:
    """EN-10: expiry leads somewhere; the second time it ends, and the asking agent hears it."""
    gate = 'gates: [{when: action.name == "refund", approver: zoe, expires: 1h, then: eve}]'
    floor = crew(more=gate)
    parent = floor.enqueue()
    floor.report(parent, AskHuman(action="refund", arguments={"amount": 9}, why="late"))
    [approval] = floor.desk.find(parent).awaits
    assert who(floor, approval) == "zoe"
    floor.later(3601)
    moved = floor.desk.find(approval)
    assert (moved.state, moved.named) == (State.READY, "eve")
    assert moved.expires_at == pytest.approx(MONDAY + 7201, abs=5)
    floor.later(3601)
    assert floor.desk.find(approval).state is State.FAILED
    answer = floor.desk.find(parent).answers[-1]
    assert (answer["decision"], answer["hash"]) == ("deny", moved.context["hash"])


def test_a_ladder_with_agreed_hours_stands_outside_of_them(crew: Make) -> None:
    """EN-09: it pauses outside agreed hours and goes on with what was left."""
    ladder = (
        'escalations: [{hours: "Mon-Fri 08:00-11:00 Europe/Berlin", ladder: [{after: 2h, notify: zoe}, '
        "{after: 3h, notify: eve}]}]"
    )
    floor = crew(more=ladder)
    off("ann", floor)
    off("bob", floor)
    ticket_id = floor.enqueue()  # Monday 10:00 in Berlin: an hour of agreed time is left
    assert floor.desk.find(ticket_id).ladder_at == MONDAY + 23 * 3600  # Tuesday 09:00
    floor.later(23 * 3600 + 1)
    ticket = floor.desk.find(ticket_id)
    assert (ticket.escalations, ticket.ladder_at) == (1, MONDAY + 24 * 3600)


def test_a_ticket_that_bounces_every_twenty_nine_minutes_still_escalates_at_thirty(crew: Make) -> None:
    """EN-09: no move re-arms the ladder."""
    floor = crew(more="escalations: [{ladder: [{after: 30m, notify: zoe}]}]")
    ticket_id = floor.enqueue()
    floor.later(29 * 60)
    held = floor.claim(ticket_id)
    floor.desk.hand_back(ticket_id, held.token, reason="not mine", actor=f"agent:{held.assigned_to}")
    floor.later(61)
    line = next(line for line in floor.desk.history(ticket_id) if line.move == "escalate")
    assert line.at == pytest.approx(MONDAY + 1800, abs=61)


def test_who_is_named_and_never_free_does_not_keep_a_ticket_for_ever(crew: Make) -> None:
    """EN-09: reassign only to a free slot, else notify and widen."""
    floor = crew(more="escalations: [{ladder: [{after: 30m, reassign: zoe}]}]")
    off("bob", floor)
    off("zoe", floor)
    ticket_id = floor.enqueue(needs=["work"], assigned_to="bob")
    floor.later(1801)
    ticket = floor.desk.find(ticket_id)
    assert (ticket.named, ticket.assigned_to) == (None, "ann")
    assert "whoever can work may take it" in next(
        line.reason for line in floor.desk.history(ticket_id) if line.move == "escalate"
    )


def test_every_open_ticket_can_say_why_and_what_comes_next(crew: Make) -> None:
    """EN-06, I11: for each state there is a reason, somebody who can move it, or a timer."""
    floor = crew(more="intake: {per_customer: 1}", capacity=2)
    held = floor.enqueue(body="one")
    floor.claim(held)
    asked = floor.enqueue(body="two")
    floor.report(asked, AskRequester(question="which?"))
    parent = floor.enqueue(body="three")
    floor.report(parent, HandOff(needs=["decision"], question="may we?"))
    off("ann", floor)
    off("bob", floor)
    for n in range(3):
        floor.enqueue(customer="acme", body=f"matter {n}")
    seen = set()
    for queue in ("intake", "active"):
        for ticket_id in floor.desk.store.client.zrange(floor.desk.keys.queue(queue), 0, -1):
            ticket = floor.desk.find(ticket_id)
            why = explain(floor.desk, ticket, now=floor.clock.now())
            assert why.text, ticket
            assert why.moves_it, ticket
            assert why.timers, ticket
            seen.add((ticket.state, ticket.behind))
    assert {state for state, _ in seen} == {State.READY, State.ASSIGNED, State.WORKING, State.WAITING}
    assert (State.READY, True) in seen
    assert where(floor.desk, held)
