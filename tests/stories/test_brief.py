"""A decision-maker who comes back in the morning: he acts on what is, not on what he last heard (FO-14, EN-13)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import redis

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.brief import Brief, brief, brief_day, brief_draft, due_briefs, markdown
from shiftlead.coordinator.why import explain
from shiftlead.queues.errors import KeyReused
from shiftlead.queues.report import AskHuman, Blocked
from tests.telling import FELIX, IRIS, T, Told, a_morning

pytestmark = pytest.mark.real
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def told(valkey: redis.Redis, team: Team, settings: Settings) -> Iterator[Told]:
    made = Told(valkey, team, settings)
    yield made
    made.ledger.close()


def felix_reads(told: Told, *, who: str = FELIX, own_only: bool = False) -> Brief:
    now = told.clock.now()
    return brief(told.recorded(), told.team, who, since=T, now=now, own_only=own_only)


def test_the_brief_tells_what_happened_while_the_decision_maker_was_away(told: Told) -> None:
    """FO-14: no decision on stale news. EN-13: what happened, what waits, what is late, what was decided."""
    t = a_morning(told)
    number = {name: told.desk.find(ticket.id).number for name, ticket in t.items()}
    asking = told.comes("second refund")
    told.begun(asking)
    asked = told.says(asking, AskHuman(action="process_refund", arguments={"amount": 900.0}, why="it is large"))
    approval = told.desk.find(asked.awaits[0])
    blocked = told.comes("supplier")
    told.begun(blocked)
    told.says(blocked, Blocked(owner=FELIX, action="sign the contract"))
    told.at(300)

    b = felix_reads(told)

    assert b.numbers is not None and b.numbers.arrived == 7
    assert [i.number for i in b.reopened.items] == [number["broken"]]
    assert b.reopened.items[0].note == "by ann: it does exist"
    assert [(i.number, i.note) for i in b.escalated.items] == [(number["crash"], "it is late")]  # not its last reason
    assert [i.number for i in b.longest.items] == [number["refund"], number["simple"]]
    assert b.failed.total == 0  # the one that failed was opened again: it would be stale news
    assert [i.number for i in b.approvals.items] == [approval.number]
    assert "it is large" in b.approvals.items[0].note
    assert [(i.number, i.note) for i in b.questions.items] == [(blocked.number, "sign the contract")]
    assert b.late.items[0].number == number["crash"]
    assert "past due, escalated 1x" in b.late.items[0].note
    assert [(i.number, i.note) for i in b.decided.items] == [(number["approval"], "yes by ann: she is right")]
    assert [(i.number, i.note) for i in b.cancelled.items] == [(number["noise"], "by ann: a test")]


def test_what_is_late_says_why_from_the_same_facts_as_why(told: Told) -> None:
    """FO-14, EN-06: the reason of now, not of the ticket's last move."""
    late = told.comes("nobody is here")
    told.at(100)
    ledger, now = told.recorded(), told.clock.now()

    b = brief(ledger, told.team, FELIX, since=T, now=now, why=lambda t: explain(told.desk, t, now=now).text)

    assert [i.number for i in b.late.items] == [late.number]
    assert "has no worker running" in b.late.items[0].note


def test_an_agent_is_told_of_its_own_tickets_and_of_no_other(told: Told) -> None:
    """I16: an agent's key gets a brief without the team's numbers."""
    t = a_morning(told)

    b = felix_reads(told, who=IRIS, own_only=True)

    assert b.numbers is None
    told_of = {i.number for s in (b.late, b.tickets, b.longest, b.cancelled, b.decided) for i in s.items}
    number = {name: told.desk.find(ticket.id).number for name, ticket in t.items()}
    assert told_of >= {number["simple"], number["refund"], number["crash"]}
    assert not told_of & {number["noise"], number["part"], number["approval"]}


def test_the_text_fits_a_ticket_and_says_what_it_leaves_out(told: Told) -> None:
    """EN-13: at most 20 KB, however bad the night was, and however the titles are written."""
    for n in range(60):
        told.comes("漢字" * 100 + str(n))
    told.at(200)

    b = felix_reads(told)
    text = markdown(b)

    assert b.late.total == 60 and len(b.late.items) == 25
    assert len(text.encode()) <= 20_000
    assert "more" in text and "## 4. What was decided\n\nNothing." in text
    assert len(markdown(b, most_bytes=1_200).encode()) <= 1_200


def test_a_brief_is_a_ticket_of_its_own_once_a_day(told: Told) -> None:
    """FO-14: two coordinators and a restart make one brief; the key decides, also where the text differs."""
    a_morning(told)
    draft, key = brief_draft(felix_reads(told), FELIX, "2027-01-15")
    assert (draft.type, draft.assigned_to, draft.title) == ("brief", FELIX, "Brief of 2027-01-15")
    assert key == "brief:felix_ceo:2027-01-15"

    first = told.desk.accept(draft, actor="coordinator", key=key)
    again = told.desk.accept(draft, actor="coordinator", key=key)
    told.at(250)
    later, _ = brief_draft(felix_reads(told), FELIX, "2027-01-15")
    with pytest.raises(KeyReused):
        told.desk.accept(later, actor="coordinator", key=key)

    assert (first.created, again.created) == (True, False)
    assert first.ticket.named == FELIX and "## 1. What happened" in first.ticket.body
    b = felix_reads(told)
    assert b.numbers is not None and b.numbers.arrived == 5  # the brief is no work that came in
    assert all(i.number != first.ticket.number for i in [*b.tickets.items, *b.late.items])


def wants(team: Team, at: str | None) -> Team:
    """The team with a brief at that time."""
    made = team.model_copy()
    object.__setattr__(made, "brief", None if at is None else SimpleNamespace(at=at))
    return made


def berlin(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("now", "made", "due"),
    [
        ("2027-01-15T07:59:59", None, False),
        ("2027-01-15T08:00:00", None, True),
        ("2027-01-15T08:00:00", "2027-01-14", True),
        ("2027-01-15T08:00:01", "2027-01-15", False),
        ("2027-01-15T09:59:59", None, True),  # a coordinator that starts late makes it
        ("2027-01-15T10:00:00", None, False),  # two hours late: it waits for tomorrow
        ("2027-03-28T08:00:00", "2027-03-27", True),  # the day the clock is set forward
        ("2027-10-31T08:30:00", "2027-10-31", False),
    ],
)
def test_a_brief_is_due_once_a_local_day_at_its_time(team: Team, now: str, made: str | None, due: bool) -> None:
    """EN-13: for each decision-maker, by the wall clock of the zone."""
    last = {FELIX: made} if made else {}
    found = due_briefs(wants(team, "08:00 Europe/Berlin"), last, berlin(now))
    assert found == (team.decision_makers() if due else [])


def test_a_brief_of_late_evening_belongs_to_its_own_day(team: Team) -> None:
    late = wants(team, "23:30 Europe/Berlin")
    assert brief_day(late, berlin("2027-01-15T23:45:00")) == "2027-01-15"
    assert brief_day(late, berlin("2027-01-16T00:45:00")) == "2027-01-15"
    assert due_briefs(late, {FELIX: "2027-01-15"}, berlin("2027-01-16T00:45:00")) == []


def test_a_team_that_wants_no_brief_gets_none(team: Team) -> None:
    """A team file without `brief`."""
    assert due_briefs(wants(team, None), {}, berlin("2027-01-15T08:00:00")) == []
