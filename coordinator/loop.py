"""The coordinator process: it waits for the bell, gathers facts, asks the pure steps, and makes the moves in batches.

One cycle, in this order: parents whose children closed, timers that are due, new tickets, ready tickets. Nothing here
decides; nothing but the desk writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import redis
import structlog

from shiftlead.queues import moves, timers
from shiftlead.queues.broker import Doorbell, Ring
from shiftlead.queues.connect import Connections
from shiftlead.queues.errors import LedgerHalted, NoSlot, Rebuilding, ShiftleadError
from shiftlead.queues.ledger_writer import LedgerWriter, SteppedDown, StreamLost
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.rebuild import rebuild
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from . import assignment, escalation, facts, handoff
from .approval import approver_for
from .leader import Leadership
from .notify import Notices
from .triage import triage

__all__ = ["Coordinator"]

log = structlog.get_logger("shiftlead.coordinator")
BATCH = 500
Decide = Callable[[Ticket, int], Sequence[Change] | None]


class Coordinator:
    """Coordinates one team while it leads, and stands by while another does."""

    def __init__(self, connections: Connections, team: str, doorbell: Doorbell) -> None:
        self.settings = connections.settings
        self.desk = connections.desk(team)
        self.team, self.keys, self.store = self.desk.team, self.desk.keys, self.desk.store
        self.client, self.ledger, self.clock = connections.client, connections.ledger, connections.clock
        self.presence = Presence(self.client, self.keys, self.clock, self.settings)
        self.notices = Notices(self.settings, self.team)
        self.leadership = Leadership(self.client, self.keys, self.settings)
        self.doorbell = doorbell
        self.writer: LedgerWriter | None = None
        self._lost = threading.Event()  # the stream and SQL disagree: rebuild
        self._rung: dict[str, tuple[float, float]] = {}  # ticket -> (rung at, wait before ringing again)
        self._held_told: set[tuple[str, str, float]] = set()
        self._swept = 0.0
        self._paused_until = 0.0
        connections.clock.on_jump = self._clock_jumped

    # -- being the one ------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Coordinate until `stop` is set. Faults of Redis and SQL are waited out; nothing is acknowledged meanwhile."""
        self.leadership.start()
        try:
            while not stop.is_set():
                if not self.leadership.wait(0.5):
                    continue
                try:
                    self._lead(stop)
                except (redis.RedisError, Rebuilding, SteppedDown) as error:
                    log.warning("coordination interrupted; trying again", team=self.team.team, error=str(error))
                    stop.wait(0.2)
                except LedgerHalted as error:
                    log.error("the ledger is halted", team=self.team.team, error=str(error))
                    self.leadership.resign()
                    stop.wait(self.settings.leader_lease_s)
        finally:
            self.leadership.stop()

    def _lead(self, stop: threading.Event) -> None:
        epoch = self._open_epoch()
        self._lost.clear()
        ended = threading.Event()
        self.writer = LedgerWriter(self.ledger, self.client, self.keys, epoch, self.clock, self.settings)
        thread = threading.Thread(target=self._record, args=(self.writer, ended), name="ledger-writer", daemon=True)
        thread.start()
        try:
            more = True
            while not stop.is_set() and self.leadership.held and thread.is_alive():
                if not more:
                    self._wait_for_bell()
                if self._lost.is_set() or self.store.epoch() != epoch:
                    log.error("Redis lost tickets the ledger has; rebuilding", team=self.team.team)
                    return
                more = self.cycle()
            # What was decided before the stop still goes to SQL: a standby or the next start finds it there.
            self._finish(self.writer)
        finally:
            ended.set()
            thread.join(self.settings.socket_timeout_s + 1)

    def _open_epoch(self) -> int:
        """The epoch to work in. A lost, emptied or rolled-back Redis is rebuilt first (I8)."""
        head = self.ledger.head(self.team.team)
        have = self.client.hget(self.keys.meta, "epoch")
        if head is not None and have is not None and int(have) == head.epoch and not self._lost.is_set():
            return head.epoch
        why = "first start" if head is None else "Redis does not hold the ledger's epoch"
        done = rebuild(self.store, self.ledger, now=self.clock.now(), why=why)
        self._rung.clear()
        log.info(
            "queues rebuilt from the ledger", team=self.team.team, epoch=done.epoch, open=done.open_tickets, why=why
        )
        for start in range(0, len(done.held), BATCH):
            now = self.clock.now()
            self.desk.apply_many(
                [
                    (i, lambda t, e, now=now: [moves.recover(t, now=now, epoch=e)])
                    for i in done.held[start : start + BATCH]
                ]
            )
        return done.epoch

    def _record(self, writer: LedgerWriter, ended: threading.Event) -> None:
        try:
            writer.run(ended)
        except StreamLost as error:
            log.error("the stream does not continue the ledger", team=self.team.team, error=str(error))
            self._lost.set()
        except SteppedDown as error:
            log.warning("another coordinator writes the ledger; standing by", team=self.team.team, error=str(error))
            self.leadership.resign()
        except Exception:
            log.exception("the ledger writer stopped", team=self.team.team)
            self.leadership.resign()

    def _finish(self, writer: LedgerWriter) -> None:
        deadline = time.monotonic() + 2.0
        while writer.lag()[0] and time.monotonic() < deadline:
            time.sleep(0.005)

    # -- one cycle ----------------------------------------------------------------------------------------------

    def cycle(self) -> bool:
        """Do what there is to do now; True when there may be more at once."""
        now = self.clock.now()
        lagging = self._gate_intake()
        more = self._resume_parents(now)
        more |= self._fire_timers(now)
        more |= self._triage_new(now)
        if not lagging:
            more |= self._assign_ready(now)
        if time.monotonic() - self._swept >= self.settings.sweep_s:
            self._swept = time.monotonic()
            self._sweep(now)
        return more

    def _wait_for_bell(self) -> None:
        """Sleep until somebody rings, the next timer is due, or it is time to sweep."""
        following = timers.next_at(self.client, self.keys)
        wait = self.settings.sweep_s
        if following is not None:
            wait = min(wait, following - self.clock.now())
        self.client.blpop([self.keys.bell], timeout=max(wait, 0.01))

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
        if now < self._paused_until:
            due = [t for t in due if t.kind not in ("lease", "claim")]
        if not due:
            return False
        agents = facts.agent_facts(self.desk, self.presence, now)
        present = {w.worker for workers in self.presence.live().values() for w in workers}
        free = {a.name for a in agents.values() if not a.obstacle(now)}
        deciders = self.team.decision_makers()
        steps: dict[str, tuple[escalation.Step, Ticket]] = {}
        idle: list[timers.Timer] = []

        def decide_for(timer: timers.Timer) -> Decide:
            def decide(ticket: Ticket, epoch: int) -> Sequence[Change] | None:
                if timer.kind != "ladder":
                    changes = timers.fired(
                        timer, ticket, now=now, epoch=epoch, present=present, max_crashes=self.settings.max_crashes,
                        deciders=deciders,
                    )  # fmt: skip
                    if not changes:
                        idle.append(timer)
                    return changes
                if not ticket.is_open or ticket.ladder_at is None or ticket.ladder_at > now:
                    return None
                ladder = self.team.ladder_for(self._facts_of(ticket))
                if ladder is None:
                    idle.append(timer)
                    return None
                step = escalation.next_step(ticket, ladder, free=free, now=now)
                steps[ticket.id] = (step, ticket)
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
                    )  # fmt: skip
                ]

            return decide

        outcomes = self.desk.apply_many([(t.ticket, decide_for(t)) for t in due])
        for timer in idle:  # nothing to do for the ticket as it stands: a timer fires once
            self.client.zrem(self.keys.timers, f"{timer.kind}:{timer.ticket}")
        for timer, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, Rebuilding):
                raise outcome
            if isinstance(outcome, ShiftleadError):
                self.client.zrem(self.keys.timers, f"{timer.kind}:{timer.ticket}")
                log.warning(
                    "a timer could not fire and was taken out",
                    timer=timer.kind,
                    ticket=timer.ticket,
                    error=str(outcome),
                )
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
            return [triage_change(ticket, self, now, epoch)]

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

    # -- the sweep: what events could have missed ---------------------------------------------------------------

    def _sweep(self, now: float) -> None:
        """Ring again for tickets assigned a second ago and not claimed; look at waiting parents once more."""
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
        waiting = self.client.zrangebyscore(self.keys.waiting, "-inf", now - 30.0, start=0, num=BATCH)
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
            self.doorbell.ring(rings)
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

    # -- small things -------------------------------------------------------------------------------------------

    def _gate_intake(self) -> bool:
        """Close the intake while the ledger is behind; True while even assigning must stop."""
        lines, seconds = self.writer.lag() if self.writer else (0, 0.0)
        limit_lines, limit_s = self.settings.lag_lines, self.settings.lag_s
        if lines > limit_lines or seconds > limit_s:
            self.client.hset(self.keys.meta, "closed", f"the ledger is {lines:,} lines, {seconds:.0f} s behind")
            self._closed = True
        elif getattr(self, "_closed", True):
            self.client.hdel(self.keys.meta, "closed")
            self._closed = False
        return lines > 2 * limit_lines or seconds > 2 * limit_s

    def _clock_jumped(self, seconds: float) -> None:
        """The server's clock was set: leases and claim deadlines move with it, once, and reaping pauses (I9)."""
        log.error("the clock jumped; leases are re-based", seconds=round(seconds, 1))
        self._paused_until = self.clock.now() + self.settings.lease_s
        pipe = self.client.pipeline(transaction=False)
        for member, at in self.client.zrange(self.keys.timers, 0, -1, withscores=True):
            if member.startswith(("lease:", "claim:")):
                pipe.zadd(self.keys.timers, {member: at + seconds}, xx=True)
        pipe.execute()

    @staticmethod
    def _facts_of(ticket: Ticket) -> dict[str, object]:
        return {
            "ticket": ticket.model_dump(mode="json"),
            "customer": ticket.context.get("customer_facts", {}),
            "steps": ticket.steps,
        }

    def _log_refused(self, what: str, outcomes: Sequence[Ticket | ShiftleadError]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Rebuilding):
                raise outcome
            if isinstance(outcome, ShiftleadError) and not isinstance(outcome, NoSlot):
                log.warning("not moved", move=what, error=str(outcome))


def triage_change(ticket: Ticket, coordinator: Coordinator, now: float, epoch: int) -> Change:
    """The triage of one new ticket; an approval is routed by its gate, everything else by the team's rules."""
    team = coordinator.team
    if ticket.type == "approval":
        chosen = approver_for(ticket, team)
        ladder = team.ladder_for(coordinator._facts_of(ticket))
        decided = {
            "named": chosen.named, "needs": chosen.needs, "due": ticket.created_at + team.target_s(ticket.priority),
            "ladder_at": escalation.first_at(ladder, ticket.created_at, {}),
        }  # fmt: skip
        if chosen.expires_s:
            decided["expires_at"] = ticket.created_at + chosen.expires_s
        return moves.triage(
            ticket, state=State.READY, reasons=chosen.reasons, actor="coordinator", now=now, epoch=epoch, **decided
        )
    decision = triage(ticket, team, now=now, given_priority=ticket.given_priority)
    return moves.triage(
        ticket, state=decision.state, reasons=decision.reasons, actor="coordinator", now=now, epoch=epoch,
        **decision.values(),
    )  # fmt: skip
