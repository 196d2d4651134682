"""Erasing texts in SQL: what lines said, keys of senders, lines in quarantine. Hashes stay; the audit still verifies.

SQLite keeps what was overwritten or deleted: in free pages, in free space of pages, in the write-ahead file. So the
erasing connection overwrites with zeros (`secure_delete`), the write-ahead file is emptied, and `clean` writes the
whole file anew, without the older versions that other connections left behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .ledger_database import is_sqlite
from .ledger_tables import METADATA

__all__ = ["ERASE", "SqlErased", "clean", "erase_texts", "file_bytes", "mentions"]

ERASE = "erase"  # the line that says who erased and why; it has no text of the ticket and stays
T = METADATA.tables
EVENT, BODY, TICKET, IDEM, QUARANTINE = T["event"], T["event_body"], T["ticket"], T["idempotency"], T["quarantine"]
PART = 500
PATIENCE_S = 5.0


@dataclass(slots=True)
class SqlErased:
    """How many lines, keys and lines in quarantine were erased; `digests` of all keys of the tickets."""

    lines: int = 0
    keys: int = 0
    quarantined: int = 0
    digests: list[str] = field(default_factory=list)


def erase_texts(engine: sa.Engine, team: str, ids: Sequence[str], *, at: float) -> SqlErased:
    """Erase in one transaction; repeating it erases nothing twice."""
    erased = SqlErased()
    with engine.connect().execution_options(writes=True) as connection:
        if is_sqlite(engine):
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            connection.commit()
        with connection.begin():
            for start in range(0, len(ids), PART):
                part = ids[start : start + PART]
                mine = sa.select(EVENT.c.seq).where(
                    EVENT.c.team == team, EVENT.c.ticket_id.in_(part), EVENT.c.move != ERASE
                )
                erased.lines += connection.execute(
                    BODY.update()
                    .where(BODY.c.team == team, BODY.c.seq.in_(mine), BODY.c.erased_at.is_(None))
                    .values(text="", erased_at=at)
                ).rowcount
                keys = (IDEM.c.team == team, IDEM.c.ticket_id.in_(part))
                erased.digests += connection.execute(sa.select(IDEM.c.digest).where(*keys)).scalars()
                erased.keys += connection.execute(IDEM.update().where(*keys, IDEM.c.key != "").values(key="")).rowcount
            erased.quarantined = _quarantine(connection, team, ids)
    return erased


def mentions(engine: sa.Engine, team: str, numbers: Sequence[str], but: Sequence[str], limit: int) -> list[str]:
    """Numbers of other tickets whose documents name one of `numbers`; `but` are ids that do not count."""
    known, found = set(but), set[str]()
    query = sa.select(TICKET.c.id, TICKET.c.number).where(TICKET.c.team == team)
    with engine.connect() as connection:
        for start in range(0, len(numbers), 50):
            named = sa.or_(*(TICKET.c.doc.contains(n, autoescape=True) for n in numbers[start : start + 50]))
            rows = connection.execute(query.where(named).limit(limit + len(known)))
            found |= {number for ticket_id, number in rows if ticket_id not in known}
    return sorted(found)[:limit]


def clean(engine: sa.Engine, *, whole: bool) -> list[str]:
    """Take older versions of what was erased out of the database's files; says what may be left.

    `whole`: write the file anew (VACUUM). Nobody else writes meanwhile: about a second for each 100 MB.
    """
    if not is_sqlite(engine):
        return ["dead rows of PostgreSQL until its vacuum, and its write-ahead log and replicas"]
    left: list[str] = []
    raw = engine.raw_connection()
    try:
        cursor: Any = raw.cursor()
        if whole:
            try:
                cursor.execute("VACUUM")
            except Exception as error:
                if type(error).__name__ != "OperationalError":
                    raise
                left.append(
                    f"older versions in free pages of the ledger's file: it could not be written anew ({error})"
                )
        else:
            left.append("older versions in free pages of the ledger's file (write it anew: erase again with --vacuum)")
        if not _empty_wal(cursor):
            left.append("the ledger's write-ahead file: somebody was reading; erase again to empty it")
    finally:
        raw.close()
    return left


def file_bytes(engine: sa.Engine) -> int:
    """The size of a SQLite file; 0 for another database."""
    file = engine.url.database if is_sqlite(engine) else None
    return Path(file).stat().st_size if file and file != ":memory:" else 0


def _empty_wal(cursor: Any) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)


def _quarantine(connection: sa.Connection, team: str, ids: Iterable[str]) -> int:
    """Lines SQL refused: of those about the tickets only where they stood is kept."""
    wanted, count = set(ids), 0
    rows = connection.execute(sa.select(QUARANTINE.c.id, QUARANTINE.c.fields).where(QUARANTINE.c.team == team)).all()
    for row_id, fields in rows:
        try:
            epoch, ticket_id, seq, *texts = json.loads(fields)
        except (ValueError, TypeError):
            epoch, ticket_id, seq, texts = "", next((i for i in wanted if i in fields), ""), "", [fields]
        if ticket_id not in wanted or not any(texts):
            continue
        kept = json.dumps([epoch, ticket_id, seq, "", "", ""])
        where = (QUARANTINE.c.team == team, QUARANTINE.c.id == row_id)
        connection.execute(QUARANTINE.update().where(*where).values(fields=kept, reason="refused; its text was erased"))
        count += 1
    return count
