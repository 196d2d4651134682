"""Somebody is told of an urgent ticket at once, while the work goes on (SD-09)."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftlead.config.settings import Settings
from shiftlead.config.team import TeamError, load_team
from shiftlead.queues.lifecycle import State
from tests.room import Room

AT_ONCE = """
escalations:
  - when: ticket.urgency == "urgent" && ticket.parent == null
    ladder: [{after: 0s, notify: on_call}, {after: 15m, notify: felix_ceo}]
  - ladder: [{after: 4h, notify: felix_ceo}]
"""


def test_a_person_hears_of_an_urgent_ticket_at_once_and_the_work_goes_on(tmp_path: Path) -> None:
    """SD-09: number, customer and how the message begins; the ticket is answered without waiting for anybody."""
    room = Room(tmp_path, "front_office", AT_ONCE)
    ticket = room.comes("Help", "My card was stolen an hour ago.\nWhat now?", customer="mia", type="customer_issue")
    calm = room.comes("A question", "How do I top up?", customer="ben", type="customer_issue")
    assert (ticket.state, calm.state) == (State.RESOLVED, State.RESOLVED)
    assert not ticket.aided, "to be told is not to help"
    [notice] = room.told()
    assert (notice["to"], notice["ticket"], notice["customer"]) == ("on_call", ticket.number, "mia")
    assert notice["says"] == "My card was stolen an hour ago. What now?"
    assert notice["text"] == f"{ticket.number} has just come and is urgent; on_call is told"
    [step] = [line for line in room.desk.history(ticket.id) if line.move == "escalate"]
    assert step.at == ticket.created_at
    room.close()


def test_a_ladder_may_begin_at_once_and_still_climbs(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    twice = AT_ONCE.replace("{after: 15m, notify: felix_ceo}", "{after: 0s, notify: felix_ceo}")
    overlay.write_text(twice)
    with pytest.raises(TeamError, match="a ladder climbs"):
        load_team("front_office", Settings(), overlay=overlay)
