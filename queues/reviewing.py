"""The quality check: a finished reply is looked at by somebody else before it leaves (SD-07, SD-08).

    submitted     the team's `check` applies: ready for a checker; what it was is kept in `Ticket.review`
    reviewed      passed: it leaves as its author's. Failed: it is revised, by its author if that one is free, and then
                  looked at again, as often as `check.rounds` says
    after that    a decision-maker has it, a person where there is one, with the reason. What that one says leaves; what
                  anybody else says does not. Without such a one the ticket fails: nothing leaves unseen (I10)

Only what a customer reads is looked at: no approval, no brief, no part of another ticket, no follow-up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shiftlead.config.team import Check

from . import moves
from .asked import Asked, to_a_decider
from .errors import BadInput
from .following_up import check_follow_ups
from .handing_on import bound_reached
from .leaving import leaves
from .report import Failed, Report, Resolved, Reviewed
from .reserved import RESERVED
from .store import Change
from .ticket import Ticket

__all__ = ["cannot_judge", "reviewed", "submitted"]

USUAL_ROUNDS = Check().rounds  # of a team that has taken its check away meanwhile


def submitted(ticket: Ticket, report: Resolved, asked: Asked, at: dict[str, Any]) -> list[Change] | None:
    """The reply goes to a checker first; None where it may leave as it is.

    Raises:
        BadInput: one of its follow-ups can go to nobody: its author must hear that, not the checker.
    """
    check = _check_for(ticket, asked)
    if check is None:
        return None
    check_follow_ups(ticket, report, asked)
    if report.follow_ups and bound_reached(ticket, report.follow_ups, asked):
        return None  # a decision-maker ends it: see leaving.py
    if ticket.round >= check.rounds:
        return None if _decides(ticket.assigned_to, asked) else _over(ticket, report, asked, at)
    nth = f", review {ticket.round + 1} of {check.rounds}"
    reason = f"the reply of {ticket.assigned_to} is looked at before it leaves ({check.by}{nth})"
    return [moves.submit(ticket, report, to=check.by, reason=reason, **at)]


def reviewed(ticket: Ticket, report: Reviewed, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """What a verdict does.

    Raises:
        BadInput: there is nothing to judge, the judge wrote it, or the verdict contradicts itself.
    """
    review = ticket.review
    if review is None or not review.open or (ticket.result or {}).get("kind") != "resolved":
        raise BadInput(f"{ticket.number} is not in review: there is no result to judge.", field="kind")
    if ticket.assigned_to in review.authors:
        raise BadInput(
            f"{ticket.number}: {ticket.assigned_to} wrote at this reply and does not judge it.", field="kind"
        )
    if report.passed is bool(report.failed_checks):
        raise BadInput(
            f"{ticket.number}: a review either passed, or names the checks that failed.", field="failed_checks"
        )
    if report.passed:
        draft = Resolved.model_validate(ticket.result)
        return leaves(ticket, draft, review.author, asked, at, **moves.judged(ticket, report))
    if ticket.round + 1 >= _rounds(asked):
        failed = ", ".join(report.failed_checks)
        return _to_a_decider(ticket, report, f"{ticket.round + 1} reviews failed, the last for {failed}", asked, at)
    # Whoever wrote it goes on with it if he could do it by himself; else it is his by name.
    author = asked.team.agents.get(review.author)
    able = author is not None and set(review.needs) <= {*author.can, *author.stands_in_for}
    prefers, named = (review.author, None) if able or author is None else (None, review.author)
    reason = f"{ticket.assigned_to} sent it back: {', '.join(report.failed_checks)}"
    return [moves.send_back(ticket, report, prefers=prefers, named=named, reason=reason, **at)]


def cannot_judge(ticket: Ticket, report: Failed, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """A checker that cannot judge it closes nothing: somebody decides about the reply."""
    verdict = Reviewed(passed=False, failed_checks=["not_judged"], notes=report.error)
    return _to_a_decider(ticket, verdict, f"it could not be judged ({report.error[:200]})", asked, at)


def _check_for(ticket: Ticket, asked: Asked) -> Check | None:
    """The team's check, if it applies. A condition that cannot be evaluated applies."""
    check = asked.team.check
    if check is None or ticket.parent is not None or ticket.type in RESERVED:
        return None
    if check.when is not None:
        facts = {"ticket": ticket.model_dump(mode="json"), "customer": {"id": ticket.customer}, "now": asked.now}
        if check.when.evaluate(facts | {"steps": ticket.steps}).value is False:
            return None
    return check


def _decides(agent: str | None, asked: Asked) -> bool:
    """Whether its word leaves without a further look."""
    spec = asked.team.agents.get(agent or "")
    return spec is not None and (spec.human or agent in asked.team.decision_makers())


def _to_a_decider(ticket: Ticket, report: Reviewed, reason: str, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """The rounds are used up, or nobody can judge it. The reply stands on the ticket, with what was found wrong."""
    authors = ticket.review.authors if ticket.review else []
    able = [a for a in asked.team.decision_makers() if a not in (*authors, *ticket.excluded)]
    able.sort(key=lambda a: (not asked.team.agents[a].human, a == ticket.assigned_to))
    if not able:
        why = f"{reason}; no decision-maker is left to look at it"
        ended = moves.judged(ticket, report) | {"checks": report.failed_checks, "last_op": moves.report_op(ticket)}
        return [moves.fail(ticket, reason=why, actor=f"agent:{ticket.assigned_to}", **at, **ended)]
    why = f"{reason}; {able[0]} decides"
    change = moves.send_back(ticket, report, prefers=None, named=able[0], reason=why, **at)
    last = max(change.after.round, _rounds(asked))  # its word is not looked at again, however early it was asked
    return [replace(change, after=change.after.changed(round=last))]


def _rounds(asked: Asked) -> int:
    return asked.team.check.rounds if asked.team.check else USUAL_ROUNDS


def _over(ticket: Ticket, report: Report, asked: Asked, at: dict[str, Any]) -> list[Change]:
    """Somebody else answered after the rounds were used up: nobody may let that leave but a decision-maker."""
    return to_a_decider(ticket, report, f"{ticket.round} reviews of its reply have failed", asked, at)
