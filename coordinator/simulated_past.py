"""Read past tickets for a dry run: a JSONL file, one ticket a line, and the moment each of them came.

A line is a ticket as `shiftlead enqueue` takes it, and may also say

    at           when it came: unix seconds, or ISO 8601 (without a zone: UTC); `created_at` is read the same
    after_s      or: so many seconds after the start
    minutes      how long it was worked on; else the model says so
    number, key  kept as its name in the report; numbers are given anew

Without a time on any line they are spread: at `rate` an hour, or evenly at random over `days`, both seeded.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shiftlead.queues.errors import BadInput
from shiftlead.queues.reserved import RESERVED, plain_type
from shiftlead.queues.ticket import Draft, parse_draft

__all__ = ["Arrival", "arrivals", "moment", "next_monday", "read_past"]

TIMES = ("at", "created_at", "after_s")
LEAST, MOST = 0.0, 4_102_444_800.0  # 1970 to 2100


@dataclass(frozen=True, slots=True)
class Arrival:
    """A ticket that came at `at` (unix seconds). `name`: what the file calls it. `minutes`: worked on it then."""

    at: float
    draft: Draft
    name: str = ""
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    line: int
    draft: Draft
    name: str
    minutes: float | None
    at: float | None
    after_s: float | None


def read_past(
    file: Path, *, max_bytes: int, start: float | None = None, rate: float | None = None, days: float | None = None,
    seed: int = 0,
) -> list[Arrival]:  # fmt: skip
    """The tickets of a JSONL file in the order they came.

    `start`: unix seconds the spread begins at and `after_s` counts from; default: the next Monday, 00:00 UTC.

    Raises:
        BadInput: a line is no ticket, or has no time while others do; told as file:line.
    """
    try:
        with file.open("rb") as lines:
            told = list(_told(lines, file.name, max_bytes))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    return arrivals(told, file.name, start=start, rate=rate, days=days, seed=seed)


def arrivals(
    told: list[_Told], name: str, *, start: float | None, rate: float | None, days: float | None, seed: int
) -> list[Arrival]:
    """Give each its moment."""
    if not told:
        raise BadInput(f"{name} has no ticket in it.")
    spread = rate is not None or days is not None
    timed = [t for t in told if t.at is not None or t.after_s is not None]
    begin = start if start is not None else next_monday(datetime.now(UTC))
    if not spread:
        if untimed := next((t for t in told if t.at is None and t.after_s is None), None):
            why = "other lines have one" if timed else "nor has any other line"
            raise BadInput(
                f"{name}:{untimed.line}: the ticket has no time (`at` or `after_s`), {why}. Add it, or spread all of "
                "them: --days 5, or --rate 60 (an hour).",
                line=untimed.line,
            )
        moments = [t.at if t.at is not None else begin + (t.after_s or 0.0) for t in told]
    else:
        moments = list(_spread(len(told), begin, rate, days, random.Random(seed)))  # noqa: S311
    found = [Arrival(at, t.draft, t.name, t.minutes) for at, t in zip(moments, told, strict=True)]
    return sorted(found, key=lambda a: a.at)


def moment(value: object) -> float:
    """Unix seconds of a moment: a number, or ISO 8601; without a zone it is UTC.

    Raises:
        ValueError: it is neither, or lies before 1970 or after 2100.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no moment: unix seconds, or 2026-03-02T09:00:00+01:00")
    try:
        at = float(value)
    except ValueError:
        try:
            read = datetime.fromisoformat(str(value))
        except ValueError:
            raise ValueError(f"{value!r} is no moment: unix seconds, or 2026-03-02T09:00:00+01:00") from None
        at = (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
    if not LEAST <= at <= MOST:
        raise ValueError(f"{value!r} is not a moment between 1970 and 2100")
    return at


def next_monday(now: datetime) -> float:
    """The Monday after `now`, 00:00 UTC, unix seconds."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=7 - midnight.weekday())).timestamp()


def _told(lines: Iterable[bytes], name: str, max_bytes: int) -> Iterator[_Told]:
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            yield _line(raw, number, max_bytes)
        except ValueError as error:  # BadInput is one of ours, the rest are values that cannot be
            said = str(error).replace(" Nothing was stored.", "").replace("Nothing was stored.", "").strip()
            raise BadInput(f"{name}:{number}: {said}", line=number) from None
        except BadInput as error:
            said = str(error).replace(" Nothing was stored.", "")
            raise BadInput(f"{name}:{number}: {said}", line=number) from None


def _line(raw: bytes, number: int, max_bytes: int) -> _Told:
    data: Any = None
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as error:  # in a file of many lines the place inside the line is the column
        raise BadInput(f"malformed JSON in column {error.colno}: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"malformed JSON: {error}.") from None
    if not isinstance(data, dict):
        raise BadInput(f"a ticket is a JSON object, this is {type(data).__name__}.")
    times = {field: data.pop(field) for field in TIMES if data.get(field) is not None}
    if len(times) > 1:
        raise BadInput(f"says both {' and '.join(times)}; one of them is enough.")
    minutes = data.pop("minutes", None)
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes <= 0):
        raise BadInput(f"minutes: {minutes!r} is not a number of minutes.")
    key = data.pop("key", None)
    label = str(data.pop("ticket_id", None) or data.pop("number", None) or key or "")
    data.pop("number", None)
    data.pop("team", None)
    draft = parse_draft({"source": "past"} | data, max_bytes=max_bytes)
    if plain_type(draft.type) in RESERVED:
        raise BadInput(f"{draft.type!r} tickets are made by Shiftlead itself.")
    after = times.get("after_s")
    if after is not None and (isinstance(after, bool) or not isinstance(after, int | float) or not 0 <= after < MOST):
        raise BadInput(f"after_s: {after!r} is not a number of seconds.")
    told = times.get("at", times.get("created_at"))
    return _Told(number, draft, label[:100], minutes, None if told is None else moment(told), after)


def _spread(count: int, start: float, rate: float | None, days: float | None, dice: random.Random) -> Iterator[float]:
    if rate is not None:
        at = start
        for _ in range(count):
            at += dice.expovariate(rate / 3600.0)
            yield at
    else:
        yield from sorted(start + dice.random() * (days or 1.0) * 86_400.0 for _ in range(count))
