"""When an agent is busy by its calendar: an iCalendar file in the team's folder, or an https address.

`busy` answers from memory and never waits: a thread of its own reads the calendars again and again. What cannot be read
leaves the last good reading standing, is logged once, and is told by `problem`. No server delays another's calendar for
longer than the deadline of a download. Messages name the host and never the address: private calendar addresses are
secrets. What counts as busy stands in `icalendar_events.py`.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from .icalendar_events import (
    AHEAD_DAYS,
    MAX_BYTES,
    MAX_OCCURRENCES,
    CannotRead,
    Occurrence,
    download,
    mail_addresses,
    worked_out,
)  # fmt: skip

__all__ = ["Meeting", "Meetings"]

log = structlog.get_logger("shiftlead.meetings")

STALE = 3  # refresh periods without a good reading


class Meeting(NamedTuple):
    """The agent is busy until `until` (unix seconds, UTC); meetings without a pause between them are one."""

    until: float
    summary: str


@dataclass(frozen=True)
class Reading:
    """What is known of one calendar. Replaced as a whole, so that a reader needs no lock."""

    at: float = 0.0  # when it was worked out
    good: float = 0.0  # when it was last read and found well, changed or not
    digest: str = ""
    starts: tuple[float, ...] = ()
    blocks: tuple[tuple[Occurrence, ...], ...] = ()  # each without a pause
    cut: bool = False
    problem: str = ""


class Meetings:
    """The calendars of a team's agents.

    `team` may be replaced by a newer one; the next reading follows it. `now` tells unix seconds: a clock's `now`, also
    one that is moved by hand. A thread runs only after `start`; without it `refresh_now` or `refresh_if_due` reads.
    """

    def __init__(self, team: Team, settings: Settings, now: Callable[[], float]) -> None:
        self.team = team
        self.refresh_s = float(getattr(settings, "calendar_refresh_s", 300.0))
        self._now = now
        self._readings: dict[str, Reading] = {}
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()  # of the thread that runs now; each has its own
        self._thread: threading.Thread | None = None
        self._refreshed = float("-inf")

    def busy(self, agent: str, now: float) -> Meeting | None:
        """The meeting `agent` is in at `now` (unix seconds); None when it is free, or nothing is known. Never waits."""
        reading = self._readings.get(agent)
        if reading is None:
            return None
        at = bisect_right(reading.starts, now) - 1
        if at < 0:
            return None
        block = reading.blocks[at]
        until = max(o.end for o in block)
        if now >= until:
            return None
        running = max((o for o in block if o.start <= now < o.end), key=lambda o: o.end)
        return Meeting(until, running.summary)

    def problem(self, agent: str) -> str:
        """Why the calendar of `agent` cannot be trusted right now, as a sentence; "" when it can."""
        reading = self._readings.get(agent)
        if reading is None:
            return ""
        if not reading.digest or self._now() - reading.good <= STALE * self.refresh_s:
            return reading.problem
        old = f"the last good reading of it, {_iso(reading.good)}, is older than {STALE} refresh periods"
        return f"{reading.problem}; {old}" if reading.problem else f"the calendar of {agent}: {old}"

    def tried(self, agent: str) -> bool:
        """Whether the calendar of `agent` was read or failed to be read at least once; before that nothing is known.

        Whoever takes over should let what was known before stand until then, or it calls everybody free.
        """
        return agent in self._readings

    def start(self) -> None:
        """Read now and again every SHIFTLEAD_CALENDAR_REFRESH_S, in a thread. Calling it again changes nothing."""
        if self._thread is None:
            # a thread that `close` did not wait for must not be woken up again by the next start
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._ended,), name="calendars", daemon=True)
            self._thread.start()

    def close(self, wait_s: float = 1.0) -> None:
        """End the thread. One that is in the middle of a download is not waited for longer than `wait_s`."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(wait_s)
            self._thread = None

    def refresh_now(self) -> None:
        """Read every calendar once; returns when all were tried. Raises nothing."""
        self._refresh_all(threading.Event())

    def refresh_if_due(self) -> bool:
        """Read the calendars if that is due by the clock given, for whoever runs without the thread; whether it was."""
        if self._now() - self._refreshed < self.refresh_s:
            return False
        self.refresh_now()
        return True

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                self._refresh_all(ended)
            except Exception as error:  # the clock's server may be away: without this, calendars would stand still
                log.error("the calendars were not read; the next try follows", error=str(error))
            ended.wait(self.refresh_s)

    def _refresh_all(self, ended: threading.Event) -> None:
        with self._one_at_a_time:
            self._refreshed, team = self._now(), self.team
            agents = [name for name, spec in team.agents.items() if spec.calendar]
            for gone in set(self._readings) - set(agents):
                del self._readings[gone]
            for agent in agents:
                if ended.is_set():
                    return
                self._refresh(team, agent)

    def _refresh(self, team: Team, agent: str) -> None:
        last = self._readings.get(agent, Reading())
        try:
            reading = self._read(team, agent, last)
        except Exception as error:  # whatever a calendar does, the thread goes on with the next one
            known = f"busy times are as read {_iso(last.good)}" if last.digest else "its busy times are not known"
            why = str(error) if isinstance(error, CannotRead) else f"{type(error).__name__}"
            reading = replace(last, problem=f"the calendar of {agent} cannot be read: {why}; {known}")
        self._readings[agent] = reading
        if reading.problem and reading.problem != last.problem:
            log.warning("a calendar cannot be followed", agent=agent, problem=reading.problem)
        elif last.problem and not reading.problem:
            log.info("the calendar can be read again", agent=agent)

    def _read(self, team: Team, agent: str, last: Reading) -> Reading:
        spec = team.agents[agent]
        now, zone = self._now(), spec.hours.zone.key if spec.hours is not None else ""
        owners = mail_addresses(f"{spec.calendar} {spec.notify or ''}")
        data = _bytes(team, str(spec.calendar))
        digest = hashlib.sha256(b"\0".join([data, zone.encode(), *(o.encode() for o in owners)])).hexdigest()
        if digest != last.digest or not 0 <= now - last.at < 86_400:
            found, cut = worked_out(data, now=now, zone=zone, owners=owners)
            blocks = tuple(_blocks(found))
            last = Reading(now, now, digest, tuple(b[0].start for b in blocks), blocks, cut)
        much = (
            f"the calendar of {agent} has more than {MAX_OCCURRENCES} busy times in {AHEAD_DAYS} days; the first count"
        )
        return replace(last, good=now, problem=much if last.cut else "")


def _bytes(team: Team, calendar: str) -> bytes:
    if "://" in calendar:
        return download(calendar)
    path = (team.folder / calendar).expanduser()
    if not path.is_file():  # a pipe or a device would be waited for
        raise CannotRead(f"there is no file {calendar!r} in the team's folder")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CannotRead(f"{calendar!r}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise CannotRead(f"{calendar!r} is larger than {MAX_BYTES} bytes")
    return data


def _blocks(found: list[Occurrence]) -> list[tuple[Occurrence, ...]]:
    """Occurrences that meet or overlap, together."""
    blocks: list[list[Occurrence]] = []
    until = float("-inf")
    for one in found:
        if one.start > until:
            blocks.append([])
        blocks[-1].append(one)
        until = max(until, one.end)
    return [tuple(block) for block in blocks]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
