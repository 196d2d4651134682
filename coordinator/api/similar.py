"""Suggestions: other tickets that may be about the same. Reading only; nothing is joined by likeness."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from shiftlead.coordinator.similar import similar

from .auth import Caller, may
from .rooms import Rooms, belongs_to

__all__ = ["router"]

router = APIRouter(prefix="/v1/tickets", tags=["tickets"])


class Suggestion(BaseModel):
    """Another ticket, how like it is (comparable within one answer only), and the words or the link both have."""

    number: str
    score: float
    title: str
    state: str
    why: list[str]


class Suggestions(BaseModel):
    """The most similar first."""

    number: str
    similar: list[Suggestion]


@router.get("/{ticket}/similar")
def suggestions(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], ticket: str,
    team: Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")] = None,
    limit: Annotated[int, Query(ge=1, le=20)] = 5,
) -> Suggestions:  # fmt: skip
    """Tickets of the same team that may be about the same matter. An agent's key sees only its own."""
    rooms: Rooms = request.app.state.rooms
    desk = rooms.desk(caller, team)
    found = rooms.ticket(desk, caller, ticket)
    agent = caller.agent
    alike = similar(desk, found, limit=limit, visible=lambda t: agent is None or belongs_to(t, agent))
    return Suggestions(number=found.number, similar=[Suggestion(**asdict(s)) for s in alike])
