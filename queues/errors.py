"""What can go wrong, as a small tree. Every message says what happened, to which ticket, and what to do now.

ShiftleadError
├── Undecided           a step failed on one ticket: a fault of ours, logged with its trace               (exit 1, 500)
├── BadInput            the caller sent something that cannot be a ticket, a report or a team     (exit 2, 400/422)
│   └── TooLarge        ... because it is larger than the limit                                   (exit 2, 413)
├── NotFound            no such ticket, agent or team                                             (exit 3, 404)
├── Refused             the engine is well; what was asked is not possible now
│   ├── IllegalMove     the table has no such move from this state                                (exit 4, 409)
│   ├── StaleToken      somebody else holds the ticket now: stop working on it                    (exit 4, 409)
│   ├── NotYours        the ticket belongs to another agent                                       (exit 4, 403)
│   ├── NoSlot          the agent's capacity is used up                                           (exit 4, 409)
│   └── KeyReused       the idempotency key was used for a different request                      (exit 4, 422)
└── Unavailable         try again: nothing was acknowledged                                       (exit 5, 503)
    ├── NotRecorded     committed in Redis, not yet seen in the ledger: retry with the same key   (exit 5, 503)
    ├── IntakeFull      the ledger is behind: intake is closed for a moment                       (exit 5, 429)
    ├── Rebuilding      the team's epoch is missing or changed: queues are being rebuilt          (exit 5, 503)
    └── LedgerHalted    SQL contradicts the stream or cannot be written                           (exit 5, 503)
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BadInput", "IllegalMove", "IntakeFull", "KeyReused", "LedgerHalted", "NoSlot", "NotFound", "NotRecorded",
    "NotYours", "Rebuilding", "Refused", "ShiftleadError", "StaleToken", "TooLarge", "Unavailable", "Undecided",
]  # fmt: skip


class ShiftleadError(Exception):
    """Anything Shiftlead says no to."""

    exit_code = 1
    status = 500
    retry_after_s: int | None = None


class Undecided(ShiftleadError):
    """A rule or a step failed on one ticket: a fault of ours. The ticket stays as it is."""

    def __init__(self, number: str, error: Exception) -> None:
        super().__init__(f"{number} could not be decided: {type(error).__name__}: {error}. It stays as it is.")
        self.number = number


class BadInput(ShiftleadError):
    """The caller sent something that cannot be used. `field` and `line` say where."""

    exit_code, status = 2, 422

    def __init__(self, message: str, *, field: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.field, self.line = field, line


class TooLarge(BadInput):
    status = 413


class NotFound(ShiftleadError):
    exit_code, status = 3, 404


class Refused(ShiftleadError):
    exit_code, status = 4, 409


class IllegalMove(Refused):
    """The lifecycle table has no such move from here."""

    def __init__(self, number: str, move: str, state: str, possible: Iterable[str], who: str = "") -> None:
        options = ", ".join(possible) or "none"
        super().__init__(
            f"{number} is {state}: {move!r} is not possible{' for ' + who if who else ''}. From here: {options}."
        )
        self.number, self.move, self.state = number, move, state


class StaleToken(Refused):
    """The caller no longer holds the ticket."""

    def __init__(self, number: str, given: int, state: str, holder: str | None) -> None:
        closed = state in ("resolved", "failed", "cancelled")
        now = f"{holder} holds it now" if holder and not closed else f"nobody holds it now, it is {state}"
        super().__init__(
            f"{number}: fencing token {given} is out of date, {now}. Stop working on it; nothing was written."
        )
        self.number, self.given, self.holder = number, given, holder


class NotYours(Refused):
    status = 403

    def __init__(self, number: str, agent: str) -> None:
        super().__init__(f"{number} is not {agent}'s ticket. An agent sees and moves only its own.")
        self.number, self.agent = number, agent


class NoSlot(Refused):
    def __init__(self, number: str, agent: str, capacity: int) -> None:
        super().__init__(f"{number} cannot go to {agent}: all {capacity} slots are taken. It stays ready.")
        self.number, self.agent, self.capacity = number, agent, capacity


class KeyReused(Refused):
    status = 422

    def __init__(self, key: str, number: str) -> None:
        super().__init__(
            f"Idempotency key {key!r} was used for a different request ({number}). Use a new key for a new ticket."
        )
        self.key, self.number = key, number


class Unavailable(ShiftleadError):
    """Nothing was acknowledged. Trying again is safe."""

    exit_code, status, retry_after_s = 5, 503, 1


class NotRecorded(Unavailable):
    def __init__(self, number: str, waited_s: float) -> None:
        super().__init__(
            f"{number} may be recorded: the ledger did not confirm it within {waited_s:g} s. "
            "Retry with the same idempotency key; see `shiftlead coordinator`'s log."
        )
        self.number = number


class IntakeFull(Unavailable):
    status, retry_after_s = 429, 5


class Rebuilding(Unavailable):
    def __init__(self, team: str) -> None:
        super().__init__(
            f"Team {team!r} has no valid epoch in Redis: its queues are being rebuilt from the ledger, "
            "or no coordinator runs yet (start one: shiftlead coordinator). Retry; nothing was written."
        )
        self.team = team


class LedgerHalted(Unavailable):
    retry_after_s = 10
