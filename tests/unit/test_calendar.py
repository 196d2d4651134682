"""EN-04: working hours, holidays, and the clock that runs only within them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shiftlead.config.calendar import HORIZON_DAYS, Hours

HOUR = 3600.0
DAY_S = 24 * HOUR
BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"  # the last has no summer time
OFFICE = "Mon-Fri 08:00-18:00"
NIGHT = "Sun-Thu 22:00-06:00"
WINDOWS = [OFFICE, NIGHT, "Mon-Sun 01:30-02:30", "Mon-Thu 08:00-18:00, Fri 08:00-14:00", "Mon-Sun 00:00-24:00",
           "Sat 23:00-03:30, Sun 02:00-05:00", "Mon-Sun 12:00-11:59"]  # fmt: skip
# around both changes of the clock in both zones, and an ordinary week
WEEKS = [
    datetime(2026, *day, tzinfo=ZoneInfo("UTC")).timestamp() for day in ((3, 5), (3, 26), (10, 22), (10, 29), (6, 1))
]


def at(zone: str, *parts: int, fold: int = 0) -> float:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).timestamp()  # type: ignore[misc,arg-type]


some_hours = st.builds(lambda windows, zone: Hours(f"{windows} {zone}"), st.sampled_from(WINDOWS),
                       st.sampled_from([BERLIN, NEW_YORK, KOLKATA]))  # fmt: skip
moments = st.builds(lambda week, s: week + s, st.sampled_from(WEEKS), st.integers(0, 7 * 86_400))
spans = st.integers(0, 20 * 86_400)
days_off = st.frozensets(
    st.builds(
        lambda week, n: datetime.fromtimestamp(week, UTC).date() + timedelta(days=n),
        st.sampled_from(WEEKS),
        st.integers(-2, 9),
    ),
    max_size=4,
)
thorough = settings(max_examples=150, deadline=None)


@thorough
@given(hours=some_hours, start=moments, seconds=spans, holidays=days_off)
@example(Hours(f"Mon-Sun 01:30-02:30 {BERLIN}"), at(BERLIN, 2026, 10, 25, 0), 7200, frozenset())
@example(Hours(f"Sat 23:00-03:30, Sun 02:00-05:00 {BERLIN}"), at(BERLIN, 2026, 3, 28, 12), 20_000, frozenset())
def test_adding_open_time_and_measuring_it_are_each_others_inverse(
    hours: Hours, start: float, seconds: int, holidays: frozenset[date]
) -> None:
    """EN-04, EN-09: a ladder's clock neither loses nor gains a second over nights, holidays and clock changes."""
    # when
    end = hours.add(start, seconds, holidays)
    # then
    assert hours.open_seconds(start, end, holidays) == seconds
    assert end == start or hours.open_seconds(start, end - 1, holidays) == seconds - 1, "not the earliest moment"
    # and the other way round: measured up to an open moment, adding comes back to it
    later = hours.next_open(start + seconds, holidays)
    measured = hours.open_seconds(start, later, holidays)
    back = hours.add(start, measured, holidays)
    assert back <= later
    assert hours.open_seconds(back, later, holidays) == 0


@thorough
@given(hours=some_hours, start=moments, seconds=spans, more=st.integers(0, 3 * 86_400), holidays=days_off)
def test_a_later_start_or_a_longer_time_never_ends_sooner(
    hours: Hours, start: float, seconds: int, more: int, holidays: frozenset[date]
) -> None:
    """EN-04: monotone in both arguments; and a time may be counted in two parts, as a paused ladder does."""
    end = hours.add(start, seconds, holidays)
    assert start + seconds <= end
    assert end <= hours.add(start, seconds + more, holidays)
    assert end <= hours.add(start + more, seconds, holidays)
    assert hours.add(end, more, holidays) == hours.add(start, seconds + more, holidays)
    assert hours.open_seconds(start, end + more, holidays) == (
        hours.open_seconds(start, end, holidays) + hours.open_seconds(end, end + more, holidays)
    )


@thorough
@given(hours=some_hours, start=moments, holidays=days_off)
@example(Hours(f"Mon-Sun 01:30-02:30 {BERLIN}"), at(BERLIN, 2026, 10, 25, 2, 10, fold=1), frozenset())
@example(Hours(f"Mon-Sun 01:30-02:30 {NEW_YORK}"), at(NEW_YORK, 2026, 3, 8, 1, 50), frozenset())
def test_open_now_opens_next_and_closes_at_tell_the_same_story(
    hours: Hours, start: float, holidays: frozenset[date]
) -> None:
    """EN-04: minute by minute against `is_open`, which only reads the clock on the wall."""
    # when
    open_now, change = hours.is_open(start, holidays), hours.next_change(start, holidays)
    # then: nothing changes before, and it does change there
    assert change > start
    assert hours.next_open(start, holidays) == (start if open_now else change)
    assert hours.closes_at(start, holidays) == (change if open_now else start)
    for minute in range(int(start) // 60 + 1, int(min(change, start + 4 * DAY_S)) // 60, 7):
        assert hours.is_open(minute * 60, holidays) == open_now
    assert hours.is_open(change - 1, holidays) == open_now or change - start < 1
    if change < start + HORIZON_DAYS * DAY_S:
        assert hours.is_open(change, holidays) != open_now


@pytest.mark.parametrize(
    ("zone", "day", "open_for"),
    [(BERLIN, (2026, 3, 28), 7), (BERLIN, (2026, 10, 24), 9), (NEW_YORK, (2026, 3, 7), 7),
     (NEW_YORK, (2026, 10, 31), 9), (KOLKATA, (2026, 3, 28), 8)],
)  # fmt: skip
def test_a_night_window_is_as_long_as_the_night_was(zone: str, day: tuple[int, int, int], open_for: int) -> None:
    """EN-04: 22:00 to 06:00 on the wall lasts 7, 8 or 9 hours."""
    night, evening, morning = Hours(f"Sat 22:00-06:00 {zone}"), at(zone, *day, 20), at(zone, *day, 22) + open_for * HOUR
    assert night.closes_at(at(zone, *day, 23)) == morning
    assert night.open_seconds(evening, evening + DAY_S) == open_for * HOUR
    assert night.add(evening, open_for * HOUR) == morning


def test_a_time_that_ends_at_closing_is_due_then_and_not_the_next_morning() -> None:
    """EN-09: agreed hours pause a ladder."""
    hours = Hours(f"{OFFICE} {BERLIN}")
    friday = at(BERLIN, 2026, 3, 27, 17, 50)  # the clock goes forward in that weekend
    assert hours.add(friday, 600) == at(BERLIN, 2026, 3, 27, 18)
    assert hours.add(friday, 1800) == at(BERLIN, 2026, 3, 30, 8, 20)
    assert hours.add(at(BERLIN, 2026, 3, 28, 3), 0) == at(BERLIN, 2026, 3, 28, 3)
    assert hours.add(friday, -5) == friday
    assert hours.open_seconds(friday, friday - 60) == 0


def test_a_window_that_starts_on_a_holiday_does_not_open_and_one_from_the_evening_before_still_ends() -> None:
    """EN-04: holidays are days in the zone of the hours."""
    # given: Christmas is a Friday in 2026, and night shifts begin on Wednesday and Thursday
    holidays = frozenset({date(2026, 12, 25)})
    office, night = Hours(f"{OFFICE} {BERLIN}"), Hours(f"Mon-Fri 22:00-06:00 {BERLIN}")
    # then
    assert office.is_open(at(BERLIN, 2026, 12, 25, 9))
    assert not office.is_open(at(BERLIN, 2026, 12, 25, 9), holidays)
    assert office.next_open(at(BERLIN, 2026, 12, 24, 19), holidays) == at(BERLIN, 2026, 12, 28, 8)
    assert night.is_open(at(BERLIN, 2026, 12, 25, 5), holidays)
    assert night.closes_at(at(BERLIN, 2026, 12, 24, 23), holidays) == at(BERLIN, 2026, 12, 25, 6)
    assert not night.is_open(at(BERLIN, 2026, 12, 25, 23), holidays)
    assert not night.is_open(at(BERLIN, 2026, 12, 26, 5), holidays)
    assert office.open_seconds(at(BERLIN, 2026, 12, 21, 0), at(BERLIN, 2026, 12, 28, 0), holidays) == 4 * 10 * HOUR
    # a holiday here is not one on the other side of the world, where it is still the 24th
    assert Hours(f"Mon-Sun 00:00-24:00 {NEW_YORK}").is_open(at(BERLIN, 2026, 12, 25, 5), holidays)


def test_years_of_holidays_neither_raise_nor_hang() -> None:
    """EN-04: the answer is the end of the search, a moment before which the hours do not open."""
    hours, start = Hours(f"{OFFICE} {BERLIN}"), at(BERLIN, 2026, 1, 1, 12)
    ever = frozenset(date(2025, 12, 1) + timedelta(days=n) for n in range(4200))
    assert hours.next_open(start, ever) == hours.next_change(start, ever) == start + HORIZON_DAYS * DAY_S
    assert hours.closes_at(start, ever) == start
    assert start + 9 * 365 * DAY_S < hours.add(start, 60, ever) < start + 11 * 365 * DAY_S
    assert hours.open_seconds(start, start + 365 * DAY_S, ever) == 0


def test_hours_that_never_close_close_at_the_end_of_the_search() -> None:
    """EN-04: windows that meet at midnight are one."""
    always, start = Hours("Mon-Sun 00:00-24:00 UTC"), WEEKS[0]
    assert always.closes_at(start) == start + HORIZON_DAYS * DAY_S
    assert always.add(start, 12_345_678) == start + 12_345_678
    # the New Year in between is closed
    assert always.closes_at(start, frozenset({date(2027, 1, 1)})) == at("UTC", 2027, 1, 1)


def test_a_day_that_a_zone_left_out_has_no_hours() -> None:
    """EN-04: Samoa went from Thursday to Saturday when it changed sides of the date line."""
    hours = Hours("Mon-Fri 08:00-18:00 Pacific/Apia")
    assert hours.next_open(at("Pacific/Apia", 2011, 12, 29, 19)) == at("Pacific/Apia", 2012, 1, 2, 8)
