"""The coordinator process: one active per team, others standing by; it sleeps until somebody rings the bell.

What it does when it wakes is in `cycle.py`. Here: leading, the epoch, the ledger writer, the bell, and the clock.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from shiftlead.config.clock import REFRESH_S
from shiftlead.config.settings import Settings
from shiftlead.queues import moves, timers
from shiftlead.queues.broker import make_app, ring
from shiftlead.queues.connect import Connections
from shiftlead.queues.errors import LedgerHalted, Rebuilding
from shiftlead.queues.ledger_writer import LedgerBusy, LedgerWriter, SteppedDown, StreamLost
from shiftlead.queues.lifecycle import HELD
from shiftlead.queues.rebuild import rebuild
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from .cycle import BATCH, Cycle, RingAll
from .leader import Leadership

__all__ = ["Coordinator", "run_coordinator"]

# Under load the bell rings all the time. Cycles begin at least this far apart, so tickets share their round trips;
# a bell after a quiet moment is answered at once.
BREATH_S = 0.01

log = structlog.get_logger("shiftlead.coordinator")


def run_coordinator(settings: Settings, teams: Sequence[str]) -> int:
    """Coordinate `teams` in this process until SIGTERM or SIGINT; returns the exit code."""
    connections = Connections(settings)
    connections.ledger.migrate()
    app = make_app(settings, [connections.team(name) for name in teams])
    stop = threading.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: stop.set())
    coordinators = [Coordinator(connections, name, lambda rings: ring(app, rings)) for name in teams]
    threads = [threading.Thread(target=c.run, args=(stop,), name=f"coordinator-{c.team.team}") for c in coordinators]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1.0)
    connections.close()
    return 0


class Coordinator:
    """Coordinates one team while it leads, and stands by while another does."""

    def __init__(self, connections: Connections, team: str, ring: RingAll) -> None:
        self.settings, self.clock = connections.settings, connections.clock
        self.ledger = connections.ledger
        self.desk = connections.desk(team)
        self.team, self.keys, self.store = self.desk.team, self.desk.keys, self.desk.store
        self.client = self.store.client
        self.work = Cycle(self.desk, self.ledger, ring)
        self.leadership = Leadership(self.client, self.keys, self.settings)
        self.writer: LedgerWriter | None = None
        self._lost = threading.Event()  # the stream and SQL disagree: rebuild
        self._closed = True
        self._woke = 0.0
        connections.clock.listeners.append(self._clock_jumped)

    def run(self, stop: threading.Event) -> None:
        """Coordinate until `stop` is set. Faults of Redis and SQL are waited out; nothing is acknowledged meanwhile."""
        self.leadership.start()
        try:
            while not stop.is_set():
                if not self.leadership.wait(0.5):
                    continue
                try:
                    self._lead(stop)
                except (redis.RedisError, SQLAlchemyError, LedgerBusy, Rebuilding, SteppedDown) as error:
                    log.warning("coordination interrupted; trying again", team=self.team.team, error=str(error))
                    stop.wait(0.2)
                except LedgerHalted as error:
                    log.error("the ledger is halted", team=self.team.team, error=str(error))
                    self.leadership.resign()
                    stop.wait(self.settings.leader_lease_s)
                except Exception:  # a fault of ours: another coordinator may do better, and this one tries again
                    log.exception("coordination failed", team=self.team.team)
                    self.leadership.resign()
                    stop.wait(1.0)
        finally:
            self.leadership.stop()
            self.work.notices.close()

    def _lead(self, stop: threading.Event) -> None:
        epoch = self._open_epoch()
        self._lost = threading.Event()  # a fresh one: a writer of an earlier leadership may still be ending
        ended = threading.Event()
        self.writer = LedgerWriter(self.ledger, self.client, self.keys, epoch, self.clock, self.settings)
        args = (self.writer, ended, self._lost)
        thread = threading.Thread(target=self._record, args=args, name="ledger-writer", daemon=True)
        thread.start()
        self.work.start()
        try:
            self.work.reconsider(self.clock.now())
            more = True
            while not stop.is_set() and self.leadership.held and thread.is_alive():
                if not more:
                    self._wait_for_bell()
                if self._lost.is_set() or self.store.epoch() != epoch:
                    log.error("Redis lost tickets the ledger has; rebuilding", team=self.team.team)
                    return
                more = self.work.run(self.clock.now(), assign=not self._gate_intake())
            if stop.is_set() and self.leadership.held:
                self._finish(self.writer)  # what was decided before the stop still goes to SQL
        finally:
            self.work.stop()
            ended.set()
            thread.join(self.settings.socket_timeout_s + 1)

    def _open_epoch(self) -> int:
        """The epoch to work in. A lost, emptied or rolled-back Redis is rebuilt first (I8)."""
        head = self.ledger.head(self.team.team)
        have = self.client.hget(self.keys.meta, "epoch")
        if head is None and have is not None:
            raise LedgerHalted(
                f"Redis holds tickets of team {self.team.team!r} (epoch {have}), the SQL database "
                f"{self.settings.database_address!r} knows nothing of them. Is it the right one? Nothing was touched. "
                "To begin anew on purpose, empty Redis, too."
            )
        if head is not None and have is not None and int(have) > head.epoch:
            raise LedgerHalted(
                f"Redis is in epoch {have} of team {self.team.team!r}, SQL only in epoch {head.epoch}: an older SQL "
                "database was put in place. Restore the right one; nothing was touched."
            )
        if head is not None and have is not None and int(have) == head.epoch and not self._lost.is_set():
            return head.epoch
        why = "first start" if head is None else "Redis does not hold the ledger's epoch"
        done = rebuild(self.store, self.ledger, now=self.clock.now(), why=why)
        log.info(
            "queues rebuilt from the ledger", team=self.team.team, epoch=done.epoch, open=done.open_tickets, why=why
        )
        for start in range(0, len(done.held), BATCH):
            self.desk.apply_many([(i, self._recover) for i in done.held[start : start + BATCH]])
        return done.epoch

    def _recover(self, ticket: Ticket, epoch: int) -> list[Change] | None:
        if ticket.state not in HELD:
            return None
        return [moves.recover(ticket, now=self.clock.now(), epoch=epoch)]

    def _record(self, writer: LedgerWriter, ended: threading.Event, lost: threading.Event) -> None:
        try:
            writer.run(ended)
        except LedgerHalted as error:
            log.error("the ledger is halted", team=self.team.team, error=str(error))
            self.leadership.resign()
        except StreamLost as error:
            log.error("the stream does not continue the ledger", team=self.team.team, error=str(error))
            lost.set()
        except SteppedDown as error:
            log.warning("another coordinator writes the ledger; standing by", team=self.team.team, error=str(error))
            self.leadership.resign()
        except Exception:
            log.exception("the ledger writer stopped", team=self.team.team)
            self.leadership.resign()

    def _finish(self, writer: LedgerWriter) -> None:
        deadline = time.monotonic() + 2.0
        while writer.lag()[0] and time.monotonic() < deadline:
            time.sleep(0.005)

    def _wait_for_bell(self) -> None:
        """Sleep until somebody rings, the next timer is due, or it is time to sweep."""
        following = timers.next_at(self.client, self.keys)
        wait = self.settings.sweep_s
        if following is not None:
            wait = min(wait, following - self.clock.now())
        if self.clock.now() < self.work.firing.reaping_from:
            wait = max(wait, 0.1)  # what is due may be leases, which are not judged now
        self.client.blpop([self.keys.bell], timeout=max(wait, 0.01))
        breath = self._woke + BREATH_S - time.monotonic()
        if breath > 0:
            time.sleep(breath)
        self._woke = time.monotonic()

    def _gate_intake(self) -> bool:
        """Close the intake while the ledger is behind; True while even assigning must stop."""
        lines, seconds = self.writer.lag() if self.writer else (0, 0.0)
        limit_lines, limit_s = self.settings.lag_lines, self.settings.lag_s
        if lines > limit_lines or seconds > limit_s:
            self.client.hset(self.keys.meta, "closed", f"the ledger is {lines:,} lines, {seconds:.0f} s behind")
            self._closed = True
        elif self._closed:
            self.client.hdel(self.keys.meta, "closed")
            self._closed = False
        return lines > 2 * limit_lines or seconds > 2 * limit_s

    def _clock_jumped(self, seconds: float) -> None:
        """The server's clock was set: leases and claim deadlines begin anew, and reaping pauses (I9)."""
        now = self.clock.now()
        # Workers notice within a refresh of their own clocks; until then they renew in the old time.
        self.work.firing.reaping_from = now + max(self.settings.lease_s, REFRESH_S + self.settings.heartbeat_s)
        # Every deadline begins anew, which may be done twice: every coordinator of the team notices the jump.
        anew = {"lease": now + self.settings.lease_s, "claim": now + self.settings.claim_deadline_s}
        log.error("the clock jumped; leases are re-based", team=self.team.team, seconds=round(seconds, 1))
        pipe = self.client.pipeline(transaction=False)
        for member in self.client.zrange(self.keys.timers, 0, -1):
            kind = member.partition(":")[0]
            if kind in anew:
                pipe.zadd(self.keys.timers, {member: anew[kind]}, xx=True)
        pipe.execute()
