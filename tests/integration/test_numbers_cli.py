"""stats, brief and record on the command line: on a running data folder, on a stopped one, and over HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import typer
import uvicorn
from click.testing import Result
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from shiftlead.config.settings import Settings, get_settings
from shiftlead.config.team import Team
from shiftlead.coordinator.api import numbers as door
from shiftlead.coordinator.api.app import create_app
from shiftlead.coordinator.api.auth import create_key
from shiftlead.coordinator.cli import cost, numbers, tickets
from shiftlead.coordinator.cli.output import command, group
from shiftlead.queues.connect import Connections
from shiftlead.queues.spending import Spending, Step, day_of
from tests.telling import DEVIN, FELIX, IRIS, Told, a_morning

pytestmark = pytest.mark.real
Call = Callable[..., Result]


@dataclass
class House:
    """A data folder with a morning in it, its server, and the command line on it."""

    told: Told
    settings: Settings
    run: Call

    def key(self, *scopes: str, agent: str | None = None, team: str = "") -> str:
        name = f"{'-'.join(scopes)}-{agent}"
        return create_key(self.told.ledger, team or self.told.team.team, name, scopes, agent)


@pytest.fixture
def house(
    valkey: redis.Redis, valkey_address: str, team: Team, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    for name, value in (("HOME", str(short_folder)), ("REDIS_URL", valkey_address), ("TEAM", team.team)):
        monkeypatch.setenv(f"SHIFTLEAD_{name}", value)
    for name in ("URL", "KEY", "DATABASE_URL"):
        monkeypatch.delenv(f"SHIFTLEAD_{name}", raising=False)
    get_settings.cache_clear()
    settings = Settings(acknowledge="redis")
    told = Told(valkey, team, settings, start=time.time() - 7_200)
    a_morning(told)
    told.recorded()
    app = typer.Typer()
    for part in (numbers, cost, tickets):
        part.add(app)
    agents = group(app, "agents", "The agents.")
    command(agents, "record", examples=numbers.RECORD_EXAMPLES)(numbers.record_command)

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner(env={"COLUMNS": "140"}).invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    yield House(told, settings, run)
    told.ledger.close()
    get_settings.cache_clear()


def test_stats_show_every_number_beside_its_reference(house: House) -> None:
    """EN-13, SD-14: a number nobody recorded is a dash."""
    said = json.loads(house.run("stats", "--json").stdout)
    assert (said["arrived"], said["completed"]["resolved"], said["unaided_share"]) == (5, 2, 0.5)
    assert said["first_reply"]["mean_s"] == pytest.approx(70)
    assert said["csat"] is None and said["cost_per_ticket"] is None

    shown = house.run("stats", "--since", "7d").stdout
    for name, value, reference in (
        ("without a person", "50% (1)", "73%"),
        ("first reply", "mean 1m 10s", "mean 1m 47s"),
        ("satisfaction", "-", "4.2 of 5"),
        ("cost per ticket", "-", "$0.34"),
        ("approvals", "1 asked · 1 yes · 0 no · 0 expired", ""),
    ):
        line = next(line for line in shown.splitlines() if line.startswith(name))
        assert value in line and line.rstrip().endswith(reference)
    assert any(line.startswith(IRIS) and "1m 30s" in line for line in shown.splitlines())


def test_what_people_said_and_what_models_cost_stand_in_every_number(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SD-13, SD-14, EN-12, SS-08: outcome, outcomes, cost, show, stats and record tell the same story."""
    monkeypatch.setenv("SHIFTLEAD_ACKNOWLEDGE", "redis")
    get_settings.cache_clear()
    told = house.told
    ticket = next(t for t in told.ledger.tickets(told.team.team, state="resolved") if t.title == "simple")
    took = Step(
        ticket_id=ticket.id, life=1, token=7, number=ticket.number, trace_id=ticket.trace_id, agent=IRIS,
        began_at=time.time() - 60, day=day_of(time.time() - 60), report="resolved", prompt="a-0123456789ab",
        variant="a", models={"large": [2, 1200, 34, 5_000_000]}, calls=2, input_tokens=1200, output_tokens=34,
        cost=5_000_000, condensed=12, left_out=3, summary="as it was told",
    )  # fmt: skip
    Spending(told.ledger, told.team.team).write([took])
    assert "csat 4" in house.run("outcome", ticket.number, "--accepted", "--csat", "4", "--comment", "fine").stdout
    assert "resolved" not in house.run("outcome", ticket.number, code=2).stdout  # nothing is said
    told.recorded()

    shown = house.run("show", ticket.number).stdout
    assert "accepted True, csat 4" in shown and "12 lines" in shown and "0.0050" in shown and "a-0123456789ab" in shown
    [step] = json.loads(house.run("show", ticket.number, "--json").stdout)["cost"]["steps"]
    assert (step["summary"], step["report"]) == ("as it was told", "resolved")
    shown = house.run("cost", "--by", "agent").stdout
    assert "1,200" in shown and "0.0050" in shown
    assert json.loads(house.run("cost", "--by", "model", "--json").stdout)["costs"][0]["key"] == "large"
    shown = house.run("outcomes").stdout
    assert f"{IRIS}: a-0123456789ab" in shown and "100% of 1" in shown
    assert "4.0 of 5 (1 said)" in house.run("stats").stdout
    assert "1 accepted" in house.run("agents", "record", IRIS).stdout
    house.run("cost", "--by", "moon", code=2)


def test_arrivals_are_drawn_without_colour_and_counted_in_figures(house: House) -> None:
    """EN-13: a bar an hour, a line a day; a reader who sees no bars has the numbers."""
    shown = house.run("stats").stdout
    assert "Arrivals per hour, the tallest bar is 5" in shown
    plot = [line for line in shown.splitlines() if "█" in line]
    assert len(plot) == 1 and plot[0].count("█") == 1 and "(5)" in plot[0]
    assert "\x1b" not in shown


def test_a_brief_is_four_parts_at_the_command_line(house: House) -> None:
    """FO-14, EN-13."""
    shown = house.run("brief", "--for", FELIX).stdout
    for heading in ("1. What happened", "2. What waits for you", "3. What is late", "4. What was decided"):
        assert heading in shown
    assert "yes by ann: she is right" in shown and "past due" in shown
    said = json.loads(house.run("brief", "--for", FELIX, "--json").stdout)
    assert (said["who"], said["numbers"]["arrived"]) == (FELIX, 5)
    assert [item["note"] for item in said["decided"]["items"]] == ["yes by ann: she is right"]
    assert said["late"]["items"][0]["note"].startswith("past due, escalated 1x: ")


def test_a_record_is_shown_by_type_and_ticket(house: House) -> None:
    """FO-15."""
    said = json.loads(house.run("agents", "record", IRIS, "--json").stdout)
    assert (said["completed"], said["failed"], said["handed_on"]) == (2, 1, 1)
    shown = house.run("agents", "record", IRIS).stdout
    assert "2 completed · 1 failed · 1 handed on" in shown and "simple" in shown
    assert "It had no tickets." in house.run("agents", "record", FELIX).stdout


def test_a_wrong_name_or_time_is_told(house: House) -> None:
    assert "Did you mean 'felix_ceo'?" in house.run("brief", "--for", "felix", code=3).stderr
    assert "Did you mean 'iris_support'?" in house.run("agents", "record", "iris_suport", code=3).stderr
    assert "write 30_minutes, 5m, 4h or 2d" in house.run("stats", "--since", "yesterday", code=2).stderr


def test_a_stopped_data_folder_still_has_its_numbers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: the ledger alone tells them."""
    before = json.loads(house.run("agents", "record", IRIS, "--json").stdout)
    monkeypatch.setenv("SHIFTLEAD_REDIS_URL", f"unix://{house.settings.home}/nobody.sock")
    stats = house.run("stats", "--json")
    assert json.loads(stats.stdout)["arrived"] == 5 and "Nothing runs on" in stats.stderr
    assert json.loads(house.run("brief", "--for", FELIX, "--json").stdout)["decided"]["total"] == 1
    after = json.loads(house.run("agents", "record", IRIS, "--json").stdout)
    assert after | {"since": 0} == before | {"since": 0}


@pytest.fixture
def http(house: House) -> Iterator[FastAPI]:
    """The application of the HTTP door with the numbers in it."""
    connections = Connections(house.settings)
    app = create_app(connections, [house.told.team.team])
    if "/v1/stats" not in {getattr(route, "path", "") for route in app.routes}:
        app.include_router(door.router)
    yield app
    connections.close()


def test_the_same_numbers_come_from_another_machine(
    house: House, http: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 8: SHIFTLEAD_URL and SHIFTLEAD_KEY."""
    here = [json.loads(house.run(*call, "--json").stdout) for call in CALLS]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(http, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            monkeypatch.setenv("SHIFTLEAD_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
            monkeypatch.setenv("SHIFTLEAD_KEY", house.key("read"))
            there = [json.loads(house.run(*call, "--json").stdout) for call in CALLS]
            assert "50% (1)" in house.run("stats").stdout
            assert "Did you mean" in house.run("brief", "--for", "felix", code=3).stderr
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()
    for mine, theirs in zip(here, there, strict=True):
        assert _timeless(mine) == _timeless(theirs)


CALLS = (
    ["stats"], ["brief", "--for", FELIX], ["agents", "record", IRIS], ["cost", "--by", "agent"], ["outcomes"],
)  # fmt: skip


def _timeless(said: dict[str, object]) -> dict[str, object]:
    """Without what depends on the moment it was asked."""
    moving = ("since", "until", "now", "numbers", "age_by_queue", "age_by_state", "in_state_s", "agents", "arrivals")
    return {k: v for k, v in said.items() if k not in moving}


def test_an_agents_key_sees_its_own_numbers_and_no_others(house: House, http: FastAPI) -> None:
    """I16: scope read; the team's numbers are not an agent's, another's record is refused, another team unseen."""
    iris = _bearer(house.key("read", agent=IRIS))
    lead, stranger = _bearer(house.key("read")), _bearer(house.key("read", team="two_agent"))
    with TestClient(http) as client:

        def status(path: str, headers: dict[str, str]) -> int:
            return client.get(path, headers=headers).status_code

        for path in ("/v1/stats", f"/v1/brief?who={FELIX}", f"/v1/agents/{IRIS}/record"):
            assert status(path, {}) == 401
            assert status(path, lead) == 200
            assert status(path, stranger) == 404
            assert status(path, _bearer(house.key("enqueue"))) == 403
        assert status("/v1/stats", iris) == 403
        assert status(f"/v1/brief?who={FELIX}", iris) == 403
        assert status(f"/v1/agents/{DEVIN}/record", iris) == 403
        assert client.get(f"/v1/agents/{IRIS}/record", headers=iris).json()["completed"] == 2
        own = client.get(f"/v1/brief?who={IRIS}", headers=iris).json()
        assert own["numbers"] is None and own["decided"]["total"] == 0
        assert status("/v1/stats?since=forever", lead) == 422
        assert status("/v1/brief?who=nobody", lead) == 404


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
