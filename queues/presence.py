"""Who is there: each worker instance says so every third of the time it counts.

The lease decides about tickets; presence only lets the coordinator choose somebody who listens, and lets it tell a
worker that died from one that is slow.

    presence   zset  <agent>|<worker> -> the moment it stops counting
    workers    hash  <agent>|<worker> -> what is known of the process, JSON
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

import redis
from pydantic import BaseModel

from shiftlead.config.clock import Clock
from shiftlead.config.settings import Settings

from .keys import Keys

__all__ = ["Beater", "Presence", "WorkerInfo"]

log = logging.getLogger(__name__)
FORGOTTEN_S = 3600.0


class WorkerInfo(BaseModel):
    """One worker instance of one agent. `started_at` and `until` are unix seconds; `slots` tickets fit at a time."""

    agent: str = ""
    worker: str = ""
    pid: int = 0
    host: str = ""
    node: str = ""
    started_at: float = 0.0
    slots: int = 1
    running: int = 0
    until: float = 0.0


class Presence:
    """One team's workers. Safe to share between threads."""

    def __init__(self, client: redis.Redis, keys: Keys, clock: Clock, settings: Settings) -> None:
        self._client, self._keys, self._clock, self._settings = client, keys, clock, settings

    def beat(self, agents: Sequence[str], worker: str, info: WorkerInfo) -> None:
        """`worker` listens for `agents` and counts as present until the TTL is over."""
        now = self._clock.now()
        until = now + self._settings.presence_ttl_s
        pipe = self._client.pipeline(transaction=False)
        for agent in agents:
            member = f"{agent}|{worker}"
            said = info.model_copy(update={"agent": agent, "worker": worker, "until": until})
            pipe.zadd(self._keys.presence, {member: until})
            pipe.hset(self._keys.workers, member, said.model_dump_json())
        pipe.execute()

    def leave(self, agents: Sequence[str], worker: str) -> None:
        """It listens no more, from now on."""
        self._drop([f"{agent}|{worker}" for agent in agents])

    def live(self) -> dict[str, list[WorkerInfo]]:
        """The instances that count now, by agent, the longest running first. One round trip."""
        pipe = self._client.pipeline(transaction=False)
        pipe.zrangebyscore(self._keys.presence, f"({self._clock.now()!r}", "+inf", withscores=True)
        pipe.hgetall(self._keys.workers)
        members, infos = pipe.execute()
        found: dict[str, list[WorkerInfo]] = {}
        for member, until in members:
            agent, _, worker = member.partition("|")
            info = WorkerInfo.model_validate_json(infos.get(member) or "{}")
            found.setdefault(agent, []).append(
                info.model_copy(update={"agent": agent, "worker": worker, "until": until})
            )
        for workers in found.values():
            workers.sort(key=lambda w: (w.started_at, w.worker))
        return found

    def forget(self, worker: str) -> int:
        """Every instance whose id begins with `worker` is known to be dead. Returns how many entries went."""
        known = [str(member) for member in self._client.hkeys(self._keys.workers)]
        members = [m for m in known if m.partition("|")[2].startswith(worker)]
        self._drop(members)
        return len(members)

    def prune(self) -> None:
        """Drop what has not beaten for an hour."""
        old = self._client.zrangebyscore(self._keys.presence, "-inf", self._clock.now() - FORGOTTEN_S)
        self._drop([str(member) for member in old])

    def _drop(self, members: Sequence[str]) -> None:
        if not members:
            return
        pipe = self._client.pipeline(transaction=False)
        pipe.zrem(self._keys.presence, *members)
        pipe.hdel(self._keys.workers, *members)
        pipe.execute()


class Beater:
    """The thread that beats. A beat that fails is missed, not fatal: Redis may be away for a moment."""

    def __init__(
        self, presence: Presence, agents: Sequence[str], worker: str, info: Callable[[], WorkerInfo], *, ttl_s: float
    ) -> None:
        self._presence, self._agents, self._worker, self._info = presence, list(agents), worker, info
        self._every_s = ttl_s / 3
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and leave at once. May be repeated."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=10.0)
        with contextlib.suppress(redis.RedisError, OSError):
            self._presence.leave(self._agents, self._worker)

    def _run(self) -> None:
        missed = 0
        with contextlib.suppress(redis.RedisError, OSError):
            self._presence.prune()
        while not self._stop.is_set():
            try:
                self._presence.beat(self._agents, self._worker, self._info())
                missed = 0
            except (redis.RedisError, OSError) as error:
                missed += 1
                if missed == 1:
                    log.warning("%s could not say that it is there: %s", self._worker, error)
            self._stop.wait(self._every_s)
