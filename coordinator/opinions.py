"""Asks a model about new tickets the examples are not sure of, beside the coordination and never in its way.

The coordinator asks `of(ticket)` each time it looks at the ticket: None means that the answer is still coming, and the
ticket waits where it is. An answer, or why there is none, comes within `TIMEOUT_S`; a ticket beyond the `MOST` that are
asked about at the same time is not asked about at all. Answers live in memory: after a restart they are asked for anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shiftlead.agents.classifier_llm import Opinion, ask_opinion
from shiftlead.agents.reading import sentences_of
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.ticket import Ticket

__all__ = ["MOST", "Opinions"]

MOST = 16
Key = tuple[str, int]  # ticket id, version


class Opinions:
    """The questions of one team that are under way, and their answers. `ring` is called when one has come."""

    def __init__(self, team: Team, settings: Settings, ring: Callable[[], object] = lambda: None) -> None:
        self.team, self.settings, self._ring = team, settings, ring
        self._sentences = sentences_of(team)
        self._lock = threading.Lock()
        self._asked: set[Key] = set()
        self._answers: dict[Key, Opinion] = {}

    @property
    def configured(self) -> bool:
        """Whether there is a model to ask, and examples to show it."""
        return bool(self._sentences) and self.settings.openai_configured

    def of(self, ticket: Ticket) -> Opinion | None:
        """The model's opinion on this ticket as it stands; None while it is still thinking."""
        key = ticket.id, ticket.version
        with self._lock:
            if key in self._answers:
                return self._answers.pop(key)
            if key in self._asked:
                return None
            if len(self._asked) >= MOST:
                return Opinion(problem=f"it has {MOST} other tickets to read")
            self._asked.add(key)
        threading.Thread(target=self._think, args=(ticket, key), name="triage model", daemon=True).start()
        return None

    def now(self, ticket: Ticket) -> Opinion:
        """The same, waited for."""
        return ask_opinion(
            self.settings, self._sentences, ticket.title, ticket.body, team=self.team.team, ticket=ticket.id,
            number=ticket.number,
        )  # fmt: skip

    def _think(self, ticket: Ticket, key: Key) -> None:
        opinion = self.now(ticket)
        with self._lock:
            self._asked.discard(key)
            if len(self._answers) >= 4 * MOST:  # of tickets that were changed or taken away meanwhile
                self._answers.pop(next(iter(self._answers)))
            self._answers[key] = opinion
        self._ring()
