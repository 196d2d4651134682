"""Whether a question is an agent's own: bids by method, by report, by example, by page (SS-04)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import Resolved, Work
from shiftlead.agents.bidding import Bid, answer_work, bid_in, bid_of, is_bid
from shiftlead.agents.brains import brain_for
from shiftlead.agents.knowledge import Knowledge
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ticket import Ticket

BRAINS = """
from shiftlead.agents.bidding import Bid

def plain(work):
    return "I did the work"

class Bidder:
    def handle(self, work):
        return "I did the work"

    def can_take(self, work):
        return {"take": "boat" in work.text, "why": "boats are mine", "confidence": 1 if "boat" in work.text else 7}

class Mute(Bidder):
    def can_take(self, work):
        return None
"""


@pytest.fixture
def team() -> Team:
    return load_team("sales_and_support", Settings())


def asked(body: str, agent: str = "sales", **values: Any) -> Work:
    given = {"id": "b", "number": "T-2026-002", "team": "x", "type": "bid", "parent": "a", "asked_by": "triage"}
    ticket = Ticket.model_validate(given | {"body": body} | values)
    return Work(agent=agent, ticket=ticket, token=1)


def bid_by(name: str, folder: Path, team: Team, body: str) -> Bid:
    (folder / "brains.py").write_text(BRAINS)
    brain = brain_for(f"python:brains:{name}", role="sales", folder=folder, settings=Settings())
    report = answer_work(brain, asked(body), team)
    assert isinstance(report, Resolved)
    bid = bid_in(report.reply)
    assert bid is not None
    return bid


def test_an_object_says_itself_whether_it_takes_a_question(tmp_path: Path, team: Team) -> None:
    """SS-04: by `can_take`; a bid that is none is refused with the field that is wrong."""
    assert bid_by("Bidder", tmp_path, team, "about a boat") == Bid(take=True, why="boats are mine", confidence=1)
    with pytest.raises(BadInput, match="can_take of sales must return a Bid: confidence"):
        bid_by("Bidder", tmp_path, team, "about a car")


@pytest.mark.parametrize("name", ["plain", "Mute"])
def test_for_who_says_nothing_the_examples_speak(tmp_path: Path, team: Team, name: str) -> None:
    """SS-04: and its work is not begun."""
    assert bid_by(name, tmp_path, team, "What does the Business plan cost?").take
    other = bid_by(name, tmp_path, team, "My invoice for March is wrong")
    assert (other.take, other.instead) == (False, "billing")


def test_a_program_answers_a_ticket_of_type_bid(tmp_path: Path, team: Team) -> None:
    """SS-04: it reads the type; what it prints is its report, whatever it is."""
    answer = Bid(take=True, why="mine", confidence=0.5).as_report().model_dump_json()
    (tmp_path / "out.json").write_text(answer)
    brain = brain_for(f"exec:cat {tmp_path / 'out.json'}", role="sales", folder=tmp_path, settings=Settings())
    report = answer_work(brain, asked("hello"), team)
    assert isinstance(report, Resolved) and bid_in(report.reply) == Bid(take=True, why="mine", confidence=0.5)


def test_pages_speak_where_no_example_is_sure(tmp_path: Path, team: Team) -> None:
    (tmp_path / "boats.md").write_text("# Boats\n## Rent a boat\nA boat costs nine a day.\n")
    bid = bid_of(asked("Can I rent a boat?"), team, Knowledge(tmp_path))
    assert bid.take and bid.why == "boats.md / Boats > Rent a boat covers it"
    assert not bid_of(asked("Can I rent a boat?"), team).take
    assert not bid_of(asked("Can I rent a boat?"), None).take


def test_a_sender_cannot_ask_for_a_bid(team: Team, tmp_path: Path) -> None:
    """A ticket from outside that calls itself `bid` is worked on like any other."""
    (tmp_path / "brains.py").write_text(BRAINS)
    brain = brain_for("python:brains:plain", role="sales", folder=tmp_path, settings=Settings())
    work = asked("hello", parent=None, asked_by=None)
    assert not is_bid(work.ticket)
    report = answer_work(brain, work, team)
    assert isinstance(report, Resolved) and report.reply == "I did the work"


NO_BIDS = [
    "", "yes", "{", None, 7, '{"take": "perhaps"}', '{"take": true, "confidence": 2}', '{"take": true, "more": 1}',
    "{\"take\": " * 3000,
]  # fmt: skip


@pytest.mark.parametrize("text", NO_BIDS)
def test_what_is_no_bid_is_no_bid(text: Any) -> None:
    assert bid_in(text) is None
