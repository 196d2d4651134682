"""What the knowledge index holds and gives: plain values, without SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .knowledge_lessons import Lesson
from .knowledge_words import words

__all__ = ["HEADING_WEIGHT", "Found", "Kind", "Passage", "Status", "passage_of", "stems_of"]

Kind = Literal["page", "faq", "ticket"]
HEADING_WEIGHT = 3  # a word in a heading says what the passage is about


@dataclass(frozen=True, slots=True)
class Passage:
    """A section of a page, a question with its answer, or a reply. `source`: a file, or the number of a ticket.

    `stems` are the words it is found by, as many as they are there; `length` how many there are of all.
    """

    kind: Kind
    source: str
    heading: str
    text: str
    stems: tuple[str, ...]
    length: int


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates, and over how much they were chosen: `seen` of `parts` passages have the word, `length` is the number
    of words in all of them."""

    passages: tuple[Passage, ...] = ()
    seen: Mapping[str, int] = field(default_factory=dict)
    parts: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """How much is indexed. `behind`: lines of the ledger that were not looked at yet."""

    pages: int
    faqs: int
    sections: int
    tickets: int
    behind: int
    indexed_at: float
    where: str


def stems_of(heading: str, *texts: str) -> tuple[str, ...]:
    """The words a passage is found by, those of its heading several times."""
    return (*words(heading) * HEADING_WEIGHT, *(word for text in texts for word in words(text)))


def passage_of(lesson: Lesson) -> Passage:
    """What a ticket teaches, found by its question and its reply."""
    heading = lesson.title or lesson.question.split("\n")[0][:200]
    stems = stems_of(heading, lesson.question, lesson.reply)
    return Passage("ticket", lesson.number, heading, lesson.reply, stems, len(stems))
