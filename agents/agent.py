"""The contract: an agent gets `Work` and answers with one `Report`. Everything else is somebody else's job.

    def handle(work: Work) -> Report | str | dict:
        ...

A string is short for `Resolved(reply=...)`, a dict is one Report as JSON.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shiftlead.queues.errors import BadInput
from shiftlead.queues.report import (
    REPORT,
    AskHuman,
    AskRequester,
    Blocked,
    Failed,
    Finding,
    FollowUp,
    HandOff,
    Later,
    Packet,
    Part,
    Report,
    Resolved,
    Reviewed,
    StepDone,
)
from shiftlead.queues.ticket import Line, Ticket, check_text

__all__ = [
    "Agent", "AskHuman", "AskRequester", "Blocked", "Colleague", "Earlier", "Failed", "Finding", "FollowUp", "HandOff",
    "Later", "Packet", "Part", "Report", "Resolved", "Reviewed", "StepDone", "Work", "as_report",
]  # fmt: skip


class Earlier(BaseModel):
    """A ticket the same customer brought before, in short."""

    number: str
    at: float = Field(description="when it came, unix seconds")
    state: str
    category: str = ""
    title: str = ""
    agent: str = Field(default="", description="who had it last")
    outcome: str = Field(default="", description="what came of it")


class Colleague(BaseModel):
    """Somebody else on the team, whom a part can be handed to."""

    name: str
    role: str = ""
    can: list[str] = Field(default_factory=list)
    human: bool = False


class Work(BaseModel):
    """One ticket to work on, with its whole story. Plain data: it is the same as JSON at every door."""

    model_config = ConfigDict(extra="ignore")

    agent: str
    role: str = ""
    ticket: Ticket
    token: int
    history: list[Line] = Field(default_factory=list, description="every line of this ticket and of its ancestors")
    packet: Packet | None = Field(default=None, description="set when the ticket was handed on")
    steps: dict[str, Any] = Field(default_factory=dict, description="results of earlier steps, by name")
    answers: list[dict[str, Any]] = Field(default_factory=list, description="what children brought back, oldest first")
    ancestors: list[Ticket] = Field(default_factory=list, description="parent, grandparent, ...")
    earlier: list[Earlier] = Field(default_factory=list, description="what its customer brought last, newest first")
    team_can: list[str] = Field(default_factory=list, description="every capability somebody on the team has")
    colleagues: list[Colleague] = Field(default_factory=list, description="the other agents of the team")
    tools: list[str] = Field(default_factory=list)
    deadline: float = Field(default=0.0, description="unix seconds; the runtime gives the ticket back then")
    trace_id: str = ""

    @property
    def text(self) -> str:
        """Title and body, as the requester wrote them."""
        return "\n".join(part for part in (self.ticket.title, self.ticket.body) if part)


class Agent(Protocol):
    """An agent may also have `can_take(work) -> Bid`: whether a question is its own; see bidding.py."""

    def handle(self, work: Work) -> Report: ...


def as_report(value: Any) -> Report:
    """A Report from what a brain returned.

    Raises:
        BadInput: it is not one of the nine reports; says which field is wrong.
    """
    if isinstance(value, BaseModel) and hasattr(value, "kind"):
        value = value.model_dump()
    if isinstance(value, str):
        value = {"kind": "resolved", "reply": value, "summary": value[:200]}
    if not isinstance(value, dict):
        raise BadInput(
            f"An agent must return a Report, a dict or a text; this one returned {type(value).__name__}. "
            "See `shiftlead try`."
        )
    try:
        value = json.loads(json.dumps(value, allow_nan=False))  # what cannot be JSON cannot be kept either
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"This is not a Report: {error}. A report holds texts, numbers, lists and dicts.") from None
    check_text(value)
    try:
        return REPORT.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise BadInput(f"This is not a Report: {where or 'kind'}: {first['msg']}.", field=where) from None
