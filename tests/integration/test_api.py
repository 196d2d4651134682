"""The HTTP door on a real server: races, waiting, a ledger that does not confirm, a Redis that hangs."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient

from shiftlead.config.clock import ServerClock
from shiftlead.config.redis_client import make_client, server_time
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.api.app import create_app, run_web
from shiftlead.coordinator.api.auth import create_key
from shiftlead.queues import moves
from shiftlead.queues.desk import Desk
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line

pytestmark = pytest.mark.real
TEAM = "front_office"


@dataclass
class Connected:
    """The connections of a test."""

    settings: Settings
    client: redis.Redis
    ledger: Ledger
    desks: dict[str, Desk] = field(default_factory=dict)

    def desk(self, name: str) -> Desk:
        return self.desks[name]


class NeverRecorded:
    """A ledger whose writer does not run."""

    def wait(self, stream_id: str, timeout_s: float, epoch: int) -> bool:
        threading.Event().wait(timeout_s)
        return False


@pytest.fixture
def connected(valkey: redis.Redis, valkey_address: str, short_folder: Path) -> Iterator[Connected]:
    made = _connected(short_folder, valkey_address, acknowledge="redis")
    yield made
    made.client.close()
    made.ledger.close()


def _connected(folder: Path, address: str, **values: Any) -> Connected:
    settings = Settings(home=folder, redis_url=address, socket_timeout_s=2.0, **values)
    client = make_client(address, settings)
    ledger = Ledger(settings.database_address)
    ledger.migrate()
    clock = ServerClock(lambda: server_time(client))
    team = load_team(TEAM, settings)
    desk = Desk(client, team, clock=clock, settings=settings, ledger=ledger, recorded=NeverRecorded())
    desk.store.open_epoch(1, Line(ticket="", move="epoch", actor="coordinator", at=clock.now()))
    return Connected(settings, client, ledger, {TEAM: desk})


def _headers(connected: Connected, *scopes: str, agent: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {create_key(connected.ledger, TEAM, 'test', scopes, agent)}"}


def test_fifty_threads_with_one_key_make_one_ticket(connected: Connected) -> None:
    """I13, EN-02: one is told `created`, all get the same ticket; one line stands in the stream."""
    headers = _headers(connected, "enqueue") | {"Idempotency-Key": "the-same"}
    gate = threading.Barrier(50)

    with TestClient(create_app(connected, [TEAM])) as http, ThreadPoolExecutor(50) as threads:  # type: ignore[arg-type]

        def post(_: int) -> Any:
            gate.wait(20)
            return http.post("/v1/tickets", json={"title": "once"}, headers=headers)

        answers = list(threads.map(post, range(50)))

    assert sorted(a.status_code for a in answers) == [200] * 49 + [201]
    assert len({a.json()["id"] for a in answers}) == 1
    keys = connected.desks[TEAM].keys
    assert connected.client.zcard(keys.queue("intake")) == 1
    assert sum('"move":"accept"' in fields["m"] for _, fields in connected.client.xrange(keys.ledger)) == 1


def test_a_ticket_the_ledger_does_not_confirm_is_not_acknowledged(
    valkey: redis.Redis, valkey_address: str, short_folder: Path
) -> None:
    """I1, I21: 503 with Retry-After, at most `record_timeout_s` later, and the same again for the same key."""
    connected = _connected(short_folder, valkey_address, acknowledge="sql", record_timeout_s=0.3)
    headers = _headers(connected, "enqueue") | {"Idempotency-Key": "k"}
    with TestClient(create_app(connected, [TEAM])) as http:  # type: ignore[arg-type]
        for _ in range(2):
            began = time.monotonic()
            answer = http.post("/v1/tickets", json={"title": "x"}, headers=headers)
            took = time.monotonic() - began

            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:shiftlead:not-recorded"
            assert int(answer.headers["Retry-After"]) >= 1
            assert 0.3 <= took < 3.0
    assert valkey.zcard(connected.desks[TEAM].keys.queue("intake")) == 1
    connected.client.close()
    connected.ledger.close()


def test_a_waiting_agent_gets_its_ticket_when_it_is_assigned(connected: Connected) -> None:
    """EN-04, EN-14: it counts as present while it waits, and is woken, not told to ask again."""
    desk = connected.desks[TEAM]
    iris = _headers(connected, "work", agent="iris_support")
    with TestClient(create_app(connected, [TEAM])) as http, ThreadPoolExecutor(1) as threads:  # type: ignore[arg-type]
        waiting = threads.submit(http.post, "/v1/agents/iris_support/next?wait_s=20", headers=iris)
        _until(lambda: connected.client.zcard(desk.keys.presence) == 1)
        _until(lambda: any(t.name == "shiftlead-waiting" for t in threading.enumerate()))
        number = http.post("/v1/tickets", json={"title": "x"}, headers=_headers(connected, "enqueue")).json()["number"]
        ticket, now = desk.find(number), desk.clock.now()
        triaged = moves.triage(ticket, state=State.READY, reasons=["t"], actor="coordinator", now=now, epoch=1)
        desk.store.commit(1, [[triaged]], bell=False)
        given = moves.assign(
            triaged.after, "iris_support", reasons=["t"], capacity=4, claim_by=now + 10, now=now, epoch=1
        )
        desk.store.commit(1, [[given]], bell=False)
        assigned_at = time.monotonic()
        answer = waiting.result(20)

        assert time.monotonic() - assigned_at < connected.settings.presence_ttl_s / 2  # woken before its own next look
        assert answer.status_code == 200 and answer.json()["ticket"]["id"] == ticket.id
        assert desk.find(number).state is State.WORKING
        assert http.post("/v1/agents/iris_support/next?wait_s=0.2", headers=iris).status_code == 204


def test_a_redis_that_hangs_means_503_within_three_seconds(short_folder: Path) -> None:
    """The bar for a half-open network: the caller is told to retry, and afterwards all is well again."""
    from tests.conftest import running_server

    with running_server(short_folder) as address:
        connected = _connected(short_folder, address, acknowledge="redis")
        headers = _headers(connected, "enqueue") | {"Idempotency-Key": "k"}
        pid = int(connected.client.info("server")["process_id"])
        with TestClient(create_app(connected, [TEAM])) as http:  # type: ignore[arg-type]
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                answer = http.post("/v1/tickets", json={"title": "x"}, headers=headers)
                took = time.monotonic() - began
            finally:
                os.kill(pid, signal.SIGCONT)

            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert took < 3.0
            assert http.post("/v1/tickets", json={"title": "x"}, headers=headers).status_code in (200, 201)
        connected.client.close()
        connected.ledger.close()


def test_the_door_does_not_start_where_it_must_not_or_cannot(
    short_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Security: no key, no other host; and an occupied port is said in words."""
    pytest.importorskip("shiftlead.queues.recorded")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(home=short_folder, host="0.0.0.0", port=port)
        settings.data.mkdir(parents=True, exist_ok=True)

        assert run_web(settings, [TEAM]) == 2
        assert "no API key" in capsys.readouterr().err
        assert not (settings.data / "admin_key").exists()

        assert run_web(settings.model_copy(update={"host": "127.0.0.1"}), [TEAM]) == 2
        said = capsys.readouterr()
        assert "SHIFTLEAD_PORT" in said.err and str(port) in said.err
        assert "admin_key" in said.out
        assert (settings.data / "admin_key").read_text().strip() not in said.out  # it is no terminal: it is a log


def _until(true: Any, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.01)
