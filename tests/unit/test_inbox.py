"""An inbox of messy tickets in a dozen languages (tests/fixtures/inbox, written for this test): who gets each."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.triage import TriageDecision, triage
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

ROWS = Path(__file__).parents[1] / "fixtures" / "inbox" / "tickets.jsonl"
NOW = 1_800_000_000.0
Row = dict[str, Any]


@pytest.fixture(scope="module")
def decided() -> list[tuple[Row, TriageDecision, str]]:
    """Each row, the decision, and the role of whoever gets it."""
    team = load_team("front_office", Settings(teams=[]))
    found = []
    for line in ROWS.read_text("utf-8").splitlines():
        row = json.loads(line)
        ticket = Ticket(
            id="t", number="T-2026-001", team=team.team, title=row["title"], body=row["body"], created_at=NOW
        )
        decision = triage(ticket, team, now=NOW)
        nobody = decision.state is State.CANCELLED
        role = "fallback" if nobody else team.agents[team.agents_for(decision.needs)[0]].role
        found.append((row, decision, role))
    return found


@pytest.mark.parametrize("role", ["support", "engineering", "decision-maker", "fallback"])
def test_nearly_every_ticket_finds_its_desk(decided: list[tuple[Row, TriageDecision, str]], role: str) -> None:
    """EN-03: support, engineering, the decision-maker, and what nobody should work on."""
    wrong = [(row, got) for row, _, got in decided if row["role"] == role and got != role]
    assert len(wrong) <= 0.06 * sum(row["role"] == role for row, _, _ in decided), wrong


def test_no_real_ticket_is_closed(decided: list[tuple[Row, TriageDecision, str]]) -> None:
    closed = [row for row, _, got in decided if got == "fallback" and row["role"] != "fallback"]
    assert not closed


def test_damage_is_told_from_loudness(decided: list[tuple[Row, TriageDecision, str]]) -> None:
    """SD-03, `urgency_rules: impact`."""
    missed = [row for row, decision, _ in decided if row["urgent"] and decision.priority != "urgent"]
    loud = [row for row, decision, _ in decided if not row["urgent"] and decision.priority == "urgent"]
    assert len(missed) <= 2, missed
    assert len(loud) <= 2, loud


def test_a_decision_takes_two_milliseconds_at_most() -> None:
    """EN-03: the whole of triage on one thread; here with room for a loaded machine."""
    team = load_team("front_office", Settings(teams=[]))
    tickets = [
        Ticket(id="t", number="T-2026-001", team=team.team, created_at=NOW, title=row["title"], body=row["body"])
        for row in map(json.loads, ROWS.read_text("utf-8").splitlines())
    ]
    for ticket in tickets:
        triage(ticket, team, now=NOW)
    started = time.thread_time()
    for ticket in tickets:
        triage(ticket, team, now=NOW)
    assert (time.thread_time() - started) / len(tickets) < 0.006
