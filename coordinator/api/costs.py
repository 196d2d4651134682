"""What models cost and how answers were judged, over HTTP; and what became of a completed ticket, as people say it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from shiftlead.queues.comparison import Comparison, Versus, compare
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import Unavailable
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.outcomes import Feedback, Outcome, record_outcome, ticket_of
from shiftlead.queues.spending import By, Costs, Spending, TicketCost
from shiftlead.queues.statistics import back_s

from .auth import Caller, may
from .body import body, parse, schema
from .problems import Forbidden
from .rooms import Rooms

__all__ = ["BODIES", "router"]

router = APIRouter(tags=["numbers"])
TeamName = Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")]
Since = Annotated[str, Query(max_length=40, description="how long back, as 24h or 7d; at most 366 days")]
BODIES = [Feedback]


@router.get("/v1/cost")
def cost(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], team: TeamName = None, by: By = "day",
    since: Since = "7d", limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Costs:  # fmt: skip
    """Runs, calls, tokens and money of the steps that began in the last `since`, the dearest first."""
    desk = _whole_team(request, caller, team)
    report = Spending(_ledger(desk), desk.team.team).report
    return report(by, since=desk.clock.now() - back_s(since), limit=limit)


@router.get("/v1/outcomes")
def outcomes(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], team: TeamName = None, by: Versus = "prompt",
    since: Since = "30d",
) -> Comparison:  # fmt: skip
    """How the answers of prompt versions, or of agents, were judged, and whether that tells anything."""
    desk = _whole_team(request, caller, team)
    return compare(_ledger(desk), desk.team.team, by=by, since=desk.clock.now() - back_s(since))


@router.get("/v1/tickets/{ticket}/cost")
def ticket_cost(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], ticket: str, team: TeamName = None
) -> TicketCost:
    """What the ticket took, step by step, with the prompt's version."""
    rooms: Rooms = request.app.state.rooms
    desk = rooms.desk(caller, team)
    found = rooms.ticket(desk, caller, ticket)
    return Spending(_ledger(desk), desk.team.team).of_ticket(found.id, found.number)


@router.post("/v1/tickets/{ticket}/outcome", openapi_extra=schema(Feedback))
def outcome(
    request: Request, caller: Annotated[Caller, Depends(may("enqueue", "approve"))],
    raw: Annotated[bytes, Depends(body())], ticket: str, team: TeamName = None,
) -> Outcome:  # fmt: skip
    """Say what became of a completed ticket; `ticket` may be its trace id. The last word counts; may be repeated.

    A key that may enqueue says it of the tickets it brought; one that approves, of all. No agent judges itself.
    """
    if caller.agent is not None:
        raise Forbidden(f"The key {caller.name!r} is {caller.agent}'s; no agent says what its work was worth.")
    rooms: Rooms = request.app.state.rooms
    desk = rooms.desk(caller, team)
    found, said = rooms.ticket(desk, caller, ticket_of(ticket)), parse(Feedback, raw)
    door = f"door:http:{caller.name}"
    decides = caller.may("approve")
    if not decides and found.brought_by != door and all(j.get("by") != door for j in found.joined):
        raise Forbidden(f"The key {caller.name!r} did not bring this ticket. Nothing was written.")
    return record_outcome(desk, found.id, said, actor=f"person:{caller.name}" if decides else door)


def _whole_team(request: Request, caller: Caller, team: str | None) -> Desk:
    rooms: Rooms = request.app.state.rooms
    if caller.agent is not None:
        raise Forbidden(
            f"The key {caller.name!r} is {caller.agent}'s, and these numbers are the whole team's. Its own: "
            f"/v1/agents/{caller.agent}/record"
        )
    return rooms.desk(caller, team)


def _ledger(desk: Desk) -> Ledger:
    if not isinstance(desk.ledger, Ledger):
        raise Unavailable("There is no ledger to read numbers from.")
    return desk.ledger
