"""The ledger writer: copies the team's stream from Redis into SQL, batch by batch.

A batch is one SQL transaction that begins by moving the head from where this writer last saw it. Whoever finds it
elsewhere steps down: that, and not a lease, keeps two writers from forking the chain. Only after the commit the lines
leave Redis and the watermark tells those who wait (recorded.py).

Each batch is read from the entry of the cursor on, which is never trimmed: when it is not there, Redis was emptied or
rolled back behind SQL's back, and the coordinator must rebuild.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from shiftlead.config.clock import Clock
from shiftlead.config.settings import Settings

from .errors import LedgerHalted, Unavailable
from .keys import Keys
from .ledger import AGENT, BODY, EVENT, HEAD, IDEM, OUTCOME, TICKET, Head, Ledger, SteppedDown
from .ledger_database import Prepared, upsert
from .ledger_refused import not_recorded, quarantine
from .ledger_rows import Entry, Rows, parse, rows_of
from .recorded import stream_position

__all__ = ["LedgerBusy", "LedgerWriter", "SteppedDown", "StreamLost"]

log = logging.getLogger(__name__)

BATCH = 2_000
FIELDS = 7  # of an entry, as lua/read_ledger.lua gives it
READ = Path(__file__).with_name("lua").joinpath("read_ledger.lua").read_text("utf-8")
HALT_AT = 100  # refused lines without a single good one: then SQL is wrong, not the lines
# What one line can be guilty of. Anything else (locked, full, gone) is SQL's state, and waiting helps.
REFUSED = (IntegrityError, DataError, ValueError, KeyError, TypeError, OverflowError)


class StreamLost(RuntimeError):
    """Redis no longer continues what SQL has: it was emptied or rolled back. The team must be rebuilt from SQL."""


class LedgerBusy(Unavailable):
    """SQL cannot take a batch now (locked, full, not reachable). Nothing was acknowledged; the writer tries again."""


class LedgerWriter:
    """Writes the lines of one team in one epoch. `lag()` may be called by any thread, the rest by one.

    `before_commit` is called between reading a batch and writing it; a test may hold the writer there.
    """

    def __init__(
        self, ledger: Ledger, client: redis.Redis, keys: Keys, epoch: int, clock: Clock, settings: Settings
    ) -> None:
        self._ledger, self._keys, self._clock = ledger, keys, clock
        self._client: Any = client
        self.team, self.epoch = keys.team, epoch
        self.before_commit: Callable[[], None] = lambda: None
        self._block_s = min(1.0, settings.socket_timeout_s / 2)  # also bounds how long a stop takes
        self._longest_block_s = settings.socket_timeout_s / 2  # beyond, an idle stream looks like a dead server
        self._head: Head | None = None  # None = not known for sure: read it from SQL
        self._cursor: str | None = None
        self._published: str | None = None
        self._payload = ""  # hash of the cursor's line, where we know it
        self._read_script = client.register_script(READ)
        engine = ledger.engine
        self._statements = (
            Prepared(engine, EVENT.insert()),
            Prepared(engine, BODY.insert(), leave_out=("erased_at",)),
            Prepared(engine, _newer(upsert(engine, TICKET), ("team", "id"), fixed=("number", "created_at"))),
            Prepared(engine, _newer(upsert(engine, AGENT), ("team", "agent"))),
            Prepared(engine, upsert(engine, IDEM).on_conflict_do_nothing()),
            Prepared(engine, _newer(upsert(engine, OUTCOME), ("team", "ticket_id", "life"))),
        )

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set. Waits out faults of Redis and SQL.

        Raises:
            StreamLost, SteppedDown, LedgerHalted: see step().
        """
        pause = 0.0
        while not stop.is_set():
            try:
                self.step(self._block_s)
                pause = 0.0
            except (LedgerBusy, redis.RedisError) as error:
                pause = min(2.0, pause * 2 or 0.1)
                log.warning("team %s: the ledger cannot be written, trying again in %g s: %s", self.team, pause, error)
                stop.wait(pause)

    def step(self, block_s: float) -> int:
        """Record one batch, waiting up to `block_s` seconds for its first line; how many lines.

        Raises:
            StreamLost: the stream does not continue what SQL has: rebuild.
            SteppedDown: somebody else writes this ledger now.
            LedgerHalted: the stream contradicts SQL. A person must look; nothing was recorded.
            LedgerBusy: SQL cannot be written at the moment; call again later.
        """
        head = self._known_head()
        entries = self._read(head)
        if self._published != head.cursor:  # just started, or Redis was away after a commit
            self._publish(head, self._recorded_before(head))
        if not entries:
            block_ms = max(1, int(min(block_s, self._longest_block_s) * 1000))
            woken = self._client.xread({self._keys.ledger: head.cursor}, count=1, block=block_ms)
            if not woken:
                self._repair_watermark(head)
                return 0
            entries = self._read(head)
        if not entries:
            return 0
        self.before_commit()
        head = self._record(head, entries)
        self._payload = entries[-1].payload
        self._publish(head, entries)
        return len(entries)

    def lag(self) -> tuple[int, float]:
        """Lines not yet in SQL, and the age of the oldest of them in seconds."""
        cursor = self._cursor
        pipe = self._client.pipeline(transaction=False)
        pipe.xlen(self._keys.ledger)
        pipe.xrange(self._keys.ledger, min=f"({cursor}" if cursor else "-", count=1)
        length, oldest = pipe.execute()
        if not oldest:
            return 0, 0.0
        waiting = max(1, length - (1 if cursor else 0))
        return waiting, max(0.0, self._clock.now() - stream_position(oldest[0][0])[0] / 1000)

    # -- reading the stream ------------------------------------------------------------------------------------------

    def _known_head(self) -> Head:
        if self._head is None:
            try:
                head = self._ledger.head(self.team)
                payload = self._payload_at(head) if head else ""
            except SQLAlchemyError as error:
                raise self._busy(error) from error
            if head is None or head.epoch != self.epoch:
                raise SteppedDown(self.team, self.epoch)
            self._head, self._cursor, self._payload = head, head.cursor, payload
        return self._head

    def _payload_at(self, head: Head) -> str:
        """The hash of the cursor's line; "" when that line is in quarantine, or the epoch has none yet."""
        at_cursor = (EVENT.c.team == self.team, EVENT.c.seq == head.seq, EVENT.c.stream_id == head.cursor)
        with self._ledger.engine.connect() as connection:
            return str(connection.execute(sa.select(EVENT.c.payload_hash).where(*at_cursor)).scalar() or "")

    def _read(self, head: Head) -> list[Entry]:
        """The lines after the head, having made sure that the stream continues it."""
        try:
            answer = self._read_script(keys=[self._keys.ledger], args=[head.cursor or "-", BATCH + 1])
        except UnicodeDecodeError as error:
            raise LedgerHalted(
                f"The stream {self._keys.ledger} has a line after {head.cursor or 'its start'} that is not UTF-8 "
                f"({error}); no door of Shiftlead writes such lines. Remove it, then start the coordinator again."
            ) from error
        raw = [line.split("\x1f") for line in answer]
        if not raw:
            raise self._lost(f"the stream is empty, SQL has it up to {head.cursor or 'the start of the epoch'}")
        epoch = str(self.epoch)
        foreign = next((parts[0] for parts in raw if len(parts) == FIELDS and parts[1] != epoch), None)
        if foreign is not None:
            raise self._lost(f"the line {foreign} is not of epoch {epoch}")
        entries = [parse(parts[0], parts[1:], self.epoch) for parts in raw]
        first = entries[0]
        if not head.cursor:
            if first.ticket_id or first.move != "epoch":
                raise self._lost(f"the stream begins with {first.stream_id}, not with the first line of the epoch")
            return entries[:BATCH]
        if first.stream_id != head.cursor:
            raise self._lost(f"SQL has {head.cursor}, the stream does not: it goes on with {first.stream_id}")
        if self._payload and first.payload != self._payload:
            raise self._lost(f"the line {head.cursor} is not the one that was recorded")
        return entries[1:]

    def _lost(self, why: str) -> Exception:
        """What the break means: a new epoch in SQL is another coordinator at work, else Redis lost something."""
        try:
            head = self._ledger.head(self.team)
        except SQLAlchemyError as error:
            return self._busy(error)
        # Another epoch, or the same one further on: somebody else has written since, and trimmed what we knew.
        if head is None or head.epoch != self.epoch or head.cursor != self._cursor:
            return SteppedDown(self.team, self.epoch)
        oldest = self._client.xrange(self._keys.ledger, count=1)
        behind = oldest and head.cursor and stream_position(oldest[0][0]) > stream_position(head.cursor)
        if behind and oldest[0][1].get("e") == str(self.epoch):
            # What was recorded is trimmed from the stream: only a database that lost it can ask for it again.
            return LedgerHalted(
                f"The stream of team {self.team!r} begins after what SQL has ({head.cursor}): an older SQL "
                "database was put in place. Restore the right one; nothing was touched."
            )
        return StreamLost(f"Redis lost lines of team {self.team!r}: {why}. The queues must be rebuilt from SQL.")

    # -- writing SQL -------------------------------------------------------------------------------------------------

    def _record(self, head: Head, entries: list[Entry]) -> Head:
        self._head = None  # until we know how the transaction ended
        try:
            try:
                new = self._commit(head, entries)
            except REFUSED:
                new = self._commit_carefully(head, entries)
        except SQLAlchemyError as error:
            raise self._busy(error) from error
        self._head, self._cursor = new, new.cursor
        return new

    def _commit(self, head: Head, entries: list[Entry]) -> Head:
        """The usual way: every line is new and good."""
        rows = rows_of(head, entries)
        with self._ledger.engine.begin() as connection:
            self._move_head(connection, head.seq, rows.head)
            self._insert(connection, rows)
        return rows.head

    def _commit_carefully(self, head: Head, entries: list[Entry]) -> Head:
        """SQL refused something: leave out what it has already, put what it will not take into quarantine."""
        refused: list[tuple[Entry, str]] = []
        with self._ledger.engine.begin() as connection:
            self._move_head(connection, head.seq, head)  # takes the lock, and steps down where it is not ours
            fresh = not_recorded(connection, self.team, entries)
            new = self._insert_halves(connection, head, fresh, refused)
            if len(refused) == len(fresh) >= HALT_AT:
                raise LedgerHalted(
                    f"SQL refused all {len(refused)} lines of a batch of team {self.team!r}, the first because: "
                    f"{refused[0][1]}. That is no fault of single lines: look at the database. Nothing was recorded."
                )
            quarantine(connection, self.team, refused, self._clock.now())
            new = Head(self.team, self.epoch, new.seq, new.hash, entries[-1].stream_id)
            self._move_head(connection, head.seq, new)
        for entry, why in refused:
            log.error("team %s: line %s is in quarantine: %s", self.team, entry.stream_id, why)
        return new

    def _move_head(self, connection: sa.Connection, old_seq: int, new: Head) -> None:
        moved = connection.execute(
            HEAD.update()
            .where(HEAD.c.team == self.team, HEAD.c.epoch == self.epoch, HEAD.c.seq == old_seq)
            .values(seq=new.seq, hash=new.hash, epoch=self.epoch, cursor=new.cursor)
        )
        if moved.rowcount != 1:
            raise SteppedDown(self.team, self.epoch)

    def _insert(self, connection: sa.Connection, rows: Rows) -> None:
        values = (rows.events, rows.bodies, rows.tickets, rows.agents, rows.idempotency, rows.outcomes)
        for statement, lines in zip(self._statements, values, strict=True):
            if lines:
                statement.execute(connection, lines)

    def _insert_halves(
        self, connection: sa.Connection, head: Head, entries: list[Entry], refused: list[tuple[Entry, str]]
    ) -> Head:
        """Insert what SQL takes, in order; halve what it refuses until single lines are left."""
        if not entries:
            return head
        try:
            with connection.begin_nested():
                rows = rows_of(head, entries)
                self._insert(connection, rows)
                return rows.head
        except REFUSED as error:
            if len(entries) == 1:
                cause = getattr(error, "orig", None) or error
                refused.append((entries[0], f"{type(cause).__name__}: {cause}"))
                return head
        middle = len(entries) // 2
        head = self._insert_halves(connection, head, entries[:middle], refused)
        return self._insert_halves(connection, head, entries[middle:], refused)

    def _busy(self, error: SQLAlchemyError) -> LedgerBusy:
        cause = getattr(error, "orig", None) or error
        return LedgerBusy(
            f"SQL cannot take the lines of team {self.team!r} now: {cause}. Nothing was acknowledged; the writer "
            "goes on by itself as soon as it can (free space? another program holding the database?)."
        )

    # -- telling Redis -----------------------------------------------------------------------------------------------

    def _publish(self, head: Head, entries: list[Entry]) -> None:
        """Drop recorded lines from Redis and move the watermark.

        The order matters: the stream is trimmed after its lines are gone, so what a crash left is found again in the
        stream; and the watermark comes last and alone, so a Redis that is full is emptied all the same.
        """
        if not head.cursor:
            return
        pipe = self._client.pipeline(transaction=False)
        fields: dict[str, list[str]] = {}
        for e in entries:
            if e.ticket_id and e.seq:
                fields.setdefault(e.ticket_id, []).append(str(e.seq))
        for ticket_id, seqs in fields.items():
            pipe.hdel(self._keys.lines(ticket_id), *seqs)
        pipe.xtrim(self._keys.ledger, minid=head.cursor, approximate=False)
        self._watermark(pipe, head)
        pipe.execute()
        self._published = head.cursor

    def _watermark(self, pipe: Any, head: Head) -> None:
        mark = {"id": head.cursor, "epoch": str(self.epoch)}
        pipe.xadd(self._keys.recorded, mark, maxlen=1, approximate=False)

    def _recorded_before(self, head: Head) -> list[Entry]:
        """Lines SQL has that are still in the stream."""
        if not head.cursor:
            return []
        raw = self._client.xrange(self._keys.ledger, max=head.cursor)
        return [
            parse(stream_id, [fields.get(name, "") for name in "etsmdi"], self.epoch)
            for stream_id, fields in raw
            if fields.get("e") == str(self.epoch)
        ]

    def _repair_watermark(self, head: Head) -> None:
        """A writer of an older epoch that slept between its commit and its watermark may have written over ours."""
        newest = self._client.xrevrange(self._keys.recorded, count=1)
        if not newest or int(newest[0][1]["epoch"]) < self.epoch:
            self._watermark(self._client, head)


def _newer(insert: Any, key: tuple[str, ...], fixed: tuple[str, ...] = ()) -> Any:
    """Insert a document, or replace the one that is there by a later one. `fixed` columns never change."""
    columns = [c.name for c in insert.table.columns if c.name not in (*key, *fixed)]
    return insert.on_conflict_do_update(
        index_elements=list(key),
        set_={name: insert.excluded[name] for name in columns},
        where=insert.table.c.seq < insert.excluded["seq"],
    )
