"""One cycle of coordination: gather facts, ask the pure steps, make the moves in batches.

In this order: timers that are due, parents whose children closed, new tickets, ready tickets, and once a second the
sweep for what events could have missed. Nothing here decides; nothing but the desk writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from shiftlead.queues import moves, timers
from shiftlead.queues.broker import Ring
from shiftlead.queues.committing import Decide
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import IllegalMove, NoSlot, NotFound, Rebuilding, ShiftleadError
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from . import assignment, escalation, facts, handoff, routing
from .notify import Notices
from .triage import rule_facts

__all__ = ["Cycle", "RingAll"]

log = structlog.get_logger("shiftlead.coordinator")
BATCH = 500
WALK = 50  # waiting tickets a sweep looks at again
RingAll = Callable[[Sequence[Ring]], object]


class Cycle:
    """The moves of one team. Whoever leads runs it; two that run it by mistake lose races, not tickets."""

    def __init__(self, desk: Desk, ledger: Ledger, ring: RingAll) -> None:
        self.desk, self.ledger, self.ring = desk, ledger, ring
        self.team, self.keys, self.store = desk.team, desk.keys, desk.store
        self.settings, self.client = desk.settings, desk.store.client
        self.presence = Presence(self.client, self.keys, desk.clock, self.settings)
        self.notices = Notices(self.settings, self.team)
        self.reaping_from = 0.0  # unix seconds; after a clock jump leases are not judged before this
        self._rung: dict[str, tuple[float, float]] = {}  # ticket -> (rung at, wait before ringing again)
        self._held_told: set[tuple[str, str, float]] = set()
        self._swept = 0.0
        self._walked = 0  # rank in the waiting set the next sweep begins at

    def run(self, now: float, *, assign: bool = True) -> bool:
        """Do what there is to do at `now`; True when there may be more at once."""
        more = self._fire_timers(now)
        more |= self._resume_parents(now)
        more |= self._triage_new(now)
        if assign:
            more |= self._assign_ready(now)
        if time.monotonic() - self._swept >= self.settings.sweep_s:
            self._swept = time.monotonic()
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
                self._log_refused("reconsider", self.desk.apply_many([(i, decide) for i in part]))

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
        self._log_refused("resume", self.desk.apply_many([(p, decide) for p in parents]))
        return True

    def _with_ledger(self, ids: Sequence[str], found: Sequence[Ticket | None]) -> list[Ticket | None]:
        """Children that left Redis are read from SQL."""
        whole: list[Ticket | None] = []
        for ticket_id, ticket in zip(ids, found, strict=True):
            stored = None if ticket else self.ledger.ticket(self.team.team, ticket_id)
            whole.append(ticket or (stored[0] if stored else None))
        return whole

    def _fire_timers(self, now: float) -> bool:
        due = timers.due(self.client, self.keys, now, BATCH)
        if now < self.reaping_from:
            due = [t for t in due if t.kind not in ("lease", "claim")]
        if not due:
            return False
        agents = facts.agent_facts(self.desk, self.presence, now)
        present = {w.worker for workers in self.presence.live().values() for w in workers}
        deciders = self.team.decision_makers()
        steps: dict[str, tuple[escalation.Step, Ticket]] = {}
        idle: list[timers.Timer] = []

        def decide_for(timer: timers.Timer) -> Decide:
            def decide(ticket: Ticket, epoch: int) -> Sequence[Change] | None:
                if timer.kind != "ladder":
                    changes = timers.fired(
                        timer, ticket, now=now, epoch=epoch, present=present,
                        max_crashes=self.desk.max_crashes, deciders=deciders,
                    )  # fmt: skip
                    if not changes:
                        idle.append(timer)
                    return changes
                steps.pop(ticket.id, None)  # decided again after a lost race: the other coordinator told it
                if not ticket.is_open or ticket.ladder_at is None or ticket.ladder_at > now:
                    return None
                ladder = self.team.ladder_for(rule_facts(ticket, now=now))
                if ladder is None:
                    idle.append(timer)
                    return None
                free = {a.name for a in agents.values() if not a.obstacle(now)}
                step = escalation.next_step(ticket, ladder, free=free, now=now)
                steps[ticket.id] = (step, ticket)
                if step.to is not None:
                    agents[step.to].load += 1  # the slot is spoken for
                wider: dict[str, Any] = {"needs": step.needs} if step.needs else {}
                return [
                    moves.escalate(
                        ticket,
                        ladder=step.ladder,
                        ladder_at=step.at,
                        told=step.told,
                        to=step.to,
                        reason=step.reason,
                        now=now,
                        epoch=epoch,
                        **wider,
                    )
                ]

            return decide

        outcomes = self.desk.apply_many([(t.ticket, decide_for(t)) for t in due])
        for timer in idle:  # nothing to do for the ticket as it stands: a timer fires once
            timers.disarm(self.store, timer)
        for timer, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, Rebuilding):
                raise outcome
            if isinstance(outcome, ShiftleadError):
                gone = isinstance(outcome, NotFound | IllegalMove)
                timers.disarm(self.store, timer, None if gone else now + 1.0)
                log.warning("a timer could not fire", timer=timer.kind, ticket=timer.ticket, error=str(outcome))
            elif timer.kind == "accept" and timer not in idle:
                for target in deciders[:1]:
                    self.notices.tell(target, outcome, "a handoff was not taken up in time", at=now)
            elif timer.kind == "ladder" and timer.ticket in steps:
                step, ticket = steps[timer.ticket]
                for target in step.told:
                    self.notices.tell(target, ticket, step.reason, at=now)
        return len(due) == BATCH

    def _triage_new(self, now: float) -> bool:
        ids = self.client.zrange(self.keys.new, 0, BATCH - 1)

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            if ticket.state is not State.NEW:
                return None
            return [routing.change_for(ticket, self.team, now=now, epoch=epoch)]

        self._log_refused("triage", self.desk.apply_many([(i, decide) for i in ids]))
        return len(ids) == BATCH

    def _assign_ready(self, now: float) -> bool:
        agents = facts.agent_facts(self.desk, self.presence, now)
        ready = facts.candidates(self.desk, agents, now)
        if not ready:
            return False
        plan: list[tuple[Ticket, assignment.Choice]] = []
        for ticket in assignment.in_order(ready):
            if ticket.state is not State.READY:
                continue
            choice = assignment.choose(ticket, agents, now)
            if choice.agent is None:
                self._tell_held(ticket, choice, agents, now)
                continue
            agents[choice.agent].load += 1
            plan.append((ticket, choice))

        def decide_for(choice: assignment.Choice) -> Decide:
            def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
                agent = choice.agent
                if ticket.state is not State.READY or agent is None:
                    return None
                spec = self.team.agents[agent]
                claim_by = None if spec.human else now + self.settings.claim_deadline_s
                return [
                    moves.assign(
                        ticket,
                        agent,
                        reasons=choice.reasons,
                        capacity=spec.capacity,
                        claim_by=claim_by,
                        now=now,
                        epoch=epoch,
                    )
                ]

            return decide

        outcomes = self.desk.apply_many([(t.id, decide_for(c)) for t, c in plan])
        given = [o for o in outcomes if isinstance(o, Ticket) and o.state is State.ASSIGNED]
        self._log_refused("assign", outcomes)
        self._ring(given)
        return bool(given)

    def _sweep(self, now: float) -> None:
        """Ring again for tickets assigned a second ago and not claimed; look at waiting parents once more."""
        groups = sorted(self.client.smembers(self.keys.groups))
        pipe = self.client.pipeline(transaction=False)
        for group in groups:
            pipe.exists(self.keys(f"ready:{group}"))
        empty = [group for group, there in zip(groups, pipe.execute(), strict=True) if not there]
        if empty:
            self.store.forget_groups(empty)
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
            self._ring([t for t in tickets if t is not None and t.state is State.ASSIGNED])
        # A crash between taking a parent out of the wake set and moving it would leave it waiting: walk over them all,
        # a few at a time.
        waiting = self.client.zrange(self.keys.waiting, self._walked, self._walked + WALK - 1)
        self._walked = self._walked + WALK if len(waiting) == WALK else 0
        if waiting:
            self.client.sadd(self.keys.wake, *waiting)

    def _ring(self, tickets: Sequence[Ticket]) -> None:
        rings = [
            Ring(self.team.team, t.assigned_to or "", t.id, t.number, t.type)
            for t in tickets
            if t.assigned_to and not self.team.agents[t.assigned_to].human
        ]
        if not rings:
            return
        try:
            self.ring(rings)
        except Exception as error:
            log.warning("the doorbell is out of order; ringing again in a second", error=str(error))

    def _tell_held(
        self, ticket: Ticket, choice: assignment.Choice, agents: dict[str, assignment.AgentFacts], now: float
    ) -> None:
        """A ticket that waits for somebody's stated time says so in its own story, once for each hold."""
        held = [agents[b] for b in choice.blockers if agents[b].held(now) or agents[b].paused]
        if not held or len(held) < len(choice.blockers):
            return
        mark = (ticket.id, held[0].name, held[0].busy_until or 0.0)
        if mark in self._held_told:
            return
        if len(self._held_told) > 10_000:
            self._held_told.clear()
        self._held_told.add(mark)
        self.desk.note(ticket.id, "; ".join(choice.reasons), actor="coordinator", kind="held", agent=held[0].name)

    def _log_refused(self, what: str, outcomes: Sequence[Ticket | ShiftleadError]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Rebuilding):
                raise outcome
            if isinstance(outcome, ShiftleadError) and not isinstance(outcome, NoSlot):
                log.warning("not moved", move=what, error=str(outcome))
