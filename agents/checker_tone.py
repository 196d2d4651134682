"""tone_appropriate: how a reply speaks, by the customer's tier (SD-07). The manners are data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .checker_case import Case, Looked
from .cues import complaint_cue
from .one_reply import GREETING

__all__ = ["MANNERS", "Manner", "SHOUTED", "UNKIND", "manner_of", "tone_appropriate"]


@dataclass(frozen=True, slots=True)
class Manner:
    """What a tier may expect: how long at most, greeted by name, and written for them rather than for everybody."""

    words: int
    by_name: bool = False
    personal: bool = False


MANNERS = {
    "": Manner(words=300),
    "basic": Manner(words=300),
    "silver": Manner(words=300),
    "gold": Manner(words=220, by_name=True, personal=True),
    "premium": Manner(words=220, by_name=True, personal=True),
    "platinum": Manner(words=220, by_name=True, personal=True),
    "vip": Manner(words=220, by_name=True, personal=True),
}
# What must not be said to anybody, and what it is.
RUDE = {
    "blames the customer": (
        r"your (?:own )?fault", "you (?:should|could) have", "you (?:failed|forgot|neglected) to",
        r"you did ?n[o'’]t (?:even )?(?:read|bother)", "because of your (?:mistake|error)",
    ),
    "is impatient": (
        r"as (?:i|we)(?:['’]ve| have)? (?:already )?(?:said|told you|explained)", "calm down", "obviously",
        "read the (?:manual|faq|terms)", "stop (?:asking|writing|complaining)", "for the last time",
    ),
    "is rude": (
        r"stupid|idiot\w*|ridiculous|nonsense|shut up|moron\w*|dumb|damn|crap", "you people", "whatever",
        "not (?:our|my) (?:problem|job)", "deal with it", "too bad",
    ),
    "is careless": ("lol|lmao|dude|bro|gonna|wanna|meh|nope",),
}  # fmt: skip
# What is written for everybody, where somebody may expect that it is written for them.
STOCK = (
    "dear (?:customer|client|user|sir or madam|sir/madam)", "valued (?:customer|client)", "to whom it may concern",
    "your (?:call|business|feedback) is (?:very )?important to us", "please be (?:advised|informed)",
    "any inconvenience", "as per (?:our|company) policy",
)  # fmt: skip
UNFILLED = re.compile(
    r"\[(?:your |customer |first |last )?(?:name|order|number|date|amount|agent|company|link)[^\]]{0,30}\]"
    r"|\{\{?\s*\w+\s*\}?\}|<(?:name|customer|order|date|amount)[^>]{0,30}>|\bX{3,}\b|\blorem ipsum\b",
    re.I,
)
SHOUTED = re.compile(r"\b[A-Z]{2,}(?:['’][A-Z]+)?(?:[ ,]+[A-Z]{2,}(?:['’][A-Z]+)?){2,}\b|!{2,}")
UNKIND = "a complaint is answered without a word of regret or thanks"
KIND = re.compile(r"\b(?:sorry|apologi[sz]e|regret|understand|thank you|thanks)\b", re.I)


def manner_of(tier: str) -> Manner:
    """What a tier may expect; that of nobody in particular for a tier we do not know."""
    return MANNERS.get(tier, MANNERS[""])


def tone_appropriate(case: Case) -> Looked:
    """Words, shouting, templates, length, greeting."""
    looked, manner = Looked(), manner_of(case.tier)
    tier = case.tier or "no tier known"
    for sentence in case.sentences:
        for what, phrases in RUDE.items():
            if match := _said(phrases, sentence):
                looked.wrong(f"it {what}: {match[0]!r}", sentence)
        if match := SHOUTED.search(sentence):
            looked.wrong(f"it shouts: {match[0][:60]!r}", sentence)
    for sentence in case.draft.reply.splitlines():
        if match := UNFILLED.search(sentence):
            looked.wrong(f"something was not filled in: {match[0]!r}", sentence.strip())
        if manner.personal and (match := _said(STOCK, sentence)):
            looked.wrong(f"a template for a {case.tier} customer: {match[0]!r}", sentence.strip())
    length = sum(len(sentence.split()) for sentence in case.sentences)
    if length > manner.words:
        looked.wrong(f"{length} words, and {manner.words} are the most ({tier})")
    if manner.by_name:
        _greeting(case, looked)
    if (cue := complaint_cue(case.request)) and not KIND.search(case.draft.reply):
        looked.wrong(f"{UNKIND} ({cue!r})")
    looked.seen.append(f"{tier}: {length} of at most {manner.words} words")
    return looked


def _said(phrases: Sequence[str], text: str) -> re.Match[str] | None:
    return re.search(rf"\b(?:{'|'.join(phrases)})\b", text, re.I)


def _greeting(case: Case, looked: Looked) -> None:
    hello = GREETING.match(case.draft.reply.strip() + "\n")
    if hello is None:
        looked.wrong(f"no greeting for a {case.tier} customer")
    elif case.names and not case.names & set(re.findall(r"[^\W\d_]+", hello[0].lower().replace("_", " "))):
        looked.wrong(f"a {case.tier} customer is greeted by name")
    else:
        looked.seen.append(f"greeted: {hello[0].strip()}")
