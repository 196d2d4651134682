"""The quality check of a finished reply (SD-07): four named checks, each with its evidence. No model is asked.

    tone_appropriate    how it speaks, by the customer's tier         checker_tone.py
    policy_compliant    what it promises, and what it asks for        checker_policy.py
    no_hallucinations   every claim has a source                      checker_claims.py
    complete            every question is answered                    checker_complete.py

Rules read words, not minds: English ones, and what they miss a person or a model may see. A model may judge more
strictly than the rules; a made-up amount it cannot pass (`floor`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .agent import Failed, Finding, Report, Resolved, Reviewed, Work
from .checker_case import Case, Flaw, Looked, case_of
from .checker_claims import no_hallucinations
from .checker_complete import complete
from .checker_policy import policy_compliant
from .checker_tone import tone_appropriate
from .cues import cut
from .knowledge import Knowledge

__all__ = ["CHECKS", "draft_of", "floor", "look", "review"]

CHECKS: Mapping[str, Callable[[Case], Looked]] = {
    "tone_appropriate": tone_appropriate,
    "policy_compliant": policy_compliant,
    "no_hallucinations": no_hallucinations,
    "complete": complete,
}
FLOOR = ("policy_compliant", "no_hallucinations")  # a model's word does not outweigh these
MOST_SAID = 10


def review(work: Work, knowledge: Knowledge) -> Report:
    """The verdict on the reply that was submitted."""
    draft = draft_of(work)
    if draft is None:
        return Failed(error=f"{work.ticket.number} has no reply to look at", retryable=True)
    found = look(case_of(work, draft, knowledge))
    return _verdict(found, "looked at by rules (offline brain)")


def floor(work: Work, verdict: Report, knowledge: Knowledge) -> Report:
    """A model's verdict, with what the rules hold against the reply: it may fail more, it cannot pass more."""
    draft = draft_of(work)
    if not isinstance(verdict, Reviewed) or draft is None:
        return verdict
    found = look(case_of(work, draft, knowledge), FLOOR)
    ours = {name: looked for name, looked in found.items() if looked.flaws}
    held = [_finding(name, looked) for name, looked in ours.items()]
    theirs = [f for f in verdict.findings if f.check not in ours]
    failed = list(dict.fromkeys([*verdict.failed_checks, *ours]))
    notes = "\n".join(filter(None, [verdict.notes, *(_said(looked.flaws) for looked in ours.values())]))
    return verdict.model_copy(
        update={"passed": not failed, "failed_checks": failed, "findings": [*held, *theirs][:20], "notes": notes}
    )


def look(case: Case, names: tuple[str, ...] = tuple(CHECKS)) -> dict[str, Looked]:
    """What each of these checks found."""
    return {name: CHECKS[name](case) for name in names}


def draft_of(work: Work) -> Resolved | None:
    """The reply that is judged or revised."""
    result = work.ticket.result or {}
    return Resolved.model_validate(result) if result.get("kind") == "resolved" else None


def _verdict(found: Mapping[str, Looked], by: str) -> Reviewed:
    failed = [name for name, looked in found.items() if looked.flaws]
    said = [f"{name}: {_said(found[name].flaws)}" for name in failed]
    return Reviewed(
        passed=not failed, failed_checks=failed, notes="\n".join([*said, by]),
        findings=[_finding(name, looked) for name, looked in found.items()],
    )  # fmt: skip


def _finding(name: str, looked: Looked) -> Finding:
    said = [_one(flaw) for flaw in looked.flaws] or looked.seen
    return Finding(check=name, passed=not looked.flaws, evidence=[cut(text, 480) for text in said[:MOST_SAID]])


def _said(flaws: list[Flaw]) -> str:
    return "; ".join(cut(_one(flaw), 300) for flaw in flaws[:MOST_SAID])


def _one(flaw: Flaw) -> str:
    return f"{flaw.why} (“{flaw.sentence}”)" if flaw.sentence else flaw.why
