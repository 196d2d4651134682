"""Decide what a new ticket needs, how important it is, and when somebody must have looked at it.

Facts in, a decision out: no clock, no Redis, no model. First rule that matches wins:
  1. what the sender says: `needs`, `assigned_to`
  2. a flow of the team, the first whose condition holds (flows.py); a route may still set type and priority
  3. the team's routes, in their order (types are read through the team's aliases)
  4. a type that is itself a capability of the team
  5. the team's example sentences, if they are sure enough; what they found is the category, and routes may use it
  6. the catch-all, and the reasons say so
A ticket that is nobody's work (empty, a test, advertising) is cancelled with the reason. Children of other tickets
and tickets that name who they are for are never taken for that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from shiftlead.agents.classifier_llm import Opinion
from shiftlead.agents.reading import Guess, Reading, examples_of, read, shorten
from shiftlead.config.rules import near
from shiftlead.config.team import Route, Team
from shiftlead.queues.lifecycle import State
from shiftlead.queues.reserved import is_reserved
from shiftlead.queues.ticket import FlowPlace, Ticket

from .escalation import first_at
from .flows import flow_for
from .impact import impact, source_urgency
from .nobodys_work import nobodys_work

__all__ = ["TriageDecision", "rule_facts", "triage"]

Priority = Literal["urgent", "high", "normal", "low"]
UNTYPED = frozenset({"", "request", "ticket", "message", "other", "general", "email", "unknown"})
SAID: dict[str, Priority] = {
    "urgent": "urgent", "critical": "urgent", "blocker": "urgent", "p0": "urgent", "p1": "urgent", "high": "high",
    "major": "high", "p2": "high", "normal": "normal", "medium": "normal", "p3": "normal", "low": "low",
    "minor": "low", "trivial": "low", "p4": "low",
}  # fmt: skip
RANK = ("low", "normal", "high", "urgent")


@dataclass(frozen=True, slots=True)
class TriageDecision:
    """What the coordinator should do with a new ticket. Times are unix seconds, UTC."""

    state: State  # ready, scheduled or cancelled
    needs: list[str]
    type: str
    category: str
    priority: Priority
    urgency: str  # what the text says; the priority is what the team makes of it
    summary: str
    due: float
    ladder: int = 0
    ladder_at: float | None = None
    named: str | None = None
    confidence: float = 1.0
    not_before: float | None = None
    flow: FlowPlace | None = None
    unsure: bool = False  # the examples could not tell, and no opinion was given
    reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Way:
    """Where a ticket goes, and what the route says about it."""

    needs: list[str]
    confidence: float = 1.0
    category: str = ""
    route: Route | None = None
    flow: FlowPlace | None = None
    unsure: bool = False


def triage(
    ticket: Ticket, team: Team, *, now: float, given_priority: Priority | None = None, opinion: Opinion | None = None
) -> TriageDecision:
    """Decide for one new ticket. `given_priority` is the sender's own, None when the sender said nothing.

    `opinion` is what a model said of it, or why it said nothing; only read where the examples are not sure.
    """
    reasons: list[str] = []
    kind = _type(ticket, team, reasons)
    named = _named(ticket, team, reasons)
    reading = read(ticket.title, ticket.body)
    way = _way(ticket, team, kind, reading, now, opinion, reasons)
    kind = (way.route.type if way.route and not is_reserved(way.route.type or "", team) else None) or kind
    category = (way.route.category if way.route else None) or ticket.category or way.category
    urgency, priority = _priority(ticket, team, way.route, given_priority, reading, reasons)
    # A follow-up has a due time of its own.
    due = ticket.due if ticket.due > ticket.created_at else ticket.created_at + team.target_s(priority)
    told = ticket.changed(
        type=kind, category=category, priority=priority, urgency=urgency, needs=way.needs, named=named
    )
    state = State.READY
    if not (named or ticket.needs or ticket.parent or ticket.joined):
        why = nobodys_work(
            ticket.title, ticket.body, explicit_type=kind not in UNTYPED, has_more=bool(ticket.links or ticket.context)
        )
        if why:
            state, reasons = State.CANCELLED, [why]
    not_before = ticket.not_before if ticket.not_before is not None and ticket.not_before > now else None
    if state is State.READY and not_before is not None:
        state = State.SCHEDULED
        reasons.append("not before its time")
    return TriageDecision(
        state=state, needs=way.needs, type=kind, category=category, priority=priority, urgency=urgency,
        summary=ticket.summary or _summary(ticket, reading), due=due,
        ladder_at=None if state is State.CANCELLED else _first_step(told, team, now), named=named,
        confidence=way.confidence, not_before=not_before, flow=way.flow,
        unsure=way.unsure and state is not State.CANCELLED and not (named or ticket.parent), reasons=reasons,
    )  # fmt: skip


def rule_facts(
    ticket: Ticket, *, now: float, action: dict[str, Any] | None = None, customer: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The facts a rule may read. `action` only in gates; `customer` is what a trusted source knows, never the text."""
    facts = {
        "ticket": ticket.model_dump(mode="json"),
        "customer": {"id": ticket.customer, **(customer or {})},
        "steps": ticket.steps,
        "now": now,
    }
    return facts if action is None else facts | {"action": action}


def _type(ticket: Ticket, team: Team, reasons: list[str]) -> str:
    plain = re.sub(r"[\s-]+", "_", ticket.type.strip().lower())
    for spelling in (ticket.type, plain):
        if spelling in team.aliases and not is_reserved(team.aliases[spelling], team):
            reasons.append(f"type {ticket.type!r} means {team.aliases[spelling]!r} in this team")
            return team.aliases[spelling]
    return plain if plain in team.capabilities and not is_reserved(plain, team) else ticket.type


def _named(ticket: Ticket, team: Team, reasons: list[str]) -> str | None:
    if not ticket.named:
        return None
    if ticket.named in team.agents or ticket.named in team.people:
        reasons.append(f"asked for: {ticket.named}")
        return ticket.named
    hint = near(ticket.named, team.agents)
    reasons.append(
        f"asked for {ticket.named!r}, who is no agent of this team" + (f" (did you mean {hint!r}?)" if hint else "")
    )
    return None


def _way(
    ticket: Ticket, team: Team, kind: str, reading: Reading, now: float, opinion: Opinion | None, reasons: list[str]
) -> _Way:
    if ticket.needs:
        return _said(ticket, team, reasons)
    facts = rule_facts(ticket.changed(type=kind), now=now)
    found = _routed(team, facts, reasons)
    if (place := flow_for(ticket, team, facts, reasons)) is not None:
        return _Way([place.at], 1.0, "", found, place)
    if found is not None:
        return _Way(list(found.needs), 1.0, found.needs[0], found)
    if kind in team.capabilities:
        reasons.append(f"type: {kind!r} is a capability of this team")
        return _Way([kind], 1.0, kind)
    examples = examples_of(team)
    guess = examples.guess(reading) if examples else None
    confidence = guess.confidence if guess else 0.0
    if guess is not None and guess.sure:
        reasons.append(f"examples: sounds like {guess.capability} ({_because(guess)})")
        return _found(guess.capability, confidence, team, facts, reasons)
    if guess is not None:
        reasons.append(f"examples: perhaps {guess.capability}, but not surely enough ({_because(guess)})")
    if opinion is not None and not opinion.problem and opinion.confidence >= team.triage.floor:
        reasons.append(f"model: {opinion.model} takes it for {opinion.category} ({opinion.confidence:.2f} sure)")
        return _found(opinion.category, opinion.confidence, team, facts, reasons)
    if opinion is not None:
        said = opinion.problem or f"perhaps {opinion.category}, but not surely enough ({opinion.confidence:.2f})"
        reasons.append(f"model: {opinion.model} gave no category: {said}" if opinion.problem else f"model: {said}")
    catch_all = next(r for r in team.routes if r.when is None)
    reasons.append(f"catch-all: nobody else matched, so {' + '.join(catch_all.needs)}")
    return _Way(list(catch_all.needs), confidence, "", catch_all, unsure=examples is not None and opinion is None)


def _because(guess: Guess) -> str:
    return f"{guess.confidence:.2f} sure" + (f": {', '.join(guess.matched)}" if guess.matched else "")


def _found(category: str, confidence: float, team: Team, facts: dict[str, Any], reasons: list[str]) -> _Way:
    """A category the text was read as; the routes may say more about it."""
    facts["ticket"]["category"] = category
    found = _routed(team, facts, reasons, now_known="category")
    return _Way(list(found.needs) if found else [category], confidence, category, found)


def _said(ticket: Ticket, team: Team, reasons: list[str]) -> _Way:
    reasons.append(f"asked for: {' + '.join(ticket.needs)}")
    for name in ticket.needs:
        if name not in team.capabilities:
            hint = near(name, team.capabilities)
            rest = f" (did you mean {hint!r}?)" if hint else ""
            reasons.append(f"nobody on the team can {name!r}{rest}: it waits and escalates")
    return _Way(list(ticket.needs), 1.0, ticket.needs[0])


def _routed(team: Team, facts: dict[str, Any], reasons: list[str], *, now_known: str = "") -> Route | None:
    """The first route that matches; with `now_known` only among those that speak of this field."""
    for index, route in enumerate(team.routes, 1):
        if route.when is None or (now_known and now_known not in route.when.source):
            continue
        verdict = route.when.evaluate(facts)
        if verdict.value:
            reasons.append(f"route {index}: {route.when.source}")
            return route
        note = f"route {index} did not match: {verdict.problem}"
        if verdict.value is None and note not in reasons:
            reasons.append(note)
    return None


def _priority(
    ticket: Ticket, team: Team, route: Route | None, given: Priority | None, reading: Reading, reasons: list[str]
) -> tuple[str, Priority]:
    rules = source_urgency if team.triage.urgency_rules == "source" else impact
    read_as, why = rules(reading.prose)
    said = SAID.get(ticket.urgency.strip().lower())
    if said is not None and RANK.index(said) > RANK.index(read_as):
        read_as, why = said, [f"the sender says {ticket.urgency!r}"]
    urgency: Priority = SAID[read_as]
    if given is not None:
        reasons.append(f"priority {given}: given by the sender")
        return urgency, given
    if route is not None and route.priority is not None:
        reasons.append(f"priority {route.priority}: by the route")
        return urgency, route.priority
    reasons.append(f"priority {urgency}: {'; '.join(why[:2])}")
    return urgency, urgency


def _summary(ticket: Ticket, reading: Reading) -> str:
    title = " ".join(ticket.title.split())
    return shorten(title) if title else shorten(reading.prose.strip() or ticket.body)


def _first_step(ticket: Ticket, team: Team, now: float) -> float | None:
    """When the first escalation step is due; the sender's own threshold replaces its time."""
    ladder = team.ladder_for(rule_facts(ticket, now=now))
    return first_at(ladder, ticket.created_at, ticket.context, team.days_off)
