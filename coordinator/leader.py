"""One coordinator of a team is active, the others stand by. The lease is speed; the commits are safety."""

from __future__ import annotations

import os
import socket
import threading
import uuid

import redis
import structlog

from shiftlead.config.settings import Settings
from shiftlead.queues.keys import Keys

__all__ = ["Leadership"]

log = structlog.get_logger("shiftlead.coordinator")

RENEW = """
local owner = redis.call("GET", KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
"""
RELEASE = 'if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0'


class Leadership:
    """The lease of one team's coordination, renewed by a thread of its own so that a long step does not lose it."""

    def __init__(self, client: redis.Redis, keys: Keys, settings: Settings) -> None:
        self.me = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._client, self._key, self._settings = client, keys.leader, settings
        self._held, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether this process coordinates now."""
        return self._held.is_set()

    def start(self) -> None:
        """Try for the lease, and keep it once it is held."""
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the lease is held."""
        return self._held.wait(timeout_s)

    def resign(self) -> None:
        """Give the lease to whoever asks next, and stand by."""
        self._held.clear()
        try:
            self._client.eval(RELEASE, 1, self._key, self.me)
        except redis.RedisError as error:
            log.warning("the leader's lease could not be released; it runs out by itself", error=str(error))

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._settings.leader_lease_s)
        if self.held:
            self.resign()

    def _run(self) -> None:
        lease_ms = int(self._settings.leader_lease_s * 1000)
        while not self._stop.is_set():
            try:
                mine = bool(self._client.eval(RENEW, 1, self._key, self.me, lease_ms))
            except redis.RedisError:
                mine = False
            if mine != self.held:
                log.info("coordinating" if mine else "standing by", me=self.me)
            (self._held.set if mine else self._held.clear)()
            self._stop.wait(self._settings.leader_lease_s / (3 if mine else 6))
