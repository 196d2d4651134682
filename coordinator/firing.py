"""Fire the timers that are due: what each asks for is decided on the ticket as it stands, in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from shiftlead.config.team import Team
from shiftlead.queues import moves, timers
from shiftlead.queues.committing import Decide
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import IllegalMove, NotFound, Rebuilding, ShiftleadError
from shiftlead.queues.presence import Presence
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from . import escalation
from .availability import AgentFacts
from .notify import Notices
from .triage import rule_facts

__all__ = ["Firing"]

log = structlog.get_logger("shiftlead.coordinator")
BATCH = 500
PAGES = 40  # of timers that are looked past while leases are not judged


class Firing:
    """One team's timers."""

    def __init__(
        self, desk: Desk, presence: Presence, notices: Notices, agents: Callable[[float], dict[str, AgentFacts]]
    ) -> None:
        self.desk, self.presence, self.notices, self.agents = desk, presence, notices, agents
        self.keys, self.store = desk.keys, desk.store
        self.reaping_from = 0.0  # unix seconds; after a clock jump leases are not judged before this

    @property
    def team(self) -> Team:
        return self.desk.team

    def run(self, now: float) -> bool:
        """Fire what is due; True when there may be more at once."""
        found = timers.due(self.store.client, self.keys, now, BATCH)
        due = found
        if now < self.reaping_from:
            # Leases are not judged now, and must not hide what else is due.
            for page in range(1, PAGES):
                due = [t for t in due if t.kind not in ("lease", "claim")]
                if due or len(found) < BATCH:
                    break
                found = timers.due(self.store.client, self.keys, now, BATCH, start=page * BATCH)
                due = found
            due = [t for t in due if t.kind not in ("lease", "claim")]
        if not due:
            return False
        _Round(self, due, now).fire()
        return len(found) == BATCH


class _Round:
    """The timers of one moment."""

    def __init__(self, firing: Firing, due: Sequence[timers.Timer], now: float) -> None:
        self.firing, self.due, self.now = firing, due, now
        self.team, self.desk = firing.team, firing.desk
        self.agents = firing.agents(now)
        self.present = {w.worker for workers in firing.presence.live().values() for w in workers}
        self.deciders = self.team.decision_makers()
        self.steps: dict[str, tuple[escalation.Step, Ticket]] = {}
        self.idle: list[timers.Timer] = []

    def fire(self) -> None:
        outcomes = self.desk.apply_many([(t.ticket, self._decide_for(t)) for t in self.due])
        for timer in self.idle:  # nothing to do for the ticket as it stands: a timer fires once
            timers.disarm(self.firing.store, timer)
        for timer, outcome in zip(self.due, outcomes, strict=True):
            self._after(timer, outcome)

    def _decide_for(self, timer: timers.Timer) -> Decide:
        def decide(ticket: Ticket, epoch: int) -> Sequence[Change] | None:
            if timer.kind == "ladder":
                return self._climb(timer, ticket, epoch)
            changes = timers.fired(
                timer, ticket, now=self.now, epoch=epoch, present=self.present, max_crashes=self.desk.max_crashes,
                deciders=self.deciders,
            )  # fmt: skip
            if not changes:
                self.idle.append(timer)
            return changes

        return decide

    def _climb(self, timer: timers.Timer, ticket: Ticket, epoch: int) -> list[Change] | None:
        self.steps.pop(ticket.id, None)  # decided again after a lost race: the other coordinator told it
        if not ticket.is_open or ticket.ladder_at is None or ticket.ladder_at > self.now:
            return None
        ladder = self.team.ladder_for(rule_facts(ticket, now=self.now))
        if ladder is None:
            self.idle.append(timer)
            return None
        free = {a.name for a in self.agents.values() if not a.obstacle(self.now, a.weight(ticket.needs), mine=True)}
        able = set(self.team.agents_for(ticket.needs)) - {ticket.named, *ticket.excluded}
        target = ladder.ladder[min(ticket.ladder, len(ladder.ladder) - 1)].reassign
        nobody = target in self.agents and not self.team.agents_for(ticket.needs)
        step = escalation.next_step(
            ticket, ladder, free=free, now=self.now, days_off=self.team.days_off, others=bool(able), nobody=nobody
        )
        self.steps[ticket.id] = (step, ticket)
        if step.to in free:
            self.agents[step.to].load += self.team.weight(step.to, ticket.needs)  # the slot is spoken for
        wider: dict[str, Any] = (
            {"needs": step.needs} if step.needs else {"named": None, "prefers": ticket.named} if step.unnamed else {}
        )
        return [
            moves.escalate(
                ticket, ladder=step.ladder, ladder_at=step.at, told=step.told, to=step.to, reason=step.reason,
                now=self.now, epoch=epoch, **wider,
            )
        ]  # fmt: skip

    def _after(self, timer: timers.Timer, outcome: Ticket | ShiftleadError) -> None:
        if isinstance(outcome, Rebuilding):
            raise outcome
        tell = self.firing.notices.tell
        if isinstance(outcome, ShiftleadError):
            gone = isinstance(outcome, NotFound | IllegalMove)
            timers.disarm(self.firing.store, timer, None if gone else self.now + 1.0)
            log.warning("a timer could not fire", timer=timer.kind, ticket=timer.ticket, error=str(outcome))
        elif timer in self.idle:
            return
        elif timer.kind == "accept":
            for target in self.deciders[:1]:
                tell(target, outcome, "a handoff was not taken up in time", at=self.now)
        elif timer.kind == "expire" and outcome.is_open and outcome.named:
            tell(outcome.named, outcome, outcome.reason, at=self.now)
        elif timer.kind == "ladder" and timer.ticket in self.steps:
            step, ticket = self.steps[timer.ticket]
            for target in step.told:
                tell(target, ticket, step.reason, at=self.now)
