"""Choose the agent for a ready ticket.

Facts in, a decision out: no clock, no Redis, no model. `coordinator/loop.py` gathers the facts and asks the desk to
make the move.

First rule that matches wins:
  1. the agent it is named for (handed to by name, escalated to): that one or nobody
  2. the agent it prefers (whoever asked for what came back, whoever held it before), if free
  3. a free agent with every capability it needs: the best fit, then the least loaded, then the longest idle
  4. nobody: the ticket stays ready, the reasons say who could and why not now, and its escalation timer runs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shiftlead.queues.ticket import Ticket

__all__ = ["AgentFacts", "Choice", "choose", "in_order"]


@dataclass(slots=True)
class AgentFacts:
    """What is known of an agent at this moment. `load` counts assigned and working tickets."""

    name: str
    can: frozenset[str]
    capacity: int
    load: int = 0
    present: bool = True
    paused: bool = False
    busy_until: float | None = None
    reason: str = ""
    off_until: float | None = None  # outside working hours until then
    idle_since: float = 0.0

    def obstacle(self, now: float) -> str:
        """Why no ticket can be given to it now; empty when one can."""
        because = f" ({self.reason})" if self.reason else ""
        if self.paused:
            return f"{self.name} is paused{because}"
        if self.held(now):
            return f"{self.name} is busy until {_clock_time(self.busy_until or 0)}{because}"
        if self.off_until is not None and self.off_until > now:
            return f"{self.name} is off duty until {_clock_time(self.off_until)}"
        if not self.present:
            return f"{self.name} has no worker running"
        if self.load >= self.capacity:
            return f"{self.name} is full ({self.load} of {self.capacity} slots)"
        return ""

    def held(self, now: float) -> bool:
        """Whether a stated time keeps it busy."""
        return self.busy_until is not None and self.busy_until > now


@dataclass(frozen=True, slots=True)
class Choice:
    """`agent` is None when nobody can take it now; then `blockers` names who could, and `reasons` says why not."""

    agent: str | None
    reasons: list[str]
    blockers: list[str] = field(default_factory=list)


def choose(ticket: Ticket, agents: Mapping[str, AgentFacts], now: float) -> Choice:
    """The agent for `ticket`, or who stands in the way."""
    if ticket.named:
        named = agents.get(ticket.named)
        if ticket.named in ticket.excluded:
            return Choice(None, [f"it is named for {ticket.named}, who may not take it: a person must answer"])
        if named is None:
            return Choice(None, [f"it waits for {ticket.named}, who pulls no tickets: a person must answer"])
        obstacle = named.obstacle(now)
        if obstacle:
            return Choice(None, [f"it is named for {ticket.named}: {obstacle}"], [ticket.named])
        return Choice(ticket.named, [f"it is named for {ticket.named}"])

    needs = frozenset(ticket.needs)
    able = [a for a in agents.values() if needs <= a.can and a.name not in ticket.excluded]
    if not able:
        return Choice(None, [f"nobody on the team can {' + '.join(sorted(needs)) or 'take it'}"])
    free = [a for a in able if not a.obstacle(now)]
    if not free:
        return Choice(None, [a.obstacle(now) for a in able], [a.name for a in able])
    preferred = next((a for a in free if a.name == ticket.prefers), None)
    if preferred is not None:
        return Choice(preferred.name, [f"{preferred.name} knows the story and is free"])
    best = min(free, key=lambda a: (len(a.can - needs), a.load / a.capacity, a.idle_since, a.name))
    reasons = [
        f"{best.name} can {' + '.join(sorted(needs)) or 'take anything'} and is free "
        f"({best.load} of {best.capacity} slots taken)"
    ]
    if len(free) > 1:
        reasons.append(
            f"better fit, less load or longer idle than {', '.join(sorted(a.name for a in free if a is not best))}"
        )
    return Choice(best.name, reasons)


def in_order(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Urgent tickets first, by due time; then the rest by due time; what came first breaks a tie."""
    return sorted(tickets, key=lambda t: (t.lane != "urgent", t.due, t.created_at, t.number))


def _clock_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
