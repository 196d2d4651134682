"""When somebody who only stands in takes a ticket (SD-12): never while one who really can is coming.

Everybody who can must be away (paused, held, off duty, in a meeting, without a worker, draining), or have failed the
ticket, or be one who may not take it. And away for long enough: somebody whose stated time ends before the ticket is
due is waited for; one with no stated end, as an agent without a worker, is waited for `PATIENCE_S`, so that a restart
turns into nobody's apology. Full is no absence: a queue moves, and a ticket that is late in it climbs its ladder,
which may name the stand-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shiftlead.queues.ticket import Ticket

from .availability import AgentFacts, clock_time

__all__ = ["PATIENCE_S", "Absence", "absence_of"]

PATIENCE_S = 15.0  # a ticket waits so long for agents that are away with no stated end


@dataclass(frozen=True, slots=True)
class Absence:
    """Of all who can. `long`: somebody may stand in now; `words`: how it stands, for the reasons."""

    long: bool
    words: str


def absence_of(able: Sequence[AgentFacts], ticket: Ticket, now: float) -> Absence | None:
    """How those who can do what `ticket` needs are away; None while one of them is there."""
    barred = {*ticket.excluded, *ticket.worn_out}
    asked = [agent for agent in able if agent.name not in barred]
    said = [agent.away(now) for agent in asked]
    if not all(said):
        return None
    waited = now - (ticket.ready_at or ticket.created_at)
    back = [agent.back_at(now) for agent in asked]
    stated = [at for at in back if at is not None]
    if stated and min(stated) <= max(ticket.due, now + PATIENCE_S):
        return Absence(False, f"somebody who can is back at {clock_time(min(stated), now)}, which is waited for")
    if None in back and waited < PATIENCE_S:
        return Absence(False, f"in {PATIENCE_S - waited:.0f} s somebody stands in")
    if not asked:
        return Absence(True, "nobody else who may take it can")
    return Absence(True, f"everybody who can is away: {', '.join(said[:3])}{' and others' if said[3:] else ''}")
