"""Opening and upgrading the ledger's database: what SQLite and PostgreSQL need differently is here and nowhere else."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .errors import LedgerHalted

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["Prepared", "alembic_config", "is_sqlite", "migrate", "open_engine", "upsert"]

BUSY_TIMEOUT_MS = 5_000
MIGRATION_LOCK = 0x5348_4946_544C  # any number, as long as every process takes the same one


def open_engine(url: str, *, read_only: bool = False) -> sa.Engine:
    """An engine for `url`; connections are opened when they are used."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        options = "-c default_transaction_read_only=on" if read_only else ""
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args={"options": options} if options else {})
    if read_only:
        parsed = _read_only_url(parsed)
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    # The driver must not begin transactions by its own rules: savepoints and DDL would fall outside of them.
    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        if not read_only:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA cache_size=-65536")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # One that reads first and writes later cannot wait for the lock, it fails at once: the migration asks first.
        writes = not read_only and connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def migrate(engine: sa.Engine) -> None:
    """Create or upgrade the tables under a lock, in one transaction.

    Raises:
        LedgerHalted: the database was written by a newer Shiftlead.
    """
    from alembic import command  # most processes open a database that is ready, and start sooner without it
    from alembic.util import CommandError

    with _alone(engine), engine.connect().execution_options(writes=True) as connection, connection.begin():
        if not is_sqlite(engine):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config = alembic_config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerHalted(
                f"The ledger {engine.url.render_as_string()} cannot be upgraded: {error}. It was probably written by a "
                "newer Shiftlead: install that version again. Nothing was changed."
            ) from error


def alembic_config() -> Config:
    """Alembic's configuration for the migrations in this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def upsert(engine: sa.Engine, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT; both databases spell it alike."""
    return sqlite.insert(table) if is_sqlite(engine) else postgresql.insert(table)


class Prepared:
    """An INSERT compiled once. Many rows go straight to the driver: a third of the cost of a line is saved."""

    def __init__(self, engine: sa.Engine, insert: Any, *, leave_out: tuple[str, ...] = ()) -> None:
        names = [column.name for column in insert.table.columns if column.name not in leave_out]
        compiled = insert.compile(engine, column_keys=names)
        self._sql = str(compiled)
        self._values = itemgetter(*compiled.positiontup) if compiled.positional else dict

    def execute(self, connection: sa.Connection, rows: Iterable[dict[str, Any]]) -> None:
        connection.exec_driver_sql(self._sql, [self._values(row) for row in rows])


def is_sqlite(engine: sa.Engine) -> bool:
    return engine.dialect.name == "sqlite"


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[None]:
    """For SQLite: the folder and the file exist, private, in WAL mode, and no other process is doing this now."""
    if not is_sqlite(engine) or engine.url.database in (None, "", ":memory:"):
        yield
        return
    file = Path(str(engine.url.database))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(file.with_name(file.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        file.chmod(0o600)  # -wal and -shm inherit it
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode=WAL")
        finally:
            raw.close()
        yield
    finally:
        os.close(lock)


def _read_only_url(url: sa.URL) -> sa.URL:
    """A stopped SQLite file has no -wal beside it and is opened as immutable, so SQLite creates nothing.

    With a -wal (its processes were killed, or still run) there are lines in it that must be read, under locks.
    """
    file = Path(url.database or "").absolute()
    immutable = "0" if file.with_name(file.name + "-wal").exists() else "1"
    return url.set(database=file.as_uri()).update_query_dict({"mode": "ro", "immutable": immutable, "uri": "true"})
