"""What a manager sees of one ticket: its colleagues, who bid what, and what came back on each question.

Read from the ticket and its answers alone, so it looks the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shiftlead.config.team import Team

from .agent import Colleague, Work
from .bidding import BID, Bid, bid_in
from .cues import cut, said
from .topics import Topic, topics_of

__all__ = ["MOST_PARTS", "Floor", "Matter", "who"]

MOST_PARTS = 8  # a HandOff takes no more
MOST_EARLIER = 5


@dataclass(frozen=True, slots=True)
class Matter:
    """One question, and the answers of those who were asked, oldest first."""

    question: str
    tried: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.tried[-1]

    @property
    def declined(self) -> Bid | None:
        """The disagreement of who was asked last."""
        bid = bid_in(self.last.get("reply"))
        return bid if bid is not None and not bid.take else None

    @property
    def settled(self) -> bool:
        reply = self.last.get("reply")
        return self.last.get("state") == "resolved" and bool(reply) and bid_in(reply) is None

    @property
    def problem(self) -> str:
        """Why it is not settled."""
        if self.declined is not None:
            return f"{who(self.last)} declines: {self.declined.why}"
        return f"{who(self.last)} could not do it: {self.last.get('error') or self.last.get('summary') or 'no reply'}"


class Floor:
    """See the head of this file. `text` is what the requester wrote, with what he answered since.

    `bids` holds None for whoever gave no clear word; `decision` is what a decision-maker answered, if one was asked.
    """

    def __init__(self, work: Work, team: Team | None) -> None:
        self.work, self.team = work, team
        answers = work.answers or work.ticket.answers
        replies = [str(a.get("reply", "")) for a in answers if a.get("type") == "reply"]
        self.text = "\n".join([said(work), *replies])
        self.asked_back = bool(replies)
        self.bids = {str(a.get("asked_of")): bid_in(a.get("reply")) for a in answers if a.get("type") == BID}
        self.decision = next((a for a in answers if a.get("type") in ("decision", "escalation")), None)
        self.matters = _matters(answers)
        deciders = {"decision", "approval"}
        self.colleagues = {c.name: c for c in work.colleagues if not c.human and not deciders & set(c.can)}
        self.default = self._default()

    def topics(self) -> list[Topic]:
        """What the text surely sounds like, of what a colleague can do."""
        able = {can for colleague in self.colleagues.values() for can in colleague.can}
        return topics_of(self.text, self.team, able)[:MOST_PARTS] if self.team else []

    def can(self, capability: str) -> list[Colleague]:
        return [c for c in self.colleagues.values() if capability in c.can]

    def takers(self) -> list[tuple[str, Bid]]:
        """Who would take it, the surest first."""
        yes = [(name, bid) for name, bid in self.bids.items() if bid is not None and bid.take]
        return sorted(yes, key=lambda pair: -pair[1].confidence)

    def next_for(self, matter: Matter) -> str:
        """Who is asked next: whom the last one named, then who bid, then the default; "" when nobody is left."""
        tried = {name for a in matter.tried for name in (a.get("asked_of"), a.get("agent")) if name}
        named = matter.declined.instead if matter.declined else ""
        order = [named, *(c.name for c in self.can(named)), *(name for name, _ in self.takers()), self.default]
        return next((name for name in order if name in self.colleagues and name not in tried), "")

    def earlier(self) -> list[dict[str, str]]:
        """What was already settled: for this customer, in earlier lives of the ticket, by colleagues in this one."""
        ticket = self.work.ticket
        before = [{"number": e.number, "by": e.agent, "summary": e.outcome} for e in reversed(self.work.earlier)]
        lives = [
            {"number": line.number, "by": line.agent or "", "summary": cut(str(line.detail.get("summary", "")), 200)}
            for line in self.work.history
            if line.ticket == ticket.id and line.move == "resolve" and line.life < ticket.life
        ]
        settled = [
            {"number": str(m.last.get("number", "")), "by": who(m.last), "summary": cut(str(m.last["reply"]), 200)}
            for m in self.matters
            if m.settled
        ]
        return [*before, *lives, *settled][-MOST_EARLIER:]

    def _default(self) -> str:
        """The first of the team file's `hands_off_to`, else the first colleague."""
        spec = self.team.agents.get(self.work.agent) if self.team else None
        names = [*(spec.hands_off_to if spec else []), *self.colleagues]
        able = [name if name in self.colleagues else next((c.name for c in self.can(name)), "") for name in names]
        return next((name for name in able if name), "")


def who(answer: dict[str, Any]) -> str:
    """Whose answer it is."""
    return str(answer.get("agent") or answer.get("asked_of") or answer.get("number") or "a colleague")


def _matters(answers: Sequence[dict[str, Any]]) -> list[Matter]:
    found: dict[str, Matter] = {}
    for answer in answers:
        if answer.get("type") == "handoff":
            question = str(answer.get("question", ""))
            found.setdefault(question, Matter(question)).tried.append(answer)
    return list(found.values())
