"""The tables of the ledger. Every key starts with the team, so one database can serve many.

`event` is what happened, chained by hashes. `event_body` is the text of it, which can be erased without breaking the
chain. `ticket` and `agent_state` are the last documents: a rebuild of Redis reads them and nothing else. Times are
unix seconds, UTC. The tables have a metadata of their own: a program that embeds us may have a table `ticket`, too.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

__all__ = [
    "METADATA", "AgentStateRow", "ApiKeyRow", "EffectRow", "EventBodyRow", "EventRow", "IdempotencyRow",
    "LedgerHeadRow", "OutcomeRow", "QuarantineRow", "RefusalRow", "SpendingRow", "TicketRow",
]  # fmt: skip


class _Row(SQLModel, registry=registry()):
    """Base of our tables."""


METADATA = _Row.metadata


class LedgerHeadRow(_Row, table=True):
    """Where the ledger of a team stands. Updating it is what fences two writers: see ledger_writer.py."""

    __tablename__ = "ledger_head"
    team: str = Field(primary_key=True)
    epoch: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    hash: str
    cursor: str


class EventRow(_Row, table=True):
    """One line. `ticket_id` is "" where an epoch begins (`ticket_seq` is the epoch then) and `@<agent>` for agents."""

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("team", "ticket_id", "ticket_seq", name="uq_event_ticket_seq"),
        {"sqlite_with_rowid": False},
    )
    team: str = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    ticket_id: str
    ticket_seq: int = Field(sa_type=BigInteger)
    number: str
    move: str
    before: str | None = None
    after: str | None = None
    actor: str
    at: float
    life: int
    payload_hash: str
    hash: str
    stream_id: str
    epoch: int = Field(sa_type=BigInteger)


class EventBodyRow(_Row, table=True):
    """The line itself, JSON. Erased: `text` is empty and `erased_at` is set."""

    __tablename__ = "event_body"
    team: str = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    text: str = Field(sa_type=Text)
    erased_at: float | None = None


class TicketRow(_Row, table=True):
    """The last document of a ticket. Ids are uuid7, so their order is their age."""

    __tablename__ = "ticket"
    __table_args__ = (
        UniqueConstraint("team", "number", name="uq_ticket_number"),
        Index("ix_ticket_queue", "team", "queue", "id"),
        Index(
            "ix_ticket_assigned", "team", "assigned_to", "id",
            sqlite_where=text("assigned_to IS NOT NULL"), postgresql_where=text("assigned_to IS NOT NULL"),
        ),
        Index(
            "ix_ticket_closed", "team", "closed_at",
            sqlite_where=text("closed_at IS NOT NULL"), postgresql_where=text("closed_at IS NOT NULL"),
        ),
        Index(
            "ix_ticket_customer", "team", "customer", "id",
            sqlite_where=text("customer <> ''"), postgresql_where=text("customer <> ''"),
        ),
    )  # fmt: skip
    team: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    number: str
    state: str
    queue: str
    priority: str
    type: str
    customer: str
    assigned_to: str | None = None
    parent: str | None = None
    created_at: float
    updated_at: float
    closed_at: float | None = None
    seq: int = Field(sa_type=BigInteger)
    doc: str = Field(sa_type=Text)


class AgentStateRow(_Row, table=True):
    """The last document of an agent: paused, busy until."""

    __tablename__ = "agent_state"
    team: str = Field(primary_key=True)
    agent: str = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    doc: str = Field(sa_type=Text)


class IdempotencyRow(_Row, table=True):
    """Which ticket a request with this key became. `digest` is the sha256 of the key, `body` of the request."""

    __tablename__ = "idempotency"
    team: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    key: str = Field(sa_type=Text)
    body: str
    ticket_id: str
    number: str
    at: float


class QuarantineRow(_Row, table=True):
    """A line SQL refused, kept as it came (`fields`, JSON) and why. The rest was recorded without it."""

    __tablename__ = "quarantine"
    team: str = Field(primary_key=True)
    id: int = Field(primary_key=True, sa_type=BigInteger)
    stream_id: str
    reason: str = Field(sa_type=Text)
    fields: str = Field(sa_type=Text)
    at: float


class RefusalRow(_Row, table=True):
    """How often something was refused on a day (YYYY-MM-DD, UTC)."""

    __tablename__ = "refusal"
    team: str = Field(primary_key=True)
    reason: str = Field(primary_key=True)
    day: str = Field(primary_key=True)
    count: int = Field(sa_type=BigInteger)


class ApiKeyRow(_Row, table=True):
    """A key of the HTTP door: only its hash. `scopes` are separated by spaces."""

    __tablename__ = "api_key"
    team: str = Field(primary_key=True)
    hash: str = Field(primary_key=True, index=True)
    name: str
    scopes: str
    agent: str | None = None
    created_at: float
    revoked_at: float | None = None


class EffectRow(_Row, table=True):
    """One thing an agent does to the outside, once in a life of a ticket: see effects.py. Never the same key twice.

    `token` is the fencing token of the latest attempt, `approval` the approval ticket that allowed it. `arguments` and
    `result` are JSON; erased they are empty, and that it was done still stands.
    """

    __tablename__ = "effect"
    __table_args__ = (
        Index(
            "ix_effect_unknown", "team", "begun_at",
            sqlite_where=text("state = 'unknown'"), postgresql_where=text("state = 'unknown'"),
        ),
    )  # fmt: skip
    team: str = Field(primary_key=True)
    ticket_id: str = Field(primary_key=True)
    life: int = Field(primary_key=True)
    tool: str = Field(primary_key=True)
    target: str = Field(primary_key=True)
    state: str
    attempt: int
    token: int = Field(sa_type=BigInteger)
    agent: str
    approval: str
    arguments: str = Field(sa_type=Text)
    result: str = Field(sa_type=Text)
    why: str = Field(sa_type=Text)
    begun_at: float
    ended_at: float | None = None


class SpendingRow(_Row, table=True):
    """What one step took: one turn of an agent on a ticket, a run. `token` is the fencing token it was held with.

    `day` is the UTC day (YYYY-MM-DD) the step began on; budgets count by it. `models` is JSON: name to
    [calls, input tokens, output tokens, cost]. Costs are billionths of the currency of the prices, as whole numbers,
    so that sums are exact; `unpriced` calls cost an amount nobody knows, `estimated` calls are counted by a guess.
    `summary` stood in the prompt for the `condensed` older lines of history; `left_out` lines were not in it at all.
    The whole is in the ledger. Erased it is empty.
    """

    __tablename__ = "spending"
    __table_args__ = (
        Index("ix_spending_day", "team", "day", "agent"),
        Index("ix_spending_trace", "team", "trace_id"),
    )
    team: str = Field(primary_key=True)
    ticket_id: str = Field(primary_key=True)
    life: int = Field(primary_key=True)
    token: int = Field(primary_key=True, sa_type=BigInteger)
    number: str
    trace_id: str
    agent: str
    day: str
    began_at: float
    ended_at: float
    report: str
    models: str = Field(sa_type=Text)
    prompt: str
    variant: str
    calls: int
    input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    cost: int = Field(sa_type=BigInteger)
    unpriced: int
    estimated: int
    condensed: int
    left_out: int
    summary: str = Field(sa_type=Text)


class OutcomeRow(_Row, table=True):
    """What became of a completed ticket, as people said last. `seq` is the line that says it, with their comment."""

    __tablename__ = "outcome"
    __table_args__ = (Index("ix_outcome_at", "team", "at"), Index("ix_outcome_trace", "team", "trace_id"))
    team: str = Field(primary_key=True)
    ticket_id: str = Field(primary_key=True)
    life: int = Field(primary_key=True)
    seq: int = Field(sa_type=BigInteger)
    trace_id: str
    accepted: bool | None = None
    escalated: bool | None = None
    csat: int | None = None
    actor: str
    at: float
