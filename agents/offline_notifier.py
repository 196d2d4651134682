"""The last step of a triage pipeline, offline: tell people with the tool, and put the ticket into their queue.

The ticket is never ended here: it goes to whoever the step `decide` named, with the ladder armed, and stays open until
that person ends it. When nobody could be told the result says so, and the ticket goes there all the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .agent import Blocked, Failed, Report, StepDone, Work
from .knowledge import Knowledge
from .notifying import NOTIFY
from .tools import Outcome, current_toolbox
from .triage_steps import Classification, Decision, earlier, value_of

__all__ = ["answer"]


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report of the step `notify`.

    Raises:
        EndsTurn: a gate wants a yes before anybody is told.
    """
    read, decided = earlier(work, "classify", Classification), earlier(work, "decide", Decision)
    to = decided.assigned_to if decided is not None else value_of(work, "support", "support-team")
    urgency = read.urgency if read is not None else "high"  # nobody has read it: better too loud
    toolbox = current_toolbox()
    if toolbox is None or NOTIFY not in toolbox.allowed:
        return _handed_on(work, to, _nothing_sent(work, f"{work.agent} has no tool {NOTIFY} here"))
    outcome = toolbox.use(NOTIFY, {"ticket_id": work.ticket.number, "urgency": urgency, "assigned_to": to})
    if outcome.status == "failed":
        return Failed(error=outcome.why, retryable=True)
    toolbox.end_turn_on(outcome)
    return _handed_on(work, to, _told(work, outcome))


def _handed_on(work: Work, to: str, result: dict[str, Any]) -> Report:
    if work.team_can and to not in work.team_can:
        return Blocked(owner=to, action=f"work on {work.ticket.number}; nobody on the team can {to!r}")
    return StepDone(name="notify", result=result, needs=[to])


def _told(work: Work, outcome: Outcome) -> dict[str, Any]:
    return outcome.result if outcome.status == "done" else _nothing_sent(work, outcome.why)


def _nothing_sent(work: Work, why: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(work.ticket.updated_at, UTC).isoformat(timespec="seconds")
    return {"notification_sent": False, "channels": [], "timestamp": at, "why": why}
