"""Deliver notices: the first to a target at once, what follows within the window as one message, failures again later.

`Outbox` decides what goes when: no thread, no clock, no network. `Delivery` sends it from daemon threads, which exist
only while something waits; whoever tells a notice never waits for a network. What waits here is in memory only: the
notice file and the ledger have every notice, whatever becomes of the message.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from shiftlead.config.addresses import masked

__all__ = ["Delivery", "Line", "Message", "Outbox", "Sent"]

log = structlog.get_logger("shiftlead.notice")

MOST = 1000  # notices of a team that wait at a time
TRIES = 8  # with the waits below: about a quarter of an hour
FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 300.0
SENDERS = 4  # a target that does not answer holds up one of them


@dataclass(frozen=True, slots=True)
class Line:
    """One notice: texts are clean and short already."""

    ticket: str
    title: str
    state: str
    text: str
    customer: str = ""
    says: str = ""  # how its message begins
    place: int = 0  # in the order they came, all targets together
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to one target now."""

    target: str
    address: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the notices since the start."""

    sent: int = 0  # messages that were taken
    grouped: int = 0  # notices that shared a message with others
    failed: int = 0  # notices given up: every try failed, or the end came first
    dropped: int = 0  # notices that had to go because too many waited


@dataclass(slots=True)
class _Target:
    address: str = ""
    waiting: deque[Line] = field(default_factory=deque)
    on_its_way: int = 0  # notices in the message that is being sent
    not_before: float = float("-inf")
    failures: int = 0  # in a row


class Outbox:
    """What waits for whom, and from when on. Times are seconds of whatever clock the caller has."""

    def __init__(self, window_s: float, most: int = MOST) -> None:
        self.window_s, self.most = window_s, most
        self._targets: dict[str, _Target] = {}
        self._place = 0

    def put(self, name: str, address: str, line: Line) -> int:
        """Keep a notice for a target; how many older ones had to go for it."""
        target = self._targets.setdefault(name, _Target())
        target.address = address
        self._place += 1
        target.waiting.append(replace(line, place=self._place))
        return self._make_room()

    def take(self, now: float) -> Message | None:
        """The message that is due and has waited longest. `done` or `failed` must follow."""
        due = [(t.waiting[0].place, name) for name, t in self._ready() if t.not_before <= now]
        if not due:
            return None
        _, name = min(due)
        target = self._targets[name]
        lines = tuple(target.waiting)
        target.waiting.clear()
        target.on_its_way, target.not_before = len(lines), now + self.window_s
        return Message(name, target.address, lines)

    def done(self, message: Message) -> None:
        """It was taken."""
        target = self._targets[message.target]
        target.on_its_way, target.failures = 0, 0

    def failed(self, message: Message, now: float, *, last: bool = False) -> tuple[list[Line], int]:
        """It was not taken: the lines that are given up, and how many older ones had to go. `last`: no other try."""
        target = self._targets[message.target]
        target.on_its_way = 0
        target.failures += 1
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(target.failures - 1, 10))
        target.not_before = now + wait
        tried = [replace(line, tries=line.tries + 1) for line in message.lines]
        again = [] if last else [line for line in tried if line.tries < TRIES]
        target.waiting.extendleft(reversed(again))  # what came meanwhile goes with them, in one message
        return [line for line in tried if last or line.tries >= TRIES], self._make_room()

    def next_at(self) -> float | None:
        """When something is due; None while nothing waits, or only behind what is being sent."""
        return min((t.not_before for _, t in self._ready()), default=None)

    def hurry(self) -> None:
        """No window counts any more. A target that fails is not asked again."""
        for target in self._targets.values():
            if not target.failures:
                target.not_before = float("-inf")

    def clear(self) -> dict[str, list[str]]:
        """Forget what waits: the ticket numbers by target."""
        left = {name: [line.ticket for line in t.waiting] for name, t in self._targets.items() if t.waiting}
        for target in self._targets.values():
            target.waiting.clear()
        return left

    @property
    def busy(self) -> bool:
        """Something is being sent."""
        return any(t.on_its_way for t in self._targets.values())

    def __len__(self) -> int:
        return sum(len(t.waiting) + t.on_its_way for t in self._targets.values())

    def _ready(self) -> list[tuple[str, _Target]]:
        return [(name, t) for name, t in self._targets.items() if t.waiting and not t.on_its_way]

    def _make_room(self) -> int:
        gone = 0
        while len(self) > self.most and (waiting := [t for t in self._targets.values() if t.waiting]):
            min(waiting, key=lambda t: t.waiting[0].place).waiting.popleft()
            gone += 1
        return gone


class Delivery:
    """Sends what its outbox says is due.

    `send(message)` answers "" or why it failed, and may block; what it raises counts as a failure. `senders` 0: no
    threads, only `flush` sends.
    """

    def __init__(
        self, send: Callable[[Message], str], *, window_s: float, clock: Callable[[], float] = time.monotonic,
        senders: int = SENDERS, most: int = MOST,
    ) -> None:  # fmt: skip
        self._send, self._clock, self._senders = send, clock, senders
        self._outbox = Outbox(window_s, most)
        self._changed = threading.Condition()
        self._alive = self._idle = 0
        self._closing = False
        self._sent = Sent()

    @property
    def sent(self) -> Sent:
        """The counters as they stand."""
        return self._sent

    def put(self, target: str, address: str, line: Line) -> None:
        """Deliver this soon. Returns at once."""
        with self._changed:
            self._closing = False
            self._drop(self._outbox.put(target, address, line))
            self._staff()
            self._changed.notify_all()

    def flush(self, now: float) -> int:
        """Send what is due at `now`, in this thread; how many messages were tried."""
        tried = 0
        while message := self._take(now):
            self._deliver(message, now)
            tried += 1
        return tried

    def close(self, timeout: float = 2.0) -> None:
        """Send what waits without waiting for its window, for at most `timeout` seconds; the rest is logged."""
        until = time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._outbox.hurry()
            self._staff()
            self._changed.notify_all()
            while self._alive and (self._outbox.busy or self._is_due()):
                if (left_s := until - time.monotonic()) <= 0:
                    break
                self._changed.wait(left_s)
            left, busy = self._outbox.clear(), self._outbox.busy
            self._count(failed=sum(len(numbers) for numbers in left.values()))
            self._changed.notify_all()  # whoever slept until something was due ends
        for target, numbers in left.items():
            log.error("notices were not delivered: the end came first", to=target, tickets=numbers[:20])
        if busy:
            log.warning("a notice was still being sent when the end came")

    def _is_due(self) -> bool:
        at = self._outbox.next_at()
        return at is not None and at <= self._clock()

    def _staff(self) -> None:
        """One more sender where something waits and nobody is free for it. Called with the lock held."""
        if self._alive >= self._senders or self._idle or self._outbox.next_at() is None:
            return
        try:
            threading.Thread(target=self._work, name="notices", daemon=True).start()
            self._alive += 1
        except RuntimeError as error:  # no thread to be had: the next notice tries again
            log.error("notices wait: no thread can be started", error=str(error))

    def _work(self) -> None:
        while True:
            message = self._take(self._clock())
            if message is not None:
                self._deliver(message, None)
            elif not self._wait():
                return

    def _wait(self) -> bool:
        """Sleep until something may be due; False, and counted out, when there is nothing to wait for or another does.

        Both under one lock: a notice that comes now finds either somebody who will look again, or room for a sender.
        """
        with self._changed:
            at = self._outbox.next_at()
            if at is None or self._idle or (self._closing and at > self._clock()):
                self._alive -= 1
                self._changed.notify_all()
                return False
            self._idle += 1
            try:
                self._changed.wait(max(0.0, at - self._clock()))
            finally:
                self._idle -= 1
            return True

    def _take(self, now: float) -> Message | None:
        with self._changed:
            message = self._outbox.take(now)
            if message is not None and self._senders:
                self._staff()  # this one is busy now, and others may wait
            return message

    def _deliver(self, message: Message, now: float | None) -> None:
        try:
            why = self._send(message)
        except Exception as error:  # whatever a library does, the other notices still go
            why = f"{type(error).__name__}: {error}"
        with self._changed:
            given_up: list[Line] = []
            if not why:
                self._outbox.done(message)
                many = len(message.lines)
                self._count(sent=1, grouped=many if many > 1 else 0)
            else:
                at = self._clock() if now is None else now
                given_up, gone = self._outbox.failed(message, at, last=self._closing)
                self._count(failed=len(given_up))
                self._drop(gone)
            self._changed.notify_all()
        if why:
            self._report(message, given_up, masked(why, message.address)[:300])

    def _report(self, message: Message, given_up: list[Line], why: str) -> None:
        if given_up:
            numbers = [line.ticket for line in given_up[:20]]
            log.error("notices were not delivered", to=message.target, notices=len(given_up), tickets=numbers, why=why)
        else:
            log.warning("a notice could not be sent; it is tried again", to=message.target, why=why)

    def _drop(self, gone: int) -> None:
        if gone:
            if not self._sent.dropped:
                log.error("too many notices wait: the oldest are dropped", most=self._outbox.most)
            self._count(dropped=gone)

    def _count(self, **more: int) -> None:
        self._sent = replace(self._sent, **{name: getattr(self._sent, name) + n for name, n in more.items()})
