"""A provider says no for a while: the agent is busy until its quota is there again, and its ticket goes back uncounted.

A brain raises `Busy(after_s=60)` - a model that answers 429 with Retry-After, a system in its maintenance window. The
runtime holds the agent until then, so that no other ticket runs into the same wall; what it held goes back to ready
and may go to somebody else meanwhile. A day's budget that is used up is the same, until the next day.

Where our own Redis or SQL does not answer it is the same for `AWAY_S`: no agent has failed anything by it.

`OverBudget` is about one ticket: waiting would not help it, so somebody else ends it.
"""

from __future__ import annotations

__all__ = ["AWAY_S", "LONGEST_S", "Busy", "OverBudget"]

AWAY_S = 15.0
LONGEST_S = 86_400.0  # what an answer of a provider may keep an agent from working


class Busy(Exception):
    """The agent cannot work for `after_s` seconds (bounded to a day)."""

    def __init__(self, after_s: float, reason: str = "the provider's quota is used up") -> None:
        super().__init__(f"busy for {after_s:g} s: {reason}")
        self.after_s = min(max(1.0, after_s), LONGEST_S) if after_s == after_s else 60.0
        self.reason = reason[:500]


class OverBudget(Exception):
    """The ticket's budget is used up, or too small for what comes next; says how much of what."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason[:500]
