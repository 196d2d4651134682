"""Waiting until the ledger has a line: one thread of the process reads the watermark, any number of callers wait."""

from __future__ import annotations

import threading
import time
from typing import Any

import redis

from shiftlead.config.settings import Settings

from .keys import Keys

__all__ = ["Recorded", "stream_position"]

EPOCHS_KEPT = 4
NOWHERE = (-1, -1)


class Recorded:
    """How far SQL has come, as the ledger writer tells in `keys.recorded`. May be shared between threads."""

    def __init__(self, client: redis.Redis, keys: Keys, settings: Settings) -> None:
        self._client: Any = client
        self._key = keys.recorded
        # Shorter than the socket timeout, or an idle ledger would look like a dead server.
        self._block_s = min(2.0, settings.socket_timeout_s / 2)
        self._changed = threading.Condition()
        self._reached: dict[int, tuple[int, int]] = {}  # epoch -> furthest stream id
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def wait(self, stream_id: str, timeout_s: float, epoch: int) -> bool:
        """Wait until SQL has the line at `stream_id` of `epoch`; False when that was not seen within `timeout_s`.

        False is no proof that the line is lost: the caller must say "may be recorded".
        """
        wanted = stream_position(stream_id)
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._start()
            # The mark is looked at and waited for under one lock, so none can slip in between.
            while self._reached.get(epoch, NOWHERE) < wanted:
                left = deadline - time.monotonic()
                # A later epoch's mark means this one gets no more lines.
                if left <= 0 or self._stop.is_set() or any(later > epoch for later in self._reached):
                    return False
                self._changed.wait(left)
            return True

    def close(self) -> None:
        """Stop the thread; whoever waits gets False."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(0.05)  # it sleeps in Redis for a while yet, and holds nobody up

    def _start(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._follow, name="recorded", daemon=True)
            self._thread.start()

    def _follow(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                self._read()
                pause = 0.0
            except (redis.RedisError, OSError, ValueError):  # ValueError: the pool was closed under the reader
                pause = min(1.0, pause * 2 or 0.05)

    def _read(self) -> None:
        """Take the newest mark, then sleep in Redis until there is a newer one.

        The newest is looked up each time: after a FLUSHALL with the clock set back, its id may be a lower one.
        """
        newest = self._client.xrevrange(self._key, count=1)
        if newest:
            self._take(newest[0][1])
        after = newest[0][0] if newest else "0-0"
        answer = self._client.xread({self._key: after}, block=int(self._block_s * 1000))
        for _, entries in answer or ():
            for _, fields in entries:
                self._take(fields)

    def _take(self, fields: dict[str, str]) -> None:
        epoch, position = int(fields["epoch"]), stream_position(fields["id"])
        with self._changed:
            if position > self._reached.get(epoch, NOWHERE):
                self._reached[epoch] = position
                for old in sorted(self._reached)[:-EPOCHS_KEPT]:
                    del self._reached[old]
                self._changed.notify_all()


def stream_position(stream_id: str) -> tuple[int, int]:
    """A stream id as numbers, which compare as the stream orders them ("10-9" comes before "10-10")."""
    milliseconds, _, count = stream_id.partition("-")
    return int(milliseconds), int(count or 0)
