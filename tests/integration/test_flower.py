"""The managers' view: a real Flower process on a real server."""

from __future__ import annotations

import base64
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shiftlead.config.clock import ServerClock
from shiftlead.config.redis_client import server_time
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.flower.handlers import LIMIT
from shiftlead.queues.desk import Desk
from tests.conftest import open_desk
from tests.desks import a_new_ticket, a_working_ticket

pytestmark = pytest.mark.real
XSS = '<script>alert("x")</script><img src=x onerror=alert(1)>'
START = """
import sys
from shiftlead.config.settings import get_settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.flower import run_flower
settings = get_settings()
sys.exit(run_flower(settings, [load_team("front_office", settings)]))
"""


class Flower:
    """A running Flower and how to ask it."""

    def __init__(self, port: int, login: str) -> None:
        self.port, self.login = port, login

    def get(self, path: str, *, login: str | None = None, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        given = self.login if login is None else login
        if given:
            request.add_header("Authorization", "Basic " + base64.b64encode(given.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def live_desk(valkey: redis.Redis, team: Team, settings: Settings) -> Desk:
    return open_desk(valkey, team, ServerClock(lambda: server_time(valkey)), settings)


@pytest.fixture
def flower(valkey: redis.Redis, valkey_address: str, short_folder: Path) -> Iterator[Flower]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "SHIFTLEAD_HOME": str(short_folder), "SHIFTLEAD_REDIS_URL": valkey_address, "SHIFTLEAD_FLOWER_PORT": str(port),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", START], env=env, stderr=subprocess.DEVNULL)
    try:
        asked = Flower(port, "")
        for _ in range(600):
            try:
                asked.get("/healthcheck")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "Flower ended"
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
        asked.login = (short_folder / "flower_auth").read_text().strip()
        yield asked
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_tickets_tab_shows_three_queues_behind_a_login(live_desk: Desk, flower: Flower, short_folder: Path) -> None:
    waiting = a_new_ticket(live_desk, title="Charged twice", priority="urgent")
    working = a_working_ticket(live_desk, title="Refund of order 17")

    status, page = flower.get("/tickets")

    assert status == 200
    assert waiting.number in page and working.number in page
    assert "Charged twice" in page and "Refund of order 17" in page
    assert "/tasks?name=iris_support" in page
    assert [
        page.count(f'id="count-{queue}">{n}<') for queue, n in (("active", 1), ("intake", 1), ("completed", 0))
    ] == [
        1,
        1,
        1,
    ]
    assert 'aria-current="page">Tickets' in page
    for login in ("", "shiftlead:wrong"):
        assert flower.get("/tickets", login=login)[0] == 401
        assert flower.get("/workers", login=login)[0] == 401
    assert stat.S_IMODE((short_folder / "flower_auth").stat().st_mode) == 0o600
    assert stat.S_IMODE((short_folder / "flower_cookie").stat().st_mode) == 0o600


def test_a_ticket_text_is_shown_as_text(live_desk: Desk, flower: Flower) -> None:
    """Ticket text is data: markup in any field comes out escaped."""
    a_new_ticket(live_desk, title=XSS, type=XSS)

    _, page = flower.get("/tickets")

    assert "<script>alert" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert" in page


def test_the_other_tabs_are_flowers_own_with_ours_beside_them(live_desk: Desk, flower: Flower) -> None:
    for path in ("/workers", "/tasks", "/broker"):
        status, page = flower.get(path)
        assert status == 200 and 'href="/tickets"' in page
    assert "shiftlead.front_office.iris_support" in flower.get("/broker")[1]


def test_nothing_can_be_changed_from_flower(live_desk: Desk, flower: Flower) -> None:
    status, _ = flower.get("/api/worker/shutdown/any@host", method="POST")
    assert status in (401, 403)
    assert flower.get("/api/task/send-task/shiftlead.enqueue", method="POST")[0] in (401, 403)


def test_a_long_queue_is_cut_with_a_note(live_desk: Desk, flower: Flower) -> None:
    for n in range(LIMIT + 5):
        a_new_ticket(live_desk, title=f"Ticket {n}")

    _, page = flower.get("/tickets")

    assert f"the oldest {LIMIT} of {LIMIT + 5}" in page
    assert page.count("<tr>") == LIMIT + 3 + 2  # three heads, two empty queues


def test_an_unknown_team_and_a_rebuild_are_said_plainly(valkey: redis.Redis, live_desk: Desk, flower: Flower) -> None:
    assert flower.get("/tickets?team=nobody")[0] == 404
    valkey.delete(live_desk.keys.meta)
    status, page = flower.get("/tickets")
    assert status == 503 and "being rebuilt" in page
