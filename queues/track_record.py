"""The track record of one agent (FO-15): what it did with the tickets it had, by type. From the ledger alone.

The tickets it touched are found first; then their whole stories are read, a few hundred at a time, because only the
story tells in whose hands a ticket was when it crashed, was sent back or was opened again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field, computed_field

from shiftlead.config.team import Team

from .flow import SKEW_S, place
from .ledger import BODY, EVENT, OUTCOME, TICKET, Ledger
from .lifecycle import Move, State
from .spending import Spending

__all__ = ["Handled", "Track", "TypeRecord", "record"]

DAY_S = 86_400.0
CHUNK = 300
LAST = 10
ENOUGH = 3  # tries of a type before it is called best or worst


class TypeRecord(BaseModel):
    """One type of ticket. `good`: completed and not opened again, of all tries; None without a try."""

    type: str
    tickets: int = 0
    completed: int = 0
    failed: int = 0
    handed_on: int = 0
    handed_back: int = 0
    crashed: int = 0
    reopened: int = 0
    escalated: int = 0
    sent_back: int = 0
    accepted: int = 0
    rejected: int = 0
    stepped_in: int = 0
    rated: int = 0
    stars: int = Field(0, description="sum of the ratings of 1 to 5")
    working_s: float = 0.0
    timed: int = Field(0, description="tickets it held to an end, which `working_s` belongs to")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tries(self) -> int:
        return self.completed + self.failed + self.handed_back + self.crashed + self.sent_back

    @computed_field  # type: ignore[prop-decorator]
    @property
    def good(self) -> float | None:
        return max(0, self.completed - self.reopened) / self.tries if self.tries else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean_s(self) -> float | None:
        return self.working_s / self.timed if self.timed else None


class Handled(BaseModel):
    """One of the last tickets: how it left the agent's hands, when, and how long it was in them."""

    number: str
    title: str = ""
    type: str = ""
    state: str = ""
    outcome: str
    at: float
    working_s: float


class Track(BaseModel):
    """What an agent did since. Of a ticket each thing counts as often as it happened."""

    team: str
    agent: str
    since: float
    completed: int = 0
    failed: int = 0
    handed_on: int = 0
    handed_back: int = 0
    crashed: int = 0
    reopened: int = Field(0, description="opened again after it had completed them")
    escalated: int = Field(0, description="steps of a ladder taken while it worked on the ticket")
    sent_back: int = Field(0, description="by a review")
    accepted: int = Field(0, description="of its results, as people said of them: what was wanted")
    rejected: int = Field(0, description="not what was wanted")
    stepped_in: int = Field(0, description="somebody had to step in")
    rated: int = 0
    stars: int = 0
    runs: int = 0
    tokens: int = 0
    cost: float = Field(0.0, description="of its runs that began since then; of unpriced calls nothing")
    unpriced: int = 0
    mean_s: float | None = None
    by_type: dict[str, TypeRecord] = Field(default_factory=dict)
    best: str | None = Field(None, description="type with the largest part done well; None: too few to say")
    worst: str | None = None
    last: list[Handled] = Field(default_factory=list)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def csat(self) -> float | None:
        return self.stars / self.rated if self.rated else None


MOVED = ("completed", "failed", "handed_on", "handed_back", "crashed", "reopened", "escalated", "sent_back")
COUNTED = (*MOVED, "accepted", "rejected", "stepped_in", "rated", "stars")


def record(ledger: Ledger, team: Team, agent: str, since: float) -> Track:
    """What `agent` did since then (unix seconds)."""
    track = Track(team=team.team, agent=agent, since=since)
    e, t = EVENT.c, TICKET.c
    with ledger.engine.connect() as connection:
        # A day more, so that what it had begun before and loses after `since` is seen, too.
        low = place(connection, team.team, since - DAY_S - SKEW_S)
        mine = sa.select(e.ticket_id, sa.func.max(e.seq)).where(
            e.team == team.team, e.seq >= low, e.actor == f"agent:{agent}", ~e.ticket_id.like("@%")
        )
        found = [(seq, i) for i, seq in connection.execute(mine.group_by(e.ticket_id))]
        touched = {ticket_id for _, ticket_id in found}
        judged = (i for (i,) in connection.execute(_judged(team.team, agent, since)) if i not in touched)
        asked = [*judged, *(ticket_id for _, ticket_id in sorted(found))]
        for start in range(0, len(asked), CHUNK):
            chunk = asked[start : start + CHUNK]
            known = sa.select(t.id, t.type, t.state, t.doc).where(t.team == team.team, t.id.in_(chunk))
            tickets = {row.id: row for row in connection.execute(known)}
            for ticket_id, story in groupby(connection.execute(_stories(team.team, chunk)), attrgetter("ticket_id")):
                _add(track, tickets.get(ticket_id), list(story))
    total = Spending(ledger, team.team).total(since=since, agent=agent)
    track.runs, track.tokens = total.runs, total.input_tokens + total.output_tokens
    track.cost, track.unpriced = total.cost, total.unpriced
    return _summed(track)


def _judged(team: str, agent: str, since: float) -> sa.Select[Any]:
    """Tickets the agent ever had and of which somebody said since then what became of them."""
    e, o = EVENT.c, OUTCOME.c
    its = sa.exists().where(e.team == team, e.ticket_id == o.ticket_id, e.actor == f"agent:{agent}")
    return sa.select(o.ticket_id).where(o.team == team, o.at >= since, its).distinct().order_by(o.ticket_id)


def _stories(team: str, ids: Sequence[str]) -> sa.Select[Any]:
    """The lines of some tickets; the texts only of those whose reason counts, and what people said of them."""
    e = EVENT.c
    body = sa.and_(BODY.c.team == e.team, BODY.c.seq == e.seq, e.move == Move.GIVE_BACK)
    o = OUTCOME.c
    said = sa.and_(o.team == e.team, o.ticket_id == e.ticket_id, o.seq == e.seq)  # the last word of a life only
    lines = sa.select(
        e.ticket_id, e.number, e.move, e.before, e.after, e.actor, e.at, BODY.c.text, o.accepted, o.escalated, o.csat
    )
    joined = EVENT.outerjoin(BODY, body).outerjoin(OUTCOME, said)
    lines = lines.select_from(joined).where(e.team == team, e.ticket_id.in_(ids))
    return lines.order_by(e.ticket_id, e.ticket_seq)


def _add(track: Track, ticket: Any, story: Sequence[Any]) -> None:
    """Add one ticket's story."""
    type_ = ticket.type if ticket is not None else "?"
    hands = _Hands(track.agent, track.since)
    for line in story:
        hands.line(line)
    if not hands.events and not hands.timed and not hands.said:
        return
    into = track.by_type.setdefault(type_, TypeRecord(type=type_))
    into.tickets += 1
    into.timed += hands.timed
    into.working_s += hands.working_s
    for what, _ in hands.events:
        setattr(into, what, getattr(into, what) + 1)
    for what, much in hands.said:
        setattr(into, what, getattr(into, what) + much)
    if not hands.events and not hands.timed:
        return  # it was judged since then, and worked on before
    outcome, at = next(((w, a) for w, a in reversed(hands.events) if w != "escalated"), ("let go", hands.left_at))
    title = str(json.loads(ticket.doc).get("title", ""))[:200] if ticket is not None else ""
    track.last.append(
        Handled(
            number=story[-1].number,
            title=title,
            type=type_,
            state=ticket.state if ticket is not None else "",
            outcome=outcome.replace("_", " "),
            at=at,
            working_s=round(hands.working_s, 3),
        )
    )
    track.last = sorted(track.last, key=lambda handled: -handled.at)[:LAST]


class _Hands:
    """In whose hands a ticket is while its story is told, and what happens to it in those of `agent`."""

    def __init__(self, agent: str, since: float) -> None:
        self.agent, self.since = agent, since
        self.events: list[tuple[str, float]] = []
        self.said: list[tuple[str, int]] = []
        self.working_s, self.timed, self.left_at = 0.0, False, 0.0
        self._holder: str | None = None
        self._begun = 0.0
        self._author: str | None = None  # whose result it is

    def line(self, line: Any) -> None:
        """Take the next line of the story."""
        kind, _, name = line.actor.partition(":")
        mine = line.before == State.WORKING and self._holder == self.agent
        if line.move == "outcome" and self._author == self.agent and line.at >= self.since:
            self.said += _verdict(line)
        for what in self._meaning(line, kind, name, mine):
            if line.at >= self.since:
                self.events.append((what, line.at))
        if mine and line.after != State.WORKING and line.at >= self.since:
            self.working_s += line.at - self._begun
            self.timed, self.left_at = True, line.at
        if line.move == Move.CLAIM:
            self._holder, self._begun = name, line.at
        elif line.after != State.WORKING:
            self._holder = None

    def _meaning(self, line: Any, kind: str, name: str, mine: bool) -> Iterable[str]:
        match line.move:
            case Move.SUBMIT:
                self._author = name
            case Move.WITHHOLD:  # a checker's yes at night withholds the author's result
                self._author = self._author or name
            case Move.RESOLVE:
                # A checker's yes completes its own work and the author's.
                if self.agent in (self._author, name if kind == "agent" else None):
                    yield "completed"
                self._author = self._author or name
            case Move.SEND_BACK:
                if self._author == self.agent:
                    yield "sent_back"
                self._author = None
            case Move.REOPEN:
                if self._author == self.agent:
                    yield "reopened"
                self._author = None
            case Move.HAND_OFF if mine:
                yield "handed_on"
            case Move.ESCALATE if mine:
                yield "escalated"
            case Move.FAIL if mine:
                yield "failed" if kind == "agent" else "crashed"
            case Move.GIVE_BACK if mine:
                counter = json.loads(line.text)["detail"].get("counter", "") if line.text else ""
                if counter == "handed_back":
                    yield "handed_back"
                elif kind != "agent" and counter in ("", "crashed"):
                    yield "crashed"


def _verdict(line: Any) -> Iterable[tuple[str, int]]:
    """What people said of a result; nothing where they said something else later."""
    if line.accepted is not None:
        yield ("accepted" if line.accepted else "rejected"), 1
    if line.escalated:
        yield "stepped_in", 1
    if line.csat is not None:
        yield from (("rated", 1), ("stars", line.csat))


def _summed(track: Track) -> Track:
    types = list(track.by_type.values())
    for what in COUNTED:
        setattr(track, what, sum(getattr(t, what) for t in types))
    timed = sum(t.timed for t in types)
    track.mean_s = sum(t.working_s for t in types) / timed if timed else None
    judged = sorted((t for t in types if t.tries >= ENOUGH), key=lambda t: (-(t.good or 0.0), t.mean_s or 0.0))
    if judged:
        track.best = judged[0].type
        track.worst = judged[-1].type if len(judged) > 1 else None
    track.by_type = {t.type: t for t in sorted(types, key=lambda t: (-t.tickets, t.type))}
    return track
