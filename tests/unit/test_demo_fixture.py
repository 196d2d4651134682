"""The demonstration's tickets and overlay are what they say they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from shiftlead.agents.agent import AskHuman, Failed, HandOff, Resolved, Work, as_report
from shiftlead.agents.offline import OfflineBrain
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.handoff import answer_of
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Draft, Ticket, parse_draft

DEMO = Path(__file__).parents[2] / "config" / "demo" / "front_office"
ROWS = [parse_draft(line, max_bytes=262_144) for line in (DEMO / "tickets.jsonl").read_text("utf-8").splitlines()]
TEAM = load_team("front_office", Settings(teams=[]), overlay=DEMO / "overlay.yaml")
CAN = sorted({c for agent in TEAM.agents.values() for c in agent.can})
ROLE = {"bug": "engineering", "production_change": "engineering", "decision": "decision-maker"}


def work_on(draft: Draft, role: str, ticket_id: str = "t1", **values: object) -> Work:
    fields = draft.model_dump(exclude={"team", "number", "priority", "assigned_to"}) | values
    ticket = Ticket.model_validate({"id": ticket_id, "number": "T-2026-001", "team": "x", "created_at": 1.8e9} | fields)
    return Work(agent="a", role=role, ticket=ticket, token=1, team_can=CAN)


def test_there_are_enough_tickets_of_each_source_and_all_are_attributed() -> None:
    counts = Counter(row.source for row in ROWS)
    assert len(ROWS) >= 60
    text = (DEMO / "ATTRIBUTION.md").read_text("utf-8")
    for source, number in counts.items():
        assert f"| `{source}` | {number} |" in text
    assert "CC BY 4.0" in text and "MIT License" in text


def test_no_two_tickets_are_the_same() -> None:
    assert len({(row.title, row.body) for row in ROWS}) == len(ROWS)
    assert all(row.number is None and row.priority is None and len(row.body) <= 900 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title[:40])
def test_the_offline_brain_has_a_valid_report_for_every_row(row: Draft) -> None:
    role = ROLE.get(row.type, "support")
    report = OfflineBrain(role, TEAM.folder / "knowledge").handle(work_on(row, role))
    assert as_report(json.loads(report.model_dump_json())) == report
    assert not isinstance(report, Failed)
    if isinstance(report, Resolved):
        assert report.reply and "offline brain" in report.summary


@pytest.mark.parametrize("role", ["support", "engineering", "decision-maker"])
def test_nothing_is_decided_by_the_number_of_a_ticket(role: str) -> None:
    brain = OfflineBrain(role, TEAM.folder / "knowledge")
    for row in ROWS:
        assert brain.handle(work_on(row, role, "t1")) == brain.handle(work_on(row, role, "another-id"))


def test_the_demonstration_shows_every_kind_of_help() -> None:
    support = OfflineBrain("support", TEAM.folder / "knowledge")
    reports = [support.handle(work_on(row, "support")) for row in ROWS if row.type == "customer_issue"]
    asked = [r for r in reports if isinstance(r, AskHuman)]
    assert sum(isinstance(r, HandOff) and r.needs == ["bug"] for r in reports) == 2
    assert len(asked) >= 5 and {r.action for r in asked} == {"process_refund"}
    assert any(isinstance(r, Resolved) and r.requires_escalation for r in reports)
    assert any(isinstance(r, Resolved) and "granted" in r.reply for r in reports)


def test_exactly_one_ticket_is_for_nobody() -> None:
    """FO-14: what nobody can do ends with a reason, it does not sit for ever."""
    nobody = [
        row for row in ROWS if any(r.when and _says(r, row) and not set(r.needs) <= set(CAN) for r in TEAM.routes)
    ]
    assert [row.title for row in nobody] == ["On-site visit to repair a card terminal"]
    report = OfflineBrain("decision-maker", TEAM.folder).handle(
        work_on(nobody[0], "decision-maker", needs=["field_visit"])
    )
    assert isinstance(report, Failed) and not report.retryable
    assert report.error.startswith("nobody on this team can field_visit")


def _says(route: object, row: Draft) -> bool:
    rule = route.when  # type: ignore[attr-defined]
    return bool(
        rule.evaluate({"ticket": row.model_dump(), "action": {}, "customer": {}, "steps": {}, "now": 0.0}).value
    )


@pytest.mark.parametrize(
    ("title", "says"),
    [("Return what is not for gaming", "is granted"), ("Bicycle damaged during delivery", "cannot grant")],
)
def test_an_approval_comes_back_as_the_coordinator_sends_it(title: str, says: str) -> None:
    """EN-08, EN-10: ask, decide, answer, with the coordinator's own form of an answer in between."""
    row = next(r for r in ROWS if r.title == title)
    support, decider = (OfflineBrain(role, TEAM.folder) for role in ("support", "decision-maker"))
    wish = support.handle(work_on(row, "support"))
    assert isinstance(wish, AskHuman)
    context = {"action": wish.action, "arguments": wish.arguments, "why": wish.why}
    child = work_on(row, "decision-maker", "t2", type="approval", context=context)
    verdict = decider.handle(child)
    closed = child.ticket.changed(state=State.RESOLVED, result=verdict.model_dump(), number="T-2026-002")
    reply = support.handle(work_on(row, "support", answers=[answer_of(closed)]))
    assert isinstance(reply, Resolved) and says in reply.reply and "T-2026-002" in reply.evidence[0]

    expired = closed.changed(state=State.CANCELLED, result=None, reason="expired")
    reply = support.handle(work_on(row, "support", answers=[answer_of(expired)]))
    assert isinstance(reply, Resolved) and "granted" not in reply.reply and "expired" in reply.reply
