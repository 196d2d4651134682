"""Sales, offline: product facts from the knowledge pages, and one offer where it fits. Never in a complaint.

An offer is a section of a page called `offers.md`. It is made when the question is answered, the section fits what was
asked, and nothing anywhere in the matter - this ticket or one it comes from - is a complaint, a defect, a refund or a
cancellation. Prices and terms stand in the pages; what they do not say is not promised.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import offline_support
from .agent import Report, Work
from .cues import answers_of, complaint_cue, decision_cue, defect_cue
from .knowledge import Hit, Knowledge

__all__ = ["answer", "unhappy_cue"]

OFFERS = "offers.md"
FITS = 0.2  # share of the question an offer's section covers: it need not answer it, but must be about it
UNHAPPY = re.compile(
    r"\brefund\w*|\bcancel\w*|\bcharged (?:twice|again|wrong\w*)|\boverpriced|\bdisappoint\w*|\bunacceptable|"
    r"\bterrible|\bangry|\bfed up|\bcomplain\w*|\bnot work\w*|\bdoes ?n.t work|\bbroken|\bcrash\w*|\bworst|"
    r"\bunhappy|\bfrustrat\w*",
    re.I,
)


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    exception = decision_cue(work.text) and "decision" in work.team_can
    if answers_of(work) or complaint_cue(work.text) or exception:
        return offline_support.answer(work, knowledge)  # a reply from what came back, an apology, or a decision
    found = knowledge.search(work.text, limit=20)
    report = offline_support.answer_from_hits(work, [hit for hit in found if not _is_offer(hit)][:3])
    offer = next((hit for hit in found if _is_offer(hit) and hit.covers >= FITS), None)
    if offer is None or not report.summary.startswith("answered") or unhappy_cue(work):
        return report
    text = report.reply.removesuffix(offline_support.SIGNED)
    return report.model_copy(update={
        "reply": f"{text}\n\nYou may like this, too: {offer.text}{offline_support.SIGNED}",
        "summary": report.summary.replace(" (offline brain)", f"; offered: {offer.section} (offline brain)"),
        "evidence": [*report.evidence, f"offer: {offer}"],
    })  # fmt: skip


def unhappy_cue(work: Work) -> str:
    """The word by which somebody in this matter is unhappy; "" when nobody is."""
    for text in (work.text, *(f"{t.title}\n{t.body}" for t in work.ancestors)):
        if found := UNHAPPY.search(text):
            return found.group(0)
        if cue := complaint_cue(text) or defect_cue(text):
            return cue
    return ""


def _is_offer(hit: Hit) -> bool:
    return Path(hit.page).name == OFFERS
