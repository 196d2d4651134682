"""Timers are ours: one sorted set per team, armed and cancelled by the commit that moves the ticket.

They fire late but never early, and once: the change a timer asks for is decided on the ticket as it stands, and it
disarms the timer in the same commit. The escalation ladder's steps are decided in `coordinator/escalation.py`.

| kind   | armed while          | firing means                                                    |
|--------|----------------------|-----------------------------------------------------------------|
| wake   | scheduled            | ready                                                           |
| claim  | assigned             | back to ready, counted as undelivered                           |
| lease  | working              | back to ready; suspect, if its worker is gone                   |
| wait   | waiting for a person | ready again: nobody answered; a withheld result leaves          |
| accept | handed on, unclaimed | the decision-maker hears of it                                  |
| expire | approval, open       | the next approver decides; without one it failed, and the       |
|        |                      | parent goes on and knows                                        |
| ladder | open                 | the next escalation step                                        |
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

from . import moves
from .keys import Keys
from .lifecycle import State
from .store import Change, Store
from .ticket import Ticket

__all__ = ["Timer", "crashed", "disarm", "due", "fired", "next_at"]

ONE_DAY_S = 86_400.0
MOMENT = {  # where the ticket itself says when
    "wake": "not_before", "claim": "claim_by", "wait": "waits_until", "accept": "accept_by", "expire": "expires_at",
}  # fmt: skip


class Timer(NamedTuple):
    """`kind` of timer of one ticket, and the moment it was armed for (unix seconds)."""

    kind: str
    ticket: str
    at: float


def due(client: Any, keys: Keys, now: float, limit: int = 500, *, start: int = 0) -> list[Timer]:
    """Timers whose moment has come, the oldest first."""
    found = client.zrangebyscore(keys.timers, "-inf", now, start=start, num=limit, withscores=True)
    return [Timer(kind, ticket, at) for (kind, _, ticket), at in ((member.partition(":"), at) for member, at in found)]


def next_at(client: Any, keys: Keys) -> float | None:
    """When the next timer fires, unix seconds."""
    first = client.zrange(keys.timers, 0, 0, withscores=True)
    return float(first[0][1]) if first else None


def disarm(store: Store, timer: Timer, again_at: float | None = None) -> None:
    """Take a timer out, or put it off, unless it has been armed anew since it was read."""
    store.disarm(f"{timer.kind}:{timer.ticket}", timer.at, again_at)


def fired(
    timer: Timer, ticket: Ticket, *, now: float, epoch: int, present: Collection[str], max_crashes: int,
    deciders: list[str],
) -> list[Change]:  # fmt: skip
    """The change a due timer (not `ladder`) asks for; empty when the ticket has moved on. `present`: live workers."""
    if timer.kind in MOMENT and (getattr(ticket, MOMENT[timer.kind]) or now) > now:
        return []  # armed anew since it was read: by another coordinator that fired it first
    match timer.kind, ticket.state:
        case "wake", State.SCHEDULED:
            return [moves.wake(ticket, now=now, epoch=epoch)]
        case "claim", State.ASSIGNED:
            late = now - (ticket.assigned_at or now)
            reason = f"{ticket.assigned_to} did not claim it within {late:.0f} s"
            return [
                moves.give_back(
                    ticket, reason=reason, actor="timer:claim", counter="undelivered", now=now, epoch=epoch
                )
            ]  # fmt: skip
        case "lease", State.WORKING:
            # A renewal writes no version: the commit looks whether the lease still ends when it was read to end.
            armed = ("lease", timer.at)
            if ticket.worker not in present:
                reason = f"the lease ran out and worker {ticket.worker} gives no sign of life"
                change = crashed(ticket, reason=reason, actor="timer:lease", now=now, epoch=epoch, limit=max_crashes)
                return [replace(change, armed=armed)]
            reason = f"worker {ticket.worker} did not renew its lease"
            change = moves.give_back(
                ticket, reason=reason, actor="timer:lease", counter="handed_back", now=now, epoch=epoch
            )
            return [replace(change, armed=armed)]
        case "wait", State.WAITING if ticket.withheld:
            return [moves.release(ticket, now=now, epoch=epoch)]
        case "wait", State.WAITING:
            reason = f"nobody answered in time ({ticket.waits_for})"
            return [moves.resume(ticket, [], actor="timer:wait", reason=reason, now=now, epoch=epoch)]
        case "accept", State.NEW | State.READY | State.ASSIGNED:
            reason = "the handoff was not taken up in time"
            return [
                moves.escalate(
                    ticket, ladder=ticket.ladder, ladder_at=ticket.ladder_at, told=deciders, to=None, reason=reason,
                    now=now, epoch=epoch, actor="timer:accept", accept_by=None,
                )
            ]  # fmt: skip
        case "expire", State.SCHEDULED | State.WAITING if ticket.context.get("then"):
            return [_passed_on(ticket, now=now, epoch=epoch)]
        case "expire", _ if ticket.is_open and ticket.context.get("then"):
            then = str(ticket.context["then"])
            reason = f"{ticket.assigned_to or ticket.named or 'nobody'} did not decide in time: {then} decides"
            return [
                moves.escalate(
                    ticket, ladder=ticket.ladder, ladder_at=ticket.ladder_at, told=[then], to=then, reason=reason,
                    now=now, epoch=epoch, actor="timer:expire", context=ticket.context | {"then": None},
                    expires_at=now + float(ticket.context.get("expires_s") or ONE_DAY_S),
                )
            ]  # fmt: skip
        case "expire", _ if ticket.is_open:
            reason = "nobody decided before the approval expired"
            return [moves.fail(ticket, reason=reason, actor="timer:expire", now=now, epoch=epoch)]
    return []


def _passed_on(ticket: Ticket, *, now: float, epoch: int) -> Change:
    """An approval that was put off or waits itself when it expires: it begins anew with the next who decides."""
    then = str(ticket.context["then"])
    reason = f"{ticket.named or 'nobody'} did not decide in time: {then} decides"
    if ticket.state is State.WAITING:
        change = moves.resume(ticket, [], actor="timer:expire", reason=reason, now=now, epoch=epoch)
    else:
        change = moves.wake(ticket, now=now, epoch=epoch)
    after = change.after.changed(
        named=then, prefers=None, reason=reason, context=ticket.context | {"then": None},
        expires_at=now + float(ticket.context.get("expires_s") or ONE_DAY_S),
    )  # fmt: skip
    return replace(change, after=after)


def crashed(ticket: Ticket, *, reason: str, actor: str, now: float, epoch: int, limit: int) -> Change:
    """Its worker died. Only a crash while the ticket was alone is its own; the last one fails it (I17)."""
    if not ticket.alone:
        return moves.give_back(ticket, reason=reason, actor=actor, suspect=True, now=now, epoch=epoch)
    count = ticket.attempts.crashed + 1
    if count >= limit:
        why = f"it crashed its worker {count} times while alone; the last time: {reason}"
        attempts = ticket.attempts.model_copy(update={"crashed": count})
        return moves.fail(ticket, reason=why, actor=actor, now=now, epoch=epoch, attempts=attempts)
    return moves.give_back(ticket, reason=reason, actor=actor, counter="crashed", suspect=True, now=now, epoch=epoch)
