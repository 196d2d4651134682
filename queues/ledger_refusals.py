"""The ledger's table of refusals: counts by reason and day. Moved here in numbered batches, each added once."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from .ledger_database import upsert
from .ledger_tables import METADATA

__all__ = ["RefusalLedger"]

REFUSAL = METADATA.tables["refusal"]
BATCH = "@batch"  # in the place of a reason: its day is the number of the last batch that was added


class RefusalLedger:
    """The part of the ledger that counts refusals."""

    engine: sa.Engine

    def count_refusals(self, team: str, counts: dict[tuple[str, str], int], *, batch: str = "") -> bool:
        """Add to the counts of refusals, by (day YYYY-MM-DD, reason). False: this `batch` was added before.

        Batches are numbered upwards; the last one added stands beside the counts, written in the same transaction.
        """
        rows = [{"team": team, "day": d, "reason": r, "count": n} for (d, r), n in sorted(counts.items()) if n]
        insert = upsert(self.engine, REFUSAL)
        adding = insert.on_conflict_do_update(
            index_elements=["team", "reason", "day"], set_={"count": REFUSAL.c.count + insert.excluded["count"]}
        )
        marks = (REFUSAL.c.team == team, REFUSAL.c.reason == BATCH)
        try:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
                if batch:
                    if self._has_batch(connection, team, batch):
                        return False
                    connection.execute(REFUSAL.insert().values(team=team, reason=BATCH, day=batch, count=1))
                    connection.execute(REFUSAL.delete().where(*marks, REFUSAL.c.day < batch))
                if rows:
                    connection.execute(adding, rows)
        except IntegrityError:  # another coordinator adds the same batch at this moment
            return False
        return True

    def has_refusals(self, team: str, batch: str) -> bool:
        """Whether this batch of refusals was added."""
        with self.engine.connect() as connection:
            return self._has_batch(connection, team, batch)

    def _has_batch(self, connection: sa.Connection, team: str, batch: str) -> bool:
        query = sa.select(sa.func.max(REFUSAL.c.day)).where(REFUSAL.c.team == team, REFUSAL.c.reason == BATCH)
        return str(connection.execute(query).scalar() or "") >= batch

    def refusals(self, team: str, since: str, until: str = "9999") -> dict[tuple[str, str], int]:
        """What was refused, by (day, reason), from the day `since` to the day `until`, both included."""
        query = sa.select(REFUSAL.c.day, REFUSAL.c.reason, REFUSAL.c.count).where(
            REFUSAL.c.team == team, REFUSAL.c.reason != BATCH, REFUSAL.c.day.between(since, until)
        )
        with self.engine.connect() as connection:
            return {(day, reason): count for day, reason, count in connection.execute(query)}
