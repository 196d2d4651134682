"""The decision-maker, offline: stated limits, a decision, its reason, and what would change it.

An approval is decided by the policy of its action; an action without a policy is denied, never waved through. Text
opens nothing: only the typed arguments of the stored action count.
"""

from __future__ import annotations

import re
from typing import Any

from . import offline_support
from .agent import Report, Resolved, Work
from .cues import answers_of, complaint_cue, cut, decision_cue, said
from .knowledge import Knowledge
from .policy import DECIDER_LIMIT, amounts_in, decide_refund, refund_of

__all__ = ["answer"]

IRREVERSIBLE = re.compile(r"irreversibl\w*|cannot be undone|delete|drop|purge|terminate|no way back", re.I)
TEAM_SAYS = "Decided by rules (offline brain)"


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    if work.ticket.type == "approval":
        return _approval(work)
    if work.ticket.type == "brief" and work.ticket.source == "shiftlead":
        return Resolved(reply="", summary="read; the offline brain decides each ticket for itself and keeps no news")
    if work.packet is not None or work.ticket.type in ("decision", "escalation") or "decision" in work.ticket.needs:
        return _decision(work)
    if answers_of(work):
        return offline_support.reply_from_answers(work)
    if offline_support.is_refund(work):  # escalated to the one who decides: nobody is left to ask
        return _refund_reply(work)
    if complaint_cue(work.text) or decision_cue(work.text):
        return _decision(work)
    return offline_support.answer_from_knowledge(work, knowledge)


def _approval(work: Work) -> Resolved:
    action = work.ticket.context.get("action")
    arguments = work.ticket.context.get("arguments")
    if not isinstance(action, str) or not isinstance(arguments, dict):
        return _say(work, False, "the approval carries no action with arguments, so there is nothing to approve")
    if action == "process_refund":
        yes, reason = decide_refund(refund_of(work.ticket))
    elif action == "production_change":
        yes, reason = _production(arguments)
    else:
        yes, reason = False, f"there is no policy for the action {action!r}; a person has to decide it"
    return _say(work, yes, reason)


def _production(arguments: dict[str, Any]) -> tuple[bool, str]:
    if arguments.get("irreversible") is not False:
        return False, "the change cannot be taken back, or does not say so; a person with a backup must do it"
    if not arguments.get("rollback"):
        return False, "no way back is named. Ask again with the rollback step"
    return True, f"it can be taken back: {cut(str(arguments['rollback']), 200)}"


def _say(work: Work, yes: bool, reason: str) -> Resolved:
    return Resolved(
        decision="approve" if yes else "deny",
        reply=f"{reason.rstrip('.')}.",
        summary=f"{'approved' if yes else 'denied'}: {reason}. {TEAM_SAYS}",
        evidence=[f"{k}: {cut(str(v), 200)}" for k, v in (work.ticket.context.get("arguments") or {}).items()]
        if isinstance(work.ticket.context.get("arguments"), dict)
        else [],
    )


def _refund_reply(work: Work) -> Resolved:
    refund = refund_of(work.ticket)
    yes, reason = decide_refund(refund)
    verdict = f"Your refund of {refund.money} is granted" if yes else "We cannot grant the refund as it stands"
    return Resolved(
        reply=f"{verdict}: {reason}.",
        summary=f"refund "
        f"{'granted; to be booked, no payment system is connected' if yes else 'not granted'}. {TEAM_SAYS}",
        evidence=[cut(said(work), 300)],
    )


def _decision(work: Work) -> Resolved:
    """A short decision with its reasons. Rules in order: legal, no way back, cost above the limit, else yes."""
    packet = work.packet
    text = "\n".join(
        [work.text, packet.impact_summary if packet else "", *(packet.evidence_snippets if packet else [])]
    )
    amount = max((value for _, value in amounts_in(text)), default=None)
    legal = complaint_cue(text)
    if legal:
        verdict = "Take it up, admit nothing yet"
        because = f"{legal!r} is mentioned: we acknowledge it in writing today and a person reads it before any offer"
        change = "a settled view of the facts from the people involved"
    elif IRREVERSIBLE.search(text):
        verdict = "Not yet"
        because = "it cannot be taken back, so it needs a person and a way back first"
        change = "a tested way back"
    elif amount is not None and amount > DECIDER_LIMIT:
        verdict = "No, not at this size"
        because = f"{amount:,.2f} is above the limit of {DECIDER_LIMIT:,} that is decided without a person"
        change = "a smaller amount, or a person who signs for it"
    elif amount is not None:
        verdict = "Yes, once"
        because = f"{amount:,.2f} is within the limit of {DECIDER_LIMIT:,} and it can be corrected later"
        change = "a second request of the same customer within 90 days"
    else:
        verdict = "Yes to the smallest step that can be taken back, no to more"
        because = "no cost is stated, so only what is free and reversible can be agreed to"
        change = "the cost in figures, and who else would ask for the same"
    impact = packet.impact_summary if packet and packet.impact_summary else f"priority {work.ticket.priority}"
    return Resolved(
        reply=f"{verdict}. Because {because}. Impact: {impact.rstrip('.')}. What would change this: {change}.",
        summary=f"{verdict.lower()}: {cut(because, 200)}. {TEAM_SAYS}",
        evidence=[cut(text, 400)],
    )
