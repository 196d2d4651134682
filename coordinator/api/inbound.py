"""The door for GitHub's webhooks. No key opens it: the signature does, and without a secret it is closed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from shiftlead.config.settings import Settings
from shiftlead.coordinator.inbound import Ignored, payload_of
from shiftlead.coordinator.inbound_github import from_github, signature_holds
from shiftlead.queues.errors import NotFound

from .body import body
from .problems import Forbidden, Unauthenticated
from .rooms import Rooms

__all__ = ["router"]

LARGEST = 4  # times the largest ticket: a webhook tells the same thing several times over
ACTOR = "door:github"
router = APIRouter(prefix="/v1/inbound", tags=["inbound"])


class Taken(BaseModel):
    """What became of it: the ticket's number, or why there is none."""

    number: str = ""
    joined: bool = Field(default=False, description="it was added to an open ticket of the same matter")
    repeated: bool = Field(default=False, description="it was taken in before")
    ignored: str = ""


@router.post(
    "/github", status_code=201, response_model=Taken, responses={200: {"model": Taken}},
    openapi_extra={"security": [], "requestBody": {"required": True, "content": {"application/json": {}}}},
)  # fmt: skip
def github(
    request: Request, raw: Annotated[bytes, Depends(body(LARGEST))],
    event: Annotated[str, Header(alias="X-GitHub-Event", max_length=100)] = "",
    signature: Annotated[str, Header(alias="X-Hub-Signature-256", max_length=200)] = "",
) -> JSONResponse:  # fmt: skip
    """Take in one delivery of the events `issues` and `issue_comment`; the same one again changes nothing.

    The team is the installation's own choice (SHIFTLEAD_GITHUB_TEAM): nothing in the request chooses it. The answer
    tells a number and nothing that anybody wrote.
    """
    settings: Settings = request.app.state.settings
    rooms: Rooms = request.app.state.rooms
    secret = settings.github_secret.get_secret_value()
    if not secret:
        raise Forbidden("This door is closed: SHIFTLEAD_GITHUB_SECRET is not set. Nothing was stored.")
    if not signature_holds(secret, raw, signature):
        raise Unauthenticated("X-Hub-Signature-256 is not the signature of this body. Nothing was stored.")
    name = settings.github_team or settings.team
    if name not in rooms.desks:
        raise NotFound(f"The team of this door, {name!r}, is not served here. Nothing was stored.")
    if event == "ping":
        return _answer(200, Taken(ignored="ping"))
    try:
        message = from_github(payload_of(raw), event, max_bytes=settings.max_ticket_bytes)
    except Ignored as ignored:
        return _answer(200, Taken(ignored=str(ignored)))
    accepted = rooms.desks[name].accept(message.draft, actor=ACTOR, key=message.key)
    repeated = not accepted.created and not accepted.joined
    taken = Taken(number=accepted.ticket.number, joined=accepted.joined, repeated=repeated)
    return _answer(201 if accepted.created else 200, taken)


def _answer(status: int, taken: Taken) -> JSONResponse:
    said: dict[str, Any] = taken.model_dump(exclude_defaults=True)
    return JSONResponse(said, status)
