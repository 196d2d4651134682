"""The files of a team's knowledge, cut into passages.

    page.md                 cut at its headings; the path of headings is the passage's heading
    faq.md                  the same: a heading is a question, what stands under it the answer
    faq.yaml, *.faq.yaml    a list of {question: ..., answer: ...}; `question` may be a list of ways to ask

A file that cannot be read as what its name says has a reason instead of passages. It is never in the way of the others.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftlead.config.marks import MarkedError, read_marked
from shiftlead.queues.knowledge_passage import Passage

from .knowledge_rank import section

__all__ = ["BadFile", "PageFile", "cut_file", "find_files", "is_faq"]

MAX_PAGE_BYTES = 1_000_000
FAQ_YAML = re.compile(r"(?:.*[._-])?faq\.ya?ml", re.I)
FAQ_PAGE = re.compile(r"(?:.*[._-])?faq\.md", re.I)


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file as it is now: `page` is its name for people, relative to the folder that was named."""

    path: Path
    page: str
    changed_ns: int
    size: int

    @property
    def mark(self) -> str:
        """sha256 of what it says."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


class BadFile(ValueError):
    """The file is not what its name says; the message says where and why."""


def find_files(folders: Iterable[Path]) -> tuple[PageFile, ...]:
    """The pages and FAQs of some folders, or of single pages, in a fixed order, each once."""
    found: dict[str, PageFile] = {}
    for folder in folders:
        single = folder.is_file()
        within = folder.parent if single else folder
        for path in [str(folder)] if single else sorted(_ours_in(str(folder))):
            stat = os.stat(path)  # noqa: PTH116 - before every search: a Path for each file costs more than the look
            page = os.path.relpath(path, within) if single else path[len(str(within)) + 1 :]
            found.setdefault(path, PageFile(Path(path), page.replace(os.sep, "/"), stat.st_mtime_ns, stat.st_size))
    return tuple(found.values())


def is_faq(name: str) -> bool:
    """Whether a file of that name holds questions with answers."""
    return bool(FAQ_YAML.fullmatch(name) or FAQ_PAGE.fullmatch(name))


def cut_file(file: PageFile, source: str) -> list[Passage]:
    """The passages of a file. Too large a file has none.

    Raises:
        BadFile: an FAQ that is none. OSError: it cannot be read.
    """
    if file.size > MAX_PAGE_BYTES:
        return []
    if FAQ_YAML.fullmatch(file.path.name):
        return list(_faq(file.path, source))
    kind = "faq" if is_faq(file.path.name) else "page"
    text = file.path.read_text("utf-8", "replace")
    return [section(source, heading, said, kind=kind) for heading, said in cut(text, file.path.stem)]  # type: ignore[arg-type]


def cut(markdown: str, title: str) -> Iterator[tuple[str, str]]:
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


def _ours_in(folder: str) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        yield from (f"{root}{os.sep}{name}" for name in names if name.endswith(".md") or FAQ_YAML.fullmatch(name))


def _faq(path: Path, source: str) -> Iterator[Passage]:
    try:
        marked = read_marked(path)
    except MarkedError as error:
        raise BadFile(f"{path.name}, line {error.mark.line}: {error}") from None
    if not isinstance(marked.data, list):
        raise BadFile(f"{path.name} is not a list of {{question: ..., answer: ...}}")
    for index, item in enumerate(marked.data):
        asked, answer = _question(item), item.get("answer") if isinstance(item, dict) else None
        if not asked or not isinstance(answer, str) or not answer.strip() or set(item) - {"question", "answer"}:
            line = marked.place((index,)).line
            raise BadFile(f"{path.name}, line {line}: an entry is {{question: ..., answer: ...}}, both texts")
        yield section(source, asked[0], answer.strip(), kind="faq", also=" ".join(asked[1:]))


def _question(item: Any) -> Sequence[str]:
    """The ways to ask it, the first one as it is shown."""
    given = item.get("question") if isinstance(item, dict) else None
    ways = given if isinstance(given, list) else [given]
    return (
        [w.strip() for w in ways if isinstance(w, str) and w.strip()] if all(isinstance(w, str) for w in ways) else []
    )
