"""What waits for a person: approvals, questions, tickets a person holds or is named for, blocked work.

    inbox(desk, who)    what `who` can end; everything that waits for people where nobody is named

Each item says what is asked, until when, and the command that answers it. What is long is cut: `show` has it whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from heapq import nsmallest
from typing import Any

from shiftlead.config.rules import near
from shiftlead.config.team import Team
from shiftlead.queues.approvals import missing
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import NotFound
from shiftlead.queues.lifecycle import OPEN, Queue, State
from shiftlead.queues.ticket import Ticket

from .similar import read_few

__all__ = ["Item", "inbox"]

CHUNK = 500
MOST = 20_000  # open tickets looked at, of each queue
MOST_ITEMS = 2_000
MOST_ASKED = 2_000  # characters of what is asked
MOST_ARGUMENTS = 20_000  # characters, as JSON; of larger ones each value is cut
MOST_VALUE, MOST_VALUES = 500, 40


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do. `until` is unix seconds, None = no limit; `terms` is what a yes confirms."""

    kind: str  # approval, question, blocked, ticket
    number: str
    title: str
    asked_by: str
    asks: str
    until: float | None
    since: float
    answer_with: str
    action: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    terms: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    reason: str = ""  # why a gate asks, in a word: refund_over_threshold

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def inbox(desk: Desk, who: str | None = None) -> list[Item]:
    """What waits for `who`, the 2,000 most pressing, in order. None: for anybody.

    Raises:
        NotFound: nobody of the team is called `who`, and no ticket of a requester of that name waits for an answer.
    """
    items = (item for t in _open(desk) if (item := _item(t, desk.team, who)) is not None)
    found = nsmallest(MOST_ITEMS, items, key=lambda item: (item.until is None, item.until or item.since))
    everybody = [*desk.team.agents, *desk.team.people]
    if who is not None and not found and who not in everybody:
        hint = near(who[:100], everybody)
        rest = f"Did you mean {hint!r}?" if hint else f"It has: {', '.join(sorted(everybody))}."
        raise NotFound(f"Team {desk.team.team!r} has nobody called {who[:100]!r}. {rest}")
    return found


def _item(t: Ticket, team: Team, who: str | None) -> Item | None:
    if t.type == "approval":
        return _approval(t) if who is None or _may_decide(t, team, who) else None
    if t.state is State.WAITING and not t.awaits and not t.withheld:
        owner, _, action = t.waits_for.partition(": ")
        if owner == "requester":
            asks = t.reason or "the requester was asked"
            mine = who is None or who in (t.reporter, t.customer)
            return _plain("question", t, asks, t.waits_until, "reply") if mine else None
        return _plain("blocked", t, action, t.waits_until, "reply") if who in (None, owner) else None
    holder = t.assigned_to or t.named
    human = holder in team.people or (holder in team.agents and team.agents[holder].human)
    if holder and human and who in (None, holder):
        return _plain("ticket", t, t.summary or t.title, t.due, "show")
    return None


def _approval(t: Ticket) -> Item:
    arguments, terms = t.context.get("arguments"), list(t.context.get("confirms") or [])
    return Item(
        "approval", t.number, t.title, t.asked_by or "", t.body[:MOST_ASKED], t.expires_at, t.created_at,
        f"shiftlead approve {t.number}", action=str(t.context.get("action") or ""),
        arguments=_cut(arguments, terms) if isinstance(arguments, dict) else {}, terms=terms,
        missing=missing(t), reason=str(t.context.get("reason") or ""),
    )  # fmt: skip


def _may_decide(t: Ticket, team: Team, who: str) -> bool:
    if who == t.asked_by or who in t.excluded:
        return False
    return who == (t.assigned_to or t.named) or (not t.named and not t.assigned_to and "approval" in team.can(who))


def _plain(kind: str, t: Ticket, asks: str, until: float | None, verb: str) -> Item:
    rest = " 'the answer'" if verb == "reply" else ""
    asker = t.prefers or t.asked_by or t.reporter
    return Item(
        kind, t.number, t.title, asker, asks[:MOST_ASKED], until, t.updated_at, f"shiftlead {verb} {t.number}{rest}"
    )


def _cut(arguments: dict[str, Any], terms: list[str]) -> dict[str, Any]:
    """Arguments as they are; of very long ones the terms first, and each value as the beginning of its JSON."""
    if len(json.dumps(arguments)) <= MOST_ARGUMENTS:
        return arguments
    names = [*(t for t in terms if t in arguments), *(n for n in arguments if n not in terms)][:MOST_VALUES]
    return {name: _short(arguments[name]) for name in names}


def _short(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= MOST_VALUE:
        return value
    return f"{(value if isinstance(value, str) else text)[:MOST_VALUE]}…"


def _open(desk: Desk) -> Iterator[Ticket]:
    for queue in (Queue.ACTIVE, Queue.INTAKE):
        for start in range(0, MOST, CHUNK):
            ids = desk.store.client.zrange(desk.keys.queue(queue), start, start + CHUNK - 1)
            if not ids:
                break
            yield from (t for t in read_few(desk, ids) if t.state in OPEN)
