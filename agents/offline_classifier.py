"""The first step of a triage pipeline, offline: category, sentiment and urgency by stated cues, with the cues as proof.

category    the one with most different cues; the first of equal ones; none = general
sentiment   angry, else negative, else positive, else neutral: the first with a cue
urgency     critical, else high, else low, else medium: the first with a cue. Loud words alone make nothing urgent
"""

from __future__ import annotations

import re

from .agent import StepDone, Work
from .cues import cut
from .knowledge import Knowledge
from .triage_steps import Classification

__all__ = ["answer", "classify"]


def _cues(**patterns: str) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern, re.I) for name, pattern in patterns.items()}


CATEGORIES = _cues(
    billing=r"\b(?:charged?|charges|invoices?|refund\w*|billing|billed|bill|payments?|paid|pay|price|prices|plan|"
    r"subscription|receipts?|card|money|credit|discount|cancel my)\b",
    account=r"\b(?:log ?in|logged|log me|sign ?in|passwords?|passcode|locked(?: out)?|accounts?|e?mail address|profile|"
    r"two.factor|second factor|2fa|authenticator|verification|username|invite|reset)\b",
    technical=r"\b(?:down|outage|errors?|crash\w*|bugs?|slow|timeout|fails?|failed|failing|broken|api|webhooks?|"
    r"exports?|page|dashboard|load(?:s|ing)?|database|servers?|deploy\w*|production|exception|50[0-9]|40[0-9]|429)\b",
)
SENTIMENTS = _cues(
    angry=r"\b(?:unacceptable|furious|outrageous|disgust\w*|ridiculous|scam|lawyer|sue|worst|terrible|useless|"
    r"incompetent|fed up)\b|!{2,}",
    negative=r"\b(?:frustrat\w*|disappoint\w*|annoy\w*|twice|again|still|cannot|can't|can ?not|unable|not work\w*|"
    r"doesn't|does not|do not|don't|didn't|wrong|fails?|failed|failing|broken|errors?|down|lost|locked|"
    r"problems?|refused|empty|nothing)\b",
    positive=r"\b(?:thank you so much|thanks for|love|great|excellent|happy|wonderful|perfect|awesome|well done)\b",
)
URGENCIES = _cues(
    critical=r"\b(?:production|prod|site|website|service|system|everything|platform|api|database)\b"
    r"[^.!?\n]{0,30}\b(?:is|are|went|has been)?\s*(?:completely |totally )?(?:down|offline|unreachable)\b|\boutage\b|"
    r"\b(?:all|none of|every one of) (?:of )?(?:our|the|my)? ?(?:\d+ )?(?:users|customers|orders|payments|data)\b|"
    r"\bdata (?:loss|is gone|was deleted)\b|\b(?:breach|hacked|ransomware)\b|\bnobody can\b",
    high=r"\b(?:charged|billed|paid|debited) (?:\w+ ){0,3}twice\b|\b(?:double|duplicate) (?:charge|payment)s?\b|"
    r"\bcan(?:not|'t) work\b|\bblocked\b|\bdeadline\b|\blosing (?:money|customers|orders)\b|\bwithin the hour\b|"
    r"\bmoney (?:is|was|has) (?:been )?(?:gone|taken)\b|\blawyer\b|\bstolen\b|\bmissing (?:payment|order)s?\b",
    low=r"\b(?:how (?:do|can|to|would|long)|where (?:do|can|is)|which|when (?:is|are|do)|do you|is there|can i|"
    r"could you tell|would like to know|no (?:hurry|rush)|suggestion|feature request|just wondering|thanks for|love)\b",
)
# What a question does not make harmless: something is broken, or somebody cannot go on.
TROUBLE = re.compile(
    r"\b(?:cannot|can't|can not|unable|not work\w*|doesn't work|does not work|errors?|fails?|failed|failing|broken|"
    r"crash\w*|locked|wrong|refused|empty|lost|slow)\b",
    re.I,
)


def answer(work: Work, knowledge: Knowledge) -> StepDone:
    """The report of the step `classify`."""
    found, sure = classify(work.text)
    return StepDone(name="classify", result=found.model_dump(), confidence=sure)


def classify(text: str) -> tuple[Classification, float]:
    """What the text is about, how its writer feels and how bad it is; and 0 to 1, how far the category leads."""
    cues = {name: _found(pattern, text) for name, pattern in CATEGORIES.items()}
    ranked = sorted(cues, key=lambda name: -len(cues[name]))
    best, second = len(cues[ranked[0]]), len(cues[ranked[1]])
    category = ranked[0] if best else "general"
    sentiment, felt = _first(SENTIMENTS, text, "neutral")
    urgency, bad = _urgency(text)
    why = [
        f"{category} ({_quoted(cues[category]) if best else 'no cue of another category'})",
        f"{sentiment} ({felt})" if felt else sentiment,
        f"{urgency} ({bad})",
    ]
    reasoning = f"{'; '.join(why)} (offline brain)"
    given = {"category": category, "sentiment": sentiment, "urgency": urgency, "reasoning": reasoning}
    return Classification.model_validate(given), round((best + 1) / (best + second + 2), 2) if best else 0.5


def _urgency(text: str) -> tuple[str, str]:
    level, cue = _first(URGENCIES, text, "medium")
    if level == "low" and (trouble := TROUBLE.search(text)):
        return "medium", f"a question, and {trouble[0]!r}"
    return level, cue or "neither damage nor a mere question"


def _first(levels: dict[str, re.Pattern[str]], text: str, otherwise: str) -> tuple[str, str]:
    for level, pattern in levels.items():
        if match := pattern.search(text):
            return level, repr(cut(match[0], 60))
    return otherwise, ""


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(match.lower() for match in pattern.findall(text)))


def _quoted(cues: list[str]) -> str:
    return ", ".join(repr(cue) for cue in cues[:4])
