"""Work that is handed on and comes back, on every server: parts, packets, bounds, circles, action hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import as_report
from shiftlead.agents.work import build_work
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.queues import moves
from shiftlead.queues.errors import BadInput, Refused
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, Blocked, FollowUp, HandOff, Later, Packet, Part, Resolved, Reviewed
from shiftlead.queues.ticket import Ticket
from tests.conformance.test_cycle import Floor
from tests.conftest import open_desk

MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()  # 10:00 in Berlin
TEAM = """
team: crew
agents:
  ann: {{role: support, can: [alpha, shared], capacity: 20{ann}}}
  bob: {{role: engineering, can: [beta, shared], capacity: 20{bob}}}
  cat: {{role: engineering, can: [gamma], capacity: 20}}
  zoe: {{role: decision-maker, can: [decision, approval], capacity: 20}}
{more}
routes:
  - needs: [alpha]
"""
AGENTS = ("ann", "bob", "cat", "zoe")
Make = Callable[..., Floor]


def a_crew(
    client: Any, settings: Settings, folder: Path, *, ann: str = "", bob: str = "", more: str = "", at: float = MONDAY
) -> Floor:
    """Four who can different things; words are put into their team file."""
    (folder / "team.yaml").write_text(TEAM.format(ann=ann, bob=bob, more=more))
    clock = ManualClock(at)
    floor = Floor(open_desk(client, load_team(folder, settings), clock, settings), clock)
    floor.agents = AGENTS if "max" not in more else (*AGENTS, "max")
    floor.run()
    return floor


@pytest.fixture
def crew(any_redis: Any, settings: Settings, tmp_path: Path) -> Make:
    return lambda **words: a_crew(any_redis, settings, tmp_path, **words)


@pytest.fixture
def floor(crew: Make) -> Floor:
    return crew()


def asks(to: str, question: str = "what is the cause?") -> HandOff:
    return HandOff(to=to, question=question)


def handed_to(floor: Floor, ticket_id: str, *names: str) -> str:
    """`ticket_id` is handed on along `names`; the id of the last child."""
    for step, name in enumerate(names):
        ticket_id = floor.report(ticket_id, asks(name, f"question {step}")).awaits[0]
    return ticket_id


# -- fan-out and join ---------------------------------------------------------------------------------------------


def test_parts_go_out_at_once_and_the_ticket_goes_on_when_all_are_back(floor: Floor) -> None:
    """EN-08: fan-out and join; a part of the answers wakes nobody."""
    ticket_id = floor.enqueue(customer="acme")
    parts = [
        Part(needs=["beta"], title="the cause", question="why?"),
        Part(to="cat", question="since when?", type="look"),
        Part(needs=["decision"]),
    ]
    before = len(floor.desk.history(ticket_id))
    parent = floor.report(ticket_id, HandOff(question="what do we know?", parts=parts))

    assert (parent.state, len(parent.awaits), parent.waits_for) == (State.WAITING, 3, "children")
    cause, since, word = (floor.desk.find(i) for i in parent.awaits)
    assert [c.assigned_to for c in (cause, since, word)] == ["bob", "cat", "zoe"]
    assert [c.body for c in (cause, since, word)] == ["why?", "since when?", "what do we know?"]
    assert {c.customer for c in (cause, since, word)} == {"acme"}
    assert (cause.title, since.type) == ("the cause", "look")
    line = floor.desk.history(ticket_id)[-1]
    assert (line.move, line.detail["children"]) == ("hand_off", [c.number for c in (cause, since, word)])
    assert len(floor.desk.history(ticket_id)) == before + 2  # claimed and handed on

    floor.report(word.id, Resolved(reply="go on"))
    floor.report(cause.id, Resolved(reply="a null pointer"))
    assert floor.desk.find(ticket_id).state is State.WAITING
    floor.report(since.id, Resolved(reply="since Friday"))
    back = floor.desk.find(ticket_id)
    assert (back.state, back.assigned_to) == (State.ASSIGNED, "ann")
    assert [a["reply"] for a in back.answers] == ["a null pointer", "since Friday", "go on"]
    assert floor.moves(ticket_id).count("resume") == 1


def test_one_part_that_can_go_to_nobody_refuses_them_all(floor: Floor) -> None:
    """EN-08: all parts or none, and the message names the part."""
    held = floor.claim(floor.enqueue())
    lines = floor.desk.store.client.xlen(floor.desk.keys.ledger)
    for bad in (
        Part(to="ghost"),
        Part(),
        Part(to="cat", needs=["beta"]),
        Part(to="ann"),
        Part(to="cat", type="approval"),
    ):
        with pytest.raises(BadInput) as refused:
            floor.desk.report(held.id, held.token, HandOff(parts=[Part(to="bob"), bad]), agent="ann")
        assert refused.value.field.startswith("parts.1.")
    with pytest.raises(BadInput, match="not both"):
        floor.desk.report(held.id, held.token, HandOff(to="bob", parts=[Part(to="cat")]), agent="ann")
    with pytest.raises(BadInput, match="parts"):
        as_report({"kind": "hand_off", "parts": [{"to": "bob"}] * 9})
    assert floor.desk.find(held.id).state is State.WORKING
    assert floor.desk.store.client.xlen(floor.desk.keys.ledger) == lines


def test_a_cancelled_ticket_takes_all_its_parts_and_theirs_along(floor: Floor) -> None:
    """EN-08: cancelled parent cancels child, however many there are, down to the last."""
    ticket_id = floor.enqueue()
    bobs, cats = floor.report(ticket_id, HandOff(question="?", parts=[Part(to="bob"), Part(to="cat")])).awaits
    below = floor.report(bobs, HandOff(question="!", parts=[Part(to="cat"), Part(to="zoe")])).awaits
    approval = floor.report(below[0], AskHuman(action="reboot")).awaits[0]
    working = floor.claim(cats)

    floor.desk.cancel(ticket_id, actor="person:p", reason="not needed")
    floor.run()
    family = [ticket_id, bobs, cats, *below, approval]
    assert {floor.desk.find(i).state for i in family} == {State.CANCELLED}
    with pytest.raises(Refused):
        floor.desk.report(working.id, working.token, Resolved(reply="late"), agent="cat")
    assert all(floor.moves(i).count("cancel") == 1 for i in family)


def test_a_cancelled_part_is_an_answer_and_the_others_are_waited_for(floor: Floor) -> None:
    """EN-08."""
    ticket_id = floor.enqueue()
    bobs, cats = floor.report(ticket_id, HandOff(question="?", parts=[Part(to="bob"), Part(to="cat")])).awaits
    floor.desk.cancel(bobs, actor="person:p", reason="bob is ill")
    floor.run()
    assert floor.desk.find(ticket_id).state is State.WAITING
    floor.report(cats, Resolved(reply="fine"))
    back = floor.desk.find(ticket_id)
    assert [(a["state"], a.get("error"), a["reply"]) for a in back.answers] == [
        ("cancelled", "bob is ill", ""),
        ("resolved", None, "fine"),
    ]


# -- the packet and the story -------------------------------------------------------------------------------------


def test_a_packet_has_the_eight_slots_and_its_lineage(floor: Floor) -> None:
    """TA-11, EN-08: what the agent leaves empty is filled from the ticket; its history is not its to choose."""
    told = ["task_id", "source", "urgency", "impact_summary", "hypotheses", "evidence_snippets", "next_questions",
            "human_approval_needed"]  # fmt: skip
    own = ["lineage", "history_of", "from_agent", "state"]
    assert list(Packet.model_fields) == told + own

    ticket_id = floor.enqueue("the till is dead", priority="high", source="mail")
    root = floor.desk.find(ticket_id)
    child = floor.desk.find(floor.report(ticket_id, asks("bob")).awaits[0])
    assert child.packet is not None
    assert child.packet.model_dump(include=set(told)) == {
        "task_id": root.number, "source": "mail", "urgency": "high", "impact_summary": root.summary, "hypotheses": [],
        "evidence_snippets": ["the till is dead"], "next_questions": ["what is the cause?"],
        "human_approval_needed": False,
    }  # fmt: skip
    forged = Packet(task_id="T-1", hypotheses=["fuse"], lineage=["T-1"], history_of=["x"], state={"seen": 3})
    grandchild = floor.desk.find(floor.report(child.id, HandOff(to="cat", question="?", packet=forged)).awaits[0])
    assert grandchild.packet is not None
    assert (grandchild.packet.task_id, grandchild.packet.hypotheses) == (child.number, ["fuse"])
    assert grandchild.packet.lineage == [root.number, child.number]
    assert grandchild.packet.history_of == [root.id, child.id]
    assert (grandchild.packet.from_agent, grandchild.packet.state) == ("bob", {"seen": 3})


def test_two_hundred_events_over_three_generations_arrive_whole_and_in_order(floor: Floor) -> None:
    """I14: a summary never replaces the original."""
    ticket_id, said = floor.enqueue("the first word"), []
    for generation, (count, to) in enumerate([(80, "bob"), (70, "cat"), (50, "")]):
        held = floor.claim(ticket_id)
        for n in range(count):
            text = f"{generation}/{n}: seen \u00e4\u4e2d\U0001f600 " + "x" * (n % 7)
            floor.desk.note(held.id, text, actor=f"agent:{held.assigned_to}", token=held.token, shot=[n, {"a": n}])
            said.append(text)
        if to:
            parent = floor.desk.report(held.id, held.token, asks(to), agent=held.assigned_to or "")
            floor.run()
            ticket_id = parent.awaits[0]
    work = build_work(floor.desk, floor.desk.find(ticket_id), floor.desk.team)
    notes = [line for line in work.history if line.move == "note"]
    assert [line.reason for line in notes] == said
    assert len(notes) == 200
    assert notes[79].detail["shot"] == [79, {"a": 79}]
    family = [a.id for a in reversed(work.ancestors)] + [ticket_id]
    assert [line.ticket for line in work.history] == [i for i in family for _ in floor.desk.history(i)]
    assert work.packet is not None
    assert [*work.packet.history_of, ticket_id] == family
    assert work.history[0].move == "accept"
    assert all([x.seq for x in floor.desk.history(i)] == list(range(1, len(floor.desk.history(i)) + 1)) for i in family)


# -- loops --------------------------------------------------------------------------------------------------------


def test_what_an_agent_asks_for_never_comes_back_to_itself(floor: Floor) -> None:
    """EN-08: an actor's own event never wakes it: somebody else who can gets it, also when the asker is the freest."""
    ticket_id = floor.enqueue()
    child = floor.desk.find(floor.report(ticket_id, HandOff(needs=["shared"], question="?")).awaits[0])
    assert (child.assigned_to, child.excluded) == ("bob", ["ann"])

    floor.desk.set_agent("bob", actor="person:lead", paused=True)
    other = floor.desk.find(floor.report(floor.enqueue("more"), HandOff(needs=["shared"], question="?")).awaits[0])
    assert (other.state, other.assigned_to) == (State.READY, None)
    held = floor.claim(floor.enqueue("again"))
    with pytest.raises(BadInput, match="nobody but ann can do that"):
        floor.desk.report(held.id, held.token, HandOff(needs=["alpha"], question="?"), agent="ann")
    assert floor.desk.find(held.id).state is State.WORKING


def test_back_and_forth_between_two_ends_with_a_decision_maker(floor: Floor) -> None:
    """I10: the third time that it would come back to the one before, somebody decides; by name and by need."""
    last = handed_to(floor, floor.enqueue(), "bob", "ann", "bob")
    ended = floor.report(last, asks("ann", "and now?"))
    assert (ended.state, ended.named) == (State.READY, "zoe")
    assert "it goes back and forth (ann -> bob -> ann -> bob -> ann); a decision-maker ends it" in ended.reason
    line = next(line for line in floor.desk.history(last) if line.move == "give_back")
    assert line.detail["report"]["question"] == "and now?"
    assert floor.desk.find(last).assigned_to == "zoe"

    ticket_id = floor.enqueue("by need")
    for step, need in enumerate(["beta", "alpha", "beta", "alpha"]):
        ticket_id = floor.report(ticket_id, HandOff(needs=[need], question=str(step))).awaits[0]
    assert floor.report(ticket_id, HandOff(needs=["gamma"], question="?")).named == "zoe"


def test_a_loop_of_three_ends_at_the_hop_cap(floor: Floor) -> None:
    """I10: A asks B, B asks C, C asks A: the ninth handoff is a decision-maker's."""
    last = handed_to(floor, floor.enqueue(), "bob", "cat", "ann", "bob", "cat", "ann", "bob", "cat")
    assert floor.desk.find(last).hops == 8
    ended = floor.report(last, asks("ann", "and now?"))
    assert (ended.state, ended.named) == (State.READY, "zoe")
    assert "8 handoffs are the limit" in ended.reason
    after = floor.report(last, Resolved(reply="enough"))
    assert after.state is State.RESOLVED


@pytest.mark.parametrize("width", [1, 8])
def test_agents_that_always_hand_on_come_to_an_end(floor: Floor, width: int) -> None:
    """I10: with new questions each time, one or eight: what reached a bound is not tried again all the way back."""
    ticket_id, n = floor.enqueue(), 0
    following = {"ann": "bob", "bob": "cat", "cat": "zoe", "zoe": "ann"}
    for _ in range(100):
        for agent in AGENTS:
            while held := floor.desk.claim_next(agent, "w"):
                n += 1
                parts = [Part(to=following[agent], question=f"{n}/{part}") for part in range(width)]
                floor.desk.report(held.id, held.token, HandOff(parts=parts), agent=agent)
        floor.run()
        if not floor.desk.find(ticket_id).is_open:
            break
    ended = floor.desk.find(ticket_id)
    assert ended.state is State.FAILED
    assert "no further decision-maker can end it" in ended.reason
    client, keys = floor.desk.store.client, floor.desk.keys
    assert client.zcard(keys("queue:intake")) == client.zcard(keys("queue:active")) == 0
    assert client.zcard(keys("queue:completed")) == {1: 9, 8: 73}[width]


def test_what_a_decision_maker_ended_is_not_handed_on_again(floor: Floor) -> None:
    """I10: the answer counts, and whoever gets it may end its own ticket with it, but not begin anew."""
    last = handed_to(floor, floor.enqueue(), "bob", "ann", "bob")
    floor.report(last, asks("ann"))
    floor.report(last, Resolved(reply="it is the fuse"))
    parent = floor.desk.find(floor.desk.find(last).parent or "")
    assert (parent.answers[0]["reply"], parent.assigned_to) == ("it is the fuse", "ann")
    ended = floor.report(parent.id, asks("cat", "really?"))
    assert (ended.state, ended.named) == (State.READY, "zoe")
    assert "reached a bound" in ended.reason
    assert floor.report(parent.id, Resolved(reply="the fuse")).state is State.RESOLVED


def test_two_decision_makers_do_not_pass_a_ticket_on_for_ever(crew: Make) -> None:
    """I10: who got it to end it, ends it."""
    floor = crew(more="  max: {role: decision-maker, can: [decision], capacity: 20}")
    last = handed_to(floor, floor.enqueue(), "bob", "cat", "ann", "bob", "cat", "ann", "bob", "zoe")
    held = floor.claim(last)
    assert held.assigned_to == "zoe"
    ended = floor.desk.report(held.id, held.token, asks("max"), agent="zoe")
    assert ended.state is State.FAILED
    assert floor.desk.report(held.id, held.token, asks("max"), agent="zoe").version == ended.version
    floor.run()
    assert floor.desk.find(ended.parent or "").answers[0]["state"] == "failed"


def test_the_third_time_the_same_is_asked_of_the_same_somebody_decides(floor: Floor) -> None:
    """I10: counted in one life; another question, or another target, is none of these."""
    ticket_id = floor.enqueue()
    for report in (asks("bob"), asks("bob", "else?"), asks("cat"), asks("bob"), HandOff(needs=["beta"], question="?")):
        floor.report(floor.report(ticket_id, report).awaits[0], Resolved(reply="no idea"))
    ended = floor.report(ticket_id, asks("bob"))
    assert (ended.named, ended.state) == ("zoe", State.READY)
    assert "bob was asked the same 2 times already" in ended.reason

    floor.report(ticket_id, Resolved(reply="enough"))
    floor.desk.reopen(ticket_id, actor="person:p", reason="not yet")
    floor.run()
    assert floor.report(ticket_id, asks("bob")).state is State.WAITING


def test_one_matter_does_not_grow_to_millions_of_tickets(floor: Floor) -> None:
    """I10: parts of parts of parts; 8 x 8 x 4 tickets are the most."""
    ticket_id, names = floor.enqueue(), ["bob", "cat"]
    for name in names:
        ticket_id = floor.report(ticket_id, HandOff(parts=[Part(to=name, question=str(n)) for n in range(8)])).awaits[0]
    parts = [Part(to="ann", question=str(n)) for n in range(5)]
    ended = floor.report(ticket_id, HandOff(parts=parts))
    assert (ended.state, ended.named) == (State.READY, "zoe")
    assert "one matter may grow to 256 tickets" in ended.reason


# -- waiting for another ticket -----------------------------------------------------------------------------------


def test_a_ticket_blocked_on_another_goes_on_when_that_closes(floor: Floor) -> None:
    """EN-08, I11: it hears that it closed, not what was said there: that may be another customer's matter."""
    blocker = floor.desk.find(floor.enqueue("secret of customer b", customer="b", needs=["approval"]))
    ticket_id = floor.enqueue("mine", customer="a")
    waiting = floor.report(ticket_id, Blocked(owner=blocker.number, action="decide first"))
    assert (waiting.state, waiting.awaits) == (State.WAITING, [blocker.id])
    assert waiting.waits_until == floor.clock.now() + 86_400

    floor.report(blocker.id, Resolved(reply="their secret answer", decision="approve"))
    floor.later(floor.desk.settings.sweep_s + 0.1)
    floor.run()
    back = floor.desk.find(ticket_id)
    assert (back.state, back.assigned_to) == (State.ASSIGNED, "ann")
    assert back.answers == [{"ticket": blocker.id, "number": blocker.number, "type": "blocker", "state": "resolved"}]
    line = next(line for line in floor.desk.history(ticket_id) if line.move == "resume")
    assert line.reason == f"{blocker.number} is resolved"


def test_a_ticket_it_is_blocked_on_is_not_cancelled_with_it(floor: Floor) -> None:
    blocker = floor.enqueue("another matter")
    ticket_id = floor.enqueue()
    floor.report(ticket_id, Blocked(owner=blocker, action="finish"))
    floor.desk.cancel(ticket_id, actor="person:p", reason="no")
    assert floor.desk.find(blocker).is_open


def test_tickets_never_wait_for_each_other(floor: Floor) -> None:
    """I10: blocker cycles are refused, with the way round in the message; also over a handoff, also of one."""
    first, second, third = (floor.desk.find(floor.enqueue(f"matter {n}")) for n in range(3))
    floor.report(first.id, Blocked(owner=second.number, action="be done"))
    below = floor.desk.find(floor.report(second.id, asks("bob")).awaits[0])
    floor.report(third.id, Blocked(owner=first.id, action="be done"))

    held = floor.claim(below.id)
    way = f"{below.number} -> {third.number} -> {first.number} -> {second.number} -> {below.number}"
    with pytest.raises(BadInput, match=way):
        floor.desk.report(held.id, held.token, Blocked(owner=third.number, action="be done"), agent="bob")
    with pytest.raises(BadInput, match=f"{below.number} -> {second.number} -> {below.number}"):
        floor.desk.report(held.id, held.token, Blocked(owner=second.id, action="answer"), agent="bob")
    with pytest.raises(BadInput, match=f"{below.number} -> {below.number}"):
        floor.desk.report(held.id, held.token, Blocked(owner=below.number, action="x"), agent="bob")
    with pytest.raises(BadInput, match="T-2026-999"):
        floor.desk.report(held.id, held.token, Blocked(owner="T-2026-999", action="x"), agent="bob")
    assert floor.desk.report(held.id, held.token, Blocked(owner="the bank", action="x"), agent="bob").awaits == []


# -- who must be asked --------------------------------------------------------------------------------------------


def test_nothing_is_resolved_before_everybody_named_has_answered(floor: Floor) -> None:
    """FO-06: two names, one who holds it, one that does not exist; again in a new life."""
    ticket_id = floor.enqueue(requires_handoff=["bob", "zoe", "ghost", "ann", "bob"])
    for life in (1, 2):
        parent = floor.report(ticket_id, Resolved(reply="done", summary="may I?"))
        assert (parent.state, parent.life) == (State.WAITING, life)
        asked = [floor.desk.find(i) for i in parent.awaits]
        assert [c.assigned_to for c in asked] == ["bob", "zoe"]
        assert {c.body for c in asked} == {"may I?"}
        floor.report(asked[0].id, Resolved(reply="yes"))
        assert floor.desk.find(ticket_id).state is State.WAITING
        floor.desk.cancel(asked[1].id, actor="person:p", reason="zoe is away")
        floor.run()
        assert floor.report(ticket_id, Resolved(reply="done")).state is State.RESOLVED
        if life == 1:
            floor.desk.reopen(ticket_id, actor="person:p", reason="it came back")
            floor.run()


def test_the_word_of_a_ticket_it_was_blocked_on_is_nobodys_answer(floor: Floor) -> None:
    """FO-06: bob closed another matter; that does not mean he has seen this one."""
    blocker = floor.enqueue(needs=["beta"])
    ticket_id = floor.enqueue("mine", requires_handoff=["bob"])
    floor.report(ticket_id, Blocked(owner=blocker, action="finish"))
    floor.report(blocker, Resolved(reply="done"))
    floor.later(floor.desk.settings.sweep_s + 0.1)
    floor.run()
    assert floor.report(ticket_id, Resolved(reply="done")).state is State.WAITING


# -- action hours -------------------------------------------------------------------------------------------------

HOURS = ', action_hours: "Mon-Fri 08:00-18:00 Europe/Berlin"'
NIGHT = datetime(2026, 11, 23, 21, 0, tzinfo=UTC).timestamp()  # 22:00 in Berlin
MORNING = datetime(2026, 11, 24, 7, 0, tzinfo=UTC).timestamp()


def test_work_is_done_at_night_and_its_result_leaves_in_the_morning(crew: Make) -> None:
    """EN-04: action hours: work may start, the side effect waits."""
    floor = crew(ann=HOURS, at=NIGHT)
    ticket_id = floor.enqueue()
    held = floor.report(ticket_id, Resolved(reply="refunded"))
    assert (held.state, held.withheld, held.waits_until) == (State.WAITING, True, MORNING)
    floor.later(MORNING - NIGHT - 1)
    assert floor.desk.find(ticket_id).state is State.WAITING
    floor.later(2)
    done = floor.desk.find(ticket_id)
    assert (done.state, done.assigned_to, done.withheld) == (State.RESOLVED, "ann", False)
    assert (done.result or {})["reply"] == "refunded"
    assert floor.report(floor.enqueue("by day"), Resolved(reply="x")).state is State.RESOLVED


def test_a_word_to_a_colleague_is_no_side_effect(crew: Make) -> None:
    """EN-04: a child's answer and an approval do not wait; somebody without action hours does not either."""
    floor = crew(bob=HOURS, at=NIGHT)
    ticket_id = floor.enqueue()
    child = floor.report(ticket_id, asks("bob")).awaits[0]
    assert floor.report(child, Resolved(reply="a fuse")).state is State.RESOLVED
    assert floor.report(ticket_id, Resolved(reply="a fuse")).state is State.RESOLVED


def test_a_reviewed_result_leaves_in_its_authors_action_hours(crew: Make) -> None:
    """EN-04: the checker may say yes at night; it is the author's result."""
    floor = crew(ann=HOURS, at=NIGHT)
    held = floor.claim(floor.enqueue())

    def submit(ticket: Ticket, epoch: int) -> list[Any]:
        draft = Resolved(reply="refunded")
        at = {"held": held.token, "now": floor.clock.now(), "epoch": epoch}
        return [moves.submit(ticket, draft, to="quality_check", reason="a look", **at)]

    floor.desk.apply_many([(held.id, submit)])
    floor.desk.reassign(held.id, to="bob", actor="person:lead", reason="a look")
    floor.run()
    judged = floor.report(held.id, Reviewed(passed=True))
    assert (judged.state, judged.withheld, judged.waits_until) == (State.WAITING, True, MORNING)
    assert (judged.result or {})["reply"] == "refunded"


def test_a_persons_report_makes_it_an_aided_ticket(crew: Make) -> None:
    """EN-13: unaided means that no person had a hand in it."""
    floor = crew(bob=", human: true")
    ticket_id = floor.enqueue()
    child = floor.report(ticket_id, asks("bob")).awaits[0]
    assert floor.report(child, Resolved(reply="x")).aided is True
    assert floor.desk.find(ticket_id).answers[0]["aided"] is True
    assert floor.report(floor.enqueue("other"), Resolved(reply="x")).aided is False


# -- asking a person ----------------------------------------------------------------------------------------------


def test_a_denied_action_is_not_asked_for_again(floor: Floor) -> None:
    """EN-10: not with the same arguments in this life; an approval that only expired was denied by nobody."""
    ticket_id = floor.enqueue()
    refund = AskHuman(action="refund", arguments={"amount": 20.0, "to": "a"})
    child = floor.report(ticket_id, refund).awaits[0]
    floor.later(floor.desk.settings.approval_expires_s + 1)
    assert floor.desk.find(child).state is State.FAILED
    again = floor.report(ticket_id, refund).awaits[0]
    number = floor.desk.find(again).number
    floor.desk.answer(again, "deny", actor="person:zoe_lead", reason="too much")
    floor.run()

    held = floor.claim(ticket_id)
    same = AskHuman(action="refund", arguments={"to": "a", "amount": 20.0}, why="please")
    with pytest.raises(BadInput, match=f"was denied by zoe_lead \\({number}\\): do not ask again"):
        floor.desk.report(ticket_id, held.token, same, agent="ann")
    less = AskHuman(action="refund", arguments={"amount": 10.0, "to": "a"})
    floor.desk.report(ticket_id, held.token, less, agent="ann")
    floor.run()
    child = floor.desk.find(ticket_id).awaits[0]
    floor.report(child, Resolved(decision="approve"))
    assert floor.report(ticket_id, less).state is State.WAITING  # a yes is for once: the next time it is asked again


def test_a_deferral_is_no_handoff(floor: Floor) -> None:
    """A ticket without a number of looks may be put off as before."""
    ticket_id = floor.enqueue()
    for _ in range(5):
        after = floor.report(ticket_id, Later(at=floor.clock.now() + 10))
        assert (after.state, after.looks_left) == (State.SCHEDULED, None)
        floor.later(11)
    assert floor.report(ticket_id, Resolved(reply="x", follow_ups=[FollowUp(to="ann")])).state is State.RESOLVED
