"""Decide the next step of a ticket's escalation ladder.

The ladder's clock started when the ticket opened; no move re-arms it. A step either tells somebody or gives the ticket
to somebody who has a free slot; without one it tells them, the name the ticket stood under counts no more, and the
next step comes as planned. What nobody on the team can do waits for them instead: there is nobody it is taken from.
After the last step the last one is repeated every day, so nothing is quietly forgotten.
The clock stands while the requester is asked (moves.ask keeps what is left) and outside the ladder's agreed hours.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
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

    `needs` replaces what the ticket needs where the step lets others take it too; `unnamed`: it is nobody's by name.
    """

    told: list[str]
    to: str | None
    ladder: int
    at: float
    reason: str
    needs: list[str] | None = None
    unnamed: bool = False


def first_at(
    ladder: Ladder | None, opened_at: float, context: dict[str, Any], days_off: frozenset[date] = frozenset()
) -> float | None:
    """When the first step is due, None where the team has nobody to tell; the ticket's own threshold comes first.

    A ladder with agreed hours counts the time within them; on `days_off` there are none.
    """
    if ladder is None:
        return None
    after_s, threshold = ladder.ladder[0].after_s, context.get("escalation_threshold")
    if isinstance(threshold, str | int | float) and not isinstance(threshold, bool) and threshold != "":
        after_s = duration_s(threshold)
    return _later(ladder, opened_at, after_s, days_off)


def next_step(
    ticket: Ticket, ladder: Ladder, *, free: Collection[str], now: float, days_off: frozenset[date] = frozenset(),
    others: bool = True, nobody: bool = False,
) -> Step:  # fmt: skip
    """The step that is due now. `free` names the agents with a free slot; `others`: somebody beside the one it is named
    for can do what it needs; `nobody` on the team can do it, whoever is free."""
    steps = ladder.ladder
    index = min(ticket.ladder, len(steps) - 1)
    step = steps[index]
    reason = f"{ticket.number} is still {ticket.state} after {_span(now - ticket.created_at)}"
    if step.after_s == 0 and index == 0 and not ticket.context.get("escalation_threshold"):
        reason = f"{ticket.number} has just come and is {ticket.priority}"
    to = None
    needs = None
    unnamed = False
    told = [step.target] if step.target else []
    if step.reassign:
        mine = step.reassign in (ticket.assigned_to, ticket.named)
        # An approval is told, never given away: its gate says who decides. Nobody judges what is his own.
        barred = ticket.type == "approval" or step.reassign in ticket.excluded
        if ticket.state in REASSIGNABLE and step.reassign in free and not mine and not barred:
            to = step.reassign
            reason += f"; {to} takes it"
        elif nobody and ticket.state is State.READY and not ticket.named and not mine and not barred:
            to = step.reassign  # taken from nobody: it waited for a slot that does not exist
            reason += f"; nobody can {' + '.join(ticket.needs)}, so it waits for {to}"
        elif not mine:
            reason += f"; {step.reassign} cannot take it now and is told"
            if ticket.state is State.READY and ticket.named and ticket.needs and others and ticket.type != "approval":
                unnamed = True  # whoever it was meant for has had his time
                reason += f", and whoever can {' + '.join(ticket.needs)} may take it"
    elif step.widen:
        if ticket.state is State.READY and not ticket.named:
            needs = list(step.widen)
        reason += f"; whoever can {' + '.join(step.widen)} may take it now"
    else:
        reason += f"; {step.notify} is told"
    following = index + 1
    if following == len(steps):
        again = now + DAY_S
        at = ladder.hours.next_open(again, days_off) if ladder.hours else again
        return Step(told, to, following, at, reason, needs, unnamed)
    # Counted from the moment this step was due, so a threshold of the ticket's own moves the whole ladder with it.
    at = _later(ladder, ticket.ladder_at or now, steps[following].after_s - step.after_s, days_off)
    return Step(told, to, following, at, reason, needs, unnamed)


def _later(ladder: Ladder, at: float, seconds: float, days_off: frozenset[date]) -> float:
    """`seconds` after `at`, counted within the ladder's agreed hours."""
    return ladder.hours.add(at, seconds, days_off) if ladder.hours else at + seconds


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
