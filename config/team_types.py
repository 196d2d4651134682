"""The words a team file is made of: names, times, conditions, hours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from .calendar import Hours
from .duration import duration_s
from .rules import Rule

__all__ = [
    "Brain", "Capability", "Delay", "Id", "PRIORITIES", "Priority", "Seconds", "Sentence", "Strict", "Type", "When",
    "WorkingHours",
]  # fmt: skip

Priority = Literal["urgent", "high", "normal", "low"]
PRIORITIES: dict[str, float] = {"urgent": 300.0, "high": 1800.0, "normal": 14400.0, "low": 86400.0}

Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Capability = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,99}$")]
Type = Annotated[str, Field(min_length=1, max_length=100)]
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
Brain = Annotated[
    str,
    Field(
        pattern=r"^(offline|openai|outside|python:[A-Za-z_][\w.]*:[A-Za-z_][\w.]*|exec:\s*\S.*)$",
        description="offline, openai, outside, python:module:function or exec:command",
    ),
]
Seconds = Annotated[
    float,
    BeforeValidator(lambda v: v if isinstance(v, bool) else duration_s(v)),
    WithJsonSchema({"type": ["string", "number"], "examples": ["30m", "4h"]}),
]

# The same, and 0s: at once.
Delay = Annotated[
    float,
    BeforeValidator(lambda v: v if isinstance(v, bool) else duration_s(v, zero=True)),
    WithJsonSchema({"type": ["string", "number"], "examples": ["0s", "30m", "4h"]}),
]


def _rule(value: Any) -> Rule:
    if isinstance(value, Rule):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError('a condition is a text like: ticket.type == "bug"')
    return Rule(value)


def _hours(value: Any) -> Hours:
    if isinstance(value, Hours):
        return value
    if not isinstance(value, str):
        raise ValueError("hours are a text like: Mon-Fri 08:00-18:00 Europe/Berlin")
    return Hours(value)


When = Annotated[
    Rule,
    PlainValidator(_rule),
    PlainSerializer(lambda r: r.source, return_type=str),
    WithJsonSchema({"type": "string", "description": "CEL over ticket, action, customer, steps, now"}),
]
WorkingHours = Annotated[
    Hours,
    PlainValidator(_hours),
    PlainSerializer(lambda h: h.text, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["Mon-Fri 08:00-18:00 Europe/Berlin"]}),
]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
