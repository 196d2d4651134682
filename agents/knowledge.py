"""Find the section of a team's knowledge pages that answers a question. Plain BM25, no model, no network.

A folder of Markdown pages is cut at its headings. A search ranks the sections and says how much of the question each
one covers, so whoever writes the reply can tell "this is it" from "this is the nearest we have".

    python -m shiftlead.agents.knowledge <folder> "my question"     prints what matched, and why
"""

from __future__ import annotations

import math
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Hit", "Index", "Knowledge", "Section", "hit", "section_of", "words", "worth_of"]

K1, B = 1.4, 0.6  # the usual BM25 constants; B is low because our sections are all short
HEADING_WEIGHT = 3  # a word in a heading says what the section is about
ENOUGH = 0.7  # information (in nats) at which a match counts half: one everyday word alone proves nothing
MAX_PAGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Hit:
    """One section that shares words with the question. `confidence` is 0 to 1, see `_confidence`."""

    page: str
    section: str
    text: str
    score: float
    confidence: float
    matched: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def source(self) -> str:
        return f"{self.page} / {self.section}"

    def __str__(self) -> str:
        lacks = f"; not in it: {', '.join(self.missing)}" if self.missing else ""
        return f"{self.confidence:.2f}  {self.source}  (matched: {', '.join(self.matched)}{lacks})"


@dataclass(frozen=True, slots=True)
class Section:
    page: str
    heading: str
    text: str
    counts: Counter[str]
    length: int


@dataclass(frozen=True, slots=True)
class Index:
    signature: tuple[tuple[str, str, int, int], ...]
    sections: tuple[Section, ...]
    found_in: dict[str, int]
    mean_length: float


class Knowledge:
    """The pages of some folders, or single pages. Read once, and again when a file changes. Safe to share between
    threads."""

    def __init__(self, folders: Path | Sequence[Path]) -> None:
        self.folders = (folders,) if isinstance(folders, Path) else tuple(folders)
        self._lock = threading.Lock()
        self._index = Index((), (), {}, 1.0)

    def search(self, text: str, limit: int = 3) -> list[Hit]:
        """The best sections for `text`, best first. Empty when no word of it is known here."""
        index = self._current()
        asked = Counter(words(text))
        if not asked or not index.sections:
            return []
        worth = {word: worth_of(index, word) for word in asked}
        hits = [hit(index, section, asked, worth) for section in index.sections]
        return sorted((h for h in hits if h is not None), key=lambda h: (-h.score, h.source))[:limit]

    def texts(self) -> list[str]:
        """Every section, with its heading above it."""
        return [f"{section.heading}\n{section.text}" for section in self._current().sections]

    def _current(self) -> Index:
        signature = _signature(self.folders)
        with self._lock:
            if signature != self._index.signature:
                self._index = _build(signature)
            return self._index


def words(text: str) -> list[str]:
    """The informative words of a text, lower case, lightly stemmed, in order."""
    plain = text.lower().replace("’", "'").replace("can't", "cannot").replace("n't", " not")
    found = re.findall(r"[^\W_]+(?:'s)?", plain)
    return [_stem(w.removesuffix("'s")) for w in found if w.removesuffix("'s") not in STOP and len(w) > 1]


def hit(index: Index, section: Section, asked: Counter[str], worth: dict[str, float]) -> Hit | None:
    matched = [word for word in asked if word in section.counts]
    if not matched:
        return None
    norm = 1 - B + B * section.length / index.mean_length
    score = sum(worth[w] * section.counts[w] * (K1 + 1) / (section.counts[w] + K1 * norm) for w in matched)
    missing = tuple(word for word in asked if word not in section.counts)
    confidence = round(_confidence(matched, asked, worth), 3)
    if len(matched) == 1 and index.found_in[matched[0]] > max(2, len(index.sections) / 5):
        confidence /= 2  # one word that is on many pages, as "card" at a card issuer, points at none of them
    return Hit(section.page, section.heading, section.text, round(score, 3), confidence, tuple(matched), missing)


def _confidence(matched: list[str], asked: Iterable[str], worth: dict[str, float]) -> float:
    """The share of the question's information that the section covers, less when that is little information.

    A word that no page knows counts fully against it: that is what makes a foreign question look foreign. Which order,
    whose account, on what day is another matter: every ticket may say so and no page can. Such words count where the
    section has them beside another word of the question, never against it, and alone they prove nothing.
    """
    if all(_of_the_case(w) for w in matched):
        return 0.0
    known = sum(worth[w] for w in matched)
    whole = known + sum(worth[w] for w in asked if w not in matched and not _of_the_case(w))
    return known / whole * known / (known + ENOUGH)


def _of_the_case(word: str) -> bool:
    """A number, an id, or a word that only introduces one or says when."""
    return word in CASE or any(c.isdigit() for c in word)


def worth_of(index: Index, word: str) -> float:
    """How rare, so how telling, a word is: inverse document frequency."""
    seen = index.found_in.get(word, 0)
    return math.log(1 + (len(index.sections) - seen + 0.5) / (seen + 0.5))


def _signature(folders: Iterable[Path]) -> tuple[tuple[str, str, int, int], ...]:
    """(file, name of the page, changed at, bytes) of every page."""
    found = []
    for folder in folders:
        within = folder.parent if folder.is_file() else folder
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*.md")):
            stat = path.stat()
            found.append((str(path), path.relative_to(within).as_posix(), stat.st_mtime_ns, stat.st_size))
    return tuple(dict.fromkeys(found))


def _build(signature: tuple[tuple[str, str, int, int], ...]) -> Index:
    sections = []
    for name, page, _, size in signature:
        if size <= MAX_PAGE_BYTES:
            path = Path(name)
            sections += [section_of(page, h, t) for h, t in _cut(path.read_text("utf-8", "replace"), path.stem)]
    found_in = Counter(word for section in sections for word in section.counts)
    mean = sum(s.length for s in sections) / len(sections) if sections else 1.0
    return Index(signature, tuple(sections), dict(found_in), mean or 1.0)


def section_of(page: str, heading: str, text: str) -> Section:
    counts = Counter(words(text))
    for word in words(heading):
        counts[word] += HEADING_WEIGHT
    return Section(page, heading, text, counts, sum(counts.values()))


def _cut(markdown: str, title: str) -> Iterator[tuple[str, str]]:
    """(heading path, text) for each section that says something. Headings inside code fences are text."""
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = False

    def done() -> Iterator[tuple[str, str]]:
        text = "\n".join(lines).strip()
        if text:
            yield " > ".join(h for _, h in path) or title, text

    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else re.match(r"(#{1,6})\s+(.*?)\s*#*\s*$", line)
        if heading is None:
            lines.append(line)
            continue
        yield from done()
        lines.clear()
        level = len(heading[1])
        path[:] = [*((n, h) for n, h in path if n < level), (level, heading[2])]
    yield from done()


def _stem(word: str) -> str:
    """Enough to bring card and cards, activate and activating together; not a dictionary."""
    for ending, put in (("ies", "y"), ("sses", "ss"), ("ations", "at"), ("ation", "at"), ("ing", ""), ("ed", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + put
            if put == "" and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    else:
        if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
            word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after again all also am an and any anyone anything anyway are as ask at be because been before
        being but by can cannot come could did do does doing done don down else even ever for from get gets
        getting give go goes going gone got had happen happened happening happens has have having he hello
        help her here hey hi him his how i if im in into is it its ive just keep know let like ll look make
        many may maybe me might more most much must my myself need needed needs no not now of off ok okay on
        once one only or other our out over own please possible put re report really said same say says see
        seem seems she should since so some someone something still such sure take tell than thank thanks that
        the their them then there these they thing things think this those though to too try trying up us use
        used using ve very want wanted wants was way we well went were what when where whether which while who
        whom whose why will wish with won wondering would yes yet you your yours""",
    )
)

# Stemmed, as `words` gives them. Greetings and please are in STOP already.
CASE = frozenset(
    re.findall(
        r"\w+",
        """account customer date dear id madam morning number order ref referenc sir ticket today tomorrow tonight
        yesterday monday tuesday wednesday thursday friday saturday sunday january february march april june july
        august september october november december""",
    )
)

if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit('usage: python -m shiftlead.agents.knowledge <folder> "question"')
    found = Knowledge(Path(sys.argv[1])).search(" ".join(sys.argv[2:]), limit=5)
    print("\n".join(map(str, found)) or "nothing matched")
