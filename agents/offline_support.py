"""Support, offline: answer from what came back, the refund policy or the knowledge pages; else pass it on.

First rule that matches wins:
  1. a child brought something back        -> write the reply from it
  2. error output in the text              -> hand off to engineering
  3. a refund with an order or an amount   -> grant it, or ask for a decision (policy.py)
  4. a complaint or a legal threat         -> acknowledge, and a decision-maker sees it
  5. asks for an exception, price, terms   -> hand off for a decision
  6. words of a defect                     -> hand off to engineering
  7. the knowledge pages                   -> the section's facts with their source, or an honest "I do not know"
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shiftlead.queues.knowledge_lessons import NO_ANSWER

from .agent import AskHuman, HandOff, Packet, Report, Resolved, Work
from .causes import causes
from .cues import answers_of, complaint_cue, cut, decision_cue, defect_cue, evidence, said
from .knowledge import Hit, Knowledge
from .policy import Refund, refund_of, why_decision_needed

__all__ = [
    "ASKS_ABOUT", "CONFIDENT", "REFUND", "SIGNED", "answer", "answer_from_hits", "answer_from_knowledge", "complaint",
    "hello", "is_refund", "reply_from_answers",
]  # fmt: skip

CONFIDENT = 0.745  # likelier than this is sold as the answer; below it the nearest section is named
SIGNED = "\n\nYour support team"
REFUND = re.compile(
    r"\brefund\w*|\breturn(?:ing|ed)?\b|\bcancel\w*|money back|send (?:it|them) back|reimburse\w*", re.I
)
# "Where is my refund?" asks about one that exists; it must not start another.
ASKS_ABOUT = re.compile(
    r"(?:where|when|how|why|can i|do you|is there|what)\b[^.!?]{0,200}\?|not show\w*|(?:unable|cannot|"
    r"can't) (?:to )?see",
    re.I,
)


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    text = work.text
    if answers_of(work):
        return reply_from_answers(work)
    if defect_cue(text, strong=True) and _can(work, "bug"):
        return _to_engineering(work)
    if is_refund(work):
        return _refund(work)
    if cue := complaint_cue(text):
        return complaint(work, cue)
    if (cue := decision_cue(text)) and _can(work, "decision"):
        return _to_decision(work, cue)
    if defect_cue(text) and _can(work, "bug"):
        return _to_engineering(work)
    return answer_from_knowledge(work, knowledge)


def is_refund(work: Work) -> bool:
    """Whether the ticket asks for money back on a purchase, rather than about refunds in general."""
    if not REFUND.search(work.text):
        return False
    refund = refund_of(work.ticket)
    if refund.orders or refund.amount_from in ("ticket", "order total"):
        return True
    about_purchase = refund.amount is not None or re.search(r"\bmy (?:order|purchase)\b", work.text, re.I)
    return bool(about_purchase) and not ASKS_ABOUT.search(work.text)


def reply_from_answers(work: Work) -> Resolved:
    """The customer's reply, from what colleagues or the decision-maker found. Their words are kept as evidence."""
    parts, proof = [], []
    for item in answers_of(work):
        who = f"{item.number}{' (' + item.agent + ')' if item.agent else ''}"
        proof.append(f"{who}: {cut(item.decision + ' ' + item.text, 600)}")
        reason = cut(_unsigned(item.text), 700)
        if item.failed:
            parts.append(f"We asked a colleague and could not settle it: {reason or 'no reason was given'}.")
        elif item.decision == "approve":
            parts.append(
                _granted(refund_of(work.ticket)) if is_refund(work) else f"Your request is approved: {reason}."
            )
        elif item.decision:
            parts.append(
                f"We cannot grant your request as it stands: {reason or 'it was not approved'}. "
                "If you have more to show, such as photos or the invoice, reply and we ask again."
            )
        elif item.type == "escalation":
            # What is said inside about a complaint is not for the one who complains; it stays in the evidence.
            parts.append(f"A decision-maker has read it ({item.number}).")
        elif item.type == "decision":
            verdict = re.split(r" Because |(?<=\w)\. ", reason, maxsplit=1)[0].rstrip(".")
            parts.append(f"We asked for a decision ({item.number}): {verdict}.")
        else:
            parts.append(f"We asked our colleagues to look into it ({item.number}). {_plain(item.summary, reason)}")
    first = work.ticket.result or {}
    if first.get("kind") == "resolved" and isinstance(first.get("reply"), str) and first["reply"]:
        parts.insert(0, _unsigned(first["reply"].removeprefix(hello(work).strip())).strip())
    return Resolved(
        reply=hello(work) + "\n\n".join(p.replace("..", ".") for p in parts if p) + SIGNED,
        summary=f"answered from {len(proof)} result(s) of colleagues (offline brain)",
        evidence=proof,
    )


def _refund(work: Work) -> Report:
    refund = refund_of(work.ticket)
    why = why_decision_needed(refund)
    if why:
        return AskHuman(
            action="process_refund",
            arguments=refund.arguments | ({"customer": work.ticket.customer} if work.ticket.customer else {}),
            why=f"{why}. The customer writes: {cut(said(work), 400)}",
        )
    if refund.amount is None:
        order = f" for order {refund.orders[0]}" if refund.orders else ""
        lacks = "the amount" + ("" if refund.orders else " and the order number")
        return Resolved(
            reply=f"{hello(work)}We have your request{order}. We do not know {lacks}, so nothing has "
            f"been granted yet. "
            "Please reply with the order number, the items and the amount on the invoice; delivered items go back "
            f"unused, and the money returns to the original payment method.{SIGNED}",
            summary=f"refund request without {lacks}: asked for it, nothing granted (offline brain)",
        )
    return Resolved(
        reply=hello(work) + _granted(refund) + SIGNED,
        summary=f"refund of {refund.money} granted within support's limits; to be booked, no payment system is "
        "connected (offline brain)",
        evidence=[f"policy: {refund.money} (from the {refund.amount_from}) needs no decision", cut(said(work), 300)],
    )


def _granted(refund: Refund) -> str:
    order = f" for order {', '.join(refund.orders)}" if refund.orders else ""
    return (
        f"Your refund of {refund.money}{order} is granted. It goes back to the original payment method once it is "
        "booked. If items were delivered, please send them back with the return label you receive."
    )


def complaint(work: Work, cue: str) -> Resolved:
    """Acknowledged, and a decision-maker sees it."""
    return Resolved(
        reply=f"{hello(work)}Thank you for writing plainly what went wrong. We are sorry for it. "
        f"Your complaint has been "
        f"taken up as {work.ticket.number} and a decision-maker looks at it now.{SIGNED}",
        summary=f"complaint acknowledged, cue {cue!r} (offline brain)",
        evidence=[cut(said(work), 400)],
        requires_escalation=True,
        reason=f"A customer complains and mentions {cue!r}; a decision-maker must see it. {cut(said(work), 600)}",
    )


def _to_decision(work: Work, cue: str) -> HandOff:
    title = cut(f"Decision: {work.ticket.title or work.ticket.body}", 200)
    question = f"May we grant this? Support has no rule for it ({cue!r}). The request: {cut(said(work), 2000)}"
    return HandOff(
        needs=["decision"],
        type="decision",
        title=title,
        question=question,
        packet=_packet(work, "asks for a decision", []),
    )


def _to_engineering(work: Work) -> HandOff:
    found = causes(work.text)
    guesses = [f"{c.hypothesis} (seen: {', '.join(c.seen)})" for c in found[:3]]
    packet = _packet(work, "cannot use the product as described; no workaround is known", guesses)
    return HandOff(
        needs=["bug"],
        type="bug",
        title=cut(work.ticket.title or work.ticket.body, 200),
        question=f"What is the cause, and what may we tell the customer? They write: {cut(said(work), 4000)}",
        packet=packet,
    )


def _packet(work: Work, impact: str, hypotheses: list[str]) -> Packet:
    ticket = work.ticket
    snippets = evidence(work.text) or [cut(said(work), 300)]
    asks = ["Which version and device is used?"] if not re.search(r"\d+\.\d+", work.text) else []
    return Packet(
        task_id=ticket.number,
        source=ticket.source,
        urgency=ticket.priority,
        impact_summary=f"{ticket.customer or 'A customer'} {impact}.",
        hypotheses=hypotheses,
        evidence_snippets=snippets,
        next_questions=[*asks, "Are other customers affected?", "What can the customer do until it is fixed?"],
        from_agent=work.agent,
        state={"component": ticket.component, "customer": ticket.customer, "by": "offline brain"},
    )


def answer_from_knowledge(work: Work, knowledge: Knowledge) -> Report:
    """The reply from the nearest section, or an honest one that says there is none."""
    if answers_of(work):
        return reply_from_answers(work)
    return answer_from_hits(work, knowledge.search(work.text, limit=5))


def answer_from_hits(work: Work, hits: Sequence[Hit]) -> Resolved:
    """The same from sections that were found, the best first.

    What was right for one customer is right for another only by somebody's judgement: a past ticket is evidence.
    """
    pages = [hit for hit in hits if hit.kind != "ticket"]
    if pages and pages[0].confidence >= CONFIDENT:
        return _from_section(work, pages[0], hits)
    hits = [hit for hit in hits if hit.confidence > 0]
    pages = [hit for hit in pages if hit.confidence > 0]
    nearest = f" The nearest we found is {pages[0].section!r}, which may not be what you need." if pages else ""
    urgent = work.ticket.priority == "urgent"
    return Resolved(
        reply=f"{hello(work)}We do not have an answer to this in our knowledge pages, and we do not "
        f"want to guess.{nearest} "
        f"{_what_next(work, urgent)}{SIGNED}",
        summary=f"{NO_ANSWER}{' (nearest: ' + str(pages[0]) + ')' if pages else ''} (offline brain)",
        evidence=[str(h) for h in hits],
        requires_escalation=urgent,
        reason=f"urgent, and the knowledge pages have no answer: {cut(said(work), 400)}" if urgent else "",
    )


def _what_next(work: Work, urgent: bool) -> str:
    """Only what really happens is promised: an urgent one goes to the decision-maker, others are opened by a reply."""
    number = (work.ancestors[-1] if work.ancestors else work.ticket).number  # the one the customer knows
    if urgent:
        return f"Because it is urgent it has gone to somebody who decides; please keep the number {number}."
    return (
        f"It is noted as {number}, a question our pages do not answer. "
        "If you tell us more, or that it cannot wait, we open it again."
    )


def _from_section(work: Work, hit: Hit, hits: Sequence[Hit]) -> Resolved:
    return Resolved(
        reply=f"{hello(work)}{hit.text}\n\n({hit.shown}){SIGNED}",
        summary=f"answered from {hit.source}, confidence {hit.confidence:.2f} (offline brain)",
        evidence=[str(hit), *(str(h) for h in hits if h.kind == "ticket")],
    )


def _can(work: Work, need: str) -> bool:
    """Whether somebody on the team has the capability; an empty list means we were not told."""
    return not work.team_can or need in work.team_can


def hello(work: Work) -> str:
    """How a reply begins."""
    name = work.ticket.customer or work.ticket.reporter
    return f"Hello{' ' + name if name and '@' not in name else ''},\n\n"


def _plain(summary: str, reason: str) -> str:
    """Engineering's summary is written to be passed on; its note about the brain is not."""
    return (
        re.sub(r" It would help to know [^.]*\.", "", _unsigned(summary))
        or reason
        or "They have no result to share yet."
    )


def _unsigned(text: str) -> str:
    return text.replace(" (offline brain)", "").removesuffix(SIGNED).strip().rstrip(".") + "." if text.strip() else ""
