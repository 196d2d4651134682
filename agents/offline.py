"""The offline brain: honest software without a model. It reads the ticket, applies stated rules, and says what it is.

One brain for each role: support, sales, engineering, decision-maker, manager, the specialists of a shop and who stands
in for them, and the four steps of a triage pipeline; any other role answers from the knowledge pages. A reply in review
is judged, and one that was sent back is revised, in every role. It decides from the text, the packet, the answers, the
earlier steps and the facts on the ticket, so the same ticket gets the same report.

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

from shiftlead.config.team import Team

from . import (
    checker,
    offline_billing,
    offline_classifier,
    offline_decision,
    offline_engineer,
    offline_engineering,
    offline_escalation,
    offline_fallback,
    offline_librarian,
    offline_manager,
    offline_notifier,
    offline_orchestrator,
    offline_orders,
    offline_sales,
    offline_support,
    revise,
)
from .agent import Failed, Report, Work
from .bidding import Bid, bid_of, is_bid, may_decline
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
    "sales": offline_sales.answer,
    "billing": offline_billing.answer,
    "shipping": offline_orders.shipping,
    "returns": offline_orders.returns,
    "fallback": offline_fallback.answer,
}
MANAGERS = frozenset({"manager"})  # they write no answers: they give out parts, and need to see the whole team


class OfflineBrain:
    """An Agent for `role` with its knowledge, or the folders or pages of it. Threads may share it."""

    def __init__(self, role: str, knowledge: Knowledge | Path | Sequence[Path], team: Team | None = None) -> None:
        """`team`: whose examples it reads a text by, when it hands parts out or says whether a question is its own."""
        self.role, self.team = role, team
        self.knowledge = knowledge if isinstance(knowledge, Knowledge) else Knowledge(knowledge)
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
        work = _bounded(work)
        if work.ticket.in_review:  # whoever has it judges it, whatever his role
            return checker.review(work, self.knowledge)
        if revise.is_revision(work):
            return revise.revised(work, self.knowledge)
        if is_bid(work.ticket):
            return self.can_take(work).as_report()
        if self.role in MANAGERS:
            return offline_manager.answer(work, self.team)
        if may_decline(work) and not work.answers and not self._stands_in(work):
            bid = self.can_take(work)
            if not bid.take and bid.instead:
                return bid.as_report()  # it was handed what is somebody else's, and says whose
        return self._answer(work, self.knowledge)

    def _stands_in(self, work: Work) -> bool:
        """Whether it has the ticket because nobody who can is there: then there is nobody to decline it to."""
        spec = self.team.agents.get(work.agent) if self.team else None
        return spec is not None and work.ticket.asked_of != work.agent and not set(work.ticket.needs) <= set(spec.can)

    def can_take(self, work: Work) -> Bid:
        """Whether the question is this agent's, by the team's examples and its own pages."""
        return bid_of(_bounded(work), self.team, self.knowledge)


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
