"""Explain a ticket as it stands: why this agent, or why it waits, what would move it, and its next timer.

Computed when asked, from the same facts and the same pure steps the coordinator uses, so the answer cannot drift from
what is done.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from shiftlead.queues.desk import Desk
from shiftlead.queues.flow_steps import where
from shiftlead.queues.layout import crowd_of
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Ticket

from . import facts, order

__all__ = ["Why", "explain"]

TIMER_WORDS = {
    "wake": "becomes ready",
    "claim": "goes back if it is not claimed",
    "lease": "goes back if its worker gives no sign of life",
    "wait": "goes on without an answer",
    "accept": "the decision-maker hears that nobody took it up",
    "expire": "the approval expires",
    "ladder": "next escalation step",
}


@dataclass(frozen=True, slots=True)
class Why:
    """`reasons` for where the ticket is, `moves_it` what would move it, `timers` as (kind, unix seconds, meaning)."""

    number: str
    state: str
    agent: str | None
    reasons: list[str]
    moves_it: list[str]
    blockers: list[str] = field(default_factory=list)
    timers: list[tuple[str, float, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """One line."""
        return "; ".join(self.reasons) or self.state

    def lines(self, now: float) -> list[str]:
        """A few lines for a person."""
        out = [f"{self.number} is {self.state}" + (f", held by {self.agent}" if self.agent else "")]
        out += [f"  because  {reason}" for reason in self.reasons]
        out += [f"  moves    {what}" for what in self.moves_it]
        for kind, at, words in self.timers:
            when = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
            out.append(f"  timer    {words} {_in(at - now)} ({when}, {kind})")
        return out

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def explain(desk: Desk, ticket: Ticket, *, now: float) -> Why:
    """Why `ticket` is where it is."""
    reasons, moves_it, blockers = _reasons(desk, ticket, now)
    if ticket.type == "approval" and ticket.is_open and (word := ticket.context.get("reason")):
        reasons.insert(0, f"asked because of {word}")
    if ticket.flow is not None and ticket.is_open:
        place = where(ticket.flow, ticket.needs)
        reasons = [place, *(reason for reason in reasons if reason != place)]
    agent = ticket.assigned_to if ticket.is_open else None
    return Why(ticket.number, str(ticket.state), agent, reasons, moves_it, blockers, _timers(desk, ticket))


def _reasons(desk: Desk, t: Ticket, now: float) -> tuple[list[str], list[str], list[str]]:
    match t.state:
        case State.NEW:
            leader = desk.store.client.get(desk.keys.leader)
            if leader is None:
                return ["no coordinator is running"], ["start one: shiftlead coordinator"], []
            return ["it has just come in"], ["the coordinator triages it next"], []
        case State.SCHEDULED:
            return [t.reason or "it was put off"], ["its timer"], []
        case State.READY:
            return _ready(desk, t, now)
        case State.ASSIGNED:
            return [t.reason], [f"{t.assigned_to} claims it"], []
        case State.WORKING:
            alone = ", alone in its process because a worker that had it crashed" if t.alone else ""
            return [t.reason, f"worker {t.worker} has claimed it{alone}"], [f"{t.assigned_to} reports"], []
        case State.WAITING:
            return _waiting(desk, t)
        case _:
            return _closed(desk, t), [f"a person may reopen it: shiftlead reopen {t.number}"], []


def _closed(desk: Desk, t: Ticket) -> list[str]:
    """Why it ended as it did, and why it went to whoever ended it."""
    said = t.reason or str((t.result or {}).get("summary", ""))
    given = next((line for line in reversed(desk.history(t.id)) if line.move == "assign"), None)
    went = [f"it went to {given.agent}: {given.reason}"] if given is not None and given.agent else []
    return [said or f"it is {t.state}", *went]


def _ready(desk: Desk, t: Ticket, now: float) -> tuple[list[str], list[str], list[str]]:
    presence = Presence(desk.store.client, desk.keys, desk.clock, desk.settings)
    agents = facts.agent_facts(desk, presence, now)
    if t.behind:
        return _behind(desk, t)
    ready, _ = facts.candidates(desk, agents, now)
    asked = [*(other for other in ready if other.id != t.id), t]
    choice = order.plan(asked, agents, now, context=facts.contexts(desk, asked, now)).choice_for(t.id)
    if choice is None:  # it moved while it was looked at
        return [t.reason or "it is ready"], ["the coordinator looks at it next"], []
    stands_in = next((p for p, _ in desk.store.places(t) if p.startswith("ready:")), "")
    place = desk.store.client.zrank(desk.keys(stands_in), t.id)
    line = f"place {place + 1} of those who need {t.group or 'anybody'} ({t.lane} lane)" if place is not None else ""
    back = t.reason and (sum(t.attempts.model_dump().values()) or t.review)
    came = [t.reason if t.in_review else f"it came back: {t.reason}"] if back else []
    if choice.agent is not None:
        return [*came, *choice.reasons, line], [f"the coordinator gives it to {choice.agent} next"], []
    if not choice.blockers and not t.named:
        moves_it = [f"give {' + '.join(t.needs)} to an agent in the team file, or its next escalation step"]
    else:
        moves_it = [f"{' or '.join(choice.blockers) or t.named} becomes free"]
    if t.type == "approval":
        moves_it.append(f"a decision: shiftlead approve {t.number}, or deny")
    return [*came, *choice.reasons, line], moves_it, choice.blockers


def _behind(desk: Desk, t: Ticket) -> tuple[list[str], list[str], list[str]]:
    """Enough others of its customer are ready: one customer's many do not hide another's one."""
    crowd = crowd_of(t)
    ready = desk.store.client.zcard(desk.keys.ready_of(crowd))
    place = desk.store.client.zrank(desk.keys.behind(crowd), t.id)
    stands = f"at place {place + 1} behind them" if place is not None else "behind them"
    line = f"{t.customer} has {ready} ready tickets in the {t.lane} lane; it stands {stands}"
    return [line], [f"one of the ready tickets of {t.customer} is taken"], []


def _waiting(desk: Desk, t: Ticket) -> tuple[list[str], list[str], list[str]]:
    if t.withheld:
        who = t.prefers or "its agent"
        return [f"it is done; the result of {who} leaves when action hours begin"], ["the beginning of its hours"], []
    if not t.awaits:
        return [f"it waits for {t.waits_for}"], [f"an answer: shiftlead reply {t.number} TEXT"], []
    _, children = desk.store.read(t.awaits)
    open_ = [c for c in children if c is not None and c.is_open]
    reasons = [f"it waits for {c.number} ({c.type}, {c.state}, {c.assigned_to or c.named or c.group})" for c in open_]
    handed_on = any(c.source == "handoff" for c in open_) and t.reason
    reasons += [f"{t.prefers} handed it on: {t.reason}"] if handed_on else []
    how = [
        f"a decision: shiftlead approve {c.number}, or deny" if c.type == "approval" else f"{c.number} is completed"
        for c in open_
    ]
    return (
        reasons or ["all it waited for is done"],
        how or ["the coordinator resumes it next"],
        [c.number for c in open_],
    )


def _timers(desk: Desk, t: Ticket) -> list[tuple[str, float, str]]:
    armed = desk.store.client.hget(desk.keys.ticket(t.id), "t") or ""
    kinds = [kind for kind in armed.split("\n") if kind]
    pipe = desk.store.client.pipeline(transaction=False)
    for kind in kinds:
        pipe.zscore(desk.keys.timers, f"{kind}:{t.id}")
    found = [(k, at, TIMER_WORDS[k]) for k, at in zip(kinds, pipe.execute(), strict=True) if at is not None]
    return sorted(found, key=lambda timer: timer[1])


def _in(seconds: float) -> str:
    if seconds <= 0:
        return "now"
    if seconds < 120:
        return f"in {seconds:.0f} s"
    return f"in {seconds / 60:.0f} min" if seconds < 7200 else f"in {seconds / 3600:.1f} h"
