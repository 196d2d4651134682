"""Which pipeline a new ticket goes through. Pure: the first flow of the team file whose condition holds.

Only a ticket that nobody sent somewhere: one that names needs or an agent, and a part of another ticket, go where they
were sent.
"""

from __future__ import annotations

from typing import Any

from shiftlead.config.team import Team
from shiftlead.queues.flow_steps import begin, where
from shiftlead.queues.ticket import FlowPlace, Ticket

__all__ = ["flow_for"]


def flow_for(ticket: Ticket, team: Team, facts: dict[str, Any], reasons: list[str]) -> FlowPlace | None:
    """The place of `ticket` at the first step of its flow, or None. Says in `reasons` why."""
    if ticket.needs or ticket.parent or ticket.named in {*team.agents, *team.people}:
        return None
    for flow in team.flows:
        verdict = flow.when.evaluate(facts) if flow.when is not None else None
        if verdict is None or verdict.value:
            place = begin(flow)
            reasons.append(where(place, [place.at]))
            return place
        if verdict.value is None:
            reasons.append(f"flow {flow.name} v{flow.version} did not match: {verdict.problem}")
    return None
