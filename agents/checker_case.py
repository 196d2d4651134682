"""What a reply is compared with: the request, and every source a claim may come from.

    ticket      what the requester and the sender's system wrote
    knowledge   the team's pages
    tool        what tools told the author, and what was done in this life of the ticket
    colleague   answers of those who were asked, results of earlier steps, decisions

What the author wrote is no source: not an earlier draft, not its summary, not its evidence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .agent import Resolved, Work
from .cues import said
from .knowledge import Knowledge
from .one_reply import bare
from .policy import Refund, refund_of

__all__ = ["CUSTOMER_NAME", "Case", "Flaw", "Looked", "case_of", "sentences"]

SENTENCE = re.compile(r"\n+|(?<=[.!?])[”\"')]?\s+(?=[\"“('#]?[A-Z0-9])")
ID_NAME = re.compile(r"^([a-z]{2,})(?:_[a-z]+)+_\d+$")
CUSTOMER_NAME = r"^customer_id: .*\nname: "  # as get_customer tells it; what an order holds has a name, too
NO_REFUND = Refund()
MOST_TEXT = 60_000  # characters of one source that are looked through
FROM_TICKET = ("title", "body", "reporter", "customer", "component", "number")


@dataclass(frozen=True, slots=True)
class Flaw:
    """What one check found wrong: `sentence` is the place in the reply, "" when it is about the whole."""

    why: str
    sentence: str = ""


@dataclass(slots=True)
class Looked:
    """How one check ended, with what it looked at."""

    flaws: list[Flaw] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def wrong(self, why: str, sentence: str = "") -> None:
        self.flaws.append(Flaw(why, sentence))


@dataclass(frozen=True)
class Case:
    """One reply and what there is to hold against it. `sources` is kind to text; `tier` is "" when nobody knows it."""

    draft: Resolved
    request: str
    sources: dict[str, str]
    tier: str = ""
    names: frozenset[str] = frozenset()
    refund: Refund = NO_REFUND  # as asked for, with the facts tools told
    effects: tuple[dict[str, Any], ...] = ()  # done in this life, by tool
    approved: tuple[dict[str, Any], ...] = ()  # actions somebody said yes to
    answered: bool = False  # a colleague was asked and answered
    opened_at: float = 0.0

    @cached_property
    def sentences(self) -> list[str]:
        """Of the reply, without its greeting and signature."""
        return sentences(bare(self.draft.reply))

    @cached_property
    def trusted(self) -> str:
        """Everything but what the requester says: what we know ourselves."""
        return "\n".join(text for kind, text in self.sources.items() if kind != "ticket")

    @cached_property
    def everything(self) -> str:
        return "\n".join(self.sources.values())

    def quoted(self, sentence: str) -> bool:
        """Whether it stands word for word on one of the team's pages."""
        return len(sentence.split()) >= 4 and _plain(sentence) in self._pages

    @cached_property
    def _pages(self) -> str:
        return _plain(self.sources.get("knowledge", ""))


def case_of(work: Work, draft: Resolved, knowledge: Knowledge) -> Case:
    """The case of the ticket in `work`."""
    ticket = work.ticket
    answers = [a for a in (work.answers or ticket.answers) if isinstance(a, dict)]
    effects = tuple(a for a in answers if a.get("type") == "effect")
    told = [*_told_by_tools(work), *(_flat(a.get("result")) for a in effects if a.get("status") == "done")]
    # What the requester answered later is his word, like the request.
    later = [str(a.get("reply") or "") for a in answers if a.get("type") == "reply"]
    colleagues = [_colleague(a) for a in answers if a.get("type") not in ("reply", "effect", "blocker")]
    colleagues += [_flat(step) for step in work.steps.values()]
    request = "\n".join([said(work), *later, *(f"{a.title}\n{a.body}" for a in work.ancestors)])
    own = [str(getattr(ticket, name)) for name in FROM_TICKET] + [_flat(ticket.context), *ticket.links, request]
    tool = "\n".join(told)[:MOST_TEXT]
    return Case(
        draft=draft,
        request=request[:MOST_TEXT],
        sources={
            "tool": tool,
            "colleague": "\n".join(colleagues)[:MOST_TEXT],
            "knowledge": "\n".join(knowledge.texts()),
            "ticket": "\n".join(own)[:MOST_TEXT],
        },
        tier=_tier(ticket.context, tool),
        names=_names(ticket.customer, ticket.reporter, tool),
        refund=_refund(work, tool),
        effects=tuple(a for a in effects if a.get("status") == "done"),
        approved=tuple(a for a in answers if a.get("decision") == "approve" and a.get("state") == "resolved"),
        answered=bool(colleagues) or bool(ticket.children),
        opened_at=ticket.created_at,
    )


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without the marks of lists."""
    found = (re.sub(r"^(?:[-*•>]|\d{1,2}[.)])\s+", "", part.strip()) for part in SENTENCE.split(text))
    return [part for part in found if any(c.isalnum() for c in part)]


def _told_by_tools(work: Work) -> Iterator[str]:
    """Results of tools that stand in the ticket's story, in this life."""
    for line in work.history:
        told = line.detail.get("effect") if line.move == "note" and line.ticket == work.ticket.id else None
        if isinstance(told, dict) and told.get("result") is not None and line.life == work.ticket.life:
            yield _flat(_read(told["result"]))


def _read(result: Any) -> Any:
    if not isinstance(result, str):
        return result
    try:
        return json.loads(result)
    except ValueError:
        return result


def _colleague(answer: dict[str, Any]) -> str:
    told = [answer.get(k) for k in ("number", "reply", "summary", "evidence", "decision", "reason")]
    yes = answer.get("decision") == "approve"
    return "\n".join(_flat(part) for part in [*told, answer.get("arguments") if yes else None] if part)


def _flat(value: Any, name: str = "") -> str:
    """JSON as lines `name: value`. What is zero or empty is left out: `refunded: 0` says that nothing was."""
    if isinstance(value, dict):
        return "\n".join(filter(None, (_flat(item, str(key)) for key, item in value.items())))
    if isinstance(value, list | tuple):
        return "\n".join(filter(None, (_flat(item, name) for item in value)))
    if value in (None, "", False, 0):
        return ""
    unit = " days" if "days" in name and isinstance(value, int) else ""
    return f"{name}: {value}{unit}" if name else str(value)


def _tier(context: dict[str, Any], tool: str) -> str:
    known = re.search(r"^tier: (\w+)", tool, re.M)
    said = known[1] if known else context.get("tier") or context.get("customer_tier") or ""
    return str(said).strip().lower()


def _names(customer: str, reporter: str, tool: str) -> frozenset[str]:
    """By which a customer can be greeted: `sofia_li_9219` is Sofia."""
    told = re.findall(rf"{CUSTOMER_NAME}([^\d\n]+)$", tool, re.M)
    found = [*told, *(n for n in (customer, reporter) if "@" not in n)]
    found = [m[1] if (m := ID_NAME.match(name.strip().lower())) else name for name in found]
    return frozenset(word.lower() for name in found for word in re.findall(r"[^\W\d_]{2,}", name))


def _refund(work: Work, tool: str) -> Refund:
    asked = refund_of(work.ticket)
    days = [int(d) for d in re.findall(r"^days_since_purchase: (\d+)", tool, re.M)]
    return Refund(
        amount=asked.amount, currency=asked.currency, orders=asked.orders, tier=_tier(work.ticket.context, tool),
        days=max(days) if days else asked.days, amount_from=asked.amount_from,
    )  # fmt: skip


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[*_`>]+", "", text).lower().split())
