"""What steps took - calls, tokens, money, prompts - written by workers and kept for ever. Offline brains count too.

A step is one turn of an agent on a ticket, held with one fencing token: a run. Its row is written again after each call
of a model, so a worker that dies loses the call it was in and no more. Costs are whole billionths of the currency of
SHIFTLEAD_OPENAI_PRICES, so that sums are exact. Times are unix seconds; days are UTC days, YYYY-MM-DD.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, Field

from .allowance import Amount
from .ledger import Ledger
from .ledger_database import upsert
from .ledger_erase import ERASE
from .ledger_tables import METADATA

__all__ = [
    "BILLION", "BY", "By", "Cost", "Costs", "Spending", "Step", "TicketCost", "day_of", "in_billionths",
]  # fmt: skip

SPENDING, EVENT = METADATA.tables["spending"], METADATA.tables["event"]
KEY = ("team", "ticket_id", "life", "token")
BILLION = 1_000_000_000
By = Literal["step", "ticket", "agent", "day", "model", "prompt"]
BY: tuple[By, ...] = ("step", "ticket", "agent", "day", "model", "prompt")
PART = 500


@dataclass(slots=True)
class Step:
    """One row; see SpendingRow. `report` is the kind of its report, or a word for how it ended without one."""

    ticket_id: str
    life: int
    token: int
    number: str
    trace_id: str
    agent: str
    began_at: float
    day: str
    ended_at: float = 0.0
    report: str = ""
    models: dict[str, list[int]] = field(default_factory=dict)
    prompt: str = ""
    variant: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    unpriced: int = 0
    estimated: int = 0
    condensed: int = 0
    left_out: int = 0
    summary: str = ""


class Cost(BaseModel):
    """A sum over steps. Of `calls`, `unpriced` ones cost an amount nobody knows; it is not in `cost`."""

    key: str = Field(description="the step (number, life, token), ticket, agent, day, model or prompt")
    runs: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    estimated: int = Field(0, description="calls whose tokens are an estimate: the server did not say")


class Costs(BaseModel):
    """The dearest first, days in their order; `total` is of all steps that began since then, also those cut off."""

    team: str
    by: By
    since: float
    costs: list[Cost]
    total: Cost


class TicketCost(BaseModel):
    """What a ticket took, step by step. The cost of a step is in billionths, that of the total is not."""

    ticket: str
    steps: list[Step]
    total: Cost


class Spending:
    """The steps of one team. Safe to share between threads."""

    def __init__(self, ledger: Ledger, team: str) -> None:
        self.team, self._engine = team, ledger.engine
        insert = upsert(self._engine, SPENDING)
        columns = [c.name for c in SPENDING.columns if c.name not in KEY]
        self._write = insert.on_conflict_do_update(
            index_elements=list(KEY), set_={name: insert.excluded[name] for name in columns}
        )

    def write(self, steps: Sequence[Step]) -> None:
        """Write the steps, each over its own earlier row, in one transaction.

        A turn may go on when its ticket was cancelled and erased: its summary does not come back.
        """
        rows = [asdict(s) | {"team": self.team, "models": json.dumps(s.models) if s.models else ""} for s in steps]
        if rows:
            with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
                erased = self._erased(connection, [s for s in steps if s.summary])
                for row in rows:
                    if row["life"] <= erased.get(row["ticket_id"], 0):
                        row["summary"] = ""
                connection.execute(self._write, rows)

    def of(self, *ticket_ids: str) -> list[Step]:
        """Every step of those tickets, the first begun first."""
        found: list[Step] = []
        query = SPENDING.select().where(SPENDING.c.team == self.team)
        with self._engine.connect() as connection:
            for start in range(0, len(ticket_ids), PART):
                rows = connection.execute(query.where(SPENDING.c.ticket_id.in_(ticket_ids[start : start + PART])))
                found += [_step(row) for row in rows]
        return sorted(found, key=lambda step: (step.began_at, step.token))

    def spent(self, *, ticket_id: str | None = None, agent: str | None = None, day: str | None = None) -> Amount:
        """All of a ticket, of an agent on a day, or of the whole team on a day."""
        c = SPENDING.c
        sums = sa.select(sa.func.sum(c.input_tokens + c.output_tokens), sa.func.sum(c.cost), sa.func.count())
        query = sums.where(c.team == self.team)
        for column, wanted in ((c.ticket_id, ticket_id), (c.agent, agent), (c.day, day)):
            query = query if wanted is None else query.where(column == wanted)
        with self._engine.connect() as connection:
            tokens, money, runs = connection.execute(query).one()
        return Amount(int(tokens or 0), int(money or 0), runs)

    def costs(self, by: By, *, since: float = 0.0) -> list[Cost]:
        """Sums of the steps that began since then, the dearest first; days in their order."""
        if by == "model":
            return self._by_model(since)
        c = SPENDING.c
        keys = {
            "step": (c.number, c.life, c.token), "ticket": (c.number,), "agent": (c.agent,), "day": (c.day,),
            "prompt": (c.agent, c.variant, c.prompt),
        }[by]  # fmt: skip
        sums = [sa.func.sum(x) for x in (c.calls, c.input_tokens, c.output_tokens, c.cost, c.unpriced, c.estimated)]
        query = self._since(sa.select(*keys, sa.func.count(), *sums), since).group_by(*keys)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        made = [_cost(_name(by, row[: len(keys)]), *map(int, row[len(keys) :])) for row in rows]
        return sorted(made, key=lambda cost: cost.key) if by == "day" else _dearest_first(made)

    def report(self, by: By, *, since: float, limit: int) -> Costs:
        """The sums and the total, at most `limit` of them."""
        costs = self.costs(by, since=since)
        costs = costs[-limit:] if by == "day" else costs[:limit]
        return Costs(team=self.team, by=by, since=since, costs=costs, total=self.total(since=since))

    def of_ticket(self, ticket_id: str, number: str) -> TicketCost:
        """What the ticket took, of all its lives."""
        steps = self.of(ticket_id)
        sums = [
            sum(getattr(s, name) for s in steps)
            for name in ("calls", "input_tokens", "output_tokens", "cost", "unpriced", "estimated")
        ]
        return TicketCost(ticket=number, steps=steps, total=_cost(number, len(steps), *sums))

    def total(self, *, since: float = 0.0, until: float | None = None, agent: str | None = None) -> Cost:
        """The sum of everything that began in [since, until), of one agent or of all."""
        c = SPENDING.c
        sums = [sa.func.sum(x) for x in (c.calls, c.input_tokens, c.output_tokens, c.cost, c.unpriced, c.estimated)]
        query = self._since(sa.select(sa.func.count(), *sums), since)
        query = query if until is None else query.where(c.began_at < until)
        query = query if agent is None else query.where(c.agent == agent)
        with self._engine.connect() as connection:
            return _cost(agent or "total", *(int(n or 0) for n in connection.execute(query).one()))

    def erase(self, ticket_ids: Sequence[str]) -> int:
        """Erase the summaries of those tickets' histories; how many. What was spent stands."""
        query = SPENDING.update().where(SPENDING.c.team == self.team, SPENDING.c.summary != "").values(summary="")
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            parts = [ticket_ids[start : start + PART] for start in range(0, len(ticket_ids), PART)]
            return sum(connection.execute(query.where(SPENDING.c.ticket_id.in_(part))).rowcount for part in parts)

    def _erased(self, connection: sa.Connection, steps: Sequence[Step]) -> dict[str, int]:
        """The last life whose texts were erased, of those of the tickets that had any."""
        ids, found = list({step.ticket_id for step in steps}), dict[str, int]()
        query = sa.select(EVENT.c.ticket_id, sa.func.max(EVENT.c.life)).where(
            EVENT.c.team == self.team, EVENT.c.move == ERASE
        )
        for start in range(0, len(ids), PART):
            mine = query.where(EVENT.c.ticket_id.in_(ids[start : start + PART])).group_by(EVENT.c.ticket_id)
            found |= {row[0]: row[1] for row in connection.execute(mine)}
        return found

    def _by_model(self, since: float) -> list[Cost]:
        """A step may have asked several models: each call counts for its own, the run for each of them."""
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 5)
        query = self._since(sa.select(SPENDING.c.models).where(SPENDING.c.models != ""), since)
        with self._engine.connect() as connection:
            for (text,) in connection.execute(query, execution_options={"yield_per": 1000}):
                for model, numbers in json.loads(text).items():
                    sums[model] = [a + b for a, b in zip(sums[model], [1, *numbers], strict=True)]
        return _dearest_first(_cost(model, *n, 0, 0) for model, n in sums.items())

    def _since(self, query: Any, since: float) -> Any:
        query = query.where(SPENDING.c.team == self.team)
        if since <= 0:
            return query
        return query.where(SPENDING.c.day >= day_of(since), SPENDING.c.began_at >= since)  # the index is by day


def day_of(at: float) -> str:
    """The UTC day."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def in_billionths(money: Decimal | float) -> int:
    """Money as a whole number of billionths, rounded up: a fraction of one never makes a call free."""
    return int((Decimal(str(money)) * BILLION).to_integral_value(ROUND_CEILING))


def _step(row: Any) -> Step:
    values = {name: value for name, value in row._mapping.items() if name != "team"}
    return Step(**values | {"models": json.loads(row.models) if row.models else {}})


def _cost(key: str, *sums: int) -> Cost:
    """`sums`: runs, calls, input tokens, output tokens, cost, unpriced, estimated."""
    runs, calls, input_tokens, output_tokens, cost, unpriced, estimated = sums
    return Cost(
        key=key, runs=runs, calls=calls, input_tokens=input_tokens, output_tokens=output_tokens, cost=cost / BILLION,
        unpriced=unpriced, estimated=estimated,
    )  # fmt: skip


def _name(by: By, key: Sequence[Any]) -> str:
    if by == "step":
        return f"{key[0]} life {key[1]} token {key[2]}"
    if by == "prompt":
        return f"{key[0]}: {key[2] or 'no prompt'}"
    return str(key[0])


def _dearest_first(made: Iterable[Cost]) -> list[Cost]:
    return sorted(made, key=lambda cost: (-cost.cost, -cost.input_tokens - cost.output_tokens, -cost.runs, cost.key))
