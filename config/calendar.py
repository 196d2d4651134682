"""Working hours as people write them: `Mon-Fri 08:00-18:00 Europe/Berlin`.

Several windows are separated by commas: `Mon-Thu 08:00-18:00, Fri 08:00-14:00 Europe/Berlin`. A window may go past
midnight (`Sun-Thu 22:00-06:00`). The wall clock of the zone counts, so the hours move with summer time: a window in
the hour that comes twice in autumn is open twice, one in the hour that spring skips is not open at all.

Holidays are days in the zone of the hours: a window that starts on one does not open; one that began the evening
before still ends as usual. Every search looks `HORIZON_DAYS` ahead and then gives the end of that search: whatever
is asked, the answer is a moment before which nothing changes, also when the hours never open or never close.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = ["Hours"]

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WINDOW = re.compile(r"([A-Za-z]{3})(?:\s*-\s*([A-Za-z]{3}))?\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
EXAMPLE = "write it as: Mon-Fri 08:00-18:00 Europe/Berlin"
DAY = 24 * 60
HORIZON_DAYS = 400
LONGEST_DAYS = 3653  # ten years, for the sum of open time
DAY_S = 86_400.0
REACH_S = 16 * 3600.0  # no zone was ever further from UTC


@dataclass(frozen=True)
class Hours:
    """When somebody works.

    Raises:
        ValueError: the text is not hours, or the time zone is unknown.
    """

    text: str
    zone: ZoneInfo = field(init=False, repr=False, compare=False)
    windows: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        head, _, zone = self.text.strip().rpartition(" ")
        windows = [w for part in head.split(",") for w in _windows(part.strip(), self.text)]
        try:
            found = ZoneInfo(zone)
        except (KeyError, ValueError, OSError):  # not found is a KeyError, a path a ValueError, a folder an OSError
            raise ValueError(f"{zone!r} is not a time zone; {EXAMPLE}") from None
        object.__setattr__(self, "zone", found)
        object.__setattr__(self, "windows", tuple(windows))

    def is_open(self, at: float, holidays: frozenset[date] = frozenset()) -> bool:
        """Whether `at` (unix seconds, UTC) lies in a window; its start belongs to it, its end does not."""
        local = datetime.fromtimestamp(at, self.zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if not holidays:
            works_today = worked_yesterday = True
        else:
            day = local.date()
            works_today, worked_yesterday = day not in holidays, day - timedelta(days=1) not in holidays
        return any(
            (day == today and start <= minute < end and works_today)
            or (day == yesterday and end > DAY and minute < end - DAY and worked_yesterday)
            for day, start, end in self.windows
        )

    def next_open(self, at: float, holidays: frozenset[date] = frozenset()) -> float:
        """The first moment not before `at` at which the hours are open, unix seconds, UTC.

        When they do not open within 400 days it is the end of that search: closed at least until then.
        """
        if self.is_open(at, holidays):
            return at
        last = at + HORIZON_DAYS * DAY_S
        return next((start for start, _ in self._spans(at, last, holidays)), last)

    def closes_at(self, at: float, holidays: frozenset[date] = frozenset()) -> float:
        """When the window that is open at `at` ends; `at` itself while the hours are closed.

        Windows that meet count as one. Hours that do not close within 400 days: the end of that search.
        """
        span = next(self._spans(at, at + HORIZON_DAYS * DAY_S, holidays), None)
        return span[1] if span is not None and span[0] <= at else at

    def next_change(self, at: float, holidays: frozenset[date] = frozenset()) -> float:
        """When the hours next open or close after `at`; without a change in 400 days, the end of that search."""
        return self.closes_at(at, holidays) if self.is_open(at, holidays) else self.next_open(at, holidays)

    def add(self, at: float, seconds: float, holidays: frozenset[date] = frozenset()) -> float:
        """The earliest moment by which `seconds` of open time have passed since `at`: a clock that stops overnight.

        30 minutes from Friday 17:50 to 18:00 and on from Monday 08:00 end at Monday 08:20; 10 minutes end at Friday
        18:00 and not at Monday 08:00. Nothing to add is `at`, open or closed. When there is not that much open time
        in ten years, the end of that search.
        """
        if seconds <= 0:
            return at
        last = at + LONGEST_DAYS * DAY_S
        for start, end in self._spans(at, last, holidays):
            if end - start >= seconds:
                return start + seconds
            seconds -= end - start
        return last

    def open_seconds(self, start: float, end: float, holidays: frozenset[date] = frozenset()) -> float:
        """Seconds of open time from `start` to `end`; 0 when `end` is not later."""
        return sum((b - a for a, b in self._spans(start, end, holidays)), 0.0)

    def _spans(self, start: float, end: float, holidays: frozenset[date]) -> Iterator[tuple[float, float]]:
        """The open time from `start` to `end`, in order; windows that meet or overlap are one."""
        day = datetime.fromtimestamp(start, self.zone).date() - timedelta(days=2)
        held: list[tuple[float, float]] = []
        floor = start
        while floor <= end:
            if day not in holidays:
                held = _merged([*held, *_open_on(self, day)])
            day += timedelta(days=1)
            floor = datetime.combine(day, time(), UTC).timestamp() - REACH_S  # no later day opens before that
            while held and (held[0][1] < floor or floor > end):
                a, b = held.pop(0)
                if max(a, start) < min(b, end):
                    yield max(a, start), min(b, end)


@lru_cache(maxsize=8192)
def _open_on(hours: Hours, day: date) -> tuple[tuple[float, float], ...]:
    """When the windows that start on this day of the wall calendar are open, unix seconds."""
    midnight = datetime.combine(day, time(), UTC).timestamp()
    return tuple(
        span
        for weekday, start, end in hours.windows
        if weekday == day.weekday()
        for span in _moments(hours.zone, midnight + start * 60, midnight + end * 60)
    )


def _moments(zone: ZoneInfo, start: float, end: float) -> list[tuple[float, float]]:
    """All moments at which the wall clock shows a time from `start` to `end` (written as if it were UTC).

    Two spans when the clock is set in between, none when it skips them.
    """
    low, high = start - REACH_S, end + REACH_S
    before, after = _offset(zone, low), _offset(zone, high)
    if before == after:
        return [(start - before, end - before)]
    while high - low > 1:  # to the second at which the clock is set
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    spans = [(start - before, min(end - before, high)), (max(start - after, high), end - after)]
    return [(a, b) for a, b in spans if a < b]


def _offset(zone: ZoneInfo, at: float) -> float:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    return found.total_seconds() if found is not None else 0.0


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    made: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made


def _windows(part: str, text: str) -> list[tuple[int, int, int]]:
    """(weekday, start, end) in minutes; an end after midnight is beyond 24 h."""
    match = WINDOW.fullmatch(part)
    if match is None:
        raise ValueError(f"{text!r} are not working hours; {EXAMPLE}")
    names = [match[1].lower(), (match[2] or match[1]).lower()]
    for name in names:
        if name not in DAYS:
            raise ValueError(f"{name!r} is not a day ({', '.join(d.title() for d in DAYS)}); {EXAMPLE}")
    start, end = int(match[3]) * 60 + int(match[4]), int(match[5]) * 60 + int(match[6])
    if int(match[4]) > 59 or int(match[6]) > 59 or start >= DAY or end > DAY or start == end:
        raise ValueError(f"{match[0]!r} is not a span of the day; {EXAMPLE}")
    first, last = (DAYS.index(name) for name in names)
    days = [(first + i) % 7 for i in range((last - first) % 7 + 1)]
    return [(day, start, end if end > start else end + DAY) for day in days]
