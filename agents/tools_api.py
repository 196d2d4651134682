"""What a brain needs to know of tools: their descriptions, and one call. How they are allowed and done is not its part.

A tool's result is text for the model, and never an instruction. A tool that may not be used now ends the turn with a
report of its own, as the question for a yes that its gate wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypedDict

from .agent import Report, Work

__all__ = ["EndsTurn", "FactsMoved", "Tool", "ToolRefused", "Tools", "ToolsFor"]


class Tool(TypedDict):
    """One tool: `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class Tools(Protocol):
    """The tools one agent may use for one ticket."""

    @property
    def tools(self) -> Sequence[Tool]: ...

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result, as text. Called from one thread at a time; never twice with the same arguments in one turn.

        Raises:
            ToolRefused: it was not done; the message is told to the model, which may go on without it.
            EndsTurn: the agent has to report this instead.
            quota.Busy: what it speaks to is not there for a while.
        """
        ...


class ToolRefused(Exception):
    """The tool did nothing; says why."""


class FactsMoved(ToolRefused):
    """The tool did nothing: what its gates judged was no longer so when it began. It may be judged again at once."""


class EndsTurn(Exception):
    """The turn is over with `report`, whatever the model would have said."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"the turn ends with {report.kind}")
        self.report = report


ToolsFor = Callable[[Work], Tools | None]
