"""What coordination does beside the tickets: daily briefs, retention, counted refusals, through a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import redis

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.cycle import Cycle
from shiftlead.queues.errors import StaleToken
from shiftlead.queues.refusals import RefusalCounter
from shiftlead.queues.report import Resolved
from tests.telling import FELIX, Told

pytestmark = pytest.mark.real
MORNING = datetime(2027, 1, 15, 7, 59, 58, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


@pytest.fixture
def told(valkey: redis.Redis, team: Team, settings: Settings) -> Iterator[Told]:
    made = Told(valkey, team, settings, start=MORNING)
    yield made
    made.ledger.close()


def swept(told: Told, *cycles: Cycle) -> None:
    for cycle in cycles:
        cycle.run(told.clock.now(), assign=False)
        assert cycle.upkeep is not None
        cycle.upkeep.daily.wait(10.0)
    told.recorded()


def briefs(told: Told) -> list[str]:
    found = told.ledger.tickets(told.team.team, limit=100)
    return sorted(f"{t.title} for {t.named}" for t in found if t.type == "brief")


def test_every_decision_maker_gets_one_brief_a_day_whoever_leads(told: Told) -> None:
    """EN-13, FO-14: with two coordinators, and one that starts anew; nobody is told nothing."""
    one, two = (Cycle(told.desk, told.ledger, lambda rings: None) for _ in range(2))
    told.at(10)
    swept(told, one)
    assert briefs(told) == []  # a team without a ticket needs no brief

    told.at(60)
    told.comes("a matter")
    again = Cycle(told.desk, told.ledger, lambda rings: None)
    told.recorded()
    swept(told, two, again)
    assert briefs(told) == [f"Brief of 2027-01-15 for {FELIX}"]
    told.at(86_400 + 10)
    swept(told, two, again)
    assert briefs(told) == [f"Brief of 2027-01-15 for {FELIX}", f"Brief of 2027-01-16 for {FELIX}"]


def test_completed_tickets_leave_redis_after_a_week_and_are_still_there(told: Told) -> None:
    """EN-15."""
    cycle = Cycle(told.desk, told.ledger, lambda rings: None)
    ticket = told.begun(told.comes("a matter"))
    told.says(ticket, Resolved(reply="done"))
    told.recorded()
    told.at(7 * 86_400 - 60)
    swept(told, cycle)
    assert told.desk.store.client.exists(told.desk.keys.ticket(ticket.id))
    told.at(7 * 86_400 + 60)
    swept(told, cycle)
    assert not told.desk.store.client.exists(told.desk.keys.ticket(ticket.id))
    found = told.desk.find(ticket.number)
    assert found.result is not None and found.result["reply"] == "done"
    assert [line.move for line in told.desk.history(ticket.id)][-1] == "resolve"


def test_a_worker_that_is_too_late_is_counted(told: Told) -> None:
    """I4, EN-15: by reason and day, in SQL after a minute."""
    cycle = Cycle(told.desk, told.ledger, lambda rings: None)
    counter = RefusalCounter(told.desk.store.client, told.desk.keys)
    told.desk.refused = counter.error
    ticket = told.begun(told.comes("a matter"))
    told.desk.hand_back(ticket.id, ticket.token, reason="stopping", actor="agent:iris_support")
    for _ in range(3):
        with pytest.raises(StaleToken):
            told.desk.renew(ticket)
        with pytest.raises(StaleToken):
            told.desk.report(ticket.id, ticket.token, Resolved(reply="late"), agent="iris_support")
    counter.close()
    swept(told, cycle)
    counted = told.ledger.refusals(told.team.team, "2000-01-01")
    assert [(reason, n) for (_, reason), n in counted.items()] == [("stale_token", 6)]
