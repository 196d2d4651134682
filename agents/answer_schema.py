"""What a model may answer for one ticket: the kinds of report its role may make, as JSON schema and as words.

The schema comes from the Report models and is valid in strict mode: every field required, no free objects (they are
asked for as a JSON text), nothing a small server's grammar cannot hold. Fields that Shiftlead fills in are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from shiftlead.queues.report import (
    AskHuman,
    AskRequester,
    Blocked,
    Failed,
    HandOff,
    Later,
    Resolved,
    Reviewed,
    StepDone,
)

from .agent import Work
from .bidding import Bid, is_bid, may_decline

__all__ = ["CALL_TOOL", "KINDS", "allowed_kinds", "described", "response_schema"]

CALL_TOOL = "call_tool"


class _BidAnswer(Bid):
    """A bid as a model says it; it travels as the reply of a ticket of type `bid`, see bidding.py."""

    kind: Literal["bid"] = "bid"


KINDS: dict[str, tuple[type[BaseModel], str]] = {
    "resolved": (Resolved, "the ticket is done; `reply` is what the requester reads"),
    "reviewed": (Reviewed, "your verdict on the result that was submitted"),
    "step_done": (StepDone, "your step is done; the ticket goes on to somebody who can `needs`"),
    "hand_off": (
        HandOff,
        "somebody else does it and the result comes back to you; say `needs`, and leave `to` null. For several things "
        "leave `needs` empty and say them in `parts`, each with its `needs` and `question`",
    ),
    "ask_human": (AskHuman, "an action needs a yes first; give the action and its arguments"),
    "ask_requester": (AskRequester, "only the requester knows; one clear question"),
    "blocked": (Blocked, "somebody outside must act first; say who and what, `until` in unix seconds or null"),
    "later": (Later, "look again at `at`, unix seconds"),
    "failed": (Failed, "you cannot do it; say why, and somebody else gets the ticket"),
    "bid": (
        _BidAnswer,
        "whether this question is yours: `take`, why, `confidence` from 0 to 1, and `instead` the capability it needs",
    ),
}
# Shiftlead's own business, or a person's: not asked for, and filled in when the answer is read.
HIDDEN = {
    "Packet": {"task_id", "source", "urgency", "lineage", "history_of", "from_agent", "state"},
    "Part": {"packet"},
    "Failed": {"retryable"},
    "Resolved": {"decision"},
    "FollowUp": {"ref"},
}
HIDDEN_IN_APPROVAL = {"Resolved": {"requires_escalation", "follow_ups"}}
DROPPED = frozenset({
    "title", "description", "default", "discriminator", "pattern", "format", "minLength", "maxLength", "minItems",
    "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
})  # fmt: skip


def allowed_kinds(work: Work) -> tuple[str, ...]:
    """The kinds of report a model may make here. None: only a person may say anything (a gate that says `human`)."""
    ticket = work.ticket
    if ticket.type == "approval":
        return () if ticket.context.get("human") else ("resolved", "blocked", "later", "failed")
    if ticket.in_review:
        return ("reviewed", "failed")
    if is_bid(ticket):
        return ("bid", "failed")
    return tuple(kind for kind in KINDS if kind != "reviewed" and (kind != "bid" or may_decline(work)))


@lru_cache(maxsize=256)
def response_schema(kinds: tuple[str, ...], *, approval: bool, tools: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON schema of an answer, `{"report": ...}`. `tools`: names the model may ask for instead of reporting."""
    parts = [_schema(KINDS[kind][0], approval) for kind in kinds]
    if tools:
        call = {
            "kind": {"type": "string", "enum": [CALL_TOOL]}, "tool": {"type": "string", "enum": list(tools)},
            "arguments": {"type": "string", "description": "a JSON object, as text"},
        }  # fmt: skip
        parts.append({"type": "object", "properties": call, "required": [*call], "additionalProperties": False})
    report = parts[0] if len(parts) == 1 else {"anyOf": parts}
    return {
        "type": "object", "properties": {"report": report}, "required": ["report"], "additionalProperties": False,
    }  # fmt: skip


@lru_cache(maxsize=64)
def described(kinds: tuple[str, ...], *, approval: bool) -> str:
    """One line for each kind: when, and its shape. For models that see no schema, and for those that do."""
    lines = []
    for kind in kinds:
        when = "your decision on the action that is asked for" if approval and kind == "resolved" else KINDS[kind][1]
        shape = json.dumps({"report": _shape(_schema(KINDS[kind][0], approval))}, ensure_ascii=False)
        lines.append(f"- {kind}: {when}\n  {shape}")
    return "\n".join(lines)


@lru_cache(maxsize=32)
def _schema(model: type[BaseModel], approval: bool) -> dict[str, Any]:
    whole = model.model_json_schema()
    hidden = {name: set(fields) for name, fields in HIDDEN.items()}
    if approval:
        hidden["Resolved"] = HIDDEN_IN_APPROVAL["Resolved"]
    made = _simple(whole, whole.get("$defs", {}), hidden)
    assert isinstance(made, dict)
    if approval and model is Resolved:  # an approval is answered with one of the two, never with neither
        made["properties"]["decision"] = {"type": "string", "enum": ["approve", "deny"]}
    return made


def _simple(node: Any, definitions: dict[str, Any], hidden: dict[str, set[str]]) -> Any:
    """The schema without references, limits and defaults; the limits are checked when the answer is read."""
    if "$ref" in node:
        return _simple(definitions[node["$ref"].rpartition("/")[2]], definitions, hidden)
    if "allOf" in node and len(node["allOf"]) == 1:
        return _simple(node["allOf"][0], definitions, hidden)
    if "anyOf" in node:
        return {"anyOf": [_simple(part, definitions, hidden) for part in node["anyOf"]]}
    if node.get("type") == "object" and "properties" not in node:
        return {"type": "string", "description": "a JSON object, as text"}
    if "const" in node:
        return {"type": "string", "enum": [node["const"]]}
    kept = {k: v for k, v in node.items() if k not in DROPPED and k != "$defs"}
    if "items" in node:
        kept["items"] = _simple(node["items"], definitions, hidden)
    if "properties" in node:
        out = hidden.get(node.get("title", ""), set())
        names = sorted((n for n in node["properties"] if n not in out), key=lambda n: n != "kind")  # says it first
        properties = {n: _simple(node["properties"][n], definitions, hidden) for n in names}
        kept |= {"properties": properties, "required": [*properties], "additionalProperties": False}
    return kept


def _shape(schema: dict[str, Any]) -> Any:
    """The schema as an example with words in place of values."""
    if "anyOf" in schema:
        parts: Sequence[dict[str, Any]] = schema["anyOf"]
        real = [part for part in parts if part.get("type") != "null"]
        shape = _shape(real[0])
        return f"{shape} or null" if isinstance(shape, str) else shape
    if "enum" in schema:
        return schema["enum"][0] if len(schema["enum"]) == 1 else " or ".join(schema["enum"])
    if "properties" in schema:
        return {name: _shape(part) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [_shape(schema["items"])]
    described = schema.get("description")
    return f"<{described or {'string': 'text', 'boolean': 'true or false'}.get(schema.get('type', ''), 'number')}>"
