"""The team's numbers over a span of time, from the ledger alone: what came in, how fast, how much without a person.

Rows are streamed and added up, so a month of many tickets a day needs memory for one number a ticket and no more. Of
the tickets only those are read that are open or were closed since; of the lines only those of the span. A ticket
somebody handed on counts for its agent and its queue; how fast and how good we were is told by whole matters, tickets
without a parent. A number nobody recorded is None, never a guess. Times are unix seconds, UTC; spans are seconds.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import ceil
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field, computed_field

from shiftlead.config.duration import duration_s
from shiftlead.config.team import Team

from .errors import BadInput
from .flow import OPEN_STATES, SKEW_S, Flow, lines_between, place
from .ledger import TICKET, Ledger
from .lifecycle import CLOSED, OPEN, QUEUE_OF, Move, Queue, State
from .outcomes import Outcomes
from .spending import Spending

__all__ = [
    "Age", "Approvals", "Arrivals", "Hits", "Load", "Span", "Stats", "back_s", "first_reply_of", "open_or_closed_since",
    "statistics",
]  # fmt: skip

HOUR_S = 3600.0
LONGEST_S = 366 * 86_400.0
OURS = frozenset({"brief"})  # tickets Shiftlead writes itself are no work that came in


class Span(BaseModel):
    """How long something took, `n` times. Percentiles are the nearest rank; None when it never happened."""

    n: int = 0
    mean_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None


class Age(BaseModel):
    """How old the open tickets of a queue or state are, counted from their arrival."""

    n: int = 0
    oldest_s: float = 0.0
    p95_s: float = 0.0


class Hits(BaseModel):
    """How many first useful answers came by their `due`, of those for which that is decided."""

    hit: int = 0
    of: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float | None:
        return self.hit / self.of if self.of else None


class Approvals(BaseModel):
    """Approvals asked for in the span, and those answered or expired in it."""

    asked: int = 0
    yes: int = 0
    no: int = 0
    expired: int = 0


class Load(BaseModel):
    """An agent's part. `share` of the time of all its slots; `waiting`: open tickets it has not begun."""

    completed: int = 0
    working_s: float = 0.0
    share: float = 0.0
    waiting: int = 0


class Arrivals(BaseModel):
    """Matters that came in within the hour that begins `at`."""

    at: float
    count: int


class Stats(BaseModel):
    """The numbers of one team from `since` until just before `until`."""

    team: str
    since: float
    until: float
    arrived: int = Field(0, description="tickets without a parent that came in")
    handed_on: int = Field(0, description="tickets made for a part of another one")
    completed: dict[str, int] = Field(default_factory=dict, description="without a parent, by the state they stand in")
    unaided: int = Field(0, description="resolved ones in which no person had a hand")
    first_reply: Span = Field(default_factory=Span)
    resolution: Span = Field(default_factory=Span)
    sla: Hits = Field(default_factory=Hits)
    sla_by_priority: dict[str, Hits] = Field(default_factory=dict)
    age_by_queue: dict[str, Age] = Field(default_factory=dict)
    age_by_state: dict[str, Age] = Field(default_factory=dict)
    in_state_s: dict[str, float] = Field(default_factory=dict, description="seconds of all tickets together")
    escalations: int = 0
    reopened: int = 0
    handoffs: int = 0
    approvals: Approvals = Field(default_factory=Approvals)
    csat: float | None = Field(None, description="mean of 1 to 5; None: nobody said")
    csat_of: int = Field(0, description="tickets of which somebody said in the span how satisfied they are")
    accepted: Hits = Field(default_factory=Hits, description="of the tickets of which somebody said")
    cost: float = Field(0.0, description="of the steps that began in the span; of unpriced calls nothing")
    tokens: int = 0
    unpriced: int = Field(0, description="calls of models that have no price")
    cost_per_ticket: float | None = Field(
        None,
        description="cost by whole matters completed in it; None: no model was asked, one has no price, or none ended",
    )
    agents: dict[str, Load] = Field(default_factory=dict)
    arrivals: list[Arrivals] = Field(default_factory=list)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unaided_share(self) -> float | None:
        """Of the resolved ones, the part no person had a hand in."""
        resolved = self.completed.get(State.RESOLVED, 0)
        return self.unaided / resolved if resolved else None


def statistics(ledger: Ledger, team: Team, *, since: float, until: float, now: float) -> Stats:
    """The numbers of `team` for [since, until); ages are those at `now`.

    What stands in a ticket's last document is told as it stands: a ticket that was reopened is open, not resolved.
    """
    with ledger.engine.connect() as connection:
        flow = Flow(team, since, until)
        low, high = place(connection, team.team, since - SKEW_S), place(connection, team.team, until + SKEW_S)
        for row in lines_between(connection, team.team, low, high):
            flow.line(*row)
        sums = _Sums(team, flow, flow.aided(connection), now)
        for row in open_or_closed_since(connection, team.team, since):
            sums.ticket(*row)
        flow.end()
        flow.find_holders(connection)
    return _judged(sums.stats(), ledger)


def back_s(text: str) -> float:
    """How far back `24h` or `7d` looks, in seconds.

    Raises:
        BadInput: it is no time, or longer than 366 days.
    """
    try:
        seconds = duration_s(text)
    except ValueError as error:
        raise BadInput(f"since: {error}.", field="since") from None
    if seconds > LONGEST_S:
        raise BadInput(f"since: {text!r} is longer than 366 days.", field="since")
    return seconds


def first_reply_of(doc: dict[str, Any], closed_at: float | None, state: str) -> float | None:
    """When the requester first heard something useful. Old documents do not say; their end then counts (I20)."""
    at = doc.get("first_reply_at")
    if at is None and state == State.RESOLVED:
        at = closed_at
    return None if at is None else float(at)


def open_or_closed_since(connection: sa.Connection, team: str, since: float) -> Iterator[Any]:
    """(id, state, priority, type, assigned_to, parent, created, updated, closed, document), each ticket once."""
    t = TICKET.c
    query = sa.select(
        t.id, t.state, t.priority, t.type, t.assigned_to, t.parent, t.created_at, t.updated_at, t.closed_at, t.doc
    ).where(t.team == team)
    for which in (t.queue.in_([str(Queue.INTAKE), str(Queue.ACTIVE)]), t.closed_at >= since):
        yield from connection.execute(query.where(which), execution_options={"yield_per": 500})


def _judged(made: Stats, ledger: Ledger) -> Stats:
    """With what people said of the answers, and what models cost."""
    said = Outcomes(ledger, made.team).since(made.since, made.until)
    stars = [one.csat for one in said if one.csat is not None]
    made.csat, made.csat_of = (sum(stars) / len(stars) if stars else None), len(stars)
    judged = [one.accepted for one in said if one.accepted is not None]
    made.accepted = Hits(hit=sum(judged), of=len(judged))
    total = Spending(ledger, made.team).total(since=made.since, until=made.until)
    made.cost, made.tokens, made.unpriced = total.cost, total.input_tokens + total.output_tokens, total.unpriced
    ended = sum(made.completed.values())
    if total.calls and not total.unpriced and ended:
        made.cost_per_ticket = total.cost / ended
    return made


class _Sums:
    """The tickets, added up."""

    def __init__(self, team: Team, flow: Flow, aided: set[str], now: float) -> None:
        self.team, self.flow, self.aided, self.now = team, flow, aided, now
        self.since, self.until = flow.since, flow.until
        self.made = Stats(team=team.team, since=self.since, until=self.until)
        self.made.completed = {str(s): 0 for s in State if s in CLOSED}
        self.made.sla_by_priority = {str(p): Hits() for p in team.priorities}
        self.replies, self.ends = array("d"), array("d")
        self.ages: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self.hours: Counter[int] = Counter()
        self.waiting: Counter[str] = Counter()

    def ticket(
        self, ticket_id: str, state: str, priority: str, type_: str, assigned_to: str | None, parent: str | None,
        created_at: float, updated_at: float, closed_at: float | None, text: str,
    ) -> None:  # fmt: skip
        """Take the next ticket."""
        if state in OPEN_STATES:
            self.ages[state].append(self.now - created_at)
            self.flow.untouched(ticket_id, state, assigned_to, created_at, updated_at)
            if assigned_to is not None and state == State.ASSIGNED:
                self.waiting[assigned_to] += 1
            elif state == State.READY and '"named":null' not in text and (named := json.loads(text).get("named")):
                self.waiting[named] += 1
        came, closed = self._within(created_at), closed_at is not None and self._within(closed_at)
        if type_ == "approval":
            self.made.approvals.asked += came
            if closed and state == State.RESOLVED:
                yes = (json.loads(text).get("result") or {}).get("decision") == "approve"
                self.made.approvals.yes += yes
                self.made.approvals.no += not yes
        if parent is not None:
            self.made.handed_on += came
        elif type_ not in OURS:
            if came:
                self.made.arrived += 1
                self.hours[int(created_at // HOUR_S)] += 1
            self._whole(ticket_id, state, priority, created_at, closed_at, json.loads(text), closed)

    def _whole(
        self, ticket_id: str, state: str, priority: str, created_at: float, closed_at: float | None,
        doc: dict[str, Any], closed: bool,
    ) -> None:  # fmt: skip
        """A whole matter: how fast, in time, and without a person?"""
        replied = first_reply_of(doc, closed_at, state)
        if replied is not None and self._within(replied):
            self.replies.append(replied - created_at)
        if closed and closed_at is not None:
            self.made.completed[state] += 1
            if state == State.RESOLVED:
                self.ends.append(closed_at - created_at)
                self.made.unaided += not (doc.get("aided") or ticket_id in self.aided or self._approved(doc))
        self._in_time(state, priority, closed_at, doc, replied)

    def _in_time(
        self, state: str, priority: str, closed_at: float | None, doc: dict[str, Any], replied: float | None
    ) -> None:
        """A hit is decided when the answer comes, a miss when the time is over: so each ticket counts in one span."""
        due = float(doc.get("due") or 0.0)
        if state == State.NEW or not due or (replied is None and state == State.CANCELLED):
            return
        decided = min(x for x in (due, replied, closed_at) if x is not None)
        if decided > self.now or not self._within(decided):
            return
        for hits in (self.made.sla, self.made.sla_by_priority.setdefault(priority, Hits())):
            hits.of += 1
            hits.hit += replied is not None and replied <= due

    def _approved(self, doc: dict[str, Any]) -> bool:
        """Whether a person answered an approval of it."""
        answers = (a for a in doc.get("answers") or [] if a.get("type") == "approval" and a.get("state") == "resolved")
        who = [str(a.get("agent") or "") for a in answers]
        return any(name and (name not in self.team.agents or self.team.agents[name].human) for name in who)

    def _within(self, at: float) -> bool:
        return self.since <= at < self.until

    def stats(self) -> Stats:
        """All of it, after the last ticket."""
        made, counts = self.made, self.flow.counts
        made.first_reply, made.resolution = span(self.replies), span(self.ends)
        made.escalations, made.reopened = counts[Move.ESCALATE], counts[Move.REOPEN]
        made.handoffs, made.approvals.expired = counts[Move.HAND_OFF], counts["expired"]
        made.in_state_s = {str(s): round(self.flow.in_state[s], 3) for s in State if s in OPEN}
        queues: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        for state, ages in self.ages.items():
            made.age_by_state[state] = _age(ages)
            queues[str(QUEUE_OF[State(state)])].extend(ages)
        made.age_by_queue = {str(q): _age(queues[q]) for q in (Queue.INTAKE, Queue.ACTIVE)}
        for name, spec in self.team.agents.items():
            seconds = self.flow.working[name]
            share = seconds / (max(self.until - self.since, 1.0) * spec.capacity)
            made.agents[name] = Load(
                completed=self.flow.completed[name], working_s=round(seconds, 3), share=round(share, 4),
                waiting=self.waiting[name],
            )  # fmt: skip
        hours = range(int(self.since // HOUR_S), ceil(self.until / HOUR_S))
        made.arrivals = [Arrivals(at=hour * HOUR_S, count=self.hours[hour]) for hour in hours]
        return made


def span(values: array[float]) -> Span:
    """Mean and percentiles."""
    if not values:
        return Span()
    ordered = sorted(values)
    return Span(
        n=len(ordered), mean_s=sum(ordered) / len(ordered), p50_s=_rank(ordered, 0.5), p95_s=_rank(ordered, 0.95)
    )


def _age(values: array[float]) -> Age:
    ordered = sorted(values)
    return Age(n=len(ordered), oldest_s=ordered[-1], p95_s=_rank(ordered, 0.95)) if ordered else Age()


def _rank(ordered: list[float], part: float) -> float:
    return ordered[ceil(part * len(ordered)) - 1]
