"""The team's numbers: statistics, a brief, the track record of an agent.

They tell of the whole team, so a key with the scope read that belongs to no agent sees them all; an agent's key sees
its own record, and its own brief with nothing in it but its own tickets.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from shiftlead.coordinator.brief import Brief, brief, known_name
from shiftlead.coordinator.why import explain
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import Unavailable
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.statistics import Stats, back_s, statistics
from shiftlead.queues.track_record import Track, record

from .auth import Caller, may
from .problems import Forbidden
from .rooms import Rooms

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["numbers"])

TeamName = Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")]
Since = Annotated[str, Query(max_length=40, description="how long back, as 24h or 7d; at most 366 days")]
Who = Annotated[str, Query(min_length=1, max_length=100, description="an agent or a person of the team")]


@router.get("/stats")
def stats(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], team: TeamName = None, since: Since = "24h"
) -> Stats:
    """The team's numbers of the last `since`."""
    back, desk = back_s(since), _rooms(request).desk(caller, team)
    if caller.agent is not None:
        raise Forbidden(
            f"The key {caller.name!r} is {caller.agent}'s, and these numbers are the whole team's. Its own: "
            f"/v1/agents/{caller.agent}/record"
        )
    now = desk.clock.now()
    return statistics(_ledger(desk), desk.team, since=now - back, until=now, now=now)


@router.get("/brief")
def show_brief(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], who: Who, team: TeamName = None,
    since: Since = "24h",
) -> Brief:  # fmt: skip
    """What happened, what waits for `who`, what is late, what was decided."""
    rooms, back = _rooms(request), back_s(since)
    desk = rooms.desk(caller, team)
    if caller.agent is not None:
        rooms.agent(desk, caller, who)
    known_name(desk.team, who)
    now = desk.clock.now()
    return brief(
        _ledger(desk), desk.team, who, since=now - back, now=now, own_only=caller.agent is not None,
        why=lambda ticket: explain(desk, ticket, now=now).text,
    )  # fmt: skip


@router.get("/agents/{agent}/record")
def agent_record(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], agent: str, team: TeamName = None,
    since: Since = "7d",
) -> Track:  # fmt: skip
    """What the agent did in the last `since`, by type."""
    rooms, back = _rooms(request), back_s(since)
    desk = rooms.desk(caller, team)
    return record(_ledger(desk), desk.team, rooms.agent(desk, caller, agent), desk.clock.now() - back)


def _ledger(desk: Desk) -> Ledger:
    if not isinstance(desk.ledger, Ledger):
        raise Unavailable("There is no ledger to read numbers from.")
    return desk.ledger


def _rooms(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms
