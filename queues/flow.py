"""The lines of a span of time, added up as they pass: counts, time in each state, who worked how long, who was helped.

Lines stand in the order of their time, so the span is found by halving; no index over times is needed. Kept in memory
is one entry for each ticket that is open meanwhile, and the tickets a person had a hand in.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from shiftlead.config.team import Team

from .ledger import EVENT, HEAD, TICKET
from .lifecycle import NOTES, OPEN, Move, State

__all__ = ["OPEN_STATES", "SKEW_S", "Flow", "by_person", "lines_between", "place"]

SKEW_S = 300.0  # a line's place and its time may disagree by so much
NO_HAND = NOTES | {Move.ACCEPT, Move.JOIN}  # whoever brings a matter has not helped with it
OPEN_STATES = frozenset(map(str, OPEN))


class Flow:
    """Takes the lines of [since, until) one by one, in their order."""

    def __init__(self, team: Team, since: float, until: float) -> None:
        self.team, self.since, self.until = team, since, until
        self.counts: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.in_state: defaultdict[str, float] = defaultdict(float)
        self.working: defaultdict[str, float] = defaultdict(float)
        self._touched: set[str] = set()
        self._authors: dict[str, str] = {}  # ticket in review -> whose reply it is
        self._unknown: list[tuple[str, int, float]] = []  # (ticket, place it was left at, seconds): who worked?
        self._stays: dict[str, tuple[str, float, str | None]] = {}  # open ticket -> state, since when, who works
        self._last = 0

    def line(
        self, seq: int, ticket_id: str, move: str, before: str | None, after: str | None, actor: str, at: float
    ) -> None:
        """Take the next line."""
        if not ticket_id or ticket_id.startswith("@") or at >= self.until:
            return
        self._last = seq
        if at >= self.since:
            self._count(ticket_id, move, actor)
        kind, _, name = actor.partition(":")
        if before == after:
            if after in OPEN_STATES:
                self._stays.setdefault(ticket_id, (str(after), self.since, None))
            return
        stay = self._stays.pop(ticket_id, None)
        if before in OPEN_STATES:
            state, begun, agent = stay or (str(before), self.since, None)
            self._stayed(ticket_id, state, begun, agent or (name if kind == "agent" else None), at, seq)
        if after in OPEN_STATES:
            self._stays[ticket_id] = (str(after), at, name if after == State.WORKING else None)

    def untouched(self, ticket_id: str, state: str, agent: str | None, created_at: float, updated_at: float) -> None:
        """An open ticket: where no line of the span speaks of it, it stood still the whole time."""
        if ticket_id not in self._stays and created_at < self.since and updated_at < self.since:
            self._stays[ticket_id] = (state, self.since, agent)

    def end(self) -> None:
        """What is open at the end of the span stays where it is until then."""
        for ticket_id, (state, begun, agent) in self._stays.items():
            self._stayed(ticket_id, state, begun, agent, self.until, self._last + 1)
        self._stays.clear()

    def _stayed(self, ticket_id: str, state: str, begun: float, agent: str | None, at: float, seq: int) -> None:
        seconds = at - max(begun, self.since)
        if seconds <= 0:
            return
        self.in_state[state] += seconds
        if state == State.WORKING:
            if agent is None:
                self._unknown.append((ticket_id, seq, seconds))
            else:
                self.working[agent] += seconds

    def _count(self, ticket_id: str, move: str, actor: str) -> None:
        kind, _, name = actor.partition(":")
        self.counts[move] += 1
        if move == Move.FAIL and actor == "timer:expire":
            self.counts["expired"] += 1
        # A withheld result is the agent's own work; its timer only lets it go. A checker's yes completes the author's.
        if kind == "agent" and move in (Move.RESOLVE, Move.WITHHOLD):
            self.completed.update({name, self._authors.pop(ticket_id, name)})
        elif move == Move.SUBMIT:
            self._authors[ticket_id] = name
        elif move == Move.SEND_BACK:
            self._authors.pop(ticket_id, None)
        if by_person(actor, self.team) and move not in NO_HAND:
            self._touched.add(ticket_id)

    def aided(self, connection: sa.Connection) -> set[str]:
        """Tickets a person had a hand in, and the first of their families: who helped a part helped the whole."""
        whole, asked = set(self._touched), sorted(self._touched)
        query = sa.select(TICKET.c.doc).where(TICKET.c.team == self.team.team, TICKET.c.parent.is_not(None))
        for start in range(0, len(asked), 500):
            for (text,) in connection.execute(query.where(TICKET.c.id.in_(asked[start : start + 500]))):
                doc = json.loads(text)
                whole.add(str((doc.get("lineage") or [doc["parent"]])[-1]))
        return whole

    def find_holders(self, connection: sa.Connection) -> None:
        """Add the time of those who had begun before the span: whoever had claimed the ticket last."""
        e = EVENT.c
        claims = sa.select(e.actor).where(e.team == self.team.team, e.move == Move.CLAIM)
        for ticket_id, left_at, seconds in self._unknown:
            claim = claims.where(e.ticket_id == ticket_id, e.seq < left_at).order_by(e.ticket_seq.desc()).limit(1)
            if actor := connection.execute(claim).scalar():
                self.working[actor.partition(":")[2]] += seconds
        self._unknown.clear()


def by_person(actor: str, team: Team) -> bool:
    """Whether a person did it: somebody at a door, or an agent that is a person."""
    kind, _, name = actor.partition(":")
    return kind == "person" or (kind == "agent" and name in team.agents and team.agents[name].human)


def place(connection: sa.Connection, team: str, at: float) -> int:
    """The place of the first line at or after `at`. Lines stand in the order of their time, so halving finds it."""
    low = 1
    high = (connection.execute(sa.select(HEAD.c.seq).where(HEAD.c.team == team)).scalar() or 0) + 1
    line = sa.select(EVENT.c.at).where(EVENT.c.team == team, EVENT.c.ticket_id != "").order_by(EVENT.c.seq).limit(1)
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(line.where(EVENT.c.seq >= middle)).scalar()
        if found is not None and found < at:
            low = middle + 1
        else:
            high = middle
    return low


def lines_between(connection: sa.Connection, team: str, low: int, high: int) -> Iterator[Any]:
    """(seq, ticket id, move, before, after, actor, at) of the lines from place `low` to just before `high`."""
    e = EVENT.c
    query = sa.select(e.seq, e.ticket_id, e.move, e.before, e.after, e.actor, e.at)
    query = query.where(e.team == team, e.seq >= low, e.seq < high).order_by(e.seq)
    yield from connection.execute(query, execution_options={"yield_per": 2_000})
