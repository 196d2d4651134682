"""The effects ledger: one effect, once, whoever asks and however often (EN-11). On every database we support."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from shiftlead.config.clock import ManualClock
from shiftlead.queues.effects import Effects, Intent
from shiftlead.queues.errors import BadInput, StaleToken
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_database import alembic_config

PG_URL = os.environ.get("SHIFTLEAD_TEST_PG_URL", "")
NEEDS_PG = pytest.mark.skipif(not PG_URL, reason="SHIFTLEAD_TEST_PG_URL names no PostgreSQL")
SERVERS = ["sqlite", pytest.param("postgresql", marks=[pytest.mark.real, NEEDS_PG])]
REFUND = ("t1", 1, "process_refund", "#W1")


@contextlib.contextmanager
def a_database(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'ledger.db'}"
        return
    name = f"effects_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(PG_URL, isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield sa.make_url(PG_URL).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server.dispose()


@pytest.fixture(params=SERVERS)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with a_database(request.param, tmp_path) as url:
        ledger = Ledger(url)
        ledger.migrate()
        yield ledger
        ledger.close()


@pytest.fixture
def effects(ledger: Ledger, clock: ManualClock) -> Effects:
    return Effects(ledger, "till", clock)


def begin(effects: Effects, token: int = 5, **values: Any) -> Any:
    arguments = values.pop("arguments", {"amount": 5.0})
    return effects.begin(*REFUND, arguments, token, "bill", **values)


def test_an_intent_stands_in_sql_before_anything_is_done(effects: Effects, clock: ManualClock) -> None:
    """EN-11: another process sees it at once."""
    intent = begin(effects, arguments={"amount": 5.0, "reason": "späte \u0000 Lieferung"}, approval="a1")

    [seen] = effects.of("t1")
    assert (intent.status, seen.status, seen.attempt, seen.token, seen.agent) == ("new", "running", 1, 5, "bill")
    assert (seen.arguments, seen.approval, seen.begun_at) == (intent.arguments, "a1", clock.now())
    assert effects.find(*REFUND) == seen and effects.find("t1", 2, *REFUND[2:]) is None


def test_what_is_done_is_never_begun_again(effects: Effects) -> None:
    """EN-11: retries, reclaims and restarts get the stored result; other arguments are the same effect."""
    effects.finish(begin(effects), {"refunded": 5.0})

    for token, arguments in ((5, {"amount": 5.0}), (9, {"amount": 7.0}), (3, {})):
        again = begin(effects, token, arguments=arguments, idempotent=True, again_by="person:ann")
        assert (again.status, again.result, again.attempt) == ("done", {"refunded": 5.0}, 1)
        assert again.arguments == {"amount": 5.0}


def test_another_target_tool_life_ticket_or_team_is_another_effect(effects: Effects, ledger: Ledger) -> None:
    first = begin(effects)
    others = [("t1", 1, "process_refund", "#W2"), ("t1", 1, "issue_credit", "#W1"), ("t1", 2, *REFUND[2:]),
              ("t2", 1, *REFUND[2:])]  # fmt: skip
    begun = [effects.begin(*place, {}, 5, "bill") for place in others]
    begun.append(Effects(ledger, "other", effects.clock).begin(*REFUND, {}, 5, "bill"))

    assert [i.status for i in begun] == ["new"] * 5
    assert len({i.key for i in (first, *begun)}) == 6
    assert len(effects.of("t1")) == 4


def test_the_holder_that_asks_twice_does_it_once(effects: Effects) -> None:
    begin(effects)
    assert begin(effects).status == "running"


def test_a_dead_attempt_is_repeated_with_the_same_key_where_that_is_safe(effects: Effects) -> None:
    """EN-11: the token says that the attempt is dead."""
    first, second = begin(effects, 5, idempotent=True), begin(effects, 7, idempotent=True)

    assert (second.status, second.attempt, second.token) == ("new", 2, 7)
    assert first.key == second.key
    with pytest.raises(StaleToken):
        begin(effects, 5, idempotent=True)


def test_any_other_dead_attempt_is_unknown_until_a_person_says(effects: Effects) -> None:
    """EN-11"""
    begin(effects, 5)

    assert [begin(effects, token).status for token in (7, 7, 8)] == ["unknown"] * 3
    [unknown] = effects.all_unknown()
    assert "bill began it" in unknown.why
    again = begin(effects, 9, again_by="ann", approval="a1")
    assert (again.status, again.attempt, again.approval, again.why) == (
        "new",
        2,
        "a1",
        "begun again by the word of ann",
    )
    assert effects.all_unknown() == []


def test_a_person_may_end_an_unknown_effect_and_no_other(effects: Effects) -> None:
    begin(effects, 5)
    untouched = effects.settle(*REFUND, by="ann", reason="")
    assert untouched is not None and untouched.status == "running"
    begin(effects, 7)

    settled = effects.settle(*REFUND, by="ann", reason="it is in the bank's list")
    assert settled is not None and settled.result == {"settled_by": "ann", "reason": "it is in the bank's list"}
    assert begin(effects, 9).status == "done"
    assert effects.settle("t9", 1, "x", "y", by="ann", reason="") is None


def test_an_attempt_that_was_thought_dead_still_tells_how_it_ended(effects: Effects) -> None:
    """It knows: an unknown effect is done then. What a later attempt has said stands."""
    first = begin(effects, 5)
    begin(effects, 7)
    assert effects.finish(first, {"n": 1}).status == "done"
    assert effects.finish(first, {"n": 2}).result == {"n": 1}
    assert effects.unknown(first, "late").status == effects.free(first, "late").status == "done"


def test_only_the_latest_attempt_says_that_it_failed(effects: Effects) -> None:
    first, second = begin(effects, 5, idempotent=True), begin(effects, 7, idempotent=True)
    assert effects.unknown(first, "broke off").status == effects.free(first, "broke off").status == "running"

    assert effects.free(second, "refused \0 \ud800").status == "free"
    third = begin(effects, 7)
    assert (third.status, third.attempt, third.why) == ("new", 3, "")


def test_a_target_that_cannot_be_a_key_is_refused(effects: Effects) -> None:
    for target in ("", "  ", "a\0", "\ud800", "x" * 301):
        with pytest.raises(BadInput):
            effects.begin("t1", 1, "process_refund", target, {}, 5, "bill")
    assert effects.of("t1") == []


def test_a_very_long_result_is_cut_and_says_so(effects: Effects) -> None:
    assert list(effects.finish(begin(effects), "x" * 70_000).result) == ["too_long"]


def test_erased_effects_keep_that_they_were_done(effects: Effects) -> None:
    """EN-15"""
    effects.finish(begin(effects, arguments={"reason": "Mia's address"}), {"to": "Mia"})

    assert (effects.erase(["t1"], at=7.0), effects.erase(["t1"], at=8.0)) == (1, 0)

    [left] = effects.of("t1")
    assert (left.status, left.arguments, left.result, left.why) == ("done", {}, None, "erased at 7")
    assert begin(effects, 9).status == "done"


def test_an_effect_that_ends_after_its_ticket_was_erased_says_that_and_no_more(effects: Effects) -> None:
    """EN-15, EN-11: a ticket that was cancelled meanwhile. It counts as done, so it is not done again."""
    running = begin(effects, arguments={"reason": "Mia's address"})
    effects.erase(["t1"], at=7.0)

    ended = effects.finish(running, {"to": "Mia"})

    assert (ended.status, ended.arguments, ended.result) == ("done", {}, None)


def race(url: str, rounds: int, token: int, start: Any, said: Any) -> None:
    """One of several processes that begin the same effects at the same moment."""
    ledger = Ledger(url)
    effects = Effects(ledger, "till", ManualClock())
    effects.of("t1")
    for n in range(rounds):
        start.wait(30)
        try:
            intent = effects.begin("t1", 1, "process_refund", f"#W{n}", {}, token, "bill")
            if intent.status == "new":
                effects.finish(intent, {"n": n})
            said.put((n, str(intent.status)))
        except StaleToken:
            said.put((n, "stale"))
    ledger.close()


@pytest.mark.real
@pytest.mark.parametrize("tokens", ["same", "rising"])
def test_of_eight_processes_that_race_one_does_it(ledger: Ledger, clock: ManualClock, tokens: str) -> None:
    """EN-11: the database decides, not a look before. With rising tokens nobody repeats what an earlier one began."""
    rounds, fork = 15, multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["shiftlead.queues.effects"])
    url = ledger.engine.url.render_as_string(hide_password=False)
    ledger.close()
    start, said = fork.Barrier(8), fork.SimpleQueue()
    given = [(url, rounds, 5 if tokens == "same" else 5 + n, start, said) for n in range(8)]
    processes = [fork.Process(target=race, args=arguments) for arguments in given]
    for process in processes:
        process.start()
    heard = [said.get() for _ in range(8 * rounds)]
    for process in processes:
        process.join(30)

    assert [process.exitcode for process in processes] == [0] * 8
    did = sorted(n for n, status in heard if status == "new")
    assert did == list(range(rounds))
    assert {status for _, status in heard} <= {"new", "running", "done", "unknown", "stale"}
    effects = Effects(ledger, "till", clock).of("t1")
    assert [(e.status, e.attempt) for e in effects] == [("done", 1)] * rounds


@pytest.mark.parametrize("kind", SERVERS)
def test_the_table_goes_up_down_and_up_again_and_the_rest_keeps_its_data(
    kind: str, tmp_path: Path, clock: ManualClock
) -> None:
    """I20: from the version before, with data in it, and the tables are exactly what the code expects."""
    with a_database(kind, tmp_path) as url:
        ledger = Ledger(url)
        ledger.migrate()
        effects = Effects(ledger, "till", clock)
        effects.finish(begin(effects), {"n": 1})
        ledger.add_key("till", "digest", "door", ["read"], at=1.0)
        _alembic(ledger, command.downgrade, "0001")
        assert "effect" not in sa.inspect(ledger.engine).get_table_names()
        assert [k.name for k in ledger.keys("till")] == ["door"]

        ledger.migrate()
        _alembic(ledger, command.check)
        assert effects.of("t1") == [] and begin(effects).status == "new"
        assert [k.name for k in ledger.keys("till")] == ["door"]
        ledger.close()


def _alembic(ledger: Ledger, verb: Any, *arguments: str) -> None:
    config = alembic_config()
    with ledger.engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        verb(config, *arguments)


def test_an_effects_key_is_the_same_for_every_process() -> None:
    """It may stand in the outside's books for years: it depends on the five parts and on nothing else."""
    intent = Intent("till", *REFUND, "new", 1, 5, "bill", "", {}, None, "", 0.0, None)
    assert intent.key == "18a7a8da1a7ff532d42f11f27749a9be2e3cacf7"
