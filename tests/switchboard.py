"""A team that answers messages, in one thread: the real desk, cycle and worker runtime, and any brain by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shiftlead.agents.agent import Agent
from shiftlead.agents.brains import brain_of
from shiftlead.agents.execution import Runner
from shiftlead.agents.worker import agents_for
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.cycle import Cycle
from shiftlead.queues.broker import Ring
from shiftlead.queues.desk import Desk
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.report import Report
from shiftlead.queues.ticket import Draft, Line, Ticket
from tests.conftest import open_desk

__all__ = ["Switchboard"]


class Switchboard:
    """Everybody with a brain is there and works as soon as it is rung. `brains` stand in for those of the team file."""

    def __init__(
        self, client: Any, team: Team, settings: Settings, *, brains: Mapping[str, Agent] | None = None, **extra: Any
    ) -> None:
        self.clock, self.team = ManualClock(), team
        self.desk: Desk = open_desk(client, team, self.clock, settings, **extra)
        self.present = set(agents_for(team))
        made = {name: brain_of(team, name, settings, now=self.clock.now) for name in self.present - set(brains or {})}
        self.rings: list[Ring] = []
        self.cycle = Cycle(self.desk, None, self.rings.extend)  # type: ignore[arg-type]
        self.presence = Presence(client, self.desk.keys, self.clock, settings)
        self.runner = Runner(self.desk, made | dict(brains or {}), "w", lambda: None)

    def brings(self, body: str, **fields: Any) -> str:
        """A ticket comes in, and everybody works until nobody has anything to do; its id."""
        ticket = self.desk.accept(Draft.model_validate({"body": body} | fields), actor="door:test").ticket
        self.works()
        return ticket.id

    def works(self) -> None:
        for _ in range(200):
            for agent in self.present:
                self.presence.beat([agent], "w", WorkerInfo())
            while self.cycle.run(self.clock.now()):
                pass
            rung, self.rings[:] = [ring for ring in self.rings if ring.agent in self.present], []
            if not rung:
                return
            for ring in rung:
                self.runner.ring(ring.agent, ring.ticket)
        raise AssertionError("the crew never comes to rest")

    def says(self, ticket_id: str, agent: str, report: Report) -> Ticket:
        """A person or an agent from outside takes a ticket it was given, and reports."""
        held = self.desk.claim(ticket_id, agent, "outside")
        after = self.desk.report(held.id, held.token, report, agent=agent)
        self.works()
        return after

    def find(self, name: str) -> Ticket:
        return self.desk.find(name)

    def parts(self, name: str, kind: str = "handoff") -> list[Ticket]:
        """The tickets it handed on of that type, in their order."""
        return [t for t in map(self.desk.find, self.find(name).children) if t.type == kind]

    def line(self, name: str, move: str) -> Line:
        """Its last line of that move."""
        return next(line for line in reversed(self.desk.history(self.find(name).id)) if line.move == move)

    def reply(self, name: str) -> str:
        """What it was answered with at its end."""
        return str((self.find(name).result or {})["reply"])
