"""The events of an iCalendar file as tickets: one for each event that is not cancelled.

Repetitions are not worked out: a series is one ticket, with its first time. An event that was sent again with a higher
SEQUENCE or another time is another message.
"""

from __future__ import annotations

from typing import Any

from shiftlead.queues.errors import BadInput

from .icalendar_events import EMAIL
from .inbound import Message, component_of, evidence_links, message, text_of, urgency_of

__all__ = ["from_calendar"]

MAX_BYTES = 2_000_000
MAX_EVENTS = 500


def from_calendar(data: bytes, *, max_bytes: int = 262_144) -> list[Message]:
    """The messages, in the file's order.

    Raises:
        BadInput: no iCalendar, too large, or more than 500 events.
    """
    import icalendar

    if len(data) > MAX_BYTES:
        raise BadInput(f"The calendar has {len(data):,} bytes; at most {MAX_BYTES:,} are read. Nothing was stored.")
    try:
        calendars = icalendar.Calendar.from_ical(data, multiple=True)
        events = [e for c in calendars for e in c.walk("VEVENT")]
    except (ValueError, IndexError, KeyError, RecursionError) as error:
        raise BadInput(f"This is no iCalendar we can read ({type(error).__name__}). Nothing was stored.") from None
    if not calendars:
        raise BadInput("There is no VCALENDAR in it. Nothing was stored.")
    if len(events) > MAX_EVENTS:
        raise BadInput(f"The calendar has {len(events):,} events; at most {MAX_EVENTS} are taken. Nothing was stored.")
    return [_message(event, max_bytes) for event in events if _said(event, "STATUS").upper() != "CANCELLED"]


def _message(event: Any, max_bytes: int) -> Message:
    title = _said(event, "SUMMARY", 500) or "An event without a title"
    body, categories = _said(event, "DESCRIPTION"), _categories(event)
    address = _said(event, "URL", 2000)
    times = {"starts": _when(event, "DTSTART"), "ends": _when(event, "DTEND"), "place": _said(event, "LOCATION", 500)}
    said = {
        "title": title, "body": body or title, "source": "calendar", "type": "event",
        "urgency": _urgency(event, categories), "component": component_of(categories, title),
        "reporter": _organizer(event), "links": [*([address] if address else []), *evidence_links(body)],
        "context": {k: v for k, v in times.items() if v},
    }  # fmt: skip
    ids = (_said(event, name, 500) for name in ("UID", "SEQUENCE", "RECURRENCE-ID"))
    return message(said, stamp=" ".join(ids), max_bytes=max_bytes)


def _said(event: Any, name: str, most: int = 60_000) -> str:
    value = event.get(name)
    value = value[0] if isinstance(value, list) and value else value
    if getattr(value, "dt", None) is not None:
        return _when(event, name)
    return text_of(str(value) if value is not None else "", most)


def _when(event: Any, name: str) -> str:
    moment = getattr(event.get(name), "dt", None)
    return moment.isoformat() if moment is not None and hasattr(moment, "isoformat") else ""


def _categories(event: Any) -> list[str]:
    given = event.get("CATEGORIES")
    entries = given if isinstance(given, list) else [given]
    found = [str(category) for entry in entries for category in getattr(entry, "cats", None) or []]
    return [text_of(category, 100) for category in found[:50]]


def _urgency(event: Any, categories: list[str]) -> str:
    """By its categories, else by PRIORITY: 1 to 4 is high, 5 normal, 6 to 9 low (RFC 5545, 3.8.1.9)."""
    if said := urgency_of(categories):
        return said
    number = _said(event, "PRIORITY", 10)
    value = int(number) if number.isdecimal() else 0
    return "high" if 1 <= value <= 4 else "normal" if value == 5 else "low" if 6 <= value <= 9 else ""


def _organizer(event: Any) -> str:
    found = EMAIL.search(_said(event, "ORGANIZER", 500))
    return found[0][:200] if found else ""
