"""Say where a model's reply is from: the pages it used stand in the reply, everything it used in the evidence.

A model is told to name its pages and often does not. What it used is seen in the words: they are the passage's. The
number of somebody else's ticket goes into the evidence only, never into a reply.
"""

from __future__ import annotations

from collections.abc import Sequence

from shiftlead.queues.knowledge_words import words

from .agent import Report, Resolved
from .knowledge import Hit

__all__ = ["cited", "used"]

SHARED_WORDS = 4  # informative words a reply has from a passage, at least
SHARE = 0.4  # and this share of the shorter one's


def cited(report: Report, hits: Sequence[Hit]) -> Report:
    """The report with its sources. A decision, a question, a handoff are nobody's answer and stay as they are."""
    if not isinstance(report, Resolved) or report.decision is not None or not report.reply.strip():
        return report
    sources = [hit for hit in hits if used(report.reply, hit)]
    evidence = [*report.evidence, *(str(hit) for hit in sources)][:100]
    missing = [hit.shown for hit in sources if hit.kind != "ticket" and not _named(report.reply, hit)]
    reply = f"{report.reply.rstrip()}\n\n({'; '.join(missing)})" if missing else report.reply
    return report.model_copy(update={"evidence": evidence, "reply": reply[:60_000]})


def used(reply: str, hit: Hit) -> bool:
    """Whether the reply says what the passage says, or names it."""
    if hit.kind != "ticket" and _named(reply, hit):
        return True
    said, there = set(words(reply)), set(words(hit.text))
    shared = len(said & there)
    return shared >= SHARED_WORDS and shared >= SHARE * min(len(said), len(there))


def _named(reply: str, hit: Hit) -> bool:
    return hit.page in reply or hit.source in reply or (hit.kind == "faq" and hit.section in reply)
