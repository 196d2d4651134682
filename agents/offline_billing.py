"""Billing, offline: it acts. Refunds, credits and payment methods are made with the shop's tools, not written about.

First rule that matches wins; without tools it answers as support does, by the refund policy and its pages:
  1. what was decided or done meanwhile      -> the reply from it
  2. a refund for an order                   -> look the order up, compute the sum, refund it; a gate may ask a person
  3. a credit for something that went wrong  -> the sum asked for, on the customer's account; a manager sees larger ones
  4. another payment method                  -> the subscription is paid with it from now on
  5. a question about a subscription         -> its plan, price and next renewal
  6. a question about a refund of an order   -> what the shop's books say
  7. a complaint or a legal threat           -> acknowledged, and a decision-maker sees it
  8. the billing pages
What gates judge is computed by the tools from the shop's database: nothing a text says opens one.
"""

from __future__ import annotations

import re
from typing import Any

from . import offline_support
from .agent import Report, Resolved, Work
from .cues import Answer, answers_of, complaint_cue, cut
from .knowledge import Knowledge
from .offline_shop import closing, letter, order_of, use, with_page
from .offline_support import ASKS_ABOUT, REFUND, complaint, is_refund
from .policy import amounts_in
from .tools import Outcome, current_toolbox

__all__ = ["answer", "credit", "payment_method", "refund"]

CREDIT = re.compile(r"\b(?:store |goodwill |account )?credit\b(?! card)|\bvoucher\b|\bcompensat\w+|\bgoodwill\b", re.I)
WENT_WRONG = re.compile(
    r"\blate\b|\bdelay\w*|\bwrong\b|\bbroken\b|\bdamaged?\b|\bmistake\b|\bmissing\b|\bwaited\b|\bfault\w*", re.I
)
METHOD = re.compile(
    r"\b(?:change|update|switch|replace|use|pay|charge)\b[^.!?]{0,80}\b(?:payment method|card|paypal|gift card)\b", re.I
)
SUBSCRIPTION = re.compile(r"\bsubscri\w+|\bplan\b|\brenew\w*|\bmembership\b|\bshop plus\b", re.I)
SUBSCRIPTION_ID = re.compile(r"\bSUB-\d{1,12}\b", re.I)
CENTS = 0.005


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    if current_toolbox() is None:  # a team that gives it no tools: it can only write, and ask
        return offline_support.answer(work, knowledge)
    if said := answers_of(work):
        return _from_answers(work, said)
    text = work.text
    if CREDIT.search(text) and amounts_in(text):
        return credit(work)
    if is_refund(work) and (work.packet is not None or not _asks_where(text)):
        return refund(work)
    if METHOD.search(text) and SUBSCRIPTION.search(text):
        return payment_method(work)
    if SUBSCRIPTION.search(text):
        return _subscriptions(work, knowledge)
    if REFUND.search(text) and (told := _status(work)):
        return with_page(work, knowledge, told, "told what the books say of the refund")
    if cue := complaint_cue(text):
        return complaint(work, cue)
    return with_page(work, knowledge, "", "answered")


def refund(work: Work) -> Report:
    """Give the money of an order back: the items named, else the sum named, else all that is left.

    Raises:
        EndsTurn: a gate is closed, or nobody knows how an earlier attempt ended.
    """
    number, order, why = order_of(work)
    if order is None:
        return _lacks(work, number, why)
    arguments: dict[str, Any] = {"order_id": number, "reason": cut(work.ticket.title, 200)}
    items = _items(work.text, order)
    asked = max((float(value) for _, value in amounts_in(work.text)), default=None)
    if items:
        arguments["item_ids"] = items
    elif asked is not None and asked < order["refundable"] - CENTS:
        arguments["amount"] = asked
    outcome = _acted("process_refund", arguments)
    if outcome.status != "done":
        return _not_done(work, f"a refund for order {number}", outcome)
    return _refunded(work, outcome.result)


def credit(work: Work) -> Report:
    """Put a sum on the customer's account for an order that went wrong. Raises as `refund`."""
    number, order, why = order_of(work)
    if order is None:
        return _lacks(work, number, why)
    asked = max(float(value) for _, value in amounts_in(work.text))
    if not WENT_WRONG.search(work.text):
        return _not_done(work, "a credit", Outcome("refused", "issue_credit", why="it is for an order that went wrong"))
    if asked > order["paid"] + CENTS:
        why = f"it cannot be more than the {order['paid']:.2f} paid for {number}"
        return _not_done(work, "a credit", Outcome("refused", "issue_credit", why=why))
    who = use("get_customer")
    if who.status != "done":
        return _lacks(work, number, who.why)
    reason = f"order {number}: {cut(work.ticket.title, 200)}"
    outcome = _acted("issue_credit", {"customer_id": who.result["customer_id"], "amount": asked, "reason": reason})
    if outcome.status != "done":
        return _not_done(work, f"a credit of {asked:.2f}", outcome)
    return _credited(work, outcome.result)


def payment_method(work: Work) -> Report:
    """Pay the customer's subscription with another of the methods on the account. Raises as `refund`."""
    who, held = use("get_customer"), use("get_subscription_details")
    if who.status != "done" or held.status != "done":
        return _lacks(work, "", who.why or held.why)
    named = SUBSCRIPTION_ID.search(work.text)
    running = [s for s in held.result["subscriptions"] if s["status"] != "cancelled"]
    mine = [s for s in running if named is None or s["subscription_id"] == named[0].upper()]
    methods = [m for m in who.result["payment_methods"] if _is_named(m, work.text)]
    others = (
        [m for m in methods if len(methods) == 1 or m["payment_method_id"] != mine[0]["payment_method_id"]]
        if mine
        else []
    )
    if len(mine) != 1 or len(others) != 1:
        return _ask_which(work, running, who.result["payment_methods"])
    outcome = _acted(
        "update_payment_method",
        {"subscription_id": mine[0]["subscription_id"], "payment_method_id": others[0]["payment_method_id"]},
    )
    if outcome.status != "done":
        return _not_done(work, "another payment method", outcome)
    told = f"From now on {outcome.result['subscription_id']} is paid with {outcome.result['now']}."
    return Resolved(
        reply=letter(work, told), summary=f"{told} (offline brain)",
        evidence=[f"before: {outcome.result['before']}", *closing(work)],
    )  # fmt: skip


def _acted(name: str, arguments: dict[str, Any]) -> Outcome:
    """A change, made or asked for."""
    outcome, toolbox = use(name, **arguments), current_toolbox()
    if toolbox is not None:
        toolbox.end_turn_on(outcome)
    return outcome


def _from_answers(work: Work, said: list[Answer]) -> Report:
    """What was approved is done already: the effects stand among the answers, the newest last."""
    done = [a for a in work.answers if a.get("type") == "effect" and a.get("status") == "done" and a.get("result")]
    if done and done[-1]["tool"] == "process_refund":
        return _refunded(work, done[-1]["result"])
    if done and done[-1]["tool"] == "issue_credit":
        return _credited(work, done[-1]["result"])
    tried = [a for a in work.answers if a.get("type") == "effect" and a.get("status") != "done"]
    if tried:
        outcome = Outcome("refused", str(tried[-1].get("tool")), why=str(tried[-1].get("why") or ""))
        return _not_done(work, "what was approved", outcome)
    last = said[-1]
    if last.decision == "deny":
        return Resolved(
            reply=letter(
                work, f"We cannot grant your request: {last.text.strip().rstrip('.') or 'it was not approved'}.",
                "If you have more to show, such as photos or the invoice, reply and we ask again.",
            ),
            summary=f"not granted, {last.number} said no (offline brain)",
            evidence=[f"{last.number} ({last.agent}): {cut(last.text, 400)}", *closing(work)],
        )  # fmt: skip
    if last.failed:  # it expired or was called off: nobody said no, so somebody must still look
        why = f"{last.number} ended without an answer"
        return Resolved(
            reply=letter(work, "Your request is not decided yet. A manager looks at it next."),
            summary=f"{why} (offline brain)", evidence=closing(work), requires_escalation=True,
            reason=f"{why}: decide {cut(work.ticket.title, 200)!r}",
        )  # fmt: skip
    return Resolved(
        reply=letter(work, last.text or "Your request is settled."),
        summary=f"answered from {last.number} (offline brain)",
        evidence=[f"{a.number} ({a.agent}): {cut(a.text, 300)}" for a in said] + closing(work),
    )  # fmt: skip


def _refunded(work: Work, done: dict[str, Any]) -> Report:
    told = f"{done['currency']} {done['amount']:.2f} of order {done['order_id']} went back to {done['to']}."
    return Resolved(
        reply=letter(work, f"Your refund is made: {told}", "It shows on your side within 5 to 7 business days."),
        summary=f"refunded {told} (offline brain)",
        evidence=[f"process_refund: {told}", *closing(work)],
    )


def _credited(work: Work, done: dict[str, Any]) -> Report:
    told = f"{done['currency']} {done['amount']:.2f} for {done['reason'].partition(':')[0]}"
    in_all = f"Your credit is {done['currency']} {done['credit_in_all']:.2f} in all."
    return Resolved(
        reply=letter(work, f"We are sorry for the trouble. A credit is on your account now: {told}. {in_all}"),
        summary=f"credited {told} (offline brain)",
        evidence=[f"issue_credit: {told}", *closing(work)],
    )


def _not_done(work: Work, what: str, outcome: Outcome) -> Report:
    """Nothing was changed, and why."""
    why = outcome.why.strip().rstrip(".") or "the shop's system did not take it"
    return Resolved(
        reply=letter(work, f"We could not make {what}: {why}. Nothing was changed."),
        summary=f"no {what.removeprefix('a ')}: {why} (offline brain)",
        evidence=[f"{outcome.tool}: {outcome.status}, {why}", *closing(work)],
        requires_escalation=outcome.status == "failed",
        reason=f"{outcome.tool} does not work: {why}" if outcome.status == "failed" else "",
    )


def _lacks(work: Work, number: str, why: str) -> Report:
    about = f" for order {number}" if number else ""
    return Resolved(
        reply=letter(
            work, f"We have your request{about}, and cannot act on it yet: {why.rstrip('.')}. Nothing was changed.",
            "Please reply with the order number (it begins with #W) and the customer id or e-mail address.",
        ),
        summary=f"asked for what is missing: {why} (offline brain)",
        evidence=closing(work),
    )  # fmt: skip


def _subscriptions(work: Work, knowledge: Knowledge) -> Report:
    held = use("get_subscription_details")
    told = [
        f"{s['subscription_id']}: {s['plan']}, {s['currency']} {s['price']:.2f}, {s['status'].replace('_', ' ')}, next "
        f"renewal {s['renews_on']}, paid with {s['payment_method_id']}."
        for s in (held.result["subscriptions"] if held.status == "done" else [])
    ]
    facts = "\n".join(["You have:", *told]) if told else ""
    return with_page(work, knowledge, facts, "told about the subscription" if told else "answered")


def _status(work: Work) -> str:
    number, order, _ = order_of(work)
    if order is None:
        return ""
    if not order["refunded"]:
        return f"Our books have no refund for order {number} yet."
    sum_ = f"{order['currency']} {order['refunded']:.2f}"
    return f"Of order {number}, {sum_} was refunded to {order['payment_method_id']}."


def _asks_where(text: str) -> bool:
    """Asks about a refund that exists, or how refunds work; does not ask for one."""
    asks = ASKS_ABOUT.search(text)
    wants = re.search(
        r"\b(?:please|want|would like|need|i'd like|cancel|give|request)\b[^.!?]{0,60}\b(?:refund|money)", text, re.I
    )
    return asks is not None and wants is None


def _ask_which(work: Work, subscriptions: list[dict[str, Any]], methods: list[dict[str, Any]]) -> Report:
    held = ", ".join(f"{s['subscription_id']} ({s['plan']})" for s in subscriptions) or "none that runs"
    known = ", ".join(_called(m) for m in methods) or "none"
    return Resolved(
        reply=letter(
            work, f"Which of them do you mean? Subscriptions: {held}. Payment methods on your account: {known}.",
            "A new card is added by you in your account; please never send us its number.",
        ),
        summary="asked which subscription and payment method are meant (offline brain)",
        evidence=closing(work),
    )  # fmt: skip


def _is_named(method: dict[str, Any], text: str) -> bool:
    """Whether the text means this one: its last four digits, its id, or its kind."""
    said = text.lower()
    if method["payment_method_id"].lower() in said:
        return True
    if last := method.get("last_four"):
        return re.search(rf"(?<!\d){last}(?!\d)", said) is not None
    return str(method["source"]).replace("_", " ") in said


def _called(method: dict[str, Any]) -> str:
    last = f" ending {method['last_four']}" if method.get("last_four") else ""
    return f"{method.get('brand') or method['source'].replace('_', ' ')}{last}"


def _items(text: str, order: dict[str, Any]) -> list[str]:
    """The items of the order the text names, each as often as the order has it; all of them is the whole order."""
    said = text.lower()
    named = [i["item_id"] for i in order["items"] if i["name"].lower() in said]
    return named if len(named) < len(order["items"]) else []
