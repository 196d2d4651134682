"""Pipelines: a ticket goes from step to step by the team file, and says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakeredis
import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import TeamError, load_team
from shiftlead.coordinator.cycle import Cycle
from shiftlead.coordinator.simulated_agents import Behaviour, Model
from shiftlead.coordinator.triage import rule_facts, triage
from shiftlead.coordinator.why import explain
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput
from shiftlead.queues.flow_steps import begin, ending
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.report import Report, Resolved, StepDone
from shiftlead.queues.ticket import Draft, Ticket
from tests.conftest import open_desk

TEAM = """
team: line
agents:
  clara: {role: classifier, can: [classify]}
  kim: {role: librarian, can: [know]}
  dora: {role: decider, can: [decide]}
  nina: {role: notifier, can: [notify]}
  law: {role: lawyer, can: [legal]}
routes:
  - {when: ticket.type == "outage", needs: [know], priority: urgent}
  - needs: [legal]
flows:
  - {name: fast, version: 3, when: ticket.type == "fast", steps: [know, decide]}
  - name: triage
    version: 1
    when: ticket.type != "plain"
    steps: classify >> know >> decide >> notify
    results:
      classify: {category: [billing, technical], reasoning: text}
      know: {confidence: 0..100, articles: list}
    values: {confident_at: 80}
escalations:
  - when: has(steps.classify) && steps.classify.result.category == "billing"
    ladder: [{after: 1h, notify: law}]
"""
READ = StepDone(name="classify", result={"category": "billing", "reasoning": "an invoice"})
FOUND = StepDone(name="know", result={"confidence": 40, "articles": [], "suggested_reply": "Try again."})


class Line:
    """The team at work on a fake server, with everybody there."""

    def __init__(self, folder: Path, text: str = TEAM) -> None:
        (folder / "line").mkdir(exist_ok=True)
        (folder / "line" / "team.yaml").write_text(text)
        self.settings = Settings(home=folder, acknowledge="redis")
        self.clock = ManualClock()
        self.client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
        self.team = load_team(folder / "line", self.settings)
        self.desk: Desk = open_desk(self.client, self.team, self.clock, self.settings)
        self.cycle = Cycle(self.desk, None, lambda rings: None)

    def run(self) -> None:
        presence = Presence(self.client, self.desk.keys, self.clock, self.settings)
        presence.beat(list(self.team.agents), "w", WorkerInfo())
        while self.cycle.run(self.clock.now()):
            pass

    def comes(self, body: str = "the invoice is wrong, please look", **fields: Any) -> str:
        ticket = self.desk.accept(Draft.model_validate({"body": body} | fields), actor="door:test").ticket
        self.run()
        return ticket.id

    def says(self, ticket_id: str, report: Report) -> Ticket:
        there = self.desk.find(ticket_id)
        held = self.desk.claim(there.id, there.assigned_to or "", "w")
        after = self.desk.report(held.id, held.token, report, agent=held.assigned_to or "")
        self.run()
        return after

    def holder(self, ticket_id: str) -> str | None:
        return self.desk.find(ticket_id).assigned_to


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_a_ticket_goes_from_step_to_step_and_says_where_it_is(line: Line) -> None:
    """TP-01, TP-08: by the team file alone; its result stands under each step, with who, how surely and when."""
    ticket_id = line.comes()
    seen = []
    for report in (READ, FOUND, StepDone(name="decide", result={"action": "escalate"}, confidence=0.4)):
        there = line.desk.find(ticket_id)
        seen.append((there.assigned_to, explain(line.desk, there, now=line.clock.now()).reasons[0]))
        line.says(ticket_id, report)
    there = line.desk.find(ticket_id)

    assert [who for who, _ in seen] == ["clara", "kim", "dora"] and there.assigned_to == "nina"
    assert [why for _, why in seen] == [
        "flow triage v1, step 1 of 4: classify", "flow triage v1, step 2 of 4: know",
        "flow triage v1, step 3 of 4: decide",
    ]  # fmt: skip
    assert there.steps["know"] == {
        "result": FOUND.result, "confidence": None, "agent": "kim", "at": line.clock.now(),
    }  # fmt: skip
    assert (there.steps["decide"]["confidence"], list(there.steps)) == (0.4, ["classify", "know", "decide"])
    moved = [h.reason for h in line.desk.history(ticket_id) if h.move == "advance"]
    assert moved[-1] == "flow triage v1, step 4 of 4: notify"


def test_the_last_step_ends_the_ticket_with_what_the_steps_have_for_its_requester(line: Line) -> None:
    """TP-01: no circle at the end; the last result is kept like the others."""
    ticket_id = line.comes()
    for name, report in (("classify", READ), ("know", FOUND), ("decide", None), ("notify", None)):
        after = line.says(ticket_id, report or StepDone(name=name, result={"done": True}))

    assert after.state is State.RESOLVED
    assert after.result is not None and after.result["reply"] == "Try again."
    assert after.result["summary"] == "triage v1 is done: classify, know, decide, notify"
    assert after.steps["notify"]["result"] == {"done": True}


def test_a_reply_goes_before_a_suggestion_and_the_newest_first() -> None:
    """TP-01: and where no step wrote a word to the requester, nothing is made up."""
    ticket = Ticket(id="t", number="T-2026-001", team="line")

    def said(**steps: dict[str, Any]) -> str:
        return ending(ticket.changed(steps={name: {"result": result} for name, result in steps.items()})).reply

    assert said(a={"reply": "old"}, b={"reply": "new"}, c={"suggested_reply": "perhaps"}) == "new"
    assert said(a={"suggested_reply": "perhaps"}, b={"summary": "inside"}) == "perhaps"
    assert said(a={"reply": " "}, b={"n": 1}) == "T-2026-001 has gone through all of its steps: a, b."


def test_resolved_at_any_step_ends_the_ticket(line: Line) -> None:
    """TP-04: a confident step answers, and the steps after it never see the ticket."""
    ticket_id = line.comes()
    line.says(ticket_id, READ)
    after = line.says(ticket_id, Resolved(reply="Here is how."))
    assert (after.state, list(after.steps)) == (State.RESOLVED, ["classify"])


def test_a_report_branches_skips_and_comes_back(line: Line) -> None:
    """TP-01, TP-04: a DAG by what reports name: past a step, beside the flow and into it again."""
    ticket_id = line.comes()
    skipped = line.says(ticket_id, READ.model_copy(update={"needs": ["decide"]}))
    assert skipped.reason == "flow triage v1, step 3 of 4: decide" and line.holder(ticket_id) == "dora"

    beside = line.says(ticket_id, StepDone(name="decide", result={}, needs=["legal"]))
    assert beside.reason == "flow triage v1, step 3 of 4: decide; now with legal"
    assert line.holder(ticket_id) == "law"

    line.says(ticket_id, StepDone(name="opinion", result={"fine": True}))
    there = line.desk.find(ticket_id)
    assert (there.assigned_to, list(there.steps)) == ("nina", ["classify", "decide", "opinion"])


def test_a_circle_of_steps_ends_at_the_bound(line: Line) -> None:
    """TP-01, I10: going back is allowed, and max_turns bounds it."""
    ticket_id = line.comes()
    for _ in range(line.settings.max_turns):
        after = line.says(ticket_id, StepDone(name="x", result=READ.result, needs=["classify"]))
    assert after.state is State.READY
    after = line.says(ticket_id, StepDone(name="x", result=READ.result, needs=["classify"]))
    assert after.state is State.FAILED and "max_turns" in after.reason


def test_a_result_stands_under_the_flows_own_name_of_the_step(line: Line) -> None:
    """TP-06: what a report calls its step cannot hide it from the rules and steps that look for it."""
    ticket_id = line.comes()
    after = line.says(ticket_id, READ.model_copy(update={"name": "Classification of the ticket"}))
    assert list(after.steps) == ["classify"]
    facts = rule_facts(after, now=line.clock.now())
    ladder = line.team.ladder_for(facts)
    assert ladder is not None and ladder.ladder[0].target == "law", "a rule reads steps.classify.result.category"
    assert line.team.ladder_for(facts | {"steps": {}}) is None


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"category": "biling", "reasoning": "x"}, "step classify: 'category' is 'biling'; did you mean 'billing'"),
        ({"category": "billing"}, "step classify: 'reasoning' is missing; a text is wanted"),
        ({"category": ["billing"], "reasoning": "x"}, "'category' is \"['billing']\""),
    ],
)
def test_a_step_that_does_not_say_what_its_flow_wants_is_refused(line: Line, result: dict[str, Any], said: str) -> None:
    """TP-02: at every door, whatever brain wrote it; the ticket stays with its holder, who may say it again."""
    ticket_id = line.comes()
    with pytest.raises(BadInput) as refused:
        line.says(ticket_id, StepDone(name="classify", result=result))
    assert said in str(refused.value) and str(refused.value.field).startswith("result.")
    held = line.desk.find(ticket_id)
    assert held.state is State.WORKING
    assert line.desk.report(held.id, held.token, READ, agent="clara").state is State.READY


@pytest.mark.parametrize("confidence", [-1, 101, "80", True])
def test_a_number_out_of_its_range_is_refused(line: Line, confidence: Any) -> None:
    """TP-03: confidence is 0 to 100."""
    ticket_id = line.comes()
    line.says(ticket_id, READ)
    with pytest.raises(BadInput, match=r"a number 0\.\.100 is wanted"):
        line.says(ticket_id, StepDone(name="know", result=FOUND.result | {"confidence": confidence}))


@pytest.mark.parametrize(
    ("fields", "flow", "needs"),
    [
        ({}, "triage", ["classify"]),
        ({"type": "fast"}, "fast", ["know"]),
        ({"type": "plain"}, None, ["legal"]),
        ({"needs": ["decide"]}, None, ["decide"]),
        ({"named": "kim"}, None, ["legal"]),
        ({"named": "nobody_here"}, "triage", ["classify"]),
        ({"parent": "p1"}, None, ["legal"]),
    ],
)
def test_a_ticket_that_names_nobody_takes_the_first_flow_that_is_for_it(
    line: Line, fields: dict[str, Any], flow: str | None, needs: list[str]
) -> None:
    """TP-01: who says where a ticket goes is obeyed; a part of another ticket never runs through the pipeline."""
    ticket = Ticket.model_validate({"id": "t", "number": "T-2026-001", "team": "line", "title": "an invoice"} | fields)
    decision = triage(ticket, line.team, now=1.0)
    assert (decision.flow.name if decision.flow else None, decision.needs) == (flow, needs)


def test_a_route_still_says_how_important_a_ticket_of_a_flow_is(line: Line) -> None:
    """TP-01: the flow decides the way, the route the priority."""
    ticket = Ticket(id="t", number="T-2026-001", team="line", title="down", type="outage")
    decision = triage(ticket, line.team, now=1.0)
    assert (decision.needs, decision.priority) == (["classify"], "urgent")
    assert "flow triage v1, step 1 of 4: classify" in decision.reasons


def test_a_ticket_goes_to_the_end_of_the_version_it_began(line: Line, tmp_path: Path) -> None:
    """TP-01: version 2 has another order and wants more; who is under way stays in version 1 and is not held to it."""
    ticket_id = line.comes()
    newer = TEAM.replace("version: 1", "version: 2").replace("classify >> know >>", "know >> classify >>")
    newer = newer.replace("reasoning: text", "reasoning: text, mood: text")
    line.desk.team = line.team = load_team(Line(tmp_path, newer).team.folder, line.settings)
    line.cycle = Cycle(line.desk, None, lambda rings: None)

    after = line.says(ticket_id, READ)
    assert (after.needs, after.reason) == (["know"], "flow triage v1, step 2 of 4: know")
    other = line.desk.find(line.comes("another invoice is wrong"))
    assert (other.flow and other.flow.version, other.needs) == (2, ["know"])
    assert other.flow == begin(line.team.flows[1])


def test_a_dry_run_goes_through_every_step(line: Line) -> None:
    """TP-01: `shiftlead simulate` counts the work of a whole pipeline, with results its steps would accept."""
    behaviour = Behaviour(line.team, Model(ask_requester={}), seed=1)
    ticket_id = line.comes()
    for _ in range(4):
        there = line.desk.find(ticket_id)
        after = line.says(ticket_id, behaviour.report(there, there.assigned_to or ""))
    assert after.state is State.RESOLVED and list(after.steps) == ["classify", "know", "decide"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("classify >> know", "clasify >> know", "nobody on the team can 'clasify'; did you mean 'classify'"),
        ("      know: {conf", "      knw: {conf", "the flow has no step 'knw'; did you mean 'know'"),
        ("name: fast", "name: triage", "there are two flows 'triage'"),
        ("0..100", "0-100", "results"),
    ],
)
def test_a_wrong_flow_is_found_when_the_team_is_checked(tmp_path: Path, old: str, new: str, said: str) -> None:
    """TP-01: before any ticket comes, with the word that was meant."""
    with pytest.raises(TeamError) as wrong:
        Line(tmp_path, TEAM.replace(old, new))
    assert said in str(wrong.value)
