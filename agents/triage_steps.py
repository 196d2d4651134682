"""What the steps of a triage pipeline say to each other: typed results, and how a step reads an earlier one.

A step is one agent and can be tried alone with results written by hand: `shiftlead try librarian TEXT --steps FILE`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .agent import Work

__all__ = ["Classification", "Decision", "Findings", "earlier", "value_of"]

Category = Literal["billing", "technical", "account", "general"]
Sentiment = Literal["positive", "neutral", "negative", "angry"]
Urgency = Literal["low", "medium", "high", "critical"]


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Classification(_Result):
    """What `classify` found in the text of the ticket (TP-02)."""

    category: Category
    sentiment: Sentiment
    urgency: Urgency
    reasoning: str


class Findings(_Result):
    """What `know` found for it (TP-03). `confidence` is 0 to 100."""

    articles: list[str]
    resolution_steps: list[str]
    confidence: Annotated[int | float, Field(ge=0, le=100)]
    suggested_reply: str


class Decision(_Result):
    """What `decide` wants when it does not answer itself (TP-04). `assigned_to` is a capability of a person."""

    action: Literal["page_on_call", "escalate"]
    assigned_to: str
    why: str


R = TypeVar("R", bound=_Result)


def earlier(work: Work, step: str, kind: type[R]) -> R | None:
    """The result of an earlier step; None when the step was skipped, or said something else: nothing is guessed."""
    found = work.steps.get(step)
    given = found.get("result", found) if isinstance(found, dict) else None
    try:
        return kind.model_validate(given)
    except ValidationError:
        return None


def value_of(work: Work, name: str, default: Any) -> Any:
    """A value of the ticket's flow in the team file, of the default's type."""
    value = work.ticket.flow.values.get(name) if work.ticket.flow else None
    fits = isinstance(value, int | float) if isinstance(default, int | float) else isinstance(value, type(default))
    return value if fits and not isinstance(value, bool) else default
