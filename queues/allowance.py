"""Budgets across processes (EN-12): what is about to be spent is reserved in Redis before it is spent, or refused.

    reserve   the worst case is counted in every counter it concerns, in one atomic step, or nothing is
    settle    afterwards the worst case is exchanged for what was really spent

A counter is a ticket, or an agent or the team on a UTC day. SQL has what finished steps took (spending.py); Redis has
that and what is reserved now. A counter that Redis lost is loaded from SQL at its next use; what is being spent at that
moment is added when it is settled. So concurrent calls cannot together go over a limit: at most one call's difference
between its real use and its worst case can.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import redis

from .keys import Keys

__all__ = ["Allowance", "Amount", "Limit", "Over", "Reserved"]

KEPT_S = 3 * 86_400  # a day's counter outlives its day; SQL has the rest
TRIES = 5


@dataclass(frozen=True, slots=True)
class Amount:
    """What a budget counts: tokens in and out, billionths of money, runs."""

    tokens: int = 0
    money: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be spent of one counter. None = no limit. `ticket_id`, `agent` and `day` say whose it is."""

    words: str  # "the budget of T-2026-001"
    tokens: int | None = None
    money: int | None = None
    runs: int | None = None
    ticket_id: str | None = None
    agent: str | None = None
    day: str | None = None

    @property
    def name(self) -> str:
        return self.ticket_id or (f"@{self.agent}:{self.day}" if self.agent else f"day:{self.day}")


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is counted now, and in which generation of each counter."""

    amount: Amount
    counters: tuple[tuple[str, str], ...]


class Over(Exception):
    """One counter has not enough left; nothing was counted. `there` is what is spent and reserved."""

    def __init__(self, limit: Limit, which: str, there: int, amount: Amount) -> None:
        most = getattr(limit, which)
        super().__init__(
            f"{limit.words} is {_shown(which, most)}: {_shown(which, there)} are spent or reserved, and "
            f"{_shown(which, getattr(amount, which))} more may be needed"
        )
        self.limit, self.which, self.there = limit, which, there


class Allowance:
    """The counters of one team. `spent` asks SQL. Safe to share between threads and processes."""

    def __init__(self, client: redis.Redis, keys: Keys, spent: Callable[..., Amount]) -> None:
        self.client: Any = client
        self.keys, self._spent = keys, spent
        lua = files("shiftlead.queues") / "lua"
        self._reserve = client.register_script((lua / "reserve.lua").read_text())
        self._settle = client.register_script((lua / "settle.lua").read_text())
        self._load = client.register_script((lua / "load_spent.lua").read_text())

    def reserve(self, limits: Sequence[Limit], amount: Amount) -> Reserved:
        """Count `amount` in every counter.

        Raises:
            Over: one of them has not enough left.
            redis.RedisError, SQLAlchemyError: nothing was counted, so nothing may be spent.
        """
        names = [self.keys.spent(limit.name) for limit in limits]
        args: list[Any] = [amount.tokens, amount.money, amount.runs, KEPT_S]
        for limit in limits:
            args += ["" if most is None else most for most in (limit.tokens, limit.money, limit.runs)]
        for _ in range(TRIES * len(limits)):
            said, *rest = self._reserve(keys=names, args=args)
            if said == "ok":
                return Reserved(amount, tuple(zip(names, rest, strict=True)))
            limit = limits[int(rest[0]) - 1]
            if said == "over":
                raise Over(limit, rest[1], int(rest[2]), amount)
            spent = self._in_sql(limit)
            loaded: list[str | int] = [uuid.uuid4().hex, spent.tokens, spent.money, spent.runs, KEPT_S]
            self._load(keys=[self.keys.spent(limit.name)], args=loaded)
        raise redis.RedisError("the counters of a budget are lost again and again")

    def settle(self, reserved: Reserved, spent: Amount) -> None:
        """Exchange what was reserved for what was spent. Once for each reservation."""
        held, names = reserved.amount, [name for name, _ in reserved.counters]
        args: list[Any] = [held.tokens, held.money, held.runs, spent.tokens, spent.money, spent.runs]
        self._settle(keys=names, args=[*args, *(generation for _, generation in reserved.counters)])

    def counted(self, limit: Limit) -> Amount:
        """What is spent and reserved of one counter now."""
        there = self.client.hmget(self.keys.spent(limit.name), "tokens", "money", "runs")
        return self._in_sql(limit) if there[0] is None else Amount(*map(int, there))

    def _in_sql(self, limit: Limit) -> Amount:
        return self._spent(ticket_id=limit.ticket_id, agent=limit.agent, day=limit.day)


def _shown(which: str, number: int) -> str:
    return f"{number / 1e9:,.4g} of money" if which == "money" else f"{number:,} {which}"
