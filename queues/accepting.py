"""Taking tickets in: numbers, idempotency keys, repeats, and the acknowledgement that means it stands in SQL.

The same key is the same request: it stores nothing twice, and its reply is the ticket's id and number, whatever became
of the ticket since. What is new by its key but is a matter that somebody has open already (joining.py) joins that
ticket: a line with the new text, its links, and who brought it. The new key then stands for the joined ticket.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from uuid_utils import uuid7

from . import joining, moves
from .committing import CONFLICTS, Committer
from .errors import BadInput, KeyReused, NotRecorded, Rebuilding, Refused, ShiftleadError, Unavailable
from .lifecycle import State
from .reserved import is_reserved
from .store import Change, Idempotency, Refusal
from .ticket import Draft, Ticket

__all__ = ["Accepted", "Accepting"]

PRIORITIES = ("urgent", "high", "normal", "low")
AHEAD = 1_000  # how far a sender's own number may be ahead of the counter
Answers = list["Accepted | ShiftleadError | None"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a new ticket: a ticket of its own (`created`), or one that somebody has open already (`joined`,
    with `why`). Neither: the key was used before for the same request, and this is the ticket it stands for.
    """

    ticket: Ticket
    created: bool
    joined: bool = False
    why: str = ""


class _Waits:
    """Up to which line of each epoch the ledger must come before anybody is answered."""

    def __init__(self) -> None:
        self.last: dict[int, str] = {}
        self.of: dict[int, list[int]] = {}

    def add(self, index: int, epoch: int, stream_id: str) -> None:
        self.last[epoch] = stream_id  # one caller commits one after the other, so the last id is the highest
        self.of.setdefault(epoch, []).append(index)


class Accepting(Committer):
    """The desk's intake."""

    def accept(self, draft: Draft, *, actor: str, key: str | None = None) -> Accepted:
        """Take a ticket in. Acknowledged when its line stands in SQL. With the same `key` it may be repeated.

        The stored reply to a repeated key is the same id and number; the document is the ticket as it is now.

        Raises:
            KeyReused: the key stood for another request.
            NotRecorded: committed, but the ledger did not confirm in time.
        """
        [answer] = self.accept_many([(draft, key)], actor=actor)
        if isinstance(answer, ShiftleadError):
            raise answer
        return answer

    def accept_many(self, drafts: Sequence[tuple[Draft, str | None]], *, actor: str) -> list[Accepted | ShiftleadError]:
        """Take many in with two round trips, and two for each that joins; each is answered for itself."""
        answers: Answers = [None] * len(drafts)
        keys = [_idempotency(draft, key, actor) for draft, key in drafts]
        open_ = []
        for i, key in enumerate(keys):
            stored = self._stored(key) or self._refused_draft(drafts[i][0], actor)
            if stored is None:
                open_.append(i)
            else:
                answers[i] = stored
        waits = _Waits()
        self._accept_open(drafts, keys, open_, answers, waits, actor)
        if self.settings.acknowledge == "sql":
            self._await(waits, answers)
        return [a if a is not None else Unavailable("The ticket was not taken in. Retry.") for a in answers]

    def _accept_open(
        self, drafts: Sequence[tuple[Draft, str | None]], keys: Sequence[Idempotency | None], open_: list[int],
        answers: Answers, waits: _Waits, actor: str,
    ) -> None:  # fmt: skip
        """Commit the drafts at the indices `open_`, and say what there is to wait for."""
        todo = list(open_)
        marks = {i: joining.marks_for(drafts[i][0], self.team) for i in todo}
        for attempt in range(CONFLICTS):
            if not todo:
                break
            try:
                epoch, now = self.store.epoch(intake=True), self.clock.now()
            except ShiftleadError as error:
                if attempt == 0:
                    raise
                for i in todo:  # others of the same call are stored: each hears its own answer
                    answers[i] = error
                break
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
                        marks=marks[i],
                    )
                )
            replies = self.store.commit(epoch, [[c] for c in changes], bell=True)
            again, known = [], []
            for i, change, reply in zip(todo, changes, replies, strict=True):
                if not isinstance(reply, Refusal):
                    answers[i] = Accepted(change.after, True)
                    waits.add(i, epoch, reply[0])
                elif reply.why == "key":
                    answers[i] = self._stored(keys[i])
                elif reply.why == "mark":
                    known.append(i)
                elif reply.why == "number" and drafts[i][0].number is None:
                    again.append(i)  # a sender had brought that number along: take the next
                elif reply.why == "number":
                    answers[i] = Refused(f"{change.after.number} exists already. Leave ticket_id out, or use another.")
                else:
                    answers[i] = Rebuilding(self.team.team)
            for i in known:
                try:
                    free = self._join(i, drafts[i][0], keys[i], marks[i], answers, waits, actor)
                except ShiftleadError as error:
                    answers[i] = error
                    continue
                if answers[i] is None:
                    marks[i] = free
                    again.append(i)
            todo = again

    def _join(
        self, i: int, draft: Draft, key: Idempotency | None, marks: list[str], answers: Answers, waits: _Waits,
        actor: str,
    ) -> list[str]:  # fmt: skip
        """Join the open ticket that has one of `marks`. Without an answer there is none to join (any more): the marks
        nobody else has are returned, for a ticket of its own."""
        for attempt in range(CONFLICTS * 3):
            owners = dict(zip(marks, self.store.client.hmget(self.keys.mark, marks), strict=True))
            ids = list(dict.fromkeys(filter(None, owners.values())))
            epoch, found = self.store.read(ids)
            standing = {t.id for t in found if t is not None and t.is_open}
            free = [mark for mark in marks if owners[mark] not in standing]
            chosen = [(t, why) for t in found if t and (why := joining.why_joined(draft, t, marks, self.team))]
            if not chosen:
                return free
            owner, why = chosen[0]  # the surest mark comes first
            change, why = self._joined(owner, draft, key, free, why, actor, epoch)
            [reply] = self.store.commit(epoch, [[change]], bell=False)
            if not isinstance(reply, Refusal):
                answers[i] = Accepted(change.after, False, joined=True, why=why)
                waits.add(i, epoch, reply[0])
            elif reply.why == "key":  # the same request at the same time: it is answered, nothing is joined twice
                answers[i] = self._stored(key)
            elif reply.why == "epoch":
                answers[i] = Rebuilding(self.team.team)
            else:
                time.sleep(0.001 * attempt)  # it has moved, or closed: look again
                continue
            return []
        raise Unavailable("Many bring the same matter at this moment. Nothing of this was stored; retry.")

    def _joined(
        self, owner: Ticket, draft: Draft, key: Idempotency | None, marks: list[str], why: str, actor: str, epoch: int
    ) -> tuple[Change, str]:
        now = self.clock.now()
        entry = {"source": draft.source, "reporter": draft.reporter, "customer": draft.customer, "at": now, "by": actor}
        entry |= {"title": (draft.title or draft.body.strip())[:140], "number": None}
        if owner.state is State.WAITING and owner.waits_for == "requester":
            why += f"; a note, not the answer {owner.number} waits for (shiftlead reply {owner.number} TEXT)"
        if full := len(owner.joined) + 1 >= joining.MAX_JOINED:
            why += "; the ticket is full now, the next one becomes a ticket of its own"
        change = moves.join(
            owner, entry, links=draft.links, marks=marks, text=draft.body, actor=actor, reason=why, now=now,
            epoch=epoch, idempotency=key,
        )  # fmt: skip
        # Nothing a sender said is lost: what the ticket has no place for stands in the line.
        change.line.detail["said"] = draft.model_dump(exclude_defaults=True, exclude={"team", "body", "links"})
        values: dict[str, object] = {} if owner.component else {"component": draft.component}
        if draft.priority and PRIORITIES.index(draft.priority) < PRIORITIES.index(owner.priority):
            # Whoever brings it once more says that it presses: it moves forward, and nobody's word moves it back.
            values |= {"priority": draft.priority, "given_priority": draft.priority}
            values |= {"due": owner.created_at + self.team.target_s(draft.priority)}
            change.line.detail["priority"] = draft.priority
        if owner.ladder_at is not None:  # nobody's threshold keeps what others bring from being escalated in time
            values["ladder_at"] = min(owner.ladder_at, now + self.team.escalation_s)
        if full:
            values["marks"] = []
        return replace(change, after=change.after.changed(**values)), why

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

    def _refused_draft(self, draft: Draft, actor: str) -> ShiftleadError | None:
        ours = actor == "coordinator"
        if is_reserved(draft.type, self.team) and not ours:
            return BadInput(f"{draft.type!r} tickets are made by Shiftlead itself. Use another type.", field="type")
        if draft.source.strip().casefold() == "shiftlead" and not ours:
            return BadInput("The source 'shiftlead' is what Shiftlead itself brings. Name your own.", field="source")
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

    def _await(self, waits: _Waits, answers: Answers) -> None:
        for epoch, stream_id in waits.last.items():
            try:
                self._confirm("", stream_id, epoch)
            except NotRecorded:
                for i in waits.of[epoch]:
                    answer = answers[i]
                    if isinstance(answer, Accepted):
                        answers[i] = NotRecorded(answer.ticket.number, self.settings.record_timeout_s)


def _idempotency(draft: Draft, key: str | None, actor: str) -> Idempotency | None:
    if not key:
        return None
    body = hashlib.sha256(draft.model_dump_json().encode()).hexdigest()
    return Idempotency(key, hashlib.sha256(f"{actor}\0{key}".encode()).hexdigest(), body)
