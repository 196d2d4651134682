"""Give ready tickets to agents: gather, ask the plan, commit, ring. And let those in that stood behind others.

Of one customer only so many ready tickets stand among the others; the rest stand behind them, and each comes forward
when one of its customer is taken. So nobody's thousand tickets hide anybody's one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from shiftlead.config.team import Team
from shiftlead.queues import moves
from shiftlead.queues.broker import Ring
from shiftlead.queues.committing import Decide
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import NoSlot, Rebuilding, ShiftleadError
from shiftlead.queues.layout import crowd_of, in_a_crowd
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from . import facts, order
from .assignment import Choice
from .availability import AgentFacts

__all__ = ["Giving", "RingAll", "log_refused", "per_customer"]

log = structlog.get_logger("shiftlead.coordinator")
RingAll = Callable[[Sequence[Ring]], object]
DEEPEST = 16  # times the usual look-ahead; beyond, the window moves on behind the head
HELD_AGAIN_S = 3600.0  # between two lines about one agent in one story
CUSTOMERS = 200  # looked at in one sweep


def per_customer(desk: Desk) -> int:
    """How many ready tickets of one customer that need the same stand among the others, in each lane."""
    return desk.team.intake.per_customer or desk.settings.per_customer


class Giving:
    """Who gets what, for one team."""

    def __init__(self, desk: Desk, presence: Presence, ring: RingAll) -> None:
        self.desk, self.presence, self.ring_all = desk, presence, ring
        self.keys, self.store = desk.keys, desk.store
        self._idle: dict[str, float] = {}
        self._deeper, self._skip = 1, 0
        self._held_told: dict[tuple[str, str], tuple[float, float]] = {}  # (ticket, agent) -> told when, until when

    @property
    def team(self) -> Team:
        return self.desk.team

    def agents(self, now: float) -> dict[str, AgentFacts]:
        """The agents as they are now."""
        found = facts.agent_facts(self.desk, self.presence, now, idle=self._idle)
        for name, agent in found.items():
            if agent.load:
                self._idle.pop(name, None)
            else:
                self._idle.setdefault(name, now)
        return found

    def run(self, now: float) -> bool:
        """Give out what can be given out; True when there may be more at once."""
        epoch = self.store.epoch()  # before the tickets: what was read in an older one is refused
        agents = self.agents(now)
        ready, more = facts.candidates(self.desk, agents, now, deeper=self._deeper, skip=self._skip)
        if not ready:
            return False
        plan = order.plan(ready, agents, now, context=facts.contexts(self.desk, ready, now))
        for ticket, choice in plan.unassigned:
            self._tell_held(ticket, choice, agents, now)
        # What stands in front may be for somebody who is not free: then one looks further behind it.
        looked_past = more and not plan.assignments
        if not looked_past:
            self._deeper, self._skip = 1, 0
        elif self._deeper < DEEPEST:
            self._deeper *= 4
        else:
            self._skip += DEEPEST * facts.LOOK_AHEAD
        if not plan.assignments:
            return looked_past
        steps = [(t.id, self._decide(t, c, now)) for t, c in plan.assignments]
        read = epoch, [t for t, _ in plan.assignments]
        outcomes = self.desk.apply_many(steps, read=read)
        given = [o for o in outcomes if isinstance(o, Ticket) and o.state is State.ASSIGNED]
        log_refused("assign", outcomes)
        self.ring(given)
        self.admit({crowd_of(t) for t in given if in_a_crowd(t)}, now)
        return bool(given)

    def ring(self, tickets: Sequence[Ticket]) -> None:
        """Tell the workers. A ring that is lost is rung again by the sweep."""
        rings = [
            Ring(self.team.team, t.assigned_to or "", t.id, t.number, t.type)
            for t in tickets
            if t.assigned_to and not self.team.agents[t.assigned_to].human
        ]
        if not rings:
            return
        try:
            self.ring_all(rings)
        except Exception as error:
            log.warning("the doorbell is out of order; ringing again in a second", error=str(error))

    def admit(self, crowds: Iterable[str], now: float) -> None:
        """Let tickets of these crowds come forward, as far as there is room."""
        asked = sorted(crowds)
        if not asked:
            return
        pipe = self.store.client.pipeline(transaction=False)
        pipe.smismember(self.keys.behinds, asked)
        for crowd in asked:
            pipe.zcard(self.keys.ready_of(crowd))
        behind, *ready = pipe.execute()
        pipe = self.store.client.pipeline(transaction=False)
        for crowd, stands, count in zip(asked, behind, ready, strict=True):
            room = per_customer(self.desk) - count
            if stands and room > 0:
                pipe.zrange(self.keys.behind(crowd), 0, room - 1)
        ids = [ticket_id for found in pipe.execute() for ticket_id in found]

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            if ticket.state is not State.READY or not ticket.behind:
                return None
            return [moves.admit(ticket, now=now, epoch=epoch)]

        log_refused("admit", self.desk.apply_many([(i, decide) for i in ids]))

    def sweep(self, now: float) -> None:
        """Customers whose tickets left the ready sets without being given out: cancelled, merged, put off."""
        names = self.store.client.srandmember(self.keys.behinds, CUSTOMERS)
        if not names:
            return
        pipe = self.store.client.pipeline(transaction=False)
        for name in names:
            pipe.exists(self.keys.behind(name))
        empty = [name for name, there in zip(names, pipe.execute(), strict=True) if not there]
        if empty:
            self.store.forget_behinds(empty)
        self.admit(set(names) - set(empty), now)

    def _decide(self, planned: Ticket, choice: Choice, now: float) -> Decide:
        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            agent = choice.agent
            # What changed since it was planned is planned anew: a person may have named somebody else meanwhile.
            if ticket.version != planned.version or ticket.state is not State.READY or agent is None:
                return None
            spec = self.team.agents[agent]
            claim_by = None if spec.human else now + self.desk.settings.claim_deadline_s
            return [
                moves.assign(
                    ticket, agent, reasons=choice.reasons, capacity=spec.capacity, claim_by=claim_by, now=now,
                    epoch=epoch, weight=self.team.weight(agent, ticket.needs),
                )
            ]  # fmt: skip

        return decide

    def _tell_held(self, ticket: Ticket, choice: Choice, agents: dict[str, AgentFacts], now: float) -> None:
        """A ticket that waits for somebody's stated time says so in its own story, once for each hold."""
        held = [agents[b] for b in choice.blockers if b in agents and (agents[b].held(now) or agents[b].paused)]
        if not held or len(held) < len(choice.blockers):
            return
        mark, until = (ticket.id, held[0].name), held[0].busy_until or held[0].meeting_until or 0.0
        told_at, told_until = self._held_told.get(mark, (0.0, -1.0))
        if until == told_until or now - told_at < HELD_AGAIN_S:
            return  # a hold that is moved again and again fills nobody's story
        if len(self._held_told) > 10_000:
            self._held_told.clear()
        self._held_told[mark] = (now, until)
        self.desk.note(ticket.id, "; ".join(choice.reasons), actor="coordinator", kind="held", agent=held[0].name)


def log_refused(what: str, outcomes: Sequence[Ticket | ShiftleadError]) -> None:
    """What could not be moved is logged; a rebuild ends the cycle."""
    for outcome in outcomes:
        if isinstance(outcome, Rebuilding):
            raise outcome
        if isinstance(outcome, ShiftleadError) and not isinstance(outcome, NoSlot):
            log.warning("not moved", move=what, error=str(outcome))
