"""What became of replies that were written from knowledge: the rows its confidence is calibrated on.

A reply names its sources in its evidence, with how much of the question the first one covered. Whether it was right,
the first that is known counts:

  1. what was said of it (outcomes.py): accepted or not, somebody had to step in, satisfaction of 4 or more, 2 or less
  2. the ticket was reopened, the reply asked for a decision-maker, a person had to help: it was not
  3. nothing of it for a day: it was

A ladder's step is no sign: it tells of lateness, not of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .flow import place
from .knowledge_lessons import NO_ANSWER
from .ledger import BODY, EVENT, TICKET, Ledger
from .lifecycle import Move
from .outcomes import Outcomes, Said

__all__ = ["SETTLED_S", "Outcome", "outcomes"]

SETTLED_S = 86_400.0  # after so long without a word an answer counts as accepted
CHUNK = 500
# As agents/knowledge.py writes a hit into the evidence.
CITED = re.compile(r"[01]\.\d\d  .{1,2000}  \((page|faq|ticket) covers ([01]\.\d\d\d?);", re.S)
GOOD, BAD = 4, 2  # of 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reply that was written from a passage of this kind, which covered so much of the question (0 to 1)."""

    number: str
    kind: str
    covers: float
    right: bool
    why: str


def outcomes(ledger: Ledger, team: str, *, since: float, now: float) -> list[Outcome]:
    """The outcomes of replies sent since then (unix seconds), by ticket; those of the last day only where something is
    known."""
    e = EVENT.c
    with ledger.engine.connect() as connection:
        lines = sa.select(e.seq, e.ticket_id, e.number, e.move, e.life, e.actor, e.at, BODY.c.text).select_from(
            EVENT.outerjoin(BODY, sa.and_(BODY.c.team == e.team, BODY.c.seq == e.seq, e.move == Move.RESOLVE))
        )
        low = place(connection, team, since)
        chosen = lines.where(e.team == team, e.seq >= low, e.move.in_((Move.RESOLVE, Move.REOPEN))).order_by(e.seq)
        sent: dict[str, list[_Sent]] = {}
        for row in connection.execute(chosen):
            replies = sent.setdefault(row.ticket_id, [])
            if row.move == Move.REOPEN and replies:
                replies[-1].reopened = True
            elif row.move == Move.RESOLVE and row.at >= since and (reply := _sent(row)) is not None:
                replies.append(reply)
        ids = [ticket_id for ticket_id, replies in sent.items() if replies]
        aided = _aided(connection, team, ids)
    said = {(s.ticket_id, s.life): _verdict(s) for s in Outcomes(ledger, team).since(since)}
    found = [
        outcome
        for ticket_id in ids
        for reply in sent[ticket_id]
        if (outcome := _outcome(reply, said.get((ticket_id, reply.life)), ticket_id in aided, now)) is not None
    ]
    return found


@dataclass(slots=True)
class _Sent:
    number: str
    life: int
    at: float
    kind: str
    covers: float
    escalated: bool
    reopened: bool = False


def _sent(row: Any) -> _Sent | None:
    """What an agent's reply was written from; None for a reply from something else, or from nothing."""
    try:
        report = json.loads(row.text or "{}").get("detail") or {}
    except (ValueError, AttributeError):
        return None
    if not row.actor.startswith("agent:") or str(report.get("summary", "")).startswith(NO_ANSWER):
        return None
    for line in report.get("evidence") or []:
        if isinstance(line, str) and (cited := CITED.match(line)):
            escalated = bool(report.get("requires_escalation"))
            return _Sent(row.number, row.life, row.at, cited[1], min(1.0, float(cited[2])), escalated)
    return None


def _aided(connection: sa.Connection, team: str, ids: Sequence[str]) -> set[str]:
    found = set[str]()
    for start in range(0, len(ids), CHUNK):
        chosen = sa.select(TICKET.c.id, TICKET.c.doc).where(
            TICKET.c.team == team, TICKET.c.id.in_(ids[start : start + CHUNK])
        )
        found |= {row.id for row in connection.execute(chosen) if json.loads(row.doc).get("aided")}
    return found


def _verdict(said: Said) -> bool | None:
    if said.accepted is not None:
        return said.accepted
    if said.escalated:
        return False
    return None if said.csat is None or BAD < said.csat < GOOD else said.csat >= GOOD


def _outcome(reply: _Sent, said: bool | None, aided: bool, now: float) -> Outcome | None:
    if said is not None:
        right, why = said, "somebody said so"
    elif reply.reopened:
        right, why = False, "reopened"
    elif reply.escalated:
        right, why = False, "a decision-maker was asked for"
    elif aided:
        right, why = False, "a person had to help"
    elif now - reply.at < SETTLED_S:
        return None
    else:
        right, why = True, "accepted"
    return Outcome(reply.number, reply.kind, reply.covers, right, why)
