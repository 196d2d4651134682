"""Each demonstration's script can be played: its tickets, its events, the people in it."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.cli.demo_events import FIVE, events_shown
from shiftlead.coordinator.cli.demo_more_events import MORE
from shiftlead.coordinator.cli.demo_people import People
from shiftlead.coordinator.cli.demo_script import Script, drafts_of, overlay_of, script_of, with_demo
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import NotFound
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, AskRequester
from shiftlead.queues.ticket import Line
from tests.desks import a_working_ticket


@pytest.mark.parametrize("team", with_demo())
def test_every_demonstration_can_be_played(team: str) -> None:
    script = script_of(team)
    assert set(script.shows) <= {*FIVE, *MORE} and script.shows
    loaded = load_team(team, Settings(teams=[]), overlay=overlay_of(team))
    assert set(script.busy) <= set(loaded.agents)
    rows = drafts_of(team)
    assert len(rows) >= 10 and len({(row.title, row.body) for row in rows}) == len(rows)


def test_a_team_without_a_demonstration_is_named_with_those_that_have_one() -> None:
    with pytest.raises(NotFound, match="front_office"):
        script_of("../front_office/..")


def test_nothing_is_shown_that_the_ledger_does_not_say(team: Any) -> None:
    assert not any(event.ok for event in events_shown(team, [], [*FIVE, *MORE]))


def test_a_yes_that_came_after_the_deed_shows_nothing(team: Any) -> None:
    """EN-10: the order of the lines decides."""
    asked = _line(1, "ask", action="process_refund")
    yes = _line(2, "resume", answers=[{"decision": "approve", "agent": "mona", "number": "T-2026-002"}])
    done = _line(3, "note", effect={"tool": "process_refund", "target": "#W1", "outcome": "done"})
    [shown] = events_shown(team, [asked, yes, done], ["approved"])
    assert shown.ok and "mona said yes (T-2026-002)" in shown.detail
    early = done.model_copy(update={"seq": 0})
    assert not events_shown(team, [early, asked, yes], ["approved"])[0].ok


def test_people_answer_what_waits_for_a_person_and_leave_the_rest_to_programs(desk: Desk) -> None:
    told: list[str] = []
    people = People(Script(shows=["acted"], answers={"question": "It is order 4711.", "approval": "fine"}), told.append)
    question = a_working_ticket(desk)
    desk.report(question.id, question.token, AskRequester(question="Which order?"), agent="iris_support")
    wanted = a_working_ticket(desk, body="another one")
    ask = AskHuman(action="process_refund", arguments={"amount": 900.0}, to="felix_ceo")
    waiting = desk.report(wanted.id, wanted.token, ask, agent="iris_support")

    people.look(desk)

    answered = desk.find(question.id)
    assert answered.state is State.READY and answered.answers[-1]["reply"] == "It is order 4711."
    assert desk.find(waiting.awaits[0]).state is State.NEW, "a program decides it"
    assert [f"answers {question.number}" in line for line in told] == [True]


def _line(seq: int, move: str, **detail: Any) -> Line:
    return Line(ticket="t", number="T-2026-001", seq=seq, move=move, actor="agent:x", at=float(seq), detail=detail)
