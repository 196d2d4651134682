"""The machinery under the desk: read, decide, commit; again on a lost race; wait for the ledger where promised."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import redis
import structlog

from shiftlead.config.clock import Clock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from .errors import (
    IllegalMove,
    NoSlot,
    NotFound,
    NotRecorded,
    Rebuilding,
    Refused,
    ShiftleadError,
    StaleToken,
    Unavailable,
    Undecided,
)
from .keys import Keys
from .lifecycle import legal_moves, row
from .store import Change, Refusal, Store
from .ticket import Line, Ticket

__all__ = ["CONFLICTS", "Committer", "Decide", "LedgerView", "RecordedView"]

log = structlog.get_logger("shiftlead.desk")
CONFLICTS = 20  # races lost in a row before the caller is told to try again


class LedgerView(Protocol):
    """What the desk reads from SQL."""

    def ticket(self, team: str, id_or_number: str) -> tuple[Ticket, int] | None: ...
    def idempotency(self, team: str, digest: str) -> tuple[str, str, str] | None: ...
    def lines(self, team: str, ticket_id: str) -> list[Line]: ...


class RecordedView(Protocol):
    """Waits until the ledger has reached a stream id."""

    def wait(self, stream_id: str, timeout_s: float, epoch: int) -> bool: ...


Decide = Callable[[Ticket, int], Sequence[Change] | None]


class Committer:
    """Reads a team's tickets and commits changes to them."""

    def __init__(
        self, client: redis.Redis, team: Team, *, clock: Clock, settings: Settings, ledger: LedgerView | None = None,
        recorded: RecordedView | None = None,
    ) -> None:  # fmt: skip
        self.team, self.clock, self.settings = team, clock, settings
        self.keys = Keys(team.team)
        self.store = Store(client, self.keys, served=self._served)
        self.ledger, self.recorded = ledger, recorded
        self.refused: Callable[[Exception], None] = lambda error: None  # counts what a door or a worker was refused

    def _served(self, needs: Sequence[str]) -> bool:
        return bool(self.team.agents_for(needs) or self.team.stand_ins_for(needs))

    @property
    def max_crashes(self) -> int:
        """Crashes while alone after which a ticket is failed: the team's own limit, else the setting."""
        return self.team.limits.max_crashes or self.settings.max_crashes

    def find(self, id_or_number: str) -> Ticket:
        """The ticket, from Redis, or from SQL where it left Redis.

        Raises:
            NotFound: the team has no such ticket.
        """
        ticket_id = "" if id_or_number.startswith("@") else id_or_number  # @agent is an agent's state
        if id_or_number.startswith("T-"):
            ticket_id = self.store.client.hget(self.keys.numbers, id_or_number) or ""
        if ticket_id:
            doc = self.store.client.hget(self.keys.ticket(ticket_id), "doc")
            if doc:
                return Ticket.model_validate_json(doc)
        if self.ledger is not None and (found := self.ledger.ticket(self.team.team, id_or_number)):
            return found[0]
        raise NotFound(
            f"Team {self.team.team!r} has no ticket {id_or_number!r}. "
            f"See what there is: shiftlead list --team {self.team.team}"
        )

    def history(self, ticket_id: str) -> list[Line]:
        """Every line of the ticket: what SQL has, and what is still on its way there."""
        # Redis first: a line leaves it only after it stands in SQL, so in this order none is missed on its way.
        later = self.store.client.hgetall(self.keys.lines(ticket_id))
        recorded = self.ledger.lines(self.team.team, ticket_id) if self.ledger is not None else []
        lines = {line.seq: line for line in recorded}
        for seq, text in later.items():
            lines.setdefault(int(seq), Line.model_validate_json(text).model_copy(update={"seq": int(seq)}))
        return [lines[seq] for seq in sorted(lines)]

    def apply_many(
        self, steps: Sequence[tuple[str, Decide]], *, bell: bool = False,
        read: tuple[int, Sequence[Ticket | None]] | None = None,
    ) -> list[Ticket | ShiftleadError]:  # fmt: skip
        """Decide and commit for many tickets in two round trips. A lost race is tried again for that ticket alone.

        `read`: the epoch and the tickets, where the caller has just read them; a stale one is a lost race.
        """
        if not steps:
            return []
        epoch, tickets = read or self.store.read([ticket_id for ticket_id, _ in steps])
        outcomes: list[Ticket | ShiftleadError | None] = [None] * len(steps)
        batches: list[tuple[int, Sequence[Change]]] = []
        for i, ((ticket_id, decide), ticket) in enumerate(zip(steps, tickets, strict=True)):
            if ticket is None:
                outcomes[i] = NotFound(f"Ticket {ticket_id} is not in Redis.")
                continue
            try:
                changes = decide(ticket, epoch)
            except ShiftleadError as error:
                outcomes[i] = error
                continue
            except Exception as error:  # one ticket that cannot be decided must not hold up the others
                log.exception("undecided", ticket=ticket.number)
                outcomes[i] = Undecided(ticket.number, error)
                continue
            if changes:
                batches.append((i, changes))
            else:
                outcomes[i] = ticket
        replies = self.store.commit(epoch, [c for _, c in batches], bell=bell) if batches else []
        for (i, changes), reply in zip(batches, replies, strict=True):
            if not isinstance(reply, Refusal):
                outcomes[i] = changes[0].after
            elif reply.why == "timer":
                outcomes[i] = changes[0].before  # it was armed anew meanwhile: nothing to do
            elif reply.why == "version":
                try:
                    outcomes[i] = self._apply(steps[i][0], steps[i][1], bell=bell)
                except ShiftleadError as error:
                    outcomes[i] = error
            else:
                outcomes[i] = self._refused(changes[reply.index], reply)
        return [o if o is not None else Unavailable("undecided") for o in outcomes]

    def _apply(self, ticket_id: str, decide: Decide, *, bell: bool = True) -> Ticket:
        """Read, decide, commit; again on a lost race. None from `decide` means it is done already."""
        for attempt in range(CONFLICTS):
            epoch, [ticket] = self.store.read([ticket_id])
            if ticket is None:
                ticket = self.find(ticket_id)
                if ticket.id == ticket_id:
                    raise IllegalMove(ticket.number, "this", ticket.state, legal_moves(ticket.state))
                ticket_id = ticket.id
                continue
            changes = decide(ticket, epoch)
            if not changes:
                self._settle(ticket)
                return ticket
            [reply] = self.store.commit(epoch, [changes], bell=bell)
            if not isinstance(reply, Refusal):
                if any(_acknowledged(c) for c in changes):
                    self._confirm(changes[0].after.number, reply[-1], epoch)
                return changes[0].after
            if reply.why == "timer":
                return ticket
            if reply.why not in ("version", "number"):
                raise self._refused(changes[reply.index], reply)
            time.sleep(0.001 * attempt)  # races are lost to progress of others; let them finish
        raise Unavailable(
            f"{ticket_id} changed {CONFLICTS} times while it was being moved. Retry; nothing was written."
        )

    def _commit_one(self, number: str, changes: Sequence[Change]) -> list[str]:
        epoch = self.store.epoch()
        [reply] = self.store.commit(epoch, [changes], bell=False)
        if isinstance(reply, Refusal):
            raise self._refused(changes[reply.index], reply)
        return reply

    def _stale(self, ticket_id: str, token: int) -> None:
        ticket = self.find(ticket_id)
        raise self._told(StaleToken(ticket.number, token, ticket.state, ticket.assigned_to))

    def _told(self, error: ShiftleadError) -> ShiftleadError:
        """The refusal, counted."""
        self.refused(error)
        return error

    def _refused(self, change: Change, refusal: Refusal) -> ShiftleadError:
        ticket = change.after
        if refusal.why == "epoch":
            return Rebuilding(self.team.team)
        if refusal.why == "gone":
            return Refused(
                f"{ticket.number} is archived: it left Redis after it was completed. Reopen it to add to it."
            )
        if refusal.why == "slots":
            return NoSlot(ticket.number, ticket.assigned_to or "", change.capacity or 0)
        if refusal.why == "token":
            return self._told(StaleToken(ticket.number, change.held or 0, "held by somebody else", None))
        return Refused(f"{ticket.number} was not written ({refusal.why}): {refusal.there}. Retry.")

    def _confirm(self, number: str, stream_id: str, epoch: int) -> None:
        """Wait until the ledger has the line."""
        if self.recorded is None or self.settings.acknowledge != "sql":
            return
        if not self.recorded.wait(stream_id, self.settings.record_timeout_s, epoch):
            raise NotRecorded(number, self.settings.record_timeout_s)

    def _settle(self, ticket: Ticket) -> None:
        """A repeated call is acknowledged like the first: when what it did stands in SQL."""
        if self.recorded is None or not self.store.client.exists(self.keys.lines(ticket.id)):
            return
        last = self.store.client.xrevrange(self.keys.ledger, count=1)
        if last:
            self._confirm(ticket.number, last[0][0], self.store.epoch())


def _acknowledged(change: Change) -> bool:
    return not change.note and row(change.line.move).acknowledged  # type: ignore[arg-type]
