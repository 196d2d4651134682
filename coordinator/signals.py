"""The signals of one matter, read from its story (TA-13): how old, where the time went, runs, cost, gates, deployments.

Pure. A matter is a ticket and everything it was handed on as; the story is the ledger's lines and nothing else. What
nobody wrote down is None, never a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, Field

from shiftlead.queues.lifecycle import CLOSED
from shiftlead.queues.spending import Step
from shiftlead.queues.ticket import Line, Ticket

__all__ = ["Gate", "Seen", "Signals", "Took", "signals_of"]

BILLION = 1e9


class Gate(BaseModel):
    """One answer at a gate. `person`: a person gave it; `confirmed`: what the yes confirmed, word for word."""

    number: str
    ticket: str
    action: str
    decision: str
    by: str
    person: bool
    at: float
    reason: str = ""
    confirmed: dict[str, Any] = {}


class Seen(BaseModel):
    """Something that was seen or done: a look of a watch, a signal somebody noted, an effect of a tool."""

    number: str
    at: float
    by: str
    what: str


class Took(BaseModel):
    """What agents took, over the whole matter. `unpriced` calls cost an amount nobody knows."""

    runs: int
    calls: int
    tokens: int
    cost: float
    unpriced: int


class Signals(BaseModel):
    """Times are unix seconds, spans seconds. `in_state_s` and `age_s` are the ticket's own, the rest the matter's."""

    number: str
    state: str
    age_s: float
    in_this_state_s: float
    in_state_s: dict[str, float]
    tickets: int = Field(description="of the matter")
    runs: int = Field(description="claims")
    retries: dict[str, int] = Field(description="attempts that came back, by reason")
    escalations: int
    took: Took | None
    gates: list[Gate]
    effects: list[Seen]
    deploy: list[Seen]


def signals_of(matter: Sequence[tuple[Ticket, Sequence[Line]]], steps: Sequence[Step] | None, now: float) -> Signals:
    """`matter`: the ticket first, then those below it, each with its lines; `steps`: None where nobody can tell."""
    ticket, story = matter[0]
    lines = [line for _, one in matter for line in one]
    moved = [line for line in story if line.before != line.after]
    until = ticket.closed_at if ticket.state in CLOSED and ticket.closed_at else now
    return Signals(
        number=ticket.number, state=str(ticket.state), age_s=_span(ticket.created_at, until),
        in_this_state_s=_span(moved[-1].at if moved else ticket.created_at, now), in_state_s=_in_states(moved, until),
        tickets=len(matter), runs=sum(line.move == "claim" for line in lines), retries=_retries(lines),
        escalations=sum(line.move == "escalate" for line in lines), took=None if steps is None else _took(steps),
        gates=list(_gates(matter)), effects=sorted(_effects(lines), key=lambda s: s.at),
        deploy=sorted(_deploy(matter), key=lambda s: s.at),
    )  # fmt: skip


def _in_states(moved: Sequence[Line], until: float) -> dict[str, float]:
    """Seconds in each state, in the order they were entered; a closed state is no time spent."""
    spent: dict[str, float] = {}
    ends = [line.at for line in moved[1:]] + [until]
    for line, end in zip(moved, ends, strict=True):
        if line.after is not None and line.after not in CLOSED:
            spent[str(line.after)] = spent.get(str(line.after), 0.0) + _span(line.at, end)
    return spent


def _retries(lines: Iterable[Line]) -> dict[str, int]:
    """Given back by an agent or a timer, deferred after a failure, sent back by a checker."""
    found: Counter[str] = Counter()
    for line in lines:
        if line.move == "give_back":
            found[line.reason[:80] or "given back"] += 1
        elif line.move == "defer" and line.detail.get("kind") == "failed":
            found["failed, to be tried again"] += 1
        elif line.move == "send_back":
            found["sent back by a checker"] += 1
    return dict(found)


def _took(steps: Sequence[Step]) -> Took:
    return Took(
        runs=len(steps), calls=sum(s.calls for s in steps), cost=sum(s.cost for s in steps) / BILLION,
        tokens=sum(s.input_tokens + s.output_tokens for s in steps), unpriced=sum(s.unpriced for s in steps),
    )  # fmt: skip


def _gates(matter: Sequence[tuple[Ticket, Sequence[Line]]]) -> Iterable[Gate]:
    """Answers to approvals, from the approvals' own last lines: what was asked, who said what."""
    for ticket, story in matter:
        if ticket.type != "approval":
            continue
        for line in story:
            decision = line.detail.get("decision")
            if line.move not in ("answer", "resolve") or decision not in ("approve", "deny"):
                continue
            kind, _, name = line.actor.partition(":")
            person = kind == "person" or ticket.aided
            confirmed = line.detail.get("confirmed") or {}
            yield Gate(
                number=ticket.number, ticket=ticket.parent or "", action=str(ticket.context.get("action") or ""),
                decision=decision, by=name, person=person, at=line.at, reason=line.reason[:500], confirmed=confirmed,
            )  # fmt: skip


def _effects(lines: Iterable[Line]) -> Iterable[Seen]:
    for line in lines:
        effect = line.detail.get("effect")
        if isinstance(effect, dict) and effect.get("target") and effect.get("outcome") in ("done", "unknown"):
            what = f"{effect.get('tool')} {effect.get('target')}: {effect.get('outcome')}"
            yield Seen(number=line.number, at=line.at, by=_name(line), what=what)


def _deploy(matter: Sequence[tuple[Ticket, Sequence[Line]]]) -> Iterable[Seen]:
    """What watches saw at each look, and the signals somebody noted."""
    for ticket, story in matter:
        for line in story:
            noted = line.detail.get("signals")
            if isinstance(noted, dict) and noted:
                said = ", ".join(f"{k}={v}" for k, v in noted.items())
                yield Seen(number=line.number, at=line.at, by=_name(line), what=said)
            elif ticket.type == "watch" and line.move == "defer" and line.reason:
                yield Seen(number=line.number, at=line.at, by=_name(line), what=line.reason)
            elif ticket.type == "watch" and line.move == "resolve":
                what = str(line.detail.get("summary") or line.detail.get("reply") or "")
                yield Seen(number=line.number, at=line.at, by=_name(line), what=what[:500])


def _name(line: Line) -> str:
    return line.actor.partition(":")[2] or line.actor


def _span(start: float, end: float) -> float:
    return max(0.0, end - start)
