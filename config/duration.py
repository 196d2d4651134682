"""Durations as people write them: 30_minutes, 5m, 4h, 2 days."""

from __future__ import annotations

import re

__all__ = ["duration_s"]

TEN_YEARS_S = 315_360_000.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
WORDS = {"", "s", "sec", "second", "m", "min", "minute", "h", "hr", "hour", "d", "day"}


def duration_s(value: str | int | float, *, zero: bool = False) -> float:
    """Seconds in `30_minutes`, `5m`, `4h`, `2 days`, `90` (seconds).

    Raises:
        ValueError: it is not a positive time, and not the `zero` that is taken.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)[\s_]*([a-zA-Z]*)\s*", str(value))
    unit = match[2].lower() if match else ""
    scale = UNITS.get(unit[:1] if unit.rstrip("s") in WORDS else "?") if unit else 1.0
    if match is None or scale is None or not _allowed(float(match[1]) * scale, zero):
        raise ValueError(f"{value!r} is not a time of at most ten years; write 30_minutes, 5m, 4h or 2d")
    return float(match[1]) * scale


def _allowed(seconds: float, zero: bool) -> bool:
    return seconds <= TEN_YEARS_S and (seconds > 0 or (zero and seconds == 0))
