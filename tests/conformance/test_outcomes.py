"""What became of a ticket (SD-13), what it cost, and versions of a prompt side by side (TP-10, SD-14, SS-08)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from fastapi.testclient import TestClient

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.api.app import create_app
from shiftlead.coordinator.api.auth import create_key
from shiftlead.queues.allowance import Amount
from shiftlead.queues.comparison import compare, difference, wilson
from shiftlead.queues.connect import Connections
from shiftlead.queues.erasing import erase
from shiftlead.queues.errors import BadInput, Refused
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.outcomes import Feedback, Outcomes, record_outcome, ticket_of
from shiftlead.queues.report import HandOff, Resolved
from shiftlead.queues.spending import BY, Spending, Step, day_of
from shiftlead.queues.statistics import statistics
from shiftlead.queues.ticket import Ticket
from shiftlead.queues.track_record import record
from tests.conformance.test_effects import SERVERS, a_database
from tests.desks import triaged
from tests.telling import DEVIN, IRIS, T, Told

CANARY = "my neighbour 4711 said so"


@pytest.fixture
def told(team: Team, settings: Settings) -> Iterator[Told]:
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    told = Told(client, team, settings)
    yield told
    told.ledger.close()


def answered(told: Told, title: str = "late", **fields: Any) -> Ticket:
    ticket = told.begun(told.comes(title, **fields))
    return told.says(ticket, Resolved(reply="here it is"))


def said(told: Told, ticket: Ticket, **values: Any) -> None:
    record_outcome(told.desk, ticket.id, Feedback(**values), actor="person:ann")


def a_step(ticket: Ticket, agent: str = IRIS, **values: Any) -> Step:
    given: dict[str, Any] = {
        "ticket_id": ticket.id, "life": ticket.life, "token": ticket.token, "number": ticket.number,
        "trace_id": ticket.trace_id, "agent": agent, "began_at": T, "day": day_of(T), "ended_at": T + 1,
        "report": "resolved",
    }  # fmt: skip
    return Step(**given | values)


# -- an outcome -------------------------------------------------------------------------------------------------------


def test_the_last_word_on_each_life_of_a_ticket_counts(told: Told) -> None:
    """SD-13: by trace id; what is not said again stays; the same again is no further line; a reopened ticket is new."""
    ticket = answered(told)
    assert ticket_of(ticket.trace_id) == ticket.id
    record_outcome(told.desk, ticket.trace_id, Feedback(accepted=True, csat=2), actor="person:ann")
    for _ in range(2):
        again = record_outcome(told.desk, ticket.number, Feedback(csat=4, comment=CANARY), actor="door:http:shop")
    assert (again.accepted, again.csat, again.comment, again.escalated) == (True, 4, CANARY, None)
    assert [line.move for line in told.desk.history(ticket.id)].count("outcome") == 2

    told.desk.reopen(ticket.id, actor="person:ann", reason="it was not")
    with pytest.raises(Refused, match="can be said when it is completed"):
        said(told, ticket, csat=1)
    told.says(told.begun(ticket), Resolved(reply="now"))
    said(told, ticket, accepted=False, escalated=True)

    ledger = told.recorded()
    rows = {row.life: (row.accepted, row.escalated, row.csat) for row in Outcomes(ledger, told.team.team).since(T)}
    assert rows == {1: (True, None, 4), 2: (False, True, None)}
    assert verify(ledger, told.team.team).problems == []


def test_an_outcome_says_something_that_can_be(told: Told) -> None:
    ticket = answered(told)
    for nothing in (Feedback(), Feedback(comment="  ")):
        with pytest.raises(BadInput, match="Say accepted"):
            record_outcome(told.desk, ticket.id, nothing, actor="person:ann")
    with pytest.raises(ValueError, match="csat"):
        Feedback(csat=6)


def test_an_archived_ticket_can_still_be_judged(told: Told) -> None:
    """Who is asked for their opinion may answer after a week: the ticket has left Redis by then."""
    ticket = answered(told)
    told.recorded()
    client = told.desk.store.client
    client.delete(told.desk.keys.ticket(ticket.id))
    client.zrem(told.desk.keys.queue("completed"), ticket.id)
    said(told, ticket, csat=5)
    assert [row.csat for row in Outcomes(told.recorded(), told.team.team).since(T)] == [5]


def test_a_comment_and_the_summary_of_a_history_go_with_the_texts(told: Told) -> None:
    """EN-15, SS-08: the words are erased, that and how it was judged stands, and the ledger still verifies."""
    ticket = answered(told)
    said(told, ticket, csat=3, comment=CANARY)
    ledger = told.recorded()
    spending = Spending(ledger, told.team.team)
    spending.write([a_step(ticket, condensed=7, left_out=2, summary=CANARY)])

    writing = told.desk.recorded
    told.desk._commit_one, commit = _recording(told), told.desk._commit_one  # type: ignore[method-assign]
    erase(told.desk, ticket.id, actor="person:ann", reason="asked for")
    told.desk._commit_one, told.desk.recorded = commit, writing  # type: ignore[method-assign]

    [row] = Outcomes(told.recorded(), told.team.team).since(T)
    [step] = spending.of(ticket.id)
    assert (row.csat, step.summary, step.condensed) == (3, "", 7)
    with ledger.engine.connect() as connection:
        for table in ("event_body", "spending", "outcome", "ticket"):
            for found in connection.exec_driver_sql(f"SELECT * FROM {table}"):
                assert CANARY not in str(found)
    assert verify(ledger, told.team.team).problems == []


def _recording(told: Told) -> Any:
    """A commit after which the ledger has everything, as with a writer that runs."""
    commit = told.desk._commit_one

    def committed(number: str, changes: Any) -> Any:
        reply = commit(number, changes)
        told.recorded()
        return reply

    return committed


def test_numbers_tell_how_people_judged_and_what_it_cost(told: Told) -> None:
    """SD-13, SD-14: satisfaction, acceptance and cost by ticket in the statistics and in an agent's track record."""
    first, second, part = answered(told, "one"), answered(told, "two"), told.begun(told.comes("three"))
    told.says(part, HandOff(needs=["bug"], question="why?"))
    said(told, first, accepted=True, csat=5)
    said(told, second, accepted=False, csat=2, escalated=True)
    said(told, second, csat=4)
    ledger = told.recorded()
    spending = Spending(ledger, told.team.team)
    spending.write([
        a_step(first, calls=2, input_tokens=900, output_tokens=100, cost=400_000_000),
        a_step(second, calls=1, input_tokens=90, output_tokens=10, cost=280_000_000),
        a_step(part, DEVIN, report="hand_off"),
    ])  # fmt: skip

    stats = statistics(ledger, told.team, since=T - 1, until=T + 60, now=T + 60)
    assert (stats.csat, stats.csat_of, stats.accepted.hit, stats.accepted.of) == (4.5, 2, 1, 2)
    assert (stats.cost, stats.tokens, stats.cost_per_ticket) == (pytest.approx(0.68), 1_100, pytest.approx(0.34))
    track = record(ledger, told.team, IRIS, T - 1)
    assert (track.accepted, track.rejected, track.stepped_in, track.csat) == (1, 1, 1, 4.5)
    assert (track.runs, track.tokens, track.cost) == (2, 1_100, pytest.approx(0.68))
    assert record(ledger, told.team, DEVIN, T - 1).accepted == 0

    spending.write([a_step(first, token=99, calls=1, unpriced=1)])
    assert statistics(ledger, told.team, since=T - 1, until=T + 60, now=T + 60).cost_per_ticket is None

    told.at(3 * 86_400)
    said(told, first, csat=1)
    late = record(told.recorded(), told.team, IRIS, T + 2 * 86_400)
    assert (late.rated, late.csat, late.completed) == (1, 1.0, 0)  # worked on long before, judged now


def test_costs_add_up_by_step_ticket_agent_day_model_and_prompt(told: Told) -> None:
    """EN-12: exact sums, whichever way they are cut; a step with two models is in both, its tokens once each."""
    first, second = answered(told, "one"), answered(told, "two")
    spending = Spending(told.ledger, told.team.team)
    spending.write([
        a_step(first, calls=2, input_tokens=30, output_tokens=3, cost=700_000_001, prompt="a-1", variant="a",
               unpriced=1, models={"large": [1, 10, 1, 700_000_001], "free": [1, 20, 2, 0]}),
        a_step(first, token=900, began_at=T + 86_400, day=day_of(T + 86_400), calls=1, input_tokens=5, cost=100_000_000,
               prompt="b-2", variant="b", models={"large": [1, 5, 0, 100_000_000]}),
        a_step(second, DEVIN),
    ])  # fmt: skip
    for by, count in {"step": 3, "ticket": 2, "agent": 2, "day": 2, "prompt": 3}.items():
        costs = spending.costs(by)  # type: ignore[arg-type]
        assert len(costs) == count
        assert (sum(c.runs for c in costs), sum(c.input_tokens for c in costs)) == (3, 35)
        assert sum(c.cost for c in costs) == pytest.approx(0.800000001)
    assert [(c.key, c.runs, c.calls, c.input_tokens) for c in spending.costs("model")] == [
        ("large", 2, 2, 15), ("free", 1, 1, 20),
    ]  # fmt: skip
    assert [c.key for c in spending.costs("day", since=T + 1)] == [day_of(T + 86_400)]
    one = spending.of_ticket(first.id, first.number)
    assert (len(one.steps), one.total.calls, one.total.unpriced, one.total.cost) == (
        2,
        3,
        1,
        pytest.approx(0.800000001),
    )


@pytest.mark.parametrize("kind", SERVERS)
def test_both_databases_keep_and_add_up_the_same(kind: str, team: Team, settings: Settings, tmp_path: Path) -> None:
    """I20: steps, outcomes, sums, records and comparisons, on SQLite and PostgreSQL."""
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    with a_database(kind, tmp_path) as url:
        told = Told(client, team, settings.model_copy(update={"database_url": url}))
        ticket, other = answered(told, "one"), answered(told, "two")
        for csat in (2, 4):
            said(told, ticket, accepted=True, csat=csat)
        spending = Spending(told.recorded(), team.team)
        big = 3_000_000_000_000  # more than 32 bits hold
        for calls in (1, 2):
            spending.write([
                a_step(ticket, calls=calls, input_tokens=big, cost=big, prompt="p", models={"m": [calls, big, 0, big]}),
                a_step(other, DEVIN, report="failed"),
            ])  # fmt: skip
        assert spending.spent(agent=IRIS, day=day_of(T)) == Amount(big, big, 1)
        assert spending.spent(ticket_id=other.id) == Amount(runs=1)
        for by in BY:
            costs = spending.costs(by, since=T - 1)
            assert (sum(c.calls for c in costs), sum(c.input_tokens for c in costs)) == (2, big)
        stats = statistics(told.ledger, team, since=T - 1, until=T + 60, now=T + 60)
        assert (stats.csat, stats.accepted.hit, stats.cost) == (4.0, 1, 3_000.0)
        track = record(told.ledger, team, IRIS, T - 1)
        assert (track.csat, track.accepted, track.cost) == (4.0, 1, 3_000.0)
        [one] = [v for v in compare(told.ledger, team.team, since=T - 1).versions if v.prompt]
        assert (one.key, one.accepted.hit, one.csat) == (f"{IRIS}: p", 1, 4.0)
        spending.erase([ticket.id, other.id])
        told.ledger.close()


# -- versions side by side --------------------------------------------------------------------------------------------


def test_the_intervals_are_those_of_the_literature() -> None:
    """Newcombe 1998, Statistics in Medicine 17: table II, 56/70 - 48/80 by method 10; Wilson for 81/263 (part I)."""
    assert difference(56, 70, 48, 80) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson(0, 0) == (0.0, 1.0)


def test_two_versions_of_a_prompt_are_compared_and_too_few_are_called_too_few(told: Told) -> None:
    """TP-10: accepted, escalated, satisfaction, failed reviews and cost by version, with what may be said about it."""
    tickets = [answered(told, f"ticket {n}") for n in range(8)]
    spending = Spending(told.ledger, told.team.team)
    for number, ticket in enumerate(tickets):
        variant = "ab"[number % 2]
        spending.write([a_step(ticket, prompt=f"{variant}-0", variant=variant, cost=1_000_000, calls=1)])
        said(told, ticket, accepted=variant == "a", escalated=variant == "b", csat=5 if variant == "a" else 1)
    ledger = told.recorded()
    made = compare(ledger, told.team.team)
    a, b = made.versions
    assert (a.key, a.tickets, a.accepted.hit, a.accepted.of, a.csat) == (f"{IRIS}: a-0", 4, 4, 4, 5.0)
    assert (b.escalated.hit, b.escalated.of, b.csat, b.cost) == (4, 4, 1.0, pytest.approx(0.004))
    [verdict] = made.verdicts
    assert verdict.startswith("too few to tell") and "100% of 4" in verdict


def test_enough_tickets_show_a_difference_and_none_where_there_is_none(told: Told) -> None:
    """TP-10: 60 tickets of each of three versions; a part of a ticket counts with the whole it is a part of."""
    part, rows = answered(told), []
    for variant, good in {"a": 54, "b": 30, "c": 33}.items():
        for n in range(60):
            rows.append((f"0000000{variant}-0000-7000-8000-{n:012x}", variant, n < good))
    with told.ledger.engine.begin() as connection:
        for whole, _, accepted in rows:
            connection.exec_driver_sql(
                "INSERT INTO outcome VALUES (?, ?, 1, 1, ?, ?, NULL, NULL, 'person:ann', ?)",
                (told.team.team, whole, whole.replace("-", ""), accepted, T),
            )
    # the step was taken on a part, a ticket of its own with the trace of the first one
    Spending(told.ledger, told.team.team).write([
        a_step(part, ticket_id=f"part of {whole}", trace_id=whole.replace("-", ""), prompt=f"{v}-0", variant=v)
        for whole, v, _ in rows
    ])  # fmt: skip
    made = compare(told.ledger, told.team.team)
    judged = {v.variant: (v.accepted.hit, v.accepted.of) for v in made.versions}
    assert judged == {"a": (54, 60), "b": (30, 60), "c": (33, 60)}
    first, second, third = made.verdicts
    assert first.startswith(f"{IRIS}: a-0 is accepted more often") and second.startswith(f"{IRIS}: a-0 is accepted")
    assert third.startswith("no difference shown") and "Newcombe" in third


# -- the doors --------------------------------------------------------------------------------------------------------


def test_over_http_a_system_judges_what_it_brought_and_no_agent_judges_itself(
    settings: Settings, told: Told, tmp_path: Path
) -> None:
    """SD-13: a scoped key; SD-14 and EN-12 beside the statistics."""
    team = told.team.team
    connections = Connections(settings)
    connections._client, connections._clock, connections._ledger = told.desk.store.client, told.clock, told.ledger  # type: ignore[assignment]
    client = TestClient(create_app(connections, [team]))
    keys = {
        name: {"Authorization": f"Bearer {create_key(told.ledger, team, name, scopes, agent)}"}
        for name, scopes, agent in (
            ("shop", ["enqueue"], None), ("other", ["enqueue"], None), ("reader", ["read"], None),
            ("robot", ["work", "read", "enqueue"], IRIS),
        )
    }  # fmt: skip
    made = client.post("/v1/tickets", headers=keys["shop"], json={"body": "Where is my card?"}).json()
    ticket = told.desk.find(made["id"])
    told.says(told.begun(triaged(told.desk, ticket)), Resolved(reply="here"))
    Spending(told.ledger, team).write([a_step(told.desk.find(ticket.id), calls=1, input_tokens=7, cost=5)])

    where = f"/v1/tickets/{made['number']}/outcome"
    assert client.post(where, headers=keys["other"], json={"csat": 1}).status_code == 403
    assert client.post(where, headers=keys["robot"], json={"csat": 5}).status_code == 403
    assert client.post(where, headers=keys["shop"], json={"csat": 9}).status_code == 422
    answer = client.post(f"/v1/tickets/{ticket.trace_id}/outcome", headers=keys["shop"], json={"csat": 4})
    assert (answer.status_code, answer.json()["csat"], answer.json()["actor"]) == (200, 4, "door:http:shop")
    told.recorded()
    told.clock.advance(1)
    assert client.get("/v1/stats", headers=keys["reader"]).json()["csat"] == 4.0
    cost = client.get("/v1/cost?by=agent", headers=keys["reader"]).json()
    assert [(c["key"], c["input_tokens"]) for c in cost["costs"]] == [(IRIS, 7)] and cost["total"]["runs"] == 1
    assert client.get(f"/v1/tickets/{made['number']}/cost", headers=keys["reader"]).json()["steps"][0]["agent"] == IRIS
    assert client.get("/v1/outcomes", headers=keys["reader"]).json()["versions"][0]["csat"] == 4.0
    for path in ("/v1/cost", "/v1/outcomes"):
        assert client.get(path, headers=keys["robot"]).status_code == 403
    assert json.dumps(client.app.openapi()).count("/outcome") >= 2  # type: ignore[attr-defined]
