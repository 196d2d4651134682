"""Somebody stands in only while nobody who can is there, and not for one who is back in time (SD-12)."""

from __future__ import annotations

from typing import Any

import pytest

from shiftlead.coordinator.assignment import Choice, choose
from shiftlead.coordinator.availability import AgentFacts
from shiftlead.coordinator.order import plan
from shiftlead.coordinator.standing_in import PATIENCE_S
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

NOW = 1_800_000_000.0
HOUR_S = 3600.0
BILLING = frozenset({"billing"})


def a_ticket(**values: Any) -> Ticket:
    """Ready for a minute, due in four hours."""
    base = {"id": "x", "number": "T-2027-001", "team": "desk", "created_at": NOW - 60, "ready_at": NOW - 60}
    return Ticket.model_validate(base | {"due": NOW + 4 * HOUR_S, "state": State.READY, "needs": ["billing"]} | values)


def chosen(ticket: Ticket, bela: dict[str, Any], **fay: Any) -> Choice:
    """With bela, who can billing, and fay, who stands in."""
    return choose(
        ticket,
        {
            "bela": AgentFacts("bela", BILLING, 2, **bela),
            "fay": AgentFacts("fay", frozenset({"fallback"}), 2, stands_in_for=BILLING, **fay),
        },
        NOW,
    )


@pytest.mark.parametrize(
    ("away", "words"),
    [
        ({"present": False}, "bela has no worker running"),
        ({"paused": True, "reason": "on leave"}, "bela is paused (on leave)"),
        ({"off_until": NOW + 12 * HOUR_S}, "bela is off duty until 20:00:00 UTC"),
        ({"busy_until": NOW + 5 * HOUR_S, "reason": "quota"}, "bela is busy until 13:00:00 UTC (quota)"),
    ],
)
def test_while_the_one_who_can_is_away_somebody_stands_in_and_it_is_said_for_whom(
    away: dict[str, Any], words: str
) -> None:
    """SD-12."""
    choice = chosen(a_ticket(), away)
    assert choice.agent == "fay"
    assert choice.reasons == [f"fay stands in: everybody who can is away: {words}"]


def test_nobody_stands_in_for_one_who_is_there_or_only_full() -> None:
    """SD-12: a queue is no absence, however late the ticket is; its ladder looks after that."""
    assert chosen(a_ticket(), {}).agent == "bela"
    full = chosen(a_ticket(due=NOW - HOUR_S), {"load": 2})
    assert (full.agent, full.reasons) == (None, ["bela is full (2 of 2 slots)"])


def test_one_who_is_back_before_the_ticket_is_due_is_waited_for() -> None:
    """SD-02, SD-12: a shop that opens in three hours answers what is due in four, and not what is due in two."""
    away = {"off_until": NOW + 3 * HOUR_S}
    waits = chosen(a_ticket(), away)
    assert waits.agent is None
    assert "somebody who can is back at 11:00:00 UTC, which is waited for" in waits.reasons
    assert chosen(a_ticket(due=NOW + 2 * HOUR_S), away).agent == "fay"


def test_a_restart_or_a_short_hold_is_nobodys_apology() -> None:
    """A worker that is gone is waited for a moment; a provider that wants a few seconds, too, also by a late ticket."""
    fresh = chosen(a_ticket(ready_at=NOW - 5), {"present": False})
    assert fresh.agent is None
    assert f"in {PATIENCE_S - 5:.0f} s somebody stands in" in fresh.reasons
    assert chosen(a_ticket(due=NOW - 1), {"busy_until": NOW + 2}).agent is None


def test_whoever_failed_it_twice_is_as_good_as_away() -> None:
    """SS-05, I18: bela may take all others."""
    assert chosen(a_ticket(failures={"bela": 1}), {}).agent == "bela"
    assert chosen(a_ticket(failures={"bela": 2}), {}).agent == "fay"
    assert chosen(a_ticket(failures={"bela": 2}, named="bela"), {}).agent == "bela", "a person says so"


def test_who_stands_in_must_be_free_there_and_allowed() -> None:
    away = {"paused": True}
    assert chosen(a_ticket(), away, load=2).reasons[0] == "fay is full (2 of 2 slots)"
    assert chosen(a_ticket(), away, present=False).reasons[0] == "fay has no worker running"
    assert chosen(a_ticket(excluded=["fay"]), away).agent is None
    assert chosen(a_ticket(needs=["billing", "shipping"]), away).agent is None


def test_in_a_plan_the_stand_in_gets_what_nobody_can_and_the_others_the_rest() -> None:
    """SD-12: two specialists, one of them away."""
    team = {
        "bela": AgentFacts("bela", BILLING, 9, paused=True),
        "sven": AgentFacts("sven", frozenset({"shipping"}), 9),
        "fay": AgentFacts("fay", frozenset({"fallback"}), 1, stands_in_for=frozenset({"billing", "shipping"})),
    }
    tickets = [
        a_ticket(id=f"t{i}", number=f"T-2027-00{i}", needs=["shipping" if i % 2 else "billing"]) for i in range(4)
    ]
    made = plan(tickets, team, NOW)
    assert sorted((t.id, c.agent) for t, c in made.assignments) == [("t0", "fay"), ("t1", "sven"), ("t3", "sven")]
    assert [t.id for t, _ in made.unassigned] == ["t2"]
