"""A shift at the command line: the lead says who is away, who has just deployed and what may begin; tickets follow.

One installation for the file: coordinator, one worker for all agents, HTTP door. Every story has agents of its own.
"""

from __future__ import annotations

import getpass
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shiftlead.coordinator.api.auth import create_key
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line, Ticket
from tests.cluster import Cluster, free_port, listens, running_cluster

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("shift")]
ME = f"person:{getpass.getuser()}"
TEAM_FILE = """
team: shift
agents:
  sam_support: {role: support, can: [customer_issue], capacity: 1, brain: "python:brains:answer"}
  devin_engineering: {role: engineering, can: [bug, monitoring], capacity: 2, brain: "python:brains:answer"}
  dora_engineering: {role: engineering, can: [bug, monitoring], capacity: 2, brain: "python:brains:answer"}
  elif_engineering: {role: engineering, can: [task], capacity: 4, brain: "python:brains:start"}
  felix_ceo: {role: decision-maker, can: [decision, approval], capacity: 1, brain: "python:brains:answer"}
  nobody_yet: {role: support, can: [translation], capacity: 1, brain: outside}
people:
  mona: {notify: "mailto://mona@localhost", can: [approval]}
  lars: {notify: "mailto://lars@localhost", can: [approval]}
routes:
  - {when: ticket.type == "bug", needs: [bug]}
  - {when: ticket.type == "monitoring", needs: [monitoring]}
  - {when: ticket.type == "task", needs: [task]}
  - {when: ticket.type == "decision", needs: [decision]}
  - {when: ticket.type == "translation", needs: [translation]}
  - needs: [customer_issue]
affinity:
  - {when: ticket.type == "monitoring", event: deployed, within: 24h}
gates:
  - when: action.name == "start_work" && action.within == "1s"
    approver: mona
    expires: 1s
    then: felix_ceo
  - when: action.name == "start_work"
    approver: mona
    human: true
    confirms: [scope, acceptance_criteria]
    expires: 4h
"""
BRAINS = """
import pathlib, time
from shiftlead.agents.agent import AskHuman, Resolved

HERE = pathlib.Path(__file__).parent

def answer(work):
    if work.ticket.type == "approval":
        return Resolved(decision="approve", reply="felix says yes", reason="felix says yes")
    while "held" in work.ticket.body and not (HERE / "go").exists():
        time.sleep(0.02)
    return Resolved(reply="done: " + work.ticket.title, summary="done")

def start(work):
    asked = {"scope": "the export button", "within": "4h"}
    if "blind" not in work.text:
        asked["acceptance_criteria"] = ["a CSV of 10,000 rows", "the old button stays"]
    if "hurry" in work.text:
        asked["within"] = "1s"
    if not work.answers:
        return AskHuman(action="start_work", arguments=asked, why="nobody has confirmed what is wanted")
    said = work.answers[-1]
    if said["decision"] != "approve":
        return Resolved(reply="not begun: " + said["reason"])
    return Resolved(reply="built " + said["arguments"]["scope"] + "; " + said["reason"])
"""


class Shift:
    """The running installation, as its lead uses it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.desk = cluster, cluster.desk
        self.say = cluster.shiftlead
        self.key = create_key(cluster.connections.ledger, "shift", "lead", ["enqueue", "read", "admin", "work"])

    def json(self, *arguments: str, given: str | None = None) -> Any:
        return json.loads(self.say(*arguments, "--json", given=given))

    def enqueue(self, *tickets: dict[str, Any]) -> list[Ticket]:
        """Several tickets by one `shiftlead enqueue -`."""
        lines = "\n".join(json.dumps(t) for t in tickets)
        return [self.desk.find(number) for number in self.json("enqueue", "-", given=lines)["numbers"]]

    def ready(self, *tickets: Ticket) -> None:
        for ticket in tickets:
            self.cluster.in_state(ticket, State.READY)

    def waiting_approval(self, ticket: Ticket) -> Ticket:
        """The approval it waits for, when its approver has been decided."""
        parent = self.cluster.in_state(ticket, State.WAITING)
        return self.cluster.in_state(self.desk.find(parent.awaits[0]), State.READY)

    def reply(self, ticket: Ticket) -> str:
        """What the ticket was answered with at its end."""
        return str((self.cluster.ended(ticket).result or {})["reply"])

    def line(self, ticket: Ticket, move: str) -> Line:
        return next(line for line in self.desk.history(ticket.id) if line.move == move)

    def served(self, *tickets: Ticket) -> list[Ticket]:
        """The tickets in the order they were begun, after all of them are done."""
        for ticket in tickets:
            self.cluster.ended(ticket)
        return sorted(tickets, key=lambda t: self.line(t, "claim").at)


@pytest.fixture(scope="module")
def shift() -> Iterator[Shift]:
    with (
        tempfile.TemporaryDirectory(prefix="sl-", ignore_cleanup_errors=True) as folder,
        running_cluster(Path(folder), team="shift", SHIFTLEAD_NOTICE_GROUP_S="0") as cluster,
    ):
        cluster.write_team(TEAM_FILE, BRAINS)
        port = free_port()
        cluster.env["SHIFTLEAD_PORT"] = str(port)
        for process in (["coordinator"], ["worker", "--all"], ["web"]):
            cluster.start(*process)
        cluster.coordinating()
        cluster.present("sam_support", "devin_engineering", "dora_engineering", "elif_engineering", "felix_ceo")
        cluster.wait_until(lambda: listens(port), what="the HTTP door")
        yield Shift(cluster)


def decision(priority: str) -> dict[str, Any]:
    return {"type": "decision", "title": f"a {priority} decision", "body": "may we?", "priority": priority}


def test_decisions_wait_while_felix_is_in_his_session_and_are_served_in_order_then(shift: Shift) -> None:
    """FO-09, EN-04: one command holds him; `why` names him and the reason; urgent, high, normal when he is free."""
    said = shift.say("agents", "busy", "felix_ceo", "--until", "+3h", "--reason", "strategy session")
    assert "felix_ceo is busy until" in said and "strategy session" in said
    normal, urgent, high = shift.enqueue(decision("normal"), decision("urgent"), decision("high"))
    shift.ready(normal, urgent, high)

    why = shift.say("why", urgent.number)
    assert "felix_ceo" in why and "strategy session" in why
    assert "felix_ceo becomes free" in why

    shift.say("agents", "busy", "felix_ceo", "--until", "+1s", "--reason", "strategy session, shorter")
    assert shift.served(normal, urgent, high) == [urgent, high, normal]
    assert {shift.line(t, "assign").agent for t in (normal, urgent, high)} == {"felix_ceo"}


def test_a_drained_agent_ends_what_it_has_a_paused_one_gets_nothing_and_resume_ends_both(shift: Shift) -> None:
    """EN-04, FO-09: drain, pause, resume; each with its reason."""
    go = shift.cluster.folder / "teams" / "shift" / "go"
    [begun] = shift.enqueue({"type": "decision", "title": "begun before", "body": "held"})
    shift.cluster.in_state(begun, State.WORKING)
    assert "draining" in shift.say("agents", "drain", "felix_ceo", "--reason", "new release")
    [later] = shift.enqueue(decision("normal"))
    shift.ready(later)
    why = shift.say("why", later.number)
    assert "felix_ceo is draining" in why and "new release" in why

    go.touch()
    assert shift.cluster.ended(begun).state is State.RESOLVED
    shift.say("agents", "pause", "felix_ceo", "--reason", "on holiday")
    assert shift.desk.find(later.id).state is State.READY
    listed = next(line for line in shift.say("agents", "list").splitlines() if line.startswith("felix_ceo"))
    assert "✘" in listed and "paused" in listed

    assert "takes tickets again" in shift.say("agents", "resume", "felix_ceo")
    assert shift.cluster.ended(later).state is State.RESOLVED
    go.unlink()


def test_who_has_just_deployed_gets_the_monitoring(shift: Shift) -> None:
    """FO-10, EN-06: said at the command line, then by the other one over HTTP; `why` says so both times."""
    ref = "https://ci.example/deploys/4711"
    assert "dora_engineering has just deployed" in shift.say(
        "agents", "event", "dora_engineering", "deployed", "--ref", ref
    )
    [first] = shift.enqueue({"type": "monitoring", "title": "watch the shop", "body": "after the deployment"})
    assert shift.cluster.ended(first).assigned_to == "dora_engineering"
    why = " ".join(shift.say("why", first.number).split())
    assert "dora_engineering has deployed" in why and ref in why

    status, _ = shift.cluster.call(
        shift.key, "/v1/agents/devin_engineering/event", {"name": "deployed", "ref": "shop 4.8"}
    )
    assert status == 200
    status, made = shift.cluster.call(shift.key, "/v1/tickets", {"type": "monitoring", "body": "watch the shop again"})
    assert status == 201
    second = shift.cluster.ended(shift.desk.find(made["number"]))
    assert second.assigned_to == "devin_engineering"
    assert "devin_engineering has deployed shop 4.8" in shift.line(second, "assign").reason


def test_urgent_goes_first_and_every_fifth_turn_is_routine(shift: Shift) -> None:
    """FO-11, EN-05, FO-15: in the ledger of one agent, and its track record counts all of it."""
    shift.say("agents", "pause", "sam_support", "--reason", "lunch")
    wanted = ["normal"] * 2 + ["urgent"] * 6
    tickets = shift.enqueue(
        *({"title": f"{p} {n}", "body": f"matter {n}", "priority": p} for n, p in enumerate(wanted))
    )
    shift.ready(*tickets)
    shift.say("agents", "resume", "sam_support")

    turns = [t.priority for t in shift.served(*tickets)]
    assert turns == ["urgent"] * 4 + ["normal"] + ["urgent"] * 2 + ["normal"]
    assert "4 urgent tickets in a row" in shift.line(tickets[0], "assign").reason

    done = shift.json("agents", "record", "sam_support")
    assert (done["completed"], done["failed"]) == (8, 0)
    assert {h["number"] for h in done["last"]} == {t.number for t in tickets}
    record = shift.say("agents", "record", "sam_support")
    assert "8 completed · 0 failed" in record and "request" in record


def test_two_channels_are_one_record_and_show_names_both_who_brought_it(shift: Shift) -> None:
    """EN-02, TA-05: from the command line and over HTTP, by the same failing job."""
    job = "https://ci.example/shop/runs/1173"
    made = shift.json("enqueue", "checkout is red", "--type", "translation", "--reporter", "mia", "--link", job)
    body = {
        "body": "the run failed",
        "source": "email",
        "reporter": "tom@example.com",
        "links": [f"{job}?utm_source=mail"],
    }
    status, again = shift.cluster.call(shift.key, "/v1/tickets", body)
    assert (status, again["number"]) == (200, made["ticket"]["number"])

    shown = shift.json("show", made["ticket"]["number"])
    assert shown["ticket"]["reporter"] == "mia" and shown["ticket"]["links"] == [job, *body["links"]]
    assert [(j["reporter"], j["source"]) for j in shown["ticket"]["joined"]] == [("tom@example.com", "email")]
    read = " ".join(shift.say("show", made["ticket"]["number"]).split())
    assert "from mia by cli" in read and "email tom@example.com" in read
    [join] = [line for line in shown["history"] if line["move"] == "join"]
    assert (join["actor"], join["detail"]["text"]) == ("door:http:lead", "the run failed")


def test_work_begins_when_a_person_has_confirmed_scope_and_criteria(shift: Shift) -> None:
    """EN-10, TA-08: the inbox shows what a yes confirms; delegated, approved, and the agent goes on."""
    task, blind = shift.enqueue(
        {"type": "task", "title": "an export", "body": "customers want their data"},
        {"type": "task", "title": "an export, blind", "body": "somebody wants something"},
    )
    asked, unclear = shift.waiting_approval(task), shift.waiting_approval(blind)
    inbox = " ".join(shift.say("inbox", "--for", "mona").split())
    assert asked.number in inbox and "start_work" in inbox
    assert "the export button" in inbox and "a CSV of 10,000 rows" in inbox
    assert "missing: acceptance_criteria" in inbox

    assert "acceptance_criteria" in shift.say("approve", unclear.number, "--reason", "fine", code=4)
    shift.say("deny", unclear.number, "--reason", "say the criteria")
    assert shift.reply(blind) == "not begun: say the criteria"

    assert "lars decides" in shift.say("delegate", asked.number, "--to", "lars", "--reason", "it is his shop")
    assert [item["number"] for item in shift.json("inbox", "--for", "lars")] == [asked.number]
    shift.say("approve", asked.number, "--reason", "within budget")
    assert shift.reply(task) == "built the export button; within budget"
    yes = shift.line(asked, "answer")
    assert yes.actor == ME and yes.detail["confirmed"]["acceptance_criteria"][0] == "a CSV of 10,000 rows"


def test_an_approval_nobody_answers_goes_to_whoever_the_gate_names_next(shift: Shift) -> None:
    """EN-10: expiry leads to `then`, and the agent hears the answer."""
    [task] = shift.enqueue({"type": "task", "title": "a hurry", "body": "hurry"})
    asked = shift.desk.find(shift.cluster.in_state(task, State.WAITING).awaits[0])
    shift.cluster.wait_until(lambda: "escalate" in shift.cluster.moves(asked), what="the approval expired")
    moved = shift.line(asked, "escalate")
    assert (moved.actor, moved.detail["reassigned_to"]) == ("timer:expire", "felix_ceo")
    assert "mona did not decide in time" in moved.reason
    assert shift.reply(task) == "built the export button; felix says yes"


def test_people_set_right_give_away_put_off_merge_cancel_and_reopen(shift: Shift) -> None:
    """EN-06: what people do by hand stands in `show`, with actor and reason."""
    first, twin, parent = shift.enqueue(
        {"type": "translation", "title": "the manual", "body": "into Dutch", "priority": "normal"},
        {"type": "translation", "title": "the manual again", "body": "it is the Dutch one", "reporter": "tom"},
        {"type": "task", "title": "an export for Dora", "body": "her data"},
    )
    child = shift.waiting_approval(parent)
    shift.ready(first, twin)
    n = first.number
    shift.say("edit", n, "--priority", "urgent", "--reason", "the shop is down")
    shift.say("merge", twin.number, "--into", n, "--reason", "one manual")
    shift.say("snooze", n, "--until", "+2h", "--reason", "the text comes at noon")
    shift.say("reassign", n, "--to", "dora_engineering", "--reason", "she speaks Dutch")
    assert shift.cluster.ended(first).assigned_to == "dora_engineering"
    shift.say("reopen", n, "--reason", "that was German")
    shift.say("cancel", parent.number, "--reason", "sent twice")

    shown = shift.json("show", n)
    told = {line["move"]: (line["actor"], line["reason"]) for line in shown["history"]}
    assert told["edit"] == (ME, "the shop is down")
    assert told["snooze"] == (ME, "the text comes at noon")
    assert told["reassign"] == (ME, "she speaks Dutch")
    assert told["reopen"] == (ME, "that was German")
    assert told["join"][0] == ME and twin.number in told["join"][1]
    assert [j["number"] for j in shown["ticket"]["joined"]] == [twin.number]
    read = " ".join(shift.say("show", n).split())
    assert "priority: urgent" in read and f"{twin.number} was merged into it" in read
    for reason in ("the shop is down", "the text comes at noon", "she speaks Dutch", "that was German"):
        assert reason in read

    merged, ended, gone = (shift.desk.find(t.id) for t in (twin, parent, child))
    assert (merged.state, merged.merged_into) == (State.CANCELLED, n)
    assert (ended.state, gone.state) == (State.CANCELLED, State.CANCELLED)
    assert shift.line(gone, "cancel").reason == "sent twice" and shift.line(gone, "cancel").actor == ME


def test_the_numbers_of_the_shift_are_one_command(shift: Shift) -> None:
    """EN-13: after what came above, or alone after these three."""
    done = shift.enqueue(*({"type": "bug", "title": f"bug {n}", "body": f"bug {n}"} for n in range(3)))
    for ticket in done:
        shift.cluster.ended(ticket)
    said = shift.json("stats", "--since", "1h")
    assert said["arrived"] >= 3 and said["completed"]["resolved"] >= 3
    engineers = [said["agents"][a]["completed"] for a in ("devin_engineering", "dora_engineering")]
    assert sum(engineers) >= 3

    shown = shift.say("stats", "--since", "1h")
    assert f"{said['arrived']} " in next(line for line in shown.splitlines() if line.startswith("tickets in"))
    assert any(line.startswith("devin_engineering") for line in shown.splitlines())
