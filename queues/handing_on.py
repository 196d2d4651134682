"""Handing a ticket on, or parts of it to several: the children, and the bounds that end every loop (EN-08, I10).

| bound                                                      | most                    | then                  |
|------------------------------------------------------------|-------------------------|-----------------------|
| handoffs along one line of tickets                         | `max_handoffs`, 8       | a decision-maker      |
| A asks B, B asks A: that it came back to the one before    | 2 of the same pair      | a decision-maker      |
| a ticket asks the same question of the same target         | 2 in one life           | a decision-maker      |
| tickets one matter may grow to, by the widths of its line  | `max_messages`, 256     | a decision-maker      |
| handing on again, after a part of it had reached a bound   | never                   | a decision-maker      |
| handing on to oneself                                      | never                   | the report is refused |

Nothing an agent does wakes it: it may not take what it asked for, and its own word is no answer (`wakes`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import moves
from .asked import Asked, child_of, packet_of, to_a_decider
from .errors import BadInput
from .report import FollowUp, HandOff, Part, Resolved
from .reserved import is_reserved
from .store import Change
from .ticket import Ticket

__all__ = ["asked_before", "bounces", "bound_reached", "check_target", "hand_off", "handed_on", "wakes"]

MAX_BOUNCES = 2
MAX_SAME = 2
MAX_MATTER = 256


def hand_off(ticket: Ticket, report: HandOff, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """The ticket waits for its parts.

    One of whose parts a bound was reached before is not handed on again: else every ticket on the way back would try
    all its ways anew, and the bounds would multiply.

    Raises:
        BadInput: a part names nobody, two, a stranger, or whom it comes from.
    """
    if not report.parts:
        check_target(ticket, report, asked)
        return _unless_bound(ticket, [report], report, asked, at)
    if report.needs or report.to:
        raise BadInput(
            f"{ticket.number}: a HandOff names `needs` or `to` itself, or has `parts` that do; not both.", field="parts"
        )
    shared = {"title": report.title, "question": report.question, "packet": report.packet}
    parts = [p.model_copy(update={k: getattr(p, k) or v for k, v in shared.items()}) for p in report.parts]
    for index, part in enumerate(parts):
        check_target(ticket, part, asked, f"parts.{index}.")
    return _unless_bound(ticket, parts, report, asked, at)


def handed_on(
    ticket: Ticket, parts: Sequence[Part], report: HandOff | Resolved, asked: Asked, at: dict[str, Any]
) -> list[Change]:
    """The children and the waiting ticket in one commit, or what a bound that is reached asks for."""
    if why := bound_reached(ticket, parts, asked):
        return to_a_decider(ticket, report, why, asked, at, context=ticket.context | {"bound": why})
    children = [
        child_of(
            ticket, part, asked, source="handoff", packet=packet_of(ticket, part.question, part.packet), context={},
            links=list(ticket.links), asked_of=part.to, excluded=[ticket.assigned_to],
            accept_by=asked.now + asked.settings.accept_deadline_s,
        )
        for part in parts
    ]  # fmt: skip
    return [moves.hand_off(ticket, [c.after for c in children], report, **at), *children]


def check_target(ticket: Ticket, part: Part | FollowUp, asked: Asked, where: str = "") -> None:
    """Refuse what can go to nobody. A follow-up may go to whom it comes from: it begins later.

    Raises:
        BadInput: names the field.
    """
    me, team = ticket.assigned_to, asked.team
    if bool(part.needs) == bool(part.to):
        what = "FollowUp" if isinstance(part, FollowUp) else "HandOff"
        raise BadInput(
            f"A {what} names either `needs` (capabilities) or `to` (an agent), not both and not none.",
            field=f"{where}needs",
        )
    if part.to and part.to not in team.agents and part.to not in team.people:
        known = ", ".join([*team.agents, *team.people])
        raise BadInput(f"{ticket.number} cannot be handed to {part.to!r}: the team has {known}.", field=f"{where}to")
    if is_reserved(part.type, team):
        raise BadInput(f"{part.type!r} tickets are made by Shiftlead itself; use AskHuman.", field=f"{where}type")
    if isinstance(part, FollowUp):
        return
    if part.to == me:
        raise BadInput(f"{ticket.number} cannot be handed to {part.to}, who holds it.", field=f"{where}to")
    if part.needs and team.agents_for(part.needs) == [me]:
        raise BadInput(
            f"{ticket.number} cannot be handed on for {' + '.join(part.needs)}: nobody but {me} can do that, and what "
            f"{me} asks for never goes to {me} itself. Do it here, or name somebody with `to`.",
            field=f"{where}needs",
        )


def bound_reached(ticket: Ticket, parts: Sequence[Part | FollowUp], asked: Asked) -> str | None:
    """Why these children may not be made any more; None while they may."""
    if ticket.hops >= (asked.team.limits.max_handoffs or asked.settings.max_handoffs):
        return f"{ticket.hops} handoffs are the limit (max_handoffs)"
    ancestors = asked.ancestors()
    line = [a.asked_by for a in reversed(ancestors)] + [ticket.asked_by, ticket.assigned_to]
    chain = [name for name in line if name]
    for part in parts:
        way = [*chain, part.to] if part.to else chain
        if bounces(way) > MAX_BOUNCES:
            return f"it goes back and forth ({' -> '.join(way)})"
        if asked_before(ticket, part) >= MAX_SAME:
            return f"{part.to or ' + '.join(part.needs)} was asked the same {MAX_SAME} times already"
    widths = [len(a.children) for a in ancestors] + [len(ticket.children) + len(parts)]
    most = asked.team.limits.max_messages or MAX_MATTER
    if math.prod(max(1, w) for w in widths) > most:
        return f"one matter may grow to {most} tickets"
    return None


def bounces(chain: Sequence[str]) -> int:
    """How often it came back to the one before the last (A-B-A), counted for the pair that did it most."""
    triples = zip(chain, chain[1:], chain[2:], strict=False)
    back = Counter(frozenset((a, b)) for a, b, c in triples if a == c != b)
    return max(back.values(), default=0)


def asked_before(ticket: Ticket, part: Part | FollowUp) -> int:
    """How often this ticket, in this life, asked the same of the same and heard an answer."""
    said = (part.title or ticket.title, part.question)
    return sum(
        (a.get("title"), a.get("question")) == said
        and (a.get("asked_of") == part.to if part.to else set(a.get("needs") or []) == set(part.needs))
        for a in ticket.answers
    )


def wakes(actor: str, ticket: Ticket) -> bool:
    """Whether a word of `actor` may end what the ticket waits for: never that of the agent that waits itself.

    A person who waits may end the wait: somebody who calls from outside cannot do it for them.
    """
    return not ticket.prefers or actor != f"agent:{ticket.prefers}"


def _unless_bound(
    ticket: Ticket, parts: Sequence[Part], report: HandOff, asked: Asked, at: dict[str, Any]
) -> list[Change]:
    ended = next((a for a in ticket.answers if a.get("bound")), None)
    if ended is None:
        return handed_on(ticket, parts, report, asked, at)
    why = f"what it handed on before reached a bound ({ended.get('number')}: {ended['bound']})"
    return to_a_decider(ticket, report, why, asked, at, context=ticket.context | {"bound": ended["bound"]})
