"""What a customer brought before: one question to the ledger, answered by an index."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from .ledger import Ledger
from .ledger_tables import METADATA
from .ticket import Ticket

__all__ = ["earlier_tickets"]

TICKET = METADATA.tables["ticket"]


def earlier_tickets(ledger: Ledger, team: str, customer: str, limit: int, *, but: Collection[str] = ()) -> list[Ticket]:
    """The newest tickets of this customer, newest first, without `but` (ids) and without parts of other tickets."""
    t = TICKET.c
    query = sa.select(t.doc).where(
        t.team == team, t.customer == customer, t.customer != "", t.parent.is_(None), t.id.not_in(list(but))
    )
    with ledger.engine.connect() as connection:
        rows = connection.execute(query.order_by(t.id.desc()).limit(limit))
        return [Ticket.model_validate_json(doc) for (doc,) in rows]
