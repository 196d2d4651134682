"""Put one process's connections together: Redis, clock, ledger, and a desk per team."""

from __future__ import annotations

from dataclasses import dataclass, field

import redis

from shiftlead.config.clock import ServerClock
from shiftlead.config.redis_client import make_client, server_time
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team

from .desk import Desk
from .keys import Keys
from .knowledge_index import KnowledgeIndex
from .ledger import Ledger
from .recorded import Recorded
from .refusals import RefusalCounter

__all__ = ["Connections"]


@dataclass
class Connections:
    """What a process needs to work with tickets. Nothing is opened before it is used."""

    settings: Settings
    _desks: dict[str, Desk] = field(default_factory=dict)
    _recorded: list[Recorded] = field(default_factory=list)
    _counters: list[RefusalCounter] = field(default_factory=list)
    _knowledge: dict[str, KnowledgeIndex] = field(default_factory=dict)
    _client: redis.Redis | None = None
    _ledger: Ledger | None = None
    _clock: ServerClock | None = None

    @property
    def client(self) -> redis.Redis:
        if self._client is None:
            self._client = make_client(self.settings.redis_address, self.settings)
        return self._client

    @property
    def clock(self) -> ServerClock:
        if self._clock is None:
            client = self.client
            self._clock = ServerClock(lambda: server_time(client))
        return self._clock

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self.settings.database_address)
        return self._ledger

    def team(self, name: str | None = None) -> Team:
        """The team file of `name`, of the settings' team when empty.

        Raises:
            ValueError: there is no such team, or its file is wrong; says where.
        """
        return load_team(name or self.settings.team, self.settings, overlay=self.settings.overlay)

    def desk(self, name: str | None = None) -> Desk:
        """The desk of a team."""
        name = name or self.settings.team
        if name not in self._desks:
            recorded = Recorded(self.client, Keys(name), self.settings)
            self._recorded.append(recorded)
            desk = Desk(
                self.client,
                self.team(name),
                clock=self.clock,
                settings=self.settings,
                ledger=self.ledger,
                recorded=recorded,
            )
            counter = RefusalCounter(self.client, desk.keys)
            self._counters.append(counter)
            desk.refused = counter.error
            self._desks[name] = desk
        return self._desks[name]

    def knowledge(self, name: str | None = None) -> KnowledgeIndex:
        """The index of what a team knows. It is built when it is first searched."""
        name = name or self.settings.team
        if name not in self._knowledge:
            self._knowledge[name] = KnowledgeIndex(self.ledger, name, self.team(name).folder, self.settings.data)
        return self._knowledge[name]

    def close(self) -> None:
        """Close what was opened."""
        for index in self._knowledge.values():
            index.close()
        for counter in self._counters:
            counter.close()
        for recorded in self._recorded:
            recorded.close()
        if self._ledger is not None:
            self._ledger.close()
        if self._client is not None:
            self._client.close()
