"""What a dry run knows of the agents without asking: nobody but itself changes them.

The cycle asks Redis for every agent in every cycle, which is right while others claim and report meanwhile. Here the
lines of the stream say all of it, so the facts are kept and only what moves is brought up to date. A test compares
them with the coordinator's own, field by field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from shiftlead.queues.desk import Desk
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.store import Store
from shiftlead.queues.ticket import Ticket

from . import facts
from .availability import AgentFacts
from .cycle import Cycle
from .simulation_record import HELD_STATES, Entry

__all__ = ["KnownFacts", "RememberingStore"]

FEW = 6  # so many documents are read faster than their versions


class KnownFacts:
    """The agents' facts of one cycle, kept up to date by `take`."""

    def __init__(self, cycle: Cycle, absent: Collection[str] = ()) -> None:
        self.cycle, self.team = cycle, cycle.team
        self.present = _Present(cycle, absent)
        self.slots: dict[str, Counter[str]] = {name: Counter() for name in self.team.agents}  # agent -> ticket -> slots
        self.run: Counter[str] = Counter()
        self._base: dict[str, AgentFacts] | None = None
        self._off: dict[str, tuple[float | None, float]] = {}  # agent -> off until, known until
        self._idle = dict.fromkeys(self.team.agents, cycle.desk.clock.now())
        self._held_by: dict[str, str] = {}
        cycle.presence = cycle.giving.presence = cycle.firing.presence = self.present
        cycle.firing.agents = self.agents
        cycle.giving.agents = self.agents  # type: ignore[method-assign]

    def take(self, entry: Entry) -> None:
        """The next line of the stream."""
        line, doc = entry.line, entry.doc
        if line["ticket"].startswith("@"):
            self._base = None
        if doc is None or "state" not in doc:
            return
        if (agent := self._held_by.pop(doc["id"], None)) is not None:
            del self.slots[agent][doc["id"]]
            if not self.slots[agent]:
                self._idle[agent] = line["at"]
        if doc["state"] in HELD_STATES:
            self._held_by[doc["id"]] = doc["assigned_to"]
            self.slots[doc["assigned_to"]][doc["id"]] = int(doc.get("weight") or 1)
        if line["move"] == "assign":
            urgent = doc["priority"] == "urgent"
            self.run[doc["assigned_to"]] = self.run[doc["assigned_to"]] + 1 if urgent else 0

    def load(self, name: str) -> int:
        """Slots taken."""
        return self.slots[name].total()

    def agents(self, now: float) -> dict[str, AgentFacts]:
        """As facts.agent_facts would say it."""
        if self._base is None:
            self._base = facts.agent_facts(self.cycle.desk, self.present, now)
        found = {}
        for name, base in self._base.items():
            load = self.load(name)
            meeting = self.cycle.meetings.busy(name, now) if self.team.agents[name].calendar else None
            found[name] = replace(
                base, load=load, run=self.run[name], off_until=self._off_until(name, now),
                idle_since=now if load else self._idle[name], meeting_until=meeting.until if meeting else None,
                meeting=meeting.summary if meeting else "", problem=self.cycle.meetings.problem(name),
            )  # fmt: skip
        return found

    def free(self, name: str, now: float) -> bool:
        """Whether it has a slot and works now; what else may stand in the way is the cycle's business."""
        return self.load(name) < self.team.agents[name].capacity and self._off_until(name, now) is None

    def _off_until(self, name: str, now: float) -> float | None:
        hours = self.team.agents[name].hours
        if hours is None:
            return None
        until, known = self._off.get(name, (None, now))
        if now >= known:
            days_off = self.team.days_off
            until = None if hours.is_open(now, days_off) else hours.next_open(now, days_off)
            self._off[name] = until, hours.next_change(now, days_off)
        return until


class _Present(Presence):
    """Everybody is there but those who are left out."""

    def __init__(self, cycle: Cycle, absent: Collection[str]) -> None:
        super().__init__(cycle.client, cycle.keys, cycle.desk.clock, cycle.settings)
        self._all: dict[str, Any] = {
            name: [WorkerInfo(agent=name, worker="simulated")] for name in cycle.team.agents if name not in absent
        }

    def live(self) -> dict[str, list[WorkerInfo]]:
        return dict(self._all)


class RememberingStore(Store):
    """A store that does not read a document again whose version it has read before, nor the epoch, which is its own.

    The heads of the queues are looked at in every cycle; in a dry run most of them have not changed since the last.
    """

    def __init__(self, desk: Desk, epoch: int) -> None:
        self._epoch = epoch
        served = desk.store._served
        super().__init__(desk.store.client, desk.keys, served=served)
        self._known: dict[str, Ticket] = {}

    def epoch(self, *, intake: bool = False) -> int:
        return self._epoch

    def read(self, ids: Sequence[str]) -> tuple[int, list[Ticket | None]]:
        if len(ids) < FEW:
            epoch, few = super().read(ids)
            self._remember(few)
            return epoch, few
        pipe = self.client.pipeline(transaction=False)
        for ticket_id in ids:
            pipe.hget(self.keys.ticket(ticket_id), "v")
        versions = pipe.execute()
        fresh = {
            i for i, v in zip(ids, versions, strict=True)
            if v is not None and ((known := self._known.get(i)) is None or known.version != int(v))
        }  # fmt: skip
        if fresh:
            self._remember(super().read(sorted(fresh))[1])
        there = {i for i, v in zip(ids, versions, strict=True) if v is not None}
        return self._epoch, [self._known[i] if i in there else None for i in ids]

    def forget(self, ids: Sequence[str]) -> None:
        """These are closed."""
        for ticket_id in ids:
            self._known.pop(ticket_id, None)

    def _remember(self, tickets: Sequence[Ticket | None]) -> None:
        self._known |= {t.id: t for t in tickets if t is not None}
