"""The one who stands in, offline (SD-12): a brief apology, what was understood, and the promise of a person.

It does not try the specialist's work. The promise is a ticket of its own, for a person, due in four hours: the
follow-up machinery arms its timer, and its ladder tells somebody when it is not kept.
"""

from __future__ import annotations

from .agent import FollowUp, Report, Resolved, Work
from .cues import cut, said
from .knowledge import Knowledge
from .offline_shop import closing, letter

__all__ = ["PROMISE_S", "answer"]

PROMISE_S = 4 * 3600.0
PEOPLE = ("follow_up", "decision", "approval")  # what a person of the team can, the first one there is


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    about = " + ".join(work.ticket.needs) or "this"
    needs = next((can for can in PEOPLE if can in work.team_can), PEOPLE[0])
    asked = cut(work.ticket.title or said(work), 120)
    return Resolved(
        reply=letter(
            work,
            f"We are sorry: nobody who can help you with {about} is available right now.",
            f"Your request {work.ticket.number} is noted: {asked!r}.",
            "A person will follow up within 4 hours.",
        ),
        summary=f"stood in for {about}: a person follows up within 4 hours (offline brain)",
        evidence=closing(work),
        follow_ups=[
            FollowUp(
                type="promise",
                title=f"Follow up on {work.ticket.number}: {asked}"[:500],
                question=f"{work.ticket.customer or 'The customer'} was promised a person within 4 hours. They write: "
                f"{cut(said(work), 2000)}",
                needs=[needs],
                within_s=PROMISE_S,
            )
        ],
    )
