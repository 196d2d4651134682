"""Triage: where a new ticket goes, how important it is, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team
from shiftlead.coordinator.triage import TriageDecision, triage
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

NOW = 1_800_000_000.0
SUPPORT, ENGINEERING, CEO = "iris_support", "devin_engineering", "felix_ceo"


@pytest.fixture(scope="module")
def team() -> Team:
    return load_team("front_office", Settings(teams=[]))


def decide(team: Team, title: str = "", body: str = "", priority: Any = None, **fields: Any) -> TriageDecision:
    ticket = Ticket(id="t", number="T-2026-001", team=team.name, title=title, body=body, created_at=NOW, **fields)
    return triage(ticket, team, now=NOW, given_priority=priority)


@pytest.mark.parametrize(
    ("kind", "agent"),
    [("code_review", ENGINEERING), ("customer_issue", SUPPORT), ("customer_complaint", SUPPORT), ("decision", CEO),
     ("Pull Request", ENGINEERING)],
)  # fmt: skip
def test_the_type_decides_before_the_words_do(team: Team, kind: str, agent: str) -> None:
    """FO-02, FO-03: also when the text sounds like somebody else's."""
    decision = decide(team, "Please approve the budget for the refund, see NullPointerException", type=kind)
    assert team.agents_for(decision.needs) == [agent]


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("my card still hasnt come and its been 3 weeks!!", SUPPORT),
        ("Hi, the blender from order #W2378156 is broken, I want my money back", SUPPORT),
        ("why was i charged twice at the supermarket", SUPPORT),
        ("Checkout throws java.lang.NullPointerException\n\tat com.shop.Basket.total(Basket.java:41)", ENGINEERING),
        ('Traceback (most recent call last):\n  File "a.py", line 3\nKeyError: "id"', ENGINEERING),
        ("Can someone review my pull request for the retry logic?", ENGINEERING),
        ("We deployed 3.1 an hour ago, keep an eye on latency and error rate", ENGINEERING),
        ("Should we hire a second designer or invest in freelancers?", CEO),
        ("Acme wants an exception to our refund policy, need approval", CEO),
        ("go/no-go for the relaunch on Monday", CEO),
    ],
)
def test_messy_text_finds_the_right_desk(team: Team, text: str, agent: str) -> None:
    """EN-03: example sentences after the rules."""
    assert team.agents_for(decide(team, body=text).needs) == [agent]


def test_what_nobody_matches_goes_to_the_catch_all_visibly(team: Team) -> None:
    """FO-03."""
    decision = decide(team, "why is the sky blue")
    assert decision.needs == ["customer_issue"]
    assert any(reason.startswith("catch-all: nobody else matched") for reason in decision.reasons)


def test_what_the_sender_asks_for_is_kept(team: Team) -> None:
    decision = decide(team, "test", needs=["monitering"], named=CEO)
    assert (decision.needs, decision.named, decision.state) == (["monitering"], CEO, State.READY)
    assert any("did you mean 'monitoring'" in reason for reason in decision.reasons)
    assert decide(team, "Where is my card?", named="felix").named is None


def test_a_route_that_cannot_be_evaluated_does_not_match_and_says_so(tmp_path: Path) -> None:
    """EN-03; design, section 7."""
    file = tmp_path / "team.yaml"
    file.write_text(
        "team: small\nagents:\n  ada: {role: support, can: [help, vip]}\nroutes:\n"
        "  - {when: ticket.context.spend > 1000, needs: [vip]}\n  - needs: [help]\n"
    )
    small = load_team(file, Settings())
    decision = decide(small, "Where is my parcel?")
    assert decision.needs == ["help"]
    assert "route 1 did not match: no such key: spend" in decision.reasons
    assert decide(small, "Where is my parcel?", context={"spend": 2000}).needs == ["vip"]


@pytest.mark.parametrize(
    ("title", "body"),
    [("", "  \n"), ("???", ""), ("test", "asdf"), ("Test ticket", ""), ("asdfgh", ""), ("", "please ignore this"),
     ("First page of Google!", "Click here. 100% guaranteed, limited time offer, 80% off, unsubscribe")],
)  # fmt: skip
def test_nobodys_work_is_cancelled_with_the_reason(team: Team, title: str, body: str) -> None:
    """EN-03."""
    decision = decide(team, title, body)
    assert decision.state is State.CANCELLED
    assert decision.reasons[0].split(":")[0] in ("empty", "a test", "advertising")


@pytest.mark.parametrize(
    "text", ["PIN?", "help", "card lost", "Test failed on branch main", "is this a test?", "谢谢，我的卡呢"]
)
def test_a_short_question_is_never_taken_for_nothing(team: Team, text: str) -> None:
    assert decide(team, text).state is State.READY


def test_a_typed_ticket_without_text_and_a_child_are_never_cancelled(team: Team) -> None:
    assert decide(team, type="code_review").state is State.READY
    assert decide(team, parent="p", type="approval", needs=["approval"]).state is State.READY


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("Production is down, nobody can check out", "urgent"),
        ("My card was stolen on the train", "urgent"),
        ("There is a payment I do not recognise", "urgent"),
        ("I was charged twice", "high"),
        ("I cannot log in since the morning", "high"),
        ("How long does a transfer take?", "normal"),
        ("There was no outage and no data loss, only a question about the report", "normal"),
        ("Typo on the start page, not urgent", "low"),
        ("How much money can I top up?", "normal"),
        ("Please look at this log:\n2026-01-02 10:00:00 ERROR security breach module: production is down", "normal"),
    ],
)
def test_impact_decides_the_priority_and_loud_words_do_not(team: Team, text: str, priority: str) -> None:
    """SD-03's measured lesson: money alone is not urgent; words in a log are no impact."""
    decision = decide(team, body=text)
    assert decision.priority == priority, decision.reasons


def test_the_senders_priority_wins_and_sets_the_due_time(team: Team) -> None:
    decision = decide(team, "Production is down", priority="low")
    assert (decision.priority, decision.urgency, decision.due) == ("low", "urgent", NOW + 86400)


def test_the_senders_threshold_replaces_the_first_step_of_the_ladder(team: Team) -> None:
    """FO-01, EN-09."""
    plain = decide(team, "I was charged twice")
    own = decide(team, "I was charged twice", context={"escalation_threshold": "10_minutes"})
    assert plain.ladder_at == NOW + 1800
    assert own.ladder_at == NOW + 600


def test_a_ticket_with_a_time_of_its_own_is_scheduled(team: Team) -> None:
    assert decide(team, "Please review the pull request", not_before=NOW + 60).state is State.SCHEDULED


def test_the_summary_is_the_first_sentence_that_says_something(team: Team) -> None:
    decision = decide(team, body="Hello!\nThe parcel never arrived. " + "It is late. " * 50)
    assert decision.summary == "The parcel never arrived."
    assert len(decide(team, body="word " * 200).summary) <= 140
