"""`shiftlead knowledge`: what matched and from where, what is indexed, how sure it is by its outcomes (TP-03)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import typer
from typer.testing import CliRunner

from shiftlead.agents.knowledge import Knowledge
from shiftlead.agents.offline import OfflineBrain
from shiftlead.agents.work import build_work
from shiftlead.config.settings import Settings, get_settings
from shiftlead.config.team import SHIPPED, load_team
from shiftlead.coordinator.cli import knowledge
from shiftlead.queues.knowledge_outcomes import outcomes
from shiftlead.queues.outcomes import Feedback, record_outcome
from shiftlead.queues.report import Report, Resolved
from shiftlead.queues.ticket import Ticket
from tests.desks import a_new_ticket, triaged
from tests.telling import Told

TEAM = """
team: shop
agents:
  ann: {role: support, can: [help]}
  bob: {role: support, can: [fees], knowledge: [fees]}
routes: [{needs: [help]}]
"""
PAGE = "lost-or-stolen-card.md / Lost or stolen card or phone > At once"
DAY = 86_400.0


@dataclass
class House:
    """A data folder with a team, a ledger, and the command line on it."""

    told: Told
    folder: Path
    run: Callable[..., Any]

    def ask(self, title: str, **fields: Any) -> Ticket:
        ticket = a_new_ticket(self.told.desk, title=title, **({"customer": "mia"} | fields))
        return self.told.begun(triaged(self.told.desk, ticket, needs=("help",)), "ann")

    def answered(self, ticket: Ticket, report: Report | None = None) -> Ticket:
        """By the offline brain, unless told otherwise."""
        brain = OfflineBrain("support", Knowledge(self.folder / "knowledge"))
        return self.told.says(ticket, report or brain.handle(build_work(self.told.desk, ticket, self.told.team)))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    folder = tmp_path / "teams" / "shop"
    shutil.copytree(SHIPPED / "front_office" / "knowledge", folder / "knowledge")
    (folder / "fees").mkdir()
    (folder / "team.yaml").write_text(TEAM)
    (folder / "fees" / "fees.md").write_text("# Fees\n## Wire fee\nA wire costs 3.\n")
    given = {"HOME": tmp_path / "data", "TEAMS": tmp_path / "teams", "TEAM": "shop"}
    for name, value in given.items():
        monkeypatch.setenv(f"SHIFTLEAD_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "140")
    for name in ("URL", "KEY", "DATABASE_URL", "OVERLAY"):
        monkeypatch.delenv(f"SHIFTLEAD_{name}", raising=False)
    get_settings.cache_clear()
    settings = Settings(acknowledge="redis")
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    told = Told(client, load_team("shop", settings), settings, start=time.time() - 3 * DAY)
    app = typer.Typer()
    knowledge.add(app)

    def run(*arguments: str, code: int = 0) -> Any:
        told.recorded()
        result = CliRunner().invoke(app, ["knowledge", *arguments], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments and code == 0 else result.output

    yield House(told, folder, run)
    told.ledger.close()
    get_settings.cache_clear()


def test_search_prints_what_matched_with_source_score_and_confidence(house: House) -> None:
    past = house.answered(house.ask("Umbrella broken by wind"), Resolved(reply="We send a new umbrella.", summary="x"))
    said = house.run("search", "my card was stolen")
    assert f"page: {PAGE}" in said and "stolen" in said
    [hit] = house.run("search", "umbrella wind", "--json")["hits"]
    assert (hit["kind"], hit["source"], hit["text"]) == ("ticket", past.number, "We send a new umbrella.")
    assert 0 < hit["confidence"] < 1 and set(hit["matched"]) == {"umbrella", "wind"}
    assert "Nothing that is known" in house.run("search", "zebra")


def test_an_agents_search_has_its_own_pages_only(house: House) -> None:
    """FO-15."""
    hits = house.run("search", "wire fee", "--agent", "ann", "--json")["hits"]
    assert hits and all(hit["page"] != "fees.md" for hit in hits)
    [hit] = house.run("search", "wire fee", "--agent", "bob", "--json")["hits"]
    assert hit["source"] == "fees.md / Fees > Wire fee"
    assert "no agent 'eve'" in house.run("search", "x", "--agent", "eve", code=3)


def test_status_tells_what_is_indexed_and_which_file_is_not(house: House) -> None:
    house.answered(house.ask("Umbrella broken"), Resolved(reply="We send a new umbrella.", summary="x"))
    (house.folder / "knowledge" / "faq.yaml").write_text("- {question: 'Open on Sundays?', answer: 'No.'}\n")
    found = house.run("status", "--json")
    assert (found["pages"], found["faqs"], found["tickets"], found["behind"]) == (16, 1, 1, 0)
    (house.folder / "knowledge" / "faq.yaml").write_text("- {question: 'Open on Sundays?'}\n")
    assert "faq.yaml, line 1" in house.run("status", "--json")["problems"]["faq.yaml"]
    assert "1 resolved" in house.run("status")


def test_the_reply_cites_its_source_and_outcomes_bend_the_confidence(house: House) -> None:
    """TP-03: confidence calibrated on outcomes: accepted and reopened replies, from fifty on."""
    before = house.run("search", "How do I freeze my card?", "--json")["hits"][0]["confidence"]
    assert "0 outcomes" in house.run("calibrate")
    for n in range(54):
        done = house.answered(
            house.ask("Freeze my card", body=f"How do I freeze my card? ({n + 100})", customer=f"c{n}")
        )
        assert f"(From our pages: {PAGE})" in (done.result or {})["reply"]
        if n % 3:
            house.told.desk.reopen(done.id, actor="person:lead", reason="it did not help")
    house.answered(house.ask("Where is my tortoise"))  # no answer known: it teaches nothing about pages
    house.told.recorded()
    found = outcomes(house.told.ledger, "shop", since=0, now=time.time())
    assert (len(found), sum(o.right for o in found)) == (54, 18)
    made = house.run("calibrate", "--json")["calibrated"]["page"]
    assert (made["rows"], made["right"]) == (54, 18) and made["brier"] < made["brier_before"]
    after = house.run("search", "How do I freeze my card?", "--json")["hits"][0]["confidence"]
    assert after < before - 0.2
    assert "page on 54 outcomes" in house.run("status")


def test_an_answer_of_today_is_not_yet_an_accepted_one(house: House) -> None:
    """Unless somebody says so, who may also know better."""
    house.told.at(3 * DAY - 60)
    ticket = house.answered(house.ask("How do I freeze my card?"))
    house.told.recorded()
    assert outcomes(house.told.ledger, "shop", since=0, now=time.time()) == []
    for said, right in ((Feedback(csat=5), True), (Feedback(csat=1), False), (Feedback(accepted=True), True)):
        record_outcome(house.told.desk, ticket.trace_id, said, actor="person:ann")
        house.told.recorded()
        [found] = outcomes(house.told.ledger, "shop", since=0, now=time.time())
        assert (found.right, found.kind, found.number) == (right, "page", ticket.number)


def test_without_a_ledger_the_pages_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTLEAD_HOME", str(tmp_path / "none"))
    get_settings.cache_clear()
    app = typer.Typer()
    knowledge.add(app)
    run = CliRunner()
    said = run.invoke(app, ["knowledge", "search", "my card was stolen", "--team", "front_office", "--json"])
    assert json.loads(said.stdout)["hits"][0]["page"] == "lost-or-stolen-card.md" and not (tmp_path / "none").exists()
    assert run.invoke(app, ["knowledge", "status", "--team", "front_office"]).exit_code == 5
    get_settings.cache_clear()
