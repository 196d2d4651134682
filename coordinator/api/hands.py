"""People's hands over HTTP: set right, give away, put off, merge, delegate; hold and free agents; the inbox."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from shiftlead.coordinator.facts import agent_facts
from shiftlead.coordinator.inbox import Item, inbox
from shiftlead.queues.agent_state import AgentState
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, Refused
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Ticket, check_text

from .auth import Caller, may
from .body import body, parse, schema
from .problems import Forbidden
from .rooms import Rooms

__all__ = ["BODIES", "router"]

router = APIRouter(tags=["hands"])
TeamName = Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")]
Raw = Annotated[bytes, Depends(body())]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Edit(_Strict):
    """Fields to set right, and why."""

    changes: dict[str, Any]
    reason: str = Field(default="", max_length=10_000)


class Reassign(_Strict):
    """Who should take it, or what it needs."""

    to: str | None = Field(default=None, max_length=100)
    needs: list[str] = Field(default_factory=list, max_length=20)
    reason: str = Field(default="", max_length=10_000)


class Snooze(_Strict):
    """Until when it is put off, unix seconds."""

    until: float
    reason: str = Field(default="", max_length=10_000)


class Merge(_Strict):
    """The open ticket it is the same matter as."""

    into: str = Field(max_length=100)
    reason: str = Field(default="", max_length=10_000)


class Delegate(_Strict):
    """Who decides instead."""

    to: str = Field(max_length=100)
    reason: str = Field(default="", max_length=10_000)


class Hold(_Strict):
    """What is known of an agent from now on; what is not named stays. `busy_until`: unix seconds."""

    paused: bool | None = None
    draining: bool | None = None
    busy_until: float | None = None
    reason: str = Field(default="", max_length=10_000)


class Event(_Strict):
    """What an agent has just done."""

    name: str = Field(min_length=1, max_length=100)
    ref: str = Field(default="", max_length=500)


class AgentNow(BaseModel):
    """An agent as it is now. `obstacle` says why it gets no ticket; empty = it can take one."""

    agent: str
    role: str
    can: list[str]
    capacity: int
    load: int
    workers: int
    obstacle: str
    paused: bool
    draining: bool
    busy_until: float | None
    reason: str


BODIES: list[Any] = [Edit, Reassign, Snooze, Merge, Delegate, Hold, Event]


@router.patch("/v1/tickets/{ticket}", openapi_extra=schema(Edit))
def edit(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Raw, ticket: str, team: TeamName = None
) -> Ticket:  # fmt: skip
    """Set right what an open ticket says."""
    said = parse(Edit, raw)
    desk, found = _subject(request, caller, ticket, team)
    return desk.edit(found.id, said.changes, actor=caller.actor, reason=said.reason)


@router.post("/v1/tickets/{ticket}/reassign", openapi_extra=schema(Reassign))
def reassign(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Raw, ticket: str, team: TeamName = None
) -> Ticket:  # fmt: skip
    """Give it to somebody else; whoever held it is told to stop."""
    said = parse(Reassign, raw)
    desk, found = _subject(request, caller, ticket, team)
    return desk.reassign(found.id, to=said.to, needs=said.needs, actor=caller.actor, reason=said.reason)


@router.post("/v1/tickets/{ticket}/snooze", openapi_extra=schema(Snooze))
def snooze(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Raw, ticket: str, team: TeamName = None
) -> Ticket:  # fmt: skip
    """Put it off. Its ladder's clock goes on."""
    said = parse(Snooze, raw)
    desk, found = _subject(request, caller, ticket, team)
    return desk.snooze(found.id, said.until, actor=caller.actor, reason=said.reason)


@router.post("/v1/tickets/{ticket}/merge", openapi_extra=schema(Merge))
def merge(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Raw, ticket: str, team: TeamName = None
) -> Ticket:  # fmt: skip
    """Say that it is the same matter as another ticket; answers with the one that stays."""
    said = parse(Merge, raw)
    desk, found = _subject(request, caller, ticket, team)
    stays = _rooms(request).ticket(desk, caller, said.into)
    return desk.merge(found.id, stays.id, actor=caller.actor, reason=said.reason)


@router.post("/v1/tickets/{ticket}/delegate", openapi_extra=schema(Delegate))
def delegate(
    request: Request, caller: Annotated[Caller, Depends(may("approve"))], raw: Raw, ticket: str, team: TeamName = None
) -> Ticket:  # fmt: skip
    """Let somebody else decide an approval."""
    said = parse(Delegate, raw)
    desk, found = _subject(request, caller, ticket, team)
    return desk.delegate(found.id, said.to, actor=caller.actor, reason=said.reason)


@router.get("/v1/inbox")
def waiting(
    request: Request, caller: Annotated[Caller, Depends(may("approve", "admin"))], team: TeamName = None,
    who: Annotated[str | None, Query(alias="for", max_length=100, description="empty = for anybody")] = None,
) -> list[Item]:  # fmt: skip
    """What waits for people: approvals, questions, tickets of people, blocked work. The most pressing first.

    404 for a name that nobody of the team has, and that nothing waits for.
    """
    return inbox(_rooms(request).desk(caller, team), who)


@router.get("/v1/agents")
def agents(request: Request, caller: Annotated[Caller, Depends(may("read"))], team: TeamName = None) -> list[AgentNow]:
    """The team's agents as they are now. An agent's key sees itself."""
    desk = _rooms(request).desk(caller, team)
    now = desk.clock.now()
    presence = Presence(desk.store.client, desk.keys, desk.clock, desk.settings)
    facts, live = agent_facts(desk, presence, now), presence.live()
    return [
        AgentNow(
            agent=name, role=spec.role, can=spec.can, capacity=spec.capacity, load=facts[name].load,
            workers=len(live.get(name, [])), obstacle=facts[name].obstacle(now), paused=facts[name].paused,
            draining=facts[name].draining, busy_until=facts[name].busy_until, reason=facts[name].reason,
        )
        for name, spec in desk.team.agents.items()
        if caller.agent in (None, name)
    ]  # fmt: skip


@router.post("/v1/agents/{agent}/hold", openapi_extra=schema(Hold))
def hold(
    request: Request, caller: Annotated[Caller, Depends(may("admin", "work"))], raw: Raw, agent: str,
    team: TeamName = None,
) -> AgentState:  # fmt: skip
    """Pause, drain or hold an agent, or free it (`busy_until` null, `paused` false). An agent may say so of itself."""
    said = parse(Hold, raw)
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    name = rooms.agent(desk, caller, agent)
    values = {k: getattr(said, k) for k in said.model_fields_set if k != "reason"}
    if any(values[k] is None for k in ("paused", "draining") if k in values):
        raise BadInput("paused and draining are true or false. Nothing was changed.", field="paused")
    if not values:
        raise BadInput("Say paused, draining or busy_until. Nothing was changed.", field="busy_until")
    check_text(said.reason, "reason")
    return desk.set_agent(name, actor=caller.actor, reason=said.reason, **values)


@router.post("/v1/agents/{agent}/event", openapi_extra=schema(Event))
def event(
    request: Request, caller: Annotated[Caller, Depends(may("admin", "work"))], raw: Raw, agent: str,
    team: TeamName = None,
) -> AgentState:  # fmt: skip
    """Say what an agent has just done; tickets that go by such events go to it."""
    said = parse(Event, raw)
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    return desk.agent_event(rooms.agent(desk, caller, agent), said.name, ref=said.ref, actor=caller.actor)


def _subject(request: Request, caller: Caller, ticket: str, team: str | None) -> tuple[Desk, Ticket]:
    """The ticket a person acts on. Only people do: an agent works on what it holds."""
    if caller.agent is not None:
        raise Forbidden(
            f"The key {caller.name!r} is {caller.agent}'s; only a person decides here. Nothing was written."
        )
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    found = rooms.ticket(desk, caller, ticket)
    if not found.is_open:
        raise Refused(f"{found.number} is {found.state}. Open it again first: shiftlead reopen {found.number}")
    return desk, found


def _rooms(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms
