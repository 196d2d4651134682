"""Where a ticket stands in Redis: derived from the ticket alone, so that a rebuild puts it where it was.

layout     the sorted sets it stands in, and its timers
cards      what others may know of it while it stands so: who has a customer's matter, how many slots it takes
marks_of   what a repeat of it is found by
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from .lifecycle import HELD, Queue, State
from .ticket import Ticket

__all__ = [
    "KEEP", "SERVED_S", "cards", "counts_for_customer", "crowd_of", "digest_of", "in_a_crowd", "layout", "marks_of",
]  # fmt: skip

KEEP = "keep"
SERVED_S = 90 * 86_400  # how long Redis knows who served a customer last


def layout(
    ticket: Ticket, *, keep_lease: bool = False, served: Callable[[Sequence[str]], bool] = lambda needs: True
) -> tuple[list[tuple[str, float]], list[tuple[str, float | str]]]:
    """Where a ticket stands and which timers it has: derived from the ticket alone, so a rebuild gets the same.

    `keep_lease` leaves the end of a lease or claim as it stands: renewals and re-based clocks do not write documents.
    """
    t = ticket
    entered = {Queue.INTAKE: t.created_at, Queue.ACTIVE: t.assigned_at, Queue.COMPLETED: t.closed_at}[t.queue]
    places: list[tuple[str, float]] = [(f"queue:{t.queue}", entered or t.updated_at)]
    timers: list[tuple[str, float | str]] = []
    if t.state is State.NEW:
        places.append(("new", t.created_at))
    elif t.state is State.READY:
        # What nobody can do stands in one set of its own: senders' inventions must not each be scanned in every cycle.
        group = t.group if t.named or served(t.needs) else "?"
        if t.behind:
            places.append((f"behind:{crowd_of(t)}", t.due))
        else:
            places.append((f"ready:{t.lane}:{group}", t.due))
            if in_a_crowd(t) and group != "?":
                places.append((f"ready_of:{crowd_of(t)}", t.due))
    elif t.state is State.SCHEDULED:
        timers.append(("wake", t.not_before or t.updated_at))
    elif t.state is State.ASSIGNED:
        places.append((f"assigned:{t.assigned_to}", t.assigned_at or t.updated_at))
        if t.claim_by is not None:  # a person has no claim deadline: the ladder looks after the ticket
            timers.append(("claim", KEEP if keep_lease else t.claim_by))
    elif t.state is State.WORKING:
        places.append((f"working:{t.assigned_to}", t.assigned_at or t.updated_at))
        if t.lease_until is not None:
            timers.append(("lease", KEEP if keep_lease else t.lease_until))
    elif t.state is State.WAITING:
        places.append(("waiting", t.updated_at))
        if t.waits_until is not None:
            timers.append(("wait", t.waits_until))
    if t.is_open:
        if t.ladder_at is not None:
            timers.append(("ladder", t.ladder_at))
        if t.accept_by is not None and t.state in (State.NEW, State.READY, State.ASSIGNED):
            timers.append(("accept", t.accept_by))
        if t.expires_at is not None:
            timers.append(("expire", t.expires_at))
    return places, timers


def digest_of(customer: str) -> str:
    """A customer in the name of a key."""
    return hashlib.sha256(customer.strip().casefold().encode()).hexdigest()[:16]


def crowd_of(ticket: Ticket) -> str:
    """Whom it stands among: the ready tickets one door brought for its customer, of one lane, that need the same.

    The door counts, so that whoever writes other people's names on his tickets pushes back only his own.
    """
    return f"{ticket.lane}:{digest_of(ticket.brought_by + chr(0) + _whose(ticket))}:{ticket.group}"


def _whose(ticket: Ticket) -> str:
    return ticket.customer.strip() or ticket.reporter.strip()


def in_a_crowd(ticket: Ticket) -> bool:
    """Whether so many of its kind stand in a crowd: somebody is named, and it is no part of the work on another one."""
    return bool(_whose(ticket)) and ticket.parent is None and not ticket.named


def counts_for_customer(ticket: Ticket) -> bool:
    """Whether the ticket is one its customer sent, and not a part of the work on one, or somebody's by name."""
    return bool(ticket.customer.strip()) and ticket.parent is None and not ticket.named


def cards(ticket: Ticket) -> list[tuple[str, str, str]]:
    """What others may know of the ticket as it stands, as (hash, field, value).

    The field "last" is a key of its own that stays for a while: who resolved a ticket of the customer, and when.
    """
    t, known = ticket, []
    if t.state in HELD and t.weight > 1:
        known.append((f"heavy:{t.assigned_to}", t.id, str(t.weight - 1)))
    if t.state is State.WAITING and t.waits_for != "children":
        known += [(f"waiters:{blocker}", t.id, "1") for blocker in t.awaits]
    if counts_for_customer(t):
        who = t.assigned_to if t.state in HELD else t.prefers if t.state is State.WAITING else None
        if who:
            known.append((f"customer:{digest_of(t.customer)}", t.id, f"{t.state}|{who}|{t.group}"))
        elif t.state is State.RESOLVED and t.assigned_to:
            at = t.closed_at or t.updated_at
            known.append((f"served:{digest_of(t.customer)}", "last", f"{t.assigned_to}|{at!r}"))
    return known


def marks_of(ticket: Ticket) -> list[str]:
    """What a repeat of the ticket is found by, while it is open."""
    return ticket.marks if ticket.is_open else []
