"""What makes two messages the same matter, and what does not: equal when quotes, signatures and tracking are gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from shiftlead.config.team import Team
from shiftlead.coordinator.similar import rank
from shiftlead.queues.joining import (
    MAX_JOINED,
    MAX_LINKS,
    compatible,
    fingerprint,
    link_marks,
    marks_for,
    marks_of_links,
    why_joined,
)
from shiftlead.queues.letters import written
from shiftlead.queues.ticket import Draft, Ticket

TEXT = "I was charged twice for order 4711.\nPlease send one back."
JOB = "https://ci.example/jobs/1173"


def a_draft(body: str = TEXT, **fields: Any) -> Draft:
    return Draft.model_validate({"title": "Charged twice", "reporter": "ada@example.com", "body": body} | fields)


def a_ticket(**fields: Any) -> Ticket:
    return Ticket.model_validate({"id": "1", "number": "T-2026-001", "team": "front_office"} | fields)


REPEATS = {
    "case, blanks, invisible characters": "i was  CHARGED twice\u200b for order 4711. Please\tsend one\u00ad back.",
    "a signature": TEXT + "\n\n-- \nAda Berg\n+49 30 1234",
    "the word of a telephone": TEXT + "\n\nSent from my iPhone",
    "the word of a German telephone": TEXT + "\nVon meinem iPhone gesendet",
    "a quote below": TEXT + "\n\nOn Tue, 3 Nov 2026 at 10:11, Support <help@example.com> wrote:\n> we look\n> into it",
    "a quote whose head is broken in two": TEXT
    + "\n\nOn Tue, 3 Nov 2026 at 10:11, Support\n<h@x.example> wrote:\n> hm",
    "a German quote": TEXT + "\n\nAm 3. Nov. 2026 um 10:11 schrieb Support:\n> wir schauen",
    "a French quote": TEXT + "\n\nLe 3 nov. 2026 à 10:11, Support a écrit :\n> on regarde",
    "a Spanish quote": TEXT + "\n\nEl 3 nov 2026, Support escribió:\n> lo vemos",
    "the letter below, as Outlook puts it": TEXT + "\n\nVon: Support <help@example.com>\nGesendet: 3. November 2026\n"
    "An: Ada\nBetreff: AW: Charged twice\n\nWir schauen.",
    "the letter below a line": TEXT
    + "\n\n-----Original Message-----\nFrom: Support\nSent: Tuesday\nTo: Ada\n\nWe look.",
    "passed on": "---------- Forwarded message ---------\nFrom: Ada\nDate: Tue, 3 Nov\nSubject: x\nTo: us\n\n" + TEXT,
}


@pytest.mark.parametrize("body", REPEATS.values(), ids=list(REPEATS))
def test_the_same_words_by_the_same_requester_are_a_repeat(team: Team, body: str) -> None:
    """EN-02: quotes and signatures stripped."""
    assert fingerprint(a_draft(body), team) == fingerprint(a_draft(), team) != ""


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "Re: AW: charged twice"},
        {"reporter": " ADA@Example.com "},
        {"source": "email", "urgency": "high", "priority": "high"},
        {"type": "email"},
    ],
    ids=lambda f: next(iter(f)),
)
def test_how_it_came_makes_no_other_matter(team: Team, fields: dict[str, Any]) -> None:
    """EN-02: a reply prefix, the channel, and how urgent it is called do not count."""
    assert fingerprint(a_draft(**fields), team) == fingerprint(a_draft(), team)


OTHERS: dict[str, dict[str, Any]] = {
    "another reporter": {"reporter": "bob@example.com"},
    "another customer of the same desk": {"customer": "Bob"},
    "another type": {"type": "billing"},
    "another number": {"body": TEXT.replace("4711", "4712")},
    "another order in the context": {"context": {"order": 4712}},
    "another job": {"links": ["https://ci.example/jobs/1174"]},
    "for another agent": {"assigned_to": "felix_ceo"},
    "more below a line of dashes": {"body": TEXT + "\n--\n" + "The second one is order 4712, of the same day. " * 3},
    "a journey that looks like a letter": {"body": TEXT + "\nFrom: Berlin\nTo: Rome\nDate: 3 May"},
    "what somebody said, not quoted": {"body": TEXT + "\nOn 3 May support wrote:\nYou get 12 euros"},
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=list(OTHERS))
def test_whatever_else_differs_makes_another_matter(team: Team, fields: dict[str, Any]) -> None:
    """EN-02: likeness never merges; what is not surely a quote or a signature was said now."""
    assert fingerprint(a_draft(**fields), team) != fingerprint(a_draft(), team)


def test_a_journey_is_not_cut_off_where_it_looks_like_a_letters_head(team: Team) -> None:
    to_rome, to_oslo = (a_draft(f"Please book it\nFrom: Berlin\nTo: {city}\nDate: 3 May") for city in ("Rome", "Oslo"))
    assert fingerprint(to_rome, team) != fingerprint(to_oslo, team)


@pytest.mark.parametrize(
    "fields",
    [{"reporter": ""}, {"title": "", "body": "help!"}, {"title": "", "body": "> " + TEXT.replace("\n", "\n> ")}],
    ids=["nobody is named", "hardly a word", "only a quote"],
)
def test_what_cannot_be_told_apart_has_no_fingerprint(team: Team, fields: dict[str, Any]) -> None:
    assert fingerprint(a_draft(**fields), team) == ""


def test_a_team_may_switch_either_off(team: Team) -> None:
    draft = a_draft(links=[JOB])
    no_repeats = team.model_copy(update={"intake": team.intake.model_copy(update={"join_repeats": False})})
    no_links = team.model_copy(update={"intake": team.intake.model_copy(update={"join_links": False})})
    assert marks_for(draft, no_repeats) == link_marks(draft, team)
    assert marks_for(draft, no_links) == [fingerprint(draft, team)]


@pytest.mark.parametrize(
    "link",
    [
        "http://ci.example/jobs/1173",
        "https://CI.Example:443/jobs/1173/",
        "https://ci.example/jobs/1173?utm_source=mail&utm_campaign=x&fbclid=1#log",
        "ci.example/jobs/1173",
        "https://somebody:secret@ci.example/jobs/1173",
    ],
)
def test_a_link_has_one_spelling(team: Team, link: str) -> None:
    assert link_marks(a_draft(links=[link]), team) == link_marks(a_draft(links=[JOB]), team) != []


@pytest.mark.parametrize(
    "link",
    [
        "https://ci.example", "https://ci.example/", "https://shop.example/faq", "https://shop.example/?utm_source=4711",
        "mailto:ada1@example.com", "tel:+4930123456", "https://ci.example:99999/jobs/1", "http://[::1/1", "see below",
        "", "data:text/plain,4711",
    ],
)  # fmt: skip
def test_a_link_that_names_no_one_thing_is_no_link_to_join_by(team: Team, link: str) -> None:
    assert link_marks(a_draft(links=[link]), team) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://ci.example/jobs/1173", "https://ci.example/jobs/1174"),
        ("https://ci.example/jobs/1173", "https://ci.example:8443/jobs/1173"),
        ("https://ci.example/job?id=1", "https://ci.example/job?id=2"),
        ("https://app.example/#/job/1", "https://app.example/#/job/2"),
        ("9f8e7d6..1a2b3c4", "9f8e7d6..1a2b3c5"),
    ],
)
def test_two_things_have_two_marks(team: Team, one: str, other: str) -> None:
    assert len({*link_marks(a_draft(links=[one]), team), *link_marks(a_draft(links=[other]), team)}) == 2


def test_a_range_of_commits_is_a_link_and_the_order_of_parameters_is_none(team: Team) -> None:
    same = (
        [["9F8E7D6..1A2B3C4"], ["9f8e7d6..1a2b3c4"]],
        [["https://x.example/a?b=1&c=2"], ["https://x.example/a?c=2&b=1"]],
    )
    for one, other in same:
        assert link_marks(a_draft(links=one), team) == link_marks(a_draft(links=other), team) != []


def test_at_most_twenty_links_count(team: Team) -> None:
    assert len(link_marks(a_draft(links=[f"{JOB}{n}" for n in range(100)]), team)) == 20


@pytest.mark.parametrize(
    ("mine", "theirs", "may"),
    [
        ("bug", "bug", True),
        ("bug_report", "bug", True),
        ("email", "bug", True),
        ("bug", "message", False),  # an incident would go where whoever wrote first wanted it
        ("billing", "bug", False),
    ],
)
def test_links_join_only_what_may_be_one_matter(team: Team, mine: str, theirs: str, may: bool) -> None:
    assert compatible(a_draft(type=mine), a_ticket(type=theirs), team) is may


def test_a_ticket_takes_no_more_than_it_can_hold(team: Team) -> None:
    """EN-02, I10: at most 100 others and 100 links; nor a closed ticket, a part of one, or a number of the sender's."""
    draft = a_draft(links=[JOB])
    marks = marks_for(draft, team)
    owner = a_ticket(marks=marks, links=[JOB])
    full = owner.changed(joined=[{}] * MAX_JOINED)
    many = owner.changed(links=[f"{JOB}/{n}" for n in range(MAX_LINKS)])

    assert why_joined(draft, owner, marks, team) == "the same text by the same requester"
    assert why_joined(draft, owner.changed(marks=marks[1:]), marks, team) == f"the same link: {JOB}"
    for no in (full, many, owner.changed(state="resolved"), owner.changed(parent="2"), owner.changed(marks=[])):
        assert why_joined(draft, no, marks, team) == ""
    assert why_joined(a_draft(number="T-2026-777", links=[JOB]), owner, marks, team) == ""


HOSTILE = {
    "accents in the wrong order": "\u0315\u0300" * 60_000,
    "one letter that stands for eighteen": "\ufdfa" * 60_000,
    "signatures": "--\n" * 80_000,
    "heads of quotes": "On 1 x wrote:\n" * 18_000,
    "half heads of quotes": "On 1 " * 50_000,
    "heads of letters": "From: a@b\n" * 25_000,
    "dashes": "-" * 250_000,
    "quotes": "> " * 120_000,
    "empty lines": "\n" * 250_000,
    "letters to and from": "from: a@b\nto: c\n" * 14_000,
    "one letter a line": "a\n" * 125_000,
    "words that stand for many": "\ufdfa " * 60_000,
    "lines that begin as a quote's head": "on 1\n" * 50_000,
}
WORST_S = 5 * 0.020  # five times what is allowed on an idle machine


@pytest.mark.parametrize("body", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_text_costs_no_more_than_any_other(team: Team, body: str) -> None:
    """I17: bounded time. Any of these took minutes where a step looked at the whole rest of the text for each line."""
    whole = body.encode()
    for size in (len(whole), 32_000):  # what is larger is no repeat of anything; the second is as large as one can be
        draft = a_draft(whole[:size].decode(errors="ignore"))
        assert spent(lambda draft=draft: (fingerprint(draft, team), marks_for(draft, team))) < WORST_S
    assert spent(lambda: written(body)) < WORST_S


@pytest.mark.parametrize("query", ["a&" * 980, "&".join(f"é{n}=é" for n in range(50)), "a" * 1_980])
def test_many_long_links_cost_no_more_than_any_other_text(team: Team, query: str) -> None:
    """I17: a hundred links as long as a link may be."""
    draft = a_draft(links=[f"https://a.b/{n}?{query}" for n in range(100)])
    assert spent(lambda: (fingerprint(draft, team), link_marks(draft, team), marks_for(draft, team))) < WORST_S


def test_a_link_with_too_many_parameters_or_too_long_is_no_link_to_join_by(team: Team) -> None:
    """I17: no mark, and still another matter than the same words with another such link."""
    many, long = (f"https://a.b/1?{'a=1&' * 50}b=2", f"https://a.b/1?{'a' * 2_000}")
    assert marks_of_links([f"https://a.b/1?{'&'.join(f'a{n}=1' for n in range(50))}"]) != []
    assert marks_of_links([many]) == marks_of_links([long]) == []
    assert fingerprint(a_draft(links=[many]), team) != fingerprint(a_draft(links=[many + "3"]), team)
    links = [f"{JOB}{n}" for n in range(30)]
    assert fingerprint(a_draft(links=links), team) != fingerprint(a_draft(links=[*links[:-1], f"{JOB}99"]), team)


def test_beyond_the_part_that_is_looked_at_everything_is_kept() -> None:
    """Two long messages that differ never look equal: in the middle of one nothing is a signature."""
    long = "Yes it is.\n> no\n" * 1_400
    end = "> kept\n-- \nAda"
    assert len(long) > 20_000
    said = written(long + end)
    assert "> no" not in said[:10_000] and said.endswith(end)
    at_the_edge = "a" * 19_900 + "\n--\nmine\n" + "b" * 500
    assert written(at_the_edge) == at_the_edge


def spent(work: Callable[[], object]) -> float:
    """Seconds of the processor, the better of two runs."""
    took = []
    for _ in range(2):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def test_what_somebody_wrote_between_the_quotes_stays() -> None:
    said = written("> is it order 4711?\nYes it is.\n> and the day?\nThe 3rd of May.")
    assert said.splitlines() == ["Yes it is.", "The 3rd of May."]


def test_likeness_suggests_with_its_reasons_and_a_link_comes_first() -> None:
    """EN-02: at most five, never the ticket itself, nor parts of somebody's work."""
    ticket = a_ticket(title="Charged twice for my order", body=TEXT, links=[JOB])
    alike = [a_ticket(id=f"a{n}", number=f"T-2026-01{n}", title="Order charged twice", body=TEXT) for n in range(7)]
    linked = a_ticket(id="l", number="T-2026-020", title="Nightly job is red", links=[f"{JOB}/#log"], state="resolved")
    part = a_ticket(id="p", number="T-2026-021", title=ticket.title, body=TEXT, parent="1")
    other = a_ticket(id="o", number="T-2026-022", title="How do I change my address", body="We moved to Rome.")

    found = rank(ticket, [*alike, linked, part, other, ticket])

    assert [s.number for s in found] == ["T-2026-020", "T-2026-010", "T-2026-011", "T-2026-012", "T-2026-013"]
    assert found[0].why[0] == "same link" and found[0].state == "resolved"
    assert {"charg", "order"} <= set(found[1].why)
    assert rank(other, [*alike, linked]) == []
    assert rank(ticket, []) == []
