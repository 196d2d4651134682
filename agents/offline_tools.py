"""How a brain that is code uses the tools at hand: the result, or why there is none."""

from __future__ import annotations

from typing import Any

from .agent import Work
from .tools import current_toolbox

__all__ = ["use"]

NO_TOOLS = "there are no tools at hand here"


def use(work: Work, name: str, **arguments: Any) -> tuple[dict[str, Any], str]:
    """One call for this work. An empty result comes with the reason.

    Raises:
        EndsTurn: somebody must be asked first, or it has to wait.
    """
    toolbox = current_toolbox()
    if toolbox is None or toolbox.work.ticket.id != work.ticket.id:
        return {}, NO_TOOLS
    outcome = toolbox.use(name, {k: v for k, v in arguments.items() if v != ""})
    toolbox.end_turn_on(outcome)
    if outcome.status != "done" or not isinstance(outcome.result, dict):
        return {}, outcome.why or outcome.status
    return outcome.result, ""
