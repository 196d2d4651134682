"""Refusals are counted by reason and day, at every door, once each, in bounded memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from fastapi.testclient import TestClient

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.api.app import create_app
from shiftlead.coordinator.api.auth import create_key
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, KeyReused, Refused, StaleToken, TooLarge
from shiftlead.queues.intake import make_intake
from shiftlead.queues.keys import Keys
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.refusals import REASONS, RefusalCounter, RefusalMover, reason_of, recent_refusals
from shiftlead.queues.ticket import Line

TEAM, OTHER_TEAM = "front_office", "back_office"
KEYS = Keys(TEAM)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings.database_address)
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def counter(any_redis: Any) -> Iterator[RefusalCounter]:
    any_redis.hset(KEYS.meta, "epoch", "1")
    counter = RefusalCounter(any_redis, KEYS, flush_s=60.0)
    yield counter
    counter.close()


def by_reason(ledger: Ledger, client: Any = None, team: str = TEAM) -> dict[str, int]:
    total: Counter[str] = Counter()
    for (_, reason), n in recent_refusals(ledger, team, 1, client=client).items():
        total[reason] += n
    return dict(total)


# -- from a process to Redis ------------------------------------------------------------------------------------------


def test_counts_of_many_threads_reach_redis_whole(counter: RefusalCounter, any_redis: Any, ledger: Ledger) -> None:
    """EN-15, I4"""
    many = [threading.Thread(target=lambda: [counter.count("stale_token") for _ in range(500)]) for _ in range(8)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    counter.close()

    assert by_reason(ledger, any_redis) == {"stale_token": 4000}


def test_reasons_are_a_fixed_set_so_nobody_fills_memory_by_being_refused(
    counter: RefusalCounter, any_redis: Any, ledger: Ledger
) -> None:
    """I22, I17: a hundred thousand inventions are one field."""
    for n in range(100_000):
        counter.count(f"reason {n}")
    assert len(counter._counts) <= 2, "one reason, and midnight may pass"
    counter.close()

    assert by_reason(ledger, any_redis) == {"other": 100_000}
    assert any_redis.hlen(KEYS.refused) <= 2


def test_an_error_counts_once_however_many_doors_it_passes(
    counter: RefusalCounter, any_redis: Any, ledger: Ledger
) -> None:
    """I4"""
    error = StaleToken("T-2026-001", 7, "working", "felix_ceo")
    counter.error(error)
    counter.error(error)
    counter.flush()

    assert by_reason(ledger, any_redis) == {"stale_token": 1}


def test_every_error_has_a_reason_of_the_set() -> None:
    """EN-15: the nearest of its classes says which."""
    assert reason_of(TooLarge("x")) == "too_large"
    assert reason_of(BadInput("x")) == "bad_input"
    assert reason_of(Refused("x")) == "refused"
    assert reason_of(KeyReused("k", "T-2026-001")) == "key_reused"
    assert reason_of(RuntimeError("x")) == "other" in REASONS


def test_counts_are_kept_while_redis_does_not_answer(
    counter: RefusalCounter, any_redis: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-15"""
    counter.count("forbidden")

    def away(**_: Any) -> Any:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patched:
        patched.setattr(counter._client, "pipeline", away)
        assert counter.flush() is False
    assert counter.flush() is True

    assert by_reason(ledger, any_redis) == {"forbidden": 1}


def test_a_thread_writes_them_by_itself_and_ends(any_redis: Any) -> None:
    """EN-15: within seconds, without anybody asking."""
    counter = RefusalCounter(any_redis, KEYS, flush_s=0.01)
    counter.count("forbidden")
    if (thread := counter._thread) is not None:
        thread.join(10)

    assert list(any_redis.hgetall(KEYS.refused).values()) == ["1"]


# -- from Redis to SQL ------------------------------------------------------------------------------------------------


def test_the_coordinator_moves_them_to_sql(counter: RefusalCounter, any_redis: Any, ledger: Ledger) -> None:
    """EN-15"""
    mover = RefusalMover(any_redis, KEYS, ledger)
    for round_ in (1, 2):
        counter.count("stale_token")
        counter.flush()
        assert by_reason(ledger, any_redis) == {"stale_token": round_}, "seen before it is moved"
        assert mover.move() == 1
        assert by_reason(ledger) == by_reason(ledger, any_redis) == {"stale_token": round_}
    assert mover.move() == 0
    assert not any_redis.exists(KEYS.refused, KEYS("refused:taken"))


@pytest.mark.parametrize("ends", ["before SQL", "after SQL"])
def test_a_coordinator_that_dies_on_the_way_loses_and_doubles_nothing(
    counter: RefusalCounter, any_redis: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """EN-15, I15: the batch has a number, and SQL knows which it has."""
    counter.count("stale_token")
    counter.flush()
    dying, following = RefusalMover(any_redis, KEYS, ledger), RefusalMover(any_redis, KEYS, ledger)

    def dies(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        if ends == "before SQL":
            patched.setattr(ledger, "count_refusals", dies)
        else:
            patched.setattr(dying, "_drop", dies)
        dying.move()
    counter.count("stale_token")
    counter.flush()

    assert by_reason(ledger, any_redis) == {"stale_token": 2}
    while following.move() or any_redis.exists(KEYS.refused, KEYS("refused:taken")):
        pass
    assert by_reason(ledger) == {"stale_token": 2}


def test_one_that_slept_past_its_turn_adds_nothing_twice(
    counter: RefusalCounter, any_redis: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-15, I15: two coordinators; one takes a batch and sleeps, the other moves it and the next one."""
    slow, fast = RefusalMover(any_redis, KEYS, ledger), RefusalMover(any_redis, KEYS, ledger)
    counter.count("stale_token")
    counter.flush()
    add = ledger.count_refusals

    def sleeps(*args: Any, **named: Any) -> bool:
        monkeypatch.setattr(ledger, "count_refusals", add)
        assert fast.move() == 1
        counter.count("forbidden")
        counter.flush()
        assert fast.move() == 1
        counter.count("too_large")
        counter.flush()
        fast._take(keys=[KEYS.tag])  # and has put the next one aside
        return add(*args, **named)

    monkeypatch.setattr(ledger, "count_refusals", sleeps)
    assert slow.move() == 0

    assert fast.move() == 1, "what the fast one put aside is still there"
    assert by_reason(ledger) == {"stale_token": 1, "forbidden": 1, "too_large": 1}


def test_batches_go_on_counting_after_redis_was_lost(counter: RefusalCounter, any_redis: Any, ledger: Ledger) -> None:
    """EN-15, I8: the numbers begin anew, in a higher epoch."""
    mover = RefusalMover(any_redis, KEYS, ledger)
    for _ in range(3):
        counter.count("forbidden")
        counter.flush()
        mover.move()
    any_redis.flushall()
    any_redis.hset(KEYS.meta, "epoch", "2")
    counter.count("forbidden")
    counter.flush()

    assert mover.move() == 1
    assert by_reason(ledger) == {"forbidden": 4}


# -- at the doors -----------------------------------------------------------------------------------------------------


@dataclass
class Connected:
    """The connections of a test."""

    settings: Settings
    client: Any
    ledger: Ledger
    desks: dict[str, Desk] = field(default_factory=dict)

    def desk(self, name: str) -> Desk:
        return self.desks[name]


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[Connected]:
    settings = Settings(home=tmp_path, acknowledge="redis", max_ticket_bytes=2_000)
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    ledger, clock = Ledger(settings.database_address), ManualClock()
    ledger.migrate()
    made = Connected(settings, client, ledger)
    for name in (TEAM, OTHER_TEAM):
        team = load_team(TEAM, settings).model_copy(update={"team": name})
        made.desks[name] = Desk(client, team, clock=clock, settings=settings, ledger=ledger)
        line = Line(ticket="", move="epoch", actor="coordinator", at=clock.now())
        made.desks[name].store.open_epoch(1, line)
    yield made
    ledger.close()


@pytest.fixture
def http(connected: Connected) -> Iterator[TestClient]:
    with TestClient(create_app(connected, [TEAM, OTHER_TEAM])) as client:  # type: ignore[arg-type]
        yield client


def key(connected: Connected, *scopes: str, team: str = TEAM, agent: str | None = None) -> dict[str, str]:
    secret = create_key(connected.ledger, team, f"{team} {agent or scopes}", scopes, agent)
    return {"Authorization": f"Bearer {secret}"}


def test_every_refusal_of_the_http_door_is_counted_by_its_reason(http: TestClient, connected: Connected) -> None:
    """EN-15, I4, I16"""
    sender, reader = key(connected, "enqueue"), key(connected, "read")
    admin = key(connected, "admin")
    once = sender | {"Idempotency-Key": "order-17"}
    worker = key(connected, "work", agent="iris_support")
    assert http.post("/v1/tickets", json={"title": "a"}, headers=once).status_code == 201
    refused = [
        (http.get("/v1/tickets"), 401, "unauthenticated"),
        (http.post("/v1/tickets", json={"title": "a"}, headers=reader), 403, "forbidden"),
        (http.post("/v1/tickets", json={"titel": "a"}, headers=sender), 422, "bad_input"),
        (http.post("/v1/tickets", json={"body": "a" * 3_000}, headers=sender), 413, "too_large"),
        (http.post("/v1/tickets", json={"title": "b"}, headers=once), 422, "key_reused"),
        (http.get("/v1/tickets/T-2020-001", headers=reader), 404, "not_found"),
        (http.get("/nowhere", headers=reader), 404, "no_such_address"),
        (http.get("/v1/tickets?limit=0", headers=reader), 422, "bad_input"),
        (http.post("/v1/agents/felix_ceo/next", headers=worker), 403, "forbidden"),
    ]
    for answer, status, _ in refused:
        assert answer.status_code == status, answer.text

    http.app.state.refusals.close()  # type: ignore[attr-defined]

    expected = Counter(reason for _, _, reason in refused)
    assert by_reason(connected.ledger, connected.client) == expected
    shown = http.get("/v1/refusals", headers=admin).json()["refusals"]
    assert {row["reason"]: row["count"] for row in shown} == expected
    assert http.get("/v1/refusals", headers=reader).status_code == 403


def test_each_refused_ticket_of_a_batch_is_counted(http: TestClient, connected: Connected) -> None:
    """EN-15"""
    drafts = [{"title": "good"}, {"titel": "bad"}, {"title": "good"}, {"type": "approval"}]
    answer = http.post("/v1/tickets/batch", json=drafts, headers=key(connected, "enqueue")).json()
    assert (answer["accepted"], answer["refused"]) == (2, 2)
    http.app.state.refusals.close()  # type: ignore[attr-defined]

    assert by_reason(connected.ledger, connected.client) == {"bad_input": 2}


def test_a_team_sees_only_the_refusals_of_its_own_keys(http: TestClient, connected: Connected) -> None:
    """I16: whatever team the address names."""
    theirs = key(connected, "read", team=OTHER_TEAM)
    everywhere = key(connected, "admin", team="*")
    assert http.get("/v1/tickets/T-2020-001", headers=theirs).status_code == 404
    assert http.get(f"/v1/tickets/T-2020-001?team={TEAM}", headers=theirs).status_code == 404
    assert http.get(f"/v1/tickets/T-2020-001?team={OTHER_TEAM}", headers=everywhere).status_code == 404
    assert http.get(f"/v1/tickets?team={OTHER_TEAM}").status_code == 401
    http.app.state.refusals.close()  # type: ignore[attr-defined]

    assert by_reason(connected.ledger, connected.client, OTHER_TEAM) == {"not_found": 3}
    assert by_reason(connected.ledger, connected.client) == {"unauthenticated": 1}


def test_a_full_intake_answers_429_and_only_counts(http: TestClient, connected: Connected) -> None:
    """I22: nothing is stored of what is refused, neither here nor in Redis."""
    sender, keys = key(connected, "enqueue"), connected.desks[TEAM].keys
    connected.client.hset(keys.meta, "closed", "the ledger is 60,000 lines behind")
    assert http.post("/v1/tickets", json={"title": "x"}, headers=sender).headers["Retry-After"] == "5"
    before = connected.client.dbsize()

    for n in range(300):
        answer = http.post("/v1/tickets", json={"title": f"ticket {n}"}, headers=sender)
        assert answer.status_code == 429 and answer.headers["Retry-After"] == "5"
    http.app.state.refusals.close()  # type: ignore[attr-defined]

    assert by_reason(connected.ledger, connected.client) == {"intake_full": 301}
    assert connected.client.dbsize() <= before + 1, "one hash of counts"


def test_erasing_over_http_wants_an_admin_who_is_a_person(http: TestClient, connected: Connected) -> None:
    """EN-15, I16"""
    admin, body = key(connected, "admin"), {"reason": "the customer asked for it"}
    number = http.post("/v1/tickets", json={"title": "x"}, headers=key(connected, "enqueue")).json()["number"]
    path = f"/v1/tickets/{number}/erase"

    assert http.post(path, json=body, headers=key(connected, "approve", "read", "enqueue")).status_code == 403
    assert http.post(path, json={}, headers=admin).status_code == 422
    open_ = http.post(path, json=body, headers=admin)
    assert open_.status_code == 409 and "Cancel" in open_.json()["detail"]
    assert http.post("/v1/tickets/T-2020-001/erase", json=body, headers=admin).status_code == 404


def test_the_celery_door_counts_what_it_refuses(connected: Connected) -> None:
    """EN-15, I22: by what it was refused for, though senders get Python's own errors."""
    counters = {name: RefusalCounter(connected.client, desk.keys) for name, desk in connected.desks.items()}
    teams = [desk.team for desk in connected.desks.values()]
    app = make_intake(connected.settings, teams, connected, counters)  # type: ignore[arg-type]
    task = app.tasks["shiftlead.enqueue"]
    calls = [
        ({"titel": "x"}, {}), ({"body": "a" * 3_000}, {}), ("no ticket", {}), ({"title": "x"}, {"team": "nobody"}),
        ({"titel": "x"}, {"team": OTHER_TEAM}),
    ]  # fmt: skip
    for draft, named in calls:
        with pytest.raises(ValueError):
            task(draft, key="k", **named)
    for counter in counters.values():
        counter.close()

    assert by_reason(connected.ledger, connected.client) == {"bad_input": 3, "too_large": 1}
    assert by_reason(connected.ledger, connected.client, OTHER_TEAM) == {"bad_input": 1}
