"""The third step of a triage pipeline, offline: confidence against urgency (TP-04). First rule that matches wins:

    a step before it is missing or not readable    people: nothing is sent on a guess
    critical                                       on-call, at once
    the customer has come back (a later life)      people: the answer did not help
    a check has sent the reply back                people: the same reply would be sent back again
    confidence at least `confident_at` (80)        the suggested reply is sent, and the pipeline ends
    otherwise                                      people, with the best answer so far

`confident_at`, `on_call` and `support` are values of the flow in the team file.
"""

from __future__ import annotations

from .agent import Report, Resolved, StepDone, Work
from .knowledge import Knowledge
from .triage_steps import Classification, Decision, Findings, earlier, value_of

__all__ = ["answer"]

CONFIDENT_AT = 80
SAID_SO = " (offline brain)"


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report of the step `decide`."""
    read, found = earlier(work, "classify", Classification), earlier(work, "know", Findings)
    if read is None:
        return _to_people(work, "nobody has classified it")
    if read.urgency == "critical":
        why = f"it is critical: {read.reasoning.removesuffix(SAID_SO)}"
        return _decided(Decision(action="page_on_call", assigned_to=value_of(work, "on_call", "on-call"), why=why))
    if found is None:
        return _to_people(work, "nobody has looked for an answer")
    if work.ticket.life > 1:
        return _to_people(work, f"the customer has come back (life {work.ticket.life}): the answer did not help")
    if work.ticket.checks:
        return _to_people(work, f"the suggested reply failed its check ({', '.join(work.ticket.checks)})")
    enough = value_of(work, "confident_at", CONFIDENT_AT)
    weighed = f"confidence {found.confidence:g} of 100, urgency {read.urgency}"
    if found.confidence < enough:
        return _to_people(work, f"{weighed}: below the {enough:g} at which an answer is sent without a person")
    return Resolved(
        reply=found.suggested_reply,
        summary=f"sent without a person: {weighed}, and {enough:g} is enough (offline brain)",
        evidence=found.articles,
    )


def _to_people(work: Work, why: str) -> StepDone:
    return _decided(Decision(action="escalate", assigned_to=value_of(work, "support", "support-team"), why=why))


def _decided(decision: Decision) -> StepDone:
    said = decision.model_copy(update={"why": decision.why + SAID_SO})
    return StepDone(name="decide", result=said.model_dump(), confidence=1.0)
