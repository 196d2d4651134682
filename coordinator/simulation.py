"""A dry run: past tickets through a team file, with the real desk and the real cycle, on a clock that jumps.

A discrete-event simulation. Events are arrivals, agents and people who are done, the next timer, and the openings of
working hours; between two of them nothing is computed and nobody sleeps. What agents do is a seeded model
(simulated_agents.py); they claim and report at the desk as workers do. Everything is kept in a server of our own in a
temporary folder: a running Shiftlead is not touched, nobody is notified, no brain is run, no action is executed.

What differs from a live team: everybody is present unless told otherwise, a lease never runs out, a ring is never
lost, agents claim at once, and sweeps come every quarter of an hour instead of every second.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Sequence

import redis

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, ShiftleadError
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.report import Resolved
from shiftlead.queues.ticket import Line, Ticket

from .cycle import Cycle
from .simulated_agents import Behaviour, Model, claim_many, report_many
from .simulated_past import Arrival
from .simulation_facts import KnownFacts, RememberingStore
from .simulation_people import People
from .simulation_record import HOUR_S, Dry, Entry, Record
from .simulation_room import complaints, tell_nobody
from .why import explain

__all__ = ["Simulation"]

EPOCH = 1
TOGETHER_S = 1.0  # events of one second are one instant
AFTER_S = 7 * 86_400.0  # how long after the last arrival open tickets are followed
AT_ONCE = 500  # arrivals in one call
TRIM_AT = 200  # closed tickets; then the stream and their lines are let go
PATIENCE = 50  # cycles in one instant
LOOKED_AT = 3  # tickets whose reason is kept, each hour: those that wait longest
WHY_EVERY_S = 6 * HOUR_S
PROBE_S = 60.0  # meetings shorter than this may be overlooked
WORKER = "simulated"


class Simulation:
    """One run of `arrivals` through `team`. `client` is a server that is ours alone and empty."""

    def __init__(
        self, client: redis.Redis, team: Team, settings: Settings, arrivals: Sequence[Arrival], *,
        behaviour: Behaviour | None = None, until: float | None = None, seed: int = 0, absent: Collection[str] = (),
        together_s: float = TOGETHER_S,
    ) -> None:  # fmt: skip
        """`until`: unix seconds; default: when nothing is open any more, at most a week after the last arrival.

        Raises:
            BadInput: there is no ticket, or `absent` names nobody of the team.
        """
        if not arrivals:
            raise BadInput("There is no ticket to simulate.")
        if strangers := [name for name in absent if name not in team.agents]:
            raise BadInput(f"The team has no agent {strangers[0]!r}. It has: {', '.join(sorted(team.agents))}.")
        self.arrivals, self.absent = arrivals, frozenset(absent)
        self.start = math.floor(arrivals[0].at)
        self.until = until if until is not None else arrivals[-1].at + AFTER_S
        self.endless = until is None
        self.clock = ManualClock(self.start)
        self.behaviour = behaviour or Behaviour(team, Model(), seed)
        self.seed, self.together_s = seed, together_s
        self.desk = Desk(client, team, clock=self.clock, settings=settings)
        self.desk.store = self.store = RememberingStore(self.desk, EPOCH)
        self.store.open_epoch(EPOCH, Line(ticket="", move="epoch", actor="coordinator", at=self.start))
        self.cycle = Cycle(self.desk, None, lambda rings: None)
        tell_nobody(self.cycle, settings, team)
        self._fire, self.cycle.firing.run = self.cycle.firing.run, self._fire_if_due  # type: ignore[method-assign]
        self.facts = KnownFacts(self.cycle, absent)
        self.people = People(self.desk, self.behaviour, self._at)
        self.team, self.client, self.keys = team, self.desk.store.client, self.desk.keys
        self.record = Record(team, self.start)
        self.result = Dry(team, self.record, self.start, self.start, seed=seed, absent=tuple(sorted(absent)))
        self.result.model = self.behaviour.model
        self.on_look: Callable[[Simulation], None] | None = None  # called every simulated hour
        self._names: dict[str, str] = {}
        self._arrived = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer_at: float | None = None
        self._cursor = "-"
        self._to_claim: list[Ticket] = []
        self._done: list[tuple[Ticket, str]] = []
        self._child_closed = False
        self._closed: list[str] = []

    def run(self, progress: Callable[[float, int], None] | None = None) -> Dry:
        """Run to the end. `progress` hears the simulated moment and the tickets that have come, now and then."""
        with complaints(self.result.complaints):
            self._prepare()
            while (at := self._next_at()) is not None and at <= self.until:
                self._instant(at)
                if progress is not None and self.result.instants % 200 == 0:
                    progress(self.clock.now(), self._arrived)
            if not self._is_over() or not self.endless:
                self._move_to(max(self.until, self.clock.now()))
            self._look()
        self.record.end(self.clock.now())
        self.result.end = self.clock.now()
        return self.result

    def _prepare(self) -> None:
        presence = Presence(self.desk.store.client, self.keys, self.clock, self.desk.settings)
        for name, spec in self.team.agents.items():
            if name not in self.absent:
                presence.beat([name], WORKER, WorkerInfo(slots=spec.capacity))
            else:
                self.desk.set_agent(name, actor="person:simulation", paused=True, reason="left out of the dry run")
            if spec.hours is not None:
                self._opens(name)
        self._every_hour()

    # -- the clock ------------------------------------------------------------------------------------------------

    def _next_at(self) -> float | None:
        if self._is_over():
            return None
        following = [self._timer_at] if self._timer_at is not None else []
        following += [self.arrivals[self._arrived].at] if self._arrived < len(self.arrivals) else []
        following += [self._events[0][0]] if self._events else []
        return max(min(following), self.clock.now()) if following else None

    def _is_over(self) -> bool:
        """Everything came and is closed. Somebody's opening hour alone changes nothing then."""
        open_ = sum(count for state, count in self.record.states.items() if state not in _CLOSED)
        return self._arrived == len(self.arrivals) and not open_

    def _move_to(self, at: float) -> None:
        self.clock.advance(max(0.0, at - self.clock.now()))

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), event))

    def _instant(self, first: float) -> None:
        """Everything that happens within a second of `first`, at the moment of the last of it."""
        if first == self._timer_at and not self._still_due(first):
            return
        edge = first + (self.together_s if first != self._timer_at else min(self.together_s, TOGETHER_S))
        if self._timer_at is not None and first < self._timer_at < edge:
            edge = self._timer_at  # timers fire in their moment
        coming = self._arrived
        while coming < len(self.arrivals) and self.arrivals[coming].at < edge:
            coming += 1
        now, events = first, []
        if coming > self._arrived:
            now = max(now, self.arrivals[coming - 1].at)
        while self._events and self._events[0][0] < edge:
            at, _, event = heapq.heappop(self._events)
            now = max(now, at)
            events.append(event)
        self._move_to(min(now, self.until))
        self.result.instants += 1
        accepted = self.arrivals[self._arrived : coming]
        self._accept(accepted)
        self._arrived = coming
        for event in events:
            event()
        self._report()
        self._coordinate(certain=bool(accepted))

    def _still_due(self, at: float) -> bool:
        """A claim disarms a timer, and its line is read with the next ones: is there anything at `at` at all?"""
        self._read()
        following = self._next_at()
        return following is not None and following <= at

    def _coordinate(self, *, certain: bool) -> None:
        """Cycles until nothing more is to be done now; whoever gets something claims it at once.

        `certain`: something has come in, so there is something to do.
        """
        if not certain:
            self._read()
        for _ in range(PATIENCE):
            if not certain and not self._anything_to_do():
                return
            certain = self._child_closed = False
            more = self.cycle.run(self.clock.now())
            self.result.cycles += 1
            before = self.record.lines
            self._read()
            self._claim()
            if self.record.lines == before and not more and not self._due():
                return  # what is left waits for somebody or something
        if self._due():
            self.result.complaints["a due timer does not go away"] += 1
            self._timer_at = self.clock.now() + TOGETHER_S

    def _fire_if_due(self, now: float) -> bool:
        """The cycle asks each time; here it is known when the next timer is due."""
        return self._due() and self._fire(now)

    def _due(self) -> bool:
        return self._timer_at is not None and self._timer_at <= self.clock.now()

    def _anything_to_do(self) -> bool:
        if self.record.states["new"] or self._child_closed or self._due():
            return True
        return any(count > 0 and self._somebody_free(group) for group, count in self.record.ready.items())

    def _somebody_free(self, group: str) -> bool:
        if group.startswith("@"):
            able = [group[1:]] if group[1:] in self.team.agents else []
        else:
            needs = [n for n in group.split("+") if n]
            able = self.team.agents_for(needs) + self.team.stand_ins_for(needs)
        now = self.clock.now()
        return any(self.facts.free(name, now) for name in able)

    # -- what people and agents do ----------------------------------------------------------------------------------

    def _accept(self, coming: Sequence[Arrival]) -> None:
        for start in range(0, len(coming), AT_ONCE):
            part = coming[start : start + AT_ONCE]
            answers = self.desk.accept_many([(a.draft, None) for a in part], actor="door:simulation")
            for place, (arrival, answer) in enumerate(zip(part, answers, strict=True), self._arrived + start):
                self.record.sent += 1
                if isinstance(answer, ShiftleadError):
                    self.record.refused.append(f"{arrival.name or f'ticket {place + 1}'}: {answer}")
                elif answer.joined:
                    self.record.joined += 1
                else:
                    self.behaviour.places[answer.ticket.id] = place
                    self._names[answer.ticket.id] = arrival.name
                    if arrival.minutes is not None:
                        self.behaviour.own_minutes[answer.ticket.id] = arrival.minutes

    def _claim(self) -> None:
        given, self._to_claim = self._to_claim, []
        if not given:
            return
        now = self.clock.now()
        for before, held in zip(given, claim_many(self.desk, given, WORKER, EPOCH), strict=True):
            if isinstance(held, Ticket) and held.state is State.WORKING:
                agent = before.assigned_to or ""
                done_at = self.people.worked(agent, now, self.behaviour.service_s(held, agent))
                self._at(done_at, lambda held=held, agent=agent: self._done.append((held, agent)))  # type: ignore[misc]

    def _report(self) -> None:
        done, self._done = self._done, []
        wanted = [(held, agent, self.behaviour.report(held, agent)) for held, agent in done]
        for (held, agent, report), outcome in zip(wanted, report_many(self.desk, wanted, EPOCH), strict=True):
            if isinstance(outcome, BadInput):  # the model's wish cannot be: the work is done all the same
                self.result.complaints[f"{report.kind} refused: {_first_sentence(outcome)}"] += 1
                report_many(self.desk, [(held, agent, Resolved(reply="simulated"))], EPOCH)

    # -- openings, and an hourly look ---------------------------------------------------------------------------------

    def _opens(self, name: str) -> None:
        """An event at the next opening of its hours, and then at the one after."""
        hours = self.team.agents[name].hours
        assert hours is not None
        now, off = self.clock.now(), self.team.days_off
        closed = hours.next_change(now, off) if hours.is_open(now, off) else now
        at = hours.next_open(closed, off)
        if now < at <= self.until and hours.is_open(at, off):
            self._at(at, lambda: self._opens(name))

    def _every_hour(self) -> None:
        meetings = self.cycle.meetings
        calendars = [name for name, spec in self.team.agents.items() if spec.calendar]
        now = self.clock.now()
        if calendars:
            meetings.refresh_if_due()
        for name in calendars:
            ends = {m.until for i in range(int(HOUR_S / PROBE_S)) if (m := meetings.busy(name, now + i * PROBE_S))}
            for at in ends:
                self._at(at, lambda: None)
        self._look()
        following = (now // HOUR_S + 1) * HOUR_S
        if following <= self.until:
            self._at(following, self._every_hour)

    def _look(self) -> None:
        """Keep why the tickets that wait longest do so, and let whoever wants to look at everything."""
        now = self.clock.now()
        waiting = [s for s in self.record.open.values() if s.started_at is None and now - s.why_at > WHY_EVERY_S]
        for story in heapq.nsmallest(LOOKED_AT, waiting, key=lambda s: s.due or s.created_at):
            _, [ticket] = self.desk.store.read([story.id])
            if ticket is not None:
                story.why, story.why_at = explain(self.desk, ticket, now=now).text, now
        if self.on_look is not None:
            self.on_look(self)

    # -- the stream ---------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take what was written since, let the stream go, and learn when the next timer is due: one round trip."""
        while True:
            pipe = self.client.pipeline(transaction=False)
            pipe.xrange(self.keys.ledger, min=self._cursor, count=2_000)
            pipe.zrange(self.keys.timers, 0, 0, withscores=True)
            if len(self._closed) >= TRIM_AT:
                pipe.unlink(*(self.keys.lines(ticket_id) for ticket_id in self._closed))
                pipe.xtrim(self.keys.ledger, minid=self._cursor.lstrip("("), approximate=True)
                self.store.forget(self._closed)
                self._closed = []
            entries, timer, *_ = pipe.execute()
            self._timer_at = float(timer[0][1]) if timer else None
            for stream_id, fields in entries:
                self._react(self.record.take(fields))
                self._cursor = f"({stream_id}"
            if len(entries) < 2_000:
                return

    def _react(self, entry: Entry) -> None:
        self.facts.take(entry)
        if entry.doc is None or entry.line["ticket"].startswith("@"):
            return
        move, doc = entry.line["move"], entry.doc
        if move == "accept" and (name := self._names.get(doc["id"])):
            self.record.stories[doc["id"]].name = name
        if move == "assign":
            self._to_claim.append(Ticket.model_validate_json(entry.text))
        if doc["closed_at"] is not None:
            self._closed.append(doc["id"])
            self._child_closed |= doc["parent"] is not None
        else:
            self.people.hear(entry)


_CLOSED = ("resolved", "failed", "cancelled")


def _first_sentence(error: Exception) -> str:
    return str(error).partition(". ")[0][:120]
