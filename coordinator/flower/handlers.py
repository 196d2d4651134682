"""The Tickets page: the three queues of a team, read straight from Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import redis
from flower.views import BaseHandler
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from shiftlead.config.clock import Clock
from shiftlead.config.team import Team
from shiftlead.queues.errors import Rebuilding
from shiftlead.queues.keys import Keys
from shiftlead.queues.lifecycle import Queue, State
from shiftlead.queues.store import Store
from shiftlead.queues.ticket import Ticket

__all__ = ["Desks", "Row", "Shown", "TicketsView"]

LIMIT = 200  # rows of a queue; a page of thousands is read by nobody
SAID: dict[State, str] = {
    State.NEW: "not triaged yet",
    State.SCHEDULED: "put off until its time",
    State.READY: "waits for a free agent",
    State.ASSIGNED: "its agent has been rung",
    State.WORKING: "its agent works on it",
    State.WAITING: "waits for an answer",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One ticket as the page shows it. Nothing in it is markup; the template escapes all of it."""

    number: str
    title: str
    type: str
    priority: str
    state: str
    agent: str
    age: str
    escalates: str
    late: bool
    why: str
    link: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One queue: how many tickets it has and the rows that fit."""

    name: str
    count: int
    rows: list[Row]


class Desks:
    """Reads the queues of each team."""

    def __init__(self, client: redis.Redis, clock: Clock, teams: Sequence[Team], door: str) -> None:
        self.clock, self.teams, self._door = clock, [team.team for team in teams], door
        self._stores = {name: Store(client, Keys(name)) for name in self.teams}

    def read(self, team: str) -> list[Shown]:
        """Intake and active with the oldest first, completed with the newest first. Two round trips a queue.

        Raises:
            Rebuilding: the team has no queues now.
        """
        store, now, shown = self._stores[team], self.clock.now(), []
        for queue in (Queue.INTAKE, Queue.ACTIVE, Queue.COMPLETED):
            key = store.keys.queue(queue)
            pipe = store.client.pipeline(transaction=False)
            pipe.zcard(key)
            pipe.zrange(key, 0, LIMIT - 1, desc=queue is Queue.COMPLETED)
            count, ids = pipe.execute()
            _, tickets = store.read(ids)
            rows = [self._row(t, now) for t in tickets if t is not None and t.queue is queue]
            shown.append(Shown(str(queue), count, rows))
        return shown

    def _row(self, t: Ticket, now: float) -> Row:
        late_by = now - t.ladder_at if t.is_open and t.ladder_at is not None else None
        return Row(
            number=t.number,
            title=_short(t.title or t.body, 90),
            type=t.type,
            priority=t.priority,
            state=str(t.state),
            agent=t.assigned_to or "",
            age=_span(now - t.created_at),
            escalates="" if late_by is None else _span(-late_by) if late_by < 0 else "now",
            late=late_by is not None and late_by >= 0,
            why=why(t),
            link=f"{self._door}/v1/tickets/{quote(t.number)}?team={quote(t.team)}",
        )


class TicketsView(BaseHandler):
    """GET /tickets?team=NAME"""

    @authenticated
    async def get(self) -> None:
        application: Any = self.application
        desks: Desks = application.desks
        team = self.get_query_argument("team", desks.teams[0])
        if team not in desks.teams:
            raise HTTPError(404, "There is no such team")
        shown: list[Shown] = []
        trouble = ""
        try:
            shown = await IOLoop.current().run_in_executor(None, desks.read, team)
        except Rebuilding:
            trouble = "The queues are being rebuilt from the ledger, or no coordinator runs yet."
        except (redis.RedisError, OSError):
            trouble = "Redis does not answer."
        self.set_status(503 if trouble else 200)
        page: dict[str, Any] = {"team": team, "teams": desks.teams, "shown": shown, "trouble": trouble, "limit": LIMIT}
        self.render("tickets.html", **page)  # type: ignore[no-untyped-call]


def why(ticket: Ticket) -> str:
    """Why the ticket is where it is, in a few words."""
    if ticket.state is State.WAITING and ticket.waits_for:
        return _short(f"waits for {ticket.waits_for}", 160)
    return _short(ticket.reason or SAID.get(ticket.state, ""), 160)


def _short(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _span(seconds: float) -> str:
    """12 s, 5 min, 3.5 h, 2 d"""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
