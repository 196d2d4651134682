"""Completed tickets leave Redis when SQL has them, and everything that can be asked about them is answered from SQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.api.pages import page
from shiftlead.coordinator.why import explain
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import Refused
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.ledger_writer import LedgerWriter
from shiftlead.queues.lifecycle import Queue, State
from shiftlead.queues.rebuild import rebuild
from shiftlead.queues.report import AskHuman, HandOff, Resolved
from shiftlead.queues.retention import Retention
from shiftlead.queues.ticket import Ticket
from shiftlead.queues.views import LiveView, StoppedView
from tests.desks import a_new_ticket, a_working_ticket, where

WEEK = 604_800.0


@dataclass
class Floor:
    """A desk with a real ledger and its writer, stepped by hand."""

    desk: Desk
    ledger: Ledger
    writer: LedgerWriter
    clock: ManualClock

    def record(self) -> None:
        while self.writer.step(0.001):
            pass

    def resolved(self, **fields: Any) -> Ticket:
        ticket = a_working_ticket(self.desk, **fields)
        return self.desk.report(ticket.id, ticket.token, Resolved(reply="paid back"), agent="iris_support")

    def retire(self, retention: Retention | None = None, **limits: Any) -> int:
        mine = retention or Retention(self.desk.store, self.ledger)
        return mine.retire(before=self.clock.now() - WEEK, **limits)

    def keys_of(self, ticket: Ticket) -> list[str]:
        """Every key and hash field that knows the ticket."""
        client, found = self.desk.store.client, where(self.desk, ticket.id)
        for key in client.scan_iter(match=f"{self.desk.keys.tag}:*"):
            if ticket.id in key:
                found.append(key)
            if client.type(key) == "hash" and key.rpartition(":")[2] != "ticket":
                entries = client.hgetall(key)
                if ticket.id in entries or ticket.id in entries.values() or ticket.number in entries:
                    found.append(key)
        return found


@pytest.fixture
def floor(any_redis: Any, team: Team, clock: ManualClock, settings: Settings) -> Iterator[Floor]:
    ledger = Ledger(settings.database_address)
    ledger.migrate()
    desk = Desk(any_redis, team, clock=clock, settings=settings, ledger=ledger)
    done = rebuild(desk.store, ledger, now=clock.now(), why="first start")
    writer = LedgerWriter(ledger, any_redis, desk.keys, done.epoch, clock, settings)
    yield Floor(desk, ledger, writer, clock)
    ledger.close()


def test_a_completed_ticket_leaves_redis_when_it_is_old_and_in_sql(floor: Floor) -> None:
    """EN-15, I1: not a trace stays, and SQL has it."""
    ticket = floor.resolved(customer="Ada", reporter="ada@example.org")
    floor.record()
    assert floor.retire() == 0, "it is not old yet"

    floor.clock.advance(WEEK + 1)

    assert floor.retire() == 1
    assert floor.keys_of(ticket) == []
    assert floor.desk.find(ticket.number) == floor.desk.find(ticket.id) == ticket


def test_a_ticket_with_a_line_on_its_way_to_sql_stays(floor: Floor) -> None:
    """EN-15, I1"""
    ticket = floor.resolved()
    floor.clock.advance(WEEK + 1)
    assert floor.retire() == 0, "nothing of it is recorded"

    floor.record()
    floor.desk.note(ticket.id, "the customer said thank you", actor="person:ann")
    assert floor.retire() == 0, "the note is not recorded"

    floor.record()
    assert floor.retire() == 1


def test_a_ticket_whose_last_document_sql_refused_stays(floor: Floor) -> None:
    """EN-15, I1: its lines have left Redis for the quarantine, so what Redis has is all there is."""
    ticket = floor.resolved()
    floor.record()
    older = floor.desk.find(ticket.id).model_copy(update={"version": ticket.version - 1, "state": State.WORKING})
    with floor.ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ticket SET doc = ?", (older.model_dump_json(),))
    floor.clock.advance(WEEK + 1)

    assert floor.retire() == 0
    assert where(floor.desk, ticket.id) == ["queue:completed"]


def test_no_open_ticket_is_ever_taken(floor: Floor) -> None:
    """EN-15, I1"""
    tickets = [a_new_ticket(floor.desk), a_working_ticket(floor.desk)]
    floor.record()
    floor.clock.advance(10 * WEEK)

    assert floor.retire() == 0
    assert all(where(floor.desk, t.id) for t in tickets)


def test_a_ticket_that_was_reopened_after_the_reading_stays(floor: Floor) -> None:
    """EN-15: the script looks at the version once more."""
    ticket = floor.resolved()
    floor.record()
    floor.clock.advance(WEEK + 1)
    retention = Retention(floor.desk.store, floor.ledger)
    documents = floor.ledger.documents

    def and_then_it_is_reopened(team: str, ids: Any) -> Any:
        found = documents(team, ids)
        floor.desk.reopen(ticket.id, actor="person:ann", reason="not paid")
        return found

    floor.ledger.documents = and_then_it_is_reopened  # type: ignore[method-assign]

    assert floor.retire(retention) == 0
    assert floor.desk.find(ticket.id).state is State.READY


def test_a_child_stays_until_its_parent_has_heard_it(floor: Floor) -> None:
    """EN-15, I14"""
    parent = a_working_ticket(floor.desk)
    report = HandOff(to="devin_engineering", question="Which charge is wrong?")
    parent = floor.desk.report(parent.id, parent.token, report, agent="iris_support")
    child = floor.desk.find(parent.children[0])
    floor.desk.cancel(child.id, actor="person:ann", reason="not needed")
    floor.record()
    floor.clock.advance(WEEK + 1)

    assert floor.retire() == 0

    floor.desk.cancel(parent.id, actor="person:ann", reason="withdrawn")
    floor.record()
    assert floor.retire() == 1
    assert floor.keys_of(child) == []


def test_those_that_must_stay_do_not_hold_up_the_others(floor: Floor) -> None:
    """EN-15: each call looks at `limit` tickets, and the next one goes on behind those that stayed."""
    parent = a_working_ticket(floor.desk)
    ask = AskHuman(action="process_refund", arguments={"amount": 900.0, "days_since_purchase": 1}, why="large")
    parent = floor.desk.report(parent.id, parent.token, ask, agent="iris_support")
    [approval] = parent.children
    floor.desk.answer(approval, "approve", actor="person:ann", reason="fine")
    floor.clock.advance(1)
    later = []
    for _ in range(4):
        later.append(floor.resolved())
        floor.clock.advance(1)
    floor.record()
    floor.clock.advance(WEEK + 1)
    retention = Retention(floor.desk.store, floor.ledger)

    gone = [floor.retire(retention, limit=2) for _ in range(4)]

    assert sum(gone) == 4 and max(gone) <= 2
    assert all(floor.keys_of(t) == [] for t in later)
    assert where(floor.desk, approval) == ["queue:completed"]


def test_nothing_is_retired_in_another_epoch(floor: Floor) -> None:
    """EN-15, I8: what was read before a rebuild is not acted on after it."""
    ticket = floor.resolved()
    floor.record()
    floor.clock.advance(WEEK + 1)
    retention = Retention(floor.desk.store, floor.ledger)
    documents = floor.ledger.documents

    def and_then_it_is_rebuilt(team: str, ids: Any) -> Any:
        floor.desk.store.client.hset(floor.desk.keys.meta, "epoch", "7")
        return documents(team, ids)

    floor.ledger.documents = and_then_it_is_rebuilt  # type: ignore[method-assign]

    assert floor.retire(retention) == 0
    assert where(floor.desk, ticket.id) == ["queue:completed"]


def test_everything_asked_about_a_retired_ticket_is_answered_from_sql(floor: Floor) -> None:
    """EN-15, I1, I7: find, history, why, lists, counts, audit."""
    old = floor.resolved(title="old")
    floor.clock.advance(WEEK + 1)
    young, open_ = floor.resolved(title="young"), a_new_ticket(floor.desk)
    floor.record()
    before = floor.desk.history(old.id)
    view = LiveView(floor.desk)
    counted = view.counts()

    assert floor.retire() == 1

    assert floor.desk.history(old.id) == before
    assert "iris_support" in " ".join(explain(floor.desk, old, now=floor.clock.now()).lines(floor.clock.now()))
    assert view.counts() == counted == {"intake": 1, "active": 0, "completed": 2}
    assert [t.id for t in view.tickets(queue="completed")] == [young.id, old.id]
    assert [t.id for t in view.tickets(state="resolved", limit=2)] == [young.id, old.id]
    assert [t.id for t in view.tickets(queue="completed", limit=1)] == [young.id]
    assert [t.id for t in view.tickets(agent="iris_support")] == [young.id, old.id]
    assert [t.id for t in view.tickets()] == [open_.id, young.id, old.id]
    assert view.tickets(state="failed") == []
    assert [t.id for t in StoppedView(floor.ledger, "front_office").tickets(queue="completed")] == [young.id, old.id]
    assert verify(floor.ledger, "front_office").ok


def test_the_http_list_goes_through_retired_tickets_page_by_page(floor: Floor) -> None:
    """EN-15: oldest first, each once, whether it is in Redis or not."""
    tickets = []
    for _ in range(7):
        tickets.append(floor.resolved())
        floor.clock.advance(WEEK / 4)
    floor.record()
    assert floor.retire() == 3
    floor.desk.reopen(tickets[1].id, actor="person:ann", reason="not paid")

    listed, after = [], ""
    while True:
        found = page(floor.desk, queue=Queue.COMPLETED, state=None, agent=None, limit=2, after=after)
        listed += [t.id for t in found.tickets]
        if not (after := found.after):
            break

    assert listed == [t.id for t in tickets if t is not tickets[1]]


def test_a_retired_ticket_can_be_opened_again(floor: Floor) -> None:
    """EN-15, I2, I7: a new life, with its whole story and no line counted twice."""
    ticket = floor.resolved()
    floor.record()
    floor.clock.advance(WEEK + 1)
    floor.retire()
    with pytest.raises(Refused, match="archived"):
        floor.desk.note(ticket.id, "hello?", actor="person:ann")

    again = floor.desk.reopen(ticket.number, actor="person:ann", reason="not paid")

    assert (again.state, again.life) == (State.READY, 2)
    floor.record()
    assert [line.seq for line in floor.desk.history(ticket.id)] == list(range(1, 7))
    assert verify(floor.ledger, "front_office").ok
    assert LiveView(floor.desk).counts()["completed"] == 0


@pytest.mark.quiet
def test_the_sweep_takes_little_time_with_many_completed_tickets(floor: Floor) -> None:
    """EN-15: its work is bounded by its limit, not by how many there are."""
    ticket = floor.resolved()
    floor.record()
    client, keys = floor.desk.store.client, floor.desk.keys
    client.zadd(keys.queue("completed"), {f"gone-{n}": float(n) for n in range(20_000)})
    floor.clock.advance(WEEK + 1)
    retention = Retention(floor.desk.store, floor.ledger)

    started = time.monotonic()
    assert floor.retire(retention) == 0, "the oldest are no tickets at all"
    assert time.monotonic() - started < 1.0
    for _ in range(41):
        floor.retire(retention)
    assert floor.keys_of(ticket) == []
