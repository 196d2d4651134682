"""Where the knowledge index is kept: SQLite with FTS5 beside the ledger, or PostgreSQL's full text in its database.

Everything in these tables is derived, from files and from the ledger: they may be dropped at any time, and are when
their form changes. So they are made here and are no migration of the ledger.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table, Text

from shiftlead.config.private import private_folder

from .ledger_database import is_sqlite, open_engine

__all__ = [
    "FORM", "METADATA", "PASSAGE", "SOURCE", "STATE", "WORD", "FullText", "engine_for", "full_text", "make_tables",
    "private_file", "writing",
]  # fmt: skip

FORM = 1  # raise it when a table or what stands in it changes: the index is then made anew
LOCK = 0x5348_4946_4B4E  # any number, as long as every process takes the same one
METADATA = MetaData()

STATE = Table(
    "knowledge_state", METADATA,
    Column("team", String, primary_key=True),
    Column("form", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="tickets are indexed up to this line of the ledger"),
    Column("at", Float, nullable=False, comment="unix seconds of the last change"),
    Column("curves", Text, nullable=False, comment="JSON: calibration by kind"),
)  # fmt: skip
SOURCE = Table(
    "knowledge_source", METADATA,
    Column("team", String, primary_key=True),
    Column("source", String, primary_key=True, comment="a file, relative to the team's folder; empty = all tickets"),
    Column("mark", String, nullable=False, comment="sha256 of the file as it was indexed"),
    Column("parts", Integer, nullable=False),
    Column("length", BigInteger, nullable=False, comment="words in all parts"),
)  # fmt: skip
PASSAGE = Table(
    "knowledge_passage", METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("team", String, nullable=False),
    Column("source", String, nullable=False),
    Column("ticket", String, nullable=False, comment="id of the ticket, empty for a file"),
    Column("kind", String, nullable=False, comment="page, faq, ticket"),
    Column("heading", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("stems", Text, nullable=False, comment="its words, those of the heading several times"),
    Column("length", Integer, nullable=False),
    sa.Index("ix_knowledge_source", "team", "source", "ticket"),
    sa.Index("ix_knowledge_ticket", "team", "ticket"),
)  # fmt: skip
WORD = Table(
    "knowledge_word", METADATA,
    Column("team", String, primary_key=True),
    Column("word", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("seen", Integer, nullable=False, comment="passages of the source that have the word"),
    sa.Index("ix_knowledge_word_source", "team", "source"),
)  # fmt: skip


class FullText(Protocol):
    """What the two databases say differently. `words` are of letters and digits only."""

    def create(self, connection: sa.Connection) -> None:
        """The index itself."""
        ...

    def add(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        """Put the passages `where` into it, after they were inserted."""
        ...

    def drop(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        """Take them out, before they are deleted."""
        ...

    def clean(self, connection: sa.Connection) -> None:
        """Leave nothing of what was taken out."""
        ...

    def destroy(self, connection: sa.Connection) -> None:
        """Drop the index itself."""
        ...

    def counts(self, connection: sa.Connection, team: str, words: list[str], files: list[str]) -> Iterable[Any]:
        """(of tickets?, word or empty, passages with it or at all, words in them), for the files and the tickets."""
        ...

    def matching(
        self, connection: sa.Connection, team: str, words: list[str], files: list[str] | None, limit: int
    ) -> Iterable[Any]:
        """Passages of the files, or with None of the tickets, that have any of the words, the best first, as (kind,
        source, heading, text, stems, length)."""
        ...


# Both are asked with every search, so they go to the driver as they stand: to build and compile them each time takes
# longer than the answer.
COUNTS = """
    SELECT source = '' AS tickets, '' AS word, sum(parts) AS n, sum(length) AS length
    FROM knowledge_source WHERE team = {team} AND (source = '' OR source {files}) GROUP BY 1
    UNION ALL
    SELECT source = '', word, sum(seen), 0
    FROM knowledge_word WHERE team = {team} AND word {words} AND (source = '' OR source {files}) GROUP BY 1, 2"""
MATCHING = """
    SELECT p.kind, p.source, p.heading, p.text, p.stems, p.length FROM {table}
    WHERE {matches} AND p.team = {team} AND {within} ORDER BY {rank}, p.id LIMIT {limit}"""


class _SqliteText:
    """FTS5 over the table's own rows, one for files and one for tickets. It never cuts or stems: `stems` are words
    already. The file has one team in it, so that no search wades through another's."""

    TABLES = (("knowledge_text_files", PASSAGE.c.ticket == ""), ("knowledge_text_tickets", PASSAGE.c.ticket != ""))
    ONE_OF = "IN (SELECT value FROM json_each({}))"
    COUNTS = COUNTS.format(team=":team", words=ONE_OF.format(":words"), files=ONE_OF.format(":files"))
    MATCHING = MATCHING.format(
        table="{text} JOIN knowledge_passage p ON p.id = {text}.rowid", team=":team", limit=":limit",
        matches="{text} MATCH :asked", within="{within}", rank="bm25({text})",
    )  # fmt: skip

    def create(self, connection: sa.Connection) -> None:
        for name, _ in self.TABLES:
            connection.exec_driver_sql(
                f"CREATE VIRTUAL TABLE IF NOT EXISTS {name} USING fts5(stems, content='knowledge_passage', "
                "content_rowid='id', tokenize='unicode61 remove_diacritics 0')"
            )

    def destroy(self, connection: sa.Connection) -> None:
        for name, _ in self.TABLES:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")

    def add(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        for name, ours in self.TABLES:
            table = sa.table(name, sa.column("rowid"), sa.column("stems"))
            chosen = sa.select(PASSAGE.c.id, PASSAGE.c.stems).where(where, ours)
            connection.execute(table.insert().from_select(["rowid", "stems"], chosen))

    def drop(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        for name, ours in self.TABLES:
            table = sa.table(name, *(sa.column(n) for n in (name, "rowid", "stems")))
            chosen = sa.select(sa.literal_column("'delete'"), PASSAGE.c.id, PASSAGE.c.stems).where(where, ours)
            connection.execute(table.insert().from_select([name, "rowid", "stems"], chosen))

    def clean(self, connection: sa.Connection) -> None:
        for name, _ in self.TABLES:
            connection.exec_driver_sql(f"INSERT INTO {name}({name}) VALUES('optimize')")

    def counts(self, connection: sa.Connection, team: str, words: list[str], files: list[str]) -> Iterable[Any]:
        given = {"team": team, "words": json.dumps(words), "files": json.dumps(files)}
        return connection.exec_driver_sql(self.COUNTS, given)

    def matching(
        self, connection: sa.Connection, team: str, words: list[str], files: list[str] | None, limit: int
    ) -> Iterable[Any]:
        (of_files, _), (of_tickets, _) = self.TABLES
        within = "1" if files is None else "p.source " + self.ONE_OF.format(":files")
        sql = self.MATCHING.format(text=of_tickets if files is None else of_files, within=within)
        asked = " OR ".join(f'"{word}"' for word in words)
        return connection.exec_driver_sql(
            sql, {"team": team, "asked": asked, "files": json.dumps(files), "limit": limit}
        )


class _PostgresText:
    """A tsvector of the words as they are, with a GIN index: no parser and no dictionary of the server's."""

    def create(self, connection: sa.Connection) -> None:
        for statement in (
            "ALTER TABLE knowledge_passage ADD COLUMN IF NOT EXISTS vector tsvector GENERATED ALWAYS AS "
            "(array_to_tsvector(string_to_array(stems, ' '))) STORED",
            "CREATE INDEX IF NOT EXISTS ix_knowledge_vector ON knowledge_passage USING gin (vector)",
        ):
            connection.exec_driver_sql(statement)

    def add(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        """The server does it."""

    def drop(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        """The server does it."""

    ONE_OF = "= ANY({})"
    COUNTS = COUNTS.format(team="%(team)s", words=ONE_OF.format("%(words)s"), files=ONE_OF.format("%(files)s"))
    MATCHING = MATCHING.format(
        table="knowledge_passage p", team="%(team)s", limit="%(limit)s",
        matches="p.vector @@ %(asked)s::tsquery", within="{within}", rank="ts_rank(p.vector, %(asked)s::tsquery) DESC",
    )  # fmt: skip

    def clean(self, connection: sa.Connection) -> None:
        """Dead rows go with the server's vacuum."""

    def destroy(self, connection: sa.Connection) -> None:
        """It goes with the table."""

    def counts(self, connection: sa.Connection, team: str, words: list[str], files: list[str]) -> Iterable[Any]:
        return connection.exec_driver_sql(self.COUNTS, {"team": team, "words": words, "files": files})

    def matching(
        self, connection: sa.Connection, team: str, words: list[str], files: list[str] | None, limit: int
    ) -> Iterable[Any]:
        within = "p.ticket <> ''" if files is None else "p.source " + self.ONE_OF.format("%(files)s")
        asked = " | ".join(f"'{word}'" for word in words)
        given = {"team": team, "asked": asked, "files": files, "limit": limit}
        return connection.exec_driver_sql(self.MATCHING.format(within=within), given)


def full_text(engine: sa.Engine) -> FullText:
    return _SqliteText() if is_sqlite(engine) else _PostgresText()


def engine_for(ledger: sa.Engine, data: Path, team: str) -> sa.Engine:
    """Where a team's index is kept: in the ledger's PostgreSQL database, else in a file of its own in the data
    folder."""
    if not is_sqlite(ledger):
        return ledger
    return open_engine(f"sqlite:///{data / 'knowledge' / f'{team}.db'}")


@contextmanager
def writing(engine: sa.Engine, *, wait_s: float) -> Iterator[sa.Connection]:
    """A transaction that waits so long at most for another writer. What it deletes is overwritten (SQLite).

    Raises:
        OperationalError: another one writes.
    """
    with engine.connect().execution_options(writes=True) as connection:
        if is_sqlite(engine):
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            connection.exec_driver_sql(f"PRAGMA busy_timeout={wait_s * 1000:.0f}")
            connection.commit()
        with connection.begin():
            if not is_sqlite(engine):
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{wait_s * 1000:.0f}ms'")
            yield connection


def make_tables(engine: sa.Engine, connection: sa.Connection) -> None:
    """The tables in their present form, inside a transaction; those of another form are dropped with what they hold."""
    if not is_sqlite(engine):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    there = set(sa.inspect(connection).get_table_names())
    if STATE.name in there:
        forms = set(connection.execute(sa.select(STATE.c.form).distinct()).scalars())
        if forms <= {FORM}:
            return
        full_text(engine).destroy(connection)
        METADATA.drop_all(connection)
    METADATA.create_all(connection)
    full_text(engine).create(connection)


def private_file(engine: sa.Engine) -> None:
    """For SQLite: the file is there, nobody else may read it, and readers do not wait for a writer."""
    if not is_sqlite(engine):
        return
    file = Path(str(engine.url.database))
    private_folder(file.parent)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()
