"""Housekeeping over HTTP: erase the texts of completed tickets, and how often what was refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from shiftlead.queues.erasing import MAX_REASON, Erased, erase
from shiftlead.queues.errors import Unavailable
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.refusals import recent_refusals

from .auth import Caller, may
from .body import body, parse, schema
from .problems import Forbidden
from .rooms import Rooms

__all__ = ["BODIES", "router"]

router = APIRouter(tags=["housekeeping"])
TeamName = Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")]


class Erase(BaseModel):
    """Why the texts go, and how far."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=MAX_REASON, description="stays for ever: name no one in it")
    family: bool = Field(default=True, description="also the tickets made from it, or it was made from, or merged with")
    vacuum: bool | None = Field(default=None, description="write a SQLite file anew; empty = where it takes a moment")


class Count(BaseModel):
    """How often a day had refusals for one reason."""

    day: str
    reason: str
    count: int


class Refusals(BaseModel):
    """Refusals by day and reason, the newest day first."""

    refusals: list[Count]


BODIES = [Erase]


@router.post("/v1/tickets/{ticket}/erase", openapi_extra=schema(Erase))
def erase_texts(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Erased:  # fmt: skip
    """Erase the texts of a completed ticket and of its family, for ever. May be repeated."""
    if caller.agent is not None:
        raise Forbidden(f"The key {caller.name!r} is {caller.agent}'s; only a person erases. Nothing was erased.")
    rooms: Rooms = request.app.state.rooms
    desk = rooms.desk(caller, team)
    found, asked = rooms.ticket(desk, caller, ticket), parse(Erase, raw)
    actor = f"person:{caller.name}"
    return erase(desk, found.id, actor=actor, reason=asked.reason, family=asked.family, vacuum=asked.vacuum)


@router.get("/v1/refusals")
def refusals(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], team: TeamName = None,
    days: Annotated[int, Query(ge=1, le=366)] = 7,
) -> Refusals:  # fmt: skip
    """What was refused on the last `days` days (UTC), today included."""
    rooms: Rooms = request.app.state.rooms
    desk = rooms.desk(caller, team)
    if not isinstance(desk.ledger, Ledger):
        raise Unavailable("There is no ledger to read refusals from.")
    found = recent_refusals(desk.ledger, desk.team.team, days, client=desk.store.client)
    rows = sorted(found.items(), key=lambda row: (row[0][0], row[1]), reverse=True)
    return Refusals(refusals=[Count(day=day, reason=reason, count=n) for (day, reason), n in rows])
