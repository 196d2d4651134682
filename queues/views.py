"""Reading: lists, counts and family trees, from Redis while it runs and from SQL when it does not.

`LiveView` asks the desk; `StoppedView` asks the ledger alone. Both answer the same four questions, so whoever shows
tickets need not know which one it has. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .errors import NotFound
from .lifecycle import CLOSED, QUEUE_OF, Queue, State
from .ticket import Line, Ticket

if TYPE_CHECKING:
    from .desk import Desk
    from .ledger import Ledger

__all__ = ["LiveView", "Node", "StoppedView", "View", "below", "tree"]

CHUNK = 500
SCAN_LIMIT = 100_000  # tickets looked at for one filtered list, so that a list never walks a million documents


class View(Protocol):
    """What can be read of one team's tickets."""

    def find(self, id_or_number: str) -> Ticket:
        """The ticket. Raises NotFound."""

    def history(self, ticket_id: str) -> list[Line]:
        """Its ledger lines, oldest first."""

    def tickets(
        self, *, queue: str | None = None, state: str | None = None, agent: str | None = None, limit: int = 50
    ) -> list[Ticket]:
        """At most `limit` tickets: open ones oldest first, then completed ones newest first."""

    def counts(self) -> dict[str, int]:
        """How many tickets each queue has."""


@dataclass
class Node:
    """A ticket and those it was handed on as."""

    ticket: Ticket
    children: list[Node] = field(default_factory=list)


class LiveView:
    """Reads through the desk of a running Shiftlead."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.keys, self.client = desk, desk.keys, desk.store.client

    def find(self, id_or_number: str) -> Ticket:
        return self.desk.find(id_or_number)

    def history(self, ticket_id: str) -> list[Line]:
        return self.desk.history(ticket_id)

    def counts(self) -> dict[str, int]:
        """Completed ones are those in Redis and those that left it: both stand in SQL, but for what is on its way."""
        pipe = self.client.pipeline(transaction=False)
        for queue in Queue:
            pipe.zcard(self.keys.queue(queue))
        counts = {str(queue): int(n) for queue, n in zip(Queue, pipe.execute(), strict=True)}
        if (ledger := _ledger_of(self.desk)) is not None:
            recorded = ledger.counts(self.desk.team.team)[Queue.COMPLETED]
            counts[Queue.COMPLETED] = max(counts[Queue.COMPLETED], recorded)
        return counts

    def tickets(
        self, *, queue: str | None = None, state: str | None = None, agent: str | None = None, limit: int = 50
    ) -> list[Ticket]:
        wanted = _wanted(queue, state, agent)
        found: list[Ticket] = []
        for key, newest_first in self._sets(queue, state, agent):
            for ids in self._chunks(key, newest_first):
                _, read = self.desk.store.read(ids)
                found += [t for t in read if t is not None and wanted(t)]
                if len(found) >= limit:
                    return found[:limit]
        if queue in (None, Queue.COMPLETED) and (state is None or QUEUE_OF[State(state)] is Queue.COMPLETED):
            found += self._archived(wanted, state, limit - len(found))
        return found

    def _archived(self, wanted: Callable[[Ticket], bool], state: str | None, limit: int) -> list[Ticket]:
        """Completed tickets that left Redis, the newest first. They are older than those that did not."""
        ledger, found = _ledger_of(self.desk), list[Ticket]()
        if ledger is None:
            return found
        looked_at, last = 0, None
        while len(found) < limit and looked_at < SCAN_LIMIT:
            read = ledger.recent_completed(self.desk.team.team, CHUNK, after=last, state=state)
            page = [ticket for ticket, _ in read]
            if not page:
                break
            looked_at, last = looked_at + len(page), page[-1]
            pipe = self.client.pipeline(transaction=False)
            for ticket in page:  # one that stands in Redis was listed above, or is open again
                pipe.exists(self.keys.ticket(ticket.id))
            found += [t for t, here in zip(page, pipe.execute(), strict=True) if not here and wanted(t)]
        return found[:limit]

    def _sets(self, queue: str | None, state: str | None, agent: str | None) -> Iterator[tuple[str, bool]]:
        """The smallest sorted sets that hold everything asked for, and whether their newest comes first."""
        if agent and state in ("assigned", "working"):
            yield (self.keys.assigned(agent) if state == "assigned" else self.keys.working(agent)), False
        elif agent and queue == "active" and state is None:
            yield from (
                (self.keys.working(agent), False),
                (self.keys.assigned(agent), False),
                (self.keys.waiting, False),
            )
        elif state == "new":
            yield self.keys.new, False
        elif state == "waiting":
            yield self.keys.waiting, False
        else:
            for name in Queue:
                if queue in (None, name) and (state is None or QUEUE_OF[State(state)] is name):
                    yield self.keys.queue(name), name is Queue.COMPLETED

    def _chunks(self, key: str, newest_first: bool) -> Iterator[list[str]]:
        for start in range(0, SCAN_LIMIT, CHUNK):
            ids = self.client.zrange(key, start, start + CHUNK - 1, desc=newest_first)
            if not ids:
                return
            yield list(ids)


class StoppedView:
    """Reads the ledger of a Shiftlead that does not run."""

    def __init__(self, ledger: Ledger, team: str) -> None:
        self.ledger, self.team = ledger, team

    def find(self, id_or_number: str) -> Ticket:
        found = self.ledger.ticket(self.team, id_or_number)
        if found is None:
            raise NotFound(f"The ledger has no ticket {id_or_number!r} of team {self.team!r}.")
        return found[0]

    def history(self, ticket_id: str) -> list[Line]:
        return self.ledger.lines(self.team, ticket_id)

    def counts(self) -> dict[str, int]:
        return self.ledger.counts(self.team)

    def tickets(
        self, *, queue: str | None = None, state: str | None = None, agent: str | None = None, limit: int = 50
    ) -> list[Ticket]:
        wanted = _wanted(queue, state, agent)
        found: list[Ticket] = []
        if queue != Queue.COMPLETED:
            for page in self.ledger.open_tickets(self.team):
                found += [ticket for ticket, _ in page if wanted(ticket)]
                if len(found) >= limit:
                    return found[:limit]
        if queue in (None, Queue.COMPLETED):
            at_most = limit if state is None and agent is None else SCAN_LIMIT
            found += [ticket for ticket, _ in self.ledger.recent_completed(self.team, at_most) if wanted(ticket)]
        return found[:limit]


def _ledger_of(desk: Desk) -> Ledger | None:
    """The desk's ledger, where it is one that can list."""
    from .ledger import Ledger

    return desk.ledger if isinstance(desk.ledger, Ledger) else None


def tree(view: View, ticket: Ticket) -> Node:
    """The whole family of `ticket`, from the first ticket down."""
    first = ticket
    if ticket.lineage:
        try:
            first = view.find(ticket.lineage[-1])
        except NotFound:
            first = ticket  # an ancestor that is gone must not hide the ticket itself
    return _node(view, first, set())


def below(view: View, ticket: Ticket) -> Node:
    """`ticket` and everything it was handed on as, without what stands above it."""
    return _node(view, ticket, set())


def _node(view: View, ticket: Ticket, seen: set[str]) -> Node:
    node = Node(ticket)
    seen.add(ticket.id)
    for child_id in ticket.children:
        if child_id in seen:
            continue
        try:
            child = view.find(child_id)
        except NotFound:
            continue
        node.children.append(_node(view, child, seen))
    return node


def _wanted(queue: str | None, state: str | None, agent: str | None) -> Callable[[Ticket], bool]:
    def wanted(ticket: Ticket) -> bool:
        return (
            (queue is None or ticket.queue == queue)
            and (state is None or ticket.state == state)
            and (agent is None or _involves(ticket, agent))
        )

    return wanted


def _involves(ticket: Ticket, agent: str) -> bool:
    """Whether the ticket is with `agent` now, waits for it by name, or, once completed, was its last."""
    if ticket.state in CLOSED:
        return agent in (ticket.assigned_to, ticket.prefers, ticket.named)
    return ticket.assigned_to == agent or (ticket.assigned_to is None and agent in (ticket.named, ticket.prefers))
