"""The requesters' and the deciders' calls: take tickets in, show them, approve, deny, cancel."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from shiftlead.config.settings import Settings
from shiftlead.coordinator.why import Why, explain
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, ShiftleadError
from shiftlead.queues.lifecycle import Queue, State
from shiftlead.queues.ticket import Draft, Line, Ticket

from .auth import Caller, may
from .body import BATCH_FACTOR, body, checked, decode, parse, read_draft, schema
from .pages import page
from .problems import Forbidden, problem_for
from .rooms import Rooms, belongs_to

__all__ = ["Reason", "Reply", "router"]

MAX_BATCH = 1_000
MAX_KEY = 255
router = APIRouter(prefix="/v1/tickets", tags=["tickets"])

TeamName = Annotated[str | None, Query(max_length=100, description="team; empty = the key's own")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="repeat a request safely with the same key")]


class Reason(BaseModel):
    """Why somebody decided as he did."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=10_000)


class Reply(BaseModel):
    """The answer a ticket waits for."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=60_000)


class TicketList(BaseModel):
    """One page. `after` goes into the next request; empty = this was the last."""

    tickets: list[Ticket]
    after: str


class Brought(BaseModel):
    """What a key that may not read gets for a ticket that is there already: where it is, and what the sender said."""

    id: str
    number: str
    team: str
    state: State
    type: str
    title: str
    body: str
    source: str
    reporter: str
    customer: str
    urgency: str
    component: str
    links: list[str]
    context: dict[str, Any]
    needs: list[str]
    requires_handoff: list[str]
    joined: list[dict[str, Any]] = Field(description="the sender's own entry if the ticket was joined, nobody else's")

    @classmethod
    def of(cls, ticket: Ticket, draft: Draft, *, joined: bool) -> Brought:
        said = draft.model_dump(exclude={"team", "number", "priority", "assigned_to"})
        own = {"source": draft.source, "reporter": draft.reporter, "customer": draft.customer, "title": draft.title}
        return cls(
            **said, id=ticket.id, number=ticket.number, team=ticket.team, state=ticket.state,
            joined=[own] if joined else [],
        )  # fmt: skip


@router.post(
    "", status_code=201, response_model=Ticket, responses={200: {"model": Ticket | Brought}},
    openapi_extra=schema(Draft),
)  # fmt: skip
def create(
    request: Request, caller: Annotated[Caller, Depends(may("enqueue"))], raw: Annotated[bytes, Depends(body())],
    team: TeamName = None, key: Key = None,
) -> Response:  # fmt: skip
    """Take one ticket in. 201 when it stands in the ledger as a ticket of its own.

    200 when there is one already. With `Idempotency-Replayed` the same key was used for the same request: the stored
    reply is the same id and number, and the document is the ticket as it is now. With `Shiftlead-Joined` the matter
    is open: this text and its links were added to that ticket, and both requesters are kept. A key that may not read
    that ticket gets its id, number and state, and nothing beside that but what it said itself.
    """
    rooms, settings = _rooms(request), _settings(request)
    draft = read_draft(raw, settings)
    desk = rooms.desk(caller, _team_of(draft, team))
    accepted = desk.accept(draft, actor=_door(caller), key=_checked_key(key))
    ticket = accepted.ticket
    headers = {"Location": _location(rooms, caller, ticket)}
    if accepted.joined:
        headers["Shiftlead-Joined"] = ticket.number
    elif not accepted.created:
        headers["Idempotency-Replayed"] = "true"
    status = 201 if accepted.created else 200
    document: BaseModel = ticket
    if not accepted.created and not _may_see(caller, ticket):
        document = Brought.of(ticket, draft, joined=accepted.joined)
    return Response(document.model_dump_json(), status, headers, media_type="application/json")


@router.post("/batch", openapi_extra=schema(Draft, media="application/x-ndjson"))
def create_many(
    request: Request, caller: Annotated[Caller, Depends(may("enqueue"))],
    raw: Annotated[bytes, Depends(body(BATCH_FACTOR))], team: TeamName = None, key: Key = None,
) -> JSONResponse:  # fmt: skip
    """Take up to 1,000 tickets in, as a JSON array or one a line; each is answered for itself, in the order given.

    An Idempotency-Key stands for the whole list: repeat the same list with it. `joined` marks those that were added to
    a ticket of the same matter.
    """
    rooms, settings, key = _rooms(request), _settings(request), _checked_key(key)
    answers: list[Any] = []
    by_team: dict[str, list[tuple[int, Draft, str | None]]] = {}
    for index, item in enumerate(_items(raw, request.headers.get("content-type", ""))):
        try:
            draft = read_draft(item, settings)
            name = rooms.desk(caller, _team_of(draft, team)).team.team
        except ShiftleadError as error:
            answers.append(error)
            continue
        answers.append(None)
        by_team.setdefault(name, []).append((index, draft, f"{key}\x1f{index}" if key else None))
    for name, drafts in by_team.items():
        desk = rooms.desks[name]
        outcomes = desk.accept_many([(draft, k) for _, draft, k in drafts], actor=_door(caller))
        for (index, _, _), outcome in zip(drafts, outcomes, strict=True):
            answers[index] = outcome
    results = [_answer(index, answer) for index, answer in enumerate(answers)]
    taken = sum(r["status"] < 300 for r in results)
    return JSONResponse({"results": results, "accepted": taken, "refused": len(results) - taken})


@router.get("")
def listing(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], team: TeamName = None,
    queue: Queue | None = None, state: State | None = None,
    agent: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50, after: Annotated[str, Query(max_length=300)] = "",
) -> TicketList:  # fmt: skip
    """Tickets by queue, state and agent, a page at a time. An agent's key sees only its own."""
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    if agent is not None or caller.agent is not None:
        agent = rooms.agent(desk, caller, agent or caller.agent or "")
    found = page(desk, queue=queue, state=state, agent=agent, limit=limit, after=after)
    return TicketList(tickets=found.tickets, after=found.after)


@router.get("/{ticket}")
def show(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], ticket: str, team: TeamName = None
) -> Ticket:
    """One ticket, by number or id."""
    rooms = _rooms(request)
    return rooms.ticket(rooms.desk(caller, team), caller, ticket)


@router.get("/{ticket}/history")
def history(
    request: Request, caller: Annotated[Caller, Depends(may("read"))], ticket: str, team: TeamName = None
) -> list[Line]:
    """Every ledger line of the ticket, oldest first."""
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    return desk.history(rooms.ticket(desk, caller, ticket).id)


@router.get("/{ticket}/why")
def why(request: Request, caller: Annotated[Caller, Depends(may("read"))], ticket: str, team: TeamName = None) -> Why:
    """Why the ticket is where it is, what would move it, and its timers."""
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    return explain(desk, rooms.ticket(desk, caller, ticket), now=desk.clock.now())


@router.post("/{ticket}/reply", openapi_extra=schema(Reply))
def reply(
    request: Request, caller: Annotated[Caller, Depends(may("enqueue"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Give the answer a ticket waits for; it goes on with it.

    The requester's answer comes by the key that brought the ticket. Anybody else's word needs a key that decides.
    """
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    found, said = rooms.ticket(desk, caller, ticket), parse(Reply, raw)
    door = _door(caller)
    theirs = found.brought_by == door or any(j.get("by") == door for j in found.joined)
    if not caller.may("approve") and not (theirs and found.waits_for == "requester"):
        raise Forbidden(
            f"The key {caller.name!r} did not bring this ticket, or it waits for another's word. Nothing was done."
        )
    return desk.reply(found.id, said.text, actor=door)


@router.post("/{ticket}/reopen", openapi_extra=schema(Reason))
def reopen(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Open a completed ticket again: a new life, with its whole story."""
    desk, found, reason = _subject(request, caller, ticket, team, raw)
    return desk.reopen(found.id, actor=f"person:{caller.name}", reason=reason)


@router.post("/{ticket}/approve", openapi_extra=schema(Reason))
def approve(
    request: Request, caller: Annotated[Caller, Depends(may("approve"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Say yes to an approval, or to the one approval a ticket waits for."""
    return _decide(request, caller, ticket, team, raw, "approve")


@router.post("/{ticket}/deny", openapi_extra=schema(Reason))
def deny(
    request: Request, caller: Annotated[Caller, Depends(may("approve"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Say no to an approval, or to the one approval a ticket waits for."""
    return _decide(request, caller, ticket, team, raw, "deny")


@router.post("/{ticket}/cancel", openapi_extra=schema(Reason))
def cancel(
    request: Request, caller: Annotated[Caller, Depends(may("admin"))], raw: Annotated[bytes, Depends(body())],
    ticket: str, team: TeamName = None,
) -> Ticket:  # fmt: skip
    """Cancel the ticket and everything it waits for."""
    desk, found, reason = _subject(request, caller, ticket, team, raw)
    return desk.cancel(found.id, actor=f"person:{caller.name}", reason=reason)


def _decide(request: Request, caller: Caller, ticket: str, team: str | None, raw: bytes, decision: str) -> Ticket:
    desk, found, reason = _subject(request, caller, ticket, team, raw)
    return desk.answer(found.id, decision, actor=f"person:{caller.name}", reason=reason)


def _subject(
    request: Request, caller: Caller, ticket: str, team: str | None, raw: bytes
) -> tuple[Desk, Ticket, str]:  # fmt: skip
    """The ticket a person decides about. An agent decides by working on an approval, whatever its key says."""
    if caller.agent is not None:
        raise Forbidden(
            f"The key {caller.name!r} is {caller.agent}'s; only a person decides here. Nothing was written."
        )
    rooms = _rooms(request)
    desk = rooms.desk(caller, team)
    return desk, rooms.ticket(desk, caller, ticket), parse(Reason, raw).reason


def _items(raw: bytes, content_type: str) -> list[Any]:
    """The drafts of a batch, undecoded where they stand one a line."""
    if "ndjson" in content_type or "jsonl" in content_type:
        items: list[Any] = [line for line in raw.split(b"\n") if line.strip()]
    else:
        items = decode(raw)
        if not isinstance(items, list):
            raise BadInput("A batch is a JSON array of tickets, or one ticket a line as application/x-ndjson.")
    if len(items) > MAX_BATCH:
        raise BadInput(f"A batch has at most {MAX_BATCH:,} tickets; this one has {len(items):,}. Nothing was stored.")
    for index, item in enumerate(items):
        if not isinstance(item, dict | bytes):
            raise BadInput(f"Item {index} of the batch is not a ticket but {type(item).__name__}. Nothing was stored.")
    return items


def _answer(index: int, answer: Any) -> dict[str, Any]:
    if isinstance(answer, ShiftleadError):
        refusal: dict[str, Any] = decode(bytes(problem_for(answer).body))
        if answer.retry_after_s is not None:
            refusal["retry_after_s"] = answer.retry_after_s
        return {"index": index, "status": answer.status, "problem": refusal}
    ticket = answer.ticket
    status = 201 if answer.created else 200
    told = {"index": index, "status": status, "id": ticket.id, "number": ticket.number, "team": ticket.team}
    return told | ({"joined": True} if answer.joined else {})


def _may_see(caller: Caller, ticket: Ticket) -> bool:
    """Whether the caller could also read the ticket by its number."""
    return caller.may("read") and (caller.agent is None or belongs_to(ticket, caller.agent))


def _team_of(draft: Draft, team: str | None) -> str | None:
    if draft.team and team and draft.team != team:
        raise BadInput(f"The body names team {draft.team!r}, the address {team!r}. Nothing was stored.", field="team")
    return draft.team or team


def _checked_key(key: str | None) -> str | None:
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY:
        raise BadInput(
            f"An Idempotency-Key has 1 to {MAX_KEY} characters. Nothing was stored.", field="Idempotency-Key"
        )
    return str(checked(key))


def _location(rooms: Rooms, caller: Caller, ticket: Ticket) -> str:
    query = "" if rooms.is_default(caller, ticket.team) else f"?team={quote(ticket.team)}"
    return f"/v1/tickets/{ticket.number}{query}"


def _door(caller: Caller) -> str:
    """How the ledger names who brought a ticket."""
    return f"door:http:{caller.name}"


def _rooms(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings
