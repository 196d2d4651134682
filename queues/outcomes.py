"""What became of a completed ticket: was the answer accepted, had somebody to step in, how satisfied were they (SD-13).

    record_outcome(desk, trace_id, Feedback(accepted=True, csat=5), actor="person:ann")

It is a line of the ticket's ledger, like a note, with the comment as its text: audited, and erasable as every text. The
ledger writer keeps the last word of each life of a ticket in a table of its own, in the same transaction. What was not
said again stays as it was said before; the same again changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from . import moves
from .desk import Desk
from .errors import BadInput, Refused
from .ledger import OUTCOME as TABLE
from .ledger import Ledger
from .ticket import Line, Ticket, check_text

__all__ = ["OUTCOME", "Feedback", "Outcome", "Outcomes", "Said", "record_outcome", "ticket_of"]

OUTCOME = "outcome"  # the move of such a line
MAX_COMMENT = 5_000
PART = 500


class Feedback(BaseModel):
    """What is said. None: not said."""

    model_config = ConfigDict(extra="forbid")

    accepted: Annotated[bool | None, Field(description="the answer was what was wanted")] = None
    escalated: Annotated[bool | None, Field(description="somebody had to step in")] = None
    csat: Annotated[int | None, Field(ge=1, le=5, description="how satisfied: 1 not at all, 5 very")] = None
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""

    def values(self) -> dict[str, Any]:
        """What is said beside the comment."""
        return self.model_dump(include={"accepted", "escalated", "csat"}, exclude_none=True)


class Outcome(Feedback):
    """The last word on one life of a ticket."""

    ticket: str
    number: str
    life: int
    actor: str
    at: float


@dataclass(frozen=True, slots=True)
class Said:
    """A row: the last word on one life, without its comment."""

    ticket_id: str
    life: int
    trace_id: str
    accepted: bool | None
    escalated: bool | None
    csat: int | None
    at: float


class Outcomes:
    """Reads the outcomes of one team from SQL."""

    def __init__(self, ledger: Ledger, team: str) -> None:
        self.team, self._engine = team, ledger.engine

    def since(self, since: float, until: float | None = None) -> list[Said]:
        """Those said in [since, until)."""
        c = TABLE.c
        return self._read(c.at >= since, *([] if until is None else [c.at < until]))

    def of_traces(self, traces: Iterable[str]) -> list[Said]:
        """Those of the tickets that came with these traces."""
        asked, found = list(traces), list[Said]()
        for start in range(0, len(asked), PART):
            found += self._read(TABLE.c.trace_id.in_(asked[start : start + PART]))
        return found

    def _read(self, *where: Any) -> list[Said]:
        c = TABLE.c
        columns = (c.ticket_id, c.life, c.trace_id, c.accepted, c.escalated, c.csat, c.at)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).where(c.team == self.team, *where))
            return [Said(*row) for row in rows]


def record_outcome(desk: Desk, ticket: str, feedback: Feedback, *, actor: str) -> Outcome:
    """Say what became of a ticket; `ticket` is its number, its id or its trace id. May be repeated.

    Raises:
        NotFound: there is none.
        Refused: it is not completed yet.
        BadInput: nothing is said, or the comment cannot be kept.
        NotRecorded: written, but not yet confirmed by the ledger. Repeat the call.
    """
    check_text(feedback.comment, "the comment")
    if not feedback.values() and not feedback.comment.strip():
        raise BadInput("Say accepted, escalated, csat (1 to 5) or a comment. Nothing was written.", field="accepted")
    found = desk.find(ticket_of(ticket))
    if found.is_open:
        raise Refused(
            f"{found.number} is {found.state}: what became of it can be said when it is completed. "
            f"To add to its story: shiftlead note {found.number} TEXT"
        )
    before = _last_word(desk, found)
    said = (before.values() if before else {}) | feedback.values()
    comment = feedback.comment.strip() or (before.comment if before else "")
    new = Outcome(**said, comment=comment, ticket=found.id, number=found.number, life=found.life, actor=actor,
                  at=desk.clock.now())  # fmt: skip
    if before is not None and _same(before, new):
        desk._settle(found)
        return before
    _write(desk, found, new)
    return new


def ticket_of(text: str) -> str:
    """The id of the ticket a trace id belongs to - the first of its line -; anything else as it is."""
    plain = text.strip()
    if len(plain) == 32 and not plain.startswith("T-"):
        try:
            return str(uuid.UUID(hex=plain))
        except ValueError:
            return plain
    return plain


def _last_word(desk: Desk, ticket: Ticket) -> Outcome | None:
    lines = [line for line in desk.history(ticket.id) if line.move == OUTCOME and line.life == ticket.life]
    return _read(lines[-1]) if lines and lines[-1].detail.get("trace_id") else None  # an erased one says nothing


def _read(line: Line) -> Outcome:
    values = {name: line.detail.get(name) for name in ("accepted", "escalated", "csat")}
    return Outcome(**values, comment=line.reason, ticket=line.ticket, number=line.number, life=line.life,
                   actor=line.actor, at=line.at)  # fmt: skip


def _same(one: Outcome, other: Outcome) -> bool:
    return one.values() == other.values() and one.comment == other.comment


def _write(desk: Desk, ticket: Ticket, new: Outcome) -> None:
    """One line; a ticket that has left Redis stands there again for it."""
    epoch = desk.store.epoch()
    if not desk.store.client.exists(desk.keys.ticket(ticket.id)) and desk.ledger is not None:
        archived = desk.ledger.ticket(desk.team.team, ticket.id)
        if archived is not None:
            desk.store.bring_back(epoch, *archived, new.at)
    change = moves.note(
        ticket, new.comment, actor=new.actor, now=new.at, kind=OUTCOME, accepted=new.accepted,
        escalated=new.escalated, csat=new.csat, trace_id=ticket.trace_id,
    )  # fmt: skip
    written = desk._commit_one(ticket.number, [change])
    desk._confirm(ticket.number, written[-1], epoch)
