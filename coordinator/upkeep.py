"""What a coordinator looks after beside open tickets: old ones leave Redis, refusals go to SQL, briefs are made."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shiftlead.queues.desk import Desk
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.refusals import RefusalMover
from shiftlead.queues.retention import Retention

from .daily import Daily

__all__ = ["Upkeep"]

log = structlog.get_logger("shiftlead.coordinator")
REFUSALS_S = 60.0


class Upkeep:
    """One team's. Bounded work at each call; SQL that does not answer now is asked again with the next sweep."""

    def __init__(self, desk: Desk, ledger: Ledger) -> None:
        self.desk = desk
        self.retention = Retention(desk.store, ledger)
        self.mover = RefusalMover(desk.store.client, desk.keys, ledger)
        self.daily = Daily(desk, ledger)
        self._moved = 0.0

    def run(self, now: float) -> None:
        """Once a sweep."""
        try:
            self.retention.retire(before=now - self.desk.settings.retain_s)
            if abs(now - self._moved) >= REFUSALS_S:
                self._moved = now
                self.mover.move()
        except (SQLAlchemyError, ValueError) as error:  # ValueError: a document SQL has cannot be read
            log.warning("upkeep waits for the next sweep", team=self.desk.team.team, error=str(error))
        self.daily.run(now)

    def close(self) -> None:
        """At the end of a leadership: what was counted still goes to SQL."""
        try:
            self.mover.move()
        except Exception as error:
            log.warning("refusals stay in Redis", team=self.desk.team.team, error=str(error))
        self.daily.wait(1.0)
