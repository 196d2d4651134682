"""The team's knowledge, searched in SQL: Markdown pages, questions with answers, and what resolved tickets teach.

    index.keep_files({"knowledge/cards.md": sha256}, read)     pages that changed are indexed anew
    index.refresh()                                            tickets that were resolved, reopened or erased meanwhile
    index.find(words, files)                                   passages that share words, and how rare the words are

It is derived and belongs to nobody: any process may build it, a little at a time, and any may drop it. Files are known
by their content, tickets by the ledger's lines up to a watermark. Which passage is the best one is decided by the
reader (agents/knowledge.py), alike for both databases; SQL names the candidates.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from .knowledge_lessons import Lesson, lesson_of
from .knowledge_passage import Found, Passage, Status, passage_of
from .knowledge_tables import (
    FORM,
    PASSAGE,
    SOURCE,
    STATE,
    WORD,
    engine_for,
    full_text,
    make_tables,
    private_file,
    writing,
)
from .ledger import Ledger
from .ledger_database import is_sqlite, upsert
from .ledger_erase import ERASE
from .ledger_tables import METADATA as LEDGER
from .lifecycle import Move
from .ticket import Ticket

__all__ = ["KnowledgeIndex"]

TICKETS = ""  # the source all tickets stand under
CANDIDATES = 40  # passages that are ranked
TELLING = 6  # words of a question they are looked up by, the rarest
ENOUGH = 800  # passages with one of them
CHUNK = 500  # lines of the ledger taken in one transaction
MOST_TICKETS = 20_000  # the newest
UNSATISFIED = 2  # of 5
REFRESH_S = 5.0  # between two looks at the ledger
BUILD_S = 2.0  # a search helps to build for so long
WAIT_S, PATIENT_S = 0.2, 5.0  # for another writer: in a search, and when asked for
EVENT, TICKET, SAID = LEDGER.tables["event"], LEDGER.tables["ticket"], LEDGER.tables["outcome"]
OUTCOME = "outcome"  # the move of a line that says what became of a ticket
TOLD = (Move.RESOLVE, Move.REOPEN, Move.CANCEL, Move.FAIL, Move.MERGE, ERASE, OUTCOME)


class KnowledgeIndex:
    """The index of one team. Safe to share between threads; SQL keeps processes apart."""

    def __init__(
        self, ledger: Ledger, team: str, folder: Path, data: Path, *, now: Callable[[], float] = time.time
    ) -> None:
        """`folder` is the team's: files are named relative to it. `data` is where SQLite keeps the index."""
        self.ledger, self.team, self.folder, self.now = ledger, team, folder, now
        self.engine = engine_for(ledger.engine, data, team)
        self._text = full_text(self.engine)
        self._made = False
        self._again = 0.0

    def close(self) -> None:
        if self.engine is not self.ledger.engine:
            self.engine.dispose()

    # -- reading ------------------------------------------------------------------------------------------------

    def find(self, asked: Iterable[str], files: Sequence[str]) -> tuple[Found, Found]:
        """Candidates for the words among these files, and among the tickets."""
        self._make()
        names, found = list(files), []
        with self.engine.connect() as connection:
            counts = list(self._text.counts(connection, self.team, list(asked), names))
            for tickets in (False, True):
                size = [(n, length) for t, word, n, length in counts if bool(t) is tickets and not word]
                parts, length = map(int, size[0] if size and size[0][0] else (0, 0))
                seen = {word: int(n) for t, word, n, _ in counts if bool(t) is tickets and word and n > 0}
                telling = _telling(seen)
                rows = self._text.matching(
                    connection, self.team, telling, None if tickets else names, CANDIDATES
                ) if telling else ()  # fmt: skip
                passages = tuple(Passage(k, s, h, text, tuple(stems.split()), n) for k, s, h, text, stems, n in rows)
                found.append(Found(passages, seen, parts, length))
        of_files, of_tickets = found
        # The first few tickets say little about which words are rare: the pages help.
        seen = {word: of_tickets.seen.get(word, 0) + of_files.seen.get(word, 0) for word in of_tickets.seen}
        seen |= {word: n for word, n in of_files.seen.items() if word not in seen}
        parts, length = of_tickets.parts + of_files.parts, of_tickets.length + of_files.length
        return of_files, Found(of_tickets.passages, seen, parts, length)

    def status(self) -> Status:
        """Counts of this team."""
        self._make()
        kinds = sa.select(PASSAGE.c.kind, sa.func.count(), sa.func.count(sa.distinct(PASSAGE.c.source)))
        with self.engine.connect() as connection:
            rows = connection.execute(kinds.where(PASSAGE.c.team == self.team).group_by(PASSAGE.c.kind))
            found = {kind: (n, sources) for kind, n, sources in rows}
            seq, at = connection.execute(self._state(STATE.c.seq, STATE.c.at)).first() or (0, 0.0)
        head = self.ledger.head(self.team)
        pages, faqs, tickets = (found.get(kind, (0, 0)) for kind in ("page", "faq", "ticket"))
        where = str(self.engine.url.database) if is_sqlite(self.engine) else self.engine.url.render_as_string()
        behind = max(0, (head.seq if head else 0) - seq)
        return Status(pages[1], faqs[1], pages[0] + faqs[0], tickets[0], behind, at, where)

    def curves(self) -> dict[str, Any]:
        """What `keep_curves` kept last."""
        self._make()
        with self.engine.connect() as connection:
            kept = connection.execute(self._state(STATE.c.curves)).scalar()
        return dict(json.loads(kept)) if kept else {}

    # -- writing ------------------------------------------------------------------------------------------------

    def keep_files(self, files: Mapping[str, str], read: Callable[[str], Sequence[Passage]]) -> int:
        """Index the files whose content (sha256) is not the one that is indexed; how many. `read` cuts one.

        Files of the team that are not there any more are forgotten.
        """
        self._make()
        there = sa.select(SOURCE.c.source, SOURCE.c.mark).where(SOURCE.c.team == self.team, SOURCE.c.source != TICKETS)
        with self.engine.connect() as connection:
            marks = {row.source: row.mark for row in connection.execute(there)}
        changed = [source for source, mark in files.items() if marks.get(source) != mark]
        gone = [s for s in marks if s not in files and not (self.folder / s).is_file()]
        for source in gone:
            self._keep_file(source, "", [])
        for source in changed:
            self._keep_file(source, files[source], read(source))
        return len(changed)

    def refresh(self, *, whole: bool = False) -> int:
        """Take what the ledger says of tickets since the last time; how many tickets were looked at.

        A search calls it: it looks every few seconds, works for two at most, and leaves it to whoever is at it.
        `whole`: until nothing is left.
        """
        began = time.monotonic()
        if not whole and began < self._again:
            return 0
        self._make()
        count, more = 0, True
        try:
            while more and (whole or time.monotonic() - began < BUILD_S):
                looked, more = self._take_some(PATIENT_S if whole else WAIT_S)
                count += looked
        except OperationalError:
            if whole:
                raise
        self._again = time.monotonic() + (0.0 if more else REFRESH_S)
        return count

    def forget(self, ticket_ids: Sequence[str]) -> int:
        """Take tickets out, so that nothing of them is left in the index's files; how many were in it."""
        self._make()
        with writing(self.engine, wait_s=PATIENT_S) as connection:
            self._lock_state(connection)
            count = self._replace(connection, ticket_ids, [])
            self._text.clean(connection)
        if is_sqlite(self.engine):
            with self.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def keep_curves(self, curves: Mapping[str, Any]) -> None:
        """Keep how confidence is calibrated, as JSON."""
        self._make()
        with writing(self.engine, wait_s=PATIENT_S) as connection:
            self._lock_state(connection)
            connection.execute(STATE.update().where(STATE.c.team == self.team).values(curves=json.dumps(curves)))

    # -- helpers ------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        if self._made:
            return
        private_file(self.engine)
        with writing(self.engine, wait_s=PATIENT_S) as connection:
            make_tables(self.engine, connection)
            mine = {"team": self.team, "form": FORM, "seq": 0, "at": self.now(), "curves": ""}
            connection.execute(upsert(self.engine, STATE).values(**mine).on_conflict_do_nothing())
        self._made = True

    def _state(self, *columns: sa.Column[Any]) -> sa.Select[Any]:
        return sa.select(*columns).where(STATE.c.team == self.team)

    def _lock_state(self, connection: sa.Connection) -> int:
        """One writer of a team at a time; the watermark."""
        return int(connection.execute(self._state(STATE.c.seq).with_for_update()).scalar_one())

    def _keep_file(self, source: str, mark: str, passages: Sequence[Passage]) -> None:
        here = sa.and_(PASSAGE.c.team == self.team, PASSAGE.c.source == source, PASSAGE.c.ticket == "")
        seen = Counter(word for p in passages for word in set(p.stems))
        with writing(self.engine, wait_s=PATIENT_S) as connection:
            self._lock_state(connection)
            self._text.drop(connection, here)
            connection.execute(PASSAGE.delete().where(here))
            for table in (WORD, SOURCE):
                connection.execute(table.delete().where(table.c.team == self.team, table.c.source == source))
            if passages:
                connection.execute(PASSAGE.insert(), [self._row(p, source) for p in passages])
                self._text.add(connection, here)
                connection.execute(WORD.insert(), [
                    {"team": self.team, "word": word, "source": source, "seen": n} for word, n in seen.items()
                ])  # fmt: skip
            if mark:
                length = sum(p.length for p in passages)
                row = {"team": self.team, "source": source, "mark": mark, "parts": len(passages), "length": length}
                connection.execute(SOURCE.insert().values(**row))
            self._told(connection)

    def _take_some(self, wait_s: float) -> tuple[int, bool]:
        """The next lines of the ledger: (tickets looked at, whether there may be more)."""
        head = self.ledger.head(self.team)
        with self.engine.connect() as connection:
            if head is None or connection.execute(self._state(STATE.c.seq)).scalar_one() >= head.seq:
                return 0, False
        with writing(self.engine, wait_s=wait_s) as connection:
            seq = self._lock_state(connection)
            told = sa.select(EVENT.c.seq, EVENT.c.ticket_id).where(
                EVENT.c.team == self.team, EVENT.c.seq > seq, EVENT.c.seq <= head.seq, EVENT.c.move.in_(TOLD)
            )
            with self.ledger.engine.connect() as reading:
                rows = reading.execute(told.order_by(EVENT.c.seq).limit(CHUNK)).all()
                ids = list(dict.fromkeys(row.ticket_id for row in rows))
                docs = reading.execute(
                    sa.select(TICKET.c.doc).where(TICKET.c.team == self.team, TICKET.c.id.in_(ids))
                ).scalars()
                tickets = [Ticket.model_validate_json(doc) for doc in docs]
                wrong = _called_wrong(reading, self.team, ids)
            known = self._words_of_pages(connection) if tickets else frozenset[str]()
            right = [t for t in tickets if (t.id, t.life) not in wrong]
            lessons = [lesson for t in right if (lesson := lesson_of(t, known)) is not None]
            self._replace(connection, ids, lessons)
            self._prune(connection)
            more = len(rows) == CHUNK
            reached = max(rows[-1].seq if more else head.seq, seq)
            connection.execute(STATE.update().where(STATE.c.team == self.team).values(seq=reached))
            self._told(connection)
        return len(ids), more

    def _words_of_pages(self, connection: sa.Connection) -> frozenset[str]:
        query = sa.select(WORD.c.word).where(WORD.c.team == self.team, WORD.c.source != TICKETS)
        return frozenset(connection.execute(query.distinct()).scalars())

    def _replace(self, connection: sa.Connection, ids: Sequence[str], lessons: Sequence[Lesson]) -> int:
        """Take the tickets out and put in what they teach now; how many were taken out."""
        here = sa.and_(PASSAGE.c.team == self.team, PASSAGE.c.ticket.in_(list(ids)), PASSAGE.c.ticket != "")
        old = list(connection.execute(sa.select(PASSAGE.c.stems).where(here)).scalars())
        self._text.drop(connection, here)
        connection.execute(PASSAGE.delete().where(here))
        new = [passage_of(lesson) for lesson in lessons]
        if new:
            rows = [self._row(p, p.source, lesson.ticket_id) for p, lesson in zip(new, lessons, strict=True)]
            connection.execute(PASSAGE.insert(), rows)
            self._text.add(connection, here)
        change = Counter(word for p in new for word in set(p.stems))
        change.subtract(Counter(word for stems in old for word in set(stems.split())))
        self._count(connection, change)
        length = sum(p.length for p in new) - sum(len(stems.split()) for stems in old)
        row = {"team": self.team, "source": TICKETS, "mark": "", "parts": len(new) - len(old), "length": length}
        insert = upsert(self.engine, SOURCE)
        added = {name: SOURCE.c[name] + insert.excluded[name] for name in ("parts", "length")}
        connection.execute(insert.on_conflict_do_update(index_elements=["team", "source"], set_=added), row)
        return len(old)

    def _count(self, connection: sa.Connection, change: Counter[str]) -> None:
        """How many tickets have each word."""
        rows = [
            {"team": self.team, "word": word, "source": TICKETS, "seen": n} for word, n in sorted(change.items()) if n
        ]
        if not rows:
            return
        insert = upsert(self.engine, WORD)
        more = {"seen": WORD.c.seen + insert.excluded.seen}
        connection.execute(insert.on_conflict_do_update(index_elements=["team", "word", "source"], set_=more), rows)
        gone = [word for word, n in change.items() if n < 0]
        for start in range(0, len(gone), CHUNK):
            connection.execute(WORD.delete().where(
                WORD.c.team == self.team, WORD.c.source == TICKETS, WORD.c.seen <= 0,
                WORD.c.word.in_(gone[start : start + CHUNK]),
            ))  # fmt: skip

    def _prune(self, connection: sa.Connection) -> None:
        """Only the newest tickets stay."""
        mine = sa.and_(PASSAGE.c.team == self.team, PASSAGE.c.ticket != "")
        spare = connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one() - MOST_TICKETS
        if spare > 0:
            oldest = sa.select(PASSAGE.c.ticket).where(mine).order_by(PASSAGE.c.id).limit(spare)
            self._replace(connection, list(connection.execute(oldest).scalars()), [])

    def _told(self, connection: sa.Connection) -> None:
        connection.execute(STATE.update().where(STATE.c.team == self.team).values(at=self.now()))

    def _row(self, passage: Passage, source: str, ticket: str = "") -> dict[str, Any]:
        return {
            "team": self.team, "source": source, "ticket": ticket, "kind": passage.kind, "heading": passage.heading,
            "text": passage.text, "stems": " ".join(passage.stems), "length": passage.length,
        }  # fmt: skip


def _called_wrong(connection: sa.Connection, team: str, ids: Sequence[str]) -> set[tuple[str, int]]:
    """Lives of these tickets whose answer was not accepted, or left the customer unsatisfied."""
    bad = sa.or_(SAID.c.accepted.is_(False), sa.and_(SAID.c.accepted.is_(None), SAID.c.csat <= UNSATISFIED))
    chosen = sa.select(SAID.c.ticket_id, SAID.c.life).where(SAID.c.team == team, SAID.c.ticket_id.in_(list(ids)), bad)
    return {(row.ticket_id, row.life) for row in connection.execute(chosen)}


def _telling(seen: Mapping[str, int]) -> list[str]:
    """The rarest words: two at least, and more while they do not bring in half of everything."""
    words, brought = list[str](), 0
    for word in sorted(seen, key=lambda word: (seen[word], word))[:TELLING]:
        brought += seen[word]
        if len(words) >= 2 and brought > ENOUGH:
            break
        words.append(word)
    return words
