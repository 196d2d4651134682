"""What a ticket is: what a sender may say (`Draft`), what we keep (`Ticket`), one line of its story (`Line`)."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shiftlead.config.duration import duration_s

from .errors import BadInput, TooLarge
from .lifecycle import QUEUE_OF, Queue, State
from .report import AgentName, Capability, Packet
from .review import Review

__all__ = ["Attempts", "Draft", "FlowPlace", "Line", "TRIES", "Ticket", "check_text", "parse_draft"]

Name = Annotated[str, Field(min_length=1, max_length=100)]
Priority = Literal["urgent", "high", "normal", "low"]
NUMBER = re.compile(r"T-\d{4}-\d{3,9}", re.ASCII)
MAX_DEPTH = 20
NOBODY: frozenset[str] = frozenset()
TRIES = 2  # failed attempts of one agent at one ticket after which others try


class Draft(BaseModel):
    """A ticket as a sender may describe it. Unknown fields are refused with their name.

    Accepted spellings: `ticket_id` for number, `context.customer` for customer, `context.issue` for title.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_strip_whitespace=False)

    team: str | None = Field(default=None, max_length=100)
    number: str | None = Field(default=None, description="a number of the sender's own, T-YYYY-NNN; ours if empty")
    type: Name = "request"
    title: str = Field(default="", max_length=500)
    body: str = ""
    source: str = Field(default="api", max_length=100)
    reporter: str = Field(default="", max_length=200)
    customer: str = Field(default="", max_length=200)
    urgency: str = Field(default="", max_length=50)
    priority: Priority | None = None
    component: str = Field(default="", max_length=200)
    links: list[Annotated[str, Field(max_length=2000)]] = Field(default_factory=list, max_length=100)
    context: dict[str, Any] = Field(default_factory=dict)
    needs: Annotated[list[Capability], Field(max_length=20)] = Field(default_factory=list)
    requires_handoff: Annotated[list[AgentName], Field(max_length=20)] = Field(default_factory=list)
    assigned_to: AgentName | None = Field(default=None, description="an agent the sender asks for")

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "ticket_id" in data:
            given = data.pop("ticket_id")
            if data.get("number") not in (None, given):
                raise ValueError("ticket_id and number name different tickets")
            data["number"] = given
        context = data.get("context")
        if isinstance(context, dict):
            for ours, theirs in (("customer", "customer"), ("title", "issue")):
                if not data.get(ours) and isinstance(context.get(theirs), str):
                    data[ours] = context[theirs][:500]
        return data

    @field_validator("number")
    @classmethod
    def _number(cls, value: str | None) -> str | None:
        if value is not None and not NUMBER.fullmatch(value):
            raise ValueError("a ticket number looks like T-2026-001")
        return value

    @field_validator("context")
    @classmethod
    def _threshold(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value.get("escalation_threshold") not in (None, ""):
            duration_s(value["escalation_threshold"])
        return value


class Attempts(BaseModel):
    """Why a ticket came back, counted by reason. Only `crashed` (while alone in its worker) can fail it."""

    undelivered: int = 0
    handed_back: int = 0
    crashed: int = 0


class FlowPlace(BaseModel):
    """The pipeline a ticket goes through, as it was when the ticket was triaged, and where the ticket is in it."""

    model_config = ConfigDict(extra="ignore")

    name: str
    version: int
    steps: list[str] = Field(description="capabilities, in their order")
    at: str = Field(description="the step it is at, or was at last when it has left the steps for a while")
    values: dict[str, Any] = Field(default_factory=dict, description="facts of the team file for the steps")
    results: dict[str, dict[str, list[str] | str]] = Field(
        default_factory=dict, description="what the result of a step must say: by step and field"
    )


class Ticket(BaseModel):
    """A ticket as it is kept. Changed only by the desk. Times are unix seconds, UTC."""

    model_config = ConfigDict(extra="ignore")

    id: str
    number: str
    team: str
    team_version: int = 1
    type: str = "request"
    category: str = ""
    title: str = ""
    body: str = ""
    source: str = "api"
    reporter: str = ""
    customer: str = ""
    urgency: str = ""
    priority: Priority = "normal"
    given_priority: Priority | None = Field(default=None, description="what the sender asked for")
    summary: str = ""
    component: str = ""
    links: list[str] = Field(default_factory=list)
    context: dict[str, Any] = Field(default_factory=dict)
    needs: list[str] = Field(default_factory=list)
    requires_handoff: list[str] = Field(default_factory=list)
    named: str | None = Field(default=None, description="the agent it must go to (handoff by name, escalation)")
    prefers: str | None = Field(default=None, description="the agent it should go to if that one is free")
    excluded: list[str] = Field(default_factory=list, description="agents who may not take it (author, requester)")

    parent: str | None = None
    children: list[str] = Field(default_factory=list, description="ids of every ticket it handed on")
    awaits: list[str] = Field(default_factory=list, description="ids of the children it waits for now")
    lineage: list[str] = Field(default_factory=list, description="ids of parent, grandparent, ...")
    hops: int = 0
    asked_of: str | None = Field(default=None, description="the agent it was handed to by name")
    asked_by: str | None = Field(default=None, description="the agent that handed it on or asks for approval")
    packet: Packet | None = None
    answers: list[dict[str, Any]] = Field(default_factory=list, description="results of children, oldest first")
    step: str = ""
    steps: dict[str, Any] = Field(default_factory=dict)
    flow: FlowPlace | None = Field(default=None, description="its pipeline; empty = it goes by its needs alone")
    round: int = 0
    turns: int = Field(default=0, description="reports of this life that did not end it")
    checks: list[str] = Field(default_factory=list, description="names of the checks that failed in the last review")
    review: Review | None = Field(default=None, description="of its reply; None before it was first submitted")

    state: State = State.NEW
    assigned_to: str | None = None
    worker: str | None = None
    alone: bool = False
    suspect: bool = Field(default=False, description="its worker crashed: it runs alone in a process until it is done")
    version: int = 0
    token: int = 0
    life: int = 1
    attempts: Attempts = Field(default_factory=Attempts)
    failures: dict[str, int] = Field(default_factory=dict, description="failed attempts in this life, by agent")
    last_op: str = ""

    created_at: float = 0.0
    updated_at: float = 0.0
    due: float = 0.0
    ready_at: float | None = None
    assigned_at: float | None = None
    closed_at: float | None = None
    not_before: float | None = None
    claim_by: float | None = None
    lease_until: float | None = None
    ladder: int = Field(default=0, description="index of the next escalation step")
    ladder_at: float | None = None
    accept_by: float | None = Field(default=None, description="a handed-on ticket should be claimed by then")
    expires_at: float | None = Field(default=None, description="an approval is void after this moment")
    waits_for: str = Field(default="", description="children, requester, or who must act")
    waits_until: float | None = None
    result: dict[str, Any] | None = Field(default=None, description="the last Report that counts")
    reason: str = ""
    trace_id: str = ""

    brought_by: str = Field(default="", description="the door or agent it came by")
    marks: list[str] = Field(default_factory=list, description="digests of its text and links; a repeat finds it so")
    joined: list[dict[str, Any]] = Field(default_factory=list, description="who else brought the same, oldest first")
    merged_into: str | None = Field(default=None, description="number of the ticket a person merged it into")
    behind: bool = Field(default=False, description="enough others of its customer are ready before it")
    weight: int = Field(default=1, description="slots of its agent it takes")
    ladder_left: float | None = Field(default=None, description="seconds to its next step while the ladder pauses")
    withheld: bool = Field(default=False, description="its result stands and leaves when action hours begin")
    looks_left: int | None = Field(default=None, description="how often a watch may still look")
    first_reply_at: float | None = Field(default=None, description="first resolve, or question to the requester")
    escalations: int = Field(default=0, description="steps of its ladder that were taken")
    aided: bool = Field(default=False, description="a person had a hand in it")

    @property
    def queue(self) -> Queue:
        return QUEUE_OF[self.state]

    @property
    def is_open(self) -> bool:
        return self.queue is not Queue.COMPLETED

    @property
    def in_review(self) -> bool:
        """Somebody is to look at its reply now: it is not worked on."""
        return self.review is not None and self.review.open

    @property
    def lane(self) -> str:
        return "urgent" if self.priority == "urgent" else "rest"

    @property
    def worn_out(self) -> frozenset[str]:
        """Agents that failed it so often that others try now."""
        if not self.failures:  # nearly always, and asked for very often
            return NOBODY
        return frozenset(name for name, times in self.failures.items() if times >= TRIES)

    @property
    def group(self) -> str:
        """The ready set it stands in: by agent if it is named, else by what it needs."""
        return f"@{self.named}" if self.named else "+".join(sorted(set(self.needs)))

    def changed(self, **values: Any) -> Ticket:
        """A copy with `values`; nothing is validated again."""
        return self.model_copy(update=values)


class Line(BaseModel):
    """One line of the ledger, as it was decided. `seq` counts the lines of one ticket from 1."""

    ticket: str
    number: str = ""
    seq: int = 0
    move: str
    actor: str = Field(description="kind:name, as agent:iris_support, timer:lease, door:http")
    at: float
    before: str | None = None
    after: str | None = None
    version: int = 0
    token: int = 0
    life: int = 1
    agent: str | None = None
    reason: str = ""
    detail: dict[str, Any] = Field(default_factory=dict)


def parse_draft(data: bytes | str | dict[str, Any], *, max_bytes: int) -> Draft:
    """A draft from JSON or a dict.

    Raises:
        TooLarge: more than `max_bytes` bytes of JSON.
        BadInput: not JSON, NUL, lone surrogate, NaN, too deep, unknown or ill-typed field (named in the message).
    """
    if isinstance(data, dict):
        try:
            data = json.dumps(data, allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInput(f"This is not a ticket: {error}. Nothing was stored.") from None
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > max_bytes:
        raise TooLarge(
            f"The ticket has {len(raw):,} bytes; at most {max_bytes:,} are taken. Put large material behind a link. "
            "Nothing was stored."
        )
    try:
        parsed = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise BadInput(f"The JSON is nested too deeply; at most {MAX_DEPTH} levels are taken.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"The ticket is not UTF-8 (byte {error.start}). Nothing was stored.") from None
    except json.JSONDecodeError as error:
        raise BadInput(
            f"Malformed JSON in line {error.lineno}, column {error.colno}: {error.msg}. Nothing was stored.",
            line=error.lineno,
        ) from None
    except ValueError as error:  # a whole number of thousands of digits
        raise BadInput(f"This is not a ticket: a number cannot be read ({error}). Nothing was stored.") from None
    if not isinstance(parsed, dict):
        raise BadInput(f"A ticket is a JSON object, this is {type(parsed).__name__}. Nothing was stored.")
    check_text(parsed)
    try:
        return Draft.model_validate(parsed)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"])
        what = (
            f"unknown field {field!r}" if first["type"] == "extra_forbidden" else f"{field or 'ticket'}: {first['msg']}"
        )
        known = ", ".join(Draft.model_fields) if first["type"] == "extra_forbidden" else ""
        raise BadInput(
            f"This is not a ticket: {what}.{' Known fields: ' + known + '.' if known else ''} Nothing was stored.",
            field=field,
        ) from None


def check_text(value: Any, where: str = "", depth: int = 0) -> None:
    """Refuse what a database or a model cannot hold: NUL, lone surrogates, JSON deeper than 20 levels.

    Raises:
        BadInput: names the field.
    """
    if depth > MAX_DEPTH:
        raise BadInput(f"{where.split('.')[0] or 'the JSON'} is nested deeper than {MAX_DEPTH} levels.", field=where)
    if isinstance(value, str):
        if "\0" in value:
            raise BadInput(f"{where or 'the text'} contains a NUL character. Nothing was stored.", field=where)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(
                f"{where or 'the text'} contains a lone surrogate, which is not Unicode text. Nothing was stored.",
                field=where,
            ) from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{where or 'the number'} is too large a number. Nothing was stored.", field=where)
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, f"{where}.{key!r} (a key)".lstrip("."), depth + 1)
            check_text(item, f"{where}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_text(item, f"{where}.{index}", depth + 1)


def _no_constant(name: str) -> None:
    raise BadInput(f"{name} is not a JSON number. Nothing was stored.")
