"""The ledger in SQL: opening it, and reading what happened. Writing lines is ledger_writer.py's.

SQLite by default (WAL, synchronous=FULL, file mode 0600), PostgreSQL by URL. Reads are made by any process; an
instance may be shared between threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from .agent_state import AgentState
from .ledger_database import migrate, open_engine
from .ledger_erase import erase_texts
from .ledger_refusals import RefusalLedger
from .ledger_tables import METADATA
from .lifecycle import Queue
from .ticket import Line, Ticket

__all__ = ["FIRST_HASH", "ApiKey", "Head", "Ledger", "SteppedDown"]

FIRST_HASH = "0" * 64
CHUNK = 1_000

T = METADATA.tables
HEAD, EVENT, BODY, TICKET = T["ledger_head"], T["event"], T["event_body"], T["ticket"]
AGENT, IDEM, KEY, OUTCOME = T["agent_state"], T["idempotency"], T["api_key"], T["outcome"]

# A note has a line but no document, so the last line of a ticket may be later than its last document.
LAST_SEQ = sa.func.coalesce(
    sa.select(sa.func.max(EVENT.c.ticket_seq))
    .where(EVENT.c.team == TICKET.c.team, EVENT.c.ticket_id == TICKET.c.id)
    .scalar_subquery(),
    TICKET.c.seq,
)


class SteppedDown(RuntimeError):
    """Somebody else writes this team's ledger now. Stop writing; nothing of ours was recorded."""

    def __init__(self, team: str, epoch: int | None) -> None:
        super().__init__(
            f"The ledger of team {team!r} is no longer in epoch {epoch}: another coordinator took over. This one "
            "stops writing; nothing was recorded. It may stand by and take over again when the lease is free."
        )
        self.team, self.epoch = team, epoch


@dataclass(frozen=True, slots=True)
class Head:
    """Where a team's ledger stands: `seq` lines, the last one's `hash`, recorded up to stream id `cursor`."""

    team: str
    epoch: int
    seq: int
    hash: str
    cursor: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a key may do. `agent` is set when it speaks for one agent only."""

    team: str
    hash: str
    name: str
    scopes: list[str]
    agent: str | None
    created_at: float
    revoked_at: float | None


class Ledger(RefusalLedger):
    """One database with the ledgers of any number of teams."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Open `url`. With `read_only` nothing is created or written: for a data folder whose processes are stopped.

        The tables must be there: call `migrate()` first, once per start.
        """
        self.url, self.read_only = url, read_only
        self.engine = open_engine(url, read_only=read_only)

    def migrate(self) -> None:
        """Create or upgrade the tables. Any number of processes may do this at once.

        Raises:
            LedgerHalted: the database was written by a newer Shiftlead.
        """
        migrate(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    # -- head and epochs ---------------------------------------------------------------------------------------------

    def head(self, team: str) -> Head | None:
        """Where the team's ledger stands; None before its first epoch."""
        with self.engine.connect() as connection:
            return self._head(connection, team)

    def begin_epoch(self, team: str, expected_epoch: int | None) -> Head:
        """Open the next epoch and fence every older writer. `expected_epoch` None = there is none yet.

        Raises:
            SteppedDown: another coordinator was faster.
        """
        with self.engine.begin() as connection:
            if expected_epoch is None:
                try:
                    connection.execute(HEAD.insert().values(team=team, epoch=1, seq=0, hash=FIRST_HASH, cursor=""))
                except IntegrityError:
                    raise SteppedDown(team, None) from None
            else:
                changed = connection.execute(
                    HEAD.update()
                    .where(HEAD.c.team == team, HEAD.c.epoch == expected_epoch)
                    .values(epoch=HEAD.c.epoch + 1, cursor="")
                )
                if changed.rowcount != 1:
                    raise SteppedDown(team, expected_epoch)
            head = self._head(connection, team)
        if head is None:
            raise SteppedDown(team, expected_epoch)
        return head

    def _head(self, connection: sa.Connection, team: str) -> Head | None:
        row = connection.execute(HEAD.select().where(HEAD.c.team == team)).one_or_none()
        return Head(*row) if row else None

    # -- lines -------------------------------------------------------------------------------------------------------

    def lines(self, team: str, ticket_id: str) -> list[Line]:
        """Every recorded line of a ticket (or `@<agent>`), oldest first. Erased ones have no reason and no detail."""
        return self.lines_of(team, [ticket_id])[ticket_id]

    def lines_of(self, team: str, ids: Iterable[str]) -> dict[str, list[Line]]:
        """The lines of several tickets; every id asked for is in the answer."""
        found: dict[str, list[Line]] = {ticket_id: [] for ticket_id in ids}
        asked = list(found)
        with self.engine.connect() as connection:
            for start in range(0, len(asked), 500):
                chosen = EVENT.c.ticket_id.in_(asked[start : start + 500])
                for row in connection.execute(
                    _lines(team).where(chosen).order_by(EVENT.c.ticket_id, EVENT.c.ticket_seq)
                ):
                    found[row.ticket_id].append(_line(row))
        return found

    def events(
        self, team: str, limit: int = 50, *, after: int | None = None, ticket_id: str | None = None
    ) -> list[tuple[int, Line]]:
        """Lines with their place in the team's ledger.

        Without `after` the newest `limit`, newest first; with it those that followed, oldest first, so that a reader
        who goes on from the last one misses nothing.
        """
        query = _lines(team).limit(limit)
        query = query.order_by(EVENT.c.seq.desc()) if after is None else query.order_by(EVENT.c.seq)
        if after is not None:
            query = query.where(EVENT.c.seq > after)
        if ticket_id is not None:
            query = query.where(EVENT.c.ticket_id == ticket_id)
        with self.engine.connect() as connection:
            return [(row.seq, _line(row)) for row in connection.execute(query)]

    def erase(self, team: str, ticket_id: str, *, at: float) -> int:
        """Erase the texts of a ticket's recorded lines; how many. See ledger_erase.py."""
        return erase_texts(self.engine, team, [ticket_id], at=at).lines

    # -- tickets -----------------------------------------------------------------------------------------------------

    def ticket(self, team: str, id_or_number: str) -> tuple[Ticket, int] | None:
        """The last recorded document of a ticket, and the highest seq of its recorded lines."""
        named = sa.or_(TICKET.c.id == id_or_number, TICKET.c.number == id_or_number)
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(TICKET.c.doc, LAST_SEQ).where(TICKET.c.team == team, named)).first()
        return (Ticket.model_validate_json(row[0]), row[1]) if row else None

    def tickets(
        self, team: str, queue: str | None = None, state: str | None = None, agent: str | None = None,
        limit: int = 50, after: str | None = None,
    ) -> list[Ticket]:  # fmt: skip
        """The newest tickets that match, newest first; `after` = the id of the last one of the page before."""
        query = sa.select(TICKET.c.doc).where(TICKET.c.team == team).order_by(TICKET.c.id.desc()).limit(limit)
        for column, wanted in ((TICKET.c.queue, queue), (TICKET.c.state, state), (TICKET.c.assigned_to, agent)):
            if wanted is not None:
                query = query.where(column == str(wanted))
        if after is not None:
            query = query.where(TICKET.c.id < after)
        return self._tickets(query)

    def documents(self, team: str, ids: Sequence[str]) -> dict[str, Ticket]:
        """The last recorded documents of those tickets that have one, by id."""
        found: dict[str, Ticket] = {}
        query = sa.select(TICKET.c.id, TICKET.c.doc).where(TICKET.c.team == team)
        with self.engine.connect() as connection:
            for start in range(0, len(ids), 500):
                rows = connection.execute(query.where(TICKET.c.id.in_(ids[start : start + 500])))
                found |= {ticket_id: Ticket.model_validate_json(doc) for ticket_id, doc in rows}
        return found

    def recent_completed(
        self, team: str, limit: int, *, after: Ticket | None = None, state: str | None = None
    ) -> list[tuple[Ticket, int]]:
        """Completed tickets, the last one closed first, each with the highest seq of its recorded lines.

        `after`: the last one of the page before.
        """
        closed = TICKET.c.closed_at
        query = sa.select(TICKET.c.doc, LAST_SEQ).where(
            TICKET.c.team == team, closed.is_not(None), TICKET.c.queue == str(Queue.COMPLETED)
        )
        if after is not None:
            at = after.closed_at
            query = query.where(closed <= at, sa.or_(closed < at, TICKET.c.id < after.id))
        if state is not None:
            query = query.where(TICKET.c.state == state)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(closed.desc(), TICKET.c.id.desc()).limit(limit))
            return [(Ticket.model_validate_json(doc), seq) for doc, seq in rows]

    def completed_after(self, team: str, closed_at: float, ticket_id: str, limit: int) -> list[Ticket]:
        """Completed tickets, the first one closed first, that follow the one closed then."""
        closed = TICKET.c.closed_at
        query = sa.select(TICKET.c.doc).where(
            TICKET.c.team == team, TICKET.c.queue == str(Queue.COMPLETED), closed >= closed_at,
            sa.or_(closed > closed_at, TICKET.c.id > ticket_id),
        )  # fmt: skip
        return self._tickets(query.order_by(closed, TICKET.c.id).limit(limit))

    def open_tickets(self, team: str) -> Iterator[list[tuple[Ticket, int]]]:
        """Every ticket in intake and active, in chunks of 1,000, each with the highest seq of its recorded lines.

        The seq counts notes too: the next line of the ticket gets the number after it.
        """
        query = sa.select(TICKET.c.id, TICKET.c.doc, LAST_SEQ)
        for queue in (Queue.INTAKE, Queue.ACTIVE):
            seen = ""
            while True:
                page = query.where(TICKET.c.team == team, TICKET.c.queue == str(queue), TICKET.c.id > seen)
                with self.engine.connect() as connection:
                    rows = connection.execute(page.order_by(TICKET.c.id).limit(CHUNK)).all()
                if rows:
                    yield [(Ticket.model_validate_json(doc), seq) for _, doc, seq in rows]
                    seen = rows[-1].id
                if len(rows) < CHUNK:
                    break

    def counts(self, team: str) -> dict[str, int]:
        """How many recorded tickets each queue has; every queue is named."""
        query = sa.select(TICKET.c.queue, sa.func.count()).where(TICKET.c.team == team).group_by(TICKET.c.queue)
        with self.engine.connect() as connection:
            return {str(q): 0 for q in Queue} | dict(connection.execute(query).all())

    def last_numbers(self, team: str) -> dict[int, int]:
        """The highest ticket number of each year, where numbers look like T-2026-001."""
        year, last = sa.func.substr(TICKET.c.number, 3, 4), sa.func.substr(TICKET.c.number, 8)
        query = (
            sa.select(year, sa.func.max(sa.cast(last, sa.BigInteger)))
            # A sender may bring a number of his own; one that no counter can reach must not break the rest.
            .where(TICKET.c.team == team, TICKET.c.number.like("T-____-%"), sa.func.length(TICKET.c.number) <= 16)
            .group_by(year)
        )
        with self.engine.connect() as connection:
            return {int(y): int(n) for y, n in connection.execute(query)}

    def _tickets(self, query: sa.Select[Any]) -> list[Ticket]:
        with self.engine.connect() as connection:
            return [Ticket.model_validate_json(doc) for (doc,) in connection.execute(query)]

    # -- agents, idempotency, keys -------------------------------------------------------------------------

    def agent_states(self, team: str) -> dict[str, tuple[AgentState, int]]:
        """The last document of every agent that has one, and its seq."""
        query = sa.select(AGENT.c.agent, AGENT.c.doc, AGENT.c.seq).where(AGENT.c.team == team)
        with self.engine.connect() as connection:
            return {agent: (AgentState.model_validate_json(doc), seq) for agent, doc, seq in connection.execute(query)}

    def idempotency(self, team: str, digest: str) -> tuple[str, str, str] | None:
        """(sha256 of the request's body, ticket id, number) of the request that used this key."""
        query = sa.select(IDEM.c.body, IDEM.c.ticket_id, IDEM.c.number)
        with self.engine.connect() as connection:
            row = connection.execute(query.where(IDEM.c.team == team, IDEM.c.digest == digest)).first()
        return (row[0], row[1], row[2]) if row else None

    def add_key(
        self, team: str, digest: str, name: str, scopes: Sequence[str], agent: str | None = None, *,
        at: float | None = None,
    ) -> None:  # fmt: skip
        """Keep the sha256 of a new API key (`at` unix seconds, now if empty)."""
        created_at = time.time() if at is None else at
        with self.engine.begin() as connection:
            connection.execute(KEY.insert().values(
                team=team, hash=digest, name=name, scopes=" ".join(scopes), agent=agent, created_at=created_at
            ))  # fmt: skip

    def find_key(self, digest: str) -> ApiKey | None:
        """The key with this sha256, unless it was revoked."""
        with self.engine.connect() as connection:
            row = connection.execute(KEY.select().where(KEY.c.hash == digest, KEY.c.revoked_at.is_(None))).first()
        return _api_key(row) if row else None

    def keys(self, team: str) -> list[ApiKey]:
        """The team's keys, revoked ones too, oldest first."""
        with self.engine.connect() as connection:
            rows = connection.execute(KEY.select().where(KEY.c.team == team).order_by(KEY.c.created_at, KEY.c.name))
            return [_api_key(row) for row in rows]

    def revoke_key(self, team: str, digest_or_name: str, *, at: float | None = None) -> int:
        """Revoke the keys with this sha256 or name; how many were valid until now."""
        named = sa.or_(KEY.c.hash == digest_or_name, KEY.c.name == digest_or_name)
        revoked_at = time.time() if at is None else at
        with self.engine.begin() as connection:
            return connection.execute(
                KEY.update().where(KEY.c.team == team, named, KEY.c.revoked_at.is_(None)).values(revoked_at=revoked_at)
            ).rowcount


def _lines(team: str) -> sa.Select[Any]:
    """Events with their texts."""
    joined = EVENT.outerjoin(BODY, sa.and_(BODY.c.team == EVENT.c.team, BODY.c.seq == EVENT.c.seq))
    return sa.select(EVENT, BODY.c.text, BODY.c.erased_at).select_from(joined).where(EVENT.c.team == team)


def _line(row: Any) -> Line:
    if row.text:
        line = Line.model_validate_json(row.text)
        line.seq = row.ticket_seq
        return line
    return Line(
        ticket=row.ticket_id, number=row.number, seq=row.ticket_seq, move=row.move, actor=row.actor, at=row.at,
        before=row.before, after=row.after, life=row.life, detail={"erased_at": row.erased_at},
    )  # fmt: skip


def _api_key(row: Any) -> ApiKey:
    return ApiKey(row.team, row.hash, row.name, row.scopes.split(), row.agent, row.created_at, row.revoked_at)
