"""Let an agent wait for its next ticket without asking again and again.

One thread per team follows the ledger stream while somebody waits, and wakes those whose agent was just assigned
something. A wake-up that is lost costs one turn of the caller's own check, never a ticket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import redis

from shiftlead.queues.keys import Keys

from .problems import Overloaded

__all__ = ["Waiting"]

log = logging.getLogger("shiftlead.api")
MAX_WAITING = 2_000
Listener = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Waiting:
    """Those who wait for tickets of one team."""

    def __init__(self, client: redis.Redis, keys: Keys, *, block_s: float = 1.0) -> None:
        self._client, self._keys = client, keys
        self._block_ms = max(1, int(block_s * 1000))  # shorter than the socket timeout
        self._lock = threading.Lock()
        self._listeners: dict[str, set[Listener]] = {}
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self.stopped = False

    @contextlib.contextmanager
    def listen(self, agent: str) -> Iterator[asyncio.Event]:
        """An event that is set when something was assigned to `agent`. Call it on the event loop.

        Raises:
            Overloaded: too many wait already.
        """
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if sum(map(len, self._listeners.values())) >= MAX_WAITING:
                raise Overloaded(f"{MAX_WAITING} agents wait here already. Retry in a moment.")
            self._listeners.setdefault(agent, set()).add(listener)
            if self._thread is None and not self.stopped:
                self._thread = threading.Thread(target=self._follow, name="shiftlead-waiting", daemon=True)
                self._thread.start()
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listeners[agent].discard(listener)
                if not self._listeners[agent]:
                    del self._listeners[agent]

    def stop(self) -> None:
        """Let everybody go: the process ends. May be called from a signal handler, so it takes no lock."""
        self.stopped = True
        self._ended.set()
        for listeners in list(self._listeners.values()):
            for loop, event in list(listeners):
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Stop, and wait until nothing uses the connection any more: about a second at most."""
        self.stop()
        thread = self._thread
        if thread is not None:
            thread.join(10.0)

    def _follow(self) -> None:
        last = ""
        while not self._ended.is_set():
            with self._lock:
                if not self._listeners:
                    self._thread = None
                    return
            try:
                if not last:
                    newest = self._client.xrevrange(self._keys.ledger, count=1)
                    last = str(newest[0][0]) if newest else "0-0"
                    self._wake_all()  # what was assigned before this moment is found by looking
                reply: Any = self._client.xread({self._keys.ledger: last}, block=self._block_ms, count=500)
                for _, entries in reply or []:
                    for stream_id, fields in entries:
                        last = stream_id
                        self._seen(fields.get("m", ""))
            except (redis.RedisError, OSError, ValueError) as error:  # ValueError: a line that is no JSON
                log.warning("waiting agents look for themselves for a moment: %s", error)
                last = ""
                self._ended.wait(1.0)

    def _seen(self, line: str) -> None:
        if '"move":"assign"' not in line:
            return
        self._wake(json.loads(line).get("agent") or "")

    def _wake(self, agent: str) -> None:
        with self._lock:
            for loop, event in self._listeners.get(agent, ()):
                with contextlib.suppress(RuntimeError):  # its loop has ended
                    loop.call_soon_threadsafe(event.set)

    def _wake_all(self) -> None:
        with self._lock:
            agents = list(self._listeners)
        for agent in agents:
            self._wake(agent)
