"""Suggestions at the doors: who sees them, and what the command says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.api.app import create_app
from shiftlead.coordinator.api.auth import create_key
from shiftlead.coordinator.cli import doors
from shiftlead.coordinator.cli import enqueue as enqueue_cli
from shiftlead.coordinator.cli import similar as similar_cli
from shiftlead.queues.desk import Desk
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.views import LiveView
from tests.conftest import open_desk
from tests.desks import a_new_ticket, an_assigned_ticket

TEAM = "front_office"
SAID = {"title": "Charged twice for my order", "body": "The same order was charged twice on my card."}


@dataclass
class Connected:
    """The connections of a test."""

    settings: Settings
    client: Any
    ledger: Ledger
    desks: dict[str, Desk] = field(default_factory=dict)

    def desk(self, name: str) -> Desk:
        return self.desks[name]


@pytest.fixture
def connected(tmp_path: Path, clock: ManualClock) -> Iterator[Connected]:
    settings = Settings(home=tmp_path, acknowledge="redis")
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    made = Connected(settings, client, Ledger(settings.database_address))
    made.ledger.migrate()
    made.desks[TEAM] = open_desk(client, load_team(TEAM, settings), clock, settings, ledger=made.ledger)
    yield made
    made.ledger.close()


def test_the_door_suggests_to_a_reader_and_an_agent_sees_only_its_own(connected: Connected) -> None:
    """EN-02, I16: a key without `read` is refused, an agent's key is shown neither others' tickets nor their titles."""
    desk = connected.desks[TEAM]
    mine = an_assigned_ticket(desk, "iris_support", reporter="ada", **SAID)
    own = an_assigned_ticket(desk, "iris_support", reporter="bob", **SAID)
    foreign = a_new_ticket(desk, reporter="eve", **SAID)
    app = create_app(connected, [TEAM])  # type: ignore[arg-type]

    def numbers(http: TestClient, number: str, *scopes: str, agent: str | None = None) -> Any:
        secret = create_key(connected.ledger, TEAM, "test", scopes, agent)
        answer = http.get(f"/v1/tickets/{number}/similar", headers={"Authorization": f"Bearer {secret}"})
        return (
            sorted(s["number"] for s in answer.json()["similar"]) if answer.status_code == 200 else answer.status_code
        )

    with TestClient(app) as http:
        assert numbers(http, mine.number, "read") == [own.number, foreign.number]
        assert numbers(http, mine.number, "read", "work", agent="iris_support") == [own.number]
        assert numbers(http, foreign.number, "read", agent="iris_support") == 404
        assert numbers(http, mine.number, "enqueue") == 403


@pytest.fixture
def shell(connected: Connected, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The two commands, with the desk of the test behind their doors."""
    desk = connected.desks[TEAM]

    @contextmanager
    def view(run: Any) -> Iterator[doors.Looking]:
        yield doors.Looking(LiveView(desk), desk.clock.now(), True, desk)

    @contextmanager
    def door(run: Any) -> Iterator[Any]:
        yield doors.LocalDoor(desk)

    monkeypatch.setattr(doors, "open_view", view)
    monkeypatch.setattr(doors, "open_door", door)
    monkeypatch.setenv("SHIFTLEAD_HOME", str(connected.settings.home))
    app = typer.Typer()
    similar_cli.add(app)
    enqueue_cli.add(app)
    return app


def said(shell: typer.Typer, *arguments: str) -> str:
    result = CliRunner().invoke(shell, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_names_tickets_and_what_they_share(shell: typer.Typer, connected: Connected) -> None:
    """EN-02: suggestions only, with the words; nothing is joined by asking."""
    desk = connected.desks[TEAM]
    one, other = (a_new_ticket(desk, reporter=who, **SAID) for who in ("ada", "bob"))
    alone = a_new_ticket(desk, body="Where do I change my postal address?")

    text = said(shell, "similar", one.number)
    told = json.loads(said(shell, "similar", one.number, "--json"))

    assert other.number in text and "charg" in text and alone.number not in text
    assert [s["number"] for s in told["similar"]] == [other.number]
    assert "Nothing like" in said(shell, "similar", alone.number)
    assert desk.find(one.id).joined == []


def test_the_command_line_says_which_ticket_was_joined_and_why(
    shell: typer.Typer, connected: Connected, tmp_path: Path
) -> None:
    """EN-02: both requesters are kept, and the count of a file tells how many joined."""
    job = "https://ci.example/jobs/1173"
    first = json.loads(said(shell, "enqueue", "the job fails", "--reporter", "mia", "--link", job, "--json"))
    number = first["ticket"]["number"]
    text = said(shell, "enqueue", "CI mailed me", "--reporter", "tom", "--link", job)
    file = tmp_path / "more.jsonl"
    file.write_text(json.dumps({"body": "red", "links": [job]}) + "\n" + json.dumps({"body": "quite another"}) + "\n")
    many = said(shell, "enqueue", str(file))

    assert (first["created"], first["joined"]) == (True, False)
    assert f"joined {number} (the same link: {job}), both requesters are kept" in text
    assert "1 stored" in many and "1 joined open tickets" in many
