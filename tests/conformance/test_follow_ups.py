"""What stays to be done after a ticket is resolved, on every server: watches, promises, and their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import as_report
from shiftlead.config.settings import Settings
from shiftlead.queues.errors import BadInput
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import FollowUp, HandOff, Later, Resolved
from shiftlead.queues.ticket import Ticket
from tests.conformance.test_cycle import Floor
from tests.conformance.test_handoffs import HOURS, MORNING, NIGHT, Make, a_crew

DAY = 86_400.0
HOUR = 3_600.0


@pytest.fixture
def crew(any_redis: Any, settings: Settings, tmp_path: Path) -> Make:
    return lambda **words: a_crew(any_redis, settings, tmp_path, **words)


@pytest.fixture
def floor(crew: Make) -> Floor:
    return crew()


def left_behind(floor: Floor, ticket_id: str, *follow_ups: FollowUp) -> list[Ticket]:
    done = floor.report(ticket_id, Resolved(reply="done", summary="merged", evidence=["tests pass"],
                                            follow_ups=list(follow_ups)))  # fmt: skip
    assert done.state is State.RESOLVED
    return [floor.desk.find(i) for i in done.children]


def test_a_merge_is_watched_for_a_day_by_a_ticket_of_its_own(floor: Floor) -> None:
    """TA-10: linked, with the whole story, it begins in its time; the resolved ticket waits for nothing."""
    ticket_id = floor.enqueue("the till is dead", customer="acme", priority="high", links=["https://shop/1"])
    ref = "https://git/merge/7"
    [watch] = left_behind(
        floor, ticket_id, FollowUp(question="is it quiet?", to="bob", after_s=HOUR, within_s=DAY, looks=6, ref=ref)
    )
    parent = floor.desk.find(ticket_id)
    assert (parent.awaits, parent.children) == ([], [watch.id])
    line = floor.desk.history(ticket_id)[-1]
    assert (line.move, line.detail["children"]) == ("resolve", [watch.number])

    assert (watch.state, watch.type, watch.title) == (State.SCHEDULED, "watch", f"watch: {parent.title}")
    assert (watch.not_before, watch.looks_left) == (floor.clock.now() + HOUR, 6)
    assert (watch.parent, watch.lineage, watch.hops, watch.customer) == (ticket_id, [ticket_id], 1, "acme")
    assert (watch.priority, watch.context["ref"], watch.links) == ("high", ref, ["https://shop/1", ref])
    assert watch.packet is not None
    assert (watch.packet.history_of, watch.packet.evidence_snippets) == ([ticket_id], ["tests pass"])
    assert watch.due == watch.ladder_at == floor.clock.now() + HOUR + DAY

    floor.desk.note(watch.id, "error rate 0.1 %", actor="door:signals")
    floor.later(HOUR - 1)
    assert floor.desk.find(watch.id).state is State.SCHEDULED
    floor.later(2)
    assert floor.desk.find(watch.id).assigned_to == "bob"
    assert "error rate 0.1 %" in [line.reason for line in floor.desk.history(watch.id)]


def test_a_watch_looks_as_often_as_it_may_and_then_somebody_decides(floor: Floor) -> None:
    """TA-10, I10: attempts bounded, and the breach goes to a decision-maker with the reason."""
    [watch] = left_behind(floor, floor.enqueue(), FollowUp(to="bob", looks=3, within_s=DAY))
    assert watch.state is State.ASSIGNED
    for left in (2, 1):
        after = floor.report(watch.id, Later(at=floor.clock.now() + HOUR, why="still quiet"))
        assert (after.state, after.looks_left) == (State.SCHEDULED, left)
        floor.later(HOUR + 1)
    ended = floor.report(watch.id, Later(at=floor.clock.now() + HOUR))
    assert (ended.state, ended.named, ended.looks_left) == (State.READY, "zoe", 0)
    assert "watched 3 times" in ended.reason
    assert floor.report(watch.id, Later(at=floor.clock.now() + HOUR)).state is State.SCHEDULED  # zoe may take her time


def test_fifty_looks_are_no_thirty_turns(floor: Floor) -> None:
    """TA-10: looks are counted by themselves; other turns of a watch are bounded as ever."""
    [watch] = left_behind(floor, floor.enqueue(), FollowUp(to="bob", looks=50, within_s=30 * DAY))
    for _ in range(49):
        assert floor.report(watch.id, Later(at=floor.clock.now() + 60)).state is State.SCHEDULED
        floor.later(61)
    assert floor.report(watch.id, Later(at=floor.clock.now() + 60)).named == "zoe"


def test_a_promise_is_kept_within_four_hours_or_somebody_hears_of_it(floor: Floor) -> None:
    """SD-12: human follow-up within 4 hours: a ticket of its own, and its ladder's first step is then."""
    [promise] = left_behind(floor, floor.enqueue(), FollowUp(type="promise", title="call back", needs=["decision"]))
    assert (promise.title, promise.assigned_to) == ("call back", "zoe")
    assert promise.due == promise.ladder_at == promise.created_at + 4 * HOUR
    floor.desk.set_agent("zoe", actor="person:lead", paused=True)
    floor.desk.hand_back(promise.id, floor.claim(promise.id).token, reason="not now", actor="agent:zoe")
    floor.later(4 * HOUR - 1)
    assert "escalate" not in floor.moves(promise.id)
    floor.later(2)
    assert "escalate" in floor.moves(promise.id)


def test_without_a_time_a_follow_up_is_due_as_its_priority_says(floor: Floor) -> None:
    [one] = left_behind(floor, floor.enqueue(priority="high"), FollowUp(needs=["beta"], after_s=DAY))
    assert one.due == one.ladder_at == one.created_at + DAY + 1800


def test_a_closing_follow_up_leaves_its_resolved_ticket_alone(floor: Floor) -> None:
    """EN-08: nobody waits for it; also not in a new life that waits for somebody else."""
    ticket_id = floor.enqueue()
    first, second = left_behind(floor, ticket_id, FollowUp(to="bob"), FollowUp(to="cat"))
    parent = floor.desk.find(ticket_id)
    floor.report(first.id, Resolved(reply="quiet"))
    assert floor.desk.find(ticket_id) == parent

    floor.desk.reopen(ticket_id, actor="person:p", reason="it came back")
    floor.run()
    waiting = floor.report(ticket_id, HandOff(to="zoe", question="what now?"))
    floor.report(second.id, Resolved(reply="quiet"))
    assert floor.desk.find(ticket_id) == waiting


def test_follow_ups_of_follow_ups_end(floor: Floor) -> None:
    """I10: they count as handoffs; what was found out stands in the line of who may not leave another one."""
    ticket_id = floor.enqueue()
    for _ in range(floor.desk.settings.max_handoffs):
        [one] = left_behind(floor, ticket_id, FollowUp(to="bob"))
        ticket_id = one.id
    ended = floor.report(ticket_id, Resolved(reply="still watching", follow_ups=[FollowUp(to="bob")]))
    assert (ended.state, ended.named) == (State.READY, "zoe")
    assert "8 handoffs are the limit" in ended.reason
    line = next(line for line in floor.desk.history(ticket_id) if line.move == "give_back")
    assert line.detail["report"]["reply"] == "still watching"
    assert floor.report(ticket_id, Resolved(reply="enough")).state is State.RESOLVED


@pytest.mark.parametrize(
    "bad", [{}, {"to": "ghost"}, {"to": "bob", "needs": ["beta"]}, {"to": "bob", "type": "approval"}]
)
def test_a_follow_up_for_nobody_keeps_the_ticket_unresolved(floor: Floor, bad: dict[str, Any]) -> None:
    """All of it or nothing: a resolve that would forget its promise is refused."""
    held = floor.claim(floor.enqueue())
    report = as_report({"kind": "resolved", "reply": "x", "follow_ups": [{"to": "bob"}, bad]})
    with pytest.raises(BadInput) as refused:
        floor.desk.report(held.id, held.token, report, agent="ann")
    assert refused.value.field.startswith("follow_ups.1.")
    assert floor.desk.find(held.id).state is State.WORKING


@pytest.mark.parametrize(
    "bad", [{"looks": 0}, {"looks": 51}, {"after_s": -1}, {"within_s": 0}, {"after_s": float("inf")}, {"what": 1}]
)
def test_what_a_follow_up_cannot_say_is_refused_with_its_field(bad: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(bad)) if "inf" not in str(bad) else "Report"):
        as_report({"kind": "resolved", "follow_ups": [{"to": "bob"} | bad]})


def test_a_withheld_result_counts_its_follow_ups_from_when_it_leaves(crew: Make) -> None:
    """EN-04: what is watched has not happened before. A result that is called back takes them along."""
    floor = crew(ann=HOURS, at=NIGHT)
    ticket_id = floor.enqueue()
    report = Resolved(reply="refunded", follow_ups=[FollowUp(to="cat", after_s=HOUR, within_s=DAY)])
    held = floor.report(ticket_id, report)
    assert (held.state, held.withheld) == (State.WAITING, True)
    [watch] = (floor.desk.find(i) for i in held.children)
    assert (watch.state, watch.not_before, watch.due) == (State.SCHEDULED, MORNING + HOUR, MORNING + HOUR + DAY)

    floor.later(MORNING - NIGHT + 1)
    assert floor.desk.find(ticket_id).state is State.RESOLVED
    assert floor.desk.find(watch.id).state is State.SCHEDULED


def test_a_withheld_result_that_is_cancelled_leaves_nothing_behind(crew: Make) -> None:
    floor = crew(ann=HOURS, at=NIGHT)
    ticket_id = floor.enqueue()
    held = floor.report(ticket_id, Resolved(reply="refunded", follow_ups=[FollowUp(to="cat", after_s=HOUR)]))
    floor.desk.cancel(ticket_id, actor="person:p", reason="do not")
    assert floor.desk.find(held.children[0]).state is State.CANCELLED


def test_the_result_of_a_follow_up_is_a_side_effect(crew: Make) -> None:
    """EN-04: nobody on the team waits for it, so it goes out; and it waits for the action hours."""
    floor = crew(bob=HOURS, at=NIGHT)
    [promise] = left_behind(floor, floor.enqueue(), FollowUp(type="promise", to="bob"))
    assert floor.report(promise.id, Resolved(reply="we looked into it")).withheld is True
