"""Patterns over folded text in many languages, made quick: what cannot match a text is not tried on it.

Python's engine looks at every place of the text unless all alternatives of a pattern begin alike. So a pattern is taken
apart: the alternatives in Latin letters, which begin at a word, and those in other scripts, which are only tried on a
text that has any. Folding makes German or French plain ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["Cue"]


class Cue:
    """A pattern, compiled in its two parts."""

    def __init__(self, pattern: str) -> None:
        parts = list(_alternatives(pattern))
        self._latin = _compiled([p for p in parts if p.isascii()])
        self._other = _compiled([p for p in parts if not p.isascii()])

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Every match; of each part in the order of the text."""
        if self._latin is not None:
            yield from self._latin.finditer(text)
        if self._other is not None and not text.isascii():
            yield from self._other.finditer(text)

    def search(self, text: str) -> re.Match[str] | None:
        """The first match, or None."""
        return next(self.finditer(text), None)


def _compiled(parts: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(parts)) if parts else None


def _alternatives(pattern: str) -> Iterator[str]:
    """The pattern cut at each | that stands in no group and no class."""
    depth, start, in_class, escaped = 0, 0, False, False
    for at, char in enumerate(pattern):
        if escaped or char == "\\":
            escaped = not escaped
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            yield pattern[start:at]
            start = at + 1
    yield pattern[start:]
