"""The team triage_pipeline at work: classify >> know >> decide >> notify, from the sample tickets to their ends.

The real desk, ledger, cycle and worker runtime in one process; people act where the team file says that people act.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from shiftlead.agents.notifying import NOTIFY
from shiftlead.agents.prompt import choose_version
from shiftlead.coordinator.__main__ import main
from shiftlead.coordinator.cli.steps_view import steps_table
from shiftlead.coordinator.cli.story import timeline
from shiftlead.coordinator.stub_answers import Script
from shiftlead.coordinator.stub_llm import StubLlm
from shiftlead.coordinator.why import explain
from shiftlead.queues.broker import make_app
from shiftlead.queues.effects import Effects
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import Resolved, Reviewed
from shiftlead.queues.ticket import Ticket
from tests.crew import Crew
from tests.integration.test_notices import GOING, WAIT_S, Hook, hook

__all__ = ["hook"]  # a fixture
pytestmark = pytest.mark.filterwarnings(GOING)
TEAM = "triage_pipeline"
AGENTS = ["classifier", "librarian", "escalation", "notifier"]
LOGIN = ("Login trouble", "I cannot log in to my account since this morning. It says my account is locked after I "
         "tried my password a few times.")  # fmt: skip
DOWN = ("Production is down", "Production is down for all our users since 09:40, every page answers with error 500.")
TWICE = ("Charged twice", "I was charged twice for invoice 2044 this month, 49.00 each time. Please give it back.")
RESET = ("Password reset", "I forgot my password. How do I reset it?")


@pytest.fixture
def crew(short_folder: Path) -> Iterator[Crew]:
    crew = Crew(short_folder, TEAM)
    yield crew
    crew.close()


def laid_over(folder: Path, overlay: str, **settings: Any) -> Crew:
    """The same team with something laid over its file: configuration, and no line of code."""
    return Crew(folder, TEAM, overlay, **settings)


def printed(*parts: Any) -> str:
    """As a terminal of 200 columns has it, on one line."""
    paper = StringIO()
    Console(file=paper, width=200).print(*parts)
    return " ".join(paper.getvalue().split())


def moves(crew: Crew, ticket: Ticket) -> list[str]:
    return [line.move for line in crew.desk.history(ticket.id)]


def test_the_four_sample_tickets_go_their_ways(crew: Crew) -> None:
    """TP-01, TP-04, TP-11: two are answered by the third step, two reach people and stay open until those end them.

    The source's own code always notified; here a sure answer ends the pipeline.
    """
    login, down, twice, reset = (crew.comes(*ticket) for ticket in (LOGIN, DOWN, TWICE, RESET))

    for ticket in (login, reset):
        assert (ticket.state, ticket.assigned_to, list(ticket.steps)) == (
            State.RESOLVED, "escalation", ["classify", "know"],
        )  # fmt: skip
        assert ticket.result is not None and ticket.result["reply"] == crew.step(ticket, "know")["suggested_reply"]
    assert reset.result is not None and "Forgot password" in reset.result["reply"]

    assert (down.state, down.assigned_to) == (State.ASSIGNED, "on_call")
    assert crew.step(down, "decide")["action"] == "page_on_call"
    assert (twice.state, twice.assigned_to) == (State.ASSIGNED, "support_team")
    assert "confidence 60 of 100, urgency high" in crew.step(twice, "decide")["why"]
    for ticket in (down, twice):
        assert list(ticket.steps) == ["classify", "know", "decide", "notify"] and ticket.ladder_at is not None
        assert [step["agent"] for step in ticket.steps.values()] == [
            "classifier",
            "librarian",
            "escalation",
            "notifier",
        ]
        assert ticket.flow is not None and (ticket.flow.name, ticket.flow.version) == ("customer_support_triage", 1)
        reasons = explain(crew.desk, ticket, now=crew.clock.now()).reasons
        assert reasons[0].startswith("flow customer_support_triage v1, step 4 of 4: notify; now with ")


def test_each_step_says_what_the_next_one_needs(crew: Crew) -> None:
    """TP-02, TP-03: category, sentiment, urgency and why; articles, steps, confidence and a reply."""
    ticket = crew.comes(*TWICE)
    assert crew.step(ticket, "classify") | {"reasoning": ""} == {
        "category": "billing", "sentiment": "negative", "urgency": "high", "reasoning": "",
    }  # fmt: skip
    found = crew.step(ticket, "know")
    assert set(found) == {"articles", "resolution_steps", "confidence", "suggested_reply"}
    assert found["articles"] and 0 <= found["confidence"] <= 100


def test_people_end_what_was_brought_to_them_and_who_comes_back_gets_people(crew: Crew) -> None:
    """TP-04, TP-05: nothing is closed unseen; a reply that did not help is not sent a second time."""
    twice, reset = crew.comes(*TWICE), crew.comes(*RESET)
    held = crew.desk.claim(twice.id, "support_team", "person:ann")
    done = crew.desk.report(held.id, held.token, Resolved(reply="49.00 went back today."), agent="support_team")
    assert (done.state, done.aided) == (State.RESOLVED, True)

    crew.desk.reopen(reset.id, actor="person:june", reason="no email comes")
    crew.work()
    again = crew.desk.find(reset.id)
    assert (again.state, again.assigned_to) == (State.ASSIGNED, "support_team")
    assert "the customer has come back (life 2)" in crew.step(again, "decide")["why"]


def test_a_critical_ticket_that_nobody_takes_climbs_the_ladder_of_its_step(crew: Crew) -> None:
    """TP-04, TP-06: the ladder reads steps.classify.result.urgency; the sender had called it low."""
    ticket = crew.comes("A question", "Somebody wrote that you were hacked. Is our data in it?", priority="low")
    assert crew.step(ticket, "classify")["urgency"] == "critical" and ticket.assigned_to == "on_call"
    crew.later(4 * 3600)
    told = [line.detail["told"] for line in crew.desk.history(ticket.id) if line.move == "escalate"]
    assert told == [["on_call"]] and crew.desk.find(ticket.id).is_open


@pytest.mark.real
def test_people_are_told_over_the_channels_of_the_urgency_once(hook: Hook, short_folder: Path) -> None:
    """TP-05, TP-06: what the steps found stands in the message; what no channel took is not called sent."""
    crew = laid_over(
        short_folder, f'channels: {{addresses: {{slack: "{hook.address}/slack", pagerduty: "{hook.address}/pager"}}}}'
    )
    down = crew.comes(*DOWN)
    low = crew.comes("A discount", "Do you have a discount for schools?")
    posts = dict(hook.posts.get(timeout=WAIT_S) for _ in range(2))

    told = crew.step(down, "notify")
    assert (told["notification_sent"], told["channels"]) == (True, ["slack", "pagerduty"])
    assert told["not_sent"] == {"email": "no address is configured"}
    assert datetime.fromisoformat(told["timestamp"]).utcoffset() is not None
    assert set(posts) == {"/slack", "/pager"} and hook.posts.empty()
    assert posts["/pager"]["title"] == f"[critical] {TEAM}: {down.number} Production is down"
    assert "| urgency critical | for on-call" in posts["/pager"]["message"]
    assert crew.step(down, "classify")["reasoning"] in posts["/pager"]["message"]
    told = crew.step(low, "notify")
    assert (told["notification_sent"], told["channels"]) == (False, []), "a low one takes email alone, and has none"
    assert low.assigned_to == "support_team", "and is brought to people all the same"
    effects = Effects(crew.ledger, TEAM, crew.clock).of(down.id)
    assert sorted(effect.target for effect in effects) == [
        down.number,
        f"{down.number} pagerduty",
        f"{down.number} slack",
    ]
    crew.close()


def test_a_worker_that_dies_in_a_step_loses_no_step_and_another_instance_goes_on(crew: Crew) -> None:
    """TP-07: scaled by one more instance; the lease of the dead one ends, and what was found before stands.

    With real processes and kill -9: tests/faults/test_killed_workers.py; a step over its time: test_worker.py.
    """
    ticket = crew.comes(*RESET, work=False)
    crew.coordinate()
    crew.runners["classifier"].ring("classifier", ticket.id)
    crew.coordinate()
    crew.desk.claim(ticket.id, "librarian", "librarian@dead")  # and is never heard of again
    crew.runners["librarian"] = crew.worker("librarian", "w2")

    crew.later(crew.settings.lease_s + 1)

    ticket = crew.desk.find(ticket.id)
    assert ticket.state is State.RESOLVED
    story = [(line.move, line.detail.get("worker")) for line in crew.desk.history(ticket.id)]
    assert ("claim", "librarian@dead") in story and ("claim", "librarian@w2") in story
    assert moves(crew, ticket).count("give_back") == 1 and moves(crew, ticket).count("advance") == 2


def test_each_step_has_a_queue_of_its_own(crew: Crew) -> None:
    """TP-07, TP-09: so the slow one alone gets more workers, on the machine it needs."""
    queues = {queue.name for queue in make_app(crew.settings, [crew.team]).conf.task_queues}
    assert {f"shiftlead.{TEAM}.{agent}" for agent in AGENTS} <= queues


def test_show_tells_what_each_step_returned_and_why(crew: Crew) -> None:
    """TP-08: a thank-you read as a technical matter is seen at a glance, with the word that misled the step."""
    ticket = crew.comes("Thanks for the new dashboard", "Great work! Is there a dark theme planned?")
    said = printed(steps_table(ticket), timeline(crew.desk.history(ticket.id), crew.clock.now()))
    assert "Steps of customer_support_triage v1" in said
    assert "category: technical" in said and "technical ('dashboard')" in said
    assert "action: escalate" in said and "notification_sent: no" in said
    assert "classify: category technical, sentiment positive, urgency low" in said, "the story has it in short"
    said = printed(steps_table(crew.comes(*RESET)))
    assert "ended the ticket (resolved): sent without a person" in said and "not reached" in said


def test_a_step_is_tried_alone_with_what_the_step_before_would_have_said(
    short_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TP-09: `shiftlead try ... --steps FILE`; no server, nothing stored."""
    monkeypatch.setenv("SHIFTLEAD_HOME", str(short_folder / "none"))
    steps = short_folder / "steps.json"

    def decided(confidence: int) -> dict[str, Any]:
        steps.write_text(json.dumps({
            "classify": {"result": {"category": "account", "sentiment": "neutral", "urgency": "low", "reasoning": "x"}},
            "know": {"result": {"articles": ["faq.md"], "resolution_steps": [], "confidence": confidence,
                                "suggested_reply": "Like this."}},
        }))  # fmt: skip
        given = ["try", "--team", TEAM, "escalation", "How do I do this?", "--steps", str(steps), "--json"]
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == 0
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        return report

    assert decided(80)["reply"] == "Like this."
    assert decided(79)["result"]["action"] == "escalate"
    assert not (short_folder / "none").exists()


def test_a_duplicate_joins_by_configuration(crew: Crew, short_folder: Path) -> None:
    """TP-10: `intake.join_repeats`; switched off, both go through the pipeline."""
    first, again = crew.comes(*TWICE), crew.comes(*TWICE)
    assert again.id == first.id and len(again.joined) == 1
    (short_folder / "off").mkdir()
    other = laid_over(short_folder / "off", "intake: {join_repeats: false}")
    assert other.comes(*TWICE).id != other.comes(*TWICE).id
    other.close()


def test_a_human_approval_is_added_by_configuration(short_folder: Path) -> None:
    """TP-10, EN-10: a gate before anybody is told; the step waits for the yes, and it is done once after it."""
    crew = laid_over(
        short_folder,
        f"""
gates: [{{when: action.name == "{NOTIFY}" && action.urgency == "high", approver: duty_manager, human: true}}]
""",
    )
    ticket = crew.comes(*TWICE)
    assert (ticket.state, ticket.waits_for) == (State.WAITING, "children")
    approval = crew.desk.find(ticket.awaits[0])
    assert (approval.named, approval.context["action"]) == ("duty_manager", NOTIFY)
    crew.desk.answer(approval.id, "approve", actor="person:duty_manager", reason="go on")
    crew.work()
    assert crew.desk.find(ticket.id).assigned_to == "support_team"
    assert crew.comes(*DOWN).assigned_to == "on_call", "what is critical asks nobody"
    crew.close()


def test_a_step_for_a_person_is_added_by_configuration(short_folder: Path) -> None:
    """TP-01, TP-10: version 2 of the flow lets an editor read every reply before it can be sent."""
    crew = laid_over(
        short_folder,
        """
agents: {editor: {role: editor, can: [read_over], human: true}}
flows: [{name: customer_support_triage, version: 2, steps: classify >> know >> read_over >> decide >> notify}]
""",
    )
    ticket = crew.comes(*RESET)
    assert (ticket.state, ticket.assigned_to) == (State.ASSIGNED, "editor")
    held = crew.desk.claim(ticket.id, "editor", "person:ed")
    assert held.flow is not None and held.flow.version == 2
    crew.desk.report(held.id, held.token, Resolved(reply="In my own words."), agent="editor")
    assert crew.desk.find(ticket.id).state is State.RESOLVED
    crew.close()


def test_a_look_at_every_reply_is_added_by_configuration(short_folder: Path) -> None:
    """TP-10, SD-07: `check` before a sure reply leaves; one that was sent back goes to people, not around again."""
    crew = laid_over(
        short_folder,
        """
agents: {editor: {role: editor, can: [read_over], human: true}}
check: {by: read_over}
""",
    )
    ticket = crew.comes(*RESET)
    assert ticket.assigned_to == "editor" and ticket.is_open
    held = crew.desk.claim(ticket.id, "editor", "person:ed")
    verdict = Reviewed(passed=False, failed_checks=["tone_appropriate"])
    crew.desk.report(held.id, held.token, verdict, agent="editor")
    crew.work()
    assert crew.desk.find(ticket.id).assigned_to == "support_team"
    assert "failed its check (tone_appropriate)" in crew.step(ticket, "decide")["why"]
    crew.close()


@pytest.mark.real
def test_a_model_and_two_prompts_are_configuration(short_folder: Path) -> None:
    """TP-02, TP-06, TP-10: the classifier thinks with a model, and two of its pages are compared, by the team file.

    The model says a word that is no category first; it is told which words there are, and mends it.
    """

    def classified(category: str) -> dict[str, Any]:
        result = {"category": category, "sentiment": "neutral", "urgency": "low", "reasoning": "asks how"}
        report = {"kind": "step_done", "name": "x", "result": json.dumps(result), "confidence": 0.9, "needs": []}
        return {"answer": report}

    with StubLlm(Script([classified("login"), classified("account")])) as stub:
        crew = laid_over(short_folder, """
agents:
  classifier: {brain: openai, temperature: 0.1, prompts: {plain: roles/classifier.md, short: roles/librarian.md}}
""", openai_base_url=stub.url, openai_api_key="k", openai_model="stub")  # fmt: skip
        ticket = crew.comes(*RESET)
        asked = [str(call["messages"]) for call in stub.calls]
    assert ticket.state is State.RESOLVED and crew.step(ticket, "classify")["category"] == "account"
    assert ticket.steps["classify"]["confidence"] == 0.9
    spec = crew.team.agents["classifier"]
    page = {"plain": "# Classifier", "short": "# Librarian"}[choose_version(ticket.id, spec.prompts)]
    assert page in asked[0], "which of the two is decided by the ticket's id"
    assert "category: one of billing, technical, account, general" in asked[0]
    assert "'category' is 'login'; it is one of billing" in asked[1]
    crew.close()
