"""What a text asks for, part by part: each matter with the words that belong to it, by the team's own examples.

A text is cut into sentences, and a sentence into clauses where its clauses sound like different things. What sounds
like nothing belongs to what was said before it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from shiftlead.config.team import Team
from shiftlead.queues.knowledge_words import words

from .reading import Examples, Guess, examples_of, read

__all__ = ["Topic", "topics_of"]

MOST = 60  # sentences that are looked at one by one
LEAST_WORDS = 3  # that mean something; a line of fewer before the first matter is a title or a greeting
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
CLAUSE = re.compile(r",?\s+(?:and|but|also|plus|besides|furthermore)\s+(?=\S+\s+\S+)|;\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Topic:
    """One matter of a text: whose it is, its part of the text unchanged, and what it was told by."""

    capability: str
    text: str
    why: str


def topics_of(text: str, team: Team, able: Collection[str]) -> list[Topic]:
    """The matters of `text` that somebody `able` can do, in the order they come up; none where it sounds like none."""
    examples = examples_of(team)
    if examples is None:
        return []
    told = [(unit, _guess(examples, unit, able)) for unit in _units(text, examples, able)]
    sure = [guess for _, guess in told if guess is not None]
    if len({guess.capability for guess in sure}) < 2:
        whole = _guess(examples, text, able) or (sure[0] if sure else None)
        return [Topic(whole.capability, text, _why(whole))] if whole else []
    while told[0][1] is None and len(words(told[0][0])) < LEAST_WORDS:
        told.pop(0)  # a title or a greeting belongs to all of them, and to none in particular
    current = sure[0].capability
    parts: dict[str, list[str]] = {guess.capability: [] for guess in sure}
    for unit, guess in told:
        current = guess.capability if guess is not None else current
        parts[current].append(unit)
    first = {guess.capability: guess for guess in reversed(sure)}
    return [Topic(name, " ".join(units), _why(first[name])) for name, units in parts.items()]


def _units(text: str, examples: Examples, able: Collection[str]) -> list[str]:
    sentences = [s.strip() for s in SENTENCE.split(text) if s.strip()]
    if len(sentences) > MOST:
        sentences = [*sentences[:MOST], " ".join(sentences[MOST:])]
    return [unit for sentence in sentences for unit in _clauses(sentence, examples, able)]


def _clauses(sentence: str, examples: Examples, able: Collection[str]) -> Iterable[str]:
    """The sentence itself, unless two of its clauses surely sound like different things."""
    clauses = [c.strip() for c in CLAUSE.split(sentence) if c.strip()]
    found = {guess.capability for c in clauses if (guess := _guess(examples, c, able)) is not None}
    return clauses if len(found) > 1 else [sentence]


def _guess(examples: Examples, text: str, able: Collection[str]) -> Guess | None:
    guess = examples.guess(read("", text))
    return guess if guess is not None and guess.sure and guess.capability in able else None


def _why(guess: Guess) -> str:
    return f"sounds like {guess.capability} ({', '.join(guess.matched)})"
