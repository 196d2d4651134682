"""The agent's four calls: next, heartbeat, note, report. The same four at every door (EN-14)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.concurrency import run_in_threadpool

from shiftlead.agents.agent import Report, Work
from shiftlead.agents.work import build_work, run_deadline
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, StaleToken
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.ticket import Ticket

from .auth import Caller, may
from .body import body, parse, schema
from .rooms import Rooms
from .waiting import Waiting

__all__ = ["OUTSIDE_FACTOR", "router"]

OUTSIDE_FACTOR = 5  # an agent outside shows itself by its calls, so it counts as present for longer than a worker
MAX_WAIT_S = 30.0
router = APIRouter(tags=["work"])

TeamName = Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")]
Worker = Annotated[
    str, Query(max_length=100, pattern=r"^[\w.:@-]*$", description="names this process, if the agent has several")
]


class Heartbeat(BaseModel):
    """A sign of life from the holder."""

    model_config = ConfigDict(extra="forbid")

    token: StrictInt


class Lease(BaseModel):
    """Until when the ticket is held, unix seconds; empty = a person holds it, no lease runs."""

    lease_until: float | None


class Note(BaseModel):
    """A line for the ticket's story. An agent adds the token of its ticket; a watch adds the signals it saw."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    text: str = Field(min_length=1, max_length=60_000)
    token: StrictInt | None = None
    signals: dict[
        Annotated[str, Field(min_length=1, max_length=100)], float | Annotated[str, Field(max_length=500)]
    ] = Field(default_factory=dict, max_length=50, description="measured values by name, as error_rate: 0.2")


class Reported(BaseModel):
    """The answer of an agent for the ticket it holds."""

    model_config = ConfigDict(extra="forbid")

    token: StrictInt
    report: Report


@router.post("/v1/agents/{agent}/next", response_model=Work, responses={204: {"description": "nothing to do"}})
async def next_ticket(
    request: Request, caller: Annotated[Caller, Depends(may("work"))], _: Annotated[bytes, Depends(body())],
    agent: str, team: TeamName = None, worker: Worker = "",
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="seconds to wait for a ticket")] = 0.0,
) -> Response:  # fmt: skip
    """Claim the agent's next ticket, with its whole story; 204 when there is none within `wait_s`.

    The only handler on the event loop: hundreds of agents may wait, and none of them may take a thread to do so.
    """
    rooms: Rooms = request.app.state.rooms
    desk = rooms.desk(caller, team)
    agent = rooms.agent(desk, caller, agent)
    worker = worker or f"http:{caller.name}"
    work = await run_in_threadpool(_take, request, desk, agent, worker)
    if work is None and wait_s > 0:
        work = await _wait(request, desk, agent, worker, wait_s)
    if work is None:
        return Response(status_code=204)
    return Response(work.model_dump_json(), media_type="application/json")


@router.post("/v1/tickets/{ticket}/heartbeat", openapi_extra=schema(Heartbeat))
def heartbeat(
    request: Request, caller: Annotated[Caller, Depends(may("work"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Lease:  # fmt: skip
    """Keep the ticket. 409 = it is somebody else's now: stop working on it."""
    rooms: Rooms = request.app.state.rooms
    desk, token = rooms.desk(caller, team), parse(Heartbeat, raw).token
    found = rooms.held(desk, caller, ticket, token)
    _beat(request, desk, found.assigned_to or "", found.worker or "")
    if token != found.token:
        raise StaleToken(found.number, token, found.state, None)
    if found.lease_until is None and found.worker:
        return Lease(lease_until=None)
    if desk.clock.now() > run_deadline(desk, found, desk.team):
        raise StaleToken(found.number, token, "out of time (run_deadline)", None)
    return Lease(lease_until=desk.renew(found, token=token))


@router.post("/v1/tickets/{ticket}/note", openapi_extra=schema(Note))
def note(
    request: Request, caller: Annotated[Caller, Depends(may("work", "approve"))],
    raw: Annotated[bytes, Depends(body())], ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Add a line to the ticket's story."""
    rooms: Rooms = request.app.state.rooms
    desk, said = rooms.desk(caller, team), parse(Note, raw)
    if caller.agent is not None and said.token is None:
        raise BadInput(
            "An agent's note carries the token of the ticket it works on. Nothing was written.", field="token"
        )
    found = rooms.held(desk, caller, ticket, said.token)
    detail: dict[str, Any] = {"signals": said.signals} if said.signals else {}
    return desk.note(found.id, said.text, actor=caller.actor, token=said.token, **detail)


@router.post("/v1/tickets/{ticket}/report", openapi_extra=schema(Reported))
def report(
    request: Request, caller: Annotated[Caller, Depends(may("work"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Answer with one Report. May be repeated with the same token: the stored outcome comes back."""
    rooms: Rooms = request.app.state.rooms
    desk, said = rooms.desk(caller, team), parse(Reported, raw)
    found = rooms.held(desk, caller, ticket, said.token)
    agent = caller.agent or found.assigned_to
    if agent is None and found.last_op.startswith(f"report:{said.token}:"):
        agent = found.last_op.rpartition(":")[2]  # a repeated report gets its stored answer
    if agent is None:
        raise StaleToken(found.number, said.token, found.state, None)
    outcome = desk.report(found.id, said.token, said.report, agent=agent or "")
    if caller.agent is not None:
        _beat(request, desk, caller.agent, found.worker or f"http:{caller.name}")
    return outcome


async def _wait(request: Request, desk: Desk, agent: str, worker: str, wait_s: float) -> Work | None:
    """Look when the coordinator assigned something, and once per presence TTL to be seen."""
    waiting: Waiting = request.app.state.waiting[desk.team.team]
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    with waiting.listen(agent) as rung:
        while not waiting.stopped:
            left = until - loop.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), max(0.0, min(left, desk.settings.presence_ttl_s)))
            rung.clear()
            if await request.is_disconnected():  # nobody would read it: leave the ticket to somebody else
                await run_in_threadpool(_presence(request, desk).leave, [agent], worker)
                return None
            work = await run_in_threadpool(_take, request, desk, agent, worker)
            if work is not None or left <= 0:
                return work
    return None


def _take(request: Request, desk: Desk, agent: str, worker: str) -> Work | None:
    _beat(request, desk, agent, worker)
    ticket = desk.claim_next(agent, worker)
    return build_work(desk, ticket, desk.team) if ticket is not None else None


def _beat(request: Request, desk: Desk, agent: str, worker: str) -> None:
    """The agent is there: it has just called."""
    if agent in desk.team.agents and worker:
        info = WorkerInfo(host="http", node=worker, slots=desk.team.agents[agent].capacity)
        _presence(request, desk).beat([agent], worker, info)


def _presence(request: Request, desk: Desk) -> Presence:
    presence: Presence = request.app.state.presence[desk.team.team]
    return presence
