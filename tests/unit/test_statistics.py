"""Numbers over a ledger that the real desk and the real writer made, against numbers counted by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues import moves, timers
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ledger import BODY, EVENT, HEAD, TICKET, Ledger
from shiftlead.queues.report import Later, Resolved, Reviewed
from shiftlead.queues.statistics import Stats, back_s, statistics
from shiftlead.queues.ticket import Ticket
from shiftlead.queues.track_record import record
from tests.telling import DEVIN, FELIX, IRIS, T, Told, a_morning

pytestmark = pytest.mark.real
NEW_FIELDS = ("first_reply_at", "aided", "escalations", "withheld", "joined", "weight")


@pytest.fixture
def told(valkey: redis.Redis, team: Team, settings: Settings) -> Iterator[Told]:
    made = Told(valkey, team, settings)
    yield made
    made.ledger.close()


def numbers(told: Told, since: float = 0, until: float = 210) -> Stats:
    return statistics(told.recorded(), told.team, since=T + since, until=T + until, now=told.clock.now())


def test_a_morning_is_counted_as_by_hand(told: Told) -> None:
    """EN-13: unaided, first reply, resolution, SLA, queue age, escalations, load. SD-14: what is unknown is None."""
    a_morning(told)

    s = numbers(told)

    assert (s.arrived, s.handed_on) == (5, 2)
    assert s.completed == {"resolved": 2, "failed": 0, "cancelled": 1}
    assert (s.unaided, s.unaided_share) == (1, 0.5)
    assert (s.first_reply.n, s.first_reply.mean_s, s.first_reply.p50_s, s.first_reply.p95_s) == (2, 70, 40, 100)
    assert s.resolution == s.first_reply
    assert (s.sla.hit, s.sla.of) == (1, 3)  # simple in time; refund and crash not; broken has a new due
    assert {p: (h.hit, h.of) for p, h in s.sla_by_priority.items() if h.of} == {"high": (0, 1), "normal": (1, 2)}
    assert {q: (a.n, a.oldest_s, a.p95_s) for q, a in s.age_by_queue.items()} == {
        "intake": (1, 210, 210), "active": (1, 210, 210),
    }  # fmt: skip
    assert set(s.age_by_state) == {"ready", "assigned"}
    assert s.in_state_s == {"new": 40, "scheduled": 0, "ready": 505, "assigned": 5, "working": 140, "waiting": 90}
    assert (s.escalations, s.reopened, s.handoffs) == (1, 1, 1)
    assert s.approvals.model_dump() == {"asked": 1, "yes": 1, "no": 0, "expired": 0}
    assert (s.csat, s.cost_per_ticket) == (None, None)
    slots = told.team.agents[IRIS].capacity
    assert (s.agents[IRIS].completed, s.agents[IRIS].working_s, s.agents[IRIS].waiting) == (2, 90, 1)
    assert s.agents[IRIS].share == pytest.approx(90 / (210 * slots), abs=1e-4)
    assert (s.agents[DEVIN].completed, s.agents[DEVIN].working_s) == (1, 50)
    assert [(a.at, a.count) for a in s.arrivals] == [(T, 5)]


def test_two_halves_of_a_span_add_up_to_the_whole(told: Told) -> None:
    """EN-13: each thing is counted in one span, and time in a state is cut at its edges."""
    a_morning(told)

    whole, first, second = numbers(told), numbers(told, 0, 45), numbers(told, 45, 210)

    for state, seconds in whole.in_state_s.items():
        if state not in ("ready", "assigned"):
            assert first.in_state_s[state] + second.in_state_s[state] == seconds, state
    assert second.agents[IRIS].working_s == 5 + 10 + 30 + 10
    assert first.agents[IRIS].working_s + second.agents[IRIS].working_s == 90
    assert (first.sla.of + second.sla.of, first.sla.hit + second.sla.hit) == (3, 1)
    assert first.first_reply.n + second.first_reply.n == 2
    assert (first.arrived, second.arrived) == (5, 0)


def test_a_yes_of_a_person_counts_also_when_it_was_given_before_the_span(told: Told) -> None:
    """SD-14: unaided. The refund was approved in second 80 and resolved in second 100."""
    a_morning(told)
    s = numbers(told, 85, 210)
    assert (s.completed["resolved"], s.unaided, s.approvals.yes) == (1, 0, 0)


def test_work_begun_long_before_the_span_is_still_somebodys(told: Told) -> None:
    """EN-13: load. The span begins in the middle of two long stays; a third ticket is not touched at all."""
    lost, kept, idle = told.comes("lost"), told.comes("kept"), told.comes("idle")
    told.begun(lost)
    told.begun(kept)
    told.at(10_000)
    told.moved(lost, moves.give_back, reason="no renewal", actor="timer:lease", counter="handed_back")
    told.at(11_000)

    s = numbers(told, 6_000, 11_000)

    assert s.agents[IRIS].working_s == 4_000 + 5_000
    assert s.in_state_s["working"] == 9_000
    assert s.in_state_s["ready"] == 5_000 + 1_000
    assert s.age_by_state["ready"].oldest_s == 11_000
    assert told.desk.find(idle.id).is_open


def test_a_person_who_is_an_agent_is_a_person_too(told: Told) -> None:
    """SD-14: unaided means that no person had a hand in it, by whatever name."""
    spec = told.team.agents[DEVIN].model_copy(update={"human": True})
    told.team = told.team.model_copy(update={"agents": {**told.team.agents, DEVIN: spec}})
    for name, agent in (("by program", IRIS), ("by person", DEVIN)):
        ticket = told.comes(name)
        told.begun(ticket, agent)
        told.says(ticket, Resolved(reply="done"))

    s = numbers(told)

    assert (s.completed["resolved"], s.unaided) == (2, 1)


def test_documents_of_an_older_version_are_counted_with_what_they_say(told: Told) -> None:
    """I20: fields that came later may be absent."""
    a_morning(told)
    before = numbers(told)
    with told.ledger.engine.begin() as connection:
        for ticket_id, text in connection.execute(sa.select(TICKET.c.id, TICKET.c.doc)).all():
            doc = {k: v for k, v in json.loads(text).items() if k not in NEW_FIELDS}
            connection.execute(TICKET.update().where(TICKET.c.id == ticket_id).values(doc=json.dumps(doc)))

    assert numbers(told) == before


def test_an_empty_ledger_has_dashes_and_no_invented_numbers(told: Told) -> None:
    """SD-14."""
    s = numbers(told)
    assert (s.arrived, s.unaided_share, s.first_reply.mean_s, s.sla.share) == (0, None, None, None)
    assert s.agents[IRIS].share == 0


def test_a_record_tells_what_became_of_the_tickets_an_agent_had(told: Told) -> None:
    """FO-15: completed, failed, handed on and back, crashed, reopened, escalated, sent back; by type; the last ones."""
    a_morning(told)
    good = [told.comes(f"good {n}", type="easy") for n in range(3)]
    for ticket in good:
        told.begun(ticket)
        told.clock.advance(20)
        told.says(ticket, Resolved(reply="done"))
    hard = told.comes("hard", type="hard")
    told.begun(hard)
    told.clock.advance(40)
    told.escalated(hard)
    told.moved(hard, moves.give_back, reason="cannot", actor=f"agent:{IRIS}", counter="handed_back")
    told.begun(hard)
    told.moved(hard, timers.crashed, reason="worker w1 died", actor="coordinator", limit=3)
    told.begun(hard)
    draft = Resolved(reply="a first try")
    told.moved(hard, moves.submit, draft, to="bug", reason="a look", held=told.desk.find(hard.id).token)
    told.begun(hard, DEVIN)
    verdict = Reviewed(passed=False, failed_checks=["tone"])
    told.moved(
        hard, moves.send_back, verdict, prefers=IRIS, named=None, held=told.desk.find(hard.id).token
    )  # fmt: skip
    told.begun(hard)
    told.says(hard, Resolved(reply="a second try"))
    told.desk.reopen(hard.id, actor="person:ann", reason="no")

    t = record(told.recorded(), told.team, IRIS, T)

    assert (t.completed, t.failed, t.handed_on) == (6, 1, 1)  # simple, refund, three easy, hard; broken; crash
    assert (t.handed_back, t.crashed, t.sent_back) == (1, 1, 1)
    assert (t.reopened, t.escalated) == (1, 1)
    easy, difficult = t.by_type["easy"], t.by_type["hard"]
    assert (easy.tickets, easy.completed, easy.mean_s, easy.good) == (3, 3, 20, 1.0)
    assert (difficult.tries, difficult.good) == (4, 0.0)
    assert (t.best, t.worst) == ("easy", "hard")
    assert t.last[0].number == told.desk.find(hard.id).number
    assert (t.last[0].outcome, t.last[0].working_s) == ("reopened", 40)
    assert record(told.ledger, told.team, DEVIN, T).completed == 1
    assert record(told.ledger, told.team, FELIX, T).last == []
    assert record(told.ledger, told.team, IRIS, T + 100_000).by_type == {}


def test_only_the_last_ten_tickets_are_told(told: Told) -> None:
    """FO-15."""
    for n in range(12):
        ticket = told.comes(f"ticket {n}")
        told.begun(ticket)
        told.clock.advance(1)
        told.says(ticket, Later(at=told.clock.now() + 60, why="x") if n == 11 else Resolved(reply="done"))

    t = record(told.recorded(), told.team, IRIS, T)

    assert [h.title for h in t.last] == [f"ticket {n}" for n in range(11, 1, -1)]
    assert t.last[0].outcome == "let go"


@pytest.mark.parametrize("text", ["yesterday", "0h", "-1h", "400d", ""])
def test_how_far_back_is_said_as_a_time(text: str) -> None:
    with pytest.raises(BadInput):
        back_s(text)


@pytest.mark.quiet
def test_ten_thousand_tickets_are_counted_in_two_seconds(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    """EN-13: the bar is 2 s for a day of 10,000 tickets (SD-14)."""
    count = 10_000
    a_day_of(told.recorded(), told.team.team, count)

    began, clock = time.process_time(), time.perf_counter()
    s = statistics(told.ledger, told.team, since=T, until=T + 86_400, now=T + 86_400)
    took, wall = time.process_time() - began, time.perf_counter() - clock

    with capsys.disabled():
        print(f"\nstatistics: {count:,} tickets, {6 * count:,} lines in {took:.2f} s of CPU ({wall:.2f} s)")
    assert (s.arrived, s.completed["resolved"], s.unaided) == (count, count, count)
    assert sum(a.count for a in s.arrivals) == count
    assert s.agents[IRIS].working_s == pytest.approx(20 * count, rel=1e-3)  # the last ones end after midnight
    assert took < 2.0


def a_day_of(ledger: Ledger, team: str, count: int) -> None:
    """Whole stories straight into SQL: six lines each, every eight seconds, a document of two kilobytes."""
    steps = [
        ("accept", "door:http", None, "new"), ("triage", "coordinator", "new", "ready"),
        ("assign", "coordinator", "ready", "assigned"), ("claim", f"agent:{IRIS}", "assigned", "working"),
        ("note", f"agent:{IRIS}", "working", "working"), ("resolve", f"agent:{IRIS}", "working", "resolved"),
    ]  # fmt: skip
    events: list[dict[str, Any]] = []
    tickets: list[dict[str, Any]] = []
    head = ledger.head(team)
    seq = head.seq if head else 0
    for n in range(count):
        i, at = f"{n:08}", T + 8.64 * n
        times = (at, at, at + 1, at + 2, at + 3, at + 22)
        for line, ((move, actor, before, after), when) in enumerate(zip(steps, times, strict=True), 1):
            seq += 1
            events.append({
                "team": team, "seq": seq, "ticket_id": i, "ticket_seq": line, "number": i, "move": move,
                "before": before, "after": after, "actor": actor, "at": min(when, T + 86_399), "life": 1,
                "payload_hash": "", "hash": "", "stream_id": f"{seq}-0", "epoch": 1,
            })  # fmt: skip
    body = Ticket(id="", number="", team=team, body="x" * 600, state="resolved", due=T + 200_000).model_dump()
    for n in range(count):
        i, at = f"{n:08}", T + 8.64 * n
        closed = min(at + 22, T + 86_399)
        doc = body | {"id": i, "number": i, "created_at": at, "closed_at": closed, "first_reply_at": closed}
        tickets.append({
            "team": team, "id": i, "number": i, "state": "resolved", "queue": "completed", "priority": "normal",
            "type": "request", "customer": "", "assigned_to": IRIS, "parent": None, "created_at": at,
            "updated_at": closed, "closed_at": closed, "seq": 6, "doc": json.dumps(doc, separators=(",", ":")),
        })  # fmt: skip
    events.sort(key=lambda e: e["at"])
    for place, event in enumerate(events, seq - len(events) + 1):
        event["seq"] = place
    with ledger.engine.begin() as connection:
        connection.execute(EVENT.insert(), events)
        connection.execute(BODY.insert(), [{"team": team, "seq": e["seq"], "text": ""} for e in events])
        connection.execute(TICKET.insert(), tickets)
        connection.execute(HEAD.update().values(seq=seq))
