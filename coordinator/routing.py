"""Turn a triage decision into the move: an approval goes by its gate, everything else by the team's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import structlog

from shiftlead.agents.classifier_llm import Opinion
from shiftlead.config.team import Team
from shiftlead.queues import moves
from shiftlead.queues.lifecycle import State
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

from .approval import approver_for
from .escalation import first_at
from .triage import TriageDecision, rule_facts, triage
from .triaged import triaged

__all__ = ["OpinionOf", "change_for", "decided"]

log = structlog.get_logger("shiftlead.coordinator")


OpinionOf = Callable[[Ticket], Opinion | None]  # None: still thinking


def change_for(
    ticket: Ticket, team: Team, *, now: float, epoch: int, opinion_of: OpinionOf | None = None
) -> Change | None:
    """The triage of one new ticket. `opinion_of` asks a model; None: its answer is still coming."""
    if ticket.type == "approval":
        return _approval(ticket, team, now, epoch)
    try:
        decision = decided(ticket, team, now=now, opinion_of=opinion_of)
    except Exception as error:  # a reading that fails on this text: the ticket still goes to somebody
        log.exception("triage failed", ticket=ticket.number)
        return _catch_all(ticket, team, f"triage failed ({type(error).__name__}: {error})", now, epoch)
    if decision is None:
        return None
    told = asdict(decision)
    for name in ("confidence", "unsure"):
        told.pop(name)
    state, reasons = told.pop("state"), told.pop("reasons")
    change = moves.triage(ticket, state=state, reasons=reasons, actor="coordinator", now=now, epoch=epoch, **told)
    said = change.line.detail | {"triage": triaged(decision).model_dump()}
    return replace(change, line=change.line.model_copy(update={"detail": said}))


def decided(ticket: Ticket, team: Team, *, now: float, opinion_of: OpinionOf | None = None) -> TriageDecision | None:
    """What triage says; where the examples are not sure, with a model's opinion. None: it is still coming."""
    decision = triage(ticket, team, now=now, given_priority=ticket.given_priority)
    if not decision.unsure or opinion_of is None:
        return decision
    opinion = opinion_of(ticket)
    if opinion is None:
        return None
    return triage(ticket, team, now=now, given_priority=ticket.given_priority, opinion=opinion)


def _catch_all(ticket: Ticket, team: Team, reason: str, now: float, epoch: int) -> Change:
    decided: dict[str, Any] = {
        "needs": ticket.needs or list(team.routes[-1].needs),
        "due": ticket.due if ticket.due > ticket.created_at else ticket.created_at + team.target_s(ticket.priority),
        "ladder_at": ticket.created_at + team.escalation_s,
    }
    reasons = [reason, "catch-all"]
    return moves.triage(
        ticket, state=State.READY, reasons=reasons, actor="coordinator", now=now, epoch=epoch, **decided
    )


def _approval(ticket: Ticket, team: Team, now: float, epoch: int) -> Change:
    chosen = approver_for(ticket, team, now=now)
    decided: dict[str, Any] = {
        "named": chosen.named,
        "needs": chosen.needs,
        "due": ticket.created_at + team.target_s(ticket.priority),
        "ladder_at": first_at(team.ladder_for(rule_facts(ticket, now=now)), ticket.created_at, {}, team.days_off),
        "context": ticket.context | chosen.terms,
    }
    if chosen.expires_s:
        decided["expires_at"] = ticket.created_at + chosen.expires_s
    return moves.triage(
        ticket, state=State.READY, reasons=chosen.reasons, actor="coordinator", now=now, epoch=epoch, **decided
    )
