"""Texts are erased everywhere we keep them, byte for byte, and the ledger still proves what happened."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from shiftlead.config.clock import ManualClock
from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings, get_settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.cli import housekeeping
from shiftlead.coordinator.notify import Notices
from shiftlead.queues import erasing
from shiftlead.queues.desk import Desk
from shiftlead.queues.erasing import KEPT, TOMBSTONE, erase, tombstone
from shiftlead.queues.errors import BadInput, NotRecorded, Refused
from shiftlead.queues.flow_steps import begin
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_tables import METADATA
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.ledger_writer import LedgerWriter
from shiftlead.queues.lifecycle import State
from shiftlead.queues.outcomes import Feedback, record_outcome
from shiftlead.queues.rebuild import rebuild
from shiftlead.queues.recorded import Recorded
from shiftlead.queues.refusals import RefusalCounter
from shiftlead.queues.report import HandOff, Packet, Resolved
from shiftlead.queues.retention import Retention
from shiftlead.queues.review import Review
from shiftlead.queues.spending import Spending, Step
from shiftlead.queues.ticket import Draft, Ticket
from tests.conftest import running_server
from tests.desks import a_new_ticket, a_working_ticket, assigned, triaged

pytestmark = pytest.mark.real
TEAM = "front_office"
CANARY = b"canary-0x5eed"
WORD = CANARY.decode()
ANN: dict[str, Any] = {"actor": "person:ann", "reason": "the customer asked for it"}


@dataclass
class Office:
    """An installation of our own: a server that writes its file, a ledger, its writer, and a folder for it all."""

    folder: Path
    desk: Desk
    ledger: Ledger
    clock: ManualClock
    client: Any
    stop: threading.Event
    thread: threading.Thread

    def found_in(self) -> set[str]:
        """The files that have the canary in some byte, and `redis` where a key or a value has it."""
        files = [p for p in self.folder.rglob("*") if p.is_file()]
        found = {p.name for p in files if CANARY in p.read_bytes()}
        raw = redis.Redis(unix_socket_path=str(self.folder / "r.sock"))
        for key in raw.scan_iter(count=1000):
            kind = raw.type(key)
            held: Any = {
                b"string": raw.get, b"hash": raw.hgetall, b"set": raw.smembers, b"stream": raw.xrange,
                b"zset": lambda k: raw.zrange(k, 0, -1), b"list": lambda k: raw.lrange(k, 0, -1),
            }[kind](key)  # fmt: skip
            if CANARY in key or WORD in repr(held):
                found.add("redis")
        raw.close()
        return found


@pytest.fixture
def office(short_folder: Path) -> Iterator[Office]:
    settings = Settings(home=short_folder)
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with running_server(short_folder, *options) as address:
        client, clock, team = make_client(address, settings), ManualClock(), load_team(TEAM, settings)
        ledger, writing = Ledger(settings.database_address), Ledger(settings.database_address)
        ledger.migrate()

        # As SQLite is built in most places: what a writer replaces stays in free space of the file.
        @sa.event.listens_for(writing.engine, "connect")
        def careless(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA secure_delete=OFF")

        recorded = Recorded(client, Desk(client, team, clock=clock, settings=settings).keys, settings)
        desk = Desk(client, team, clock=clock, settings=settings, ledger=ledger, recorded=recorded)
        epoch = rebuild(desk.store, ledger, now=clock.now(), why="first start").epoch
        stop = threading.Event()
        writer = LedgerWriter(writing, client, desk.keys, epoch, clock, settings)
        thread = threading.Thread(target=writer.run, args=(stop,), daemon=True)
        thread.start()
        yield Office(short_folder, desk, ledger, clock, client, stop, thread)
        stop.set()
        thread.join(10)
        recorded.close()
        for opened in (ledger, writing):
            opened.close()
        client.close()


def a_told_story(office: Office) -> tuple[Ticket, Ticket]:
    """A completed ticket and its completed part, with the canary in every text somebody can write."""
    desk = office.desk
    fields: dict[str, Any] = {
        "title": f"title {WORD}", "body": f"body {WORD} " * 400, "reporter": f"{WORD}@example.org",
        "customer": f"customer {WORD}", "urgency": f"soon {WORD}", "component": f"part {WORD}",
        "links": [f"https://example.org/{WORD}/4711"], "context": {"order": WORD, WORD: {"deep": [WORD]}},
    }  # fmt: skip
    ticket = desk.accept(Draft.model_validate(fields), actor="door:http:shop", key=f"key {WORD}").ticket
    again = desk.accept(Draft.model_validate(fields), actor="door:email", key=f"another key {WORD}")
    assert again.joined
    triaged(desk, ticket, summary=f"summary {WORD}")
    desk.note(ticket.id, f"note {WORD}", actor="person:ann", also=WORD)
    ticket = desk.claim(assigned(desk, desk.find(ticket.id), "iris_support").id, "iris_support", "w1")
    packet = Packet(task_id=ticket.id, impact_summary=WORD, evidence_snippets=[WORD], state={"what": WORD})
    report = HandOff(to="devin_engineering", title=WORD, question=f"why {WORD}", packet=packet)
    parent = desk.report(ticket.id, ticket.token, report, agent="iris_support")
    part = desk.find(parent.children[0])
    part = assigned(desk, triaged(desk, part, needs=("bug",)), "devin_engineering")
    part = desk.claim(part.id, "devin_engineering", "w2")
    desk.report(part.id, part.token, Resolved(reply=WORD, evidence=[WORD]), agent="devin_engineering")
    desk.cancel(parent.id, actor="person:ann", reason=f"done by phone with {WORD}")
    Notices(desk.settings, desk.team).tell("felix_ceo", desk.find(parent.id), f"late: {WORD}", at=1.0)
    row = {"team": TEAM, "id": 1, "stream_id": "1-1", "reason": f"DataError: {WORD}", "at": 1.0}
    fields_ = json.dumps(["1", part.id, "9", WORD, WORD, ""])
    with office.ledger.engine.begin() as connection:
        connection.execute(METADATA.tables["quarantine"].insert().values(**row, fields=fields_))
    with office.ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
    return desk.find(parent.id), desk.find(part.id)


def test_no_byte_of_a_text_is_left_in_the_ledger_in_redis_or_in_its_file(office: Office) -> None:
    """EN-15, I7, I24: the whole family, also what older versions of its rows left in the files."""
    ticket, part = a_told_story(office)
    other = office.desk.accept(Draft(title="somebody else's"), actor="door:test", key="k").ticket
    before = office.found_in()
    assert {"ledger.db", "notices.jsonl", "redis"} <= before
    assert any("aof" in name for name in before)

    done = erase(office.desk, part.number, **ANN)

    assert office.found_in() == set()
    assert done.numbers == sorted([ticket.number, part.number]) and done.left == []
    assert (done.keys, done.quarantined, done.notices) == (2, 1, 1)
    found = verify(office.ledger, TEAM)
    assert [p.kind for p in found.problems] == ["quarantined"], "as before: the refused line is still known"
    assert office.desk.find(other.id).title == "somebody else's"
    assert office.desk.history(other.id)[0].detail["title"] == "somebody else's"


def test_who_erased_when_and_why_stays(office: Office) -> None:
    """EN-15, I7: a line of its own, and the ticket says so wherever it is shown."""
    ticket, part = a_told_story(office)

    erase(office.desk, ticket.number, **ANN)

    for erased in (office.desk.find(ticket.id), office.desk.find(part.id)):
        assert erased.title == TOMBSTONE
        assert erased.reason == "erased on 2027-01-15 by person:ann: the customer asked for it"
        *lines, last = office.desk.history(erased.id)
        assert (last.move, last.actor, last.reason) == ("erase", "person:ann", "the customer asked for it")
        assert last.detail == {"family": sorted([ticket.number, part.number])}
        assert all(line.reason == "" and set(line.detail) == {"erased_at"} for line in lines)
        assert [line.seq for line in lines] == list(range(1, last.seq))
    moves = [line.move for line in office.desk.history(ticket.id)]
    assert moves == ["accept", "join", "triage", "note", "assign", "claim", "hand_off", "cancel", "erase"]


def test_a_rebuild_brings_no_text_back(office: Office) -> None:
    """EN-15, I8"""
    ticket, part = a_told_story(office)
    erase(office.desk, ticket.number, **ANN)
    office.stop.set()
    office.thread.join(10)
    office.client.flushall()

    rebuild(office.desk.store, office.ledger, now=office.clock.now(), why="flushed")

    assert office.found_in() == set()
    assert office.desk.find(part.number).title == TOMBSTONE
    assert office.desk.find(ticket.number).state is State.CANCELLED


@pytest.mark.parametrize("step", ["erase_texts", "clean", "_forget_keys", "_rewrite_aof", "erase_notices"])
def test_an_erasure_that_was_broken_off_is_completed_by_the_same_command(
    office: Office, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """EN-15, I1: whichever step it ended before."""
    ticket, _ = a_told_story(office)

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(erasing, step, dies)
        erase(office.desk, ticket.number, **ANN)
    assert office.found_in() != set() or step == "erase_notices"

    erase(office.desk, ticket.number, **ANN)

    assert office.found_in() == set()
    moves = [line.move for line in office.desk.history(ticket.id)]
    assert moves.count("erase") == 1, "it is told once"


def test_a_turn_that_goes_on_after_the_erasure_brings_no_summary_back(office: Office) -> None:
    """EN-15, TP-10: the brain of a cancelled ticket thinks on, and each call writes its step. What it took stays."""
    ticket, _ = a_told_story(office)
    record_outcome(office.desk, ticket.id, Feedback(csat=1, comment=WORD), actor="person:ann")
    spending = Spending(office.ledger, TEAM)
    step = Step(ticket.id, ticket.life, 1, ticket.number, ticket.trace_id, "iris_support", 1.0, "2027-01-15")
    spending.write([replace(step, calls=1, summary=WORD)])
    erase(office.desk, ticket.number, **ANN)
    spending.write([replace(step, calls=2, summary=WORD), replace(step, token=2, calls=1, summary=WORD)])
    assert [(s.calls, s.summary) for s in spending.of(ticket.id)] == [(2, ""), (1, "")]
    assert office.found_in() == set()
    again = replace(step, life=ticket.life + 1, summary="of its next life")
    spending.write([again])
    assert again in spending.of(ticket.id)


def test_an_erasure_waits_until_the_ledger_has_what_is_on_its_way(office: Office) -> None:
    """EN-15: otherwise the writer would bring the texts back after they were erased."""
    ticket, _ = a_told_story(office)
    office.stop.set()
    office.thread.join(10)
    office.desk.settings = office.desk.settings.model_copy(update={"record_timeout_s": 0.3})

    with pytest.raises(NotRecorded):
        erase(office.desk, ticket.number, **ANN)

    assert "erased_at" not in office.desk.history(ticket.id)[0].detail


def test_a_ticket_that_left_redis_is_erased_too(office: Office) -> None:
    """EN-15"""
    ticket, part = a_told_story(office)
    office.clock.advance(2)
    with office.ledger.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(METADATA.tables["ticket"])).scalar() == 2
    gone = Retention(office.desk.store, office.ledger).retire(before=office.clock.now())
    assert gone == 2

    erase(office.desk, ticket.number, **ANN)

    assert office.found_in() == set()
    assert office.desk.find(part.id).title == TOMBSTONE


def test_an_open_ticket_of_the_family_forbids_it(office: Office) -> None:
    """EN-15: whoever works on it needs the words; cancel it first."""
    desk = office.desk
    working = a_working_ticket(desk, title="the matter")
    parent = desk.report(working.id, working.token, HandOff(to="devin_engineering", question="?"), agent="iris_support")
    part = desk.find(parent.children[0])
    desk.cancel(part.id, actor="person:ann", reason="not needed")
    before = desk.history(part.id)

    with pytest.raises(Refused, match=rf"{parent.number} \(waiting\).*shiftlead cancel {parent.number}"):
        erase(desk, part.number, **ANN)
    with pytest.raises(Refused, match="it is open"):
        erase(desk, a_new_ticket(desk).number, **ANN)

    assert desk.history(part.id) == before
    only = erase(desk, part.number, family=False, **ANN)
    assert only.numbers == [part.number] and "1 other tickets" in " ".join(only.left)


def test_a_merged_ticket_goes_with_the_one_it_lives_on_in(office: Office) -> None:
    """EN-15: the other one carries its words."""
    desk = office.desk
    one, other = (desk.accept(Draft(title=f"{WORD} {n}", body=f"{WORD} {n}"), actor="door:test").ticket for n in "ab")
    desk.merge(one.id, other.id, actor="person:ann", reason="the same")
    desk.cancel(other.id, actor="person:ann", reason="done")

    assert erase(desk, one.number, **ANN).numbers == sorted([one.number, other.number])
    assert office.found_in() == set()


def test_a_ticket_that_names_an_erased_one_is_pointed_out(office: Office) -> None:
    """EN-15: a daily brief quotes titles; it is another ticket, and erased on its own."""
    ticket, _ = a_told_story(office)
    brief = office.desk.accept(Draft(title="Daily brief", body=f"late: {ticket.number}"), actor="door:test").ticket

    assert erase(office.desk, ticket.number, **ANN).mentions == [brief.number]


@pytest.mark.parametrize("actor", ["agent:iris_support", "door:http", "coordinator"])
def test_only_a_person_erases(office: Office, actor: str) -> None:
    """EN-15, I16"""
    ticket, _ = a_told_story(office)
    with pytest.raises(Refused, match="Only a person"):
        erase(office.desk, ticket.number, actor=actor, reason="x")
    with pytest.raises(BadInput, match="why"):
        erase(office.desk, ticket.number, actor="person:ann", reason=" ")


def test_a_field_that_is_not_named_is_a_text() -> None:
    """EN-15: whoever adds a field to a ticket must say that it is no text, or it is erased."""
    texts = {
        "title", "body", "reporter", "customer", "urgency", "summary", "component", "links", "context", "packet",
        "answers", "step", "steps", "checks", "waits_for", "result", "reason", "marks", "joined", "review",
    }  # fmt: skip
    assert set(Ticket.model_fields) - set(KEPT) == texts

    full = Ticket(id="1", number="T-2026-001", team=TEAM, result={"kind": "resolved", "reply": WORD}, reason=WORD)
    assert tombstone(full, reason="r").result == {"kind": "resolved"}
    judged = full.changed(review=Review(authors=["ann"], needs=["billing"], verdict={"notes": WORD}))
    assert tombstone(judged, reason="r").review == Review(authors=["ann"], needs=["billing"])


def test_an_erased_ticket_of_a_pipeline_can_be_reopened_where_it_was(desk: Desk) -> None:
    """EN-15, EN-08: which steps there are is the team's, no text of the ticket."""
    team = load_team("triage_pipeline", desk.settings)
    ticket = Ticket(id="1", number="T-2026-001", team=team.team, flow=begin(team.flows[0]), failures={"ann": 1})
    left = tombstone(ticket, reason="r")
    assert (left.flow, left.failures) == (ticket.flow, {"ann": 1})


def test_the_command_line_erases_and_shows_refusals(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """EN-15: it asks first, says how many, and what it does not reach."""
    app = typer.Typer()
    housekeeping.add(app)
    monkeypatch.setenv("SHIFTLEAD_HOME", str(office.folder))
    monkeypatch.setenv("SHIFTLEAD_REDIS_URL", f"unix://{office.folder / 'r.sock'}")
    shell = CliRunner()
    ticket, part = a_told_story(office)

    asked = shell.invoke(app, ["erase", ticket.number, "--reason", "asked for"])
    assert asked.exit_code == 2 and "--yes" in asked.output and part.number in asked.output
    done = shell.invoke(app, ["erase", ticket.number, "--reason", "asked for", "--yes"])

    assert done.exit_code == 0, done.output
    assert ticket.number in done.output and "not reached: backups" in done.output
    assert office.found_in() == set()
    counter = RefusalCounter(office.client, office.desk.keys)
    counter.count("stale_token")
    counter.close()
    table = shell.invoke(app, ["refusals", "--days", "2"])
    assert table.exit_code == 0 and "stale_token" in table.output
    listed = json.loads(shell.invoke(app, ["refusals", "--json"]).stdout)["refusals"]
    assert sum(row["count"] for row in listed) >= 1
    get_settings.cache_clear()
