"""The people of a demonstration: they say yes, answer questions, and do the tickets that only a person may do.

They use the same inbox and the same moves as people at the command line, and say who they are: `person:demo`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shiftlead.coordinator.inbox import Item, inbox
from shiftlead.queues.errors import ShiftleadError
from shiftlead.queues.lifecycle import State

from .demo_script import called

if TYPE_CHECKING:
    from shiftlead.queues.desk import Desk
    from shiftlead.queues.ticket import Ticket

    from .demo_script import Script

__all__ = ["People"]

ACTOR, WORKER = "person:demo", "person:demo"
EVERY_S = 0.5


class People:
    """Look into the inbox now and then. `told` hears what was done, as a line."""

    def __init__(self, script: Script, told: Callable[[str], None]) -> None:
        self._words, self._first, self._told = script.answers, script.first, told
        self._next = 0.0
        self._done: set[tuple[str, str]] = set()

    def look(self, desk: Desk) -> None:
        """Answer what waits for a person now. A ticket that moved meanwhile is looked at the next time."""
        if not self._words or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_S
        for item in inbox(desk):
            if item.kind not in self._words or (item.kind, item.number) in self._done:
                continue
            try:
                said = self._answer(desk, item, self._words[item.kind])
            except ShiftleadError:
                continue
            if said:
                self._told(f"  a person {said} {item.number} ({item.title[:60]})")

    def _answer(self, desk: Desk, item: Item, words: str) -> str:
        ticket = desk.find(item.number)
        if item.kind in self._first:
            called(self._first[item.kind], desk.settings.data)
        if item.kind == "approval":
            if item.missing or not _for_people(desk, ticket):
                return ""  # a program decides it, or nobody can say yes to what is not said
            self._done.add((item.kind, item.number))
            desk.answer(ticket.id, "approve", actor=ACTOR, reason=words)
            return f"says yes to {item.action}:"
        if item.kind == "ticket":
            if ticket.state is not State.ASSIGNED or ticket.assigned_to is None:
                return ""
            from shiftlead.queues.report import Resolved

            held = desk.claim(ticket.id, ticket.assigned_to, WORKER)
            report = Resolved(reply=words, summary=f"done by a person ({ticket.assigned_to})")
            desk.report(held.id, held.token, report, agent=ticket.assigned_to)
            return "does"
        desk.reply(ticket.id, words, actor=ACTOR)
        return "answers"


def _for_people(desk: Desk, approval: Ticket) -> bool:
    """Whether a program will not decide it: its gate wants a person, or a person is asked."""
    who = approval.assigned_to or approval.named
    spec = desk.team.agents.get(who or "")
    return bool(approval.context.get("human")) or who in desk.team.people or (spec is not None and spec.human)
