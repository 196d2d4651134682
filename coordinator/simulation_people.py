"""What happens at the desk in a dry run beside the agents' own calls: requesters answer, people approve, days end."""

from __future__ import annotations

from collections.abc import Callable

from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, Refused
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

from .simulated_agents import Behaviour
from .simulation_record import Entry

__all__ = ["People"]


class People:
    """Those who pull no tickets. `later(at, event)` puts an event on the clock."""

    def __init__(self, desk: Desk, behaviour: Behaviour, later: Callable[[float, Callable[[], None]], None]) -> None:
        self.desk, self.team, self.behaviour, self.later = desk, desk.team, behaviour, later
        self._asked: set[tuple[str, str]] = set()

    def worked(self, agent: str, start: float, seconds: float) -> float:
        """When so much work is done that begins at `start`: outside its hours nobody works."""
        hours = self.team.agents[agent].hours
        return start + seconds if hours is None else hours.add(start, seconds, self.team.days_off)

    def hear(self, entry: Entry) -> None:
        """A line about an open ticket: whoever is asked by it answers some time later."""
        doc = entry.doc or {}
        if doc["state"] == State.WAITING and doc["waits_for"] == "requester" and entry.line["move"] == "ask":
            ticket = Ticket.model_validate_json(entry.text)
            self.later(self.desk.clock.now() + self.behaviour.reply_s(ticket), lambda: self._reply(ticket))
        person = doc["named"]
        if doc["type"] != "approval" or doc["state"] != State.READY or person not in self.team.people:
            return
        if (doc["id"], person) not in self._asked:
            self._asked.add((doc["id"], person))
            asked = Ticket.model_validate_json(entry.text)
            self.later(self.desk.clock.now() + self.behaviour.answer_s(asked), lambda: self._answer(asked, person))

    def _reply(self, ticket: Ticket) -> None:
        try:
            self.desk.reply(ticket.id, "simulated answer", actor=f"door:{ticket.reporter or 'requester'}")
        except Refused:
            return  # its timer was faster

    def _answer(self, ticket: Ticket, person: str) -> None:
        decision = self.behaviour.decision(ticket)
        try:
            self.desk.answer(ticket.id, decision, actor=f"person:{person}", reason="simulated")
        except (Refused, BadInput):
            return  # it expired, or somebody else decided
