"""The only writer: every change of a ticket goes through here, with its ledger line, in one atomic commit.

Each verb reads the ticket, builds the change (moves.py asks the lifecycle table) and commits. The fencing token
authorises; the version only detects races: on a version conflict the desk reads again and decides again. A repeated
call is recognised by the operation it repeats and gets the stored answer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import redis
from uuid_utils import uuid7

from shiftlead.config.clock import Clock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from . import moves, timers
from .errors import (
    IllegalMove,
    KeyReused,
    NoSlot,
    NotFound,
    NotRecorded,
    NotYours,
    Rebuilding,
    Refused,
    ShiftleadError,
    StaleToken,
    Unavailable,
)
from .keys import Keys
from .lifecycle import State, legal_moves, row
from .reports import Asked, changes_for
from .report import Report, Resolved
from .store import Change, Idempotency, Refusal, Store
from .ticket import AgentState, Draft, Line, Ticket

__all__ = ["Accepted", "Desk", "LedgerView", "RecordedView"]

CONFLICTS = 20  # races lost in a row before the desk says "try again" instead of trying


class LedgerView(Protocol):
    """What the desk reads from SQL."""

    def ticket(self, team: str, id_or_number: str) -> tuple[Ticket, int] | None: ...
    def idempotency(self, team: str, digest: str) -> tuple[str, str, str] | None: ...
    def lines(self, team: str, ticket_id: str) -> list[Line]: ...


class RecordedView(Protocol):
    """Waits until the ledger has reached a stream id."""

    def wait(self, stream_id: str, timeout_s: float, epoch: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a new ticket. `created` is False when the key was used before for the same request."""

    ticket: Ticket
    created: bool


Decide = Callable[[Ticket, int], Sequence[Change] | None]


class Desk:
    """One team's desk. Safe to share between threads."""

    def __init__(
        self, client: redis.Redis, team: Team, *, clock: Clock, settings: Settings, ledger: LedgerView | None = None,
        recorded: RecordedView | None = None,
    ) -> None:  # fmt: skip
        self.team, self.clock, self.settings = team, clock, settings
        self.keys = Keys(team.team)
        self.store = Store(client, self.keys)
        self.ledger, self.recorded = ledger, recorded

    # -- reading ------------------------------------------------------------------------------------------------

    def find(self, id_or_number: str) -> Ticket:
        """The ticket, from Redis, or from SQL where it left Redis.

        Raises:
            NotFound: the team has no such ticket.
        """
        ticket_id = id_or_number
        if id_or_number.startswith("T-"):
            ticket_id = self.store.client.hget(self.keys.numbers, id_or_number) or ""
        if ticket_id:
            doc = self.store.client.hget(self.keys.ticket(ticket_id), "doc")
            if doc:
                return Ticket.model_validate_json(doc)
        if self.ledger is not None and (found := self.ledger.ticket(self.team.team, id_or_number)):
            return found[0]
        raise NotFound(
            f"Team {self.team.team!r} has no ticket {id_or_number!r}. See what there is: shiftlead list --team {self.team.team}"
        )

    def history(self, ticket_id: str) -> list[Line]:
        """Every line of the ticket: what SQL has, and what is still on its way there."""
        recorded = self.ledger.lines(self.team.team, ticket_id) if self.ledger is not None else []
        later = self.store.client.hgetall(self.keys.lines(ticket_id))
        lines = {line.seq: line for line in recorded}
        for seq, text in later.items():
            lines.setdefault(int(seq), Line.model_validate_json(text).model_copy(update={"seq": int(seq)}))
        return [lines[seq] for seq in sorted(lines)]

    # -- intake -------------------------------------------------------------------------------------------------

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
        keys = [_idempotency(draft, key) for draft, key in drafts]
        open_ = []
        for i, key in enumerate(keys):
            stored = self._stored(key) if key else None
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
        for _ in range(CONFLICTS):
            if not todo:
                break
            epoch, now = self.store.epoch(intake=True), self.clock.now()
            year = datetime.fromtimestamp(now, UTC).year
            own = [i for i in todo if drafts[i][0].number is None]
            first = self.store.numbers(epoch, year, len(own)) if own else 0
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
                    )  # fmt: skip
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
        return Accepted(self.find(ticket_id), False)

    # -- the agent's calls --------------------------------------------------------------------------------------

    def claim(self, ticket_id: str, agent: str, worker: str, *, alone: bool = False) -> Ticket:
        """Let `agent` work on its assigned ticket until the lease ends. The same worker may repeat the call.

        Raises:
            NotFound, NotYours, IllegalMove, Rebuilding.
        """

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            if ticket.state is State.WORKING and ticket.assigned_to == agent and ticket.worker == worker:
                return None
            if ticket.assigned_to != agent:
                raise NotYours(ticket.number, agent)
            now = self.clock.now()
            human = self.team.agents[agent].human  # a person holds a ticket by the ladder, not by a lease
            lease = None if human else now + self.settings.lease_s
            return [moves.claim(ticket, worker, alone=alone, lease_until=lease, now=now, epoch=epoch)]

        return self._apply(ticket_id, decide)

    def claim_next(self, agent: str, worker: str) -> Ticket | None:
        """Claim the ticket that has been assigned to `agent` longest; None when nothing is."""
        for ticket_id in self.store.client.zrange(self.keys.assigned(agent), 0, 9):
            try:
                return self.claim(ticket_id, agent, worker)
            except (Refused, NotFound):
                continue  # another worker of the agent was faster, or it was cancelled
        return None

    def renew(self, ticket: Ticket, *, token: int | None = None) -> float:
        """Extend the lease; the new end in unix seconds. Called by the runtime, never by a model.

        Raises:
            StaleToken: somebody else holds the ticket: stop.
        """
        until = self.clock.now() + self.settings.lease_s
        held = ticket.token if token is None else token
        if not self.store.renew(self.store.epoch(), ticket.id, held, until):
            self._stale(ticket.id, held)
        return until

    def report(self, ticket_id: str, token: int, report: Report, *, agent: str) -> Ticket:
        """The agent's answer. May be repeated with the same token: the stored outcome comes back.

        Raises:
            StaleToken: the ticket was taken away; nothing was written.
            BadInput: the report names an agent or capability that cannot be.
            NotRecorded: written, but not yet confirmed by the ledger.
        """

        def decide(ticket: Ticket, epoch: int) -> Sequence[Change] | None:
            if ticket.last_op == f"report:{token}":
                return None
            self._check_holder(ticket, agent, token)
            return changes_for(ticket, report, self._asked(ticket, epoch, token))

        return self._apply(ticket_id, decide)

    def hand_back(
        self, ticket_id: str, token: int, *, reason: str, actor: str, counter: str = "handed_back", **values: Any
    ) -> Ticket:
        """Put a held ticket back to ready: a stopping worker, a run deadline, a person who cannot."""

        def decide(ticket: Ticket, epoch: int) -> list[Change]:
            self._check_holder(ticket, None, token)
            return [
                moves.give_back(
                    ticket,
                    reason=reason,
                    actor=actor,
                    counter=counter,
                    held=token,
                    now=self.clock.now(),
                    epoch=epoch,
                    **values,
                )
            ]

        return self._apply(ticket_id, decide)

    def worker_gone(self, worker: str) -> list[str]:
        """A worker process is known to be dead (`worker` begins its instance id): its tickets go back at once.

        Returns the numbers of the tickets that were given back or failed.
        """
        pipe = self.store.client.pipeline(transaction=False)
        for agent in self.team.agents:
            pipe.zrange(self.keys.working(agent), 0, -1)
        ids = [ticket_id for found in pipe.execute() for ticket_id in found]

        def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
            if ticket.state is not State.WORKING or not (ticket.worker or "").startswith(worker):
                return None
            reason = f"worker {ticket.worker} died"
            return [
                timers.crashed(
                    ticket,
                    reason=reason,
                    actor="coordinator",
                    now=self.clock.now(),
                    epoch=epoch,
                    limit=self.settings.max_crashes,
                )
            ]

        outcomes = self.apply_many([(ticket_id, decide) for ticket_id in ids], bell=True)
        return [
            o.number
            for o in outcomes
            if isinstance(o, Ticket) and not (o.worker or "").startswith(worker) and o.state is not State.WORKING
        ]

    def note(self, ticket_id: str, text: str, *, actor: str, token: int | None = None, **detail: Any) -> Ticket:
        """Add a line to the ticket's story. With a token only the holder may."""
        ticket = self.find(ticket_id)
        if token is not None and ticket.token != token:
            self._stale(ticket.id, token)
        change = moves.note(ticket, text, actor=actor, now=self.clock.now(), held=token, **detail)
        self._commit_one(ticket.number, [change])
        return ticket

    # -- people's calls -----------------------------------------------------------------------------------------

    def answer(self, ticket_id: str, decision: str, *, actor: str, reason: str) -> Ticket:
        """Approve or deny an approval ticket, or the one approval a ticket waits for.

        Raises:
            Refused: there is nothing to approve.
        """
        ticket = self.find(ticket_id)
        if ticket.type != "approval":
            _, children = self.store.read(ticket.awaits)
            pending = [c for c in children if c is not None and c.type == "approval" and c.is_open]
            if not pending:
                raise Refused(
                    f"{ticket.number} is {ticket.state} and waits for no approval. See: shiftlead show {ticket.number}"
                )
            ticket = pending[0]
        report = Resolved(decision="approve" if decision == "approve" else "deny", reply=reason, reason=reason)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            return [moves.answer(t, report, actor=actor, now=self.clock.now(), epoch=epoch)]

        return self._apply(ticket.id, decide)

    def cancel(self, ticket_id: str, *, actor: str, reason: str) -> Ticket:
        """Cancel the ticket and everything it waits for, in one commit."""
        ticket = self.find(ticket_id)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            family, wave = [t], list(t.awaits)
            while wave:
                _, children = self.store.read(wave)
                live = [c for c in children if c is not None and c.is_open]
                family += live
                wave = [x for c in live for x in c.awaits]
            now = self.clock.now()
            return [moves.cancel(x, reason=reason, actor=actor, now=now, epoch=epoch) for x in family]

        return self._apply(ticket.id, decide)

    def set_agent(self, agent: str, *, actor: str, reason: str = "", **values: Any) -> AgentState:
        """Pause, resume or hold an agent: paused, busy_until (unix seconds or None). A ledger line of its own.

        Raises:
            NotFound: the team has no such agent.
        """
        if agent not in self.team.agents:
            known = ", ".join(sorted(self.team.agents))
            raise NotFound(f"Team {self.team.team!r} has no agent {agent!r}. It has: {known}.")
        for _ in range(CONFLICTS):
            epoch, now = self.store.epoch(), self.clock.now()
            before = self.store.agent_states([agent])[agent]
            after = before.model_copy(
                update=values | {"version": before.version + 1, "reason": reason, "by": actor, "since": now}
            )
            line = Line(
                ticket=f"@{agent}", move="agent", actor=actor, at=now, version=after.version, agent=agent, reason=reason,
                detail=values,
            )  # fmt: skip
            reply = self.store.commit_agent(epoch, after, line)
            if not isinstance(reply, Refusal):
                self._confirm(agent, reply[0], epoch)
                return after
        raise Unavailable(f"{agent} is being changed by somebody else all the time. Retry.")

    # -- the coordinator's calls --------------------------------------------------------------------------------

    def apply_many(self, steps: Sequence[tuple[str, Decide]], *, bell: bool = False) -> list[Ticket | ShiftleadError]:
        """Decide and commit for many tickets in two round trips. A lost race is tried again for that ticket alone."""
        if not steps:
            return []
        epoch, tickets = self.store.read([ticket_id for ticket_id, _ in steps])
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
            if changes:
                batches.append((i, changes))
            else:
                outcomes[i] = ticket
        replies = self.store.commit(epoch, [c for _, c in batches], bell=bell) if batches else []
        for (i, changes), reply in zip(batches, replies, strict=True):
            if not isinstance(reply, Refusal):
                outcomes[i] = changes[0].after
            elif reply.why == "version":
                try:
                    outcomes[i] = self._apply(steps[i][0], steps[i][1], bell=bell)
                except ShiftleadError as error:
                    outcomes[i] = error
            else:
                outcomes[i] = self._refused(changes[reply.index], reply)
        return [o if o is not None else Unavailable("undecided") for o in outcomes]

    # -- the machinery ------------------------------------------------------------------------------------------

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
                return ticket
            [reply] = self.store.commit(epoch, [changes], bell=bell)
            if not isinstance(reply, Refusal):
                if any(_acknowledged(c) for c in changes):
                    self._confirm(changes[0].after.number, reply[-1], epoch)
                return changes[0].after
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

    def _asked(self, ticket: Ticket, epoch: int, token: int) -> Asked:
        """The facts a report is turned into changes with; children need their ancestors and numbers."""

        def ancestors() -> list[Ticket]:
            _, found = self.store.read(ticket.lineage) if ticket.lineage else (0, [])
            return [t for t in found if t is not None]

        def number() -> tuple[str, str]:
            year = datetime.fromtimestamp(self.clock.now(), UTC).year
            return str(uuid7()), f"T-{year}-{self.store.numbers(epoch, year, 1):03d}"

        return Asked(self.team, self.settings, self.clock.now(), epoch, token, ancestors, number)

    def _check_holder(self, ticket: Ticket, agent: str | None, token: int) -> None:
        if ticket.token != token:
            raise StaleToken(ticket.number, token, ticket.state, ticket.assigned_to)
        if agent is not None and ticket.assigned_to != agent:
            raise NotYours(ticket.number, agent)

    def _stale(self, ticket_id: str, token: int) -> None:
        ticket = self.find(ticket_id)
        raise StaleToken(ticket.number, token, ticket.state, ticket.assigned_to)

    def _refused(self, change: Change, refusal: Refusal) -> ShiftleadError:
        ticket = change.after
        if refusal.why == "epoch":
            return Rebuilding(self.team.team)
        if refusal.why == "slots":
            return NoSlot(ticket.number, ticket.assigned_to or "", change.capacity or 0)
        if refusal.why == "token":
            return StaleToken(ticket.number, change.held or 0, "held by somebody else", None)
        return Refused(f"{ticket.number} was not written ({refusal.why}): {refusal.there}. Retry.")

    def _confirm(self, number: str, stream_id: str, epoch: int) -> None:
        """Wait until the ledger has the line."""
        if self.recorded is None or self.settings.acknowledge != "sql":
            return
        if not self.recorded.wait(stream_id, self.settings.record_timeout_s, epoch):
            raise NotRecorded(number, self.settings.record_timeout_s)

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


def _acknowledged(change: Change) -> bool:
    return not change.note and row(change.line.move).acknowledged  # type: ignore[arg-type]


def _idempotency(draft: Draft, key: str | None) -> Idempotency | None:
    if not key:
        return None
    body = hashlib.sha256(draft.model_dump_json().encode()).hexdigest()
    return Idempotency(key, hashlib.sha256(key.encode()).hexdigest(), body)
