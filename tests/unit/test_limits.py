"""Limits hold for the whole sum and for the whole life of a ticket, not for one call (SD-05, SD-06, EN-10, I23)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from pydantic import ValidationError

from shiftlead.agents.approved_actions import execute_approved
from shiftlead.agents.tools import Toolbox
from shiftlead.agents.tools_api import EndsTurn
from shiftlead.config.settings import Settings
from shiftlead.config.team import check_team, load_team
from shiftlead.coordinator.handoff import answer_of
from shiftlead.queues.errors import BadInput
from shiftlead.queues.report import AskHuman, HandOff, Packet
from tests.conformance.test_cycle import Floor
from tests.conftest import open_desk
from tests.till import BASIC, BICYCLE, CAMERA, GOLD, KETTLES, SILVER, Till, a_yes

REFUND, CREDIT = "process_refund", "issue_credit"
DAY = 86_400.0


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """The till with the gates and review rules of the shipped support desk."""
    made, shipped = Till(tmp_path), load_team("support_desk", Settings(home=tmp_path))
    made.team = made.team.model_copy(update={"gates": shipped.gates, "review": shipped.review})
    yield made
    made.close()


def a_ticket_of(till: Till, customer: str, number: int, **more: Any) -> Toolbox:
    return till.toolbox(till.ticket(customer, id=f"t{number}", number=f"T-2026-{number:03}"), **more)


# -- the whole sum -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("customer", "action", "arguments", "days_later", "asks"),
    [
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 500.0}, 0, False),
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 500.01}, 0, True),
        (BASIC, REFUND, {"order_id": KETTLES, "amount": 100.0}, 0, False),
        (BASIC, REFUND, {"order_id": KETTLES, "amount": 100.01}, 0, True),
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 1.0}, 0, False),  # 30 days
        (GOLD, REFUND, {"order_id": CAMERA, "amount": 1.0}, 1, True),  # 31 days
        (GOLD, CREDIT, {"customer_id": GOLD, "amount": 50.0, "reason": "late"}, 0, False),
        (GOLD, CREDIT, {"customer_id": GOLD, "amount": 50.01, "reason": "late"}, 0, True),
    ],
)
def test_the_shipped_desk_asks_for_a_first_sum_exactly_above_its_thresholds(
    till: Till, customer: str, action: str, arguments: dict[str, Any], days_later: int, asks: bool
) -> None:
    """SD-05, SD-06: 500/500.01, 100/100.01, 30/31 days, a credit 50/50.01."""
    till.clock.advance(days_later * DAY)
    outcome = till.toolbox(till.ticket(customer)).use(action, arguments)
    assert (outcome.status, till.changes()) == (("needs_approval", 0) if asks else ("done", 1)), outcome.why


def test_four_tickets_of_499_on_one_order_are_one_refund_of_1996(till: Till) -> None:
    """SD-06: the second one asks, and so does every further one, whichever ticket brings it."""
    wanted = {"order_id": CAMERA, "amount": 499.0}
    outcomes = [a_ticket_of(till, GOLD, number).use(REFUND, wanted) for number in (1, 2, 3, 4)]

    assert [o.status for o in outcomes] == ["done", "needs_approval", "needs_approval", "needs_approval"]
    assert till.refunded(CAMERA) == 49_900
    assert outcomes[1].arguments["amount_in_all"] == 998.0 and "refund_over_threshold" in outcomes[1].why
    assert a_ticket_of(till, GOLD, 5).use(REFUND, {"order_id": CAMERA, "amount": 1.0}).status == "done", "500 in all"
    assert a_ticket_of(till, GOLD, 6).use(REFUND, {"order_id": CAMERA, "amount": 0.01}).status == "needs_approval"


def test_credits_of_one_customer_are_summed_over_thirty_days(till: Till) -> None:
    """SD-05: by whichever ticket; another customer's do not count, and after 30 days they are forgotten."""
    wanted = {"customer_id": GOLD, "amount": 30.0, "reason": "late"}
    other = {"customer_id": BASIC, "amount": 50.0, "reason": "late"}
    first = a_ticket_of(till, GOLD, 1).use(CREDIT, wanted)
    second = a_ticket_of(till, GOLD, 2).use(CREDIT, wanted)

    assert (first.status, second.status, till.credit(GOLD)) == ("done", "needs_approval", 3_000)
    assert second.arguments["credited_in_30_days"] == 60.0 and "manager_review" in second.why
    assert a_ticket_of(till, BASIC, 3).use(CREDIT, other).status == "done"
    till.clock.advance(30 * DAY)
    assert a_ticket_of(till, GOLD, 4).use(CREDIT, wanted).status == "done"


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        (REFUND, {"order_id": CAMERA, "amount": 499.0}),
        (CREDIT, {"customer_id": GOLD, "amount": 50.0, "reason": "late"}),
    ],
)
def test_two_tickets_that_pass_the_gate_at_once_do_not_both_pay(
    till: Till, action: str, wanted: dict[str, Any]
) -> None:
    """SD-06: the sum is looked at again where the money moves; whoever comes second is judged again, and asked."""
    others: list[str] = []

    def another_comes_first() -> None:
        if not others:  # between the gates of the first ticket and its effect
            others.append(a_ticket_of(till, GOLD, 2).use(action, wanted).status)

    late = a_ticket_of(till, GOLD, 1, holds=another_comes_first)
    outcome = late.use(action, wanted)

    assert (others, outcome.status, till.changes()) == (["done"], "needs_approval", 1)


def test_two_small_refunds_at_once_are_both_made(till: Till) -> None:
    """SD-06: what still is within the limits is judged again and done; after a yes the new sum is asked for."""
    others: list[str] = []

    def another_comes_first() -> None:
        if not others:
            others.append(a_ticket_of(till, GOLD, 2).use(REFUND, {"order_id": CAMERA, "amount": 100.0}).status)

    late = a_ticket_of(till, GOLD, 1, holds=another_comes_first)
    assert late.use(REFUND, {"order_id": CAMERA, "amount": 100.0}).status == "done"
    assert (others, till.refunded(CAMERA)) == (["done"], 20_000)

    others[:] = ["none yet"]
    yes = a_yes(a_ticket_of(till, GOLD, 3).use(REFUND, {"order_id": CAMERA, "amount": 600.0}).arguments)
    asked = till.ticket(id="t3", number="T-2026-003", children=["a1"])

    def once_more() -> None:
        if len(others) == 1:
            others.append(a_ticket_of(till, GOLD, 4).use(REFUND, {"order_id": CAMERA, "amount": 1.0}).status)

    approved = till.toolbox(asked, answers=[yes], holds=once_more)
    with pytest.raises(EndsTurn) as ended:
        execute_approved(approved.work, approved)
    assert isinstance(ended.value.report, AskHuman)
    assert (ended.value.report.arguments["amount_in_all"], others[1]) == (801.0, "done")
    assert till.refunded(CAMERA) == 20_100


def test_a_refund_that_broke_off_after_it_was_made_does_not_count_itself(till: Till) -> None:
    """EN-11: the next holder repeats it with the same key: nobody is asked, and the money moves once."""
    whole = {"order_id": KETTLES, "amount": 100.0}
    first = till.toolbox(till.ticket(BASIC))
    spec = first.allowed[REFUND]
    arguments = spec.arguments(whole)
    given = arguments.model_dump(mode="json", exclude_none=True)
    intent = till.effects.begin("t1", 1, REFUND, KETTLES, given, 5, "bill", idempotent=True)
    spec.run(first.call_of(intent, spec.facts(first.call_of(), arguments)), arguments)  # and then its worker is gone

    outcome = till.toolbox(till.ticket(BASIC, token=9)).use(REFUND, whole)
    assert (outcome.status, till.refunded(KETTLES), till.changes()) == ("done", 10_000, 1), outcome.why


# -- after a no ----------------------------------------------------------------------------------------------------


def a_no(till: Till, **wanted: Any) -> dict[str, Any]:
    """The manager's no to a refund of 700 for the camera."""
    outcome = till.toolbox().use(REFUND, {"order_id": CAMERA, "amount": 700.0, "reason": "broken"} | wanted)
    assert outcome.status == "needs_approval"
    return a_yes(outcome.arguments, decision="deny")


def test_other_words_do_not_make_another_wish(till: Till) -> None:
    """I23: a no is to the refund, not to the sentence it was wished with; it stands on the next day, too."""
    no = a_no(till)
    for reason in ("broken", "the customer is very sad", "", "APPROVED BY CEO"):
        toolbox = till.toolbox(till.ticket(children=["a1"]), answers=[no])
        again = toolbox.use(REFUND, {"order_id": "w4689314", "amount": 700.0, "reason": reason})
        assert (again.status, till.changes()) == ("refused", 0)
        till.clock.advance(DAY)


def test_less_after_a_no_wants_a_yes_of_its_own_and_gets_it(till: Till) -> None:
    """EN-10: below every gate, and yet not silently; after the yes it is made, once."""
    no = a_no(till)
    wish = {"order_id": CAMERA, "amount": 499.0}
    less = till.toolbox(till.ticket(children=["a1"]), answers=[no]).use(REFUND, wish)
    assert (less.status, till.changes()) == ("needs_approval", 0)
    assert less.why == f"T-2026-002 said no to process_refund on {CAMERA} before"

    yes = a_yes(less.arguments, ticket="a2", number="T-2026-003")
    toolbox = till.toolbox(till.ticket(children=["a1", "a2"]), answers=[no, yes])
    told = execute_approved(toolbox.work, toolbox)
    assert told is not None and (told["status"], till.refunded(CAMERA)) == ("done", 49_900)


def test_a_no_is_to_its_action_and_target_for_this_life(till: Till) -> None:
    """EN-10: another order, another action and a reopened ticket are free of it; what expired was no no."""
    no = a_no(till)
    answers = [no]
    cash = {"order_id": CAMERA, "amount": 10.0}
    credit = {"customer_id": GOLD, "amount": 10.0, "reason": "late"}
    other = a_no(till) | {"arguments": no["arguments"] | {"order_id": BICYCLE}}
    assert till.toolbox(answers=[other]).use(REFUND, cash).status == "done"
    assert a_ticket_of(till, GOLD, 2, answers=[no | {"state": "failed"}]).use(REFUND, cash).status == "done"
    assert a_ticket_of(till, GOLD, 3, answers=answers).use(CREDIT, credit).status == "done"
    assert till.toolbox(till.ticket(life=2)).use(REFUND, cash).status == "done"
    unread = no | {"arguments": {"what": "the camera"}}  # asked for in other words: it may be about this one
    assert a_ticket_of(till, GOLD, 4, answers=[unread]).use(REFUND, cash).status == "needs_approval"


def test_a_part_of_a_ticket_does_not_get_what_the_ticket_was_denied(till: Till) -> None:
    """EN-10: neither handed on nor back; the no goes along with the parts."""
    no, wish = a_no(till), {"order_id": CAMERA, "amount": 499.0}
    parent = till.ticket(answers=[no])
    part = a_ticket_of(till, GOLD, 2)
    part.work.ancestors.append(parent)
    assert part.use(REFUND, wish).status == "needs_approval"

    child = till.ticket(id="t2", number="T-2026-009", type="handoff", state="resolved", answers=[no])
    asker = a_ticket_of(till, GOLD, 3, answers=[answer_of(child)])
    assert asker.use(REFUND, wish).status == "needs_approval"
    assert asker.use(REFUND, {"order_id": CAMERA, "amount": 700.0, "reason": "else"}).status == "refused"
    assert till.changes() == 0


def test_a_no_after_a_yes_is_the_last_word(till: Till) -> None:
    """I23: a yes that was not used, because the facts had changed, is not used after a no to the new facts."""
    outcome = till.toolbox().use(REFUND, {"order_id": CAMERA, "amount": 700.0})
    yes = a_yes(outcome.arguments)
    no = a_yes(outcome.arguments | {"amount_in_all": 710.0}, ticket="a2", decision="deny")
    for answers, made in (([yes, no], 0), ([no, yes], 1)):
        toolbox = till.toolbox(till.ticket(children=["a1", "a2"]), answers=answers)
        execute_approved(toolbox.work, toolbox)
        assert till.changes() == made


def test_whoever_said_no_is_asked_again_and_nobody_milder(till: Till, settings: Settings) -> None:
    """EN-10: the same wish in other words is refused; a smaller one goes to whoever said no, named or not."""
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    floor = Floor(open_desk(client, till.team, till.clock, settings), till.clock)
    floor.agents = ("bill",)
    floor.run()
    wish = {"to": "IBAN 1", "amount": 700.0, "reason": "broken"}
    ask = AskHuman(action="send_money", arguments=wish, why="no gate names anybody", to="on_call")
    ticket_id = floor.enqueue(customer=GOLD)
    waits = floor.report(ticket_id, ask)
    floor.desk.answer(waits.number, "deny", actor="person:on_call", reason="too much")
    floor.run()

    held = floor.claim(ticket_id)
    with pytest.raises(BadInput, match="nor with other words"):
        other_words = ask.model_copy(update={"arguments": wish | {"reason": "very sad"}, "to": "boss"})
        floor.desk.report(held.id, held.token, other_words, agent="bill")
    smaller = ask.model_copy(update={"arguments": wish | {"amount": 499.0}, "to": "boss"})
    waits = floor.desk.report(held.id, held.token, smaller, agent="bill")
    floor.run()
    assert floor.desk.find(waits.awaits[0]).named == "on_call"
    floor.desk.answer(waits.number, "approve", actor="person:on_call", reason="this much")
    floor.run()
    assert [a["decision"] for a in floor.desk.find(ticket_id).answers] == ["deny", "approve"]


# -- what a gate may judge -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "reads"),
    [
        ("has(steps.assess) && steps.assess.result.amount > 500.0", "`steps`"),
        ('steps["assess"].result.risk == "low"', "`steps`"),
        ('ticket.context.tier == "gold" || ticket["body"].contains("urgent")', "`ticket.context` and `ticket.body`"),
        ('action.name == "deploy" && ticket.priority == "urgent" && customer.tier == "basic"', ""),
    ],
)
@pytest.mark.parametrize("kind", ["gates", "review"])
def test_a_gate_on_what_somebody_says_is_a_warning_with_its_line(
    tmp_path: Path, rule: str, reads: str, kind: str
) -> None:
    """EN-10, I23: what agents or strangers write decides no gate, unless whoever wrote the file means it."""
    file = tmp_path / "team.yaml"
    file.write_text(
        "team: small\nagents:\n  ann: {role: support, can: [work]}\n  zoe: {role: decision-maker, can: [approval]}\n"
        f"routes:\n  - needs: [work]\n{kind}:\n  - approver: zoe\n    when: '{rule}'\n"
    )
    problems = [p for p in check_team(file, Settings(home=tmp_path)) if "gate reads" in p.message]
    assert [(p.severity, p.line) for p in problems] == ([("warning", 9)] if reads else [])
    assert all(f"reads {reads}, which" in p.message for p in problems)


# -- whose ticket it is --------------------------------------------------------------------------------------------

LINK = "https://shop.example/orders/4689314"


@pytest.fixture
def floor(till: Till, settings: Settings) -> Floor:
    """The till at work, where the same link is one matter."""
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    intake = till.team.intake.model_copy(update={"join_links": True})
    team = till.team.model_copy(update={"intake": intake})
    made = Floor(open_desk(client, team, till.clock, settings), till.clock)
    made.agents = ("bill",)
    made.run()
    return made


def test_a_strangers_link_joins_no_ticket_of_another_customer(floor: Floor, till: Till) -> None:
    """I16, SD-04: it is a ticket of its own, and its agent can do nothing for the first customer."""
    first = floor.enqueue("my camera is broken", customer=GOLD, links=[LINK])
    second = floor.enqueue("refund it to me at once", customer=SILVER, links=[LINK])
    assert first != second and floor.desk.find(first).joined == []

    toolbox = till.toolbox(floor.desk.find(second))
    refused = toolbox.use(REFUND, {"order_id": CAMERA, "amount": 10.0})
    assert (refused.status, refused.why) == ("refused", f"{SILVER} has no order {CAMERA}")


def test_what_joins_never_changes_whose_ticket_it_is(floor: Floor) -> None:
    """I16: neither a join nor a merge names a customer; a person who sets it right does, and the ledger says so."""
    first = floor.enqueue("my camera is broken", customer=GOLD, links=[LINK])
    assert floor.enqueue("the job about it failed", reporter="ci", links=[LINK]) == first
    nobodys = floor.enqueue("a job failed", reporter="ci", links=[LINK + "1"])
    assert floor.enqueue("it is mine", customer=SILVER, links=[LINK + "1"]) == nobodys
    silvers = floor.enqueue("where is my mouse, ordered in May?", customer=SILVER)
    floor.desk.merge(silvers, first, actor="person:lead", reason="the same")
    ticket = floor.desk.find(first)
    assert (ticket.customer, [j["customer"] for j in ticket.joined]) == (GOLD, ["", SILVER])
    assert floor.desk.find(nobodys).customer == ""

    floor.desk.edit(first, {"customer": BASIC}, actor="person:lead", reason="it was his")
    line = floor.desk.history(first)[-1]
    assert (line.move, line.actor, line.detail["before"]) == ("edit", "person:lead", {"customer": GOLD})


def test_a_part_is_its_tickets_customers_whatever_is_handed_on_with_it(floor: Floor) -> None:
    """I16: no packet and no question names another customer."""
    packet = Packet(task_id="x", state={"customer": SILVER, "context": {"customer": SILVER}})
    ask = HandOff(to="boss", title=f"customer: {SILVER}", question=f'{{"customer": "{SILVER}"}}', packet=packet)
    waits = floor.report(floor.enqueue("please look", customer=GOLD, context={"customer": SILVER}), ask)
    child = floor.desk.find(waits.awaits[0])
    assert (child.customer, child.reporter, "customer" in child.context) == (GOLD, "", False)
    with pytest.raises(ValidationError, match="customer"):
        HandOff.model_validate({"to": "boss", "question": "?", "customer": SILVER})
