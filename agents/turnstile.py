"""Who may work in this process at the same time: many tickets together, or one suspect alone.

First come, first served: while a suspect waits for the others to finish, nobody overtakes it, and those behind it go
on as soon as it is done. So neither side can be kept out for ever.
"""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["Turnstile"]


class Turnstile:
    """A lock for many together or one alone, in the order of arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._inside = 0
        self._alone = False
        self._closed = False

    def enter(self, *, alone: bool) -> bool:
        """Wait for one's turn. False: the turnstile was closed meanwhile, and one is not inside."""
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._closed or (self._waiting[0] is me and self._free(alone)))
            self._waiting.remove(me)
            self._changed.notify_all()
            if self._closed:
                return False
            self._inside += 1
            self._alone = alone
            return True

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._alone = False
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more. Those inside finish."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Whether everybody has left within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._inside == 0, timeout_s)

    @property
    def inside(self) -> int:
        return self._inside

    def _free(self, alone: bool) -> bool:
        return self._inside == 0 if alone else not self._alone
