"""The example docs/examples/agents_sdk: an agent on the real OpenAI Agents SDK, in a worker and outside (SS-09)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftlead.agents.__main__ import worker_command
from shiftlead.agents.agent import Resolved, Work
from shiftlead.coordinator.api.auth import create_key
from shiftlead.coordinator.stub_answers import Script
from shiftlead.coordinator.stub_llm import StubLlm
from shiftlead.coordinator.supervisor import COMMAND
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Ticket
from tests.cluster import Cluster, free_port, listens, running_cluster

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "agents_sdk"


def sdk_version() -> str:
    """Of the distribution: in here a bare `import agents` might find this checkout's own folder."""
    try:
        return version("openai-agents")
    except PackageNotFoundError:
        return ""


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not sdk_version(), reason="the OpenAI Agents SDK is not installed: pip install openai-agents"),
    pytest.mark.xdist_group("agents_sdk"),
    pytest.mark.timeout(180),
]


def answer(reply: str) -> dict[str, Any]:
    return {"reply": reply, "summary": reply, "evidence": [], "needs_a_person": False}


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


SCRIPT = [
    {"match": "lamp", "times": 1, **tool("get_order", order_id="4711")},
    {"match": "lamp", "answer": answer("Your lamp was 89 euros.")},
    {"match": "desk", "times": 1, **tool("send_refund", order_id="4712", amount=640.0)},
    {"match": "desk", "answer": answer("The 640 euros are on their way.")},
    {"match": "invoice", "times": 1, **tool("transfer_to_bela_billing", question="Where is her invoice?")},
    {"match": "invoice", "answer": answer("Billing has looked for it.")},
    {"match": "for ever", **tool("get_order", order_id="4711")},
    {"match": "strange", "answer": "I have taken care of it."},
    {"match": "busy", "fault": "429", "retry_after": "77"},
]


class Shop:
    """The running example, the model it asks, and the ticket each test sends."""

    def __init__(self, cluster: Cluster, stub: StubLlm) -> None:
        self.cluster, self.stub, self.desk = cluster, stub, cluster.desk

    def calls(self, word: str) -> list[dict[str, Any]]:
        """What was asked of the model about the ticket with that word in it."""
        return [c for c in self.stub.calls if word in str(c["messages"])]

    def reply(self, ticket: Ticket) -> str:
        return str((self.cluster.ended(ticket).result or {})["reply"])


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Coordinator, one worker for all agents and the HTTP door, started in the checkout: as a developer does."""
    with (
        tempfile.TemporaryDirectory(prefix="sl-", ignore_cleanup_errors=True) as folder,
        StubLlm(Script(SCRIPT)) as stub,
    ):
        teams = Path(folder) / "teams"
        shutil.copytree(EXAMPLE, teams / "agents_sdk", ignore=shutil.ignore_patterns("__pycache__"))
        env = {"SHIFTLEAD_OPENAI_BASE_URL": stub.url, "SHIFTLEAD_PORT": str(free_port())}
        with running_cluster(Path(folder), team="agents_sdk", SHIFTLEAD_CLAIM_DEADLINE_S="20", **env) as cluster:
            for command in ("coordinator", "web"):
                begin(cluster, *COMMAND, command, "--team", "agents_sdk")
            # as `shiftlead worker` does, without its look at the brains beforehand: importing the SDK takes seconds
            begin(cluster, *worker_command("agents_sdk"))
            cluster.coordinating()
            connections = cluster.connections
            presence = Presence(connections.client, cluster.desk.keys, connections.clock, cluster.settings)
            there = {"sofia_support", "bela_billing"}
            cluster.wait_until(lambda: there <= set(presence.live()), seconds=90, what="a worker with the SDK")
            cluster.wait_until(lambda: listens(int(env["SHIFTLEAD_PORT"])), what="the HTTP door")
            yield Shop(cluster, stub)


def begin(cluster: Cluster, *argv: str) -> None:
    with (cluster.folder / f"{len(cluster.processes)}.log").open("wb") as log:
        process = subprocess.Popen(
            argv, env=os.environ | cluster.env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    cluster.processes.append(process)


def test_the_agent_uses_a_tool_and_answers_in_a_forced_schema(shop: Shop) -> None:
    """SS-09: the SDK's loop runs inside a worker that was started in this checkout, whose folder is called agents."""
    ticket = shop.cluster.accept("How much was my lamp, order 4711?", customer="Mia")
    assert shop.reply(ticket) == "Your lamp was 89 euros."
    first, second = shop.calls("lamp")
    assert {t["function"]["name"] for t in first["tools"]} == {
        "get_order", "send_refund", "transfer_to_bela_billing", "transfer_to_olga_outside",
    }  # fmt: skip
    assert first["temperature"] == 0.2 and first["response_format"]["json_schema"]["strict"] is True
    result = next(m for m in second["messages"] if m["role"] == "tool")
    assert '"total": 89.0' in result["content"], "the result of Shiftlead's own tool"


def test_a_gate_holds_whatever_the_model_wants_and_the_effect_is_done_once(shop: Shop) -> None:
    """SS-09, EN-10: the SDK's run ends with a question; after the yes the runtime acts, and the agent is told."""
    ticket = shop.cluster.in_state(shop.cluster.accept("Refund my desk, order 4712"), State.WAITING)
    approval = shop.desk.find(ticket.awaits[0])
    assert (approval.context["action"], approval.context["arguments"]["amount"]) == ("send_refund", 640.0)
    assert "effect" not in str([line.detail for line in shop.desk.history(ticket.id) if line.move == "ask"])
    shop.desk.answer(approval.id, "approve", actor="person:lena_lead", reason="she is right")
    assert shop.reply(ticket) == "The 640 euros are on their way."
    effects = [line.detail["effect"]["outcome"] for line in shop.desk.history(ticket.id) if "effect" in line.detail]
    assert effects.count("done") == 1
    assert "refunded" in str(shop.calls("desk")[-1]["messages"]), "the agent goes on with the result"


def test_the_sdks_handover_is_a_part_for_a_colleague(shop: Shop) -> None:
    """SS-09: the ticket waits, billing answers, and the SDK's agent writes the reply."""
    ticket = shop.cluster.accept("Where is my invoice?")
    assert shop.reply(ticket) == "Billing has looked for it."
    [part] = [shop.desk.find(child) for child in shop.desk.find(ticket.id).children]
    assert (part.assigned_to, part.body, part.state) == ("bela_billing", "Where is her invoice?", State.RESOLVED)
    assert "it is for billing, says the model" in str([line.reason for line in shop.desk.history(ticket.id)])


@pytest.mark.parametrize(
    ("body", "said"),
    [("This goes on for ever", "no answer in 8 turns"), ("Something strange", "the model's answer cannot be used")],
)
def test_a_run_without_an_end_or_an_answer_is_a_failed_attempt(shop: Shop, body: str, said: str) -> None:
    """SS-07, SS-09: the ticket goes back, with the reason; it is never closed by a model's fault."""
    ticket = shop.cluster.accept(body)

    def given_back() -> bool:
        return any(said in line.reason for line in shop.desk.history(ticket.id))

    shop.cluster.wait_until(given_back, what=said)
    assert shop.desk.find(ticket.id).is_open
    shop.desk.cancel(ticket.id, actor="person:lena_lead", reason="enough")


def test_the_same_agent_works_from_outside_over_http(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """SS-09, EN-14: `outside.py` fetches with `next`, and notes and reports with its token, by the key of one agent."""
    key = create_key(shop.cluster.connections.ledger, "agents_sdk", "olga", ["work"], agent="olga_outside")
    monkeypatch.setenv("SHIFTLEAD_URL", f"http://127.0.0.1:{shop.cluster.env['SHIFTLEAD_PORT']}")
    monkeypatch.setenv("SHIFTLEAD_KEY", key)
    # `import agents` is ours in this process, so the brain is stood in for; the worker above has the real one
    monkeypatch.setitem(sys.modules, "brain", SimpleNamespace(support=lambda work: Resolved(reply=work.ticket.body)))
    spec = spec_from_file_location("outside", EXAMPLE / "outside.py")
    assert spec is not None and spec.loader is not None
    outside = module_from_spec(spec)
    spec.loader.exec_module(outside)

    ticket = shop.cluster.accept("A question from outside", type="question")
    outside.work_on(Work.model_validate(outside.call("agents/olga_outside/next?wait_s=20", {})))
    assert shop.reply(ticket) == "A question from outside"
    story = shop.desk.history(ticket.id)
    assert "the SDK's agent says resolved" in [line.reason for line in story]
    with pytest.raises(urllib.error.HTTPError, match="409"):
        outside.call(f"tickets/{ticket.number}/heartbeat", {"token": 1})


def test_a_providers_429_makes_the_agent_busy_and_nobody_guilty(shop: Shop) -> None:
    """SS-09, I18: `Retry-After` is honoured; last, since the agent takes nothing more for that long."""
    ticket = shop.cluster.accept("busy")
    shop.cluster.wait_until(
        lambda: shop.desk.store.agent_states(["sofia_support"])["sofia_support"].busy_until, what="busy_until"
    )
    there = shop.cluster.in_state(ticket, State.READY)
    assert sum(there.attempts.model_dump().values()) == 0
    shop.desk.cancel(ticket.id, actor="person:lena_lead", reason="enough")
