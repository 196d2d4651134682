"""What people and agents say about an agent: paused, draining, busy until, what it has just done.

Kept like a ticket, with a ledger line of its own, so that it survives Redis and everybody can read who said so.
"""

from __future__ import annotations

from typing import Any

from shiftlead.config.duration import TEN_YEARS_S

from .accepting import Accepting
from .agent_state import AgentEvent, AgentState
from .committing import CONFLICTS
from .errors import BadInput, NotFound, Refused, Unavailable
from .store import Refusal
from .ticket import Line, check_text

__all__ = ["AgentHands"]

EVENTS_KEPT = 20
OWN_HOLD_S = 86_400.0


class AgentHands(Accepting):
    """Calls about agents."""

    def set_agent(self, agent: str, *, actor: str, reason: str = "", **values: Any) -> AgentState:
        """Pause, drain, hold or free an agent: paused, draining, busy_until (unix seconds or None).

        Raises:
            NotFound: the team has no such agent.
        """
        until = values.get("busy_until")
        now = self.clock.now()
        if until is not None and not now - TEN_YEARS_S < until < now + TEN_YEARS_S:
            raise BadInput(f"{agent} cannot be busy until {until}: say a moment within ten years.", field="busy_until")
        own = actor.startswith("agent:")
        if own and (set(values) - {"busy_until"} or (until or now) > now + OWN_HOLD_S):
            raise Refused(
                f"An agent may say that it is busy for up to {OWN_HOLD_S / 3600:.0f} h. To pause or drain is a "
                "person's word. Nothing was changed."
            )

        def wanted(state: AgentState) -> dict[str, Any]:
            held = state.paused or state.draining or (state.busy_until or 0.0) > self.clock.now()
            if own and held and state.by.startswith("person:"):
                raise Refused(f"{state.by.partition(':')[2]} holds {agent} ({state.reason or 'no reason given'}).")
            return values

        return self._change_agent(agent, actor, wanted, reason=reason)

    def agent_event(self, agent: str, name: str, *, ref: str = "", actor: str) -> AgentState:
        """Say that `agent` has just done something, as `deployed`. Tickets that go by such events go to it (FO-10)."""
        if not name.strip() or len(name) > 100 or len(ref) > 500:
            raise BadInput("An event has a name of at most 100 characters and a ref of at most 500.", field="name")
        check_text([name, ref], "the event")
        event = AgentEvent(name=name.strip(), ref=ref, at=self.clock.now(), by=actor)

        def with_event(state: AgentState) -> dict[str, Any]:
            return {"events": [*state.events, event][-EVENTS_KEPT:]}

        return self._change_agent(agent, actor, with_event, reason=None, told={"event": event.model_dump()})

    def _change_agent(
        self, agent: str, actor: str, values_for: Any, *, reason: str | None, told: dict[str, Any] | None = None
    ) -> AgentState:
        if agent not in self.team.agents:
            known = ", ".join(sorted(self.team.agents))
            raise NotFound(f"Team {self.team.team!r} has no agent {agent!r}. It has: {known}.")
        for _ in range(CONFLICTS):
            epoch, now = self.store.epoch(), self.clock.now()
            before = self.store.agent_states([agent])[agent]
            values = values_for(before)
            if reason is not None:  # an event leaves the reason of a hold as it is
                values = values | {"reason": reason, "by": actor, "since": now}
            after = before.model_copy(update=values | {"version": before.version + 1})
            line = Line(
                ticket=f"@{agent}", move="agent", actor=actor, at=now, version=after.version, agent=agent,
                reason=reason or "", detail=told if told is not None else values,
            )  # fmt: skip
            reply = self.store.commit_agent(epoch, after, line)
            if not isinstance(reply, Refusal):
                self._confirm(agent, reply[0], epoch)
                return after
        raise Unavailable(f"{agent} is being changed by somebody else all the time. Retry.")
