"""An attempt failed (I18, SS-05): who tries next. A ticket is never lost by it, and never closed as done.

| the agent's failures | who else can, or stands in | then                                                       |
|----------------------|----------------------------|------------------------------------------------------------|
| first                |                            | ready at once when it is the ticket's first, else later    |
| second               | somebody                   | ready for others: this agent gets it no more in this life  |
| second               | nobody                     | named for a decision-maker, a person first                 |
| second               | not even one who decides   | all begin anew, later and later; its ladder tells of it    |
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from . import moves
from .asked import Asked
from .report import Failed
from .store import Change
from .ticket import TRIES, Ticket

__all__ = ["failed"]

BACK_OFF_S = 300.0


def failed(ticket: Ticket, report: Failed, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """What `report` means for the ticket."""
    me = ticket.assigned_to or ""
    actor, op = f"agent:{me}", moves.report_op(ticket)
    if not report.retryable:
        return [moves.fail(ticket, reason=report.error, actor=actor, **at, last_op=op)]
    times = ticket.failures.get(me, 0) + 1
    failures = ticket.failures | {me: times}
    back: dict[str, Any] = {"actor": actor, "counter": "handed_back", "last_op": op, "failures": failures} | at
    if times >= TRIES and ticket.type != "approval":  # an approval's gate says who answers it
        barred = {*ticket.excluded, *ticket.changed(failures=failures).worn_out}
        often = f"{me} has failed it {times} times"
        if set(_able(ticket, asked)) - barred:
            why = f"{often}, others try now: {report.error}"
            return [moves.give_back(ticket, reason=why[:500], named=None, prefers=None, **back)]
        if decider := _decider(barred, asked):
            why = f"{often} and nobody else can, {decider} has the word: {report.error}"
            return [moves.give_back(ticket, reason=why[:500], named=decider, **back)]
    if times >= TRIES:
        back["failures"] = failures = {}
    tried = ticket.attempts.handed_back
    if tried == 0:
        return [moves.give_back(ticket, reason=report.error[:500], **back)]
    anew: dict[str, Any] = {"failures": failures}
    if not failures and ticket.needs and ticket.worn_out - {me}:  # it was a decision-maker's by their failures alone
        anew |= {"named": None, "prefers": None}
    return [moves.defer(ticket, report, until=asked.now + min(2.0**tried, BACK_OFF_S), **anew, **at)]


def _able(ticket: Ticket, asked: Asked) -> list[str]:
    """Who can do what it needs, or stands in for them."""
    return [*asked.team.agents_for(ticket.needs), *asked.team.stand_ins_for(ticket.needs)] if ticket.needs else []


def _decider(barred: Collection[str], asked: Asked) -> str | None:
    deciders = [name for name in asked.team.decision_makers() if name not in barred]
    return min(deciders, key=lambda name: not asked.team.agents[name].human, default=None)
