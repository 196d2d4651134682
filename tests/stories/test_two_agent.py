"""The two agents' story (TA-01 to TA-14), offline, on a real git repository: from two notifications to a watched merge.

Nothing is changed before a person's yes; nothing is merged but by a person; what was done once is not done twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.engineer_reply import EngineerReply, reply_in
from shiftlead.coordinator.inbound_notification import from_notification
from shiftlead.coordinator.signals import signals_of
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import Packet, Resolved
from shiftlead.queues.spending import Spending
from shiftlead.queues.ticket import Ticket
from tests.pair import Pair

JOB = "https://ci.example/acme/shop/actions/runs/1173"
SLOTS = {"task_id", "source", "urgency", "impact_summary", "hypotheses", "evidence_snippets", "next_questions",
         "human_approval_needed"}  # fmt: skip
HOUR = 3600.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()


def board(pair: Pair) -> dict[str, Any]:
    """A comment on the board about a failing job, with the range of commits in question, as its channel brings it."""
    span = f"https://git.example/acme/shop/compare/{pair.commits[0][:12]}...{pair.commits[4][:12]}"
    said = {
        "task": "task-1173", "type": "bug", "channel": "issue comment", "title": "Checkout is red on main since noon",
        "text": "The fulfillment step of checkout fails with a KeyError, orders cannot be shipped.", "author": "mia",
        "severity": "high", "service": "checkout/fulfillment", "job_url": JOB, "commit_range": span,
    }  # fmt: skip
    return from_notification(said).draft.model_dump(exclude_defaults=True)


def asked(pair: Pair) -> tuple[Ticket, Ticket]:
    """The task, waiting for a person's yes, and the approval."""
    task = pair.comes(**board(pair))
    [approval] = pair.children(task, "approval")
    return task, approval


def test_a_failing_job_becomes_a_watched_merge_and_only_a_person_merges(pair: Pair) -> None:
    """TA-01, TA-04 to TA-13: capture, assess, validate, confirm, implement, merge by a person, watch for 24 hours."""
    main, head = pair.branches()["main"], pair.commits[4]
    task = pair.comes(**board(pair), run=False)
    mail = {"type": "email", "via": "email", "from": "Tom <tom@example.com>", "subject": "[CI] run failed",
            "text": f"The run failed after the last push: {JOB}/?utm_source=email"}  # fmt: skip
    joined = pair.comes(**from_notification(mail).draft.model_dump(exclude_defaults=True))

    # TA-05: one record of two notifications, and what it says
    assert joined.id == task.id and [j["source"] for j in joined.joined] == ["email"]
    assert (joined.context["task"], joined.source, joined.urgency, joined.component) == (
        "task-1173", "issue_comment", "high", "checkout/fulfillment",
    )  # fmt: skip
    assert JOB in joined.links and pair.commits[0][:12] in joined.links[1]

    # TA-06: impact, blast radius, hypotheses, from the range's own commits
    found = pair.now(task).steps["assessment"]["result"]
    assert "checkout/fulfillment" in found["impact"] and "4 commits" in found["blast_radius"]
    assert "tom@example.com" in found["blast_radius"] and pair.commits[2][:12] in found["hypotheses"][0]

    # TA-11: the packet has the eight slots, all of them filled
    [validation] = pair.children(task, "validation")
    packet = validation.packet
    assert packet is not None and set(Packet.model_fields) >= SLOTS
    assert all(getattr(packet, slot) for slot in SLOTS - {"human_approval_needed"})
    assert packet.human_approval_needed is False and packet.task_id == task.number

    # TA-07, TA-12: six parts, of which the first cause was shown by runs
    reply, wrong = reply_in(next(a for a in pair.now(task).answers if a["type"] == "validation"))
    assert reply is not None, wrong
    assert len(EngineerReply.model_fields) == 6
    assert reply.root_cause_map[0].standing == "shown" and pair.commits[2][:12] in reply.root_cause_map[0].cause
    assert (reply.patch_plan.kind, reply.patch_plan.files) == ("revert", ["checkout/fulfillment.py"])
    assert reply.patch_plan.expected_tests and reply.rollback_plan and reply.reproduction_steps

    # TA-08: a person is asked in words and in data; until then there is no branch
    [approval] = pair.children(task, "approval")
    assert (approval.context["action"], approval.context["human"]) == ("start_work", True)
    assert approval.context["confirms"] == ["scope", "acceptance_criteria"]
    assert approval.assigned_to == "lead" and "With a no nothing is changed" in approval.body
    assert pair.branches() == {"main": main}
    pair.later(60)
    assert pair.branches() == {"main": main} and pair.now(task).state is State.WAITING

    pair.desk.answer(approval.id, "approve", actor="person:ann", reason="go")
    pair.run()

    # TA-09: one commit on a branch of its own, a record with evidence; main is untouched, the task waits for a person
    branch = f"fix/{task.number}-revert-{pair.commits[2][:7]}"
    assert set(pair.branches()) == {"main", branch} and pair.branches()["main"] == head
    assert pair.git("diff", "--name-only", "main", branch) == "checkout/fulfillment.py"
    assert pair.git("rev-list", "--count", f"main..{branch}") == "1"
    [done] = [a for a in pair.now(task).answers if a["type"] == "implementation"]
    request = json.loads(done["evidence"][0])
    page = (pair.settings.data / request["pull_request"]).read_text()
    assert [": red" in c or ": green" in c for c in request["commands"]] == [True, True]
    assert ": red" in request["commands"][0] and ": green" in request["commands"][1]
    for heading in ("Commands run", "Before", "After", "Risk", "What to monitor", "Rollback"):
        assert f"## {heading}\n" in page
    assert "KeyError: 'gift card'" in page and "fulfillment ok" in page
    waiting = pair.now(task)
    assert waiting.state is State.WAITING and "merge it with git" in waiting.waits_for

    # a text does not merge: git is asked
    pair.desk.reply(task.id, "merged", actor="person:ann")
    pair.run()
    assert pair.now(task).state is State.WAITING and "Not merged yet" in pair.now(task).waits_for

    # TA-10: a person merges; the thread is told, and main is looked at for 24 hours
    pair.git("merge", "--no-ff", "-m", "Merge the fix", branch)
    pair.git("branch", "-d", branch)
    pair.desk.reply(task.id, "merged", actor="person:ann")
    pair.run()
    over = pair.now(task)
    assert over.state is State.RESOLVED and over.result is not None and "main contains it" in over.result["reply"]
    assert any("approval, ann: approve" in e for e in over.result["evidence"])
    [watch] = pair.children(task, "watch")
    for _ in range(4):
        assert pair.now(watch).state is State.SCHEDULED
        pair.later(6 * HOUR)
    watched = pair.now(watch)
    assert watched.state is State.RESOLVED and watched.result is not None
    assert "5 looks" in watched.result["summary"] and len(watched.result["evidence"]) == 5
    assert all("green" in e for e in watched.result["evidence"])

    # TA-13: every turn stands in the story, the tools' calls too, and the ledger verifies
    told = [line.detail["effect"]["tool"] for line in pair.story(pair.children(task, "implementation")[0])
            if "effect" in line.detail]  # fmt: skip
    assert told == ["create_branch", "revert_commit", "open_pull_request"]
    # ... and its signals are read from there: where the time went, who opened the gate, what was done, what was seen
    family = [task, *(pair.now(child) for child in over.children)]
    steps = Spending(pair.recorded(), pair.team.team).of(*(t.id for t in family))
    seen = signals_of([(pair.now(t), pair.story(t)) for t in family], steps, pair.clock.now())
    assert [(g.action, g.decision, g.by, g.person) for g in seen.gates] == [("start_work", "approve", "ann", True)]
    assert set(seen.gates[0].confirmed) == {"scope", "acceptance_criteria"}
    assert [s.what.split()[0] for s in seen.effects] == told and len(seen.deploy) == 5
    assert seen.in_state_s["waiting"] > 60 and sum(seen.in_state_s.values()) == pytest.approx(seen.age_s)
    assert seen.runs == sum(pair.moves(t).count("claim") for t in family) and not seen.retries
    assert seen.took is not None and (seen.took.runs, seen.took.tokens) == (seen.runs, 0)

    assert verify(pair.recorded(), pair.team.team).ok


def test_a_no_changes_nothing(pair: Pair) -> None:
    """TA-08: denied is an answer; no branch, no commit, no pull request, and the engineer's tools refuse."""
    before = pair.git("rev-list", "--all", "--count")
    task, approval = asked(pair)
    pair.desk.answer(approval.id, "deny", actor="person:ann", reason="we wait for Tom")
    pair.run()

    over = pair.now(task)
    assert over.state is State.RESOLVED and over.result is not None
    assert "Nothing was changed" in over.result["reply"] and "we wait for Tom" in over.result["reply"]
    assert set(pair.branches()) == {"main"} and pair.git("rev-list", "--all", "--count") == before
    assert not (pair.settings.data / "pull_requests").exists()
    assert not pair.children(task, "implementation")


def test_a_worker_killed_between_commit_and_report_makes_no_second_commit(pair: Pair) -> None:
    """TA-09, EN-11: the next holder finds what was done by its key, also where the effects ledger never heard of it."""
    task, approval = asked(pair)
    pair.desk.answer(approval.id, "approve", actor="person:ann", reason="go")
    pair.run(work=False)
    [work] = _given(pair, task)
    first = pair.toolbox(work)
    grant = approval.context["arguments"]
    branch, commit = grant["branch"], grant["revert"]
    assert first.use("create_branch", {"branch": branch}).status == "done"
    finish = first.effects.finish
    first.effects.finish = _die  # type: ignore[method-assign]
    with pytest.raises(_Killed):
        first.use("revert_commit", {"branch": branch, "commit": commit, "reason": "as agreed"})
    first.effects.finish = finish  # type: ignore[method-assign]
    made = pair.branches()[branch]

    pair.later(pair.settings.lease_s + 60)  # the lease runs out, and the ticket is given out again

    assert pair.children(task, "implementation")[0].state is State.RESOLVED
    assert pair.branches()[branch] == made and pair.git("rev-list", "--count", f"main..{branch}") == "1"
    assert pair.moves(work).count("give_back") == 1


def test_what_cannot_be_reproduced_goes_to_the_lead_unchanged(pair: Pair) -> None:
    """TA-04, TA-13: no fix it can stand behind is said so; the way up ends with a person, who decides."""
    pair.git("revert", "--no-edit", pair.commits[2])  # somebody has repaired main meanwhile
    task = pair.comes(**board(pair))
    [way_up] = pair.children(task, "escalation")
    assert way_up.assigned_to == "lead" and "no change to stand behind" in way_up.body
    assert set(pair.branches()) == {"main"}

    pair.says(way_up, Resolved(reply="It is repaired on main already: close it."), "lead")
    over = pair.now(task)
    assert over.state is State.RESOLVED and over.result is not None
    assert over.result["reply"] == "It is repaired on main already: close it."


def test_a_red_check_is_not_taken_for_the_matter_of_every_report(pair: Pair) -> None:
    """TA-04, TA-12: main is red for another reason, and nothing says that this report is about it: no change."""
    task = pair.comes(type="bug", title="The slip counts from one", body="The scanner fails for the last item.",
                      component="slip", reporter="warehouse")  # fmt: skip
    reply, _ = reply_in(next(a for a in pair.now(task).answers if a["type"] == "validation"))
    assert reply is not None and reply.patch_plan.kind == "none" and "nothing says" in reply.patch_plan.summary
    assert not pair.children(task, "approval") and pair.children(task, "escalation")


def test_red_after_the_merge_goes_up_at_once(pair: Pair) -> None:
    """TA-10: a watch that sees red does not wait for its last look."""
    watch = pair.comes(type="watch", title="Watch the merge for 24 h", needs=["monitoring"])
    [way_up] = pair.children(watch, "escalation")
    assert way_up.assigned_to == "lead" and "red" in way_up.body


def test_a_ticket_about_no_software_is_a_persons(pair: Pair) -> None:
    """TA-01: the engineer gets what is a defect, and nothing else."""
    task = pair.comes(type="coordination", title="Team dinner", body="Where shall we go on Friday?", reporter="mia")
    assert [c.assigned_to for c in pair.children(task, "escalation")] == ["lead"]
    assert not pair.children(task, "validation")


def test_nobody_merges_but_a_person_and_every_ladder_ends_with_one(pair: Pair) -> None:
    """TA-01, TA-02, TA-03, TA-13, TA-14: what is delegated stands in the team file; one gate, and it wants a person."""
    team = pair.team
    soul = (team.folder / "SOUL.md").read_text()
    assert soul.splitlines()[1] == "Version 1"
    assert all(part in soul for part in ("## Who we are", "## Tone", "## When we ask", "## Core rules", "decision log"))
    programs = [a for a in team.agents.values() if not a.human]
    assert [a.role for a in programs] == ["orchestrator", "engineer"] and len(team.gates) == 1
    assert team.gates[0].human and set(team.gates[0].confirms) == {"scope", "acceptance_criteria"}
    assert not any(("merge_" in t and t != "merge_state") or "push" in t for a in programs for t in a.tools)
    writes = {"create_branch", "revert_commit", "replace_text", "apply_patch", "open_pull_request"}
    assert not writes & set(team.agents["orchestrator"].tools)
    for ladder in team.escalations:
        last = ladder.ladder[-1].target
        assert last in team.people or team.agents[last].human
    soul = (team.folder / "SOUL.md").read_text()
    assert "Version 1" in soul and "ask before we touch production" in soul and "decision log" in soul
    assert all((team.folder / "roles" / f"{a.role}.md").is_file() for a in team.agents.values())


class _Killed(BaseException):
    """The process ended here."""


def _die(*_: object, **__: object) -> None:
    raise _Killed


def _given(pair: Pair, task: Ticket) -> list[Ticket]:
    """The implementation, given to the engineer and not begun. The orchestrator's own turn is taken first."""
    ring = pair._rings.popleft()
    assert ring.agent == "orchestrator"
    pair.runner.ring(ring.agent, ring.ticket)
    pair.run(work=False)
    pair._rings.clear()
    return pair.children(task, "implementation")
