"""Whether an agent can be given something now, and if not, why: the facts of one moment, and what they mean.

Kept away for a stated reason (paused, busy, in a meeting, off duty, no worker, draining) is one thing, only full is
another: a ticket may wait for an agent that is full, and goes to somebody else when one is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

__all__ = ["AgentFacts", "clock_time"]

DATED_S = 72_000.0  # 20 hours
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@dataclass(slots=True)
class AgentFacts:
    """What is known of an agent at this moment. `load` counts the slots of assigned and working tickets."""

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
    draining: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)  # capability -> slots; 1 if not named
    run: int = 0  # urgent assignments in a row
    events: tuple[tuple[str, str, float], ...] = ()  # what it has just done: name, ref, at
    meeting_until: float | None = None  # by its calendar
    meeting: str = ""
    problem: str = ""  # what a person should know of it; keeps nothing from it
    stands_in_for: frozenset[str] = frozenset()  # taken only while nobody else who can is there: standing_in.py
    keeps_for: str = ""  # number of the ticket its free slots are kept for: that one takes more than are free

    def obstacle(self, now: float, weight: int = 1, mine: bool = False) -> str:
        """Why no ticket of `weight` slots can be given to it now; empty when one can.

        `mine`: the ticket is named for it or prefers it, and a draining agent still takes those.
        """
        return self.away(now, mine) or self.full(weight)

    def away(self, now: float, mine: bool = False) -> str:
        """The stated reason why it takes nothing, however many slots are free."""
        because = f" ({self.reason})" if self.reason else ""
        if self.paused:
            return f"{self.name} is paused{because}"
        if self.busy_until is not None and self.busy_until > now:
            return f"{self.name} is busy until {clock_time(self.busy_until, now)}{because}"
        if self.meeting_until is not None and self.meeting_until > now:
            about = f" ({self.meeting})" if self.meeting else ""
            return f"{self.name} is in a meeting until {clock_time(self.meeting_until, now)}{about}"
        if self.off_until is not None and self.off_until > now:
            return f"{self.name} is off duty until {clock_time(self.off_until, now)}"
        if not self.present:
            return f"{self.name} has no worker running"
        if self.draining and not mine:
            return f"{self.name} is draining: it ends what it has begun{because}"
        return ""

    def back_at(self, now: float) -> float | None:
        """When the stated times that keep it away end (unix seconds); None when one of its reasons states none."""
        if self.paused or self.draining or not self.present:
            return None
        return max((t for t in (self.busy_until, self.meeting_until, self.off_until) if t is not None), default=now)

    def full(self, weight: int = 1, number: str = "") -> str:
        """Why ticket `number` of `weight` slots does not fit; empty when it does."""
        if self.load >= self.capacity:
            return f"{self.name} is full ({self.load} of {self.capacity} slots)"
        if self.load + weight > self.capacity:
            kept = ", which are kept for it" if number and number == self.keeps_for else ""
            return f"{self.name} has {self.capacity - self.load} of the {weight} slots it takes{kept}"
        if self.keeps_for and self.keeps_for != number:
            return f"{self.name} keeps its free slots for {self.keeps_for}, which takes more of them"
        return ""

    def held(self, now: float) -> bool:
        """Whether a stated time keeps it busy."""
        return any(until is not None and until > now for until in (self.busy_until, self.meeting_until))

    def weight(self, needs: Iterable[str]) -> int:
        """Slots a ticket with these needs takes of it."""
        return max((self.weights.get(need, 1) for need in needs), default=1) if self.weights else 1


def clock_time(at: float, now: float) -> str:
    """A time of day, with its date when it is so far away that another day may be meant."""
    date = "%Y-%m-%d " if at - now > DATED_S else ""
    return datetime.fromtimestamp(min(at, LAST), UTC).strftime(f"{date}%H:%M:%S UTC")
