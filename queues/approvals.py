"""What must be true before an approval may be answered with yes. Text never opens a gate: only these checks do (I23).

The coordinator writes the gate's terms into the approval's context when it decides who is asked:

    gate      number of the gate in the team file; or `review`, of the review rule
    reason    why it asks, in a word: refund_over_threshold
    human     only a person may say yes
    confirms  arguments that must be filled in, as scope and acceptance_criteria (TA-08)
    then      who decides when the first approver let it expire
"""

from __future__ import annotations

from typing import Any

from .errors import BadInput, Refused
from .report import Resolved
from .reserved import INVISIBLE
from .ticket import Ticket

__all__ = ["check", "confirmed", "missing"]


def missing(approval: Ticket) -> list[str]:
    """The terms of the gate that the asking agent left empty."""
    arguments = approval.context.get("arguments")
    given = arguments if isinstance(arguments, dict) else {}
    return [name for name in approval.context.get("confirms") or [] if _is_blank(given.get(name))]


def _is_blank(value: Any) -> bool:
    """Nothing a person could have read: also blanks, invisible characters, and lists of them."""
    if isinstance(value, str):
        return not INVISIBLE.sub("", value).strip()
    if isinstance(value, list | dict):
        return all(map(_is_blank, value.values() if isinstance(value, dict) else value))
    return value is None


def confirmed(approval: Ticket) -> dict[str, Any]:
    """What a yes confirms, word for word."""
    arguments = approval.context.get("arguments")
    given = arguments if isinstance(arguments, dict) else {}
    return {name: given.get(name) for name in approval.context.get("confirms") or []}


def refuse_unless_complete(approval: Ticket) -> None:
    """Raises:
    Refused: nobody can say yes to what is not said.
    """
    if wanting := missing(approval):
        raise Refused(
            f"{approval.number} cannot be approved: {' and '.join(wanting)} must be confirmed first, and the asking "
            f"agent left {'it' if len(wanting) == 1 else 'them'} empty. Deny it and say so: "
            f"shiftlead deny {approval.number} --reason 'say the {wanting[0]}'"
        )


def check(ticket: Ticket, report: object, *, human: bool, now: float) -> None:
    """Refuse the yes of an agent to an approval whose terms are not met. `human`: a person answers as that agent.

    Raises:
        Refused: it has expired.
        BadInput: only a person may say yes, or something that must be confirmed is missing.
    """
    if ticket.type != "approval" or not isinstance(report, Resolved) or report.decision != "approve":
        return
    if ticket.expires_at is not None and ticket.expires_at <= now:
        raise Refused(f"{ticket.number} has expired: it can no longer be approved. Ask again.")
    if ticket.context.get("human") and not human:
        raise BadInput(f"{ticket.number}: only a person may say yes to this (its gate says human).", field="decision")
    if wanting := missing(ticket):
        raise BadInput(
            f"{ticket.number}: a yes must confirm {' and '.join(wanting)}, and the request leaves that empty.",
            field="decision",
        )
