"""Decide the next step of a ticket's escalation ladder.

The ladder's clock started when the ticket opened; no move re-arms it. A step either tells somebody or gives the ticket
to somebody who has a free slot; without one it tells them and the next step comes as planned. After the last step the
last one is repeated every day, so a ticket is never quietly forgotten.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from shiftlead.config.duration import duration_s
from shiftlead.config.team import Ladder
from shiftlead.queues.lifecycle import REASSIGNABLE, State
from shiftlead.queues.ticket import Ticket

__all__ = ["Step", "first_at", "next_step"]

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one step does: `told` hear of it, `to` gets the ticket (None = it stays), `at` is the next step's moment.

    `needs` replaces what the ticket needs where the step lets others take it too.
    """

    told: list[str]
    to: str | None
    ladder: int
    at: float
    reason: str
    needs: list[str] | None = None


def first_at(ladder: Ladder | None, opened_at: float, context: dict[str, Any]) -> float | None:
    """When the first step is due, None where the team has nobody to tell; the ticket's own threshold comes first."""
    if ladder is None:
        return None
    threshold = context.get("escalation_threshold")
    return opened_at + (duration_s(threshold) if threshold else ladder.ladder[0].after_s)


def next_step(ticket: Ticket, ladder: Ladder, *, free: Collection[str], now: float) -> Step:
    """The step that is due now. `free` names the agents with a free slot."""
    steps = ladder.ladder
    index = min(ticket.ladder, len(steps) - 1)
    step = steps[index]
    reason = f"{ticket.number} is still {ticket.state} after {_span(now - ticket.created_at)}"
    to = None
    needs = None
    told = [step.target] if step.target else []
    if step.reassign:
        mine = step.reassign in (ticket.assigned_to, ticket.named)
        # An approval is told, never given away: its gate says who decides. Nobody judges what is his own.
        barred = ticket.type == "approval" or step.reassign in ticket.excluded
        if ticket.state in REASSIGNABLE and step.reassign in free and not mine and not barred:
            to = step.reassign
            reason += f"; {to} takes it"
        elif not mine:
            reason += f"; {step.reassign} cannot take it now and is told"
    elif step.widen:
        if ticket.state is State.READY and not ticket.named:
            needs = list(step.widen)
        reason += f"; whoever can {' + '.join(step.widen)} may take it now"
    else:
        reason += f"; {step.notify} is told"
    following = index + 1
    if following == len(steps):
        return Step(told, to, following, now + DAY_S, reason, needs)
    # Counted from the moment this step was due, so a threshold of the ticket's own moves the whole ladder with it.
    at = (ticket.ladder_at or now) + steps[following].after_s - step.after_s
    return Step(told, to, following, at, reason, needs)


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
