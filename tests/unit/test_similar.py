"""Suggestions at the doors: who sees them, and what the command says."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
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
from shiftlead.coordinator.api.rooms import belongs_to
from shiftlead.coordinator.cli import doors
from shiftlead.coordinator.cli import enqueue as enqueue_cli
from shiftlead.coordinator.cli import similar as similar_cli
from shiftlead.coordinator.inbox import inbox
from shiftlead.coordinator.similar import newest, rank
from shiftlead.queues.desk import Desk
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import Queue
from shiftlead.queues.ticket import Ticket
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


@pytest.mark.parametrize("look", [newest, inbox], ids=["likeness", "the inbox"])
def test_three_hundred_large_tickets_are_never_held_at_once(connected: Connected, look: Callable[[Desk], Any]) -> None:
    """I17: 75 MB of documents are looked through in a few."""
    desk = connected.desks[TEAM]
    fields = {"team": TEAM, "state": "waiting", "waits_for": "requester: an answer", "context": {"x": "x" * 125_000}}
    for n in range(300):
        ticket = Ticket.model_validate(fields | {"id": f"i{n}", "number": f"T-2026-{n:03}", "body": "y" * 125_000})
        connected.client.hset(desk.keys.ticket(ticket.id), "doc", ticket.model_dump_json())
        connected.client.zadd(desk.keys.queue(Queue.ACTIVE), {ticket.id: n})
    tracemalloc.start()
    try:
        found = look(desk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 300
    assert peak < 8_000_000
    assert getattr(found[0], "number", "") in ("T-2026-000", "T-2026-299")


def test_what_likeness_keeps_of_a_ticket_is_enough_for_the_door_and_the_ranking(connected: Connected) -> None:
    """EN-02, I16: the cut ticket is as visible, and as like, as the whole one."""
    desk = connected.desks[TEAM]
    own = an_assigned_ticket(desk, "iris_support", reporter="bob", links=["https://ci.example/jobs/1173"], **SAID)
    asked = a_new_ticket(desk, reporter="ada", **SAID)
    [kept] = [t for t in newest(desk) if t.id == own.id]
    assert belongs_to(kept, "iris_support") and not belongs_to(kept, "bela")
    assert rank(asked, [kept]) == rank(asked, [own]) != []


def test_the_door_knows_no_inbox_of_somebody_who_was_mistyped(connected: Connected) -> None:
    """EN-10: an empty list would say that nothing waits."""
    app = create_app(connected, [TEAM])  # type: ignore[arg-type]
    key = create_key(connected.ledger, TEAM, "test", ("approve",))
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as http:
        answer = http.get("/v1/inbox", params={"for": "felix_ceoo"})
        assert answer.status_code == 404 and "Did you mean 'felix_ceo'?" in answer.text
        assert http.get("/v1/inbox", params={"for": "felix_ceo"}).json() == []


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
