"""The only writer: every change of a ticket goes through here, with its ledger line, in one atomic commit.

Each verb reads the ticket, builds the change (moves.py asks the lifecycle table) and commits. The fencing token
authorises; the version only detects races: on a version conflict the desk reads again and decides again. A repeated
call is recognised by the operation it repeats and gets the stored answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from uuid_utils import uuid7

from shiftlead.config.duration import TEN_YEARS_S

from . import moves, timers
from .accepting import Accepted, Accepting
from .committing import CONFLICTS
from .errors import BadInput, NotFound, NotYours, Refused, StaleToken, Unavailable
from .lifecycle import State
from .report import Report, Resolved
from .reports import Asked, changes_for
from .store import Change, Refusal
from .ticket import AgentState, Line, Ticket

__all__ = ["Accepted", "Desk"]


class Desk(Accepting):
    """One team's desk. Safe to share between threads."""

    # -- the agent's calls --------------------------------------------------------------------------------------

    def claim(self, ticket_id: str, agent: str, worker: str, *, alone: bool = False) -> Ticket:
        """Let `agent` work on its assigned ticket until the lease ends. The same worker may repeat the call.

        Raises:
            NotFound, NotYours, IllegalMove, Rebuilding.
        """

        if agent not in self.team.agents:
            raise NotFound(
                f"Team {self.team.team!r} has no agent {agent!r}. It has: {', '.join(sorted(self.team.agents))}."
            )

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
                _, [ticket] = self.store.read([ticket_id])
                return self.claim(ticket_id, agent, worker, alone=ticket is not None and ticket.suspect)
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
            if ticket.last_op == f"report:{token}:{agent}":
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
                    limit=self.max_crashes,
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
        if actor.partition(":")[2] == ticket.asked_by:
            raise Refused(f"{ticket.number} was asked for by {ticket.asked_by}, who may not answer it.")
        report = Resolved(decision="approve" if decision == "approve" else "deny", reply=reason, reason=reason)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            if t.is_open and t.expires_at is not None and t.expires_at <= self.clock.now():
                raise Refused(f"{t.number} has expired: it can no longer be approved or denied. Ask again.")
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

    def reply(self, ticket_id: str, text: str, *, actor: str) -> Ticket:
        """What the requester, or whoever it is blocked on, answered: the ticket goes on with it.

        Raises:
            Refused: it waits for nobody's answer.
        """
        ticket = self.find(ticket_id)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            if t.state is not State.WAITING or t.awaits:
                raise Refused(
                    f"{t.number} is {t.state} and waits for no answer. "
                    f"To add to its story: shiftlead note {t.number} TEXT"
                )
            said = {"type": "reply", "agent": actor, "state": "resolved", "reply": text, "question": t.waits_for}
            return [moves.resume(t, [said], actor=actor, reason=f"{actor} answered", now=self.clock.now(), epoch=epoch)]

        return self._apply(ticket.id, decide)

    def reopen(self, ticket_id: str, *, actor: str, reason: str) -> Ticket:
        """A completed ticket was not done after all: a new life, ready again, with its whole story.

        Raises:
            IllegalMove: it is open.
        """

        def decide(t: Ticket, epoch: int) -> list[Change]:
            now = self.clock.now()
            due = now + self.team.target_s(t.priority)
            first = now + self.settings.escalation_s
            return [moves.reopen(t, reason=reason, actor=actor, now=now, epoch=epoch, due=due, ladder_at=first)]

        ticket = self.find(ticket_id)
        if self.ledger is not None and not self.store.client.exists(self.keys.ticket(ticket.id)):
            archived = self.ledger.ticket(self.team.team, ticket.id)
            if archived is not None:
                self.store.bring_back(self.store.epoch(), *archived)
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
            until = values.get("busy_until")
            if until is not None and not now - TEN_YEARS_S < until < now + TEN_YEARS_S:
                raise BadInput(
                    f"{agent} cannot be busy until {until}: say a moment within ten years.", field="busy_until"
                )
            before = self.store.agent_states([agent])[agent]
            after = before.model_copy(
                update=values | {"version": before.version + 1, "reason": reason, "by": actor, "since": now}
            )
            line = Line(
                ticket=f"@{agent}", move="agent", actor=actor, at=now, version=after.version, agent=agent,
                reason=reason, detail=values,
            )  # fmt: skip
            reply = self.store.commit_agent(epoch, after, line)
            if not isinstance(reply, Refusal):
                self._confirm(agent, reply[0], epoch)
                return after
        raise Unavailable(f"{agent} is being changed by somebody else all the time. Retry.")

    # -- helpers ------------------------------------------------------------------------------------------

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
