"""A reply is looked at before it leaves: submitted, passed or sent back, revised, looked at again (SD-07, SD-08)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from shiftlead.agents.knowledge import Knowledge
from shiftlead.agents.offline import OfflineBrain
from shiftlead.agents.work import build_work
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.why import explain
from shiftlead.queues.errors import BadInput, Refused
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskRequester, Failed, Finding, FollowUp, HandOff, Later, Resolved, Reviewed
from shiftlead.queues.ticket import Ticket
from tests.conformance.test_cycle import Floor
from tests.conftest import open_desk

MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()
NIGHT = MONDAY + 14 * 3600
TEAM = """
team: crew
agents:
  ann: {{role: support, can: [billing], capacity: 20{ann}}}
  ben: {{role: support, can: [billing], capacity: 20}}
  quinn: {{role: checker, can: [quality_check], capacity: 20{quinn}}}
  zoe: {{role: decision-maker, can: [decision, approval], capacity: 20{zoe}}}
routes:
  - needs: [billing]
check: {check}
escalations:
  - ladder: [{{after: 1h, notify: zoe}}, {{after: 2h, reassign: zoe}}]
"""
AGENTS = ("ann", "ben", "quinn", "zoe")
NO = Reviewed(passed=False, failed_checks=["complete"], notes="the date is missing")
YES = Reviewed(passed=True, findings=[Finding(check="complete", passed=True, evidence=["answers the question"])])
Make = Callable[..., Floor]


@pytest.fixture
def crew(settings: Settings, tmp_path: Path) -> Make:
    def made(check: str = "{rounds: 3}", at: float = MONDAY, present: tuple[str, ...] = AGENTS, **words: str) -> Floor:
        words = {name: words.get(name, "") for name in ("ann", "quinn", "zoe")}
        (tmp_path / "team.yaml").write_text(TEAM.format(check=check, **words))
        client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
        clock = ManualClock(at)
        floor = Floor(open_desk(client, load_team(tmp_path, settings), clock, settings), clock)
        floor.agents = present
        floor.run()
        return floor

    return made


def submitted(floor: Floor, reply: str = "a first try", **fields: Any) -> Ticket:
    """A ticket whose author has just reported; the checker has been found."""
    ticket_id = floor.enqueue(**fields)
    floor.report(ticket_id, Resolved(reply=reply))
    return floor.desk.find(ticket_id)


def test_a_reply_goes_to_a_checker_and_leaves_as_its_authors(crew: Make) -> None:
    """SD-07: all pass, approved; who wrote it stays who did it, and the verdict is kept with its evidence."""
    floor = crew()
    ticket = submitted(floor, customer="mia")
    author = ticket.review.author if ticket.review else ""
    assert (ticket.assigned_to, ticket.needs, ticket.step, ticket.in_review) == (
        "quinn",
        ["quality_check"],
        "review",
        1,
    )
    assert ticket.first_reply_at is None and author in ("ann", "ben") and author in ticket.excluded

    floor.clock.advance(60)
    done = floor.report(ticket.id, YES)
    assert (done.state, done.assigned_to, done.needs, done.excluded) == (State.RESOLVED, author, ["billing"], [])
    assert (done.result or {})["reply"] == "a first try" and done.first_reply_at == floor.clock.now()
    verdict = floor.desk.history(ticket.id)[-1].detail["review"]
    assert (verdict["by"], verdict["author"], verdict["needs_revision"]) == ("quinn", author, False)
    assert verdict["findings"] == [{"check": "complete", "passed": True, "evidence": ["answers the question"]}]
    assert done.review is not None and done.review.verdict == verdict and not done.in_review
    assert floor.moves(ticket.id) == ["accept", "triage", "assign", "claim", "submit", "assign", "claim", "resolve"]


def test_a_reply_that_failed_is_revised_by_its_author_and_looked_at_again(crew: Make) -> None:
    """SD-08: the source never looked at the second one. The failed names and the notes go with it."""
    floor = crew()
    ticket = submitted(floor)
    author = ticket.review.author if ticket.review else ""
    back = floor.report(ticket.id, NO)
    assert (back.state, back.prefers, back.named, back.needs) == (State.READY, author, None, ["billing"])
    assert (back.checks, back.round, back.excluded, back.step) == (["complete"], 1, [], "")
    assert (back.result or {})["reply"] == "a first try"
    assert back.review is not None and back.review.verdict is not None
    assert (back.review.verdict["notes"], back.review.verdict["needs_revision"]) == ("the date is missing", True)
    assert floor.desk.find(ticket.id).assigned_to == author

    floor.report(ticket.id, Resolved(reply="a second try"))
    again = floor.desk.find(ticket.id)
    assert (again.in_review, again.assigned_to, again.checks) == (True, "quinn", ["complete"])
    done = floor.report(ticket.id, YES)
    assert ((done.result or {})["reply"], done.state, done.checks) == ("a second try", State.RESOLVED, [])
    assert floor.moves(ticket.id).count("submit") == 2


def test_somebody_else_may_revise_it_and_neither_of_them_judges_it(crew: Make) -> None:
    """SD-08: by what the ticket needed before the review, not by what the checker can."""
    floor = crew()
    ticket = submitted(floor)
    author = ticket.review.author if ticket.review else ""
    other = {"ann": "ben", "ben": "ann"}[author]
    floor.desk.set_agent(author, actor="person:lead", reason="ill", paused=True)
    floor.report(ticket.id, NO)
    assert floor.desk.find(ticket.id).assigned_to == other
    floor.report(ticket.id, Resolved(reply="mine"))
    again = floor.desk.find(ticket.id)
    assert again.review is not None and again.review.authors == [author, other]
    assert set(again.excluded) == {author, other}
    for name in again.excluded:
        with pytest.raises(Refused, match="may not take"):
            floor.desk.reassign(again.id, to=name, actor="person:lead", reason="")
    assert floor.report(ticket.id, YES).assigned_to == other


@pytest.mark.parametrize("zoe", ["", ", human: true"], ids=["a program", "a person"])
def test_after_its_rounds_a_decision_maker_has_it_with_the_reason(crew: Make, zoe: str) -> None:
    """SD-08, I10: never a loop, and nobody but the one who decides lets it leave."""
    floor = crew("{rounds: 2}", zoe=zoe)
    ticket = submitted(floor)
    floor.report(ticket.id, NO)
    floor.report(ticket.id, Resolved(reply="a second try"))
    ended = floor.report(ticket.id, NO)
    assert (ended.state, ended.named, ended.round) == (State.READY, "zoe", 2)
    assert ended.reason == "2 reviews failed, the last for complete; zoe decides"
    held = floor.desk.find(ticket.id)
    assert (held.assigned_to, held.checks, held.in_review) == ("zoe", ["complete"], False)
    assert (held.result or {})["reply"] == "a second try"
    done = floor.report(ticket.id, Resolved(reply="my word"))
    assert (done.state, done.assigned_to) == (State.RESOLVED, "zoe")


def test_after_its_rounds_nobody_else_lets_it_leave(crew: Make) -> None:
    """I10: not even who gets it from a person; and where nobody decides the ticket fails, it is not approved."""
    floor = crew("{rounds: 1}")
    ticket = submitted(floor)
    floor.report(ticket.id, NO)
    floor.desk.reassign(ticket.id, to="ben", actor="person:lead", reason="try you")
    floor.run()
    back = floor.report(ticket.id, Resolved(reply="mine"))
    assert (back.state, back.named) == (State.READY, "zoe")
    assert "1 reviews of its reply have failed" in back.reason

    alone = submitted(floor, "about something else", customer="tom")
    floor.desk.team = floor.desk.team.model_copy(
        update={"agents": {n: a for n, a in floor.desk.team.agents.items() if n != "zoe"}}
    )
    lost = floor.report(alone.id, NO)
    assert (lost.state, lost.checks) == (State.FAILED, ["complete"])
    assert "no decision-maker is left" in lost.reason


def test_a_checker_reports_its_verdict_and_nothing_else(crew: Make) -> None:
    """SD-07: an answer of its own would take the place of the author's unseen."""
    floor = crew()
    ticket = submitted(floor)
    held = floor.claim(ticket.id)
    for report in (Resolved(reply="mine"), HandOff(to="ann", question="?"), AskRequester(question="?")):
        with pytest.raises(BadInput, match="is in review"):
            floor.desk.report(held.id, held.token, report, agent="quinn")
    for verdict in (Reviewed(passed=True, failed_checks=["complete"]), Reviewed(passed=False)):
        with pytest.raises(BadInput, match="either passed, or names"):
            floor.desk.report(held.id, held.token, verdict, agent="quinn")
    later = floor.desk.report(held.id, held.token, Later(at=floor.clock.now() + 60), agent="quinn")
    assert (later.state, later.in_review) == (State.SCHEDULED, True)
    floor.later(61)
    assert floor.desk.find(ticket.id).assigned_to == "quinn"
    assert floor.report(ticket.id, YES).state is State.RESOLVED


def test_a_checker_that_gives_up_closes_nothing(crew: Make) -> None:
    """I10: the reply is not lost, and it does not leave either."""
    floor = crew()
    ticket = submitted(floor)
    back = floor.report(ticket.id, Failed(error="the page is gone"))
    assert (back.state, back.named, back.checks) == (State.READY, "zoe", ["not_judged"])
    assert "could not be judged (the page is gone)" in back.reason
    again = submitted(floor, customer="tom")
    assert floor.report(again.id, Failed(error="a timeout", retryable=True)).in_review


def test_who_decides_instead_of_a_checker_has_the_last_word(crew: Make) -> None:
    """SD-08, I10: however early it was asked; the same checker would only give up again, and the ticket fail."""
    floor = crew("{rounds: 3}")
    ticket = submitted(floor)
    floor.report(ticket.id, Failed(error="the page is gone"))
    done = floor.report(ticket.id, Resolved(reply="my word"))
    assert (done.state, done.assigned_to, done.in_review) == (State.RESOLVED, "zoe", False)


def test_what_a_ticket_in_review_needs_is_set_right_for_its_next_author(crew: Make) -> None:
    """EN-08, SD-07: an edit does not take it away from its checker, and the verdict does not undo the edit."""
    floor = crew()
    ticket = submitted(floor)
    edited = floor.desk.edit(ticket.id, {"needs": ["decision"]}, actor="person:lead", reason="not about money")
    assert (edited.needs, edited.assigned_to, edited.in_review) == (["quality_check"], "quinn", True)
    line = floor.desk.history(ticket.id)[-1]
    assert line.detail == {"changed": {"needs": ["decision"]}, "before": {"needs": ["billing"]}}
    back = floor.report(ticket.id, NO)
    assert back.needs == ["decision"] and (back.prefers or back.named) in ("ann", "ben")


def test_a_person_gives_a_ticket_in_review_to_whoever_writes_another_reply(crew: Make) -> None:
    """EN-08: who has it then works on it, and does not hear that it is in review; the new reply is looked at, too."""
    floor = crew()
    ticket = submitted(floor)
    given = floor.desk.reassign(ticket.id, needs=["billing"], actor="person:lead", reason="not for quinn")
    assert (given.in_review, given.excluded, given.step, given.round) == (False, [], "", 0)
    floor.run()
    author = floor.desk.find(ticket.id).assigned_to
    assert author in ("ann", "ben")
    again = floor.report(ticket.id, Resolved(reply="another"))
    assert again.in_review and again.review is not None and again.review.author == author
    floor.desk.reassign(ticket.id, needs=["quality_check"], actor="person:lead", reason="another judge")
    floor.run()
    assert floor.desk.find(ticket.id).in_review
    assert floor.report(ticket.id, YES).assigned_to == author


def test_without_a_checker_the_ladder_looks_after_the_reply(crew: Make) -> None:
    """I11: whoever it gives it to judges it; `why` says what it waits for."""
    floor = crew(present=("ann", "ben", "zoe"))
    ticket = submitted(floor)
    assert (ticket.state, ticket.in_review) == (State.READY, True)
    said = explain(floor.desk, ticket, now=floor.clock.now())
    author = ticket.review.author if ticket.review else ""
    first = f"the reply of {author} is looked at before it leaves (quality_check, review 1 of 3)"
    assert said.reasons[0] == first and "quinn" in said.text
    floor.later(3_601)
    floor.later(3_600)
    given = floor.desk.find(ticket.id)
    assert (given.assigned_to, given.in_review) == ("zoe", True)
    assert floor.report(ticket.id, YES).assigned_to == author


def test_only_what_a_customer_reads_is_looked_at(crew: Make) -> None:
    """SD-01: a word to a colleague, an approval, a follow-up and another kind of ticket leave as they are."""
    floor = crew('{when: ticket.type != "internal"}')
    assert submitted(floor, type="internal").state is State.RESOLVED
    ticket_id = floor.enqueue(customer="mia")
    parent = floor.report(ticket_id, HandOff(needs=["decision"], question="may we?"))
    assert floor.report(parent.awaits[0], Resolved(reply="yes")).state is State.RESOLVED
    look = FollowUp(needs=["billing"], title="is it there?", after_s=60)
    floor.report(ticket_id, Resolved(reply="we may", follow_ups=[look]))
    in_review = floor.desk.find(ticket_id)
    assert in_review.in_review and len(in_review.children) == 1  # the follow-up comes when the reply leaves
    done = floor.report(ticket_id, YES)
    watch = floor.desk.find(done.children[-1])
    assert (watch.asked_by, watch.state) == (done.assigned_to, State.SCHEDULED)
    floor.later(61)
    assert floor.report(watch.id, Resolved(reply="it is")).state is State.RESOLVED


def test_a_condition_that_cannot_be_evaluated_asks_for_a_look(crew: Make) -> None:
    floor = crew("{when: ticket.context.tier == 'gold'}")
    assert submitted(floor, context={"tier": "basic"}).state is State.RESOLVED
    assert submitted(floor, customer="tom", body="and mine?", context={"tier": "gold"}).in_review
    assert submitted(floor, customer="eva", body="or mine?").in_review


def test_who_must_see_it_sees_it_before_the_checker(crew: Make) -> None:
    """SD-01: `requires_handoff` and `requires_escalation` come first."""
    floor = crew()
    ticket_id = floor.enqueue(requires_handoff=["zoe"])
    waits = floor.report(ticket_id, Resolved(reply="a draft"))
    assert waits.state is State.WAITING
    floor.report(waits.awaits[0], Resolved(reply="fine"))
    floor.report(ticket_id, Resolved(reply="angry", requires_escalation=True, reason="a threat"))
    floor.report(floor.desk.find(ticket_id).awaits[0], Resolved(reply="say sorry"))
    floor.report(ticket_id, Resolved(reply="sorry"))
    assert floor.desk.find(ticket_id).in_review


def test_a_follow_up_to_nobody_is_told_to_its_author(crew: Make) -> None:
    """The checker could not set it right."""
    floor = crew()
    held = floor.claim(floor.enqueue())
    with pytest.raises(BadInput, match="ghost"):
        bad = Resolved(reply="x", follow_ups=[FollowUp(to="ghost", question="?")])
        floor.desk.report(held.id, held.token, bad, agent=held.assigned_to or "")


def test_a_reply_that_passed_at_night_leaves_in_its_authors_hours(crew: Make) -> None:
    """EN-04: nothing has left before, and then it is the author's, not the checker's."""
    hours = ", action_hours: Mon-Fri 08:00-18:00 Europe/Berlin"
    floor = crew(ann=hours, at=NIGHT, present=("ann", "quinn", "zoe"))
    ticket = submitted(floor)
    held = floor.report(ticket.id, YES)
    assert (held.state, held.withheld, held.prefers, held.in_review) == (State.WAITING, True, "ann", False)
    floor.later(10 * 3600)
    done = floor.desk.find(ticket.id)
    assert (done.state, done.assigned_to, done.first_reply_at) == (State.RESOLVED, "ann", done.closed_at)


def test_a_ticket_cancelled_in_review_is_reopened_for_whom_it_was_for(crew: Make) -> None:
    """EN-08: not for a checker without a reply."""
    floor = crew()
    ticket = submitted(floor)
    floor.desk.cancel(ticket.id, actor="person:lead", reason="withdrawn")
    again = floor.desk.reopen(ticket.id, actor="person:lead", reason="after all")
    assert (again.needs, again.excluded, again.step, again.review, again.round) == (["billing"], [], "", None, 0)


def test_an_author_by_name_alone_gets_it_back_by_name(crew: Make) -> None:
    """SD-08: one who could not have taken it by what he can."""
    floor = crew()
    ticket_id = floor.enqueue(assigned_to="zoe")
    floor.report(ticket_id, Resolved(reply="as I see it"))
    assert (floor.report(ticket_id, NO).named, floor.desk.find(ticket_id).assigned_to) == ("zoe", "zoe")


def test_the_offline_brains_play_the_whole_loop(crew: Make, tmp_path: Path) -> None:
    """SD-07, SD-08: a made-up amount is found, taken out by its author, and what is left leaves."""
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / "refunds.md").write_text("# Refunds\nA refund takes 5 to 7 business days to show.\n")
    floor = crew()
    ticket_id = floor.enqueue("Where is my refund for order #W4689314?")

    def works(role: str) -> Ticket:
        held = floor.claim(ticket_id)
        work = build_work(floor.desk, held, floor.desk.team)
        report = OfflineBrain(role, tmp_path / "knowledge").handle(work)
        after = floor.desk.report(held.id, held.token, report, agent=work.agent)
        floor.run()
        return after

    made_up = "Hello,\n\nThe refund of order #W4689314 takes 5 to 7 business days. It is $13.37."
    floor.report(ticket_id, Resolved(reply=made_up))
    back = works("checker")
    assert (back.state, back.checks) == (State.READY, ["no_hallucinations"])
    works("support")
    done = works("checker")
    assert (done.state, done.round) == (State.RESOLVED, 1)
    reply = (done.result or {})["reply"]
    assert "13.37" not in reply and "takes 5 to 7 business days" in reply
    assert Knowledge(tmp_path / "knowledge").texts() == ["Refunds\nA refund takes 5 to 7 business days to show."]
