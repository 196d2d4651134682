"""Which team a call means, and which tickets its caller may see. Isolation is decided here and nowhere else (I16)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from shiftlead.config.settings import Settings
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import NotFound, StaleToken
from shiftlead.queues.ticket import Ticket

from .auth import ANY_TEAM, Caller
from .problems import Forbidden

__all__ = ["Rooms", "belongs_to"]

NAME = re.compile(r"T-\d{4}-\d{3,12}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Rooms:
    """The teams this process serves."""

    def __init__(self, desks: Mapping[str, Desk], settings: Settings) -> None:
        self.desks, self._settings = desks, settings

    def desk(self, caller: Caller, team: str | None) -> Desk:
        """The desk of `team`, of the key's own team if none is named.

        Raises:
            NotFound: there is no such team, or the key belongs to another: the answers do not differ.
        """
        visible = list(self.desks) if caller.team == ANY_TEAM else [t for t in self.desks if t == caller.team]
        name = team or self._default(caller)
        if name in visible:
            return self.desks[name]
        close = get_close_matches(name[:100], visible, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else f" There is: {', '.join(visible) or 'none'}."
        raise NotFound(f"There is no team {name[:100]!r}.{hint} Nothing was stored.")

    def is_default(self, caller: Caller, team: str) -> bool:
        """Whether `team` is meant when the caller names none."""
        return team == self._default(caller)

    def ticket(self, desk: Desk, caller: Caller, name: str) -> Ticket:
        """The ticket of this id or number, if the caller may see it.

        Raises:
            NotFound: there is none, or it is not the agent's: the answers do not differ.
        """
        ticket = self._find(desk, name)
        if caller.agent is not None and not belongs_to(ticket, caller.agent):
            raise _unknown(desk, name)
        return ticket

    def held(self, desk: Desk, caller: Caller, name: str, token: int | None) -> Ticket:
        """The ticket, for a call of its holder.

        Raises:
            StaleToken: the agent held it once: it must stop (I4).
            NotFound: it never did.
        """
        ticket = self._find(desk, name)
        if caller.agent is None or ticket.assigned_to == caller.agent:
            return ticket
        if any(line.agent == caller.agent and line.move == "claim" for line in desk.history(ticket.id)):
            if token is not None and ticket.last_op == f"report:{token}:{caller.agent}":
                return ticket  # a repeated report gets its stored answer
            raise StaleToken(ticket.number, token or 0, ticket.state, None)
        raise _unknown(desk, name)

    def agent(self, desk: Desk, caller: Caller, name: str) -> str:
        """The agent `name`, if the caller may speak for it.

        Raises:
            Forbidden: the key is another agent's.
            NotFound: the team has no such agent.
        """
        if caller.agent is not None and caller.agent != name:
            raise Forbidden(
                f"The key {caller.name!r} is {caller.agent}'s. An agent sees and moves only its own tickets."
            )
        if name in desk.team.agents:
            return name
        close = get_close_matches(name[:100], list(desk.team.agents), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(desk.team.agents)}."
        raise NotFound(f"Team {desk.team.team!r} has no agent {name[:100]!r}. {hint}")

    def _find(self, desk: Desk, name: str) -> Ticket:
        if not NAME.fullmatch(name):
            raise _unknown(desk, name)
        return desk.find(name)

    def _default(self, caller: Caller) -> str:
        if caller.team != ANY_TEAM:
            return caller.team
        return self._settings.team if self._settings.team in self.desks else next(iter(self.desks), "")


def belongs_to(ticket: Ticket, agent: str) -> bool:
    """Whether it is with `agent` now, waits for it by name, or, once completed, was its last."""
    if ticket.assigned_to is not None:
        return ticket.assigned_to == agent
    return agent in (ticket.named, ticket.prefers)


def _unknown(desk: Desk, name: str) -> NotFound:
    return NotFound(f"Team {desk.team.team!r} has no ticket {name[:100]!r}, or it is not for this key to see.")
