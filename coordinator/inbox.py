"""What waits for a person: approvals, questions, tickets a person holds or is named for, blocked work.

    inbox(desk, who)    what `who` can end; everything that waits for people where nobody is named

Each item says what is asked, until when, and the command that answers it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from shiftlead.config.team import Team
from shiftlead.queues.approvals import missing
from shiftlead.queues.desk import Desk
from shiftlead.queues.lifecycle import OPEN, Queue, State
from shiftlead.queues.ticket import Ticket

__all__ = ["Item", "inbox"]

CHUNK = 500
MOST = 20_000  # open tickets looked at


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

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def inbox(desk: Desk, who: str | None = None) -> list[Item]:
    """What waits for `who`, the most pressing first. None: for anybody."""
    items = [item for t in _open(desk) if (item := _item(t, desk.team, who)) is not None]
    return sorted(items, key=lambda item: (item.until is None, item.until or item.since))


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
    arguments = t.context.get("arguments")
    return Item(
        "approval", t.number, t.title, t.asked_by or "", t.body, t.expires_at, t.created_at,
        f"shiftlead approve {t.number}", action=str(t.context.get("action") or ""),
        arguments=arguments if isinstance(arguments, dict) else {}, terms=list(t.context.get("confirms") or []),
        missing=missing(t),
    )  # fmt: skip


def _may_decide(t: Ticket, team: Team, who: str) -> bool:
    if who == t.asked_by or who in t.excluded:
        return False
    return who == (t.assigned_to or t.named) or (not t.named and not t.assigned_to and "approval" in team.can(who))


def _plain(kind: str, t: Ticket, asks: str, until: float | None, verb: str) -> Item:
    rest = " 'the answer'" if verb == "reply" else ""
    asker = t.prefers or t.asked_by or t.reporter
    return Item(kind, t.number, t.title, asker, asks, until, t.updated_at, f"shiftlead {verb} {t.number}{rest}")


def _open(desk: Desk) -> list[Ticket]:
    found: list[Ticket] = []
    for queue in (Queue.ACTIVE, Queue.INTAKE):
        for start in range(0, MOST, CHUNK):
            ids = desk.store.client.zrange(desk.keys.queue(queue), start, start + CHUNK - 1)
            if not ids:
                break
            _, read = desk.store.read(ids)
            found += [t for t in read if t is not None and t.state in OPEN]
    return found
