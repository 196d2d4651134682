"""A team at work in this process: the real desk, ledger, cycle and worker runtime, on a fake server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fakeredis

from shiftlead.agents.brain_check import load_brain
from shiftlead.agents.execution import Runner
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.cycle import Cycle
from shiftlead.queues.broker import Ring
from shiftlead.queues.desk import Desk
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_writer import LedgerWriter
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.ticket import Draft, Ticket
from tests.conftest import open_desk

START = 1_800_000_000.0  # Friday 2027-01-15 08:00 UTC


class Room:
    """A shipped team, with a text laid over its file. Programs work when they are rung; people when a test says so."""

    def __init__(self, home: Path, team: str, overlay: str = "", **settings: Any) -> None:
        self.settings = Settings(home=home, acknowledge="redis", **settings)
        laid = home / "overlay.yaml"
        laid.write_text(overlay or "{}")
        self.team = load_team(team, self.settings, overlay=laid)
        self.clock, self.client = (
            ManualClock(START),
            fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0))),
        )
        self.ledger = Ledger(self.settings.database_address)
        self.ledger.migrate()
        self.ledger.begin_epoch(self.team.team, None)
        self.desk: Desk = open_desk(self.client, self.team, self.clock, self.settings, ledger=self.ledger)
        self._writer = LedgerWriter(self.ledger, self.client, self.desk.keys, 1, self.clock, self.settings)
        self._rings: list[Ring] = []
        self.cycle = Cycle(self.desk, None, self._rings.extend)
        self.cycle.notices._post = lambda address, subject, body: ""  # they stand in the file
        self.present = [n for n, a in self.team.agents.items() if not a.human and a.brain != "outside"]
        self.runners = {name: self.worker(name) for name in self.present}

    def worker(self, agent: str, name: str = "w1") -> Runner:
        """The runtime of one agent, as a worker process has it."""
        brain = load_brain(self.team, agent, self.settings)
        return Runner(self.desk, {agent: brain}, f"{agent}@{name}", lambda: None)

    def close(self) -> None:
        self.cycle.stop()
        self.ledger.close()

    def comes(self, title: str, body: str, *, work: bool = True, **fields: Any) -> Ticket:
        """A ticket comes in, and everybody works until nothing moves."""
        draft = Draft.model_validate({"title": title, "body": body, "reporter": "sam@example.com"} | fields)
        ticket = self.desk.accept(draft, actor="door:test").ticket
        if work:
            self.work()
        return self.desk.find(ticket.id)

    def work(self, *, rounds: int = 50) -> None:
        """Coordinate and ring until nothing moves."""
        for _ in range(rounds):
            self.coordinate()
            if not self._rings:
                return
            rung, self._rings[:] = list(self._rings), []
            for ring in (r for r in rung if r.agent in self.present):
                self.runners[ring.agent].ring(ring.agent, ring.ticket)
        raise AssertionError("the team never comes to rest")

    def coordinate(self) -> None:
        """The coordinator's part alone; the rings wait."""
        presence = Presence(self.client, self.desk.keys, self.clock, self.settings)
        presence.beat(self.present, "w1", WorkerInfo())
        while self.cycle.run(self.clock.now()):
            pass

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.work()

    def told(self) -> list[dict[str, Any]]:
        """The notices people were given, oldest first."""
        path = self.cycle.notices.path
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def step(self, ticket: Ticket, name: str) -> dict[str, Any]:
        """What a step found."""
        found: dict[str, Any] = self.desk.find(ticket.id).steps[name]["result"]
        return found

    def recorded(self) -> Ledger:
        """The ledger, with everything in it."""
        while self._writer.step(0.01):
            pass
        return self.ledger
