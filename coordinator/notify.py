"""Tell people: a notice goes to the log and to a file other programs can follow. The ticket's ledger has it too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import structlog

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.ticket import Ticket

__all__ = ["Notices"]

log = structlog.get_logger("shiftlead.notice")


class Notices:
    """Appends one JSON line per notice to the sink."""

    def __init__(self, settings: Settings, team: Team) -> None:
        self.path = Path(settings.notices) if settings.notices else settings.data / "notices.jsonl"
        self.team = team

    def tell(self, target: str, ticket: Ticket, text: str, *, at: float) -> None:
        """Tell `target` (agent or person). A sink that cannot be written is logged: the notice stands in the ledger."""
        person = self.team.people.get(target)
        notice = {
            "at": at, "team": ticket.team, "to": target, "address": person.notify if person else "",
            "ticket": ticket.number, "title": ticket.title, "state": str(ticket.state), "text": text,
        }  # fmt: skip
        log.warning("escalation", **{k: notice[k] for k in ("to", "ticket", "text")})
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as sink:
                sink.write(json.dumps(notice, ensure_ascii=False) + "\n")
        except OSError as error:
            log.error("the notice file cannot be written", path=str(self.path), error=str(error))
