"""A crew of which some may be away, with the order they began in and the notices people were given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shiftlead.queues.presence import Presence, WorkerInfo
from tests.crew import Crew

__all__ = ["Room"]


class Room(Crew):
    """`present`: who has a worker; `served`: ids of tickets, in the order their agents began."""

    def __init__(self, home: Path, team: str, overlay: str = "", **settings: Any) -> None:
        super().__init__(home, team, overlay, **settings)
        self.cycle.notices._post = lambda address, subject, body: ""  # they stand in the file
        self.present = list(self._programs)
        self.served: list[str] = []

    def work(self, *, rounds: int = 50) -> None:
        for _ in range(rounds):
            self.coordinate()
            rung, self._rings[:] = [ring for ring in self._rings if ring.agent in self.present], []
            if not rung:
                return
            for ring in rung:
                self.served.append(ring.ticket)
                self.runners[ring.agent].ring(ring.agent, ring.ticket)
        raise AssertionError("the team never comes to rest")

    def coordinate(self) -> None:
        presence = Presence(self.client, self.desk.keys, self.clock, self.settings)
        presence.beat(self.present, "w1", WorkerInfo())
        while self.cycle.run(self.clock.now()):
            pass

    def told(self) -> list[dict[str, Any]]:
        """The notices people were given, oldest first."""
        path = self.cycle.notices.path
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
