"""What models cost: every call counted by step, ticket, agent and day, and written to the log. In memory only.

A call whose server sent no usage, or that broke off, is counted with an estimate and says so. A model without a price
costs an unknown amount, which is counted as such: never as nothing.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal

__all__ = ["Call", "Count", "Meter", "Metered", "METER", "cost_of"]

log = logging.getLogger(__name__)
KEPT = {"step": 10_000, "ticket": 10_000, "agent": 1_000, "day": 400}
By = Literal["step", "ticket", "agent", "day"]
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model. `step` is one turn of an agent on a ticket: ticket, life and token. Times are unix seconds.

    `outcome` in a word: ok, tools, truncated, refused, busy, error, timeout. An answer that came and could not be used
    is ok here: it has been paid for.
    """

    at: float
    team: str
    ticket: str
    number: str
    life: int
    token: int
    agent: str
    model: str
    prompt: str
    outcome: str
    input_tokens: int
    output_tokens: int
    estimated: bool
    cost: Decimal | None
    took_s: float

    @property
    def step(self) -> str:
        return f"{self.ticket}/{self.life}/{self.token}"

    @property
    def day(self) -> str:
        """The UTC day."""
        return datetime.fromtimestamp(self.at, UTC).date().isoformat()


@dataclass(slots=True)
class Count:
    """A sum of calls. `unpriced` of them cost an amount nobody knows."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, call: Call) -> None:
        self.calls += 1
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        self.cost += call.cost or 0
        self.unpriced += call.cost is None


@dataclass(frozen=True, slots=True)
class Metered:
    """What one turn of an agent on a ticket took: to be kept beside its report.

    `prompt` is the version of the prompt's parts, `variant` the name it has in the configuration; `left_out` and
    `condensed` count lines of history, `summary` is what stood in the prompt in their place.
    """

    team: str
    ticket: str
    number: str
    life: int
    token: int
    agent: str
    report: str
    prompt: str
    variant: str = ""
    condensed: int = 0
    left_out: int = 0
    summary: str = ""
    calls: tuple[Call, ...] = ()
    count: Count = field(default_factory=Count)


class Meter:
    """Sums in memory. Safe to share between threads; the oldest sums are forgotten beyond KEPT."""

    def __init__(self, told: Callable[[Call], None] | None = None) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._sums: dict[str, OrderedDict[str, Count]] = {by: OrderedDict() for by in KEPT}

    def add(self, call: Call) -> None:
        """Count one call and write it to the log."""
        keys = {"step": call.step, "ticket": call.ticket, "agent": f"{call.team}/{call.agent}", "day": call.day}
        with self._lock:
            for by, key in keys.items():
                sums = self._sums[by]
                sums.setdefault(key, Count()).add(call)
                sums.move_to_end(key)
                if len(sums) > KEPT[by]:
                    sums.popitem(last=False)
        shown = asdict(call) | {"cost": None if call.cost is None else str(call.cost), "ticket": call.number}
        log.info("model call", extra=shown | {"took_s": round(call.took_s, 3)})
        if self._told is not None:
            self._told(call)

    def sums(self, by: By) -> dict[str, Count]:
        """A copy of the sums: by step `ticket/life/token`, ticket id, `team/agent`, or day (UTC)."""
        with self._lock:
            return {key: Count(**asdict(count)) for key, count in self._sums[by].items()}


def cost_of(prices: str, model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
    """What so many tokens cost by `prices` (the setting openai_prices); None where the model has no price."""
    price = _read(prices).get(model)
    return None if price is None else (price[0] * input_tokens + price[1] * output_tokens) / MILLION


@lru_cache(maxsize=8)
def _read(prices: str) -> Mapping[str, tuple[Decimal, Decimal]]:
    loaded = json.loads(prices or "{}", parse_float=Decimal)
    return {model: (Decimal(price["input"]), Decimal(price["output"])) for model, price in loaded.items()}


METER = Meter()  # of this process
