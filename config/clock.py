"""One clock for every deadline: the Redis server's, followed with the local monotonic clock.

Processes on several hosts compare deadlines, so they must agree on the time; the server they share is the one they
agree on. The offset is measured again every ten seconds. Between two measurements only the monotonic clock counts,
so a wall clock that is set forward by an hour expires nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "ManualClock", "ServerClock"]

REFRESH_S = 10.0
JUMP_S = 5.0
SLOW_S = 1.0  # a measurement that took longer tells nothing


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Unix seconds, UTC."""


class ServerClock:
    """Follows the server's TIME.

    Each of `listeners` is called with the seconds by which the server's time moved against the monotonic clock, when
    they are more than five: whoever compares deadlines re-bases them then (I9).
    """

    def __init__(self, server_time: Callable[[], float], on_jump: Callable[[float], None] | None = None) -> None:
        self._server_time = server_time
        self.listeners = [] if on_jump is None else [on_jump]
        self._lock = threading.Lock()
        self._offset = 0.0
        self._measured = float("-inf")

    def now(self) -> float:
        mono = time.monotonic()
        if mono - self._measured > REFRESH_S:
            self.refresh()
        return time.monotonic() + self._offset

    def refresh(self) -> None:
        """Measure the offset again. A server that does not answer leaves the old one standing."""
        with self._lock:
            before = time.monotonic()
            if before - self._measured <= REFRESH_S:
                return
            first = self._measured == float("-inf")
            try:
                server = self._server_time()
            except Exception:
                if first:
                    raise
                self._measured = before - REFRESH_S + 1.0
                return
            after = time.monotonic()
            if after - before > SLOW_S and not first:
                # The process was stopped, or the server was: nobody knows when in that time the answer was made.
                self._measured = before - REFRESH_S + 1.0
                return
            # As if the server had answered at the last moment it could have: late by a round trip, but never early.
            offset = server - after
            jump = 0.0 if first else offset - self._offset
            self._offset, self._measured = offset, after
        if abs(jump) > JUMP_S:
            for listener in self.listeners:
                listener(jump)


class ManualClock:
    """A clock for tests and simulations: it moves when told to."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the time forward."""
        self._now += seconds
