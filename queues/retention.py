"""Retention: completed tickets leave Redis when they are old enough and SQL has them (EN-15).

SQL keeps them for ever: `find`, `show`, `history` and `why` read them there, and `reopen` brings one back. A ticket
stays in Redis while one of its lines waits for SQL, while SQL's document is not the one in Redis (a line of it is in
quarantine), and while its parent still waits for it. Nothing is taken from an open ticket.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from .ledger import Ledger
from .lifecycle import State
from .store import Store
from .ticket import Ticket

__all__ = ["LIMIT", "Retention"]

LIMIT = 500  # tickets looked at in one call: some 30 ms, so that coordination never stands still
AT_ONCE = 100  # tickets one script takes away: nobody else waits for it longer than about a millisecond


class Retention:
    """Takes a team's old completed tickets out of Redis, a bounded number each call. For one thread.

    Any number of coordinators may do it by mistake: a ticket that is gone is no longer there to be taken.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store, self._ledger, self._keys = store, ledger, store.keys
        self._client: Any = store.client
        self._script = self._client.register_script(
            (files("shiftlead.queues") / "lua" / "retire.lua").read_text("utf-8")
        )
        self._stay = 0  # the oldest ones that had to stay: the next call begins after them

    def retire(self, *, before: float, limit: int = LIMIT) -> int:
        """Let go of tickets completed before `before` (unix seconds), the oldest first; how many left.

        Looks at `limit` tickets at most: as many as that left means there may be more at once. O(log n) each.

        Raises:
            Rebuilding: the team has no epoch.
        """
        queue = self._keys.queue("completed")
        ids = self._client.zrangebyscore(queue, "-inf", f"({before!r}", start=self._stay, num=limit)
        if not ids:
            self._stay = 0
            return 0
        epoch, found = self._store.read(ids)
        tickets = [t for t in found if t is not None and not t.is_open]
        waited_for = self._waited_for(tickets)
        stored = self._ledger.documents(self._keys.team, [t.id for t in tickets])
        may_go = [t for t in tickets if t.id not in waited_for and _is_stored(t, stored.get(t.id))]
        gone = 0
        for start in range(0, len(may_go), AT_ONCE):
            part = may_go[start : start + AT_ONCE]
            args = [x for t in part for x in (t.id, t.version, t.number)]
            left = int(self._script(keys=[self._keys.tag], args=[epoch, repr(before), *args]))
            if left < 0:
                return gone  # the queues are being rebuilt
            gone += left
        self._stay = self._stay + len(ids) - gone if len(ids) == limit else 0
        return gone

    def _waited_for(self, tickets: Sequence[Ticket]) -> set[str]:
        """Those whose parent has not heard their answer yet."""
        parents = sorted({t.parent for t in tickets if t.parent})
        if not parents:
            return set()
        _, found = self._store.read(parents)
        return {child for p in found if p is not None and p.state is State.WAITING for child in p.awaits}


def _is_stored(ticket: Ticket, stored: Ticket | None) -> bool:
    """Whether SQL has the ticket just as Redis has it."""
    have, want = stored, ticket
    return have is not None and (have.version, have.life, have.state) == (want.version, want.life, want.state)
