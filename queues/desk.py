"""The only writer: every change of a ticket goes through here, with its ledger line, in one atomic commit.

Each verb reads the ticket, builds the change (moves.py asks the lifecycle table) and commits. The fencing token
authorises; the version only detects races: on a version conflict the desk reads again and decides again. A repeated
call is recognised by the operation it repeats and gets the stored answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from uuid_utils import uuid7

from . import approvals, moves, timers
from .accepting import Accepted
from .asked import beyond_budget
from .errors import NotFound, NotYours, Refused, StaleToken
from .hands import Hands
from .lifecycle import State
from .report import Report
from .reports import Asked, changes_for
from .store import Change
from .ticket import Ticket

__all__ = ["Accepted", "Desk"]


class Desk(Hands):
    """One team's desk: what agents call stands here, what people call in hands.py. Safe to share between threads."""

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
            approvals.check(ticket, report, human=self._is_human(agent), now=self.clock.now())
            return changes_for(ticket, report, self._asked(ticket, epoch, token))

        return self._apply(ticket_id, decide)

    def over_budget(self, ticket_id: str, token: int, report: Report, *, agent: str) -> Ticket:
        """The ticket's budget is used up, as `report` (a Failed) says: somebody who needs none ends it.

        May be repeated with the same token. Raises what `report` raises.
        """

        def decide(ticket: Ticket, epoch: int) -> Sequence[Change] | None:
            if ticket.last_op == f"report:{token}:{agent}":
                return None
            self._check_holder(ticket, agent, token)
            return beyond_budget(ticket, report, self._asked(ticket, epoch, token))

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

    # -- helpers ------------------------------------------------------------------------------------------------

    def _is_human(self, agent: str) -> bool:
        spec = self.team.agents.get(agent)
        return spec is not None and spec.human

    def _asked(self, ticket: Ticket, epoch: int, token: int) -> Asked:
        """The facts a report is turned into changes with; children need their ancestors and numbers."""

        def ancestors() -> list[Ticket]:
            _, there = self.store.read(ticket.lineage) if ticket.lineage else (0, [])
            found = list(there)
            for place, ticket_id in enumerate(ticket.lineage):
                if found[place] is None:  # it has left Redis
                    with contextlib.suppress(NotFound):
                        found[place] = self.find(ticket_id)
            return [t for t in found if t is not None]

        def number() -> tuple[str, str]:
            year = datetime.fromtimestamp(self.clock.now(), UTC).year
            return str(uuid7()), f"T-{year}-{self.store.numbers(epoch, year, 1):03d}"

        return Asked(self.team, self.settings, self.clock.now(), epoch, token, ancestors, number, self.find)

    def _check_holder(self, ticket: Ticket, agent: str | None, token: int) -> None:
        if ticket.token != token:
            raise self._told(StaleToken(ticket.number, token, ticket.state, ticket.assigned_to))
        if agent is not None and ticket.assigned_to != agent:
            raise self._told(NotYours(ticket.number, agent))
