"""`shiftlead enqueue --from CHANNEL FILE`: GitHub issues, notifications and calendar events as tickets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiftlead.coordinator.inbound import Message

__all__ = ["CHANNELS", "messages"]

CHANNELS = ("github", "notification", "calendar")
MOST_BYTES = 32_000_000


def messages(channel: str, name: str, *, max_bytes: int) -> Iterator[tuple[int, Message | Exception]]:
    """Each message of a file (`-`: standard input) with its number, or why it is none: BadInput, TooLarge, Ignored.

    A GitHub or notification file has one JSON object, an array of them, or one a line.

    Raises:
        BadInput: no such channel or file, or nothing of it can be read.
    """
    from shiftlead.config.rules import near
    from shiftlead.coordinator.inbound import Ignored
    from shiftlead.coordinator.inbound_calendar import from_calendar
    from shiftlead.coordinator.inbound_github import from_github
    from shiftlead.coordinator.inbound_notification import from_notification
    from shiftlead.queues.errors import BadInput, TooLarge

    if channel not in CHANNELS:
        hint = near(channel, CHANNELS)
        rest = f"Did you mean {hint!r}?" if hint else f"There are: {', '.join(CHANNELS)}."
        raise BadInput(f"There is no channel {channel!r}. {rest} Nothing was stored.", field="from")
    raw = _read(name)
    if channel == "calendar":
        yield from enumerate(from_calendar(raw, max_bytes=max_bytes), 1)
        return
    read: Callable[..., Message] = from_github if channel == "github" else from_notification
    for number, payload in _payloads(raw):
        try:
            yield number, read(payload, max_bytes=max_bytes)
        except (BadInput, TooLarge, Ignored) as error:
            yield number, error


def _payloads(raw: bytes) -> Sequence[tuple[int, Any]]:
    """JSON objects with their numbers; with one a line, the line's."""
    from shiftlead.coordinator.inbound import payload_of

    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        lines = [(n, line) for n, line in enumerate(raw.splitlines(), 1) if line.strip()]
        return [(n, payload_of(line)) for n, line in lines] if len(lines) > 1 else [(1, payload_of(raw))]
    return list(enumerate(whole if isinstance(whole, list) else [whole], 1))


def _read(name: str) -> bytes:
    from shiftlead.queues.errors import BadInput

    try:
        if name == "-":
            raw = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(name).expanduser().open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror}. Nothing was stored.") from None
    if len(raw) > MOST_BYTES:
        raise BadInput(f"{name} has more than {MOST_BYTES:,} bytes. Nothing was stored.")
    return raw
