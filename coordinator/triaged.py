"""What triage says of a message, as JSON and nothing else (SD-03).

    {"category": "BILLING", "urgency": "URGENT", "confidence": 0.86, "summary": "I was charged twice."}

The category is a capability of the team in capitals; the support desk's are BILLING, SHIPPING, RETURNS and GENERAL.
Urgency is what the text says, in three words: what is low elsewhere is NORMAL here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .triage import TriageDecision

__all__ = ["Triaged", "triaged"]

URGENCY: dict[str, Literal["URGENT", "HIGH", "NORMAL"]] = {"urgent": "URGENT", "high": "HIGH"}


class Triaged(BaseModel):
    """One message, read once: no history, no agent's word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Annotated[str, Field(pattern=r"^[A-Z0-9_.-]+$")]
    urgency: Literal["URGENT", "HIGH", "NORMAL"]
    confidence: Annotated[float, Field(ge=0, le=1)]
    summary: Annotated[str, Field(max_length=200, description="one sentence")]


def triaged(decision: TriageDecision) -> Triaged:
    """The decision in that shape."""
    what = decision.category or next(iter(decision.needs), "none")
    return Triaged(
        category="".join(c if c.isascii() and c.isalnum() else "_" for c in what).upper() or "NONE",
        urgency=URGENCY.get(decision.urgency, "NORMAL"),
        confidence=round(decision.confidence, 3),
        summary=decision.summary[:200],
    )
