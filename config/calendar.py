"""Working hours as people write them: `Mon-Fri 08:00-18:00 Europe/Berlin`.

Several windows are separated by commas: `Mon-Thu 08:00-18:00, Fri 08:00-14:00 Europe/Berlin`. A window may go past
midnight (`Sun-Thu 22:00-06:00`). The wall clock of the zone counts, so the hours move with summer time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

__all__ = ["Hours"]

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WINDOW = re.compile(r"([A-Za-z]{3})(?:\s*-\s*([A-Za-z]{3}))?\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
EXAMPLE = "write it as: Mon-Fri 08:00-18:00 Europe/Berlin"
DAY = 24 * 60


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

    def is_open(self, at: float) -> bool:
        """Whether `at` (unix seconds, UTC) lies in a window; its start belongs to it, its end does not."""
        local = datetime.fromtimestamp(at, self.zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        return any(
            (day == today and start <= minute < end) or (day == yesterday and end > DAY and minute < end - DAY)
            for day, start, end in self.windows
        )

    def next_open(self, at: float) -> float:
        """The first moment not before `at` at which the hours are open, unix seconds, UTC."""
        if self.is_open(at):
            return at
        today = datetime.fromtimestamp(at, self.zone).date()
        starts = [
            start
            for ahead in range(-1, 9)
            for day, minute, _ in self.windows
            if (today + timedelta(days=ahead)).weekday() == day
            for start in self._moments(today + timedelta(days=ahead), minute)
            if start >= at
        ]
        return min(starts)

    def _moments(self, day: date, minute: int) -> list[float]:
        """The wall time as unix seconds: both of them in an ambiguous hour, the end of the gap in a missing one."""
        moments = []
        for fold in (0, 1):
            wall = datetime.combine(day, time(minute // 60, minute % 60), self.zone).replace(fold=fold)
            at = wall.timestamp()
            if datetime.fromtimestamp(at, self.zone).replace(tzinfo=None) != wall.replace(tzinfo=None):
                at = self._gap_end(at)
            moments.append(at)
        return moments

    def _gap_end(self, inside: float) -> float:
        """The moment the clock was set forward, to the minute, near `inside`."""
        moment = datetime.fromtimestamp(inside + 3 * 3600, UTC).replace(second=0, microsecond=0)
        after = moment.astimezone(self.zone).utcoffset()
        while (moment - timedelta(minutes=1)).astimezone(self.zone).utcoffset() == after:
            moment -= timedelta(minutes=1)
        return moment.timestamp()


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
