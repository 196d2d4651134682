"""The audit: whether the ledger in SQL is whole, and if not, which line is wrong.

It trusts nothing it can compute: the chain of hashes, the hash of every text that was not erased, each ticket's lines
1..n, only moves of the lifecycle table, one end per life, and snapshots that agree with the last line. A chain that
was cut or written anew from some line on agrees with itself; only a hash noted earlier elsewhere (`head`) shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from .ledger import BODY, EVENT, FIRST_HASH, HEAD, TICKET, Ledger
from .ledger_chain import chain_hash, payload_hash
from .ledger_database import is_sqlite
from .ledger_tables import METADATA
from .lifecycle import CLOSED, NOTES, Move, State, allows
from .ticket import Ticket

__all__ = ["Problem", "VerifyReport", "verify"]

CHUNK = 5_000
PROBLEMS_KEPT = 1_000
QUARANTINE = METADATA.tables["quarantine"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong (`kind`), at which line of the team's ledger (None = not at one line), with which ticket."""

    kind: str
    seq: int | None
    ticket: str
    text: str


@dataclass(slots=True)
class VerifyReport:
    """The outcome. `problems` keeps the first 1,000; `found` counts them all."""

    events: int = 0
    tickets: int = 0
    hash: str = FIRST_HASH
    found: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.found == 0

    def add(self, kind: str, seq: int | None, ticket: str, text: str) -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(kind, seq, ticket, text))


def verify(
    ledger: Ledger, team: str, head: str | None = None, progress: Callable[[int], None] | None = None
) -> VerifyReport:
    """Check the whole ledger of a team; `head` is a hash noted earlier that must be in the chain.

    Everything is read in one transaction, so a ledger that is being written is no false alarm. `progress` is called
    with the number of lines checked so far.
    """
    report, stories = VerifyReport(), _Stories()
    with ledger.engine.connect() as connection:
        if not is_sqlite(ledger.engine):
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        at_head = connection.execute(HEAD.select().where(HEAD.c.team == team)).one_or_none()
        head_found = not head or head == FIRST_HASH
        last, previous = 0, FIRST_HASH
        for row in _events(connection, team):
            if row.seq != last + 1:
                report.add("missing", last + 1, "", _missing(last + 1, row.seq - 1))
                # Nothing says what the hash before this line was; from here on the chain is checked again.
                previous = ""
            _check_line(report, row, previous)
            stories.add(report, row)
            head_found = head_found or row.hash == head
            last, previous = row.seq, row.hash
            report.events += 1
            if progress and report.events % CHUNK == 0:
                progress(report.events)
        report.hash = previous
        _check_head(report, at_head, last, previous)
        if not head_found:
            report.add("head", None, "", f"The hash {head} is not in the chain: lines were cut off or replaced.")
        stories.compare(report, connection, team)
        for row in connection.execute(QUARANTINE.select().where(QUARANTINE.c.team == team).order_by(QUARANTINE.c.id)):
            text = f"The line at stream id {row.stream_id} was refused by SQL and is in quarantine: {row.reason}"
            report.add("quarantined", None, "", text)
    if progress:
        progress(report.events)
    return report


def _events(connection: sa.Connection, team: str) -> Iterator[Any]:
    joined = EVENT.outerjoin(BODY, sa.and_(BODY.c.team == EVENT.c.team, BODY.c.seq == EVENT.c.seq))
    columns = (
        EVENT.c.seq, EVENT.c.ticket_id, EVENT.c.ticket_seq, EVENT.c.number, EVENT.c.move, EVENT.c.before,
        EVENT.c.after, EVENT.c.actor, EVENT.c.at, EVENT.c.life, EVENT.c.payload_hash, EVENT.c.hash,
        EVENT.c.stream_id, EVENT.c.epoch, BODY.c.text, BODY.c.erased_at,
    )  # fmt: skip
    query = sa.select(*columns).select_from(joined).where(EVENT.c.team == team).order_by(EVENT.c.seq)
    for part in connection.execution_options(yield_per=CHUNK).execute(query).partitions():
        yield from part


def _check_line(report: VerifyReport, row: Any, previous: str) -> None:
    (seq, ticket_id, ticket_seq, number, move, before, after, actor, at, life, payload, hash_, stream_id, epoch,
     text, erased_at) = row  # fmt: skip
    name = number or ticket_id
    if previous:
        wanted = chain_hash(
            previous,
            seq,
            epoch,
            stream_id,
            ticket_id,
            ticket_seq,
            number,
            move,
            before,
            after,
            actor,
            at,
            life,
            payload,
        )
        if wanted != hash_:
            report.add("chain", seq, name, f"Line {seq} ({name}) was changed, or is not where it was written.")
    if text is None:
        report.add("body", seq, name, f"The text of line {seq} ({name}) is missing.")
    elif erased_at is not None:
        if text:
            report.add("body", seq, name, f"Line {seq} ({name}) is marked as erased but has a text.")
    elif payload_hash(text) != payload:
        report.add("body", seq, name, f"The text of line {seq} ({name}) was changed.")


def _missing(first: int, last: int) -> str:
    return f"Line {first} is missing." if first == last else f"The lines {first} to {last} are missing."


def _check_head(report: VerifyReport, head: Any, last: int, previous: str) -> None:
    if head is None:
        if last:
            report.add("head", None, "", "The ledger has lines but no head.")
    elif head.seq > last:
        report.add("missing", last + 1, "", _missing(last + 1, head.seq))
    elif head.seq < last:
        report.add("head", last, "", f"The ledger's head stands at line {head.seq}, but there are {last} lines.")
    elif head.hash != previous:
        report.add("head", last, "", f"The hash of the ledger's head is not that of its last line {last}.")


class _Stories:
    """What each ticket's lines add up to: [last seq, last state, life that ended last]."""

    def __init__(self) -> None:
        self._tickets: dict[str, list[Any]] = {}
        self._legal: dict[tuple[str, str, str | None, str | None], bool] = {}
        self._agents: dict[str, int] = {}

    def add(self, report: VerifyReport, row: Any) -> None:
        seq, ticket_id, ticket_seq, number, move, before, after, actor, _, life, *_ = row
        if not ticket_id or ticket_id[0] == "@":
            if ticket_id:
                self._in_order(report, seq, ticket_id, ticket_seq, self._agents.get(ticket_id, 0))
                self._agents[ticket_id] = ticket_seq
            return
        story = self._tickets.get(ticket_id)
        if story is None:
            story = self._tickets[ticket_id] = [0, None, 0]
        in_order = self._in_order(report, seq, number, ticket_seq, story[0])
        story[0] = ticket_seq
        if move in NOTES:
            if before != after or (in_order and after is not None and after != story[1]):
                report.add("move", seq, number, f"{number}: line {seq} is a {move} and changes {before} to {after}.")
            return
        kind = actor.partition(":")[0]
        asked = (move, kind, before, after)
        legal = self._legal.get(asked)
        if legal is None:
            legal = self._legal[asked] = _legal(*asked)
        if not legal:
            text = (
                f"{number}: the table does not let {actor} take it from {before} to {after} by {move!r} (line {seq})."
            )
            report.add("move", seq, number, text)
        elif in_order and before != story[1]:
            report.add("move", seq, number, f"{number}: line {seq} leaves {before}, but it was {story[1]}.")
        if after in CLOSED:
            if life <= story[2]:
                report.add("ends", seq, number, f"{number}: life {life} ends a second time in line {seq} ({after}).")
            story[2] = max(story[2], life)
        story[1] = after

    def _in_order(self, report: VerifyReport, seq: int, name: str, ticket_seq: int, last: int) -> bool:
        if ticket_seq != last + 1:
            report.add("order", seq, name, f"{name}: line {ticket_seq} follows line {last} (line {seq} of the team).")
        return bool(ticket_seq == last + 1)

    def compare(self, report: VerifyReport, connection: sa.Connection, team: str) -> None:
        """The snapshots must say what the last lines say."""
        query = sa.select(TICKET.c.id, TICKET.c.number, TICKET.c.state, TICKET.c.seq, TICKET.c.doc)
        result = connection.execution_options(yield_per=CHUNK).execute(query.where(TICKET.c.team == team))
        for ticket_id, number, state, seq, doc in result:
            story = self._tickets.pop(ticket_id, None)
            report.tickets += 1
            if story is None:
                report.add("snapshot", None, number, f"{number} has a snapshot but no lines.")
            elif state != story[1] or seq > story[0]:
                text = f"{number}: the snapshot says {state} (line {seq}), the last line {story[1]} (line {story[0]})."
                report.add("snapshot", None, number, text)
            elif not _agrees(doc, ticket_id, number, state):
                report.add("snapshot", None, number, f"{number}: the document of the snapshot is not the ticket's.")
        for ticket_id in self._tickets:
            report.tickets += 1
            report.add("snapshot", None, ticket_id, f"{ticket_id} has lines but no snapshot.")


def _legal(move: str, kind: str, before: str | None, after: str | None) -> bool:
    try:
        return allows(Move(move), kind, State(before) if before else None, State(after or ""))
    except ValueError:
        return False


def _agrees(doc: str, ticket_id: str, number: str, state: str) -> bool:
    try:
        ticket = Ticket.model_validate_json(doc)
    except ValueError:
        return False
    return (ticket.id, ticket.number, str(ticket.state)) == (ticket_id, number, state)
