"""The file of notices carries titles: blank them where they stand.

A blanked line is as long as it was (JSON may end in blanks), so it is overwritten in place: whoever appends to the file
at the same moment loses nothing, and the old words are not left in a freed block.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["erase_notices"]

TEXTS = ("title", "text", "body", "summary", "reason", "customer", "says")


def erase_notices(file: Path, numbers: set[str]) -> int:
    """Blank the texts of every notice that names one of these tickets, in `file` and older ones beside it; how many."""
    return sum(_one(path, numbers) for path in sorted(file.parent.glob(file.name + "*")) if path.is_file())


def _one(path: Path, numbers: set[str]) -> int:
    count, at = 0, 0
    with path.open("r+b") as notices:
        while line := notices.readline():
            blanked = _blanked(line, numbers)
            if blanked is not None:
                notices.seek(at)
                notices.write(blanked)
                count += 1
            at += len(line)
            notices.seek(at)
    return count


def _blanked(line: bytes, numbers: set[str]) -> bytes | None:
    """The line without its texts, exactly as long; None where there is nothing to blank."""
    text = line.decode("utf-8", "replace")
    if not any(number in text for number in numbers):
        return None
    try:
        notice = json.loads(text)
    except ValueError:
        notice = {}
    blank = _without_texts(notice)
    if blank == notice and notice:
        return None
    room = len(line) - line.endswith(b"\n")
    new = json.dumps(blank, ensure_ascii=False, separators=(",", ":")).encode()
    if len(new) > room:  # written by somebody else, with fewer characters for the same JSON
        new = b"{}"
    return new.ljust(room) + line[room:]


def _without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "" if k in TEXTS and isinstance(v, str) else _without_texts(v) for k, v in value.items()}
    return [_without_texts(v) for v in value] if isinstance(value, list) else value
