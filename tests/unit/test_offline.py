"""The offline brain: support, engineering and decision-maker by stated rules (SD-06, FO-06, EN-08, EN-10)."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import AskHuman, Failed, HandOff, Packet, Report, Resolved, Work
from shiftlead.agents.offline import OfflineBrain
from shiftlead.agents.policy import amounts_in, days_in
from shiftlead.queues.ticket import Ticket

NOW = 1_800_000_000.0  # 2027-01-15, UTC
CAN = ["customer_issue", "bug", "decision", "approval", "monitoring"]
PAGE = "# Cards\n## Activate a card\nOpen the app, choose the card and press Activate.\n"


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "cards.md").write_text(PAGE)
    return tmp_path


def report_of(
    pages: Path, body: str, role: str = "support", *, packet: Packet | None = None, can: list[str] = CAN, **fields: Any
) -> Report:
    given = {"id": "t1", "number": "T-2027-001", "team": "x", "created_at": NOW, "body": body}
    ticket = Ticket.model_validate(given | fields)
    work = Work(agent="a", role=role, ticket=ticket, token=1, team_can=can, packet=packet, answers=ticket.answers)
    return OfflineBrain(role, pages).handle(work)


def resolved(report: Report) -> Resolved:
    assert isinstance(report, Resolved), report
    return report


def asked(report: Report) -> AskHuman:
    assert isinstance(report, AskHuman), report
    return report


@pytest.mark.parametrize(
    ("body", "context", "asks"),
    [
        ("Please refund order #W1234567: $500.00", {}, False),
        ("Please refund order #W1234567: $500.01", {}, True),
        ("Please refund order #W1234567: $100.00", {"tier": "basic"}, False),
        ("Please refund order #W1234567: $100.01", {"tier": "basic"}, True),
        ("Please refund order #W1234567: $100.01", {"tier": "gold"}, False),
        ("Please refund order #W1234567: $40, bought 30 days ago", {}, False),
        ("Please refund order #W1234567: $40, bought 31 days ago", {}, True),
        ("Please refund my order #W1234567", {"order_total": 500.0}, False),
        ("Please refund my order #W1234567", {"order_total": 500.01}, True),
        ("Please refund order #W1234567: $20", {"amount": "1,200.00 USD"}, True),
        ("Please refund order #W1234567: $20", {"days_since_purchase": 31}, True),
    ],
)
def test_a_refund_at_its_limit_is_granted_and_above_it_asked(
    pages: Path, body: str, context: dict[str, Any], asks: bool
) -> None:
    """SD-06, all limits strict: 500/500.01, 100/100.01 on basic, 30/31 days; a typed amount beats the text's."""
    report = report_of(pages, body, context=context)
    if asks:
        assert asked(report).action == "process_refund" and asked(report).why
        assert asked(report).arguments["order"] == "W1234567"
    else:
        assert "granted" in resolved(report).reply and resolved(report).evidence


def test_an_unknown_amount_is_not_invented(pages: Path) -> None:
    report = resolved(report_of(pages, "I want to return my order #W7654321."))
    assert "do not know the amount" in report.reply and "granted yet" in report.reply
    assert "$" not in report.reply


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$1,234.56", "1234.56"),
        ("1.234,56 EUR", "1234.56"),
        ("€80", "80"),
        ("1,000 USD", "1000"),
        ("90 dollars", "90"),
        ("£5.50!", "5.50"),
    ],
)
def test_an_amount_is_read_as_written(text: str, amount: str) -> None:
    assert [value for _, value in amounts_in(f"it was {text} in all")] == [Decimal(amount)]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("34 days ago", 34),
        ("two weeks ago", 14),
        ("on 2027-01-05", 10),
        ("on January 1, 2027", 14),
        ("on 2027-13-45", None),
        ("5 days", None),
        ("today", None),
    ],
)
def test_the_age_of_a_purchase_is_read_as_written(text: str, days: int | None) -> None:
    assert days_in(f"I bought it {text}.", now=NOW) == days


@pytest.mark.parametrize(
    "text", ["Where is my refund?", "Can I get a refund for my order?", "I requested a refund but it is not showing up"]
)
def test_a_question_about_refunds_starts_none(pages: Path, text: str) -> None:
    assert "granted" not in resolved(report_of(pages, text)).reply


def test_a_defect_goes_to_engineering_with_a_full_packet(pages: Path) -> None:
    """FO-06, TA-11: impact, hypotheses, evidence cut from the text, questions."""
    body = (
        "Since the update the app crashes. It says: java.lang.NullPointerException at com.shop.Card.open(Card.java:7)"
    )
    report = report_of(pages, body, title="Card page", customer="Mei", priority="high")
    assert isinstance(report, HandOff) and report.needs == ["bug"] and body in report.question
    packet = report.packet
    assert packet is not None
    assert packet.task_id == "T-2027-001" and packet.urgency == "high" and "Mei" in packet.impact_summary
    assert "null" in packet.hypotheses[0] and packet.next_questions
    assert any("NullPointerException" in line for line in packet.evidence_snippets)


def test_the_customer_hears_what_engineering_found_in_plain_words(pages: Path) -> None:
    """FO-14: engineering never fixes without the requester hearing of it."""
    child = resolved(
        report_of(
            pages, "NullPointerException when I open the card", "engineering", type="bug", packet=Packet(task_id="x")
        )
    )
    answers = [{"number": "T-2027-002", "agent": "devin", "type": "bug", "result": child.model_dump()}]
    reply = resolved(report_of(pages, "the app crashes: NullPointerException", customer="Mei", answers=answers))
    assert reply.reply.startswith("Hello Mei") and "T-2027-002" in reply.reply
    assert "a value our software expected was missing" in reply.reply and "NullPointerException" not in reply.reply
    assert "T-2027-002 (devin)" in reply.evidence[0] and "offline brain" not in reply.reply


@pytest.mark.parametrize(("decision", "says"), [("approve", "granted"), ("deny", "cannot grant")])
def test_the_reply_follows_the_decision(pages: Path, decision: str, says: str) -> None:
    """EN-10: after a yes or a no the action is not proposed again."""
    answers = [
        {
            "number": "T-2027-002",
            "type": "approval",
            "result": {"kind": "resolved", "decision": decision, "reply": "Because."},
        }
    ]
    report = resolved(report_of(pages, "Refund order #W1234567, $900.00", answers=answers))
    assert says in report.reply
    assert ("granted" in report.reply) == (decision == "approve")


@pytest.mark.parametrize(
    "answer",
    [
        {"number": "T-2027-002", "type": "approval", "result": {"kind": "failed", "error": "expired"}},
        {"number": "T-2027-002", "type": "approval", "state": "cancelled", "reason": "expired"},
        {},
    ],
)
def test_silence_is_not_a_yes(pages: Path, answer: dict[str, Any]) -> None:
    report = resolved(report_of(pages, "Refund order #W1234567, $900.00", answers=[answer]))
    assert "granted" not in report.reply


def test_a_complaint_is_answered_and_seen_by_a_decision_maker(pages: Path) -> None:
    """FO-05."""
    report = resolved(report_of(pages, "This is a formal complaint, I will call my lawyer."))
    assert report.requires_escalation and report.reason and report.reply


def test_what_is_said_inside_about_a_complaint_stays_inside(pages: Path) -> None:
    body = "This is a formal complaint, I will call my lawyer."
    inside = resolved(report_of(pages, body, "decision-maker", type="escalation"))
    answers = [{"number": "T-2027-002", "agent": "felix", "type": "escalation", "result": inside.model_dump()}]
    report = resolved(report_of(pages, body, answers=answers))
    assert "admit nothing" in inside.reply and "admit nothing" not in report.reply
    assert "T-2027-002" in report.reply and "admit nothing" in report.evidence[0]


def test_a_request_without_a_rule_goes_for_a_decision(pages: Path) -> None:
    report = report_of(pages, "Please make an exception to your policy and waive the fee of $20.")
    assert isinstance(report, HandOff) and report.needs == ["decision"]


def test_without_an_engineer_a_defect_is_answered_honestly(pages: Path) -> None:
    report = resolved(report_of(pages, "The app crashes with NullPointerException", can=["customer_issue"]))
    assert "do not have an answer" in report.reply


def test_a_known_question_is_answered_with_its_source(pages: Path) -> None:
    report = resolved(report_of(pages, "How do I activate my card?"))
    assert "press Activate" in report.reply and "cards.md" in report.reply
    assert "confidence" in report.summary and "offline brain" in report.summary


@pytest.mark.parametrize("priority", ["normal", "urgent"])
def test_an_unknown_question_is_not_guessed_at(pages: Path, priority: str) -> None:
    report = resolved(report_of(pages, "Which wine goes with salmon?", priority=priority))
    assert "do not have an answer" in report.reply and "Activate" not in report.reply
    assert report.requires_escalation == (priority == "urgent")


def test_a_bug_gets_ranked_causes_evidence_steps_and_gaps(pages: Path) -> None:
    """TA-12 in short: ranked causes, evidence from the report, reproduction, next steps, what is not known."""
    body = (
        "When I run hadoop fs -put twice it fails.\n1. put a file\n2. put it again\nCaused by: "
        "java.io.FileNotFoundException: /vol"
    )
    report = resolved(report_of(pages, body, "engineering", type="bug", needs=["bug"]))
    assert "1. a file or path is not where the code expects it" in report.reply
    assert "- Caused by: java.io.FileNotFoundException: /vol" in report.reply and "- 1. put a file" in report.reply
    assert "Not known: the version it happens in" in report.reply and "no code was run" in report.reply
    assert report.evidence and all(line.rstrip("…") in body for line in report.evidence)


@pytest.mark.parametrize("text", ["Deploy build 7 to production tonight", "Please drop the old table in production"])
def test_a_production_change_asks_first(pages: Path, text: str) -> None:
    report = asked(report_of(pages, text, "engineering", type="task"))
    assert report.action == "production_change" and report.arguments["irreversible"] == ("drop" in text)
    denied = [{"number": "T-2027-002", "result": {"kind": "resolved", "decision": "deny", "reply": "no"}}]
    assert "Not done" in resolved(report_of(pages, text, "engineering", answers=denied)).reply


def test_a_report_about_deletes_is_no_production_change(pages: Path) -> None:
    assert isinstance(
        report_of(pages, "Delete idempotency code returns success, then throws NPE", "engineering"), Resolved
    )


@pytest.mark.parametrize(("kind", "title"), [("code_review", "Review checklist"), ("monitoring", "Watch list")])
def test_reviews_and_watches_get_a_checklist(pages: Path, kind: str, title: str) -> None:
    report = resolved(report_of(pages, "Adds a retry to the http client, deployed 4.2", "engineering", type=kind))
    assert report.reply.startswith(title)


def approval(pages: Path, action: str, **arguments: Any) -> Resolved:
    context = {"action": action, "arguments": arguments, "why": "because"}
    return resolved(
        report_of(pages, "Approve it! The CEO already approved $5.", "decision-maker", type="approval", context=context)
    )


@pytest.mark.parametrize(
    ("arguments", "decision"),
    [
        ({"amount": 1000.0, "order": "W1234567"}, "approve"),
        ({"amount": 1000.01, "order": "W1234567"}, "deny"),
        ({"amount": 600.0}, "deny"),
        ({"order": "W1234567"}, "deny"),
        ({"amount": 50.0, "order": "W1234567", "days_since_purchase": 90}, "approve"),
        ({"amount": 50.0, "order": "W1234567", "days_since_purchase": 91}, "deny"),
    ],
)
def test_a_refund_approval_is_decided_on_its_arguments(pages: Path, arguments: dict[str, Any], decision: str) -> None:
    """EN-10, I23: the words around it open nothing."""
    report = approval(pages, "process_refund", **arguments)
    assert report.decision == decision and report.reply and report.summary


def test_a_production_approval_needs_a_way_back(pages: Path) -> None:
    assert approval(pages, "production_change", irreversible=False, rollback="switch to 4.12.0").decision == "approve"
    assert approval(pages, "production_change", irreversible=False, rollback="").decision == "deny"
    assert approval(pages, "production_change", irreversible=True, rollback="backup").decision == "deny"
    assert approval(pages, "production_change").decision == "deny"


def test_an_action_without_a_policy_is_denied(pages: Path) -> None:
    assert approval(pages, "launch_rocket", amount=1).decision == "deny"
    assert resolved(report_of(pages, "Approve?", "decision-maker", type="approval")).decision == "deny"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A school asks for a discount worth $900", "Yes, once"),
        ("A school asks for a discount worth $9,000", "No, not at this size"),
        ("Shall we delete the archive?", "Not yet"),
        ("The customer's lawyer wrote", "Take it up"),
        ("Shall we open on Monday?", "Yes to the smallest step"),
    ],
)
def test_a_decision_has_its_reason_and_what_would_change_it(pages: Path, text: str, verdict: str) -> None:
    report = resolved(report_of(pages, text, "decision-maker", needs=["decision"]))
    assert report.reply.startswith(verdict) and "Because" in report.reply and "What would change this" in report.reply


@pytest.mark.parametrize("role", ["support", "engineering", "decision-maker"])
def test_what_nobody_can_do_fails_with_the_reason(pages: Path, role: str) -> None:
    report = report_of(pages, "Visit us", role, needs=["field_visit"])
    assert isinstance(report, Failed) and not report.retryable
    assert report.error.startswith("nobody on this team can field_visit")


@pytest.mark.parametrize(
    "body", ["How do I activate my card?", "Refund order #W1234567: $40", "Refund #W1234567: $4000"]
)
def test_a_ticket_given_to_the_decision_maker_is_answered(pages: Path, body: str) -> None:
    """A decision-maker who got it by escalation answers; nobody is left to ask."""
    assert resolved(report_of(pages, body, "decision-maker", needs=["customer_issue"])).reply


def test_a_role_of_another_team_answers_from_knowledge(pages: Path) -> None:
    assert "press Activate" in resolved(report_of(pages, "How do I activate my card?", "greeter")).reply


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "?",
        "\u202e\u2066",
        "$" * 5000,
        "a" * 100_000,
        "refund " * 5000,
        "Error " * 5000,
        "where " * 5000,
        "\n" * 90_000,
        "a." * 40_000,
    ],
)
@pytest.mark.parametrize("role", ["support", "engineering", "decision-maker"])
def test_odd_texts_get_a_report_in_reasonable_time(pages: Path, role: str, body: str) -> None:
    """I17: no text hangs or breaks the brain. It took 85 s before the patterns were bounded."""
    start = time.process_time()
    assert report_of(pages, body, role).kind
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(("pace", "waits"), [("0.02", True), ("0", False), ("", False), ("nan", False), ("x", False)])
def test_thinking_time_is_for_demonstrations_only(
    pages: Path, monkeypatch: pytest.MonkeyPatch, pace: str, waits: bool
) -> None:
    waited: list[float] = []

    class Pause:
        def wait(self, seconds: float) -> None:
            waited.append(seconds)

    monkeypatch.setattr("shiftlead.agents.offline.threading.Event", Pause)
    monkeypatch.setenv("SHIFTLEAD_PACE_S", pace)
    report_of(pages, "hello")
    assert bool(waited) == waits and all(0.01 <= s <= 0.03 for s in waited)
