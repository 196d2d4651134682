"""Waiting for somebody else: a named owner, or another ticket, which is waited for until it closes.

Tickets that wait for each other would wait until their timers: such a circle is refused when it would close (I10).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import moves
from .asked import Asked, soon
from .errors import BadInput, NotFound
from .lifecycle import State
from .report import Blocked
from .store import Change
from .ticket import NUMBER, Ticket

__all__ = ["blocked", "circle"]

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_WALK = 500


def blocked(ticket: Ticket, report: Blocked, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """The ticket waits; its timer is armed in any case.

    Raises:
        BadInput: the owner is a ticket the team does not have, or one that waits for this ticket.
    """
    until = None if report.until is None else soon(report.until, asked.now)
    change = moves.block(ticket, report.model_copy(update={"until": until}), **at)
    if asked.find is None or not (NUMBER.fullmatch(report.owner) or ID.fullmatch(report.owner)):
        return [change]
    try:
        owner = asked.find(report.owner)
    except NotFound as error:
        raise BadInput(f"{ticket.number} cannot wait for it: {error}", field="owner") from None
    if round_trip := circle(ticket, owner, asked.find):
        way = " -> ".join([ticket.number, *round_trip])
        raise BadInput(
            f"{ticket.number} cannot wait for {owner.number}: they would wait for each other ({way}). "
            "Go on without it, or ask a decision-maker.",
            field="owner",
        )
    line = change.line.model_copy(update={"detail": change.line.detail | {"awaits": owner.number}})
    return [replace(change, after=change.after.changed(awaits=[owner.id]), line=line)]


def circle(ticket: Ticket, owner: Ticket, find: Callable[[str], Ticket]) -> list[str]:
    """The numbers from `owner` on, each waiting for the next, back to `ticket`; empty when there is no such way.

    Raises:
        BadInput: more tickets than anybody can look through stand behind `owner`.
    """
    ways, seen = [[owner]], {owner.id}
    while ways:
        way = ways.pop(0)
        last = way[-1]
        if last.id == ticket.id:
            return [t.number for t in way]
        if last.state is not State.WAITING:
            continue
        for awaited in last.awaits:
            if awaited in seen:
                continue
            seen.add(awaited)
            if len(seen) > MAX_WALK:
                raise BadInput(
                    f"{ticket.number} cannot wait for {owner.number}, behind which more than {MAX_WALK} tickets wait.",
                    field="owner",
                )
            try:
                ways.append([*way, find(awaited)])
            except NotFound:
                continue
    return []
