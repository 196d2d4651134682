"""The billing tools (SD-04): they read and change the rows of a billing database.

A tool works for the ticket's own customer only, whatever an argument or a text says. Amounts and days are computed
from the database and the typed arguments. What gates judge of a refund:

    action.amount                the sum that would go back
    action.amount_in_all         with what went back of this order before: a sum in parts is the same sum
    action.days_since_purchase   whole UTC days
    action.tier, customer.tier   the customer's

and of a credit, beside the tier:

    action.amount                the credit
    action.credited_in_30_days   with what this customer was credited in the last 30 days, by whichever ticket

A refund or a credit cannot be taken back; each change is made once for its key (billing_tables.py). Where another one
came between the gates and the change, so that a sum is no longer the one they judged, nothing is changed and the gates
judge again.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BeforeValidator, Field

from .billing_tables import CHANGE, CUSTOMER, ITEM, METHOD, ORDER, SUBSCRIPTION, Billing, cents, day_of, made_before
from .tool import Call, Facts, Money, tool
from .tools_api import FactsMoved, ToolRefused

__all__ = ["CURRENCY", "BillingTools"]

CURRENCY = "USD"
CREDIT_WINDOW_S = 30 * 86_400.0


def _as_order(value: Any) -> Any:
    """`w4689314` and `#W4689314` are one order, so one effect."""
    return "#" + value.strip().lstrip("#").upper() if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


OrderId = Annotated[str, Field(pattern=r"^#W[0-9]{5,12}$", examples=["#W4689314"]), BeforeValidator(_as_order)]
CustomerId = Annotated[str, Field(min_length=1, max_length=100), BeforeValidator(_lower)]
SubscriptionId = Annotated[str, Field(pattern=r"^SUB-[0-9]{1,12}$"), BeforeValidator(_upper)]
MethodId = Annotated[str, Field(min_length=1, max_length=100), BeforeValidator(_lower)]
Items = Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=50)]
Reason = Annotated[str, Field(max_length=500)]


class BillingTools:
    """The tools as methods, on one database."""

    def __init__(self, billing: Billing) -> None:
        self.billing = billing

    # -- reading ------------------------------------------------------------------------------------------------

    @tool()
    def get_customer(self, call: Call) -> dict[str, Any]:
        """The customer of this ticket: tier, credit, payment methods, numbers of orders and subscriptions."""
        with self.billing.reading() as connection:
            who = _customer(connection, call)
            of = {t: connection.execute(t.select().where(t.c.customer_id == who.id)).all() for t in (METHOD, ORDER)}
            held = connection.execute(SUBSCRIPTION.select().where(SUBSCRIPTION.c.customer_id == who.id)).all()
        return {
            "customer_id": who.id, "name": who.name, "email": who.email, "tier": who.tier, "credit": who.credit / 100,
            "payment_methods": [_method(m) for m in of[METHOD]],
            "orders": [o.id for o in of[ORDER]], "subscriptions": [s.id for s in held],
        }  # fmt: skip

    @tool()
    def get_order(self, call: Call, order_id: OrderId) -> dict[str, Any]:
        """One order of this customer: its items, what was paid and refunded, days since the purchase."""
        with self.billing.reading() as connection:
            order = _order(connection, call, order_id)
            items = connection.execute(ITEM.select().where(ITEM.c.order_id == order.id).order_by(ITEM.c.place)).all()
        return {
            "order_id": order.id, "status": order.status, "paid": order.paid / 100, "refunded": order.refunded / 100,
            "refundable": _left(order) / 100, "currency": CURRENCY, "purchased_on": order.purchased_on.isoformat(),
            "days_since_purchase": _days(order, call), "payment_method_id": order.payment_method_id,
            "items": [{"item_id": i.item_id, "name": i.name, "price": i.price / 100} for i in items],
        }  # fmt: skip

    @tool()
    def get_subscription_details(self, call: Call) -> dict[str, Any]:
        """The subscriptions of this ticket's customer: plan, price, status, next renewal, payment method."""
        with self.billing.reading() as connection:
            who = _customer(connection, call)
            mine = SUBSCRIPTION.select().where(SUBSCRIPTION.c.customer_id == who.id).order_by(SUBSCRIPTION.c.id)
            found = connection.execute(mine).all()
        return {"customer_id": who.id, "subscriptions": [_subscription(s) for s in found]}

    # -- changing -----------------------------------------------------------------------------------------------

    @tool(target="order_id", irreversible=True, idempotent=True, facts="refund_facts")
    def process_refund(
        self, call: Call, order_id: OrderId, amount: Money | None = None, item_ids: Items = [], reason: Reason = ""  # noqa: B006
    ) -> dict[str, Any]:  # fmt: skip
        """Give money of one order back to what it was paid with: the items named, or an amount, or all that is left."""

        def change(connection: sa.Connection) -> dict[str, Any]:
            order = _order(connection, call, order_id)
            wanted = _wanted(connection, order, amount, item_ids)
            refunded = order.refunded + wanted
            _as_judged(call, "amount_in_all", refunded, f"of {order.id} something was refunded")
            status = "refunded" if refunded == order.paid else "partly refunded"
            values = {"refunded": refunded, "status": status}
            connection.execute(ORDER.update().where(ORDER.c.id == order.id).values(**values))
            return {
                "order_id": order.id, "amount": wanted / 100, "currency": CURRENCY, "status": status,
                "refunded_in_all": refunded / 100, "to": order.payment_method_id, "reason": reason,
            }  # fmt: skip

        return self.billing.once(call.key, "process_refund", order_id, call.now, change)

    @tool(target="customer_id", irreversible=True, idempotent=True, facts="credit_facts")
    def issue_credit(self, call: Call, customer_id: CustomerId, amount: Money, reason: Reason) -> dict[str, Any]:
        """Add an amount to this customer's credit in the shop."""

        def change(connection: sa.Connection) -> dict[str, Any]:
            who = _customer(connection, call, customer_id)
            in_window = _credited(connection, call, who.id) + cents(amount)
            _as_judged(call, "credited_in_30_days", in_window, f"{who.id} was credited")
            credit = who.credit + cents(amount)
            connection.execute(CUSTOMER.update().where(CUSTOMER.c.id == who.id).values(credit=credit))
            return {"customer_id": who.id, "amount": amount, "currency": CURRENCY, "credit_in_all": credit / 100,
                    "reason": reason}  # fmt: skip

        return self.billing.once(call.key, "issue_credit", customer_id, call.now, change)

    @tool(target="subscription_id", idempotent=True, facts="method_facts")
    def update_payment_method(
        self, call: Call, subscription_id: SubscriptionId, payment_method_id: MethodId
    ) -> dict[str, Any]:
        """Pay a subscription of this customer with another of the customer's own payment methods from now on."""

        def change(connection: sa.Connection) -> dict[str, Any]:
            held, method = _held(connection, call, subscription_id, payment_method_id)
            values = {"payment_method_id": method.id}
            connection.execute(SUBSCRIPTION.update().where(SUBSCRIPTION.c.id == held.id).values(**values))
            return {"subscription_id": held.id, "before": held.payment_method_id, "now": method.id}

        return self.billing.once(call.key, "update_payment_method", subscription_id, call.now, change)

    # -- what gates judge ---------------------------------------------------------------------------------------

    def refund_facts(self, call: Call, arguments: Any) -> Facts:
        with self.billing.reading() as connection:
            who, order = _customer(connection, call), _order(connection, call, arguments.order_id)
            if (made := made_before(connection, call.key)) is not None:  # an attempt that could not say so
                sums = {"amount": made["amount"], "amount_in_all": made["refunded_in_all"]}
            else:
                wanted = _wanted(connection, order, arguments.amount, arguments.item_ids)
                sums = {"amount": wanted / 100, "amount_in_all": (order.refunded + wanted) / 100}
        known = sums | {"currency": CURRENCY, "tier": who.tier}
        moving = {"days_since_purchase": _days(order, call)}
        return Facts(known | moving, {"id": who.id, "tier": who.tier}, frozenset(moving))

    def credit_facts(self, call: Call, arguments: Any) -> Facts:
        with self.billing.reading() as connection:
            who = _customer(connection, call, arguments.customer_id)
            made = made_before(connection, call.key)
            amount = made["amount"] if made is not None else arguments.amount
            in_window = (_credited(connection, call, who.id) + cents(amount)) / 100
        known = {"amount": amount, "credited_in_30_days": in_window, "currency": CURRENCY, "tier": who.tier}
        return Facts(known, {"id": who.id, "tier": who.tier})

    def method_facts(self, call: Call, arguments: Any) -> Facts:
        with self.billing.reading() as connection:
            who = _customer(connection, call)
            _held(connection, call, arguments.subscription_id, arguments.payment_method_id)
        return Facts({"tier": who.tier}, {"id": who.id, "tier": who.tier})


def _customer(connection: sa.Connection, call: Call, named: str | None = None) -> Any:
    """The ticket's customer, known by id or e-mail address."""
    who = call.ticket.customer.strip().lower()
    matches = sa.or_(CUSTOMER.c.id == who, sa.func.lower(CUSTOMER.c.email) == who)
    found = connection.execute(CUSTOMER.select().where(matches)).first() if who else None
    if found is None:
        raise ToolRefused("this ticket's customer is not known here: ask for the customer id or e-mail address")
    if named is not None and named != found.id:
        raise ToolRefused(f"this ticket is {found.id}'s: nothing can be done for another customer here")
    return found


def _order(connection: sa.Connection, call: Call, order_id: str) -> Any:
    who = _customer(connection, call)
    found = connection.execute(ORDER.select().where(ORDER.c.id == order_id)).first()
    if found is None or found.customer_id != who.id:  # whose it is else is nobody's business
        raise ToolRefused(f"{who.id} has no order {order_id}")
    return found


def _held(connection: sa.Connection, call: Call, subscription_id: str, method_id: str) -> tuple[Any, Any]:
    who = _customer(connection, call)
    held = connection.execute(SUBSCRIPTION.select().where(SUBSCRIPTION.c.id == subscription_id)).first()
    if held is None or held.customer_id != who.id:
        raise ToolRefused(f"{who.id} has no subscription {subscription_id}")
    method = connection.execute(METHOD.select().where(METHOD.c.id == method_id)).first()
    if method is None or method.customer_id != who.id:
        raise ToolRefused(f"{who.id} has no payment method {method_id}")
    return held, method


def _wanted(connection: sa.Connection, order: Any, amount: float | None, item_ids: list[str]) -> int:
    """Cents to give back.

    Raises:
        ToolRefused: nothing is left, or it would be more than is left, or an item is not in the order.
    """
    left = _left(order)
    if left <= 0 or order.status == "cancelled":
        raise ToolRefused(f"nothing of {order.id} can be refunded: it is {order.status}")
    wanted = left if amount is None else cents(amount)
    if item_ids:
        prices = {i.item_id: i.price for i in connection.execute(ITEM.select().where(ITEM.c.order_id == order.id))}
        there = Counter(i.item_id for i in connection.execute(ITEM.select().where(ITEM.c.order_id == order.id)))
        if missing := list((Counter(item_ids) - there).elements()):
            raise ToolRefused(f"{order.id} has no item {missing[0]}" + (" more" if missing[0] in there else ""))
        of_items = sum(prices[item] for item in item_ids)
        if amount is not None and wanted != of_items:
            raise ToolRefused(f"the items named cost {of_items / 100:.2f}, not {amount:.2f}")
        wanted = of_items
    if wanted > left:
        raise ToolRefused(f"{wanted / 100:.2f} is more than the {left / 100:.2f} that are left of {order.id}")
    return wanted


def _credited(connection: sa.Connection, call: Call, customer_id: str) -> int:
    """Cents this customer was credited in the last 30 days, but for the effect of `call` itself."""
    of_credits = sa.and_(CHANGE.c.what == "issue_credit", CHANGE.c.target == customer_id, CHANGE.c.key != call.key)
    made = connection.execute(sa.select(CHANGE.c.result).where(of_credits, CHANGE.c.at > call.now - CREDIT_WINDOW_S))
    return sum(cents(json.loads(result)["amount"]) for result in made.scalars())


def _as_judged(call: Call, name: str, in_cents: int, what: str) -> None:
    """Inside the transaction: two tickets may have passed the same gate with the same reading.

    Raises:
        FactsMoved: the sum is no longer the one that was judged.
    """
    if name in call.judged and cents(call.judged[name]) != in_cents:
        raise FactsMoved(f"{what} meanwhile, so nothing was changed")


def _left(order: Any) -> int:
    return int(order.paid - order.refunded)


def _days(order: Any, call: Call) -> int:
    return int((day_of(call.now) - order.purchased_on).days)


def _method(row: Any) -> dict[str, Any]:
    card = {"brand": row.brand, "last_four": row.last_four} if row.last_four else {}
    return {"payment_method_id": row.id, "source": row.source} | card


def _subscription(row: Any) -> dict[str, Any]:
    return {
        "subscription_id": row.id, "plan": row.plan, "price": row.price / 100, "currency": CURRENCY,
        "status": row.status, "renews_on": row.renews_on.isoformat(), "payment_method_id": row.payment_method_id,
    }  # fmt: skip
