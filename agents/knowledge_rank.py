"""Rank passages against a question: plain BM25, and how much of the question each one covers. Pure: no file, no SQL.

`covers` is 0 to 1: the share of the question's information that the passage has. It is what a probability is made of,
see knowledge_curve.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftlead.queues.knowledge_passage import Found, Kind, Passage, stems_of
from shiftlead.queues.knowledge_words import is_of_the_case, words

__all__ = ["Corpus", "Ranked", "corpus_of", "rank", "section"]

K1, B = 1.4, 0.6  # the usual BM25 constants; B is low because our sections are all short
ENOUGH = 0.7  # information (in nats) at which a match counts half: one everyday word alone proves nothing


@dataclass(frozen=True, slots=True)
class Corpus:
    """Over what is ranked: how many of its `parts` have each word, and how long one is on average."""

    seen: Mapping[str, int]
    parts: int
    mean_length: float

    def worth(self, word: str) -> float:
        """How rare, so how telling, a word is: inverse document frequency."""
        seen = self.seen.get(word, 0)
        return math.log(1 + (self.parts - seen + 0.5) / (seen + 0.5))


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage that shares words with the question."""

    passage: Passage
    score: float
    covers: float
    matched: tuple[str, ...]
    missing: tuple[str, ...]


def section(source: str, heading: str, text: str, *, kind: Kind = "page", also: str = "") -> Passage:
    """A passage, from what it says. It is found by the words of `also`, too."""
    stems = stems_of(heading, text, also)
    return Passage(kind, source, heading, text, stems, len(stems))


def corpus_of(passages: Sequence[Passage]) -> Corpus:
    """The corpus these passages are, all of it."""
    seen = Counter(word for p in passages for word in set(p.stems))
    mean = sum(p.length for p in passages) / len(passages) if passages else 1.0
    return Corpus(seen, len(passages), mean or 1.0)


def rank(text: str, found: Found) -> list[Ranked]:
    """The candidates that share a word with `text`, best first."""
    asked = dict.fromkeys(words(text))
    mean = found.length / found.parts if found.parts else 1.0
    corpus = Corpus(found.seen, found.parts, mean or 1.0)
    worth = {word: corpus.worth(word) for word in asked}
    case = frozenset(word for word in asked if is_of_the_case(word))
    ranked = [_ranked(corpus, passage, worth, case) for passage in found.passages]
    return sorted((r for r in ranked if r is not None), key=lambda r: (-r.score, r.passage.source, r.passage.heading))


def _ranked(corpus: Corpus, passage: Passage, worth: Mapping[str, float], case: frozenset[str]) -> Ranked | None:
    counts: dict[str, int] = {}
    for word in passage.stems:
        if word in worth:
            counts[word] = counts.get(word, 0) + 1
    if not counts:
        return None
    matched = [word for word in worth if word in counts]
    norm = 1 - B + B * passage.length / corpus.mean_length
    score = sum(worth[w] * counts[w] * (K1 + 1) / (counts[w] + K1 * norm) for w in matched)
    missing = tuple(word for word in worth if word not in counts)
    covers = round(_covers(matched, worth, case), 3)
    if len(matched) == 1 and corpus.seen[matched[0]] > max(2, corpus.parts / 5):
        covers /= 2  # one word that is on many pages, as "card" at a card issuer, points at none of them
    return Ranked(passage, round(score, 3), covers, tuple(matched), missing)


def _covers(matched: list[str], worth: Mapping[str, float], case: frozenset[str]) -> float:
    """The share of the question's information that the passage has, less when that is little information.

    A word that no page knows counts fully against it: that is what makes a foreign question look foreign. Which order,
    whose account, on what day is another matter: every ticket may say so and no page can. Such words count where the
    passage has them beside another word of the question, never against it, and alone they prove nothing.
    """
    if case.issuperset(matched):
        return 0.0
    known = sum(worth[w] for w in matched)
    whole = known + sum(value for w, value in worth.items() if w not in matched and w not in case)
    return known / whole * known / (known + ENOUGH)
