"""The offline brain: honest software without a model. It reads the ticket, applies stated rules, and says what it is.

One brain for each role: support, engineering, decision-maker, and the four steps of a triage pipeline; any other role
answers from the knowledge pages. It decides from the text, the packet, the answers, the earlier steps and the facts on
the ticket, so the same ticket gets the same report.

SHIFTLEAD_PACE_S (seconds, default 0) is thinking time for demonstrations: each ticket waits that long, times 0.5 to
1.5 by a hash of its id, so that a board shows something happening.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from . import (
    offline_classifier,
    offline_decision,
    offline_engineer,
    offline_engineering,
    offline_escalation,
    offline_librarian,
    offline_notifier,
    offline_orchestrator,
    offline_support,
)
from .agent import Failed, Report, Work
from .knowledge import Knowledge

__all__ = ["OfflineBrain"]

MAX_PACE_S = 600.0
READ = 20_000
ROLES: dict[str, Callable[[Work, Knowledge], Report]] = {
    "support": offline_support.answer,
    "engineering": offline_engineering.answer,
    "decision-maker": offline_decision.answer,
    "classifier": offline_classifier.answer,
    "librarian": offline_librarian.answer,
    "escalation": offline_escalation.answer,
    "notifier": offline_notifier.answer,
    "orchestrator": offline_orchestrator.answer,
    "engineer": offline_engineer.answer,
}


class OfflineBrain:
    """An Agent for `role` that knows Markdown pages: `knowledge` are folders or pages. Threads may share it."""

    def __init__(self, role: str, knowledge: Path | Sequence[Path]) -> None:
        self.role = role
        self.knowledge = Knowledge(knowledge)
        self._answer = ROLES.get(role.lower().replace("_", "-"), offline_support.answer_from_knowledge)

    def handle(self, work: Work) -> Report:
        _think(work.ticket.id)
        nobody = [need for need in work.ticket.needs if work.team_can and need not in work.team_can]
        if nobody:
            return Failed(
                error=f"nobody on this team can {', '.join(nobody)}: the team can "
                f"{', '.join(sorted(set(work.team_can)))}. "
                f"{work.ticket.number} is closed so that it does not wait for ever. Give the "
                f"capability to an agent in "
                "team.yaml and reopen it, or pass the request to somebody outside the team.",
            )
        return self._answer(_bounded(work), self.knowledge)


def _bounded(work: Work) -> Work:
    """The rules read the first 20,000 characters of a body: what a person says is there, the rest is attachments."""
    tickets = [t.changed(body=t.body[:READ]) for t in (work.ticket, *work.ancestors)]
    return work.model_copy(update={"ticket": tickets[0], "ancestors": tickets[1:]})


def _think(ticket_id: str) -> None:
    try:
        pace = float(os.environ.get("SHIFTLEAD_PACE_S", "0") or 0)
    except ValueError:
        return
    if math.isfinite(pace) and pace > 0:
        share = hashlib.sha256(ticket_id.encode()).digest()[0] / 255
        threading.Event().wait(min(pace, MAX_PACE_S) * (0.5 + share))
