"""Refusals are counted by reason and day, never stored one by one (EN-15, I4).

The way of a count: in this process (RefusalCounter) -> a hash in Redis, every few seconds -> SQL, once a minute, by
the coordinator (move_to_sql). Reasons are a fixed set, so nobody can fill memory by being refused.

What is guaranteed: a count that reached Redis is added in SQL exactly once, whoever dies in between: counts are put
aside as a numbered batch, the number is written in the same transaction as the counts, and a number that SQL has is not
added again. What is not: a process that is killed loses what it counted in the last two seconds; a Redis that is lost
or rebuilt loses what was not yet moved, a minute at most; a flush whose answer was lost may count twice.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import redis
import structlog

from .keys import Keys
from .ledger import Ledger

__all__ = ["REASONS", "RefusalCounter", "RefusalMover", "reason_of", "recent_refusals"]

log = structlog.get_logger("shiftlead.refusals")

# Name of the error -> reason. An error counts under the first of its classes that is named here.
BY_ERROR = {
    "Unauthenticated": "unauthenticated",
    "Forbidden": "forbidden",
    "NotYours": "not_yours",
    "TooLarge": "too_large",
    "BadInput": "bad_input",
    "RequestValidationError": "bad_input",
    "StaleToken": "stale_token",
    "KeyReused": "key_reused",
    "IllegalMove": "illegal_move",
    "NoSlot": "no_slot",
    "IntakeFull": "intake_full",
    "Overloaded": "overloaded",
    "NotRecorded": "not_recorded",
    "Unavailable": "unavailable",
    "NotFound": "not_found",
    "HTTPException": "no_such_address",
    "Refused": "refused",
    "ValueError": "bad_input",
    "TimeoutError": "unavailable",
}
OTHER = "other"
REASONS = frozenset({*BY_ERROR.values(), OTHER})
FLUSH_S = 2.0
FLUSH_AT = 1_000  # counts


def reason_of(error: BaseException) -> str:
    """Under which reason an error counts."""
    return next((BY_ERROR[c.__name__] for c in type(error).__mro__ if c.__name__ in BY_ERROR), OTHER)


class RefusalCounter:
    """Counts refusals of one team in this process. May be called by any thread; never waits for Redis.

    A thread writes the counts to Redis two seconds after the first, at 1,000 sooner, and ends: a process that refuses
    nothing has none.
    """

    def __init__(self, client: redis.Redis, keys: Keys, *, flush_s: float = FLUSH_S) -> None:
        self._client: Any = client
        self._key, self._flush_s = keys.refused, flush_s
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._soon = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, reason: str) -> None:
        """One refusal for `reason`; one that is not in REASONS counts as other."""
        known = reason if reason in REASONS else OTHER
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        with self._lock:
            self._counts[day, known] += 1
            full = self._counts.total() >= FLUSH_AT
            if self._thread is None:
                self._thread = threading.Thread(target=self._flush_later, name="refusals", daemon=True)
                self._thread.start()
        if full:
            self._soon.set()

    def error(self, error: BaseException) -> None:
        """One refusal by `error`. The same error passes several doors on its way out and counts once."""
        if not getattr(error, "counted", False):
            error.counted = True  # type: ignore[attr-defined]
            self.count(reason_of(error))

    def flush(self) -> bool:
        """Write what was counted to Redis, all or nothing. False: it did not answer; the counts are kept."""
        with self._writing:
            with self._lock:
                counts, self._counts = self._counts, Counter()
            if not counts:
                return True
            try:
                pipe = self._client.pipeline(transaction=True)
                for (day, reason), n in counts.items():
                    pipe.hincrby(self._key, f"{day}|{reason}", n)
                pipe.execute()
                return True
            except (redis.RedisError, OSError, ValueError) as error:  # ValueError: the pool was closed
                with self._lock:
                    self._counts.update(counts)
                log.warning("refusals are not counted in Redis now; they are kept", error=str(error))
                return False

    def close(self) -> None:
        """Write what is left; at the end of the process."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._soon.set()
            thread.join(self._flush_s + 1.0)
        self.flush()

    def _flush_later(self) -> None:
        self._soon.wait(self._flush_s)
        with self._lock:
            self._soon.clear()
            self._thread = None  # what is counted from here on has a thread of its own
        self.flush()


class RefusalMover:
    """Moves the counts of one team from Redis to SQL. The coordinator's; two at once count nothing twice."""

    def __init__(self, client: redis.Redis, keys: Keys, ledger: Ledger) -> None:
        self._keys, self._ledger = keys, ledger
        lua = files("shiftlead.queues") / "lua"
        self._take: Any = client.register_script((lua / "take_refusals.lua").read_text("utf-8"))
        self._drop: Any = client.register_script((lua / "drop_refusals.lua").read_text("utf-8"))

    def move(self) -> int:
        """Move what there is; how many refusals were added in SQL."""
        batch, *rest = self._take(keys=[self._keys.tag]) or [""]
        if not batch:
            return 0
        counts = _read(dict(zip(rest[::2], rest[1::2], strict=True)))
        added = self._ledger.count_refusals(self._keys.team, counts, batch=batch)
        self._drop(keys=[self._keys.tag], args=[batch])
        return sum(counts.values()) if added else 0


def recent_refusals(
    ledger: Ledger, team: str, days: int, *, client: Any = None, now: float | None = None
) -> dict[tuple[str, str], int]:
    """What was refused on the last `days` days (UTC), by (day, reason); with `client`, also what is only in Redis."""
    today = time.time() if now is None else now
    since = datetime.fromtimestamp(today - (days - 1) * 86_400, UTC).strftime("%Y-%m-%d")
    found = Counter(ledger.refusals(team, since))
    if client is not None:
        keys = Keys(team)
        pipe = client.pipeline(transaction=True)
        pipe.hgetall(keys.refused)
        pipe.hgetall(keys("refused:taken"))
        counted, taken = pipe.execute()
        batch = taken.pop("@batch", "")
        waiting = Counter(_read(counted))
        if batch and not ledger.has_refusals(team, batch):
            waiting.update(_read(taken))
        found.update({at: n for at, n in waiting.items() if at[0] >= since})
    return dict(found)


def _read(fields: dict[str, str]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for name, n in fields.items():
        day, _, reason = name.partition("|")
        at = day, reason if reason in REASONS else OTHER
        counts[at] = counts.get(at, 0) + int(n)
    return counts
