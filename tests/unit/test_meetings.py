"""EN-04, FO-09: an agent is busy while its calendar says so."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
from structlog.testing import capture_logs

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator import icalendar_events as reader
from shiftlead.coordinator import meetings as module
from shiftlead.coordinator.icalendar_events import (
    CannotRead,
    Occurrence,
    download,
    fetch,
    mail_addresses,
    occurrences,
    worked_out,
)
from shiftlead.coordinator.meetings import Meeting, Meetings

SETTINGS = Settings()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def at(*parts: int, zone: str = "Europe/Berlin") -> float:
    return datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[misc,arg-type]


NINE = at(2026, 3, 27, 9)  # a Friday; the clock goes forward on Sunday


def ical(*events: str, head: str = "") -> bytes:
    """A calendar; each event is its lines, separated by spaces unless it has line ends."""
    made = "".join(
        f"BEGIN:VEVENT\nUID:{n}@example.com\nDTSTAMP:20260101T000000Z\n{e.strip()}\nEND:VEVENT\n"
        for n, e in enumerate(events)
    )
    head = f"{head}\n" if head else ""
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//\n{head}{made}END:VCALENDAR\n".replace("\n", "\r\n").encode()


def event(start: str, end: str, *lines: str, summary: str = "Strategy session") -> str:
    """Times as 0930 on 2026-03-27 in Berlin, or whole properties."""
    begins, ends = (
        f"{name};TZID=Europe/Berlin:20260327T{value}00" if value.isdigit() else f"{name}{value}"
        for name, value in (("DTSTART", start), ("DTEND", end))
    )
    return "\n".join([begins, ends, f"SUMMARY:{summary}", *lines])


SESSION = ical(event("0900", "1200"))


def a_team(folder: Path, calendar: str = "felix.ics", **more: Any) -> Team:
    felix = {"role": "decision-maker", "can": ["decision"], "calendar": calendar, **more}
    iris = {"role": "support", "can": ["customer_issue"]}
    agents = {"felix_ceo": felix, "iris_support": iris}
    return Team(team="front_office", agents=agents, routes=[{"needs": ["customer_issue"]}], folder=folder)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NINE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "felix.ics"
    path.write_bytes(SESSION)
    return path


def test_felix_is_held_for_his_three_hour_session_and_free_after_it(file: Path, clock: ManualClock) -> None:
    """FO-09: decisions are held until he is free. With a clock that is moved by hand, and no thread."""
    # given
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    assert meetings.busy("felix_ceo", clock.now()) is None, "nothing is known before the first reading"
    # when
    meetings.refresh_now()
    # then
    assert meetings.busy("felix_ceo", NINE - 1) is None
    assert meetings.busy("felix_ceo", NINE) == Meeting(NINE + 3 * HOUR, "Strategy session")
    assert meetings.busy("felix_ceo", NINE + 3 * HOUR - 1) == Meeting(NINE + 3 * HOUR, "Strategy session")
    assert meetings.busy("felix_ceo", NINE + 3 * HOUR) is None
    assert meetings.busy("iris_support", NINE) is None
    assert meetings.busy("nobody", NINE) is None
    assert meetings.problem("felix_ceo") == meetings.problem("nobody") == ""


def test_meetings_without_a_pause_are_one_and_a_pause_of_a_minute_is_free(file: Path, clock: ManualClock) -> None:
    """EN-04: the agent is free at the end of the last of them, and each is named while it runs."""
    # given: one after the other, one inside another, then a minute's pause
    file.write_bytes(
        ical(
            event("1001", "1100", summary="after the pause"),
            event("0900", "0930", summary="first"),
            event("0930", "1000", summary="second"),
            event("0935", "0940", summary="inside"),
            event("0950", "0955", summary="also inside"),
        )
    )
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    # when
    meetings.refresh_now()
    # then
    assert meetings.busy("felix_ceo", NINE) == Meeting(NINE + HOUR, "first")
    assert meetings.busy("felix_ceo", NINE + 37 * MINUTE) == Meeting(NINE + HOUR, "second")
    assert meetings.busy("felix_ceo", NINE + 52 * MINUTE) == Meeting(NINE + HOUR, "second")
    assert meetings.busy("felix_ceo", NINE + HOUR) is None
    assert meetings.busy("felix_ceo", NINE + 61 * MINUTE) == Meeting(NINE + 2 * HOUR, "after the pause")


MINE = "ATTENDEE;PARTSTAT={}:mailto:Felix@Example.com"
OTHER = "ATTENDEE;PARTSTAT={}:mailto:ana@example.com"


@pytest.mark.parametrize(
    ("lines", "busy"),
    [
        ([], True),
        (["TRANSP:OPAQUE"], True),
        (["TRANSP:TRANSPARENT"], False),
        (["X-MICROSOFT-CDO-BUSYSTATUS:FREE"], False),
        (["STATUS:TENTATIVE"], True),
        (["STATUS:CANCELLED"], False),
        ([MINE.format("ACCEPTED"), OTHER.format("DECLINED")], True),
        ([MINE.format("DECLINED"), OTHER.format("ACCEPTED")], False),
        ([MINE.format("NEEDS-ACTION")], True),
        # he was not asked himself, or is the organizer: free when nobody comes
        ([OTHER.format("DECLINED")], False),
        ([OTHER.format("ACCEPTED")], True),
        (["ORGANIZER:mailto:boss@example.com", "ATTENDEE:mailto:boss@example.com", OTHER.format("DECLINED")], False),
        (["RRULE:FREQ=DAILY", "EXDATE;TZID=Europe/Berlin:20260327T090000"], False),
    ],
)
def test_only_what_takes_the_owners_time_counts(lines: list[str], busy: bool) -> None:
    """EN-04: free, cancelled and declined events hold nobody."""
    found = occurrences(ical(event("0900", "1000", *lines)), now=NINE, owners=["felix@example.com"])
    assert any(o.start <= NINE < o.end for o in found) is busy


def test_the_owner_is_known_by_the_addresses_in_the_team_file_and_the_calendar() -> None:
    """EN-04: as the private address of a hosted calendar has it, as Apprise has it, and as the calendar is named."""
    assert mail_addresses("https://host.example/ical/Felix%40example.com/private-1/basic.ics") == ("felix@example.com",)
    assert mail_addresses("mailto://felix:secret@example.com?to=f.ceo@example.org") == (
        "f.ceo@example.org", "felix@example.com",
    )  # fmt: skip
    lines = [MINE.format("DECLINED"), OTHER.format("ACCEPTED")]
    assert occurrences(ical(event("0900", "1000", *lines)), now=NINE)
    assert not occurrences(ical(event("0900", "1000", *lines), head="X-WR-CALNAME:felix@example.com"), now=NINE)


def test_a_private_meeting_does_not_tell_what_it_is() -> None:
    """EN-04: CLASS:PRIVATE and CONFIDENTIAL, or no summary at all."""
    made = ical(*(event("0900", "1000", f"CLASS:{c}", summary="Layoffs") for c in ("PRIVATE", "CONFIDENTIAL", "OWN")))
    assert {o.summary for o in occurrences(made, now=NINE)} == {"busy"}
    assert [o.summary for o in occurrences(ical(event("0900", "1000", summary="")), now=NINE)] == ["busy"]
    long = occurrences(ical(event("0900", "1000", "CLASS:PUBLIC", summary="a" * 500 + "\\nb")), now=NINE)
    assert [len(o.summary) for o in long] == [200]


def test_a_summary_is_one_line_that_no_terminal_obeys() -> None:
    """I17: an invitation by anybody stands in `agents list` and in tickets' stories."""
    hostile = "a\\nb\x1b[31mc\u202ed\u2066e\u2028f\x85g\u200bh\x07"
    [found] = occurrences(ical(event("0900", "1000", summary=hostile)), now=NINE)
    assert found.summary == "a b [31mcde f gh"
    [family] = occurrences(ical(event("0900", "1000", summary="\U0001f469\u200d\U0001f467")), now=NINE)
    assert family.summary == "\U0001f469\u200d\U0001f467", "what joins an emoji stays"


def test_a_calendar_that_cannot_be_read_is_not_quoted(file: Path, clock: ManualClock) -> None:
    """I15: its lines are private; neither the log nor `agents list` shows one."""
    file.write_bytes(SESSION.replace(b"SUMMARY:", b"Layoffs of Ana\r\nSUMMARY:"))
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    with capture_logs() as logs:
        for data in (file.read_bytes(), b"Layoffs of Ana", b"BEGIN:VCALENDAR\r\nLayoffs of Ana\r\nEND:VCALENDAR\r\n"):
            file.write_bytes(data)
            meetings.refresh_now()
            assert "Layoffs" not in meetings.problem("felix_ceo")
    assert "no iCalendar we can read" in meetings.problem("felix_ceo")
    assert logs and "Layoffs" not in str(logs)


def test_a_reading_older_than_three_refresh_periods_is_said_to_be_old(file: Path, clock: ManualClock) -> None:
    """EN-04: also where the reader stands still and no reading has failed."""
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    meetings.refresh_now()
    clock.advance(2 * 300)
    meetings.refresh_now()
    clock.advance(3 * 300)
    assert meetings.problem("felix_ceo") == ""
    clock.advance(1)
    assert "good reading of it, 2026-03-27 08:10 UTC, is older than 3 refresh" in meetings.problem("felix_ceo")
    file.unlink()
    meetings.refresh_now()
    assert "there is no file" in meetings.problem("felix_ceo") and "is older than 3" in meetings.problem("felix_ceo")
    file.write_bytes(SESSION)
    meetings.refresh_now()
    assert meetings.problem("felix_ceo") == ""


ALL_DAY = event(";VALUE=DATE:20260328", ";VALUE=DATE:20260330")  # Saturday and Sunday, 47 hours in Berlin
FLOATING = event(":20260328T090000", ":20260328T100000")


@pytest.mark.parametrize(
    ("zone", "calendars_zone", "all_day_in", "floating_in"),
    [
        ("Europe/Berlin", "America/New_York", "Europe/Berlin", "America/New_York"),
        ("Europe/Berlin", "", "Europe/Berlin", "Europe/Berlin"),
        ("", "America/New_York", "America/New_York", "America/New_York"),
        ("", "", "UTC", "UTC"),
        ("", "W. Nowhere Standard Time", "UTC", "UTC"),
    ],
)
def test_a_whole_day_and_a_floating_time_are_read_in_a_zone(
    zone: str, calendars_zone: str, all_day_in: str, floating_in: str
) -> None:
    """EN-04: a whole day is one where the agent works; a floating time is one of the calendar."""
    head = f"X-WR-TIMEZONE:{calendars_zone}" if calendars_zone else ""
    [day] = occurrences(ical(ALL_DAY, head=head), now=NINE, zone=zone)
    assert day[:2] == (at(2026, 3, 28, zone=all_day_in), at(2026, 3, 30, zone=all_day_in))
    [floating] = occurrences(ical(FLOATING, head=head), now=NINE, zone=zone)
    assert floating[:2] == (at(2026, 3, 28, 9, zone=floating_in), at(2026, 3, 28, 10, zone=floating_in))


def test_a_whole_day_follows_the_zone_of_the_agents_hours(file: Path, clock: ManualClock) -> None:
    """EN-04, from the team file to the answer."""
    file.write_bytes(ical(ALL_DAY))
    meetings = Meetings(a_team(file.parent, hours="Mon-Fri 08:00-18:00 Asia/Kolkata"), SETTINGS, clock.now)
    meetings.refresh_now()
    begin = at(2026, 3, 28, zone="Asia/Kolkata")
    assert meetings.busy("felix_ceo", begin - 1) is None
    assert meetings.busy("felix_ceo", begin) == Meeting(begin + 2 * DAY, "Strategy session")


def test_a_daily_meeting_stays_at_its_time_on_the_wall_and_ends_with_the_look_ahead() -> None:
    """EN-04: over a change of the clock, with one day moved, one dropped, and 15 days seen."""
    # given: at nine in Berlin every day, the 29th (summer time) moved to eleven, the 30th dropped
    moved = "UID:0@example.com\nDTSTAMP:20260101T000000Z\nRECURRENCE-ID;TZID=Europe/Berlin:20260329T090000\n" + (
        event(";TZID=Europe/Berlin:20260329T110000", ";TZID=Europe/Berlin:20260329T113000")
    )
    daily = event("0900", "0930", "RRULE:FREQ=DAILY", "EXDATE;TZID=Europe/Berlin:20260330T090000")
    data = ical(daily).replace(
        b"END:VCALENDAR", ("BEGIN:VEVENT\n" + moved + "\nEND:VEVENT\nEND:VCALENDAR").replace("\n", "\r\n").encode()
    )
    # when
    starts = [o.start for o in occurrences(data, now=NINE)]
    # then
    assert starts[:4] == [NINE, at(2026, 3, 28, 9), at(2026, 3, 29, 11), at(2026, 3, 31, 9)]
    assert NINE + 14 * DAY < starts[-1] <= NINE + 15 * DAY


def test_a_long_meeting_that_began_last_week_holds_until_its_real_end() -> None:
    """EN-04: also beyond the look-ahead."""
    leave = ical(event(";VALUE=DATE:20260316", ";VALUE=DATE:20260501", summary="Leave"))
    [found] = occurrences(leave, now=NINE, zone="UTC")
    assert found == Occurrence(at(2026, 3, 16, zone="UTC"), at(2026, 5, 1, zone="UTC"), "Leave")


def test_an_event_without_length_or_start_holds_nobody() -> None:
    """EN-04: a reminder, and an event that was written wrong beside a good one."""
    made = ical(event("0900", "0900"), "SUMMARY:no start", event(":rubbish", ":rubbish"), event("1000", "1100"))
    assert [o.start for o in occurrences(made, now=NINE)] == [NINE + HOUR]


def test_what_cannot_be_read_leaves_the_last_good_reading_and_is_logged_once(file: Path, clock: ManualClock) -> None:
    """EN-04, I17: `agents list` and `why` show it; two minutes later it is still the same line in the log."""
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    meetings.refresh_now()
    with capture_logs() as logs:
        # when
        for rubbish in (b"<html>please log in</html>", b"<html>please log in</html>"):
            file.write_bytes(rubbish)
            clock.advance(300)
            meetings.refresh_now()
        # then
        assert meetings.busy("felix_ceo", clock.now()) == Meeting(NINE + 3 * HOUR, "Strategy session")
        assert "felix_ceo cannot be read" in meetings.problem("felix_ceo")
        assert "as read 2026-03-27 08:00 UTC" in meetings.problem("felix_ceo")
        assert [e["log_level"] for e in logs] == ["warning"]
        # when: another problem, then none
        file.unlink()
        meetings.refresh_now()
        assert "there is no file 'felix.ics'" in meetings.problem("felix_ceo")
        file.write_bytes(ical(event("1000", "1100")))
        meetings.refresh_now()
    # then
    assert meetings.problem("felix_ceo") == ""
    assert meetings.busy("felix_ceo", NINE) is None
    assert [e["log_level"] for e in logs] == ["warning", "warning", "info"]


def test_a_first_reading_that_fails_says_that_nothing_is_known(tmp_path: Path, clock: ManualClock) -> None:
    """EN-04."""
    meetings = Meetings(a_team(tmp_path), SETTINGS, clock.now)
    meetings.refresh_now()
    assert "its busy times are not known" in meetings.problem("felix_ceo")
    assert meetings.busy("felix_ceo", NINE) is None


def test_a_pipe_and_a_file_too_large_are_refused_at_once(tmp_path: Path, clock: ManualClock) -> None:
    """I17: a pipe would be waited for, for ever."""
    os.mkfifo(tmp_path / "felix.ics")
    meetings = Meetings(a_team(tmp_path), SETTINGS, clock.now)
    meetings.refresh_now()
    assert "there is no file" in meetings.problem("felix_ceo")
    (tmp_path / "felix.ics").unlink()
    (tmp_path / "felix.ics").write_bytes(SESSION + b"x" * module.MAX_BYTES)
    meetings.refresh_now()
    assert "larger than 2000000 bytes" in meetings.problem("felix_ceo")


@pytest.mark.parametrize("rule", ["FREQ=SECONDLY", "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30"])
def test_a_rule_with_a_billion_repetitions_costs_one_reading_and_not_the_coordinator(rule: str) -> None:
    """I17: one line can ask for it; another process works it out, and is ended."""
    made = ical(event(":19700101T000000Z", ":19700101T000001Z", f"RRULE:{rule}"))
    with pytest.raises(CannotRead, match=r"cannot be worked out in 1 s|too much time"):
        worked_out(made, now=NINE, timeout_s=1.0)


def test_more_busy_times_than_are_kept_are_cut_and_told(file: Path, clock: ManualClock) -> None:
    """I17: the first 2000 count."""
    file.write_bytes(ical(event(":20260327T080000Z", ":20260327T080100Z", "RRULE:FREQ=MINUTELY;INTERVAL=5")))
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    meetings.refresh_now()
    assert "more than 2000 busy times" in meetings.problem("felix_ceo")
    assert meetings.busy("felix_ceo", NINE + 1999 * 5 * MINUTE) is not None
    assert meetings.busy("felix_ceo", NINE + 2000 * 5 * MINUTE) is None


def test_an_unchanged_calendar_is_worked_out_again_after_a_day(
    file: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-04: the look-ahead moves with the clock; the same bytes cost nothing before."""
    asked: list[float] = []

    def counted(data: bytes, **about: Any) -> tuple[list[Occurrence], bool]:
        asked.append(about["now"])
        return occurrences(data, now=about["now"], zone=about["zone"]), False

    monkeypatch.setattr(module, "worked_out", counted)
    file.write_bytes(ical(event("0900", "0930", "RRULE:FREQ=DAILY")))
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    berlin = ZoneInfo("Europe/Berlin")
    # when: a month goes by
    assert meetings.refresh_if_due()
    assert not meetings.refresh_if_due()
    for _ in range(30 * 24 * 4):
        clock.advance(15 * MINUTE)
        assert meetings.refresh_if_due()
        today = datetime.fromtimestamp(clock.now(), berlin)
        assert (meetings.busy("felix_ceo", clock.now()) is not None) == (f"{today:%H:%M}" in ("09:00", "09:15"))
        in_two_weeks = datetime.combine(today.date() + timedelta(days=13), time(9), berlin)
        assert meetings.busy("felix_ceo", in_two_weeks.timestamp()) is not None
    # then
    assert len(asked) == 31


def test_an_agent_that_lost_its_calendar_is_forgotten(file: Path, clock: ManualClock) -> None:
    """EN-04: a team file that changed."""
    meetings = Meetings(a_team(file.parent), SETTINGS, clock.now)
    meetings.refresh_now()
    meetings.team = a_team(file.parent).model_copy(
        update={"agents": {k: v for k, v in meetings.team.agents.items() if k != "felix_ceo"}}
    )
    meetings.refresh_now()
    assert meetings.busy("felix_ceo", NINE) is None


def test_the_thread_reads_again_and_again_and_ends(file: Path, clock: ManualClock) -> None:
    """EN-04: nobody has to ask for it."""
    read_twice, reads = threading.Event(), []

    def now() -> float:
        reads.append(1)
        if len(reads) == 3:
            raise ConnectionError("the server that tells the time is away")
        if len(reads) >= 5:  # two readings of one calendar ask for the time twice each
            read_twice.set()
        return clock.now()

    meetings = Meetings(a_team(file.parent), Settings(calendar_refresh_s=0.05), now)
    meetings.start()
    meetings.start()
    try:
        assert read_twice.wait(20)
        assert meetings.busy("felix_ceo", NINE) is not None
        assert [t.name for t in threading.enumerate()].count("calendars") == 1
    finally:
        meetings.close(20)
    assert "calendars" not in [t.name for t in threading.enumerate()]


def test_a_thread_that_was_not_waited_for_ends_although_another_was_started(
    file: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-04: a coordinator that loses the lead during a download and leads again has one reader, not two."""
    reading, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> tuple[list[Occurrence], bool]:
        reading.set()
        assert go_on.wait(20)
        return [], False

    monkeypatch.setattr(module, "worked_out", slow)
    meetings = Meetings(a_team(file.parent), Settings(calendar_refresh_s=0.01), clock.now)
    meetings.start()
    [first] = [t for t in threading.enumerate() if t.name == "calendars"]
    try:
        assert reading.wait(20)
        assert not meetings.tried("felix_ceo")
        # when
        meetings.close(0)
        meetings.start()
        go_on.set()
        # then
        first.join(20)
        assert not first.is_alive()
    finally:
        go_on.set()
        meetings.close(20)
    assert meetings.tried("felix_ceo")


Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def web() -> Iterator[tuple[str, Callable[[Answer], None]]]:
    """A real server: its address, and what says what it answers from now on."""
    answers: list[Answer] = [(200, {}, SESSION)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers[-1]
            if status == 0:  # says nothing until the other side gives up
                self.rfile.read(1)
                return
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the reader had enough

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/private-abc123/basic.ics", answers.append
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Web = tuple[str, Callable[[Answer], None]]


def test_a_calendar_is_read_from_the_web(web: Web, tmp_path: Path, clock: ManualClock) -> None:
    """EN-04, FO-09: and what goes wrong there names the host, never the private address."""
    address, answers = web
    meetings = Meetings(a_team(tmp_path, address), SETTINGS, clock.now)
    meetings.refresh_now()
    assert meetings.busy("felix_ceo", NINE) == Meeting(NINE + 3 * HOUR, "Strategy session")
    # when
    with capture_logs() as logs:
        for status in (404, 500, 404):
            answers((status, {}, b""))
            meetings.refresh_now()
            assert f"127.0.0.1 answered {status}" in meetings.problem("felix_ceo")
    # then
    assert meetings.busy("felix_ceo", NINE) is not None
    assert len(logs) == 3
    assert "abc123" not in str(logs) + meetings.problem("felix_ceo")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {}, b"x" * 2_000_001), "sends more than 2000000 bytes"),
        ((302, {"Location": "http://127.0.0.1:1/other"}, b""), "redirects to an address that is not https"),
        ((302, {"Location": "file:///etc/hostname"}, b""), "redirects to an address that is not https"),
        ((304, {}, b""), "answered 304"),
        ((0, {}, b""), "did not answer in 0.2 s"),
    ],
)
def test_an_answer_that_is_too_large_too_late_or_leads_elsewhere_is_refused(
    web: Web, answer: Answer, says: str
) -> None:
    """I17."""
    address, answers = web
    answers(answer)
    with pytest.raises(CannotRead, match=says):
        download(address, timeout_s=0.2 if answer[0] == 0 else 10)


def test_nobody_there_is_said(web: Web) -> None:
    """EN-04."""
    with pytest.raises(CannotRead, match=r"127.0.0.1 cannot be reached \(ConnectError\)"):
        download("http://127.0.0.1:1/felix.ics")


def answers_with(*addresses: str) -> Callable[..., Any]:
    """A resolver that knows these addresses for every name."""
    return lambda *_, **__: [(0, 0, 0, "", (address, 0)) for address in addresses]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "169.254.169.254", "fe80::1",
        "fd00:ec2::254", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "0.0.0.0",
        "168.63.129.16", "224.0.0.1",
    ],
)  # fmt: skip
def test_a_redirect_never_leads_into_a_private_network(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """I17: whoever owns a calendar's host must not choose what the coordinator asks in its own network."""
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return httpx2.Response(302, headers={"Location": "https://inside.example/latest/meta-data"})

    monkeypatch.setattr(reader.socket, "getaddrinfo", answers_with("93.184.215.14", address))
    with pytest.raises(CannotRead, match="not on the public internet"):
        fetch("https://old.example/felix.ics", transport=httpx2.MockTransport(answer))
    assert asked == ["old.example"]


def test_a_redirect_is_asked_at_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """I17: a name that means another address a moment later changes nothing; the configured one is trusted as it is."""
    seen: list[tuple[str, str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.host, request.headers["host"], request.extensions.get("sni_hostname")))
        if len(seen) == 1:
            return httpx2.Response(302, headers={"Location": "/inside"})
        if len(seen) == 2:
            return httpx2.Response(302, headers={"Location": "https://me:secret@new.example:8443/felix.ics"})
        assert "authorization" not in request.headers
        return httpx2.Response(200, content=SESSION)

    monkeypatch.setattr(reader.socket, "getaddrinfo", answers_with("2606:4700::6810:84e5"))
    assert fetch("https://10.0.0.5/felix.ics", transport=httpx2.MockTransport(answer)) == SESSION
    assert seen[:2] == [("10.0.0.5", "10.0.0.5", None)] * 2
    assert seen[2] == ("2606:4700::6810:84e5", "new.example:8443", "new.example")


@pytest.mark.parametrize(
    "drop",
    [b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x="],
)
def test_a_server_that_sends_byte_after_byte_is_ended_at_the_deadline(drop: bytes) -> None:
    """I17: each byte in time, and never an end: it must not keep the next agent's calendar waiting."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)  # a busy machine may not get as far as asking

        def drip() -> None:
            with contextlib.suppress(OSError), listening.accept()[0] as peer:
                peer.sendall(drop)
                while not ended.wait(0.05):
                    peer.sendall(b"a")

        thread = threading.Thread(target=drip)
        thread.start()
        began = monotonic()
        try:
            with pytest.raises(CannotRead, match=r"127\.0\.0\.1 did not answer in 2 s"):
                download(f"http://127.0.0.1:{listening.getsockname()[1]}/felix.ics", timeout_s=2)
            assert monotonic() - began < 4
        finally:
            ended.set()
            thread.join()


def test_redirects_over_https_are_followed_a_few_times_and_webcal_is_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """EN-04: as hosted calendars do it. Without a network: the answers are made here."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.scheme == "https"
        if request.url.path == "/loop":
            return httpx2.Response(302, headers={"Location": "/loop"})
        if request.headers["host"] == "old.example":
            return httpx2.Response(301, headers={"Location": "https://new.example/felix.ics"})
        return httpx2.Response(200, content=SESSION)

    monkeypatch.setattr(reader.socket, "getaddrinfo", answers_with("93.184.215.14"))
    made = httpx2.MockTransport(answer)
    assert fetch("https://old.example/felix.ics", transport=made) == SESSION
    assert fetch("webcal://new.example/felix.ics", transport=made) == SESSION
    with pytest.raises(CannotRead, match="more than 5 redirects"):
        fetch("https://new.example/loop", transport=made)


@pytest.mark.parametrize(
    "address", ["http://calendar.example/felix.ics", "ftp://127.0.0.1/felix.ics", "http://127.0.0.1.example/f.ics"]
)
def test_only_https_or_this_machine_is_asked(address: str) -> None:
    """EN-04: whoever listens on the way must not learn when somebody is away."""
    with pytest.raises(CannotRead, match="must be https://"):
        fetch(address, transport=httpx2.MockTransport(lambda _: httpx2.Response(200, content=SESSION)))
    with pytest.raises(CannotRead, match="not one"):
        fetch("https://[half/felix.ics")
