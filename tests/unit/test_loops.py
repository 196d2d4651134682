"""The pure checks that end loops."""

from __future__ import annotations

import pytest

from shiftlead.queues.blocking import MAX_WALK, circle
from shiftlead.queues.errors import BadInput, NotFound
from shiftlead.queues.handing_on import asked_before, bounces, wakes
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import Part
from shiftlead.queues.ticket import Ticket


def a_ticket(name: str, *awaits: str, state: State = State.WAITING, **values: object) -> Ticket:
    return Ticket(id=name, number=f"T-{name}", team="crew", state=state, awaits=list(awaits), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chain", "back"),
    [
        ("", 0), ("A", 0), ("AB", 0), ("ABA", 1), ("ABAB", 2), ("ABABA", 3), ("ABCABC", 0), ("AABB", 0), ("AAA", 0),
        ("ABACA", 1), ("ABACABA", 2), ("BABCBCBC", 4), ("ABCBA", 1),
    ],
)  # fmt: skip
def test_going_back_is_counted_for_one_pair_at_a_time(chain: str, back: int) -> None:
    """I10: A-B-A of the same pair; handing on to oneself, and round in three, are none."""
    assert bounces(list(chain)) == back


def test_the_same_question_is_the_same_words_to_the_same_target() -> None:
    """I10."""
    answer = {"title": "till", "question": "why?", "asked_of": "bob", "needs": ["beta"]}
    by_need = answer | {"asked_of": None, "needs": ["b", "a"]}
    blocker = {"ticket": "x", "number": "T-x", "type": "blocker", "state": "resolved"}
    ticket = a_ticket("a", title="till", answers=[answer, answer, by_need, blocker])
    assert asked_before(ticket, Part(to="bob", question="why?")) == 2
    assert asked_before(ticket, Part(to="cat", question="why?")) == 0
    assert asked_before(ticket, Part(to="bob", question="since when?")) == 0
    assert asked_before(ticket, Part(to="bob", title="other", question="why?")) == 0
    assert asked_before(ticket, Part(needs=["a", "b"], question="why?")) == 1


@pytest.mark.parametrize(
    ("actor", "woken"),
    [("agent:ann", False), ("agent:bob", True), ("door:http:ann", True), ("person:ann", True), ("coordinator", True)],
)
def test_an_agents_own_word_never_wakes_it(actor: str, woken: bool) -> None:
    """EN-08."""
    assert wakes(actor, a_ticket("a", prefers="ann")) is woken
    assert wakes(actor, a_ticket("a")) is True


def test_a_circle_is_found_by_its_shortest_way_and_only_through_who_waits() -> None:
    """I10."""
    here = a_ticket("here", state=State.WORKING)
    tickets = {
        t.id: t
        for t in (
            here,
            a_ticket("one", "long", "short", "gone"),
            a_ticket("long", "longer"),
            a_ticket("longer", "here"),
            a_ticket("short", "here"),
            a_ticket("free", "here", state=State.READY),
            a_ticket("among", "them"),
            a_ticket("them", "among"),
        )
    }

    def find(name: str) -> Ticket:
        if name not in tickets:
            raise NotFound(name)
        return tickets[name]

    assert circle(here, tickets["one"], find) == ["T-one", "T-short", "T-here"]
    assert circle(here, here, find) == ["T-here"]
    assert circle(here, tickets["free"], find) == []
    assert circle(here, tickets["among"], find) == []


def test_a_walk_without_end_is_refused() -> None:
    """I10: the check itself is bounded."""

    def find(name: str) -> Ticket:
        return a_ticket(name, str(int(name) + 1))

    with pytest.raises(BadInput, match=f"more than {MAX_WALK}"):
        circle(a_ticket("x", state=State.WORKING), find("0"), find)
