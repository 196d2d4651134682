"""The busy times in an iCalendar.

What it says was written by others, and one line of it can ask for a billion repetitions. So `worked_out` runs this file
as a process of its own, with limits on time and memory: a strange calendar costs that reading, never the coordinator.

Free are events marked as free (TRANSP, Outlook's own mark), cancelled ones, those the owner declined, and those without
length. The owner is known by mail addresses; when none of them was asked to an event, it counts as declined when
everybody but its organizer declined. All-day events follow the zone asked for (of the agent's hours), else the
calendar's own (X-WR-TIMEZONE), else UTC; floating times the calendar's, else the one asked for, else UTC.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from math import ceil
from typing import Any, NamedTuple
from urllib.parse import unquote
from zoneinfo import ZoneInfo

__all__ = ["CannotRead", "Occurrence", "mail_addresses", "occurrences", "worked_out"]

TIMEOUT_S = 10.0
AHEAD_DAYS = 15  # 14 at any time: an unchanged calendar is worked out again after a day
MAX_OCCURRENCES = 2000
MAX_MEMORY = 1 << 30
SUMMARY_LENGTH = 200
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


class CannotRead(Exception):
    """A calendar cannot be read; the message says why, without its address."""


class Occurrence(NamedTuple):
    """One event at one time, unix seconds, UTC."""

    start: float
    end: float
    summary: str


def worked_out(
    data: bytes, *, now: float, zone: str = "", owners: Iterable[str] = (), timeout_s: float = TIMEOUT_S
) -> tuple[list[Occurrence], bool]:
    """`occurrences` in a process with limits, and whether there were more than the first 2000, which are kept.

    Raises:
        CannotRead: not an iCalendar, or it took more than `timeout_s` seconds or 1 GiB.
    """
    about = json.dumps({"now": now, "zone": zone, "owners": sorted(owners), "timeout_s": timeout_s}).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=about + b"\n" + data, capture_output=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CannotRead(f"its repetitions cannot be worked out in {timeout_s:g} s") from None
    if done.returncode < 0:
        raise CannotRead("working out its repetitions took too much time or memory")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise CannotRead(said[-1][:SUMMARY_LENGTH])
    answer = json.loads(done.stdout)
    return [Occurrence(*o) for o in answer["busy"]], answer["cut"]


def occurrences(data: bytes, *, now: float, zone: str = "", owners: Iterable[str] = ()) -> list[Occurrence]:
    """The busy times of an iCalendar from a day before `now` (unix seconds) to 15 days after it, in order.

    May take as long as the calendar's author likes: `Meetings` calls it in a process with limits.

    Raises:
        ValueError: not an iCalendar.
    """
    import icalendar
    import recurring_ical_events  # type: ignore[import-untyped]

    calendars = icalendar.Calendar.from_ical(data, multiple=True)
    if not calendars:
        raise ValueError("no VCALENDAR in it")
    found = []
    for calendar in calendars:
        own = _zone(str(calendar.get("X-WR-TIMEZONE", "")))
        if own is None:
            calendar.pop("X-WR-TIMEZONE", None)  # a name nobody knows
        of_agent = _zone(zone) or own or ZoneInfo("UTC")
        calendar.subcomponents = [c for c in calendar.subcomponents if c.name != "VEVENT" or "DTSTART" in c]
        mine = {*owners, *mail_addresses(str(calendar.get("X-WR-CALNAME", "")))}
        begin = datetime.fromtimestamp(now, of_agent) - timedelta(days=1)
        query = recurring_ical_events.of(calendar, skip_bad_series=True)
        for event in query.between(begin, begin + timedelta(days=1 + AHEAD_DAYS)):
            start, end = (_unix(event[name].dt, of_agent) for name in ("DTSTART", "DTEND"))
            if start < end and not _is_free(event, mine):
                found.append(Occurrence(start, end, _summary(event)))
    return sorted(found)


def mail_addresses(text: str) -> tuple[str, ...]:
    """The mail addresses in a text; a password in an address (user:password@host) is not part of one."""
    return tuple(sorted({found.lower() for found in EMAIL.findall(re.sub(r":[^@/\s]*@", "@", unquote(text)))}))


def _main() -> int:
    """The process for one calendar: what is asked and the calendar come in, the busy times go out as JSON."""
    import resource

    line, _, data = sys.stdin.buffer.read().partition(b"\n")
    about = json.loads(line)
    # if whoever asked is gone, nobody else ends this
    for kind, most in ((resource.RLIMIT_CPU, ceil(about.pop("timeout_s"))), (resource.RLIMIT_AS, MAX_MEMORY)):
        with contextlib.suppress(ValueError, OSError):  # not every system limits memory
            resource.setrlimit(kind, (most, most))
    try:
        found = occurrences(data, **about)
    except Exception as error:
        print(f"it is no iCalendar we can read ({type(error).__name__}: {error})".replace("\n", " "), file=sys.stderr)
        return 1
    json.dump({"busy": found[:MAX_OCCURRENCES], "cut": len(found) > MAX_OCCURRENCES}, sys.stdout)
    return 0


def _is_free(event: Any, owners: set[str]) -> bool:
    if str(event.get("TRANSP", "")).upper() == "TRANSPARENT" or str(event.get("STATUS", "")).upper() == "CANCELLED":
        return True
    if str(event.get("X-MICROSOFT-CDO-BUSYSTATUS", "")).upper() == "FREE":
        return True
    asked = event.get("ATTENDEE", [])
    asked = asked if isinstance(asked, list) else [asked]
    answers = {_mail(a): str(getattr(a, "params", {}).get("PARTSTAT", "")).upper() for a in asked}
    own = [answer for mail, answer in answers.items() if mail in owners]
    if not own:
        own = [answer for mail, answer in answers.items() if mail != _mail(event.get("ORGANIZER", ""))]
    return bool(own) and set(own) == {"DECLINED"}


def _summary(event: Any) -> str:
    if str(event.get("CLASS", "PUBLIC")).upper() != "PUBLIC":
        return "busy"
    return " ".join(str(event.get("SUMMARY", "")).split())[:SUMMARY_LENGTH] or "busy"


def _unix(moment: date, zone: ZoneInfo) -> float:
    """A day begins at midnight of `zone`; a time without a zone is one of `zone`."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time(), zone).timestamp()
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def _mail(value: Any) -> str:
    return re.sub(r"^mailto:", "", str(value).strip(), flags=re.IGNORECASE).lower()


if __name__ == "__main__":
    sys.exit(_main())
