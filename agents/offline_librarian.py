"""The second step of a triage pipeline, offline: what pages, past tickets and frequent questions say about a ticket.

It searches for the whole text and for its title, and takes the section that covers more of what was asked. A section
of another category counts less, and a past ticket a little less than a page. One that says "Needs a person" is never
more than 60, however well it fits: it says what will be done, and somebody has to do it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .agent import StepDone, Work
from .knowledge import Hit, Knowledge
from .triage_steps import Classification, Findings, earlier

__all__ = ["answer"]

PERSON = "needs a person"
MOST_WITH_A_PERSON = 60
NEAR = 75  # below it the nearest section is named, but not sold as the answer
OTHER_CATEGORY = 0.8
OF_THE_PAST = 0.9  # what helped somebody else once is a hint: a page that fits as well goes first
PAGES = frozenset({"billing", "technical", "account"})  # pages named like a category are about it alone
SIGNED = "\n\nYour support team"


def answer(work: Work, knowledge: Knowledge) -> StepDone:
    """The report of the step `know`."""
    read = earlier(work, "classify", Classification)
    hits = _search(work, knowledge, read)
    # What was right for one customer is right for another only by somebody's judgement: it is named, never sent.
    sayable = [hit for hit in hits if hit.kind != "ticket"]
    sure = _confidence(sayable[0]) if sayable else 0
    best = sayable[0] if sayable and 100 * sayable[0].confidence >= NEAR else None
    found = Findings(
        articles=[hit.source for hit in hits],
        resolution_steps=_steps(best) if best else [],
        confidence=sure,
        suggested_reply=_reply(work, best, sayable),
    )
    return StepDone(name="know", result=found.model_dump(), confidence=sure / 100)


def _search(work: Work, knowledge: Knowledge, read: Classification | None) -> list[Hit]:
    """The best sections, best first, each once. The one place that asks for knowledge, wherever it comes from."""
    urgent = read is not None and read.urgency in ("high", "critical")
    most = 5 if urgent else 3  # whoever has to act now may look further
    found: dict[str, Hit] = {}
    for asked in dict.fromkeys((work.text, work.ticket.title)):
        for hit in knowledge.search(asked, most):
            weighed = _weighed(hit, read)
            if hit.source not in found or weighed.confidence > found[hit.source].confidence:
                found[hit.source] = weighed
    return sorted(found.values(), key=lambda hit: (-hit.confidence, -hit.score, hit.source))[:most]


def _weighed(hit: Hit, read: Classification | None) -> Hit:
    about = re.split(r"[/.]", hit.page)[0]
    weight = OF_THE_PAST if about.startswith("past") else 1.0
    if read is not None and about in PAGES and about != read.category:
        weight = OTHER_CATEGORY
    return replace(hit, confidence=hit.confidence * weight)


def _confidence(hit: Hit) -> int:
    sure = round(100 * hit.confidence)
    return min(sure, MOST_WITH_A_PERSON) if PERSON in hit.text.lower() else sure


def _steps(hit: Hit) -> list[str]:
    """The numbered lines of a section, else its sentences."""
    numbered = re.findall(r"^\s*\d+[.)]\s+(.+)$", hit.text, re.M)
    return numbered or [line.strip() for line in re.split(r"(?<=[.!?])\s+", _said(hit)) if line.strip()]


def _said(hit: Hit) -> str:
    """The section without what is only for us."""
    return "\n".join(line for line in hit.text.splitlines() if PERSON not in line.lower()).strip()


def _reply(work: Work, best: Hit | None, hits: list[Hit]) -> str:
    name = work.ticket.customer or work.ticket.reporter
    hello = f"Hello{' ' + name if name and '@' not in name else ''},\n\n"
    if best is not None:
        return f"{hello}{_said(best)}\n\n({best.shown}){SIGNED}"
    nearest = f" The nearest is {hits[0].section!r}, which may not be what you need." if hits else ""
    return (
        f"{hello}Our pages do not answer this, and we do not want to guess.{nearest} Somebody of the support team "
        f"looks at it as {work.ticket.number}.{SIGNED}"
    )
