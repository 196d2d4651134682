"""One reply out of several: what colleagues wrote becomes one letter, greeted once and signed once (SS-03).

Sentences that two of them wrote stand once. Where they contradict each other, `conflicts` finds the two sentences; who
settles that is the manager's business. Plain rules, no model: a number with its unit, or a "not", in sentences that
otherwise say the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from shiftlead.queues.knowledge_words import words

__all__ = ["Conflict", "Piece", "bare", "conflicts", "one_reply"]

GREETING = re.compile(
    r"\A(?:hello|hi|dear|good (?:morning|day|evening))(?:(?: [\w.'’-]{1,40}){0,4}\.?|\b[^\n]{0,60}[,!]) ?\n\s*", re.I
)
SIGNATURE = re.compile(
    r"\n\s{0,9}(?:(?:(?:kind|best|warm) regards|sincerely|thanks|thank you)[,.!]? ?\n?){0,1}your [\w ]{0,40}team[.!]?\Z"
    r"|\n\s{0,9}(?:(?:kind|best|warm) regards|sincerely)[,.!]? ?(?:\n[^\n]{0,60}){0,2}\Z",
    re.I,
)
OFFLINE = re.compile(r" ?\(offline brain\)")
NUMBER = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(%|percent|euros?|eur|€|\$|dollars?|days?|hours?|minutes?|weeks?|months?|years?|people|users|"
    r"members|seats|[mg]b)",
    re.I,
)
NOT = re.compile(r"\b(?:not|no|never|cannot|without)\b|n['’]t\b", re.I)
MOST = 80  # sentences of one piece that are compared
ALIKE = 0.5  # share of the words two sentences have in common before one can contradict the other


@dataclass(frozen=True, slots=True)
class Piece:
    """What one colleague wrote. `about` is what the reader sees above it."""

    about: str
    number: str
    agent: str
    text: str

    @property
    def source(self) -> str:
        return f"{self.number}{f' ({self.agent})' if self.agent else ''}"


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two sentences that cannot both be right."""

    first: Piece
    one: str
    second: Piece
    other: str

    def __str__(self) -> str:
        first, second = (p.agent or p.number for p in (self.first, self.second))
        return f"{first}: “{self.one}” {second}: “{self.other}”"


def bare(text: str) -> str:
    """A reply without its greeting and its signature."""
    text = GREETING.sub("", text.strip() + "\n").rstrip()
    return OFFLINE.sub("", SIGNATURE.sub("", "\n" + text)).strip()


def one_reply(pieces: Sequence[Piece], *, hello: str, before: str = "", after: Sequence[str] = (), sign: str) -> str:
    """One letter with a paragraph for each piece, in their order. What one piece says the next does not repeat."""
    said: set[str] = set()
    parts = [before] if before else []
    for piece in pieces:
        text = _without_repeats(bare(piece.text), said)
        if text:
            parts.append(f"{piece.about}:\n{text}" if len(pieces) > 1 and piece.about else text)
    return "\n\n".join([hello, *parts, *after, sign])


def conflicts(pieces: Sequence[Piece]) -> list[Conflict]:
    """Every pair of sentences of different pieces that contradict each other."""
    found = []
    for first, second in combinations(pieces, 2):
        if first.agent and first.agent == second.agent:
            continue
        for one in _sentences(bare(first.text)):
            for other in _sentences(bare(second.text)):
                if _contradict(one, other):
                    found.append(Conflict(first, one, second, other))
    return found


def _contradict(one: str, other: str) -> bool:
    numbers, others = _numbers(one), _numbers(other)
    mine, theirs = _about(one), _about(other)
    if not mine or not theirs or len(mine & theirs) / len(mine | theirs) < ALIKE:
        return False
    shared = numbers.keys() & others.keys()
    if any(numbers[unit] != others[unit] for unit in shared):
        return True
    return bool(NOT.search(one)) is not bool(NOT.search(other)) and len(mine & theirs) >= 3


def _numbers(sentence: str) -> dict[str, set[str]]:
    """Unit to the numbers that stand before it."""
    found: dict[str, set[str]] = {}
    for number, unit in NUMBER.findall(sentence):
        found.setdefault(unit.lower().rstrip("s"), set()).add(number.replace(",", "."))
    return found


def _about(sentence: str) -> set[str]:
    return {word for word in words(sentence) if not word[0].isdigit()}


def _sentences(text: str) -> list[str]:
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+|\n+", text) if len(s.strip()) > 8][:MOST]


def _without_repeats(text: str, said: set[str]) -> str:
    """The text without sentences that were said before; `said` learns this one's."""
    lines = []
    for line in text.splitlines():
        kept = []
        for sentence in re.split(r"(?<=[.!?])\s+", line):
            key = " ".join(re.findall(r"\w+", sentence.lower()))
            if len(key) < 20 or key not in said:  # a short one - a step of a list, a "Yes." - may well come twice
                kept.append(sentence)
            said.add(key)
        if kept or not line.strip():
            lines.append(" ".join(kept))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
