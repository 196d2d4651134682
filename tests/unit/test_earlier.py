"""An agent sees what its customer brought before (SD-10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftlead.agents.prompt import build_prompt, read_parts
from shiftlead.agents.work import MOST_EARLIER, build_work
from shiftlead.config.team import Check
from shiftlead.queues.report import HandOff, Resolved
from tests.desks import a_working_ticket
from tests.room import Room


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path, "front_office")
    yield room
    room.close()


def test_the_last_few_tickets_of_the_customer_go_along_newest_first(room: Room) -> None:
    """SD-10: of this customer alone, in short, and bounded; parts of other tickets are none of them."""
    numbers = []
    for i in range(MOST_EARLIER + 2):
        room.clock.advance(1)
        held = a_working_ticket(room.desk, customer="mia", title=f"matter {i}", body=f"matter {i}")
        numbers.append(held.number)
        room.desk.report(held.id, held.token, Resolved(reply="x" * 5000, summary=f"settled {i}"), agent="iris_support")
    stranger = a_working_ticket(room.desk, customer="ben", body="of another")
    room.desk.report(stranger.id, stranger.token, HandOff(needs=["bug"], question="why?"), agent="iris_support")
    room.recorded()

    work = build_work(room.desk, a_working_ticket(room.desk, customer="mia", body="again"), room.team)
    assert [e.number for e in work.earlier] == numbers[::-1][:MOST_EARLIER]
    assert [(e.title, e.outcome, e.state) for e in work.earlier[:1]] == [("matter 6", "settled 6", "resolved")]
    shown = build_prompt(work, read_parts(room.team.folder, "support"), kinds=("resolved",), context_tokens=8000, now=1)
    assert "settled 6" in shown.user and "what this customer brought before" in shown.user

    ben = build_work(room.desk, a_working_ticket(room.desk, customer="ben", body="more"), room.team)
    assert [e.number for e in ben.earlier] == [stranger.number]
    assert build_work(room.desk, a_working_ticket(room.desk, body="nobody's"), room.team).earlier == []


def test_a_reply_that_was_not_sent_is_no_outcome(room: Room) -> None:
    """SD-07, SD-10: else another agent says to the customer what a checker has not let through."""
    room.desk.team = room.team.model_copy(update={"check": Check(by="decision")})
    first = a_working_ticket(room.desk, customer="mia", body="my refund?")
    draft = Resolved(reply="we pay 900", summary="we pay 900")
    assert room.desk.report(first.id, first.token, draft, agent="iris_support").in_review
    again = a_working_ticket(room.desk, customer="mia", body="again")
    for state in ("ready", "cancelled"):
        room.recorded()
        [earlier] = build_work(room.desk, again, room.team).earlier
        assert (earlier.number, earlier.state, "900" in earlier.outcome) == (first.number, state, False)
        if state == "ready":
            room.desk.cancel(first.id, actor="person:ann", reason="withdrawn")
