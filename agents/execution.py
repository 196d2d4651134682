"""Answer a doorbell: claim the ticket, let the brain work on it, report. One `Runner` per worker process.

    ring -> claim at the desk -> build the Work -> the brain, in a thread of its own -> report
    meanwhile one thread renews every lease: the runtime renews, never the brain

A ring that comes late, twice or for somebody else finds nothing to claim and does nothing (I12). A lease that was
lost drops its report (I4). A brain that outlives its run deadline loses the ticket and is left behind: a thread cannot
be ended, so the process takes no more work and starts anew (I5).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

import redis
from sqlalchemy.exc import SQLAlchemyError

from shiftlead.queues import timers
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, NotFound, NotRecorded, Refused, ShiftleadError, StaleToken
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import Report
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from .agent import Agent, Failed, Work
from .budget import Accounts
from .quota import AWAY_S, Busy
from .thinking import Ended, clean, last_line, think
from .toolroom import Toolroom
from .turnstile import Turnstile
from .work import build_work

__all__ = ["Runner"]

log = logging.getLogger(__name__)
SOON_S = 1.0  # between two renewals when the last one met a fault
MOST_S = 2.0  # longest pause between two attempts to report


class _Held:
    """One ticket this process holds."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket, self.token, self.agent = ticket, ticket.token, ticket.assigned_to or ""
        self.lease_until = ticket.lease_until or 0.0
        self.over = threading.Event()  # the brain is done, or the ticket was handed back
        self.ended: Ended | None = None
        self.lost = False
        self.handed_back = False


class Runner:
    """Works on tickets until it is stopped. `counts` says how rings ended, by word."""

    def __init__(
        self, desk: Desk, brains: Mapping[str, Agent], worker: str, recycle: Callable[[], None],
        accounts: Accounts | None = None,
    ) -> None:  # fmt: skip
        self.desk, self.team, self.settings = desk, desk.team, desk.settings
        self.worker, self._brains, self._recycle = worker, brains, recycle
        self.counts: Counter[str] = Counter()
        self._toolroom = Toolroom(desk, brains)
        self._accounts = accounts or Accounts(desk.team, now=desk.clock.now)
        self._turnstile = Turnstile()
        self._lock = threading.Lock()
        self._coming: set[str] = set()  # ticket ids that wait for their turn
        self._held: list[_Held] = []
        self._closed = False
        self._ended = threading.Event()

    def ring(self, agent: str, ticket_id: str) -> str:
        """Work on the ticket if it is this agent's to claim. Returns, in a word, how it ended."""
        outcome = self._answer(agent, ticket_id)
        with self._lock:
            self.counts[outcome] += 1
        return outcome

    def start(self) -> None:
        """Begin to renew leases."""
        threading.Thread(target=self._renew_all, name="renewals", daemon=True).start()

    def stop(self, grace_s: float) -> None:
        """Take no more; after `grace_s` hand back what is not finished (I19)."""
        self.close()
        if self._turnstile.wait_empty(grace_s):
            return
        for held in list(self._held):
            held.handed_back = True
            self._hand_back(held, "the worker is stopping", counter="")
            held.over.set()

    def close(self) -> None:
        """Answer no ring from now on."""
        self._closed = True
        self._turnstile.close()

    def end(self) -> None:
        """Renew nothing any more."""
        self._ended.set()

    @property
    def running(self) -> int:
        return len(self._held)

    # -- one ring -----------------------------------------------------------------------------------------------

    def _answer(self, agent: str, ticket_id: str) -> str:
        with self._lock:
            if self._closed:
                return "stopping"
            if agent not in self._brains:
                return "not ours"  # a ring in the wrong queue: the sweep rings where it belongs
            if ticket_id in self._coming:
                return "doubled"  # the first ring waits for its turn: one thread is enough for that
            self._coming.add(ticket_id)
        try:
            held = self._take(agent, ticket_id)
        finally:
            with self._lock:
                self._coming.discard(ticket_id)
        if held is None:
            return "too late"
        try:
            return self._work(held)
        finally:
            self._turnstile.leave()

    def _take(self, agent: str, ticket_id: str) -> _Held | None:
        """Claim the ticket when its turn has come. With a ticket one is inside the turnstile, without one outside."""
        alone = self._is_suspect(agent, ticket_id)
        if alone is None or not self._turnstile.enter(alone=alone):
            return None
        held = None
        try:
            held = self._claim(agent, ticket_id, alone)
            return held
        finally:
            if held is None:
                self._turnstile.leave()

    def _is_suspect(self, agent: str, ticket_id: str) -> bool | None:
        """Whether it must run alone; None when it is not this agent's to claim."""
        try:
            _, [ticket] = self.desk.store.read([ticket_id])
        except Exception as error:  # Redis or the epoch is away: the next sweep rings again
            log.warning("ring for %s not answered: %s", ticket_id, error)
            return None
        if ticket is None or ticket.state is not State.ASSIGNED or ticket.assigned_to != agent:
            return None
        return ticket.suspect

    def _claim(self, agent: str, ticket_id: str, alone: bool) -> _Held | None:
        try:
            ticket = self.desk.claim(ticket_id, agent, self.worker, alone=alone)
        except (Refused, NotFound):
            return None  # somebody was faster, or it was taken away while it waited for its turn
        except Exception as error:
            log.warning("ring for %s not answered: %s", ticket_id, error)
            return None
        held = _Held(ticket)
        if ticket.suspect and not alone:  # it became one while it waited
            self._hand_back(held, "it is suspect and must run alone", counter="")
            return None
        with self._lock:
            self._held.append(held)
        return held

    def _work(self, held: _Held) -> str:
        try:
            try:
                work = build_work(self.desk, held.ticket, self.team)
            except (redis.RedisError, SQLAlchemyError) as error:
                log.warning("%s: its story could not be read: %s", held.ticket.number, error)
                return self._hold(held, Busy(AWAY_S, f"no story can be read ({type(error).__name__})"))
            except Exception as error:
                log.exception("%s: its story could not be read", held.ticket.number)
                # As a failed attempt: the first comes back at once, the next ones later and later.
                sad = Failed(error=f"its story could not be read: {last_line(error)}", retryable=True)
                return self._report(held, sad, self.desk.clock.now() + self.settings.lease_s)
            threading.Thread(target=self._think, args=(held, work), name=held.ticket.number, daemon=True).start()
            in_time = held.over.wait(max(0.0, work.deadline - self.desk.clock.now()))
            if held.handed_back:
                return "handed back"
            if not in_time:
                return self._overdue(held)
            if held.lost or held.ended is None:
                log.warning("%s: the lease was lost; its report is dropped", held.ticket.number)
                return "dropped"
            if held.ended.busy is not None:
                return self._hold(held, held.ended.busy)
            return self._report(held, held.ended.report, work.deadline, over_budget=held.ended.over_budget)
        finally:
            self._let_go(held)

    def _think(self, held: _Held, work: Work) -> None:
        """The brain's own thread."""
        brain, account = self._brains[held.agent], self._accounts.open(work)
        held.ended = think(brain, work, self.team, self._toolroom.toolbox, account)
        held.over.set()

    def _report(self, held: _Held, report: Report, deadline: float, *, over_budget: bool = False) -> str:
        """Report with the token until it stands or is refused. Repeating is safe: the desk knows the operation."""
        pause, refused = 0.05, False
        while True:
            try:
                verb = self.desk.over_budget if over_budget else self.desk.report
                verb(held.ticket.id, held.token, report, agent=held.agent)
                return "over budget" if over_budget else report.kind
            except NotRecorded:
                return report.kind  # written; the ledger follows
            except BadInput as error:
                if refused:
                    self._hand_back(held, f"its report was refused: {error}", counter="handed_back")
                    return "handed back"
                report, refused = Failed(error=clean(str(error)), retryable=True), True
            except (Refused, NotFound) as error:
                log.warning("%s: the report is dropped: %s", held.ticket.number, error)
                return "dropped"
            except Exception as error:
                if held.lost or self.desk.clock.now() + pause > min(held.lease_until, deadline):
                    log.error("%s: the report could not be delivered: %s", held.ticket.number, error)
                    return "undelivered"
                time.sleep(pause)
                pause = min(2 * pause, MOST_S)

    def _hold(self, held: _Held, busy: Busy) -> str:
        """The agent is busy until its provider answers again (EN-04). Nobody is at fault: no counter rises."""
        until = self.desk.clock.now() + busy.after_s
        try:
            there = self.desk.store.agent_states([held.agent])[held.agent].busy_until or 0.0
            if there < until:  # a longer hold of a person stays
                self.desk.set_agent(
                    held.agent, actor=f"agent:{held.agent}", reason=clean(busy.reason), busy_until=until
                )
        except Exception as error:
            log.warning("%s: the hold of %s could not be written: %s", held.ticket.number, held.agent, error)
        self._hand_back(held, f"{held.agent} is busy for {busy.after_s:.0f} s: {busy.reason}", counter="")
        return "busy"

    # -- leases -------------------------------------------------------------------------------------------------

    def _renew_all(self) -> None:
        wait = self.settings.heartbeat_s
        while not self._ended.wait(wait):
            wait = self.settings.heartbeat_s
            for held in list(self._held):
                try:
                    if not held.lost:
                        held.lease_until = self.desk.renew(held.ticket, token=held.token)
                except (StaleToken, NotFound) as error:
                    self._lose(held, error)
                except Exception as error:  # Redis or the epoch is away: the lease itself is the limit
                    log.warning("leases not renewed, trying again: %s", error)
                    wait = min(SOON_S, wait)
                    break

    def _lose(self, held: _Held, error: Exception) -> None:
        """Somebody else decides about it now. The brain cannot be ended, so it runs out; its report is dropped."""
        if not any(h is held for h in self._held):
            return  # reported and let go meanwhile: its own report moved the token
        if held.ended is not None:
            held.lost = True  # it is reporting: if the report still counts, the desk knows the operation
            return
        log.warning("%s: the lease is lost: %s", held.ticket.number, error)
        held.lost = True
        with self._lock:
            self.counts["lost"] += 1

    def _overdue(self, held: _Held) -> str:
        """The run deadline is over: no more renewals, the ticket goes back, the process starts anew."""
        self._let_go(held)
        self.close()
        limit = self.team.limits.run_deadline_s or self.settings.run_deadline_s
        reason = f"the run deadline of {limit:g} s was over; worker {self.worker} starts anew"
        log.error("%s: %s", held.ticket.number, reason)
        if not held.lost and held.ticket.alone:
            self._crashed(held, reason)
        elif not held.lost:
            self._hand_back(held, reason, counter="handed_back", suspect=True)
        self._recycle()
        return "overdue"

    def _crashed(self, held: _Held, reason: str) -> None:
        """Nobody else was in the process: it counts, and the last time fails the ticket (I17)."""

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            if ticket.token != held.token:
                return None
            return [
                timers.crashed(
                    ticket, reason=reason, actor=f"agent:{held.agent}", now=self.desk.clock.now(), epoch=epoch,
                    limit=self.desk.max_crashes,
                )
            ]  # fmt: skip

        try:
            [outcome] = self.desk.apply_many([(held.ticket.id, decide)], bell=True)
            if isinstance(outcome, ShiftleadError):
                raise outcome
        except Exception as error:
            log.warning("%s: not given back (%s); its lease will end", held.ticket.number, error)

    def _hand_back(self, held: _Held, reason: str, *, counter: str, suspect: bool | None = None) -> None:
        """Best effort: what cannot be handed back comes back when its lease ends."""
        try:
            self.desk.hand_back(
                held.ticket.id, held.token, reason=clean(reason), actor=f"agent:{held.agent}", counter=counter,
                suspect=suspect,
            )  # fmt: skip
        except Exception as error:
            log.warning("%s: not handed back: %s", held.ticket.number, error)

    def _let_go(self, held: _Held) -> None:
        with self._lock:
            if held in self._held:
                self._held.remove(held)
