"""The ledger in SQL: opening, reading, and an audit that names the line that is wrong."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from shiftlead.queues.agent_state import AgentState
from shiftlead.queues.ledger import Head, Ledger, SteppedDown
from shiftlead.queues.ledger_database import alembic_config
from shiftlead.queues.ledger_rows import parse, rows_of
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.ticket import Line, Ticket

TEAM = "front_office"
STORY = [
    ("accept", "door:http", None, "new"),
    ("triage", "coordinator:triage", "new", "ready"),
    ("note", "person:ann", "ready", "ready"),
    ("assign", "coordinator:assignment", "ready", "assigned"),
    ("claim", "agent:iris", "assigned", "working"),
    ("resolve", "agent:iris", "working", "resolved"),
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}")
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """Two whole stories, lines 1 to 6 and 7 to 12, and an open ticket at 13 and 14."""
    ledger.begin_epoch(TEAM, None)
    write(ledger, "a1", "T-2026-001", STORY)
    write(ledger, "a2", "T-2026-002", STORY)
    write(ledger, "a3", "T-2025-1204", STORY[:2])
    return ledger


def write(
    ledger: Ledger, ticket_id: str, number: str, story: list[tuple[str, str, str | None, str]], life: int = 1
) -> None:
    """Put lines straight into SQL, with the writer's own rows."""
    head = ledger.head(TEAM)
    assert head is not None
    entries = []
    for seq, (move, actor, before, after) in enumerate(story, 1):
        at = 1_800_000_000.0 + head.seq + seq
        line = Line(
            ticket=ticket_id, number=number, move=move, actor=actor, at=at, before=before, after=after, life=life
        )
        doc = Ticket(
            id=ticket_id, number=number, team=TEAM, state=after, created_at=1.0, updated_at=at,
            closed_at=at if after == "resolved" else None,
        )  # fmt: skip
        text, document = line.model_dump_json(exclude={"seq"}), "" if move == "note" else doc.model_dump_json()
        raw = [str(head.epoch), ticket_id, str(seq), text, document, ""]
        entries.append(parse(f"{head.seq + seq}-0", raw, head.epoch))
    rows = rows_of(head, entries)
    tables = (("event", rows.events), ("event_body", rows.bodies), ("ticket", rows.tickets))
    with ledger.engine.begin() as connection:
        for table, values in tables:
            connection.execute(sa.table(table, *(sa.column(c) for c in values[0])).insert(), values)
        connection.execute(
            sa.text("UPDATE ledger_head SET seq=:seq, hash=:hash, cursor=:cursor"),
            {"seq": rows.head.seq, "hash": rows.head.hash, "cursor": rows.head.cursor},
        )


def sql(ledger: Ledger, statement: str, **values: object) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(sa.text(statement), values)


def kinds(ledger: Ledger) -> set[tuple[str, int | None]]:
    return {(problem.kind, problem.seq) for problem in verify(ledger, TEAM).problems}


def test_a_ledger_file_is_private_and_every_commit_reaches_the_disk(ledger: Ledger) -> None:
    """I1: WAL with synchronous=FULL, file mode 0600."""
    file = Path(str(ledger.engine.url.database))

    with ledger.engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()

    assert (mode, synchronous) == ("wal", 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_migrations_make_exactly_the_tables_the_code_expects(ledger: Ledger) -> None:
    config = alembic_config()
    with ledger.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_several_processes_may_migrate_a_new_ledger_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    program = (
        f"from shiftlead.queues.ledger import Ledger as L; l = L({url!r}); l.migrate(); l.begin_epoch(str(id(l)), None)"
    )

    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in processes]

    assert [(p.returncode, e) for p, e in zip(processes, errors, strict=True)] == [(0, b"")] * 4


def test_a_ledger_of_a_newer_version_is_refused_with_the_way_out(ledger: Ledger) -> None:
    sql(ledger, "UPDATE alembic_version SET version_num='9999'")

    with pytest.raises(Exception, match="newer Shiftlead"):
        ledger.migrate()


def test_reading_a_stopped_ledger_creates_and_writes_nothing(told: Ledger) -> None:
    file = Path(str(told.engine.url.database))
    told.close()
    before = {p.name: p.read_bytes() for p in file.parent.iterdir()}

    reader = Ledger(told.url, read_only=True)
    found = reader.ticket(TEAM, "T-2026-001")
    assert verify(reader, TEAM).ok
    with pytest.raises(sa.exc.OperationalError):
        reader.begin_epoch(TEAM, 1)
    during = {p.name: p.read_bytes() for p in file.parent.iterdir()}
    reader.close()

    assert found is not None and found[0].id == "a1"
    assert during == before == {p.name: p.read_bytes() for p in file.parent.iterdir()}


def test_reading_a_ledger_that_does_not_exist_does_not_make_one(tmp_path: Path) -> None:
    reader = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", read_only=True)

    with pytest.raises(sa.exc.OperationalError):
        reader.head(TEAM)

    reader.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_in_the_write_ahead_log_is_read(tmp_path: Path) -> None:
    """I1: a stopped folder may still have lines only in its -wal."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    program = (
        f"import os; from shiftlead.queues.ledger import Ledger as L; l = L({url!r}); l.migrate(); "
        "l.begin_epoch('front_office', None); c = l.engine.connect(); c.exec_driver_sql('SELECT 1'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert (tmp_path / "ledger.db-wal").stat().st_size > 0

    reader = Ledger(url, read_only=True)
    head = reader.head(TEAM)
    reader.close()

    assert head is not None and head.epoch == 1


def test_only_one_of_two_coordinators_gets_an_epoch(ledger: Ledger) -> None:
    """I8"""
    assert ledger.begin_epoch(TEAM, None) == Head(TEAM, 1, 0, "0" * 64, "")
    with pytest.raises(SteppedDown):
        ledger.begin_epoch(TEAM, None)

    assert ledger.begin_epoch(TEAM, 1).epoch == 2
    with pytest.raises(SteppedDown):
        ledger.begin_epoch(TEAM, 1)
    assert ledger.begin_epoch("other", None).epoch == 1


def test_tickets_lines_counts_and_numbers_are_read_back(told: Ledger) -> None:
    lines = told.lines(TEAM, "a1")
    assert [line.move for line in lines] == [move for move, *_ in STORY]
    assert [line.seq for line in lines] == [1, 2, 3, 4, 5, 6]
    assert set(told.lines_of(TEAM, ["a1", "a9"])) == {"a1", "a9"}

    by_number, by_id = told.ticket(TEAM, "T-2026-001"), told.ticket(TEAM, "a1")
    assert by_number is not None and by_number == by_id and by_number[1] == 6
    assert told.ticket(TEAM, "nothing") is None and told.ticket("other", "a1") is None

    assert [t.id for t in told.tickets(TEAM)] == ["a3", "a2", "a1"]
    assert [t.id for t in told.tickets(TEAM, limit=1, after="a3")] == ["a2"]
    assert [t.id for t in told.tickets(TEAM, queue="completed", state="resolved")] == ["a2", "a1"]
    assert [t.id for t, _ in told.recent_completed(TEAM, 1)] == ["a2"]
    assert [[(t.id, seq) for t, seq in chunk] for chunk in told.open_tickets(TEAM)] == [[("a3", 2)]]
    assert told.counts(TEAM) == {"intake": 1, "active": 0, "completed": 2}
    assert told.last_numbers(TEAM) == {2025: 1204, 2026: 2}


def test_an_open_ticket_whose_last_line_is_a_note_goes_on_after_the_note(told: Ledger) -> None:
    """I7: after a rebuild the next line must not take the number of the note."""
    write(told, "a4", "T-2026-004", STORY[:3])

    found = told.ticket(TEAM, "a4")
    opened = {t.id: seq for chunk in told.open_tickets(TEAM) for t, seq in chunk}

    assert found is not None and found[1] == opened["a4"] == 3


def test_a_reader_that_goes_on_from_the_last_line_misses_none(told: Ledger) -> None:
    newest = told.events(TEAM, 2)
    following = told.events(TEAM, 3, after=10)

    assert [(seq, line.move) for seq, line in newest] == [(14, "triage"), (13, "accept")]
    assert [seq for seq, _ in following] == [11, 12, 13]


def test_open_tickets_come_in_chunks_and_each_one_once(ledger: Ledger) -> None:
    ledger.begin_epoch(TEAM, None)
    for n in range(1, 6):
        write(ledger, f"i{n:04}", f"T-2026-{n:03}", STORY[:2])
    sql(
        ledger,
        "WITH RECURSIVE n(i) AS (SELECT 6 UNION ALL SELECT i+1 FROM n WHERE i<2100) "
        "INSERT INTO ticket SELECT team, 'i' || printf('%04d', i), 'T-2027-' || i, state, queue, priority, type, "
        "customer, assigned_to, parent, created_at, updated_at, closed_at, seq, doc FROM ticket, n WHERE id='i0001'",
    )

    chunks = list(ledger.open_tickets(TEAM))

    assert [len(chunk) for chunk in chunks] == [1000, 1000, 100]


def test_refusals_are_counted_by_day_and_reason(ledger: Ledger) -> None:
    """EN-15"""
    day = "2026-11-21"
    ledger.count_refusals(TEAM, {(day, "token"): 2, (day, "slots"): 1})
    ledger.count_refusals(TEAM, {(day, "token"): 3, (day, "nothing"): 0})

    assert ledger.refusals(TEAM, day) == {(day, "token"): 5, (day, "slots"): 1}


def test_a_revoked_key_opens_nothing(ledger: Ledger) -> None:
    ledger.add_key(TEAM, "h1", "shop", ["write", "read"], "iris", at=5.0)

    found = ledger.find_key("h1")
    assert found is not None and (found.scopes, found.agent, found.created_at) == (["write", "read"], "iris", 5.0)
    assert ledger.revoke_key("other", "h1") == 0
    assert ledger.revoke_key(TEAM, "shop") == 1 == len(ledger.keys(TEAM))

    assert ledger.find_key("h1") is None


def test_an_untouched_ledger_verifies(told: Ledger) -> None:
    """I7"""
    noted = told.head(TEAM)
    assert noted is not None

    report = verify(told, TEAM, head=noted.hash)

    assert (report.ok, report.events, report.tickets, report.problems) == (True, 14, 3, [])
    assert report.hash == noted.hash


def test_a_deleted_line_is_named(told: Ledger) -> None:
    """I7"""
    sql(told, "DELETE FROM event WHERE seq=4")

    assert {("missing", 4), ("order", 5)} <= kinds(told)


@pytest.mark.parametrize(
    "change",
    [
        "actor='agent:felix'",
        "at=at+1",
        "number='T-2026-009'",
        "after='working'",
        "life=2",
        "epoch=7",
        "payload_hash='x'",
    ],
)
def test_an_edited_line_is_named(told: Ledger, change: str) -> None:
    """I7"""
    sql(told, f"UPDATE event SET {change} WHERE seq=4")

    assert ("chain", 4) in kinds(told)
    assert not {("chain", seq) for seq in (3, 5, 6)} & kinds(told)


def test_an_edited_text_is_named(told: Ledger) -> None:
    """I7"""
    sql(told, "UPDATE event_body SET text=replace(text, 'iris', 'felix') WHERE seq=5")
    sql(told, "DELETE FROM event_body WHERE seq=6")

    assert kinds(told) == {("body", 5), ("body", 6)}


def test_two_exchanged_lines_are_named(told: Ledger) -> None:
    """I7"""
    for old, new in ((3, 99), (4, 3), (99, 4)):
        sql(told, "UPDATE event SET seq=:new WHERE seq=:old", old=old, new=new)
        sql(told, "UPDATE event_body SET seq=:new WHERE seq=:old", old=old, new=new)

    assert {("chain", 3), ("chain", 4), ("order", 3)} <= kinds(told)


def test_a_tail_that_was_cut_with_care_is_found_by_a_hash_noted_earlier(told: Ledger) -> None:
    """I7: head, lines and snapshots agree with each other, only the noted hash does not."""
    noted = told.head(TEAM)
    assert noted is not None
    sql(told, "DELETE FROM event WHERE seq>12")
    assert ("missing", 13) in kinds(told)
    sql(told, "UPDATE ledger_head SET seq=12, hash=(SELECT hash FROM event WHERE seq=12)")
    sql(told, "DELETE FROM ticket WHERE id='a3'")
    sql(told, "DELETE FROM event_body WHERE seq>12")

    assert verify(told, TEAM).ok
    assert [p.kind for p in verify(told, TEAM, head=noted.hash).problems] == ["head"]


def test_erasing_texts_leaves_the_audit_green_and_a_tombstone(told: Ledger) -> None:
    """I7, EN-15"""
    assert told.erase(TEAM, "a1", at=7.0) == 6
    assert told.erase(TEAM, "a1", at=8.0) == 0

    assert verify(told, TEAM).ok
    assert [line.detail for line in told.lines(TEAM, "a1")] == [{"erased_at": 7.0}] * 6
    assert [line.move for line in told.lines(TEAM, "a1")] == [move for move, *_ in STORY]
    sql(told, "UPDATE event_body SET text='{}' WHERE seq=2")
    assert kinds(told) == {("body", 2)}


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        ([*STORY[:2], ("resolve", "agent:iris", "ready", "resolved")], "move"),
        ([*STORY[:2], ("assign", "agent:iris", "ready", "assigned")], "move"),
        ([*STORY[:2], ("note", "person:ann", "ready", "working")], "move"),
        ([*STORY[:2], ("claim", "agent:iris", "assigned", "working")], "move"),
        ([("accept", "door:http", None, "new"), ("fly", "agent:iris", "new", "new")], "move"),
        (
            [*STORY, ("reopen", "person:ann", "resolved", "ready"), ("cancel", "person:ann", "ready", "cancelled")],
            "ends",
        ),
    ],
)
def test_a_story_the_table_does_not_allow_is_named(
    ledger: Ledger, story: list[tuple[str, str, str | None, str]], kind: str
) -> None:
    """I2, I7: the hashes are right, the story is not."""
    ledger.begin_epoch(TEAM, None)
    write(ledger, "a1", "T-2026-001", story)

    assert kinds(ledger) == {(kind, len(story))}


def test_a_snapshot_that_disagrees_with_the_last_line_is_named(told: Ledger) -> None:
    """I7"""
    sql(told, "UPDATE ticket SET state='working', queue='active' WHERE id='a1'")
    sql(told, "UPDATE ticket SET doc=replace(doc, 'resolved', 'failed') WHERE id='a2'")
    sql(told, "DELETE FROM ticket WHERE id='a3'")

    problems = verify(told, TEAM).problems
    assert [(p.kind, p.ticket) for p in problems] == [
        ("snapshot", "T-2026-001"), ("snapshot", "T-2026-002"), ("snapshot", "a3"),
    ]  # fmt: skip


def test_an_agents_state_survives_as_json() -> None:
    """The document the writer keeps for `@<agent>` is the model's own JSON."""
    state = AgentState(agent="iris", version=3, paused=True)
    assert AgentState.model_validate_json(state.model_dump_json()) == state
