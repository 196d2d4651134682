"""Every refusal of the HTTP door is counted, under the team that may know of it (I4, I16, EN-15)."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import Scope

from shiftlead.config.settings import Settings
from shiftlead.queues.desk import Desk
from shiftlead.queues.refusals import RefusalCounter

from .auth import ANY_TEAM, Keyring
from .problems import COUNT

__all__ = ["Refusing"]


class Refusing:
    """One counter for each team this process serves."""

    def __init__(self, desks: Mapping[str, Desk], keyring: Keyring, settings: Settings) -> None:
        self.counters = {name: RefusalCounter(desk.store.client, desk.keys) for name, desk in desks.items()}
        self._keyring = keyring
        self._default = settings.team if settings.team in desks else next(iter(desks), "")

    def watch(self, scope: Scope) -> None:
        """Count what the request of `scope`, which this task handles, is refused for."""
        COUNT.set(lambda error: self._count(scope, error))

    def close(self) -> None:
        """Write what is left to Redis."""
        for counter in self.counters.values():
            counter.close()

    def _count(self, scope: Scope, error: Exception) -> None:
        if counter := self.counters.get(self._team(Request(scope))):
            counter.error(error)

    def _team(self, request: Request) -> str:
        """The key's own team, or the one a key for all teams named; without a known key, the first."""
        secret = request.headers.get("authorization", "").partition(" ")[2].strip()
        caller = self._keyring.remembered(secret[:200])  # looked up a moment ago, if it is anybody's; never waits
        if caller is None:
            return self._default
        team = request.query_params.get("team", "") if caller.team == ANY_TEAM else caller.team
        return team if team in self.counters else self._default
