"""The engineer, offline: validate with the repository's own check, find the first bad commit, take it back after a yes.

It knows one honest repair: to take back the single commit that turned the check red, when the check is green without
it. Where that does not hold it says so, and what was found out goes to a person or a model.
"""

from __future__ import annotations

import json
from typing import Any

from shiftlead.queues.ticket import Ticket

from .agent import Failed, Later, Report, Resolved, Work
from .assessment import range_of, touches
from .causes import causes
from .cues import cut
from .engineer_reply import Check, EngineerReply, PatchPlan, PullRequestDraft, RankedCause
from .knowledge import Knowledge
from .offline_engineering import answer as read_report
from .offline_tools import use
from .repository_grant import ACTION, StartWork, word_on_start

__all__ = ["LOOK_EVERY_S", "WATCH_S", "answer"]

RULES = "(offline brain)"
WATCH_S, LOOK_EVERY_S = 86_400.0, 21_600.0


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    kinds = {work.ticket.type, *work.ticket.needs}
    if "validation" in kinds:
        return _validate(work)
    if "implementation" in kinds:
        return _implement(work)
    if "watch" in kinds:
        return _watch(work)
    return read_report(work, knowledge)


# -- validation: look, and change nothing -------------------------------------------------------------------------


def _validate(work: Work) -> Resolved:
    about = _matter(work)
    head, why = use(work, "reproduce")
    if not head:
        return _said(_unseen(work, why))
    if head["outcome"] != "red":
        return _said(_not_red(work, head))
    good, span = _good(work, range_of(about))
    bad, why = use(work, "find_first_bad", good=good) if good else ({}, "there is no earlier commit to compare with")
    if not bad.get("commit"):
        return _said(_no_first(work, head, bad.get("why") or why))
    without, why = use(work, "try_revert", commit=bad["commit"])
    return _said(_found(work, head, bad, without, why, span))


def _good(work: Work, span: tuple[str, str] | None) -> tuple[str, str]:
    """The commit to begin at: that of the range the ticket names, else the oldest of the last ones."""
    if span is not None:
        log, _ = use(work, "read_log", base=span[0], most=1)
        if log:
            return span[0], f"{span[0]}..{span[1]}, named in the ticket"
    log, _ = use(work, "read_log")
    commits = log.get("commits") or []
    return (commits[-1]["commit"], f"the last {len(commits)} commits") if len(commits) > 1 else ("", "")


def _found(
    work: Work, head: dict[str, Any], bad: dict[str, Any], without: dict[str, Any], why: str, span: str
) -> EngineerReply:  # fmt: skip
    commit, command = bad["commit"], head["command"]
    name = f"{commit[:12]} ({cut(bad['subject'], 100)})"
    green = without.get("outcome") == "green"
    tried = (
        f"{command} is {without['outcome']} on main without it" if without else f"it cannot be taken back alone: {why}"
    )
    cause = RankedCause(rank=1, cause=f"commit {name} changed {', '.join(bad['files'])}", standing="shown",
                        evidence=[bad["why"], *([tried] if without else []), _last_line(head)])  # fmt: skip
    checks = [
        Check(assumption="it can be reproduced on main", outcome=f"yes, {command} is red ({head['how']})"),
        Check(assumption=f"it began within {span}", outcome=bad["why"]),
        Check(assumption="taking that commit back repairs it", outcome=tried),
    ]  # fmt: skip
    if not _related(work, bad, head):
        plan = PatchPlan(kind="none", command=command, summary=f"No change I can stand behind: {command} is red since "
                         f"{name}, and nothing says that this is what the report is about.")  # fmt: skip
        green = False
    elif not green:
        plan = PatchPlan(kind="none", command=command, summary=f"No change I can stand behind: {tried}. The cause is "
                         f"{name}; a repair needs a person or a model.")  # fmt: skip
    else:
        plan = PatchPlan(
            kind="revert", summary=f"Take back commit {name} as one commit.", base=without["base"], revert=commit,
            branch=f"fix/{_task(work)}-revert-{commit[:7]}", files=without["files"], command=command,
            expected_tests=[f"`{command}` exits 0 on the branch; it exits non-zero on {without['base'][:12]}"],
        )  # fmt: skip
    draft = PullRequestDraft(
        title=f"Take back {cut(bad['subject'], 100)}" if green else "No pull request yet",
        body=f"{_task(work)}: {command} has been red since {name}; {tried}. What that commit was for is "
        "lost with it: its author should bring it back with a test." if green else plan.summary,
    )  # fmt: skip
    back = [f"git revert the commit of this branch, which brings {commit[:12]} back"] if green else ["nothing to undo"]
    return EngineerReply(
        root_cause_map=[cause, *_others(work, after=1)], validation_checklist=checks,
        reproduction_steps=[f"check out {head['on']} (main)", f"run: {command}", f"see: {_last_line(head)}"],
        patch_plan=plan, pull_request=draft, rollback_plan=back,
    )  # fmt: skip


def _related(work: Work, bad: dict[str, Any], head: dict[str, Any]) -> bool:
    """Whether the red command is the report's own matter: it names the range, a file of that commit, or the error."""
    about = _matter(work)
    text = f"{about.title}\n{about.body}"
    error = _last_line(head).partition(":")[0].strip()
    return range_of(about) is not None or bool(touches(bad["files"], about.component, text)) or (
        error.isidentifier() and error in text
    )  # fmt: skip


def _no_first(work: Work, head: dict[str, Any], why: str) -> EngineerReply:
    return _nothing(
        work, f"{head['command']} is red on main, but which commit did it is open: {why}",
        [Check(assumption="it can be reproduced on main", outcome=f"yes ({head['how']}): {_last_line(head)}"),
         Check(assumption="one commit turned it red", outcome=why)],
        [f"check out {head['on']} (main)", f"run: {head['command']}"],
    )  # fmt: skip


def _not_red(work: Work, head: dict[str, Any]) -> EngineerReply:
    seen = f"{head['command']} is {head['outcome']} on main ({head['how']})"
    return _nothing(
        work, f"It cannot be reproduced: {seen}",
        [Check(assumption="it can be reproduced on main", outcome=f"no, {seen}"),
         Check(assumption="it happens where the reporter saw it", outcome="")],
        [f"check out {head['on']} (main)", f"run: {head['command']}: {head['outcome']}"],
    )  # fmt: skip


def _unseen(work: Work, why: str) -> EngineerReply:
    return _nothing(work, f"No code was run: {why}", [Check(assumption="it can be reproduced on main")],
                    ["connect the repository, and run its check on main"])  # fmt: skip


def _nothing(work: Work, why: str, checks: list[Check], steps: list[str]) -> EngineerReply:
    """The six parts without a change to stand behind."""
    none = [RankedCause(rank=1, cause="not known: the report has no cue that points at one", standing="possible")]
    summary = f"No change I can stand behind. {why}."
    return EngineerReply(
        root_cause_map=_others(work, after=0) or none, validation_checklist=checks, reproduction_steps=steps,
        patch_plan=PatchPlan(kind="none", summary=summary),
        pull_request=PullRequestDraft(title="No pull request", body=summary), rollback_plan=["nothing was changed"],
    )  # fmt: skip


def _others(work: Work, *, after: int) -> list[RankedCause]:
    """What the words of the report point at: possible, and not looked at."""
    about = _matter(work)
    found = causes(f"{about.title}\n{about.body}")[:3]
    return [
        RankedCause(
            rank=after + n, cause=c.hypothesis, standing="possible", evidence=[f"the report says: {s}" for s in c.seen]
        )
        for n, c in enumerate(found, 1)
    ]  # fmt: skip


def _said(reply: EngineerReply) -> Resolved:
    plan = reply.patch_plan
    short = "a change is planned" if plan.kind != "none" else "there is no change to stand behind"
    return Resolved(reply=reply.markdown(), summary=f"validated: {short} {RULES}", evidence=[reply.model_dump_json()])


# -- implementation: what was said yes to, no more ----------------------------------------------------------------


def _implement(work: Work) -> Report:
    grant = _grant(work)
    if grant is None:
        return Failed(error=f"No person has said yes to {ACTION} for {_task(work)}: nothing was changed.")
    if not grant.revert:
        return Failed(error="What was said yes to is more than taking a commit back: it needs a model or a person. "
                            "Nothing was changed.")  # fmt: skip
    branch, commit = grant.branch, grant.revert
    begun, why = use(work, "create_branch", branch=branch)
    if not begun:
        return Failed(error=f"{branch} was not begun: {why}. Nothing was changed.")
    made, why = use(work, "revert_commit", branch=branch, commit=commit, reason=f"{grant.scope}")
    if not made:
        return Failed(error=f"{commit[:12]} was not taken back: {why}. {branch} stands at {grant.base[:12]}.")
    request, why = use(
        work, "open_pull_request", branch=branch, title=f"Take back {commit[:12]} for {_task(work)}",
        summary=f"{grant.scope} What that commit was for is lost with it until it comes back with a test.",
        risk="Low: one commit is taken back; whatever was built on it since is covered by the command that was run.",
        monitor=[f"`{grant.command}` on main for 24 hours", "what the reporter saw"],
        rollback=f"git revert {made['commit'][:12]} on the main branch",
    )  # fmt: skip
    if not request:
        return Failed(error=f"{branch} has the change, but there is no pull request: {why}.")
    ran = "; ".join(request["commands"])
    return Resolved(
        reply=f"Pull request for {branch}: {request['pull_request']} in the data folder. {ran}. A person merges.",
        summary=f"{branch} is ready to be merged by a person {RULES}",
        evidence=[json.dumps(request, ensure_ascii=False), *request["commands"]],
    )  # fmt: skip


def _grant(work: Work) -> StartWork | None:
    """What was agreed, to know what to do; whether it holds is decided by the tools."""
    for ticket in work.ancestors:
        word = word_on_start(ticket)
        if word is not None:
            return StartWork.model_validate(word["arguments"]) if word.get("decision") == "approve" else None
    return None


# -- after the merge ----------------------------------------------------------------------------------------------


def _watch(work: Work) -> Report:
    """One look at main. Red ends the watch at once: somebody decides."""
    ran, why = use(work, "reproduce")
    seen = f"{ran['command']} on {ran['on']}: {ran['outcome']} ({ran['how']})" if ran else f"not looked at: {why}"
    looks = [line.reason for line in work.history if line.ticket == work.ticket.id and line.move == "defer"]
    if ran.get("outcome") == "red":
        return Resolved(
            reply=f"It is red again: {seen}. {_last_line(ran)}", summary=f"red after the merge {RULES}",
            requires_escalation=True, reason=f"after the merge {seen}", evidence=[*looks, seen],
        )  # fmt: skip
    left = work.ticket.looks_left or 1
    if left > 1:
        total = int(work.ticket.context.get("looks") or left)
        return Later(at=work.ticket.created_at + (total - left + 1) * LOOK_EVERY_S, why=f"signal: {seen} {RULES}")
    return Resolved(
        reply=f"Watched for 24 hours, {len(looks) + 1} looks. The last one: {seen}.",
        summary=f"watched for 24 h: {len(looks) + 1} looks {RULES}", evidence=[*looks, seen],
    )  # fmt: skip


# -- helpers ------------------------------------------------------------------------------------------------------


def _matter(work: Work) -> Ticket:
    """The ticket this is a part of; branches are called after its number."""
    return work.ancestors[0] if work.ancestors else work.ticket


def _task(work: Work) -> str:
    return _matter(work).number


def _last_line(ran: dict[str, Any]) -> str:
    lines = [line.strip() for line in str(ran.get("output", "")).splitlines() if line.strip()]
    return cut(lines[-1], 300) if lines else f"it ended with {ran.get('how')}"
