"""Who gets a ticket, rule by rule, and the sentences that say why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shiftlead.coordinator.assignment import AffinityRule, AgentFacts, choose
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

NOW = 1_800_000_000.0
DAY_S = 86_400.0
DEPLOYED = AffinityRule("deployed", DAY_S)


def a_ticket(**values: Any) -> Ticket:
    base = {"id": "x", "number": "T-2027-001", "team": "front_office", "created_at": NOW, "due": NOW + 60}
    return Ticket.model_validate(base | {"state": State.READY, "needs": ["billing"]} | values)


def agents(**facts: dict[str, Any]) -> dict[str, AgentFacts]:
    """Agents by name; each can billing and has two slots unless said otherwise."""
    base: dict[str, Any] = {"can": frozenset({"billing"}), "capacity": 2}
    return {name: AgentFacts(name=name, **(base | given)) for name, given in facts.items()}


AWAY: list[tuple[dict[str, Any], str]] = [
    ({"paused": True, "reason": "on leave"}, "iris is paused (on leave)"),
    ({"busy_until": NOW + 60, "reason": "audit"}, "iris is busy until 08:01:00 UTC (audit)"),
    ({"meeting_until": NOW + 60, "meeting": "stand-up"}, "iris is in a meeting until 08:01:00 UTC (stand-up)"),
    ({"off_until": NOW + 60}, "iris is off duty until 08:01:00 UTC"),
    ({"present": False}, "iris has no worker running"),
    ({"draining": True, "reason": "new host"}, "iris is draining: it ends what it has begun (new host)"),
]


@pytest.mark.parametrize(("facts", "words"), AWAY)
def test_who_is_away_gets_nothing_and_the_reason_is_said(facts: dict[str, Any], words: str) -> None:
    """EN-04, FO-09."""
    choice = choose(a_ticket(), agents(iris=facts), NOW)
    assert (choice.agent, choice.reasons, choice.blockers) == (None, [words], ["iris"])


def test_a_time_on_another_day_is_said_with_its_date() -> None:
    """EN-04: a time of day alone means today."""
    day = 86_400.0
    at = {"busy_until": NOW + 19 * 3600, "meeting_until": NOW + 2 * day, "off_until": NOW + 1e12}
    said = {name: AgentFacts("iris", frozenset(), 1, **{name: until}).away(NOW) for name, until in at.items()}
    assert said["busy_until"] == "iris is busy until 03:00:00 UTC"
    later = datetime.fromtimestamp(NOW + 2 * day, UTC)
    assert said["meeting_until"] == f"iris is in a meeting until {later:%Y-%m-%d} 08:00:00 UTC"
    assert said["off_until"].startswith("iris is off duty until 9999-")


def test_a_meeting_holds_as_a_stated_time_does_and_one_that_is_over_holds_nothing() -> None:
    """EN-04, FO-09: by the calendar as by command."""
    assert agents(felix={"meeting_until": NOW + 1})["felix"].held(NOW)
    assert not agents(felix={"meeting_until": NOW - 1})["felix"].held(NOW)
    assert choose(a_ticket(), agents(felix={"meeting_until": NOW - 1, "meeting": "over"}), NOW).agent == "felix"


def test_a_draining_agent_still_takes_what_is_named_for_it_or_prefers_it() -> None:
    """EN-04."""
    team = agents(iris={"draining": True}, bela={})
    assert choose(a_ticket(), team, NOW).agent == "bela"
    assert choose(a_ticket(named="iris"), team, NOW).agent == "iris"
    assert choose(a_ticket(prefers="iris"), team, NOW).agent == "iris"
    assert choose(a_ticket(), team, NOW, last=("iris", NOW)).agent == "bela"


def test_a_heavy_ticket_takes_several_slots() -> None:
    """EN-04: the heaviest of its needs counts."""
    team = agents(iris={"capacity": 4, "load": 2, "weights": {"billing": 3}})
    choice = choose(a_ticket(), team, NOW)
    assert (choice.agent, choice.reasons) == (None, ["iris has 2 of the 3 slots it takes"])
    team["iris"].load = 1
    assert choose(a_ticket(), team, NOW).agent == "iris"
    assert team["iris"].obstacle(NOW, weight=4) != ""
    assert team["iris"].load == 1, "choosing takes nothing"


def test_a_customers_matter_stays_with_the_agent_who_has_it() -> None:
    """FO-14: never two agents answering one customer; not even a better one."""
    choice = choose(a_ticket(prefers="bela"), agents(iris={"load": 1}, bela={}), NOW, conversation="iris")
    assert choice.agent == "iris"
    assert choice.reasons == ["iris has another ticket of this customer about the same"]


def test_a_ticket_waits_for_the_agent_who_has_the_customers_matter_while_it_is_only_full() -> None:
    """FO-14."""
    choice = choose(a_ticket(), agents(iris={"load": 2}, bela={}), NOW, conversation="iris")
    assert (choice.agent, choice.blockers) == (None, ["iris"])
    assert choice.reasons == [
        "iris has another ticket of this customer about the same, and one of us answers: iris is full (2 of 2 slots)"
    ]


def test_an_urgent_ticket_waits_for_nobody() -> None:
    """FO-11, FO-14."""
    choice = choose(a_ticket(priority="urgent"), agents(iris={"load": 2}, bela={}), NOW, conversation="iris")
    assert choice.agent == "bela"
    assert "but iris is full (2 of 2 slots)" in choice.reasons[0]


@pytest.mark.parametrize(("facts", "words"), [*AWAY, ({"can": frozenset({"bug"})}, "iris cannot billing")])
def test_a_customer_does_not_wait_for_an_agent_that_is_away(facts: dict[str, Any], words: str) -> None:
    """FO-14: and it says why another one answers."""
    choice = choose(a_ticket(), agents(iris=facts, bela={}), NOW, conversation="iris")
    assert choice.agent == "bela"
    assert choice.reasons[0] == f"iris has another ticket of this customer about the same, but {words}"


def test_a_customer_does_not_wait_for_an_agent_that_left_or_may_not_take_it() -> None:
    """FO-14."""
    gone = choose(a_ticket(), agents(bela={}), NOW, conversation="iris")
    assert (gone.agent, "iris pulls no tickets on this team" in gone.reasons[0]) == ("bela", True)
    excluded = choose(a_ticket(excluded=["iris"]), agents(iris={}, bela={}), NOW, conversation="iris")
    assert (excluded.agent, "iris may not take it" in excluded.reasons[0]) == ("bela", True)


def test_whoever_is_named_goes_before_whoever_has_the_matter() -> None:
    """EN-06: the first rule that matches."""
    assert choose(a_ticket(named="bela"), agents(iris={}, bela={}), NOW, conversation="iris").agent == "bela"


def test_who_knows_the_story_and_is_full_is_not_waited_for_but_named() -> None:
    """EN-06."""
    choice = choose(a_ticket(prefers="iris"), agents(iris={"load": 2}, bela={}), NOW)
    assert choice.agent == "bela"
    assert choice.reasons[0] == "iris knows the story, but iris is full (2 of 2 slots)"


def test_the_agent_that_has_just_deployed_watches_the_deployment() -> None:
    """FO-10."""
    team = agents(anna={}, devin={"load": 1, "events": (("deployed", "shop-1.2", NOW - 720),)})
    ticket = a_ticket(title="post-deployment monitoring")
    assert choose(ticket, team, NOW).agent == "anna", "no rule asks for it"
    choice = choose(ticket, team, NOW, affinity=[DEPLOYED])
    assert (choice.agent, choice.reasons) == ("devin", ["devin has deployed shop-1.2 12 min ago"])
    assert choose(ticket, team, NOW, affinity=[AffinityRule("deployed", 600)]).agent == "anna", "too long ago"
    assert choose(ticket, team, NOW, affinity=[AffinityRule("reviewed", DAY_S)]).agent == "anna", "another event"


def test_one_who_has_just_deployed_and_is_full_is_not_waited_for() -> None:
    """FO-10: a wish, and the reason says why it was not met."""
    team = agents(anna={}, devin={"load": 2, "events": (("deployed", "", NOW - 60),)})
    choice = choose(a_ticket(), team, NOW, affinity=[DEPLOYED])
    assert choice.agent == "anna"
    assert choice.reasons[0] == "devin has deployed 60 s ago, but devin is full (2 of 2 slots)"


@pytest.mark.parametrize(
    "said",
    [
        {"links": ["https://ci.example/runs/shop-1.2"]},
        {"component": "Shop-1.2"},
        {"context": {"release": {"tags": ["shop-1.2"]}}},
    ],
)
def test_the_event_a_ticket_is_about_counts_before_one_that_is_only_newer(said: dict[str, Any]) -> None:
    """FO-10."""
    team = agents(
        anna={"events": (("deployed", "desk-7", NOW - 5),)},
        devin={"events": (("deployed", "shop-1.2", NOW - 9000), ("deployed", "desk-6", NOW - 90))},
    )
    assert choose(a_ticket(), team, NOW, affinity=[DEPLOYED]).agent == "anna", "the newest"
    choice = choose(a_ticket(**said), team, NOW, affinity=[DEPLOYED])
    assert choice.agent == "devin"
    assert choice.reasons == ["devin has deployed shop-1.2 2 h ago, which this ticket is about"]


def test_a_part_of_a_version_is_not_the_version() -> None:
    """FO-10."""
    team = agents(anna={"events": (("deployed", "7", NOW - 5),)}, devin={"events": (("deployed", "1.2", NOW - 90),)})
    assert choose(a_ticket(links=["v/11.2", "v/1.27"]), team, NOW, affinity=[DEPLOYED]).agent == "anna"
    assert choose(a_ticket(links=["v/1.2"]), team, NOW, affinity=[DEPLOYED]).agent == "devin"


def test_only_an_agent_that_can_is_asked_for_what_it_did() -> None:
    """FO-03, FO-10."""
    team = agents(anna={}, devin={"can": frozenset({"bug"}), "events": (("deployed", "", NOW),)})
    assert choose(a_ticket(), team, NOW, affinity=[DEPLOYED]).reasons[0].startswith("anna can billing")


def test_a_customer_meets_the_agent_who_served_it_last() -> None:
    """EN-06: same customer, for thirty days, if that agent is free."""
    team = agents(anna={}, bela={"load": 1})
    assert choose(a_ticket(), team, NOW, last=("bela", NOW - 3 * DAY_S)).agent == "bela"
    assert choose(a_ticket(), team, NOW, last=("bela", NOW - 31 * DAY_S)).agent == "anna"
    team["bela"].load = 2
    choice = choose(a_ticket(), team, NOW, last=("bela", NOW - 3 * DAY_S))
    assert choice.agent == "anna"
    assert choice.reasons[0] == "bela served this customer last, 3 days ago, but bela is full (2 of 2 slots)"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"can": frozenset({"billing", "bug"})}, "a better fit than zoe, the next best"),
        ({"load": 1}, "less loaded than zoe, the next best"),
        ({"idle_since": NOW}, "longer idle than zoe, the next best"),
    ],
)
def test_it_is_said_why_one_goes_before_the_next_best(other: dict[str, Any], words: str) -> None:
    """EN-06, EN-05: fit, then load, then idle time."""
    choice = choose(a_ticket(), agents(zoe=other, yara={}), NOW)
    assert (choice.agent, choice.reasons[1]) == ("yara", words)


def test_what_a_person_should_know_of_an_agent_is_said_and_keeps_nothing_from_it() -> None:
    """EN-04: a calendar that cannot be read is no meeting."""
    choice = choose(a_ticket(), agents(iris={"problem": "its calendar cannot be read since 08:00"}), NOW)
    assert (choice.agent, choice.reasons[-1]) == ("iris", "iris: its calendar cannot be read since 08:00")


def test_when_all_who_can_may_not_it_says_so() -> None:
    assert choose(a_ticket(excluded=["iris"]), agents(iris={}), NOW).reasons == ["nobody else on the team can billing"]


def test_a_hundred_who_are_full_are_not_a_hundred_sentences() -> None:
    choice = choose(a_ticket(), agents(**{f"agent_{i:02}": {"load": 2} for i in range(100)}), NOW)
    assert (len(choice.reasons), len(choice.blockers)) == (9, 100)
    assert choice.reasons[-1] == "92 more who can are not free"
