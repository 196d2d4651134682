"""The brief of a decision-maker (EN-13): what happened, what waits for you, what is late, what was decided.

Read from the ledger, so it can be made of a running and of a stopped Shiftlead. Every list is bounded and says how
many more there are; the text for a ticket's body has at most 20 KB. `due_briefs` says who gets one now: it is pure,
and the idempotency key of `brief_draft` makes a brief once, however many coordinators ask and restart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pydantic import BaseModel, Field

from shiftlead.config.team import Team
from shiftlead.queues.errors import NotFound
from shiftlead.queues.flow import SKEW_S, by_person, lines_between, place
from shiftlead.queues.ledger import BODY, Ledger
from shiftlead.queues.lifecycle import OPEN, Move, State
from shiftlead.queues.statistics import Stats, first_reply_of, open_or_closed_since, statistics
from shiftlead.queues.ticket import Draft, Ticket

__all__ = [
    "HEADINGS", "Brief", "Item", "Section", "brief", "brief_day", "brief_draft", "counts_of", "due_briefs",
    "known_name", "markdown",
]  # fmt: skip

MOST = 25  # items of one list
LONGEST = 5
MAX_BYTES = 20_000
LATE_AT_MOST_S = 7_200.0  # a brief that could not be made for so long waits for the next day
TEXT = 160  # characters of a title or a reason


class Item(BaseModel):
    """One line of a brief: a ticket, since when, and what is to be known of it."""

    number: str
    title: str
    state: str
    who: str = ""
    at: float
    note: str = ""


class Section(BaseModel):
    """A list, and how many stood in it before it was cut."""

    items: list[Item] = Field(default_factory=list)
    total: int = 0


class Brief(BaseModel):
    """What `who` should know at `now` of the time since `since`. `numbers` is empty where only its own may be seen."""

    team: str
    who: str
    since: float
    now: float
    numbers: Stats | None = None
    failed: Section = Field(default_factory=Section)
    reopened: Section = Field(default_factory=Section)
    escalated: Section = Field(default_factory=Section)
    longest: Section = Field(default_factory=Section)
    approvals: Section = Field(default_factory=Section)
    tickets: Section = Field(default_factory=Section)
    questions: Section = Field(default_factory=Section)
    late: Section = Field(default_factory=Section)
    decided: Section = Field(default_factory=Section)
    cancelled: Section = Field(default_factory=Section)


HEADINGS: dict[str, list[tuple[str, str]]] = {
    "What happened": [
        ("failed", "Failed"), ("reopened", "Opened again"), ("escalated", "Escalated"), ("longest", "Took longest"),
    ],
    "What waits for you": [("approvals", "Approvals"), ("tickets", "Tickets"), ("questions", "Questions")],
    "What is late": [("late", "Past due or escalated, the oldest first")],
    "What was decided": [("decided", "Approvals"), ("cancelled", "Cancelled by people")],
}  # fmt: skip


def brief(
    ledger: Ledger, team: Team, who: str, *, since: float, now: float, why: Callable[[Ticket], str] | None = None,
    own_only: bool = False,
) -> Brief:  # fmt: skip
    """The brief of `who`, an agent or a person of the team.

    `why` tells why a ticket is where it is; without it the ticket's last reason does. `own_only` leaves out the team's
    numbers and every ticket that is not with `who`, is not named for it and was not its last: for an agent's own key.
    """
    made = Brief(team=team.team, who=who, since=since, now=now)
    gathering = _Gathering(team, who, since, now, own_only)
    with ledger.engine.connect() as connection:
        low = place(connection, team.team, since - SKEW_S)
        for row in lines_between(connection, team.team, low, place(connection, team.team, now + SKEW_S)):
            gathering.line(row)
        for row in open_or_closed_since(connection, team.team, since):
            gathering.ticket(row)
        reasons = gathering.reasons(connection)
    for name, items in gathering.sections(reasons, why).items():
        setattr(made, name, items)
    if not own_only:
        made.numbers = statistics(ledger, team, since=since, until=now, now=now)
    return made


def brief_draft(made: Brief, who: str, day: str) -> tuple[Draft, str]:
    """The ticket a brief is brought in, and its idempotency key. A key that is taken means it was made already."""
    draft = Draft(
        type="brief",
        title=f"Brief of {day}",
        body=markdown(made),
        source="shiftlead",
        assigned_to=who,
        priority="normal",
    )
    return draft, f"brief:{who}:{day}"


def due_briefs(team: Team, last_day: Mapping[str, str], now: float) -> list[str]:
    """Decision-makers whose brief is to be made now. `last_day`: for whom one was made last on which day."""
    day = brief_day(team, now)
    return [who for who in team.decision_makers() if last_day.get(who) != day] if day else []


def brief_day(team: Team, now: float) -> str | None:
    """The local day (YYYY-MM-DD) whose brief is due at `now`; None before its time, and two hours after it."""
    if team.brief is None:
        return None
    clock, _, zone_name = team.brief.at.partition(" ")
    hour, minute = map(int, clock.split(":"))
    zone = ZoneInfo(zone_name)
    today = datetime.fromtimestamp(now, zone).date()
    for day in (today, today - timedelta(days=1)):  # one due at 23:30 may be made after midnight
        at = _moment(day, time(hour, minute), zone)
        if at <= now < at + LATE_AT_MOST_S:
            return day.isoformat()
    return None


def markdown(made: Brief, *, most_bytes: int = MAX_BYTES) -> str:
    """The brief as plain text. Lists are cut further until it fits."""
    for most in (MOST, 15, 8, 4, 2, 1, 0):
        text = "\n".join(_paragraphs(made, most)) + "\n"
        if len(text.encode()) <= most_bytes:
            break
    return text


def known_name(team: Team, who: str, *, people: bool = True) -> None:
    """Refuse a name the team does not have.

    Raises:
        NotFound: names the nearest one.
    """
    known = [*team.agents, *(team.people if people else [])]
    if who not in known:
        close = get_close_matches(who[:100], known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(known)}."
        raise NotFound(f"Team {team.team!r} has nobody named {who[:100]!r}. {hint}")


def counts_of(stats: Stats) -> list[tuple[str, str]]:
    """The numbers of a brief, as words."""
    done = ", ".join(f"{n} {state}" for state, n in stats.completed.items())
    a, share = stats.approvals, stats.unaided_share
    return [
        ("came in", f"{stats.arrived}"),
        ("completed", done),
        ("without a person", "-" if share is None else f"{share:.0%} of the resolved"),
        ("answered in time", "-" if stats.sla.share is None else f"{stats.sla.share:.0%} of {stats.sla.of}"),
        (
            "on the way",
            f"{stats.escalations} escalation steps, {stats.handoffs} handoffs, {stats.reopened} opened again",
        ),
        ("approvals", f"{a.asked} asked, {a.yes} yes, {a.no} no, {a.expired} expired"),
        ("open now", f"{sum(age.n for age in stats.age_by_queue.values())}"),
    ]


class _Gathering:
    """Takes lines, then tickets, and keeps what a brief tells of them."""

    def __init__(self, team: Team, who: str, since: float, now: float, own_only: bool) -> None:
        self.team, self.who, self.since, self.now, self.own_only = team, who, since, now, own_only
        self._happened: dict[str, dict[str, Any]] = {"reopened": {}, "escalated": {}, "cancelled": {}}  # its last line
        self._found: dict[str, list[tuple[float, dict[str, Any], str]]] = {}
        self._cut: dict[str, int] = {}

    def line(self, row: Any) -> None:
        if not self.since <= row.at < self.now:
            return
        kind = {Move.REOPEN: "reopened", Move.ESCALATE: "escalated"}.get(row.move)
        if row.move in (Move.CANCEL, Move.MERGE) and by_person(row.actor, self.team):
            kind = "cancelled"
        if kind:
            self._happened[kind][row.ticket_id] = row

    def ticket(self, row: Any) -> None:
        doc: dict[str, Any] = json.loads(row.doc)
        if doc.get("type") == "brief" or (self.own_only and not self._own(doc)):
            return
        for kind, found in self._happened.items():
            if row.id in found and (kind != "cancelled" or (row.state == State.CANCELLED and row.parent is None)):
                self._keep(kind, found[row.id].at, doc, "")
        if row.state in OPEN:
            self._open(doc)
        elif self.since <= (row.closed_at or 0.0) < self.now:
            self._closed(doc, row.closed_at)

    def _open(self, doc: dict[str, Any]) -> None:
        created = float(doc["created_at"])
        mine = self.who in (doc.get("assigned_to"), doc.get("named"))
        nobodys = doc.get("assigned_to") is None and doc.get("named") is None
        if doc["type"] == "approval":
            # One that names nobody waits for whoever can approve, but never for who asked.
            can = nobodys and "approval" in self.team.can(self.who) and self.who not in (doc.get("excluded") or [])
            if mine or can:
                self._keep("approvals", created, doc, f"asked by {doc.get('asked_by') or '?'}: {doc.get('body') or ''}")
        elif mine and doc["state"] != State.WAITING:
            self._keep("tickets", created, doc, "")
        elif doc["state"] == State.WAITING and str(doc.get("waits_for", "")).startswith(f"{self.who}: "):
            self._keep("questions", created, doc, str(doc["waits_for"]).partition(": ")[2])
        overdue = float(doc.get("due") or 0.0) < self.now and first_reply_of(doc, None, doc["state"]) is None
        steps = max(int(doc.get("escalations") or 0), int(doc.get("ladder") or 0))
        if doc["state"] != State.NEW and (overdue or steps):
            why = ", ".join(["past due"] * overdue + [f"escalated {steps}x"] * bool(steps))
            self._keep("late", created, doc, why)

    def _closed(self, doc: dict[str, Any], closed_at: float) -> None:
        result = doc.get("result") or {}
        if doc["type"] == "approval" and doc["state"] == State.RESOLVED:
            said = "yes" if result.get("decision") == "approve" else "no"
            reason = result.get("reason") or result.get("reply") or "no reason given"
            self._keep("decided", closed_at, doc, f"{said} by {doc.get('assigned_to') or '?'}: {reason}")
        elif doc["state"] == State.FAILED:
            self._keep("failed", closed_at, doc, str(doc.get("reason") or ""))
        elif doc["state"] == State.RESOLVED and doc.get("parent") is None:
            self._keep("longest", doc["created_at"] - closed_at, doc, "")

    def _keep(self, kind: str, order: float, doc: dict[str, Any], note: str) -> None:
        """Keep the first `MOST` in order, and the number of them all."""
        found = self._found.setdefault(kind, [])
        found.append((order, doc, note))
        self._cut[kind] = self._cut.get(kind, 0) + 1
        if len(found) > 4 * MOST:
            self._shorten(kind)

    def _shorten(self, kind: str) -> None:
        found = self._found[kind]
        # What stands open: the oldest first. What happened: the newest first. Took longest: the largest span first.
        found.sort(key=lambda f: f[0], reverse=kind in ("failed", "reopened", "escalated", "decided", "cancelled"))
        del found[LONGEST if kind == "longest" else MOST :]

    def _own(self, doc: dict[str, Any]) -> bool:
        if doc.get("assigned_to") is not None:
            return bool(doc["assigned_to"] == self.who)
        return self.who in (doc.get("named"), doc.get("prefers"))

    def reasons(self, connection: sa.Connection) -> dict[tuple[str, str], str]:
        """Why what is told of happened: by list and ticket, from the lines' own texts."""
        for kind in self._found:
            self._shorten(kind)
        told = [(k, doc["id"], self._happened[k][doc["id"]]) for k in self._happened for _, doc, _ in self._kept(k)]
        query = sa.select(BODY.c.seq, BODY.c.text).where(BODY.c.team == self.team.team)
        texts = dict(connection.execute(query.where(BODY.c.seq.in_([line.seq for _, _, line in told]))).all())
        reasons = {}
        for kind, ticket_id, line in told:
            reason = str(json.loads(texts.get(line.seq) or "{}").get("reason") or "no reason given")
            reasons[kind, ticket_id] = reason if kind == "escalated" else f"by {line.actor.partition(':')[2]}: {reason}"
        return reasons

    def _kept(self, kind: str) -> list[tuple[float, dict[str, Any], str]]:
        return self._found.get(kind, [])

    def sections(
        self, reasons: Mapping[tuple[str, str], str], why: Callable[[Ticket], str] | None
    ) -> dict[str, Section]:
        """All lists, after the last ticket."""
        made = {}
        for kind, found in self._found.items():
            items = [self._item(kind, o, doc, reasons.get((kind, doc["id"]), note), why) for o, doc, note in found]
            made[kind] = Section(items=items, total=len(items) if kind == "longest" else self._cut[kind])
        return made

    def _item(
        self, kind: str, order: float, doc: dict[str, Any], note: str, why: Callable[[Ticket], str] | None
    ) -> Item:
        at = order
        if kind == "longest":
            at, note = float(doc["closed_at"]), f"{-order / 60:.0f} min"
        if kind == "late":
            waits = f"waits for {doc['waits_for']}" if doc.get("waits_for") else ""
            reason = why(Ticket.model_validate(doc)) if why is not None else doc.get("reason") or waits
            note = f"{note}: {reason}" if reason else note
        return Item(
            number=doc["number"], title=_short(doc.get("title", "")), state=doc["state"], at=at, note=_short(note),
            who=doc.get("assigned_to") or doc.get("named") or "",
        )  # fmt: skip


def _paragraphs(made: Brief, most: int) -> list[str]:
    lines = [f"# Brief for {made.who}", "", f"Team {made.team}, {_when(made.since)} to {_when(made.now)}."]
    for number, (heading, parts) in enumerate(HEADINGS.items(), 1):
        lines += ["", f"## {number}. {heading}"]
        counts = counts_of(made.numbers) if number == 1 and made.numbers is not None else []
        if counts:
            lines += ["", *(f"- {what}: {words}" for what, words in counts)]
        told = 0
        for name, title in parts:
            section: Section = getattr(made, name)
            if not section.total:
                continue
            told += 1
            lines += ["", f"### {title} ({section.total})", ""]
            lines += [f"- {_line(item)}" for item in section.items[:most]]
            if section.total > len(section.items[:most]):
                lines.append(f"- and {section.total - len(section.items[:most])} more")
        if not told and not counts:
            lines += ["", "Nothing."]
    return lines


def _line(item: Item) -> str:
    who = f", {item.who}" if item.who else ""
    return f"{item.number} {item.title} ({item.state}{who}, {_when(item.at)})" + (f": {item.note}" if item.note else "")


def _short(text: str) -> str:
    flat = " ".join(str(text).split())
    return flat if len(flat) <= TEXT else flat[: TEXT - 1] + "…"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, ZoneInfo("UTC")).strftime("%Y-%m-%d %H:%M UTC")


def _moment(day: date, clock: time, zone: ZoneInfo) -> float:
    return datetime.combine(day, clock, zone).timestamp()
