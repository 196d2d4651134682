"""The same team with a model behind an address: what goes over the wire, and what comes of it (SS-04, SS-06, SS-09)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest

from shiftlead.agents.bidding import BID
from shiftlead.agents.llm_call import abilities_of, close_clients
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.stub_answers import Script
from shiftlead.coordinator.stub_llm import StubLlm
from shiftlead.queues.lifecycle import State
from tests.switchboard import Switchboard

MODELS = "agents: {" + ", ".join(f"{name}: {{brain: openai}}" for name in ("triage", "sales", "support", "billing"))
ASKS = [
    {"type": BID, "to": name, "needs": [], "title": "Is this yours?", "question": "About my account"}
    for name in ("sales", "billing")
]


def hand_off(*parts: dict[str, Any], why: str, **values: Any) -> dict[str, Any]:
    base = {"kind": "hand_off", "needs": [], "to": None, "title": "", "question": "", "type": "handoff"}
    return base | {"packet": None, "why": why, "parts": list(parts)} | values


def part(need: str, question: str) -> dict[str, Any]:
    return {"needs": [need], "to": None, "title": "", "question": question, "type": "handoff"}


def resolved(reply: str, *evidence: str) -> dict[str, Any]:
    return {"kind": "resolved", "reply": reply, "summary": reply, "evidence": list(evidence),
            "requires_escalation": False, "reason": "", "follow_ups": []}  # fmt: skip


def bid(take: bool, why: str, confidence: float, instead: str = "") -> dict[str, Any]:
    return {"kind": "bid", "take": take, "why": why, "confidence": confidence, "instead": instead}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    abilities_of.cache_clear()
    yield
    close_clients()


def at_work(stub: StubLlm, settings: Settings) -> Switchboard:
    more = settings.home / "models.yaml"
    more.write_text(MODELS + "}\n")
    settings = settings.model_copy(update={"openai_base_url": stub.url, "openai_model": "stub-large"})
    team = load_team("sales_and_support", settings, overlay=more)
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    return Switchboard(client, team, settings)


def said_to(agent: str) -> str:
    """What the prompt of that agent begins with."""
    return rf"\AYou are {agent}, "


def kinds(call: dict[str, Any]) -> list[str]:
    schema = call["response_format"]["json_schema"]
    assert schema["strict"] is True
    parts = schema["schema"]["properties"]["report"]
    return [p["properties"]["kind"]["enum"][0] for p in parts.get("anyOf", [parts])]


def test_a_model_gives_out_two_parts_and_writes_one_reply_at_its_own_temperature(settings: Settings) -> None:
    """SS-03, SS-06: routing at 0.3 in a forced schema, sales at 0.7, with examples in the instructions."""
    script = Script([
        {"said": said_to("triage"), "times": 1, "answer": hand_off(
            part("sales", "What does the Business plan cost?"), part("billing", "Where is my invoice?"),
            why="sales: asks for a price; billing: asks for an invoice")},
        {"said": said_to("sales"), "answer": resolved("It costs 15 euros.")},
        {"said": said_to("billing"), "answer": resolved("Under Settings.")},
        {"said": said_to("triage"), "answer": resolved("It costs 15 euros, and the invoice is under Settings.",
                                                       "sales: 15 euros", "billing: Settings")},
    ])  # fmt: skip
    with StubLlm(script) as stub:
        desk = at_work(stub, settings)
        ticket_id = desk.brings("What does the Business plan cost? And where is my invoice?", customer="Mia")
        calls = {c["messages"][0]["content"].split(",")[0]: c for c in stub.calls}
        counts = dict(stub.counts)
    ticket = desk.find(ticket_id)
    assert ticket.state is State.RESOLVED and counts == {"answered": 4}
    assert [t.assigned_to for t in desk.parts(ticket_id)] == ["sales", "billing"]
    assert desk.line(ticket_id, "hand_off").reason == "sales: asks for a price; billing: asks for an invoice"
    assert desk.reply(ticket_id) == "It costs 15 euros, and the invoice is under Settings."

    heat = {who: call["temperature"] for who, call in calls.items()}
    assert heat == {"You are triage": 0.3, "You are sales": 0.7, "You are billing": 0.2}
    routing = calls["You are triage"]
    assert "hand_off" in kinds(routing) and "reviewed" not in kinds(routing) and "bid" not in kinds(routing)
    system = routing["messages"][0]["content"]
    assert '"My invoice for March shows 14 seats, we are 12." -> `needs: [billing]`' in system
    assert "colleagues: sales (sales); support (support)" in routing["messages"][1]["content"]


def test_a_model_bids_in_a_forced_schema_and_may_decline_in_another(settings: Settings) -> None:
    """SS-04: a ticket of type `bid` has no other answer; what it was handed it may decline with whose it is."""
    script = Script([
        {"said": said_to("triage"), "times": 1, "answer": hand_off(*ASKS, why="unclear, so two are asked")},
        {"said": said_to("sales"), "answer": bid(False, "no price is asked for", 0.8, "billing")},
        {"said": said_to("billing"), "answer": bid(True, "he is my customer", 0.9)},
        {"said": said_to("triage"), "times": 1, "answer": hand_off(why="billing bids 0.9", needs=["billing"],
                                                                   question="About my account")},
        {"said": said_to("triage"), "answer": resolved("Somebody will call you.")},
    ])  # fmt: skip
    with StubLlm(script) as stub:
        desk = at_work(stub, settings)
        ticket_id = desk.brings("About my account")
        bids = [c for c in stub.calls if kinds(c)[0] == "bid"]
        done = [c for c in stub.calls if c["messages"][0]["content"].startswith("You are billing") and c not in bids]
        story = json.dumps([c["messages"][1]["content"] for c in stub.calls])
    assert len(bids) == 2 and all(kinds(call) == ["bid", "failed"] for call in bids)
    summaries = [str((t.result or {})["summary"]) for t in desk.parts(ticket_id, BID)]
    assert summaries == ["no (0.80): no price is asked for; rather billing", "yes (0.90): he is my customer"]
    assert "he is my customer" in story, "the manager reads the bids before it decides"
    assert done, "billing was given the work"
    [given] = desk.parts(ticket_id)
    back = [line.reason for line in desk.desk.history(given.id) if line.move == "give_back"]
    assert '`kind` is "bid"' in back[0], "a model that answers its own part with `take: true` has done nothing"
    assert given.assigned_to == "support", "so somebody else does it"


def test_a_declined_part_is_asked_of_the_next_by_an_offline_manager(settings: Settings) -> None:
    """SS-04: models and the offline manager work on one team; the schema offers a `bid` where it may decline."""
    script = Script([
        {"said": said_to("billing"), "answer": bid(False, "the app fails, not the payment", 0.9, "support")},
        {"said": said_to("support"), "answer": resolved("Update the app.")},
    ])  # fmt: skip
    with StubLlm(script) as stub:
        more = settings.home / "models.yaml"
        more.write_text("agents: {support: {brain: openai}, billing: {brain: openai}}\n")
        settings = settings.model_copy(update={"openai_base_url": stub.url})
        team = load_team("sales_and_support", settings, overlay=more)
        client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
        desk = Switchboard(client, team, settings)
        ticket_id = desk.brings("My payment failed")
        first, second = (kinds(call) for call in stub.calls)
    assert "bid" in first and "bid" not in second, "nobody stands behind the second one"
    assert "Update the app." in desk.reply(ticket_id)
