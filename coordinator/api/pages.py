"""Lists of tickets, page by page: a page ends with a cursor that stays good while tickets come and go."""

from __future__ import annotations

import base64
import binascii
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import QUEUE_OF, Queue, State
from shiftlead.queues.ticket import Ticket

from .rooms import belongs_to

__all__ = ["Page", "page"]

CHUNK = 200
LOOKED_AT = 5_000  # tickets one request may look at: a page of a rare kind may be short and still have a next one
Place = tuple[float, str]  # score in the queue, and id
START: Place = (float("-inf"), "")


@dataclass(frozen=True, slots=True)
class Page:
    """Some tickets, and where the next page begins; empty = there is none."""

    tickets: list[Ticket]
    after: str


def page(
    desk: Desk, *, queue: Queue | None, state: State | None, agent: str | None, limit: int, after: str = ""
) -> Page:
    """At most `limit` tickets: intake, active, completed, each the oldest first; completed ones also where they left
    Redis.

    Raises:
        BadInput: `after` is not a cursor of ours.
    """
    queues = [q for q in Queue if queue in (None, q) and (state is None or QUEUE_OF[state] is q)]
    place = START
    if after:
        first, place = _decode(after)
        queues = queues[queues.index(first) :] if first in queues else []
    found: list[Ticket] = []
    looked_at = 0
    for name in queues:
        walk = _completed(desk, place) if name is Queue.COMPLETED else _walk(desk, name, place)
        for at, ticket in walk:
            looked_at += 1
            wanted = ticket is not None and (state is None or ticket.state is state)
            if ticket is not None and wanted and (agent is None or belongs_to(ticket, agent)):
                found.append(ticket)
            if len(found) == limit or looked_at == LOOKED_AT:
                return Page(found, _encode(name, at))
        place = START
    return Page(found, "")


def _completed(desk: Desk, place: Place) -> Iterator[tuple[Place, Ticket | None]]:
    """Those in Redis and those that left it, in one order."""
    return heapq.merge(_walk(desk, Queue.COMPLETED, place), _archived(desk, place), key=lambda row: row[0])


def _archived(desk: Desk, place: Place) -> Iterator[tuple[Place, Ticket]]:
    if not isinstance(desk.ledger, Ledger):
        return
    while found := desk.ledger.completed_after(desk.team.team, *place, CHUNK):
        pipe = desk.store.client.pipeline(transaction=False)
        for ticket in found:
            pipe.exists(desk.keys.ticket(ticket.id))
        places = [(ticket.closed_at or 0.0, ticket.id) for ticket in found]
        for at, ticket, here in zip(places, found, pipe.execute(), strict=True):
            if not here:  # what is in Redis stands in its queue, or is open again
                yield at, ticket
        place = places[-1]


def _walk(desk: Desk, queue: Queue, place: Place) -> Iterator[tuple[Place, Ticket | None]]:
    """The queue from `place` on, without it. Equal scores are in the order of their ids, in Redis as here."""
    key, skip = desk.keys.queue(queue), 0
    while True:
        rows = desk.store.client.zrangebyscore(key, place[0], "+inf", start=skip, num=CHUNK, withscores=True)
        new = [(score, ticket_id) for ticket_id, score in rows if (score, ticket_id) > place]
        _, tickets = desk.store.read([ticket_id for _, ticket_id in new]) if new else (0, [])
        yield from zip(new, tickets, strict=True)
        if len(rows) < CHUNK:
            return
        if rows[-1][1] == place[0]:
            skip += CHUNK  # a whole chunk entered at the same moment
        else:
            skip = 0
        place = max(place, (rows[-1][1], rows[-1][0]))


def _encode(queue: Queue, place: Place) -> str:
    return base64.urlsafe_b64encode(f"{queue} {place[0]!r} {place[1]}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[Queue, Place]:
    try:
        queue, score, ticket_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ")
        place = (float(score), ticket_id)
        if not math.isfinite(place[0]):
            raise ValueError(score)
        return Queue(queue), place
    except (ValueError, binascii.Error):
        raise BadInput("`after` is not what an earlier page gave as `after`.", field="after") from None
