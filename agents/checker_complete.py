"""complete: a reply answers every question and everything asked for, about the order that was named (SD-07)."""

from __future__ import annotations

import re

from shiftlead.queues.knowledge_words import words

from .checker_case import Case, Looked, sentences
from .policy import read_refund

__all__ = ["complete", "orders_in", "questions_in"]

LEAST = 4  # words
ASKS = re.compile(
    r"^(?:please|kindly|can|could|would|will|do|does|did|is|are|was|has|have|may|how|what|when|where|which|who|why|whom)\b"
    r"|\bi(?:['’]d| would) like (?:to|you|a|an|the)\b|\bi (?:want|need|wish)\b|\b(?:can|could|would|will) you\b"
    r"|\bplease\b|\b(?:how do i|what do i|where is|when will)\b",
    re.I,
)
# In a request "and also ..." begins another matter.
ALSO = re.compile(r"[,;]?\s+(?:and also|also,? (?=can|could|please|i|how|what|when|where|why)|and (?=can you|could you|"
                  r"how |what |when |where |why |please ))|(?<=\?)\s*", re.I)  # fmt: skip
UNKNOWN = re.compile(
    r"\b(?:do not|don['’]t|cannot|can['’]t|could not|couldn['’]t) (?:yet )?"
    r"(?:know|have (?:an answer|a confirmed answer|this information)|find|say|tell|confirm|answer|promise)\b"
    r"|\bnot (?:yet )?(?:known|confirmed|decided)\b|\bneed to (?:check|ask)\b",
    re.I,
)
# Words that answer each other: a reply need not repeat the word of the question.
GROUPS = """
    refund money reimburse back credit paid payment return
    deliver delivery ship shipping shipment arrive parcel package track tracking carrier courier transit order
    cancel cancelled stop end terminate order pending
    price cost fee charge amount total pay sum
    exchange replace replacement swap change
    return send back label
    password login sign log account reset access locked link
    when long soon time day week hour date business until
    subscription plan renew renewal member membership
    card visa mastercard paypal payment method wallet
    address street city zip move
    broken damaged defect faulty wrong
    invoice receipt bill
    size color colour material option
    email mail e-mail inbox
    discount voucher coupon code
    where location status
"""
STEMMED = [frozenset(words(group)) for group in GROUPS.strip().splitlines()]


def complete(case: Case) -> Looked:
    """Each question, with the words that answer it."""
    looked = Looked()
    said = frozenset(words(" ".join(case.sentences)))
    if sum(len(s.split()) for s in case.sentences) < LEAST:
        looked.wrong("it says nothing")
        return looked
    reply = case.draft.reply.upper()
    for order in orders_in(case):
        if order in reply:
            looked.seen.append(f"about order {order}")
        else:
            looked.wrong(f"order {order} is not mentioned")
    unknown = bool(UNKNOWN.search(case.draft.reply))
    for question in questions_in(case.request):
        asked = frozenset(words(question))
        found = asked & said or _near(asked, said)
        if not asked or found:
            looked.seen.append(f"{question[:100]!r}: {', '.join(sorted(found)[:4])}")
        elif unknown:
            looked.seen.append(f"{question[:100]!r}: it says that it does not know")
        else:
            looked.wrong(f"not answered: {question[:200]}")
    return looked


def questions_in(text: str) -> list[str]:
    """What is asked or asked for, one at a time; the whole text where it asks nothing in particular."""
    asks = []
    for sentence in sentences(text):
        parts = [part.strip(" ,;") for part in ALSO.split(sentence)]
        if any(part.endswith("?") or ASKS.search(part) for part in parts):
            asks += [part for part in parts if words(part)]
    if not asks:
        return [text.strip()] if words(text) else []
    return list(dict.fromkeys(asks))


def orders_in(case: Case) -> list[str]:
    """The orders the request names, as they are compared."""
    return list(read_refund(case.request, {}, now=case.opened_at).orders)


def _near(asked: frozenset[str], said: frozenset[str]) -> frozenset[str]:
    """Words of the reply that answer a word of the question."""
    return frozenset(word for group in STEMMED if asked & group for word in said & group)
