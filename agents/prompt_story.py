"""The history of a ticket in so many tokens: newest lines whole, older ones a line each, a count of the rest.

Condensing follows rules and needs no model, so the same history gives the same summary. Nothing is lost by it: the
ledger keeps every line, and the text says where.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shiftlead.queues.ticket import Line

from .prompt_text import estimate_tokens, fit, harmless

__all__ = ["Story", "tell"]

WHOLE = 0.7  # of the room, for lines that are told whole
LONGEST = 600  # tokens one whole line may have
SHORT = 110  # characters of a reason in a condensed line
SAID_ELSEWHERE = frozenset({"accept", "edit"})  # their detail is the ticket itself, which the prompt has


@dataclass(frozen=True, slots=True)
class Story:
    """`text` is for the prompt; `summary` is its condensed part alone; `note` says what is in it and what is not."""

    text: str
    summary: str
    note: str
    lines: int
    condensed: int
    left_out: int


def tell(history: Sequence[Line], tokens: int, *, number: str) -> Story:
    """The history, oldest line first, in about `tokens`. `number` is the ticket that has it all."""
    whole = _as_many(reversed(history), int(tokens * WHOLE), _whole)
    older = history[: len(history) - len(whole)]
    room = tokens - sum(estimate_tokens(text) + 1 for text in whole) - 40
    short = _as_many(reversed(older), room, _short)
    at = len(older) - len(short)
    summary = "\n".join(reversed(short))
    note = f"{len(history)} lines"
    if short or at:
        note += f": the newest {len(whole)} in full, {len(short)} older ones condensed, the {at} oldest left out; "
        note += f"the whole history is on {number}"
    gap = [f"[{at} older lines are left out here]"] if at else []
    text = "\n".join([*gap, *([summary] if summary else []), *reversed(whole)])
    return Story(text if history else "", summary, note, len(history), len(short), at)


def _as_many(lines: Iterable[Line], room: int, told: Callable[[Line], str]) -> list[str]:
    """The lines as told, as long as there is room."""
    found = []
    for line in lines:
        text = told(line)
        room -= estimate_tokens(text) + 1
        if room < 0:
            break
        found.append(text)
    return found


def _whole(line: Line) -> str:
    detail = (
        {} if line.move in SAID_ELSEWHERE else {k: v for k, v in line.detail.items() if v not in (None, "", [], {})}
    )
    said = json.dumps(detail, ensure_ascii=False, default=str) if detail else ""
    text = f"{_head(line)} {line.before or '-'} -> {line.after or '-'} {line.reason} {said}".strip()
    return fit(harmless(text).replace("\n", " "), LONGEST, where="in the ledger")


def _short(line: Line) -> str:
    said = line.reason or next(
        (str(v) for k, v in line.detail.items() if k in ("reply", "question", "text", "error")), ""
    )
    said = harmless(said[: 4 * SHORT]).replace("\n", " ")
    return f"{_head(line)} {said if len(said) <= SHORT else said[:SHORT] + '...'}".rstrip()


def _head(line: Line) -> str:
    at = datetime.fromtimestamp(line.at, UTC).strftime("%m-%d %H:%M")
    return f"{line.number} #{line.seq} {at} {line.move} by {line.actor}"
