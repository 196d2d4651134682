"""The orchestrator, offline: look at a matter, let the engineer validate it, ask a person, have it done, watch.

Each turn reads from the ticket alone how far it is, so a turn that is repeated decides the same again:

    no assessment yet                  write impact, blast radius and hypotheses (a step of the ticket)
    assessed                           the engineer validates it
    six parts came back                a person is asked for a yes to scope and acceptance criteria
    yes / no                           the engineer does it / nothing is done
    a pull request stands              a person merges; the ticket waits for that, and git tells whether it happened
    merged                             the thread is told, and a watch of 24 hours begins
    anything that leads no further     the lead decides
"""

from __future__ import annotations

from typing import Any

from .agent import AskHuman, Blocked, FollowUp, HandOff, Packet, Report, Resolved, StepDone, Work
from .assessment import assess, is_defect, range_of
from .cues import cut
from .engineer_reply import EngineerReply, reply_in
from .knowledge import Knowledge
from .offline_engineer import LOOK_EVERY_S, WATCH_S
from .offline_tools import use
from .repository_grant import ACTION

__all__ = ["IMPLEMENTATION", "VALIDATION", "answer"]

VALIDATION, IMPLEMENTATION, WATCHING = "validation", "implementation", "monitoring"
RULES = "(offline brain)"


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    if decided := _last(work, "escalation"):
        said = decided["reply"] or decided.get("error") or "nothing was said"
        return Resolved(reply=said, summary=f"decided by {decided['agent']} {RULES}", evidence=_decisions(work))
    if not is_defect(work.ticket):
        return _to_the_lead(work, "it is not about software that fails, so the engineer has nothing to validate")
    if "assessment" not in work.steps:
        return _assess(work)
    validated = _last(work, VALIDATION)
    if validated is None:
        return _validate(work)
    reply, wrong = reply_in(validated)
    if reply is None:
        return _again(work, validated, wrong)
    if reply.patch_plan.kind == "none":
        return _to_the_lead(work, f"the engineer has no change to stand behind: {reply.patch_plan.summary}")
    word = _last(work, "approval")
    if word is None or word["state"] != "resolved":
        return _ask(work, reply, word)
    if word["decision"] != "approve":
        return _declined(work, word)
    done = _last(work, IMPLEMENTATION)
    if done is None:
        return _implement(work, reply, word)
    if done["state"] != "resolved" or not _pull_request(done):
        return _to_the_lead(work, f"the change was not finished: {cut(done['reply'] or done.get('error') or '', 600)}")
    return _merged(work, reply, word, done)


# -- one turn each ------------------------------------------------------------------------------------------------


def _assess(work: Work) -> StepDone:
    span = range_of(work.ticket)
    log, why = use(work, "read_log", base=span[0], head=span[1]) if span else ({}, "")
    if not log:
        note = f"the range {span[0]}..{span[1]} could not be read: {why}" if span else ""
        log, why = use(work, "read_log")
    else:
        note = ""
    found = assess(work.ticket, log.get("commits", []))
    found |= {"looked_at": [c["commit"] for c in log.get("commits", [])], "by": f"rules {RULES}"}
    if note or why:
        found["not_read"] = "; ".join(part for part in (note, why) if part)
    return StepDone(name="assessment", result=found, needs=work.ticket.needs)


def _validate(work: Work, wrong: str = "") -> HandOff:
    found = _assessment(work)
    questions = ["Can it be reproduced on main?", "Which commit is the first bad one?",
                 "What is the smallest change, and how do we go back?"]  # fmt: skip
    question = "Validate this against logs, tests and recent commits. Answer in the six parts."
    if wrong:
        question += f" The last answer could not be used: {wrong}."
    return HandOff(
        needs=[VALIDATION], type=VALIDATION, title=work.ticket.title, question=question,
        packet=_packet(work, found["hypotheses"], found["evidence"], questions, human=False),
    )  # fmt: skip


def _again(work: Work, validated: dict[str, Any], wrong: str) -> Report:
    """An answer without the six parts is asked for once more, and then somebody decides."""
    asked = sum(a.get("type") == VALIDATION for a in work.answers)
    if validated["state"] == "resolved" and asked < 2:
        return _validate(work, wrong)
    said = cut(validated.get("error") or validated.get("reply") or "", 600)
    return _to_the_lead(work, f"the validation cannot be used ({wrong}): {said}")


def _ask(work: Work, reply: EngineerReply, before: dict[str, Any] | None) -> Report:
    """The decision request (TA-08): what a yes allows stands in typed arguments, and nothing beside them is allowed."""
    asked = sum(a.get("type") == "approval" for a in work.answers)
    if before is not None and asked >= 2:
        return _to_the_lead(work, f"{asked} requests for a yes were not answered in time")
    plan, found = reply.patch_plan, _assessment(work)
    criteria = plan.expected_tests or [f"{plan.command} is green on {plan.branch}"]
    scope = f"{plan.summary} Only on the branch {plan.branch}, only in {', '.join(plan.files)}."
    cause = min(reply.root_cause_map, key=lambda c: c.rank)
    why = "\n".join([
        f"May the engineer start work on {work.ticket.number} ({cut(work.ticket.title, 120)})?",
        f"Impact: {found['impact']}",
        f"Reaches: {found['blast_radius']}",
        f"Cause: {cause.cause} ({cause.standing})",
        f"Scope: {scope}",
        *(f"Done when: {criterion}" for criterion in criteria),
        f"Way back: {'; '.join(reply.rollback_plan)}",
        "With a no nothing is changed. A yes allows a branch and a pull request; you merge, nobody else.",
    ])  # fmt: skip
    arguments = {
        "scope": scope, "acceptance_criteria": criteria, "base": plan.base, "branch": plan.branch,
        "files": plan.files, "command": plan.command, "revert": plan.revert, "repository": _repository(work),
    }  # fmt: skip
    return AskHuman(action=ACTION, arguments=arguments, why=why)


def _implement(work: Work, reply: EngineerReply, word: dict[str, Any]) -> HandOff:
    arguments = word["arguments"]
    evidence = [f"{word['number']}: yes by {word['agent']}", *(e for c in reply.root_cause_map for e in c.evidence)]
    questions = [f"Is it true now: {criterion}" for criterion in arguments["acceptance_criteria"]]
    return HandOff(
        needs=[IMPLEMENTATION], type=IMPLEMENTATION, title=work.ticket.title,
        question=f"Do what {word['number']} said yes to, no more: {arguments['scope']} Open a pull request.",
        packet=_packet(work, [c.cause for c in reply.root_cause_map], evidence, questions, human=True,
                       plan=reply.model_dump()),
    )  # fmt: skip


def _merged(work: Work, reply: EngineerReply, word: dict[str, Any], done: dict[str, Any]) -> Report:
    branch = str(word["arguments"]["branch"])
    state, why = use(work, "merge_state", branch=branch)
    if not state.get("merged"):
        known = state.get("how") or why
        todo = f"Read the pull request of {branch}, merge it with git, and say so here. Not merged yet: {known}."
        return Blocked(owner="a person", action=todo)
    return Resolved(
        reply=f"Merged: {branch} ({state['how']}). {reply.patch_plan.summary} From now on it is watched for 24 hours: "
        f"`{reply.patch_plan.command}` on main, every {LOOK_EVERY_S / 3600:.0f} hours.",
        summary=f"merged, {branch} is in main; watched for 24 h {RULES}",
        evidence=[*_decisions(work), *done["evidence"], f"{branch}: {state['how']}, at {state['main'][:12]}"],
        follow_ups=[FollowUp(
            type="watch", needs=[WATCHING], title=f"Watch {branch} for 24 h", ref=branch, within_s=WATCH_S + 3600,
            looks=int(WATCH_S / LOOK_EVERY_S) + 1, question=f"Is {reply.patch_plan.command} still green on main?",
        )],
    )  # fmt: skip


def _declined(work: Work, word: dict[str, Any]) -> Resolved:
    reason = cut(word.get("reason") or word.get("reply") or "no reason was given", 600)
    return Resolved(
        reply=f"Nothing was changed: {word['agent']} said no in {word['number']}. {reason}",
        summary=f"not started, {word['number']} says no {RULES}", evidence=_decisions(work),
    )  # fmt: skip


def _to_the_lead(work: Work, why: str) -> Resolved:
    """Somebody who decides looks at it; the ticket is resolved with what they say."""
    return Resolved(reply=f"Nothing was changed: {why}.", summary=f"{cut(why, 300)} {RULES}",
                    requires_escalation=True, reason=why, evidence=_decisions(work))  # fmt: skip


# -- what the ticket knows ----------------------------------------------------------------------------------------


def _last(work: Work, kind: str) -> dict[str, Any] | None:
    """The newest answer of a child of that type."""
    return next((a for a in reversed(work.answers) if a.get("type") == kind), None)


def _assessment(work: Work) -> dict[str, Any]:
    found: dict[str, Any] = work.steps["assessment"]["result"]
    return found


def _packet(
    work: Work, hypotheses: list[str], evidence: list[str], questions: list[str], *, human: bool, **state: Any
) -> Packet:  # fmt: skip
    """The eight slots (TA-11)."""
    ticket, found = work.ticket, _assessment(work)
    return Packet(
        task_id=ticket.number, source=ticket.source, urgency=ticket.urgency or ticket.priority,
        impact_summary=f"{found['impact']}. Reaches: {found['blast_radius']}.", hypotheses=hypotheses,
        evidence_snippets=[*evidence, *ticket.links[:10]], next_questions=questions, human_approval_needed=human,
        state={"component": ticket.component, "links": ticket.links[:20]} | state,
    )  # fmt: skip


def _repository(work: Work) -> str:
    log, _ = use(work, "read_log", most=1)
    return str(log.get("repository", ""))


def _pull_request(done: dict[str, Any]) -> bool:
    """The record is the tool's own word, which the engineer passes on."""
    return any('"pull_request"' in str(e) for e in done.get("evidence") or [])


def _decisions(work: Work) -> list[str]:
    """The short decision log of a task: who said what, oldest first."""
    said = [(a, a.get("decision") or a.get("summary") or a.get("error") or a.get("reply")) for a in work.answers]
    return [f"{a.get('number', a.get('agent'))}, {a.get('type')}, {a.get('agent')}: {cut(str(what), 300)}"
            for a, what in said if what]  # fmt: skip
