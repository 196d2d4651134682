"""Redis is disposable: build a team's queues again from the ledger, in a new epoch (I8).

The epoch in SQL is raised first: from then on an older ledger writer records nothing. The epoch in Redis is opened
last: until then every commit is refused, so nobody acts on half of a rebuild.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ledger import Ledger
from .lifecycle import HELD
from .store import Store
from .ticket import Line

__all__ = ["Rebuilt", "rebuild"]

COMPLETED_KEPT = 10_000
STAYS = ("leader", "presence", "workers")  # live facts about processes, not about tickets


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The new epoch, how many open tickets it has, and the ids of those that had a holder."""

    epoch: int
    open_tickets: int
    held: list[str]


def rebuild(
    store: Store, ledger: Ledger, *, now: float, why: str, progress: Callable[[int], None] | None = None
) -> Rebuilt:
    """Build the queues from SQL and open a new epoch.

    Raises:
        SteppedDown: another coordinator has begun an epoch at the same time: it rebuilds.
        Rebuilding: another rebuild began, or Redis was emptied once more, meanwhile: start over.
    """
    team, keys, client = store.keys.team, store.keys, store.client
    head = ledger.head(team)
    epoch = ledger.begin_epoch(team, head.epoch if head else None).epoch
    store.close_epoch(epoch)
    kept = {keys(name) for name in STAYS} | {keys.meta}
    batch: list[str] = []
    for key in client.scan_iter(match=f"{keys.tag}:*", count=5000):
        if key not in kept:
            batch.append(key)
        if len(batch) >= 5000:
            client.unlink(*batch)
            batch = []
    if batch:
        client.unlink(*batch)

    held, count = [], 0
    store.restore(epoch, [], list(ledger.agent_states(team).values()))
    for chunk in ledger.open_tickets(team):
        store.restore(epoch, chunk, [])
        held += [t.id for t, _ in chunk if t.state in HELD]
        count += len(chunk)
        if progress:
            progress(count)
    completed = ledger.recent_completed(team, COMPLETED_KEPT)
    for start in range(0, len(completed), 1000):
        store.restore(epoch, completed[start : start + 1000], [])
    for year, last in ledger.last_numbers(team).items():
        client.set(keys.counter(year), last)
    line = Line(
        ticket="", move="epoch", actor="coordinator", at=now, reason=why, detail={"epoch": epoch, "open": count}
    )
    store.open_epoch(epoch, line)
    return Rebuilt(epoch, count, held)
