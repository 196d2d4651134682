"""What is known of an agent beside the team file: its holds, and what it has just done."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["AgentEvent", "AgentState"]


class AgentEvent(BaseModel):
    """Something an agent has just done: `deployed`, with the version or address it concerns."""

    name: str
    ref: str = ""
    at: float
    by: str = ""


class AgentState(BaseModel):
    """What is known of an agent beside the team file. Kept like a ticket, under the id `@<agent>`."""

    agent: str
    version: int = 0
    paused: bool = False
    draining: bool = False
    events: list[AgentEvent] = Field(default_factory=list, description="newest last")
    busy_until: float | None = None
    reason: str = ""
    by: str = ""
    since: float = 0.0
