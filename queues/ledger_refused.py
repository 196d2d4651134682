"""What SQL refused of a batch: lines it has already, and lines it will not take, which go to quarantine."""

from __future__ import annotations

import json

import sqlalchemy as sa

from .errors import LedgerHalted
from .ledger import EVENT
from .ledger_rows import Entry
from .ledger_tables import METADATA

__all__ = ["not_recorded", "quarantine"]

TABLE = METADATA.tables["quarantine"]


def not_recorded(connection: sa.Connection, team: str, entries: list[Entry]) -> list[Entry]:
    """The entries without those SQL has word for word.

    Raises:
        LedgerHalted: SQL has another line at the same place of the same ticket.
    """
    have: dict[tuple[str, int], str] = {}
    ids = sorted({e.ticket_id for e in entries if not e.bad})
    query = sa.select(EVENT.c.ticket_id, EVENT.c.ticket_seq, EVENT.c.payload_hash).where(EVENT.c.team == team)
    for start in range(0, len(ids), 500):
        for ticket_id, seq, payload in connection.execute(query.where(EVENT.c.ticket_id.in_(ids[start : start + 500]))):
            have[ticket_id, seq] = payload
    fresh = []
    for e in entries:
        place = (e.ticket_id, e.seq)
        if e.bad or place not in have:
            fresh.append(e)
            if not e.bad:
                have[place] = e.payload
        elif have[place] != e.payload:
            raise LedgerHalted(
                f"{e.number or e.ticket_id or 'The epoch'}: SQL already has another line {e.seq} than the stream "
                f"at {e.stream_id}. The ledger of team {team!r} is halted: nothing more is recorded or "
                "acknowledged. Run `shiftlead audit verify`, keep both, and ask who else wrote to this Redis."
            )
    return fresh


def quarantine(connection: sa.Connection, team: str, refused: list[tuple[Entry, str]], at: float) -> None:
    if not refused:
        return
    column = TABLE.c.id
    last = connection.execute(sa.select(sa.func.max(column)).where(TABLE.c.team == team)).scalar() or 0
    connection.execute(TABLE.insert(), [
        {"team": team, "id": last + n, "stream_id": e.stream_id, "reason": why.encode(
            "ascii", "backslashreplace").decode().replace("\0", "\\0"), "fields": json.dumps(e.raw),
         "at": at}
        for n, (e, why) in enumerate(refused, 1)
    ])  # fmt: skip
