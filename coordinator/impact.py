"""How bad is it? Reads impact, not loudness: an outage or a stolen card is urgent, the word "money" is not.

Only prose is read (words in a log are not impact), and a denied cue does not count ("no data loss").
`source_urgency` is the other way to read it, which a team may choose: SD-03's cues as they were written. There, every
mention of money is urgent; measured on real tickets, about one in three that it calls urgent are.
"""

# ruff: noqa: E501 - one cue a line reads better than a wrapped pattern
from __future__ import annotations

import re

from shiftlead.agents.classifier_text import fold

from .cues import Cue
from .impact_cues import DENIED, FOUND_AGAIN, HIGH, LOW, OVER, URGENT

__all__ = ["impact", "source_urgency"]

MOST = 3_000  # characters of prose that are read: damage is told early
LEVELS = [
    (level, [(name, Cue(pattern), deniable) for name, pattern, deniable in cues])
    for level, cues in (("urgent", URGENT), ("high", HIGH), ("low", LOW))
]
DENIES, IS_OVER, FOUND = re.compile(DENIED), re.compile(OVER), Cue(FOUND_AGAIN)
PIECE = re.compile(r"[.!?;\n]|\bbut\b|\baber\b|\bmais\b|\bpero\b|\bmas\b|\bma\b|\bmaar\b")
NO_HURRY = Cue(next(pattern for name, pattern, _ in LOW if name == "no hurry"))

SOURCE = [
    ("urgent", [
        ("money involved", Cue(r"\b(?:money|cash|refund\w*|charg(?:e|es|ed|ing)|payments?|paid|pay|invoices?|billed|billing|credit(?:ed)?|dollars?|euros?|pounds?|usd|eur|gbp|fees?|price|cost)\b|[$€£]\s?\d|\d\s?[$€£]")),
        ("legal keywords", Cue(r"\b(?:legal|lawyers?|attorneys?|solicitors?|lawsuits?|court|sue|suing|regulators?|ombudsman|gdpr|small claims|consumer protection)\b")),
        ("explicit threat", Cue(r"\b(?:i will|i'll|i am going to|i'm going to|we will|or else|going to) (?:\w+ ){0,3}(?:report|sue|cancel|leave|post|tell everyone|dispute|take (?:you|this)|go to|contact (?:my|the|a))\b|\bchargeback\b|\bthreat\w*\b|\bbad review\b|\btrustpilot\b")),
    ]),
    ("high", [
        ("dissatisfaction", Cue(r"\b(?:disappoint\w*|frustrat\w*|unhappy|dissatisfied|annoy\w*|angry|furious|upset|fed up|ridiculous|unacceptable|terrible|awful|horrible|worst|useless|disgust\w*|joke|never again)\b|!{2,}")),
        ("complaint pattern", Cue(r"\bcomplain\w*\b|\b(?:still|yet) (?:no|not|haven't|waiting)\b|\b(?:still|yet) (?:have|has) not\b|\b(?:second|third|fourth|\d+(?:nd|rd|th)) time\b|\bfor (?:days|weeks|months)\b|\bno(?:body| one)? (?:answers?|repl\w+|response)\b|\b(?:speak|talk)\b.{0,20}\bmanager\b|\b(?:wrong|broken|damaged|missing|late|never (?:arrived|came))\b")),
    ]),
]  # fmt: skip


def impact(prose: str) -> tuple[str, list[str]]:
    """The priority the text itself suggests, and why. Nothing found is normal."""
    text = fold(prose[:MOST])
    for level, cues in LEVELS:
        found = [f"{name}: “{hit}”" for name, cue, deniable in cues if (hit := _hit(cue, text, deniable))]
        if level == "urgent" and FOUND.search(text):
            found = [f for f in found if not f.startswith("lost or stolen")]
        if level == "high" and NO_HURRY.search(text):
            found = [f for f in found if not f.startswith("wants it now")]
        if found:
            return level, found
    return "normal", ["a question or request without signs of damage"]


def source_urgency(prose: str) -> tuple[str, list[str]]:
    """SD-03: money, law and threats are urgent, dissatisfaction and complaints high, the rest is normal."""
    text = fold(prose[:MOST])
    for level, cues in SOURCE:
        found = [f"{name}: “{' '.join(hit[0].split())[:60]}”" for name, cue in cues if (hit := cue.search(text))]
        if found:
            return level, found
    return "normal", ["a standard request"]


def _hit(cue: Cue, text: str, deniable: bool) -> str:
    for match in cue.finditer(text):
        before = PIECE.split(text[max(0, match.start() - 60) : match.start()])[-1]
        if deniable and (DENIES.search(before) or IS_OVER.match(text, match.end(), match.end() + 40)):
            continue
        return " ".join(match[0].split())[:60]
    return ""
