"""What the coordinator does once a day: a brief for each decision-maker, so that nobody decides on stale news (FO-14).

A brief reads a day of the ledger, which takes a while on a busy team, so it is made beside the cycle. Its idempotency
key names person and day: two coordinators, or one that starts anew, make it once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import KeyReused
from shiftlead.queues.ledger import Ledger

from .brief import Brief, brief, brief_day, brief_draft, due_briefs
from .why import explain

__all__ = ["Daily"]

log = structlog.get_logger("shiftlead.coordinator")
DAY_S = 86_400.0
AGAIN_S = 60.0  # after a brief that could not be made


class Daily:
    """One team's daily briefs."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        self.desk, self.ledger = desk, ledger
        self._made: dict[str, str] = {}  # who -> the day of the last brief
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def run(self, now: float) -> None:
        """Begin to make the briefs that are due. Returns at once."""
        day = brief_day(self.desk.team, now)
        if day is None or now < self._not_before or (self._thread is not None and self._thread.is_alive()):
            return
        due = due_briefs(self.desk.team, self._made, now)
        if due:
            self._thread = threading.Thread(target=self._make, args=(due, day, now), name="briefs", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Let what has begun end."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _make(self, due: Sequence[str], day: str, now: float) -> None:
        for who in due:
            try:
                told = brief(
                    self.ledger, self.desk.team, who, since=now - DAY_S, now=now,
                    why=lambda ticket: explain(self.desk, ticket, now=now).text,
                )  # fmt: skip
                if _says_something(told):
                    draft, key = brief_draft(told, who, day)
                    self.desk.accept(draft, actor="coordinator", key=key)
            except KeyReused:
                log.info("the brief was made already", who=who, day=day)
            except Exception as error:  # the next minute tries again; the day's work does not wait for it
                self._not_before = now + AGAIN_S
                log.warning("a brief could not be made", who=who, day=day, error=str(error))
                return
            self._made[who] = day


def _says_something(told: Brief) -> bool:
    """Whether anything came, waits or ended: a new team needs no brief of nothing."""
    numbers = told.numbers
    if numbers is None:
        return True
    return bool(numbers.arrived or any(numbers.completed.values()) or any(a.n for a in numbers.age_by_queue.values()))
