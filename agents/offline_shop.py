"""What the offline specialists of a shop share: letters, orders looked up with their tools, what came before."""

from __future__ import annotations

from typing import Any

from .agent import Earlier, Report, Resolved, Work
from .cues import cut, said
from .knowledge import Knowledge
from .offline_support import CONFIDENT, SIGNED, answer_from_knowledge, hello
from .policy import refund_of
from .tools import Outcome, current_toolbox

__all__ = ["Order", "closing", "letter", "order_of", "page_about", "seen_before", "use", "with_page"]

Order = dict[str, Any]
AGAIN_S = 30 * 86_400.0  # how long a matter of before is still the same matter


def letter(work: Work, *paragraphs: str) -> str:
    """A reply: greeting, paragraphs, signature."""
    return hello(work) + "\n\n".join(p.strip() for p in paragraphs if p.strip()) + SIGNED


def closing(work: Work) -> list[str]:
    """The evidence every reply ends with: the customer's words, and what was brought before (SD-10)."""
    before = [f"earlier: {e.number} {e.category or 'ticket'}, {e.state}: {cut(e.title, 120)}" for e in work.earlier[:3]]
    return [f"asked: {cut(said(work), 300)}", *before]


def use(name: str, **arguments: Any) -> Outcome:
    """One call of a tool. Without tools at hand it is refused, as any tool the agent does not have.

    Raises:
        EndsTurn, StaleToken, Unavailable, Busy: see Toolbox.use.
    """
    toolbox = current_toolbox()
    if toolbox is None:
        return Outcome("refused", name, why="no shop system is connected here")
    return toolbox.use(name, arguments)


def order_of(work: Work) -> tuple[str, Order | None, str]:
    """The order the ticket names: its number ("" when none), the shop's facts, and why there are none."""
    named = refund_of(work.ticket).orders
    if not named:
        return "", None, "no order is named"
    found = use("get_order", order_id=named[0])
    number = f"#{named[0].lstrip('#')}"
    return (number, found.result, "") if found.status == "done" else (number, None, found.why)


def seen_before(work: Work, order: str) -> Earlier | None:
    """The newest ticket of before in which the customer named this order, not long ago."""
    now = work.ticket.created_at
    recent = [e for e in work.earlier if now - e.at <= AGAIN_S and e.category == work.ticket.category]
    return next((e for e in recent if order and order.lstrip("#") in f"{e.title} {e.outcome}".upper()), None)


def page_about(work: Work, knowledge: Knowledge) -> tuple[str, str]:
    """The nearest section that may be sold as the answer: text and source; both "" when there is none."""
    hits = [hit for hit in knowledge.search(work.text) if hit.kind != "ticket"]
    return (hits[0].text, hits[0].source) if hits and hits[0].confidence >= CONFIDENT else ("", "")


def with_page(work: Work, knowledge: Knowledge, facts: str, what: str, **more: Any) -> Report:
    """The facts, then the page that answers; where no page does, the facts alone, else an honest "we do not know"."""
    text, source = page_about(work, knowledge)
    if not facts and not text:
        return answer_from_knowledge(work, knowledge)
    from_page = f"{text}\n\n(From our pages: {source})" if text else ""
    return Resolved(
        reply=letter(work, facts, from_page),
        summary=f"{what}{f', from {source}' if source else ''} (offline brain)",
        evidence=[*([facts] if facts else []), *([f"page: {source}"] if source else []), *closing(work)],
        **more,
    )
