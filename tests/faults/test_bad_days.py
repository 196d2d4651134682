"""Bad days: each is told in a clear sentence with its documented exit code or status; nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from shiftlead.coordinator.loop import Coordinator
from shiftlead.queues.connect import Connections
from shiftlead.queues.errors import ShiftleadError, Unavailable
from shiftlead.queues.keys import INTAKE_QUEUE, celery_queue
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Draft
from tests.cluster import TEAM_FILE, Cluster, clean_environment, free_port, listens, processes_of, running_cluster
from tests.conftest import running_server

pytestmark = pytest.mark.real
CLI = [sys.executable, "-m", "shiftlead.coordinator"]
# The same commands, but with a second of patience instead of thirty.
HURRIED = """
import sys
from shiftlead.coordinator import embedded
embedded.wait_for_redis.__defaults__ = (1.0,)
from shiftlead.coordinator.__main__ import main
sys.exit(main())
"""


def shiftlead(folder: Path, *arguments: str, code: int, given: bytes | None = None, **env: str) -> str:
    """Run a command as a user does; its exit code and what it says are looked at, and there is no traceback."""
    done = subprocess.run(
        [*CLI, *arguments], env=clean_environment() | {"SHIFTLEAD_HOME": str(folder)} | env, input=given,
        capture_output=True, cwd=folder, timeout=60,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{said}"
    assert "Traceback" not in said, said
    return said


@pytest.fixture
def cluster(short_folder: Path) -> Iterator[Cluster]:
    """A server and a coordinator."""
    with running_cluster(short_folder, SHIFTLEAD_RECORD_TIMEOUT_S="0.5") as made:
        made.start("coordinator")
        made.coordinating()
        yield made


class Web:
    """A served HTTP door with an admin's key."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.port = cluster, free_port()
        cluster.env["SHIFTLEAD_PORT"] = str(self.port)
        cluster.start("web")
        cluster.wait_until(lambda: listens(self.port), what="the HTTP door")
        self.key = (cluster.folder / "admin_key").read_text().strip()

    def post(self, body: Any, *, path: str = "/v1/tickets", key: str = "", chunked: bool = False) -> Any:
        """Status, headers (small letters) and the JSON; `chunked` sends an iterable without a length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": key} if key else {}
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        try:
            # A server that refuses early closes its side: the rest cannot be sent, the answer is there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", path, raw, headers, encode_chunked=chunked)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, json.loads(answer.read())
        finally:
            connection.close()


# -- nothing answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("enqueue", "a question"), ("agents", "list"), ("cancel", "T-2026-001", "--reason", "x"), ("list",)]
)
def test_a_command_whose_server_is_not_there_says_which_setting_names_it(
    short_folder: Path, command: tuple[str, ...]
) -> None:
    """Exit code 5: trying again is safe."""
    said = shiftlead(short_folder, *command, code=5, SHIFTLEAD_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert "SHIFTLEAD_REDIS_URL" in said and "not answer" in said


def test_every_process_whose_server_is_not_there_says_so_and_ends(short_folder: Path) -> None:
    """Exit code 5, with the address and the way out."""
    address = f"redis://127.0.0.1:{free_port()}/0"
    env = clean_environment() | {"SHIFTLEAD_HOME": str(short_folder), "SHIFTLEAD_REDIS_URL": address}
    commands = (["coordinator"], ["worker", "--all"], ["intake"], ["web"], ["flower"])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HURRIED, *command], env=env, cwd=short_folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for command in commands
    ]  # fmt: skip
    for command, process in zip(commands, started, strict=True):
        said = process.communicate(timeout=40)[0]
        assert process.returncode == 5, f"{command}: {process.returncode}\n{said}"
        assert address in said and "SHIFTLEAD_REDIS_URL" in said and "shiftlead up" in said
        assert "Traceback" not in said


@pytest.mark.timeout(90)
def test_a_server_that_dies_and_comes_back_costs_no_acknowledged_ticket(short_folder: Path) -> None:
    """I1, I2, I8: `kill -9` of the server under a coordinator, a worker and posts; work goes on by itself."""
    data = short_folder / "data"
    data.mkdir()
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(data))
    cluster = Cluster(short_folder, f"unix://{short_folder}/r.sock")
    acknowledged: dict[str, str] = {}
    stop = threading.Event()

    def post() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            with contextlib.suppress(ShiftleadError, redis.RedisError):
                key = f"k{n}"
                acknowledged[key] = cluster.desk.accept(
                    Draft(body=f"quick {key}"), actor="door:test", key=key
                ).ticket.id
            stop.wait(0.03)

    poster = threading.Thread(target=post)
    try:
        with running_server(short_folder, *options):
            cluster.start("coordinator")
            cluster.coordinating()
            worker = cluster.start("worker", "--agent", "ann")
            cluster.present("ann")
            poster.start()
            cluster.wait_until(lambda: len(acknowledged) >= 15, what="tickets before the fall")
            os.kill(cluster.connections.client.info("server")["process_id"], signal.SIGKILL)
        before = len(acknowledged)
        (short_folder / "r.sock").unlink(missing_ok=True)
        with running_server(short_folder, *options):
            cluster.wait_until(lambda: len(acknowledged) >= before + 15, what="tickets after the fall")
            stop.set()
            poster.join()
            for key, ticket_id in acknowledged.items():
                done = cluster.ended(cluster.desk.find(ticket_id))
                assert (done.state, done.body) == (State.RESOLVED, f"quick {key}")
            assert [p.poll() for p in cluster.processes] == [None, None], "nobody had to be started again"
            assert worker.poll() is None
            report = cluster.wait_until(lambda: verify(cluster.connections.ledger, "crew"))
            assert report.ok, report.problems
            cluster.stop()
    finally:
        stop.set()
        cluster.stop()


# -- a place that is taken ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "setting"), [("web", "SHIFTLEAD_PORT"), ("flower", "SHIFTLEAD_FLOWER_PORT")])
def test_an_occupied_port_is_told_with_the_setting_that_changes_it(
    short_folder: Path, valkey_address: str, command: str, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = shiftlead(short_folder, command, code=2, SHIFTLEAD_REDIS_URL=valkey_address, **{setting: port})
    assert f"127.0.0.1:{port}" in said and setting in said


def test_up_finds_an_occupied_port_and_a_taken_folder_and_touches_neither(short_folder: Path) -> None:
    """Exit code 5; the one that runs goes on, and the failed start leaves nothing running."""
    home = short_folder / "home"
    shiftlead(short_folder, "team", "init", "acme", code=0)
    here = ("--team", "acme", "--home", str(home))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = shiftlead(short_folder, "up", "--no-flower", *here, code=5, SHIFTLEAD_PORT=port)
        assert f"127.0.0.1:{port}" in said and "SHIFTLEAD_PORT" in said
    _nothing_runs(home)

    quiet = ("--no-web", "--no-flower", "--json")
    try:
        pid = json.loads(shiftlead(short_folder, "up", "--detach", *here, *quiet, code=0))["pid"]
        running = set(processes_of(home))
        said = shiftlead(short_folder, "up", *here, *quiet, code=5)
        assert "up already" in said and str(pid) in said and " down " in said
        assert set(processes_of(home)) == running
        assert "stored" in shiftlead(short_folder, "enqueue", "still here?", *here, code=0)
    finally:
        shiftlead(short_folder, "down", "--home", str(home), code=0)
    _nothing_runs(home)


def _nothing_runs(home: Path) -> None:
    """A child told to end by its parent's end does so a moment later."""
    deadline = time.monotonic() + 5
    while left := processes_of(home):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


# -- the ledger cannot be written --------------------------------------------------------------------------------------


@pytest.mark.quiet
@pytest.mark.timeout(90)
def test_a_ledger_locked_by_another_program_acknowledges_nothing_and_goes_on_by_itself(cluster: Cluster) -> None:
    """I21, I1: 503 with Retry-After while it lasts, exit code 5 at the command line; the same key finds its ticket."""
    web = Web(cluster)
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    status, _, first = web.post({"body": "quick before"}, key="before")
    assert status == 201

    with contextlib.closing(sqlite3.connect(cluster.folder / "ledger.db", timeout=20)) as other:
        other.execute("BEGIN IMMEDIATE")
        for key in ("a", "a", "b"):
            status, headers, problem = web.post({"body": f"quick {key}"}, key=key)
            assert (status, problem["status"]) == (503, 503)
            assert int(headers["retry-after"]) >= 1
            assert "same" in problem["detail"] and "key" in problem["detail"].lower()
        said = shiftlead(cluster.folder, "enqueue", "quick c", "--key", "c", code=5, **cluster.env)
        assert "may be recorded" in said and "same idempotency key" in said
        with pytest.raises(Unavailable):
            cluster.desk.accept(Draft(body="quick d"), actor="door:test", key="d")
        other.rollback()

    def accepted(key: str) -> str:
        status, _, ticket = web.post({"body": f"quick {key}"}, key=key)
        return str(ticket["id"]) if status in (200, 201) else ""

    again = {key: cluster.wait_until(lambda key=key: accepted(key), what=f"{key} is taken") for key in "ab"}
    assert len({first["id"], *again.values()}) == 3, "one ticket for each key"
    for ticket_id in (first["id"], *again.values()):
        assert cluster.ended(cluster.desk.find(ticket_id)).state is State.RESOLVED
    report = verify(cluster.connections.ledger, "crew")
    assert report.ok, report.problems


@pytest.mark.timeout(60)
def test_a_full_disk_under_the_ledger_acknowledges_nothing_and_work_resumes_by_itself(short_folder: Path) -> None:
    """I21: a coordinator in this process, so that SQLite can be told that its disk is full."""
    with running_cluster(short_folder, SHIFTLEAD_RECORD_TIMEOUT_S="0.5") as cluster:
        limit = {"pages": 1_000_000}
        connections, stop = Connections(cluster.settings), threading.Event()
        connections.ledger.migrate()

        @sa.event.listens_for(connections.ledger.engine, "checkout")
        def narrow(connection: Any, *_: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={limit['pages']}")

        coordinator = Coordinator(connections, "crew", lambda rings: None)
        thread = threading.Thread(target=coordinator.run, args=(stop,))
        thread.start()
        try:
            cluster.coordinating()
            known = cluster.accept("before")
            with connections.ledger.engine.connect() as connection:
                limit["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
            text = "x" * 20_000  # no room for it in the pages there are
            for n in range(3):
                with pytest.raises(Unavailable, match=r"may be recorded|intake is closed|behind"):
                    cluster.desk.accept(Draft(body=f"{n} {text}"), actor="door:test", key=f"k{n}")
            assert connections.ledger.counts("crew") == {"intake": 1, "active": 0, "completed": 0}
            assert thread.is_alive()

            limit["pages"] = 1_000_000
            taken = [
                cluster.wait_until(lambda n=n: _taken(cluster, f"{n} {text}", f"k{n}"), what=f"k{n} is taken")
                for n in range(3)
            ]
            assert len({known.id, *taken}) == 4
            for ticket_id in taken:
                found = connections.ledger.ticket("crew", ticket_id)
                assert found is not None, "acknowledged means: it stands in SQL"
        finally:
            stop.set()
            thread.join(20)
            report = verify(connections.ledger, "crew")
            connections.close()
        assert not thread.is_alive()
        assert report.ok and report.tickets == 4, report.problems


def _taken(cluster: Cluster, body: str, key: str) -> str:
    """The id of the ticket when it is acknowledged; Unavailable is waited out by the caller."""
    return cluster.desk.accept(Draft(body=body), actor="door:test", key=key).ticket.id


# -- the server cannot be written --------------------------------------------------------------------------------------


@pytest.mark.timeout(90)
def test_a_full_server_acknowledges_nothing_and_work_resumes_by_itself(cluster: Cluster) -> None:
    """I21: maxmemory with noeviction; 503 with Retry-After and exit code 5 meanwhile, nobody has to be restarted."""
    web = Web(cluster)
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    slow = cluster.accept("slow 1")
    cluster.in_state(slow, State.WORKING)
    client = cluster.connections.client
    client.config_set("maxmemory-policy", "noeviction")

    client.config_set("maxmemory", "1")
    for key in ("a", "a", "b"):
        status, headers, problem = web.post({"body": f"quick {key}"}, key=key)
        assert (status, problem["status"]) == (503, 503), problem
        assert int(headers["retry-after"]) >= 1
    said = shiftlead(cluster.folder, "enqueue", "quick c", "--key", "c", code=5, **cluster.env)
    assert "Redis" in said and "memory" in said
    # It stays full until the coordinator has lost its lease, so the way back is walked from the start.
    cluster.wait_until(lambda: not client.get(cluster.desk.keys.leader), what="nobody leads a full server")
    client.config_set("maxmemory", "0")

    def accepted(key: str) -> str:
        status, _, ticket = web.post({"body": f"quick {key}"}, key=key)
        return str(ticket["id"]) if status in (200, 201) else ""

    again = {key: cluster.wait_until(lambda key=key: accepted(key), what=f"{key} is taken") for key in "ab"}
    assert len(set(again.values())) == 2
    for ticket_id in (slow.id, *again.values()):
        assert cluster.ended(cluster.desk.find(ticket_id)).state is State.RESOLVED
    assert [p.poll() for p in cluster.processes] == [None] * 3
    report = verify(cluster.connections.ledger, "crew")
    assert report.ok, report.problems


# -- what the user wrote is wrong --------------------------------------------------------------------------------------


def test_an_unknown_team_is_told_with_the_nearest_name(cluster: Cluster) -> None:
    """Exit code 3 at the command line and 404 over HTTP, as queues/errors.py says; nothing is stored."""
    said = shiftlead(cluster.folder, "enqueue", "hello", "--team", "crow", code=3, **_without_team(cluster))
    assert "crow" in said and "crew" in said
    for command in ("coordinator", "web", "intake", "flower"):
        assert "crew" in shiftlead(cluster.folder, command, "--team", "crow", code=3, **_without_team(cluster))
    assert "crew" in shiftlead(cluster.folder, "worker", "--all", "--team", "crow", code=3, **_without_team(cluster))
    status, _, problem = Web(cluster).post({"body": "hello"}, path="/v1/tickets?team=crow")
    assert status == 404 and "Did you mean 'crew'?" in problem["detail"]
    assert cluster.desk.store.client.zcard(cluster.desk.keys.queue("intake")) == 0


def _without_team(cluster: Cluster) -> dict[str, str]:
    return {k: v for k, v in cluster.env.items() if k != "SHIFTLEAD_TEAM"}


@pytest.mark.parametrize(
    ("told", "at"),
    [('ticket.typ == "fix"', "typ"), ("ticket.type = fix", "= fix"), ("ticket.type ==", "")],
    ids=["unknown field", "not CEL", "cut off"],
)
def test_a_wrong_rule_is_told_with_file_line_and_column_by_every_command(
    short_folder: Path, valkey_address: str, told: str, at: str
) -> None:
    """Exit code 2, before anything is started."""
    file = short_folder / "teams" / "crew" / "team.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(TEAM_FILE.replace('ticket.type == "fix"', told))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if told in text)
    column = file.read_text().splitlines()[line - 1].index(told) + 1 + (told.index(at) if at else len(told))
    env = {"SHIFTLEAD_TEAMS": str(short_folder / "teams"), "SHIFTLEAD_REDIS_URL": valkey_address}
    for command in (("team", "check", "crew"), ("coordinator", "--team", "crew"), ("up", "--team", "crew")):
        said = shiftlead(short_folder, *command, code=2, **env)
        assert f"team.yaml:{line}:{column}" in said.replace("\n", ""), said


def test_bad_lines_of_every_kind_are_told_with_their_numbers_and_the_good_ones_stored(cluster: Cluster) -> None:
    """EN-01, I17: not JSON, cut off, not UTF-8, NUL, a lone surrogate, 1,000 levels, NaN, too large; exit code 2."""
    lines = [
        b'{"body": "one"}', b"not json", b'{"body": "cut', b'{"body": "\xff"}', rb'{"body": "a\u0000b"}',
        rb'{"body": "\ud800"}', b'{"context": ' + b'{"a":' * 1000 + b"1" + b"}" * 1001, b'{"context": {"a": NaN}}',
        b'{"body": "' + b"x" * 300_000 + b'"}', b'["a list"]', b'{"body": "two"}',
    ]  # fmt: skip
    said = shiftlead(cluster.folder, "enqueue", "-", code=2, given=b"\n".join(lines), **cluster.env)
    told = [int(line.split(":")[1]) for line in said.splitlines() if line.startswith("<stdin>:")]
    assert told == list(range(2, 11)), said
    assert "2 stored" in said and "9 bad" in said
    assert cluster.desk.store.client.zcard(cluster.desk.keys.queue("intake")) == 2


def test_poison_over_http_is_refused_before_anybody_works_on_it(cluster: Cluster) -> None:
    """I17: 10 MB with a length and without one, NUL, a lone surrogate, 1,000 levels; the door and its work go on."""
    web = Web(cluster)
    huge = b'{"body": "' + b"x" * 10_000_000 + b'"}'
    status, _, problem = web.post(huge)
    assert (status, problem["status"]) == (413, 413) and "262,144" in problem["detail"]
    chunks = (huge[start : start + 65_536] for start in range(0, len(huge), 65_536))
    status, _, problem = web.post(chunks, chunked=True)
    assert (status, problem["status"]) == (413, 413)

    deep = b'{"body": "x", "context": ' + b'{"a":' * 1000 + b"1" + b"}" * 1001
    for raw, word in (
        (rb'{"body": "a\u0000b"}', "NUL"), (rb'{"body": "\ud800"}', "surrogate"), (b'{"body": "\xff"}', "UTF-8"),
        (deep, "deep"), (b"[" * 100_000, "deep"), (b'{"context": {"a": NaN}}', "NaN"), (b'{"body": ', "line 1"),
    ):  # fmt: skip
        status, _, problem = web.post(raw)
        assert 400 <= status < 500 and status == problem["status"], problem
        assert word in problem["detail"], problem
        assert "Nothing was" in problem["detail"] or word == "deep", problem
    client = cluster.desk.store.client
    assert client.zcard(cluster.desk.keys.queue("intake")) == 0
    status, _, ticket = web.post({"body": "a good one"})
    assert status == 201 and ticket["number"].endswith("-001"), "no number was spent on what was refused"


# -- the broker is emptied ---------------------------------------------------------------------------------------------


def test_a_broker_purged_again_and_again_stops_no_work(cluster: Cluster) -> None:
    """I12: rings are taken away before the worker hears them; the sweep rings again, each ticket is done once."""
    cluster.start("worker", "--agent", "ann")
    client, queue = cluster.connections.client, celery_queue("crew", "ann")
    for round_ in range(3):
        cluster.present("ann")
        busy = [cluster.accept(f"slow 0.3 {round_} {n}") for n in range(2)]
        deaf = cluster.worker_pid("ann")
        os.kill(deaf, signal.SIGSTOP)
        try:
            tickets = [cluster.accept(f"quick {round_} {n}") for n in range(4)]
            cluster.wait_until(lambda: client.llen(queue), what="rings wait in the broker")
            client.delete(queue, INTAKE_QUEUE, "unacked", "unacked_index", "unacked_mutex")
        finally:
            os.kill(deaf, signal.SIGCONT)
        for ticket in (*busy, *tickets):
            assert cluster.ended(ticket).state is State.RESOLVED
            assert cluster.moves(ticket).count("resolve") == len(cluster.runs(ticket)) == 1
