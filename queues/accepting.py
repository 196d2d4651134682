"""Taking tickets in: numbers, idempotency keys, and the acknowledgement that means it stands in SQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from uuid_utils import uuid7

from . import moves
from .committing import CONFLICTS, Committer
from .errors import BadInput, KeyReused, NotRecorded, Rebuilding, Refused, ShiftleadError, Unavailable
from .reports import RESERVED
from .store import Idempotency, Refusal
from .ticket import Draft, Ticket

__all__ = ["Accepted", "Accepting"]

AHEAD = 1_000  # how far a sender's own number may be ahead of the counter


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a new ticket. `created` is False when the key was used before for the same request."""

    ticket: Ticket
    created: bool


class Accepting(Committer):
    """The desk's intake."""

    def accept(self, draft: Draft, *, actor: str, key: str | None = None) -> Accepted:
        """Take a ticket in. Acknowledged when its line stands in SQL. With the same `key` it may be repeated.

        Raises:
            KeyReused: the key stood for another request.
            NotRecorded: committed, but the ledger did not confirm in time.
        """
        [answer] = self.accept_many([(draft, key)], actor=actor)
        if isinstance(answer, ShiftleadError):
            raise answer
        return answer

    def accept_many(self, drafts: Sequence[tuple[Draft, str | None]], *, actor: str) -> list[Accepted | ShiftleadError]:
        """Take many in with two round trips; each is answered for itself."""
        answers: list[Accepted | ShiftleadError | None] = [None] * len(drafts)
        keys = [_idempotency(draft, key, actor) for draft, key in drafts]
        open_ = []
        for i, key in enumerate(keys):
            stored = self._stored(key) or self._refused_draft(drafts[i][0])
            if stored is None:
                open_.append(i)
            else:
                answers[i] = stored
        last = self._accept_open(drafts, keys, open_, answers, actor)
        if last and self.settings.acknowledge == "sql":
            self._await(last[0], last[1], answers, open_)
        return [a if a is not None else Unavailable("The ticket was not taken in. Retry.") for a in answers]

    def _accept_open(
        self, drafts: Sequence[tuple[Draft, str | None]], keys: Sequence[Idempotency | None], open_: list[int],
        answers: list[Accepted | ShiftleadError | None], actor: str,
    ) -> tuple[str, int] | None:  # fmt: skip
        """Commit the drafts at the indices `open_`; returns the last stream id and its epoch."""
        last, todo = None, list(open_)
        for attempt in range(CONFLICTS):
            if not todo:
                break
            epoch, now = self.store.epoch(intake=True), self.clock.now()
            year = datetime.fromtimestamp(now, UTC).year
            own = [i for i in todo if drafts[i][0].number is None]
            # Numbers that senders brought along are jumped over, in longer and longer leaps.
            leap = 0 if attempt == 0 else 2**attempt
            first = self.store.numbers(epoch, year, len(own) + leap) + leap if own else 0
            given = {i: f"T-{year}-{first + n:03d}" for n, i in enumerate(own)}
            changes = []
            for i in todo:
                ticket_id = str(uuid7())
                number = drafts[i][0].number or given[i]
                changes.append(
                    moves.accept(
                        drafts[i][0],
                        ticket_id=ticket_id,
                        number=number,
                        team=self.team.team,
                        actor=actor,
                        now=now,
                        epoch=epoch,
                        trace_id=ticket_id.replace("-", ""),
                        idempotency=keys[i],
                        team_version=self.team.version,
                    )
                )
            replies = self.store.commit(epoch, [[c] for c in changes], bell=True)
            again = []
            for i, change, reply in zip(todo, changes, replies, strict=True):
                if not isinstance(reply, Refusal):
                    answers[i], last = Accepted(change.after, True), (reply[0], epoch)
                elif reply.why == "key":
                    answers[i] = self._stored(keys[i])
                elif reply.why == "number" and drafts[i][0].number is None:
                    again.append(i)  # a sender had brought that number along: take the next
                elif reply.why == "number":
                    answers[i] = Refused(f"{change.after.number} exists already. Leave ticket_id out, or use another.")
                else:
                    answers[i] = Rebuilding(self.team.team)
            todo = again
        return last

    def _stored(self, key: Idempotency | None) -> Accepted | ShiftleadError | None:
        """What the key stands for already: the ticket, a refusal, or None."""
        if key is None:
            return None
        entry = self.store.client.get(self.keys.idem(key.digest))
        if entry:
            stored = json.loads(entry)
            body, ticket_id, number = stored["body"], stored["ticket"], stored["number"]
        elif self.ledger is not None and (row_ := self.ledger.idempotency(self.team.team, key.digest)):
            body, ticket_id, number = row_
        else:
            return None
        if body != key.body:
            return KeyReused(key.key, number)
        ticket = self.find(ticket_id)
        try:
            self._settle(ticket)
        except NotRecorded as error:
            return error
        return Accepted(ticket, False)

    def _refused_draft(self, draft: Draft) -> ShiftleadError | None:
        if draft.type in RESERVED:
            return BadInput(f"{draft.type!r} tickets are made by Shiftlead itself. Use another type.", field="type")
        return self._taken(draft)

    def _taken(self, draft: Draft) -> ShiftleadError | None:
        """Why the number a sender brought along cannot be used: SQL still knows it, or it is far ahead of ours."""
        if draft.number is None:
            return None
        year, ours = int(draft.number[2:6]), datetime.fromtimestamp(self.clock.now(), UTC).year
        last = int(self.store.client.get(self.keys.counter(year)) or 0)
        if year > ours or (year == ours and int(draft.number[7:]) > last + AHEAD):
            return BadInput(
                f"{draft.number} is a number of a year in which Shiftlead counts itself, and far ahead of its last "
                f"({last}). Leave ticket_id out, and keep your own number in `links` or `context`.",
                field="ticket_id",
            )
        if self.ledger is None or self.ledger.ticket(self.team.team, draft.number) is None:
            return None
        return Refused(f"{draft.number} exists already. Leave ticket_id out, or use another.")

    def _await(
        self, stream_id: str, epoch: int, answers: list[Accepted | ShiftleadError | None], open_: list[int]
    ) -> None:
        try:
            self._confirm("", stream_id, epoch)
        except NotRecorded:
            for i in open_:
                answer = answers[i]
                if isinstance(answer, Accepted) and answer.created:
                    answers[i] = NotRecorded(answer.ticket.number, self.settings.record_timeout_s)


def _idempotency(draft: Draft, key: str | None, actor: str) -> Idempotency | None:
    if not key:
        return None
    body = hashlib.sha256(draft.model_dump_json().encode()).hexdigest()
    return Idempotency(key, hashlib.sha256(f"{actor}\0{key}".encode()).hexdigest(), body)
