"""One cycle of coordination: gather facts, ask the pure steps, make the moves in batches.

In this order: timers that are due, parents whose children closed, new tickets, ready tickets, and once a second the
sweep for what events could have missed. Nothing here decides; nothing but the desk writes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import redis

from shiftlead.queues import moves
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import NotFound
from shiftlead.queues.layout import crowd_of, in_a_crowd
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from . import handoff, routing
from .firing import Firing
from .giving import Giving, RingAll, log_refused, per_customer
from .meetings import Meetings
from .notify import Notices
from .opinions import Opinions
from .upkeep import Upkeep

__all__ = ["Cycle", "RingAll"]

BATCH = 500
WALK = 50  # waiting tickets a sweep looks at again


class Cycle:
    """The moves of one team. Whoever leads runs it; two that run it by mistake lose races, not tickets."""

    def __init__(self, desk: Desk, ledger: Ledger | None, ring: RingAll) -> None:
        self.desk, self.ledger = desk, ledger
        self.team, self.keys, self.store = desk.team, desk.keys, desk.store
        self.settings, self.client = desk.settings, desk.store.client
        self.presence = Presence(self.client, self.keys, desk.clock, self.settings)
        self.notices = Notices(self.settings, self.team)
        self.giving = Giving(desk, self.presence, ring)
        self.firing = Firing(desk, self.presence, self.notices, self.giving.agents)
        self.meetings = Meetings(self.team, self.settings, desk.clock.now)
        self.opinions = Opinions(self.team, self.settings, self._ring_bell)
        self.upkeep = Upkeep(desk, ledger) if ledger is not None else None
        self._said: dict[str, str] | None = None  # of the calendars, last time
        self._rung: dict[str, tuple[float, float]] = {}  # ticket -> (rung at, wait before ringing again)
        self._swept = 0.0
        self._walked = 0  # rank in the waiting set the next sweep begins at

    def start(self) -> None:
        """Begin to read calendars. Called by who leads."""
        self.meetings.start()
        self._said = None

    def stop(self) -> None:
        """End what `start` began."""
        self.meetings.close()
        if self.upkeep is not None:
            self.upkeep.close()

    def run(self, now: float, *, assign: bool = True) -> bool:
        """Do what there is to do at `now`; True when there may be more at once."""
        more = self.firing.run(now)
        more |= self._resume_parents(now)
        more |= self._triage_new(now)
        if assign:
            more |= self.giving.run(now)
        if abs(now - self._swept) >= self.settings.sweep_s:  # a clock that was set back must not stop the sweeps
            self._swept = now
            self._sweep(now)
        return more

    def reconsider(self, now: float) -> None:
        """Somebody may be able to do now what nobody could when it came: once, when coordination begins."""

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            if ticket.state is not State.READY or not self.team.agents_for(ticket.needs):
                return None
            reasons = ["the team can do it now"]
            return [moves.triage(ticket, state=State.READY, reasons=reasons, actor="coordinator", now=now, epoch=epoch)]

        for lane in ("urgent", "rest"):
            ids = self.client.zrange(self.keys.ready(lane, "?"), 0, -1)
            for start in range(0, len(ids), BATCH):
                part = ids[start : start + BATCH]
                log_refused("reconsider", self.desk.apply_many([(i, decide) for i in part]))

    def _resume_parents(self, now: float) -> bool:
        parents = self.client.srandmember(self.keys.wake, BATCH)
        if not parents:
            return False

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            _, children = self.store.read(ticket.awaits)
            answers = handoff.joined(ticket, self._with_ledger(ticket.awaits, children))
            if answers is None:
                return None
            reason = ", ".join(f"{a.get('number', a['ticket'])} is {a['state']}" for a in answers)
            return [moves.resume(ticket, answers, actor="coordinator", reason=reason, now=now, epoch=epoch)]

        # Taken out first: a child that closes after the reading puts its parent in again.
        self.client.srem(self.keys.wake, *parents)
        outcomes = self.desk.apply_many([(p, decide) for p in parents])
        # The parent of a follow-up may have left Redis: it is completed, and hears nothing.
        log_refused("resume", [o for o in outcomes if not isinstance(o, NotFound)])
        return True

    def _with_ledger(self, ids: Sequence[str], found: Sequence[Ticket | None]) -> list[Ticket | None]:
        """Children that left Redis are read from SQL."""
        whole: list[Ticket | None] = []
        for ticket_id, ticket in zip(ids, found, strict=True):
            stored = (
                self.ledger.ticket(self.team.team, ticket_id) if ticket is None and self.ledger is not None else None
            )
            whole.append(ticket or (stored[0] if stored else None))
        return whole

    def _triage_new(self, now: float) -> bool:
        ids = self.client.zrange(self.keys.new, 0, BATCH - 1)
        if not ids:
            return False
        epoch, tickets = self.store.read(ids)
        opinion_of = self.opinions.of if self.opinions.configured else None
        changes = {}
        for t in tickets:
            if t is None or t.state is not State.NEW:
                continue
            change = routing.change_for(t, self.team, now=now, epoch=epoch, opinion_of=opinion_of)
            if change is not None:  # else a model is still reading it
                changes[t.id] = (t.version, change)
        crowds = self._crowds([change.after for _, change in changes.values()])

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            version, change = changes.get(ticket.id, (0, None))
            if ticket.state is not State.NEW or change is None or ticket.version != version:
                return None  # the next cycle looks at what it says now
            return [self._behind_its_own(change, crowds)]

        log_refused("triage", self.desk.apply_many([(i, decide) for i in ids], read=(epoch, tickets)))
        return len(ids) == BATCH

    def _ring_bell(self) -> None:
        """Somebody has something for the coordinator. Lost when Redis is away: the sweep comes anyway."""
        with suppress(redis.RedisError):
            if not self.client.exists(self.keys.bell):
                self.client.lpush(self.keys.bell, "1")

    def _crowds(self, tickets: Sequence[Ticket]) -> Counter[str]:
        """How many ready tickets the customers of these have already that need the same."""
        asked = sorted({crowd_of(t) for t in tickets if t.state is State.READY and in_a_crowd(t)})
        pipe = self.client.pipeline(transaction=False)
        for crowd in asked:
            pipe.zcard(self.keys.ready_of(crowd))
        return Counter(dict(zip(asked, pipe.execute(), strict=True)))

    def _behind_its_own(self, change: Change, crowds: Counter[str]) -> Change:
        """A ticket of a customer who has enough ready ones stands behind them; what nobody can do bars nobody."""
        after = change.after
        if after.state is not State.READY or not in_a_crowd(after) or not self.team.agents_for(after.needs):
            return change
        crowds[crowd_of(after)] += 1
        most = per_customer(self.desk)
        if crowds[crowd_of(after)] <= most:
            return change
        line = change.line.model_copy(update={"detail": change.line.detail | {"behind": most}})
        return replace(change, after=after.changed(behind=True), line=line)

    def _sweep(self, now: float) -> None:
        """Ring again for tickets assigned a second ago and not claimed; look at waiting parents once more."""
        groups = sorted(self.client.smembers(self.keys.groups))
        pipe = self.client.pipeline(transaction=False)
        for group in groups:
            pipe.exists(self.keys(f"ready:{group}"))
        empty = [group for group, there in zip(groups, pipe.execute(), strict=True) if not there]
        if empty:
            self.store.forget_groups(empty)
        self.giving.sweep(now)
        self._tell_meetings(now)
        if self.upkeep is not None:
            self.upkeep.run(now)
        pipe = self.client.pipeline(transaction=False)
        names = [n for n, s in self.team.agents.items() if not s.human]
        for name in names:
            pipe.zrangebyscore(self.keys.assigned(name), "-inf", now - 1.0, start=0, num=64)
        late = [ticket_id for found in pipe.execute() for ticket_id in found]
        again = []
        for ticket_id in late:
            at, wait = self._rung.get(ticket_id, (0.0, 1.0))
            if now - at >= wait:
                again.append(ticket_id)
                self._rung[ticket_id] = (now, wait * 2)  # a worker that is slow to start is not buried in doorbells
        for gone in self._rung.keys() - set(late):
            del self._rung[gone]
        if again:
            _, tickets = self.store.read(again)
            self.giving.ring([t for t in tickets if t is not None and t.state is State.ASSIGNED])
        # A crash between taking a parent out of the wake set and moving it would leave it waiting: walk over them all,
        # a few at a time.
        waiting = self.client.zrange(self.keys.waiting, self._walked, self._walked + WALK - 1)
        self._walked = self._walked + WALK if len(waiting) == WALK else 0
        if waiting:
            self.client.sadd(self.keys.wake, *waiting)

    def _tell_meetings(self, now: float) -> None:
        """Everybody who explains or chooses reads the calendars' word from Redis; only who leads reads calendars."""
        said: dict[str, str] = {}
        for name, spec in self.team.agents.items():
            if spec.calendar is None:
                continue
            if not self.meetings.tried(name):  # another coordinator's word stands until there is one of ours
                before = self.client.hget(self.keys.meetings, name)
                said |= {name: before} if before else {}
                continue
            meeting, problem = self.meetings.busy(name, now), self.meetings.problem(name)
            if meeting or problem:
                about = {"until": meeting.until, "about": meeting.summary} if meeting else {}
                said[name] = json.dumps(about | ({"problem": problem} if problem else {}))
        if said == self._said:
            return
        pipe = self.client.pipeline(transaction=True)
        pipe.delete(self.keys.meetings)
        if said:
            pipe.hset(self.keys.meetings, mapping=said)
        pipe.execute()
        self._said = said
