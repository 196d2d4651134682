"""Sales and support: one message, as many specialists as it takes, one reply. Offline, the real desk and cycle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakeredis
import pytest

from shiftlead.agents.agent import Failed, HandOff, Report, Resolved, Work
from shiftlead.agents.bidding import Bid
from shiftlead.config.settings import Settings
from shiftlead.config.team import check_team, load_team
from shiftlead.coordinator.why import explain
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import WorkerInfo
from shiftlead.queues.ticket import Ticket
from tests.switchboard import Switchboard

SPECIALISTS = ("sales", "support", "billing", "knowledge")
MIXED = (
    "Hello! The app crashes when I open the calendar. Also, where is our data kept? "
    "And please send me the invoice for March."
)


def crew(
    settings: Settings, brains: dict[str, Any] | None = None, *, overlay: Path | None = None, **limits: int
) -> Switchboard:  # fmt: skip
    team = load_team("sales_and_support", settings, overlay=overlay)
    if limits:
        team = team.model_copy(update={"limits": team.limits.model_copy(update=limits)})
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    return Switchboard(client, team, settings, brains=brains)


class Says:
    """An agent that always says the same, and remembers what it was given. With a bid it can be asked for one."""

    def __init__(self, *reports: Report | str, bid: Bid | None = None) -> None:
        self.reports, self.works, self.bid = list(reports), list[Work](), bid

    def can_take(self, work: Work) -> Bid | None:
        return self.bid

    def handle(self, work: Work) -> Any:
        self.works.append(work)
        return self.reports[min(len(self.works), len(self.reports)) - 1]


def why(crew: Switchboard, ticket: Ticket) -> str:
    return "\n".join(explain(crew.desk, ticket, now=crew.clock.now()).lines(crew.clock.now()))


# -- the team is data -------------------------------------------------------------------------------------------------


def test_the_team_is_a_name_a_description_and_agents_with_temperatures(settings: Settings) -> None:
    """SS-01, SS-06: routing is the coolest, sales the freest; the model is a setting."""
    team = load_team("sales_and_support", settings)
    assert team.name == "sales_and_support" and "Larkspur" in team.description
    assert not [p for p in check_team("sales_and_support", settings) if p.severity == "error"]
    heat = {name: spec.temperature for name, spec in team.agents.items()}
    assert (heat["triage"], heat["sales"], heat["support"]) == (0.3, 0.7, 0.5)
    assert {"triage", *SPECIALISTS} < set(team.agents) and all(spec.model is None for spec in team.agents.values())
    pages = {page.stem: page.read_text() for page in (team.folder / "roles").glob("*.md")}
    assert all("## Examples" in pages[team.agents[name].role] for name in ("triage", *SPECIALISTS)), "SS-06"
    assert "never promise" not in pages["sales"] and "complains" in pages["sales"]


def test_one_more_block_in_the_team_file_is_one_more_specialist(settings: Settings, tmp_path: Path) -> None:
    """SS-01: no code, and no other line of the file, is changed."""
    block = "agents: {partners: {role: partners, can: [partners], knowledge: [knowledge/company], examples: ["
    block += "'We want to become a reseller of Larkspur', 'Is there a partner programme for agencies?']}}\n"
    (tmp_path / "more.yaml").write_text(block)
    at_work = crew(settings, overlay=tmp_path / "more.yaml")
    ticket_id = at_work.brings("We are an agency: is there a partner programme, and could we become a reseller?")
    [part] = at_work.parts(ticket_id)
    assert (part.needs, part.assigned_to) == (["partners"], "partners")

    asked = at_work.brings("It is about the weather in Ghent.")
    assert "partners" in {t.named for t in at_work.parts(asked, "bid")}, "it is asked for bids, too"


# -- routing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "agent", "says"),
    [
        ("I'm interested in your premium plan. What are the pricing options?", "sales", "15 euros a month"),
        ("My app keeps crashing when I try to open it.", "support", "1. Update Larkspur"),
        ("I was charged twice on my last invoice", "billing", "A second charge"),
        ("Where is our data kept?", "knowledge", "Frankfurt"),
    ],
)
def test_triage_names_the_specialist_and_replies_with_what_it_brings(
    settings: Settings, query: str, agent: str, says: str
) -> None:
    """SS-01, SS-02: the routing decision names the agent and the words by which it can tell."""
    at_work = crew(settings)
    ticket = at_work.find(at_work.brings(query, customer="Mia"))
    [part] = at_work.parts(ticket.id)
    assert (part.assigned_to, ticket.assigned_to, ticket.state) == (agent, "triage", State.RESOLVED)
    assert at_work.line(ticket.id, "hand_off").reason.startswith(f"{agent}: sounds like {agent} (")
    reply = at_work.reply(ticket.id)
    assert says in reply and reply.startswith("Hello Mia,") and reply.count("Hello") == 1
    assert not at_work.parts(ticket.id, "bid"), "where it is clear, nobody is asked for a bid"


def test_what_nobody_is_right_for_goes_to_support_and_everybody_can_see_that(settings: Settings) -> None:
    """SS-02, SS-04: in the reply, the summary, the ledger and `why`, while it is worked on and afterwards."""
    at_work = crew(settings)
    at_work.present.remove("support")
    ticket_id = at_work.brings("I have a question about my account.")
    assert "support" not in {ring.agent for ring in at_work.rings}
    at_work.present.add("support")
    at_work.works()

    ticket = at_work.find(ticket_id)
    assert {t.named for t in at_work.parts(ticket_id, "bid")} == set(SPECIALISTS)
    assert [t.assigned_to for t in at_work.parts(ticket_id)] == ["support"]
    by_default = "nobody is surely right for it, so support"
    assert by_default in at_work.line(ticket_id, "hand_off").reason
    assert by_default in str((ticket.result or {})["summary"])
    assert "We were not sure who should answer this, so support looked at it first." in at_work.reply(ticket_id)
    assert by_default in why(at_work, ticket)
    assert len([e for e in (ticket.result or {})["evidence"] if e.startswith("bid of ")]) == 4


def test_while_it_waits_why_names_who_was_chosen_and_by_what(settings: Settings) -> None:
    """SS-02."""
    at_work = crew(settings)
    at_work.present.remove("billing")
    ticket = at_work.find(at_work.brings("Please send me the invoice for March"))
    assert ticket.state is State.WAITING
    assert "triage handed it on: billing: sounds like billing (invoice" in why(at_work, ticket)


def test_who_says_nothing_at_all_is_asked(settings: Settings) -> None:
    """SS-02: and his answer is routed."""
    at_work = crew(settings)
    ticket = at_work.find(at_work.brings("Hi!"))
    assert (ticket.state, ticket.waits_for) == (State.WAITING, "requester")
    at_work.desk.reply(ticket.id, "Sorry: how do I cancel my subscription?", actor="door:mail")
    at_work.works()
    assert [t.assigned_to for t in at_work.parts(ticket.id)] == ["billing"]
    assert "An owner cancels" in at_work.reply(ticket.id)


# -- manager and workers ----------------------------------------------------------------------------------------------


def test_three_matters_in_one_message_get_one_reply(settings: Settings) -> None:
    """SS-03, SS-04: each specialist gets its own words; one greeting, one signature, each part attributed."""
    at_work = crew(settings)
    ticket_id = at_work.brings(MIXED, title="Three things", customer="Mia")
    parts = at_work.parts(ticket_id)
    assert [t.assigned_to for t in parts] == ["support", "knowledge", "billing"]
    assert "calendar" in parts[0].body and "invoice" not in parts[0].body
    assert "invoice for March" in parts[2].body and "calendar" not in parts[2].body

    result = at_work.find(ticket_id).result or {}
    reply = str(result["reply"])
    assert reply.count("Hello") == 1 and reply.count("Your team") == 1 and "Your support team" not in reply
    assert all(words in reply for words in ("Update Larkspur", "Frankfurt", "Settings > Billing > Invoices"))
    assert [e.split(":")[0] for e in result["evidence"]] == [f"{t.assigned_to} ({t.number})" for t in parts]
    moves = [line.move for line in at_work.desk.history(ticket_id)]
    assert moves.count("hand_off") == 1 and moves.count("resolve") == 1 and moves.count("resume") == 1


def test_an_offer_is_made_where_it_fits_and_never_in_a_complaint(settings: Settings) -> None:
    """SS-01: sales may upsell; also not where the complaint stands in another part of the message."""
    at_work = crew(settings)
    gladly = at_work.brings("We are 40 people and need single sign-on. What does the Business plan cost?")
    assert "450 euros for 30" in at_work.reply(gladly) and "You may like this, too" in at_work.reply(gladly)
    angry = at_work.brings(
        "My app keeps crashing and I am fed up. What does the Business plan with single sign-on cost?"
    )
    assert [t.assigned_to for t in at_work.parts(angry)] == ["support", "sales"]
    assert "15 euros a month" in at_work.reply(angry) and "You may like" not in at_work.reply(angry)


def test_text_instruction_and_structured_state_travel_together(settings: Settings) -> None:
    """SS-04, SS-08: the customer's words, what to do with them, and what is known; the whole story beside it."""
    sales, support = Says("15 euros"), Says("Update it.")
    at_work = crew(settings, {"sales": sales, "support": support})
    query = "The app crashes at the start. And what does the Business plan cost?"
    at_work.brings(query, customer="Mia", source="mail")
    [work] = sales.works
    packet = work.packet
    assert packet is not None and work.ticket.body == "And what does the Business plan cost?"  # text
    assert packet.next_questions == ["Answer this part only; your colleagues have the others."]  # instruction
    state = {k: packet.state[k] for k in ("customer", "issue_type", "earlier", "may_decline")}  # structured
    assert state == {"customer": "Mia", "issue_type": "sales", "earlier": [], "may_decline": True}
    assert packet.evidence_snippets == ["And what does the Business plan cost?"], "only what belongs to it"
    assert work.ancestors[0].body == query and {"accept", "hand_off"} <= {line.move for line in work.history}


def test_what_was_settled_before_is_known_when_it_is_opened_again(settings: Settings) -> None:
    """SS-08: earlier resolutions go along, from an earlier life as from a colleague a moment ago."""
    billing = Says("It is sent on the first.", "We write it anew.")
    at_work = crew(settings, {"billing": billing})
    ticket_id = at_work.brings("My invoice for March is wrong", customer="Mia")
    at_work.desk.reopen(ticket_id, actor="person:mia", reason="still wrong")
    at_work.works()
    [first, second] = billing.works
    assert first.packet and second.packet and first.packet.state["earlier"] == []
    [earlier] = second.packet.state["earlier"]
    assert earlier["by"] == "triage" and "billing" in earlier["summary"]


def test_a_refund_beyond_the_rules_waits_for_a_person(settings: Settings) -> None:
    """SS-01, SS-06: the billing specialist asks, a person says yes, triage replies."""
    at_work = crew(settings)
    ticket_id = at_work.brings("Please refund my yearly plan, order #W1234567: $620.00, bought 10 days ago.")
    [part] = at_work.parts(ticket_id)
    [approval] = [at_work.find(child) for child in part.children]
    assert (part.needs, approval.type, approval.named) == (["billing"], "approval", "lena_lead")
    at_work.desk.answer(approval.id, "approve", actor="person:lena_lead", reason="within thirty days")
    at_work.works()
    assert "Your refund of $620.00 for order W1234567 is granted." in at_work.reply(ticket_id)


def test_while_the_specialists_are_away_support_stands_in(settings: Settings) -> None:
    """SS-05: nobody waits for somebody who is not there."""
    at_work = crew(settings)
    at_work.present -= {"sales", "billing", "knowledge"}
    ticket_id = at_work.brings("What does the Business plan cost?")
    at_work.clock.advance(16)  # so long they are waited for
    at_work.works()
    assert [t.assigned_to for t in at_work.parts(ticket_id)] == ["support"]
    assert at_work.find(ticket_id).state is State.RESOLVED


# -- bids, disagreement -----------------------------------------------------------------------------------------------


def test_the_surest_bid_gets_it_and_the_others_are_named(settings: Settings) -> None:
    """SS-04: agents say for themselves whether it is theirs, why, and how sure they are."""
    sales = Says("By sales.", bid=Bid(take=True, why="he may want to buy", confidence=0.5))
    billing = Says("By billing.", bid=Bid(take=True, why="he has an open invoice", confidence=0.9))
    at_work = crew(settings, {"sales": sales, "billing": billing})
    ticket_id = at_work.brings("I have a question about my account.")
    assert "By billing." in at_work.reply(ticket_id) and not sales.works
    reason = at_work.line(ticket_id, "hand_off").reason
    assert reason == "billing bids highest (0.90): he has an open invoice; sales would take it, too (0.50)"
    said = [str((t.result or {})["summary"]) for t in at_work.parts(ticket_id, "bid")]
    assert said[0] == "yes (0.50): he may want to buy"


def test_an_agent_without_bids_of_its_own_is_spoken_for_by_the_examples(settings: Settings) -> None:
    """SS-04: its `handle` is never run for a bid: it would do the work of a ticket that nobody gave it."""
    support = Says("Done.")
    at_work = crew(settings, {"support": support})
    ticket_id = at_work.brings("I have a question about my account.")
    assert [work.ticket.type for work in support.works] == ["handoff"]
    [bid] = [t for t in at_work.parts(ticket_id, "bid") if t.named == "support"]
    assert str((bid.result or {})["summary"]).startswith("no (0.30)")


def test_a_program_and_an_agent_from_outside_bid_with_json(settings: Settings, tmp_path: Path) -> None:
    """SS-04: the same at every door; a word that is no bid counts as none."""
    (tmp_path / "more.yaml").write_text(
        "agents:\n"
        '  sales: {brain: \'exec:printf "{\\\\"kind\\\\": \\\\"resolved\\\\", \\\\"reply\\\\": \\\\"hm\\\\"}"\'}\n'
        "  billing: {brain: outside}\n"
    )
    at_work = crew(settings, overlay=tmp_path / "more.yaml")
    ticket_id = at_work.brings("I have a question about my account.")
    [asked] = [t for t in at_work.parts(ticket_id, "bid") if t.named == "billing"]
    at_work.presence.beat(["billing"], "outside", WorkerInfo())
    at_work.present.add("billing")
    at_work.works()
    at_work.says(asked.id, "billing", Bid(take=True, why="I know him", confidence=0.7).as_report())
    reason = at_work.line(ticket_id, "hand_off").reason
    assert reason == "billing bids highest (0.70): I know him"


def test_who_disagrees_says_whose_it_is_and_that_one_is_asked(settings: Settings) -> None:
    """SS-04: a specialist may answer with a no and why; the manager goes on with whom it names."""
    no = Bid(take=False, why="it is the app that fails, not the payment", confidence=0.9, instead="support")
    billing, support = Says(no.as_report()), Says("We repaired it.")
    at_work = crew(settings, {"billing": billing, "support": support})
    ticket_id = at_work.brings("My payment failed")
    assert [t.assigned_to for t in at_work.parts(ticket_id)] == ["billing", "support"]
    assert "billing declines: it is the app that fails" in at_work.line(ticket_id, "hand_off").reason
    result = at_work.find(ticket_id).result or {}
    assert "We repaired it." in result["reply"] and "declines" in result["evidence"][0]
    assert support.works[0].packet and support.works[0].packet.state["may_decline"] is False, "nobody is behind it"


def test_two_who_contradict_each_other_are_settled_by_a_person_once(settings: Settings) -> None:
    """SS-03, SS-04: both statements go to the decision-maker, and the customer gets one word."""
    sales = Says("A payment is refunded within 30 days.")
    billing = Says("Hello,\n\nA payment is refunded within 14 days.\n\nYour billing team")
    at_work = crew(settings, {"sales": sales, "billing": billing})
    ticket_id = at_work.brings("What does the Business plan cost? And within how many days can I get a refund?")
    [decision] = at_work.parts(ticket_id, "decision")
    assert (decision.assigned_to, at_work.find(ticket_id).state) == ("lena_lead", State.WAITING)
    assert "30 days" in decision.body and "14 days" in decision.body
    at_work.says(decision.id, "lena_lead", Resolved(reply="It is 30 days."))
    ticket = at_work.find(ticket_id)
    assert ticket.state is State.RESOLVED and "This was decided: It is 30 days." in at_work.reply(ticket_id)
    assert any(e.startswith("they contradict each other") for e in (ticket.result or {})["evidence"])
    assert len(at_work.parts(ticket_id, "decision")) == 1


# -- failures, bounds -------------------------------------------------------------------------------------------------


def test_when_an_agent_fails_another_steps_in(settings: Settings) -> None:
    """SS-05: the manager hears that it failed, and asks the next one."""
    at_work = crew(settings, {"billing": Says(Failed(error="the invoice store is away"))})
    ticket_id = at_work.brings("Please send me the invoice for March", customer="Mia")
    billing, support = at_work.parts(ticket_id)
    assert (billing.state, support.assigned_to, support.state) == (State.FAILED, "support", State.RESOLVED)
    assert "the invoice store is away, so support is asked" in at_work.line(ticket_id, "hand_off").reason
    assert at_work.find(ticket_id).state is State.RESOLVED


def test_when_nobody_is_left_a_person_sees_it_before_the_reply_goes_out(settings: Settings) -> None:
    """SS-05: the part that could be answered is answered, the other one escalates; nothing is made up."""
    gone = Failed(error="I am broken")
    at_work = crew(settings, {"billing": Says(gone), "support": Says(gone)})
    ticket_id = at_work.brings("What does the Business plan cost? And please send me the invoice for March.")
    [escalation] = at_work.parts(ticket_id, "escalation")
    assert escalation.assigned_to == "lena_lead" and "I am broken" in escalation.body
    at_work.says(escalation.id, "lena_lead", Resolved(reply="I call her."))
    reply = at_work.reply(ticket_id)
    assert "15 euros a month" in reply and "we have no answer yet" in reply and "I call her" not in reply
    assert at_work.find(ticket_id).state is State.RESOLVED


class Asks:
    """An agent that asks the same thing of the same colleague for ever."""

    def handle(self, work: Work) -> Report:
        return HandOff(needs=["billing"], question="Is it paid?")


def test_a_question_that_was_answered_is_not_asked_again_and_again(settings: Settings) -> None:
    """SS-07: a message that is there already is dropped: who repeats himself is ended by a decision-maker."""
    billing = Says("Yes.")
    at_work = crew(settings, {"support": Asks(), "billing": billing})
    ticket = at_work.find(at_work.brings("The app crashes"))
    [part] = at_work.parts(ticket.id)
    assert len(billing.works) == 2 and part.named == "lena_lead"
    assert "was asked the same 2 times already" in at_work.line(part.id, "give_back").reason


@pytest.mark.parametrize(
    ("limits", "reason", "asked"),
    [({"max_turns": 3}, "3 turns are the limit", 3), ({"max_messages": 4}, "may grow to 4 tickets", 4)],
)
def test_a_workflow_ends_at_the_teams_own_limit(
    settings: Settings, limits: dict[str, int], reason: str, asked: int
) -> None:
    """SS-07: turns and messages are bounded by the team file, whatever the agents do."""
    questions = (HandOff(needs=["billing"], question=f"Is it paid? And {n}?") for n in range(30))
    billing = Says("Yes.")
    at_work = crew(settings, {"support": Says(*questions), "billing": billing}, **limits)
    ticket = at_work.find(at_work.brings("The app crashes"))
    [part] = at_work.parts(ticket.id)
    assert len(billing.works) == asked and part.named == "lena_lead"
    assert reason in at_work.line(part.id, "give_back").reason


def test_the_manager_itself_always_comes_to_an_end(settings: Settings) -> None:
    """SS-07: everybody declines and names somebody else: three are asked, then a person; nobody is asked twice."""
    names = dict(zip(SPECIALISTS, (*SPECIALISTS[1:], SPECIALISTS[0]), strict=True))
    no = {n: Says(Bid(take=False, why="not mine", confidence=1, instead=to).as_report()) for n, to in names.items()}
    at_work = crew(settings, no)
    ticket_id = at_work.brings("What does the Business plan cost?")
    asked = [t.assigned_to for t in at_work.parts(ticket_id)]
    assert asked == ["sales", "support", "billing"]
    assert [t.assigned_to for t in at_work.parts(ticket_id, "escalation")] == ["lena_lead"]
