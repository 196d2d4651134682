"""Search what a team knows: its Markdown pages, questions with answers, and what its resolved tickets teach.

    Knowledge([team.folder / "knowledge"], index).search("my card has not come")     -> hits, best first

A hit says where it is from, what matched, what did not, and how likely it is the right answer, so whoever writes the
reply can tell "this is it" from "this is the nearest we have". With an index (queues/knowledge_index.py) SQL names the
candidates and past tickets are searched, too. Without one, or when it does not answer, the files are read into memory.

    python -m shiftlead.agents.knowledge <folder> "my question"     prints what matched, and why
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from shiftlead.queues.knowledge_passage import Found, Kind, Passage
from shiftlead.queues.knowledge_words import words

from .knowledge_curve import CURVES, Curve
from .knowledge_pages import BadFile, PageFile, cut_file, find_files
from .knowledge_rank import Ranked, corpus_of, rank

__all__ = ["Hit", "Knowledge", "Shelf"]

log = logging.getLogger(__name__)
CHEAP_S = 0.002  # a look at the files that costs less is taken before every search
CURVES_S = 60.0  # between two readings of how the team's outcomes bent the curves
QUOTED = 0.75  # share of a page's words, its heading's too, that a reply and its question have: it quotes it
SILENT_S = 30.0  # an index that failed is left alone for so long


class Shelf(Protocol):
    """Where an index keeps passages; queues/knowledge_index.py is one."""

    folder: Path

    def keep_files(self, files: Mapping[str, str], read: Callable[[str], Sequence[Passage]]) -> int: ...

    def refresh(self) -> int: ...

    def find(self, asked: Iterable[str], files: Sequence[str]) -> tuple[Found, Found]: ...

    def curves(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage that shares words with the question.

    `covers` is the share of the question it has, `confidence` the probability that it is the right answer, both 0 to 1.
    """

    page: str
    section: str
    text: str
    score: float
    covers: float
    confidence: float
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    kind: Kind = "page"

    @property
    def source(self) -> str:
        """Where it is from, for colleagues and evidence. The number of somebody else's ticket is not for a customer."""
        return self.page if self.kind == "ticket" else f"{self.page} / {self.section}"

    @property
    def label(self) -> str:
        """What a model is told it is: it may repeat that to the customer."""
        return f"an answer given before, names left out, to: {self.section}" if self.kind == "ticket" else self.source

    @property
    def shown(self) -> str:
        """Where it is from, for the customer."""
        if self.kind == "ticket":
            return "From an answer we gave before"
        return f"From our {'FAQ: ' + self.section if self.kind == 'faq' else 'pages: ' + self.source}"

    def __str__(self) -> str:
        lacks = f"; not in it: {', '.join(self.missing)}" if self.missing else ""
        what = f"{self.kind} covers {self.covers:.3f}; matched: {', '.join(self.matched)}{lacks}"
        return f"{self.confidence:.2f}  {self.source}  ({what})"


class Knowledge:
    """What some folders or single pages say, and with `shelf` what the team's tickets teach.

    Files are read once, and again when they change. Safe to share between threads.
    """

    def __init__(self, folders: Path | Sequence[Path], shelf: Shelf | None = None) -> None:
        self.folders = (folders,) if isinstance(folders, Path) else tuple(folders)
        self.problems: dict[str, str] = {}  # files that are not what their name says, and why
        self._shelf = shelf
        self._lock = threading.Lock()
        self._files: tuple[PageFile, ...] | None = None
        self._by_source: dict[str, PageFile] = {}
        self._memory: Found | None = None
        self._kept = False  # the shelf has the files as they are
        self._look_again = self._ask_again = self._read_curves = 0.0
        self._curves: Mapping[str, Curve] = CURVES

    def search(self, text: str, limit: int = 3) -> list[Hit]:
        """The best passages for `text`, best first. Empty when no word of it is known here."""
        asked = list(dict.fromkeys(words(text)))
        if not asked:
            return []
        with self._lock:
            self._look()
            files = self._by_source
        found = self._find(asked, files)
        pages, *tickets = [rank(text, f)[: 3 * limit] for f in found]
        texts = [set(page.passage.stems) for page in pages]
        ranked = [pages, *([t for t in past if not _quotes(t, texts)] for past in tickets)]
        return _merged([[_hit(r, self._curves, files) for r in some] for some in ranked], limit)

    def texts(self) -> list[str]:
        """Every section of the files, with its heading above it."""
        with self._lock:
            self._look()
            return [f"{p.heading}\n{p.text}" for p in self._in_memory().passages]

    # -- helpers ------------------------------------------------------------------------------------------------

    def _find(self, asked: list[str], files: Mapping[str, PageFile]) -> Sequence[Found]:
        """Candidates of the files, and of the tickets."""
        if self._shelf is not None and time.monotonic() >= self._ask_again:
            try:
                with self._lock:
                    if not self._kept:
                        self._shelf.keep_files({s: f.mark for s, f in self._by_source.items()}, self._cut)
                        self._kept = True
                self._shelf.refresh()
                self._bend(self._shelf)
                return self._shelf.find(asked, list(files))
            except (SQLAlchemyError, OSError) as error:
                log.warning("the knowledge index does not answer; pages are searched without it: %s", error)
                self._ask_again = time.monotonic() + SILENT_S
        with self._lock:
            return [self._in_memory()]

    def _in_memory(self) -> Found:
        """All passages of the files, for whoever holds the lock."""
        if self._memory is None:
            passages = tuple(p for source in self._by_source for p in self._cut(source))
            corpus = corpus_of(passages)
            self._memory = Found(passages, corpus.seen, corpus.parts, sum(p.length for p in passages))
        return self._memory

    def _look(self) -> None:
        """See whether a file has changed: before every search, less often where looking at many files takes time."""
        if self._files is not None and time.monotonic() < self._look_again:
            return
        began = time.thread_time()
        files = find_files(self.folders)
        took = time.thread_time() - began
        self._look_again = 0.0 if took < CHEAP_S else time.monotonic() + 20 * took
        if files != self._files:
            self._files, self._memory, self._kept = files, None, False
            self._by_source = {self._source(file): file for file in files}
            self.problems = {}

    def _source(self, file: PageFile) -> str:
        """How the shelf names it: the same on every machine."""
        if self._shelf is None:
            return file.path.as_posix()
        return Path(os.path.relpath(file.path.resolve(), self._shelf.folder.resolve())).as_posix()

    def _cut(self, source: str) -> list[Passage]:
        file = self._by_source[source]
        try:
            return cut_file(file, source)
        except (BadFile, OSError) as error:
            log.warning("not searched: %s", error)
            self.problems[file.page] = str(error)
            return []

    def _bend(self, shelf: Shelf) -> None:
        """Take over what the team's outcomes say about the curves."""
        if time.monotonic() < self._read_curves:
            return
        kept = shelf.curves()
        own = {kind: Curve(float(c["curve"]["a"]), float(c["curve"]["b"])) for kind, c in kept.items()}
        self._curves = {**CURVES, **own}
        self._read_curves = time.monotonic() + CURVES_S


def _hit(ranked: Ranked, curves: Mapping[str, Curve], files: Mapping[str, PageFile]) -> Hit:
    p = ranked.passage
    page = files[p.source].page if p.source in files else p.source
    confidence = round(curves[p.kind](ranked.covers), 3) if ranked.covers else 0.0
    return Hit(page, p.heading, p.text, ranked.score, ranked.covers, confidence, ranked.matched, ranked.missing, p.kind)


def _merged(lists: Sequence[list[Hit]], limit: int) -> list[Hit]:
    """One list: each keeps its order, the more likely one of two first comes next. The same answer stands once."""
    heads, merged = [list(reversed(hits)) for hits in lists], list[Hit]()
    while len(merged) < limit and any(heads):
        best = max((h for h in heads if h), key=lambda h: h[-1].confidence).pop()
        if not any(best.text == other.text for other in merged):
            merged.append(best)
    return merged


def _quotes(ticket: Ranked, pages: Sequence[set[str]]) -> bool:
    """Whether the reply was written from one of the pages, and says nothing new beside it."""
    said = set(ticket.passage.stems)
    return any(len(said & page) >= QUOTED * len(page) for page in pages)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit('usage: python -m shiftlead.agents.knowledge <folder> "question"')
    found_hits = Knowledge(Path(sys.argv[1])).search(" ".join(sys.argv[2:]), limit=5)
    print("\n".join(map(str, found_hits)) or "nothing matched")
