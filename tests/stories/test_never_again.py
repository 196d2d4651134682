"""What must never happen again: one story for each failure that teams of agents are known for (FO-14).

One installation for the file: coordinator, a worker for support and decision, another one for engineering.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line, Ticket
from tests.cluster import Cluster, running_cluster

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("never_again")]
NORMAL_S = 1  # so short that routine is overdue at once: by due time alone it would go before anything urgent
TEAM_FILE = f"""
team: never
priorities: {{urgent: 5m, high: 30m, normal: {NORMAL_S}s, low: 24h}}
agents:
  iris_support: {{role: support, can: [customer_issue], capacity: 1, brain: "python:brains:support"}}
  ivan_support: {{role: support, can: [customer_issue], capacity: 1, brain: "python:brains:support"}}
  bill_desk: {{role: support, can: [billing], capacity: 1, brain: "python:brains:support"}}
  devin_engineering: {{role: engineering, can: [bug], capacity: 4, brain: "python:brains:engineer"}}
  felix_ceo: {{role: decision-maker, can: [decision, approval], capacity: 1, brain: outside}}
  nora_night: {{role: support, can: [night], capacity: 1, brain: outside}}
people:
  on_call: {{notify: "mailto://oncall@localhost", can: [decision, approval]}}
routes:
  - {{when: ticket.type == "billing", needs: [billing]}}
  - {{when: ticket.type == "night", needs: [night]}}
  - {{when: ticket.type == "decision", needs: [decision]}}
  - needs: [customer_issue]
escalations:
  - when: ticket.type == "night"
    ladder: [{{after: 1s, notify: felix_ceo}}, {{after: 2s, notify: on_call}}]
"""
BRAINS = """
import pathlib, time
from shiftlead.agents.agent import HandOff, Packet, Resolved

HERE = pathlib.Path(__file__).parent

def support(work):
    while "held" in work.text and not (HERE / "go").exists():
        time.sleep(0.02)
    if "crash" not in work.text:
        return Resolved(reply="done: " + work.ticket.title, summary="done")
    if not work.answers:
        told = Packet(
            task_id=work.ticket.number, impact_summary="nobody can pay", hypotheses=["the last deployment"],
            evidence_snippets=["NullPointerException in Checkout:42"], next_questions=["since which version?"],
        )
        return HandOff(needs=["bug"], type="bug", title="checkout crashes", question="please fix it", packet=told)
    return Resolved(reply="Dear " + work.ticket.customer + ", " + work.answers[-1]["reply"], summary="told")

def engineer(work):
    (HERE / (work.ticket.number + ".work.json")).write_text(work.model_dump_json())
    return Resolved(reply="fixed in 4.7.2: the basket may be empty now", summary="fixed")
"""
CRASH = {"title": "the checkout crashes", "body": "crash when I pay, order 4711", "customer": "Mia"}


class Floor:
    """The running installation."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.desk, self.say = cluster, cluster.desk, cluster.shiftlead
        self.team_folder = cluster.folder / "teams" / "never"

    def enqueue(self, *tickets: dict[str, Any]) -> list[Ticket]:
        """Several tickets by one `shiftlead enqueue -`."""
        lines = "\n".join(json.dumps(t) for t in tickets)
        return [self.desk.find(n) for n in json.loads(self.say("enqueue", "-", "--json", given=lines))["numbers"]]

    def lines(self, ticket: Ticket, move: str) -> list[Line]:
        return [line for line in self.desk.history(ticket.id) if line.move == move]

    def notices(self, ticket: Ticket) -> list[dict[str, Any]]:
        """What the notices file tells of the ticket."""
        path = self.cluster.folder / "notices.jsonl"
        told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [notice for notice in told if notice["ticket"] == ticket.number]


@pytest.fixture(scope="module")
def floor() -> Iterator[Floor]:
    with (
        tempfile.TemporaryDirectory(prefix="sl-", ignore_cleanup_errors=True) as folder,
        running_cluster(Path(folder), team="never", SHIFTLEAD_NOTICE_GROUP_S="0") as cluster,
    ):
        cluster.write_team(TEAM_FILE, BRAINS)
        cluster.start("coordinator")
        cluster.start("worker", "--role", "support")
        cluster.start("worker", "--role", "engineering")
        cluster.coordinating()
        cluster.present("iris_support", "ivan_support", "bill_desk", "devin_engineering")
        yield Floor(cluster)


def test_never_again_several_agents_answer_one_customer(floor: Floor) -> None:
    """FO-14, EN-06: her second message waits for whoever has the first, though somebody else is free."""
    go = floor.team_folder / "go"
    [first] = floor.enqueue({"title": "my card", "body": "held: my card is lost", "customer": "Ada"})
    holder = floor.cluster.in_state(first, State.WORKING).assigned_to
    [second] = floor.enqueue({"title": "my card, again", "body": "is it blocked now?", "customer": "ada "})
    floor.cluster.in_state(second, State.READY)

    why = " ".join(floor.say("why", second.number).split())
    assert f"{holder} has another ticket of this customer" in why and f"{holder} becomes free" in why
    [stranger] = floor.enqueue({"title": "hours", "body": "when do you open?", "customer": "Tom"})
    assert floor.cluster.ended(stranger).assigned_to not in (None, holder), "the other one was free all the time"
    assert floor.desk.find(second.id).state is State.READY

    go.touch()
    for ticket in (first, second):
        floor.cluster.ended(ticket)
    [answered], [begun] = floor.lines(first, "resolve"), floor.lines(second, "claim")[:1]
    assert (answered.agent, begun.at >= answered.at) == (holder, True), "never two of them at a time"
    go.unlink()


def test_never_again_a_promised_handoff_that_nobody_created(floor: Floor) -> None:
    """FO-14, FO-06, EN-08: the child stands in the commit that says so; its worker is killed that moment.

    And what engineering did reaches the requester, by an agent that was not there when it was asked.
    """
    pid = floor.cluster.worker_pid("iris_support")
    [ticket] = floor.enqueue(CRASH)
    [promised] = floor.cluster.wait_until(lambda: floor.lines(ticket, "hand_off"), what="the handoff")
    os.kill(pid, signal.SIGKILL)

    child = floor.desk.find(promised.detail["children"][0])
    [made] = floor.lines(child, "accept")
    assert (child.parent, made.at, made.actor) == (ticket.id, promised.at, promised.actor)

    done = floor.cluster.ended(ticket)
    assert len(done.children) == 1 and done.result is not None
    assert done.result["reply"] == "Dear Mia, fixed in 4.7.2: the basket may be empty now"
    assert floor.cluster.worker_pid("iris_support") != pid
    shown = " ".join(floor.say("show", ticket.number).split())
    assert "hand_off" in shown and child.number in shown
    assert "Dear Mia, fixed in 4.7.2" in shown, "engineering that fixes tells the requester"


def test_never_again_an_agent_that_starts_without_context(floor: Floor) -> None:
    """FO-14, FO-06, TA-11: the packet's slots and every line of the story before, the customer's words included."""
    [ticket] = floor.enqueue(CRASH | {"customer": "Ben", "body": "crash since Monday, order 4712"})
    done = floor.cluster.ended(ticket)
    child = floor.desk.find(done.children[0])
    work = json.loads((floor.team_folder / f"{child.number}.work.json").read_text())

    packet = work["packet"]
    assert (packet["task_id"], packet["from_agent"]) == (ticket.number, floor.lines(ticket, "hand_off")[0].agent)
    assert packet["impact_summary"] == "nobody can pay" and packet["hypotheses"] == ["the last deployment"]
    assert packet["evidence_snippets"] and packet["next_questions"] == ["since which version?"]
    assert packet["lineage"] == [ticket.number]

    told = [(line["ticket"], line["move"]) for line in work["history"]]
    assert [move for of, move in told if of == ticket.id] == ["accept", "triage", "assign", "claim", "hand_off"]
    assert [move for of, move in told if of == child.id] == ["accept", "triage", "assign", "claim"]
    assert [(a["number"], a["body"]) for a in work["ancestors"]] == [(ticket.number, "crash since Monday, order 4712")]


def test_never_again_something_urgent_buried_under_routine(floor: Floor) -> None:
    """FO-14, FO-11, EN-05: thirty that are overdue stand there when it comes; it is served first."""
    floor.say("agents", "pause", "bill_desk", "--reason", "lunch")
    routine = floor.enqueue(
        *(
            {"type": "billing", "title": f"invoice {n}", "body": f"copy of invoice {n}", "priority": "normal"}
            for n in range(30)
        )
    )
    floor.cluster.in_state(routine[-1], State.READY)
    overdue = max(t.created_at for t in routine) + NORMAL_S
    floor.cluster.wait_until(lambda: floor.desk.clock.now() > overdue, what="all of them are overdue")
    [urgent] = floor.enqueue({"type": "billing", "title": "charged twice", "body": "now!", "priority": "urgent"})
    urgent = floor.cluster.in_state(urgent, State.READY)
    assert urgent.due > max(floor.desk.find(t.id).due for t in routine)

    floor.say("agents", "resume", "bill_desk")
    for ticket in (*routine, urgent):
        floor.cluster.ended(ticket)
    begun = sorted((*routine, urgent), key=lambda t: floor.lines(t, "claim")[0].at)
    assert begun[0].id == urgent.id


def test_never_again_a_ticket_that_sits_for_ever(floor: Floor) -> None:
    """FO-14, FO-12, EN-09: nobody is there who can; the ladder tells one after the other; `why` says what is next."""
    [ticket] = floor.enqueue({"type": "night", "title": "a call at night", "body": "is anybody there?"})
    floor.cluster.wait_until(lambda: len(floor.notices(ticket)) >= 2, what="two notices")

    assert [notice["to"] for notice in floor.notices(ticket)] == ["felix_ceo", "on_call"]
    first, second = floor.lines(ticket, "escalate")[:2]
    assert first.at - ticket.created_at >= 1.0
    assert second.at - ticket.created_at >= 2.0
    why = " ".join(floor.say("why", ticket.number).split())
    assert "nora_night has no worker running" in why and "next escalation step in" in why


def test_never_again_a_decision_on_stale_news(floor: Floor) -> None:
    """FO-14, EN-13: what happened a moment ago stands in the brief, and what was dropped waits for no decision."""
    bought, asked = floor.enqueue(
        {"type": "decision", "title": "buy the warehouse?", "body": "they ask until noon"},
        {"type": "decision", "title": "raise the prices?", "body": "by five percent"},
    )
    for ticket in (bought, asked):
        floor.cluster.in_state(ticket, State.READY)
    floor.say("reassign", asked.number, "--to", "felix_ceo", "--reason", "only he can")
    floor.say("cancel", bought.number, "--reason", "the seller withdrew")

    told = json.loads(floor.say("brief", "--for", "felix_ceo", "--since", "1h", "--json"))
    assert (bought.number, "the seller withdrew") in [
        (item["number"], item["note"].partition(": ")[2]) for item in told["cancelled"]["items"]
    ]
    waits = [item["number"] for part in ("approvals", "tickets", "questions") for item in told[part]["items"]]
    assert asked.number in waits and bought.number not in waits
    read = " ".join(floor.say("brief", "--for", "felix_ceo", "--since", "1h").split())
    assert bought.number in read and "the seller withdrew" in read
