"""The account of one turn: what it may spend, what it spends, and what is written down of it (EN-12, TP-10, SS-08).

    begin     a run is reserved, for every kind of brain
    reserve   before each call of a model: the worst case, its prompt and the longest answer at the model's price
    called    after it: what it really took; the step's row is written again
    close     the turn is over: the row says with which report

What is used up ends the turn: a ticket's budget with `OverBudget` - a person or decision-maker gets the ticket with the
reason -, an agent's or the team's day with `Busy` until the next UTC day. A model without a price cannot be held to a
budget of money: it is refused like one that is used up, and already when the brain is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NoReturn, Protocol

import redis
from sqlalchemy.exc import SQLAlchemyError

from shiftlead.config.team import Budget, Team
from shiftlead.queues.allowance import Allowance, Amount, Limit, Over, Reserved
from shiftlead.queues.spending import Step, day_of, in_billionths

from .agent import Work
from .meter import Call
from .quota import AWAY_S, Busy, OverBudget

__all__ = ["Account", "Accounts", "account_at_hand", "in_hand", "limits_for", "money_is_limited"]

log = logging.getLogger(__name__)


class Puts(Protocol):
    """Who writes rows, soon."""

    def put(self, step: Step) -> None: ...


class Accounts:
    """Opens the accounts of one worker process. Without `allowance` nothing is limited, without `puts` nothing kept."""

    def __init__(
        self, team: Team, *, now: Callable[[], float], allowance: Allowance | None = None, puts: Puts | None = None
    ) -> None:
        self.team, self.now, self.allowance, self.puts = team, now, allowance, puts

    def open(self, work: Work) -> Account:
        """The account of a turn that begins now."""
        limits = limits_for(self.team, work, day_of(self.now())) if self.allowance is not None else []
        return Account(work, now=self.now, limits=limits, allowance=self.allowance, puts=self.puts)


class Account:
    """One turn's. Used by one thread."""

    def __init__(
        self, work: Work, *, now: Callable[[], float], limits: Sequence[Limit] = (),
        allowance: Allowance | None = None, puts: Puts | None = None,
    ) -> None:  # fmt: skip
        ticket, began_at = work.ticket, now()
        self._now, self._limits, self._puts = now, limits, puts
        self._allowance = allowance if limits else None
        self._agent = work.agent
        self._run: Reserved | None = None
        self._call: Reserved | None = None
        self.step = Step(
            ticket_id=ticket.id, life=ticket.life, token=work.token, number=ticket.number, trace_id=ticket.trace_id,
            agent=work.agent, began_at=began_at, day=day_of(began_at),
        )  # fmt: skip

    def begin(self) -> None:
        """Reserve the run.

        Raises:
            OverBudget, Busy: there are none left.
        """
        self._run = self._reserved(Amount(runs=1))

    def reserve(self, model: str, tokens: int, cost: Decimal | None) -> None:
        """Reserve one call's worst case. One that is never `called` is given back at the next.

        Raises:
            OverBudget, Busy: there is not enough left, or the model has no price and money is limited.
        """
        self._give_back()
        if cost is None and (limit := next((x for x in self._limits if x.money is not None), None)):
            self._refuse(limit, f"{limit.words} limits money, and {model!r} has no price in SHIFTLEAD_OPENAI_PRICES")
        self._call = self._reserved(Amount(tokens=tokens, money=in_billionths(cost or 0)))

    def called(self, call: Call) -> None:
        """Count a call that was made."""
        step, cost = self.step, in_billionths(call.cost or 0)
        step.calls += 1
        step.input_tokens += call.input_tokens
        step.output_tokens += call.output_tokens
        step.cost += cost
        step.unpriced += call.cost is None
        step.estimated += call.estimated
        before = step.models.get(call.model, [0, 0, 0, 0])
        step.models[call.model] = [
            a + b for a, b in zip(before, (1, call.input_tokens, call.output_tokens, cost), strict=True)
        ]
        self._written()
        held, self._call = self._call, None
        self._settle(held, Amount(tokens=call.input_tokens + call.output_tokens, money=cost))

    def prompted(self, prompt: str, variant: str, condensed: int, left_out: int, summary: str) -> None:
        """Which prompt is used, and what stands in it in place of history."""
        step = self.step
        step.prompt, step.variant, step.summary = prompt, variant, summary
        step.condensed, step.left_out = condensed, left_out

    def close(self, report: str) -> None:
        """The turn is over. A turn that could not begin was no run and leaves nothing."""
        self._give_back()
        if self._allowance is not None and self._run is None:
            return
        self.step.report = report
        self._written()
        self._settle(self._run, Amount(runs=1))

    # -- helpers ------------------------------------------------------------------------------------------------

    def _reserved(self, amount: Amount) -> Reserved | None:
        if self._allowance is None:
            return None
        try:
            return self._allowance.reserve(self._limits, amount)
        except Over as over:
            self._refuse(over.limit, str(over))
        except (redis.RedisError, SQLAlchemyError) as error:  # nothing was counted, so nothing may be spent
            raise Busy(AWAY_S, f"its budgets cannot be read ({type(error).__name__})") from error

    def _refuse(self, limit: Limit, reason: str) -> NoReturn:
        if limit.ticket_id is not None:
            raise OverBudget(reason)
        free_again = f"; more: `budgets` in team.yaml, then `shiftlead agents resume {self._agent}`"
        raise Busy(_to_midnight(self._now()), f"{reason}{free_again}")

    def _give_back(self) -> None:
        """A call that was reserved and not made."""
        held, self._call = self._call, None
        self._settle(held, Amount())

    def _settle(self, held: Reserved | None, spent: Amount) -> None:
        """What cannot be settled stays counted as its worst case."""
        if self._allowance is None or held is None:
            return
        try:
            self._allowance.settle(held, spent)
        except redis.RedisError as error:
            log.warning("%s: what was reserved of its budgets stays so: %s", self.step.number, error)

    def _written(self) -> None:
        self.step.ended_at = self._now()
        if self._puts is not None:
            self._puts.put(self.step)


def limits_for(team: Team, work: Work, day: str) -> list[Limit]:
    """What a turn of `work` counts against, and may spend, on that UTC day. Empty: the team has no budgets.

    A decision-maker who needs no model is let through where a ticket's runs are used up: somebody must end it.
    """
    spec, budgets, number = team.agents.get(work.agent), team.budgets, work.ticket.number
    ticket = budgets.ticket
    if spec is not None and spec.brain != "openai" and work.agent in team.decision_makers():
        ticket = ticket.model_copy(update={"runs": None})
    own = spec.budget if spec is not None and spec.budget is not None else budgets.agent
    found = [
        _limit(f"the budget of {number}", ticket, ticket_id=work.ticket.id),
        _limit(f"the budget of {work.agent} on {day} (UTC)", own, agent=work.agent, day=day),
        _limit(f"the budget of team {team.team} on {day} (UTC)", budgets.team, day=day),
    ]
    return [limit for limit in found if (limit.tokens, limit.money, limit.runs) != (None, None, None)]


def money_is_limited(team: Team, agent: str) -> bool:
    """Whether any budget the agent's calls count against says how much money."""
    spec, budgets = team.agents[agent], team.budgets
    return any(b.money is not None for b in (budgets.ticket, spec.budget or budgets.agent, budgets.team))


def account_at_hand() -> Account | None:
    """The account of the turn this thread is in; a Python brain that asks a model itself counts its calls there."""
    return _AT_HAND.get()


@contextmanager
def in_hand(account: Account) -> Iterator[None]:
    """While it lasts, `account_at_hand` in this thread is this one."""
    token = _AT_HAND.set(account)
    try:
        yield
    finally:
        _AT_HAND.reset(token)


_AT_HAND: ContextVar[Account | None] = ContextVar("shiftlead_account", default=None)


def _limit(words: str, budget: Budget, **whose: str) -> Limit:
    money = None if budget.money is None else in_billionths(budget.money)
    return Limit(words, budget.tokens, money, budget.runs, **whose)


def _to_midnight(now: float) -> float:
    """Seconds to the next UTC day."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).timestamp() - now
