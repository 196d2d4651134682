"""A small billing database: customers, orders, subscriptions, and every change that was made, by its key.

It stands for the shop's own system, so it has a file of its own and does not trust its caller to call once: a change
and the key of the effect it belongs to are written in one transaction, and a key that is there is answered with the
stored result. Money is in cents, dates are UTC days.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from shiftlead.queues.ledger_database import is_sqlite, open_engine

__all__ = [
    "METADATA", "Billing", "ChangeRow", "CustomerRow", "OrderItemRow", "OrderRow", "PaymentMethodRow",
    "SubscriptionRow", "cents", "day_of", "made_before",
]  # fmt: skip


class _Row(SQLModel, registry=registry()):
    """Base of these tables."""


class CustomerRow(_Row, table=True):
    """`credit`: what we owe the customer, in cents. `tier` is added by us."""

    __tablename__ = "billing_customer"
    id: str = Field(primary_key=True)
    name: str
    email: str = Field(index=True)
    tier: str
    credit: int = 0


class PaymentMethodRow(_Row, table=True):
    """Never more of a card than its last four digits."""

    __tablename__ = "billing_payment_method"
    id: str = Field(primary_key=True)
    customer_id: str
    source: str
    brand: str = ""
    last_four: str = ""


class OrderRow(_Row, table=True):
    """`paid` and `refunded` in cents. The purchase date is added by us."""

    __tablename__ = "billing_order"
    id: str = Field(primary_key=True)
    customer_id: str
    status: str
    paid: int
    refunded: int = 0
    payment_method_id: str
    purchased_on: date


class OrderItemRow(_Row, table=True):
    """One thing of an order; two of a kind are two rows."""

    __tablename__ = "billing_order_item"
    order_id: str = Field(primary_key=True)
    place: int = Field(primary_key=True)
    item_id: str
    name: str
    price: int


class SubscriptionRow(_Row, table=True):
    """Added by us."""

    __tablename__ = "billing_subscription"
    id: str = Field(primary_key=True)
    customer_id: str
    plan: str
    price: int
    status: str
    renews_on: date
    payment_method_id: str


class ChangeRow(_Row, table=True):
    """A change that was made, by the key of its effect."""

    __tablename__ = "billing_change"
    key: str = Field(primary_key=True)
    what: str
    target: str = Field(index=True)
    at: float
    result: str = Field(sa_type=Text)


METADATA = _Row.metadata
T = METADATA.tables
CUSTOMER, METHOD, ORDER = T["billing_customer"], T["billing_payment_method"], T["billing_order"]
ITEM, SUBSCRIPTION, CHANGE = T["billing_order_item"], T["billing_subscription"], T["billing_change"]


class Billing:
    """One billing database. Safe to share between threads and processes."""

    def __init__(self, address: str) -> None:
        self.engine = open_engine(address)

    @classmethod
    def opened(cls, address: str, seed: Path, *, now: float) -> Billing:
        """The database at `address`, made from the file `seed` if it is empty; purchases are dated back from `now`."""
        billing = cls(address)
        _private_file(billing.engine)
        with billing.writing() as connection:
            METADATA.create_all(connection)
            if connection.execute(sa.select(sa.func.count()).select_from(CUSTOMER)).scalar_one() == 0:
                _fill(connection, json.loads(seed.read_text(encoding="utf-8")), day_of(now))
        return billing

    def reading(self) -> sa.Connection:
        """A connection to read with: `with billing.reading() as connection`."""
        return self.engine.connect()

    def writing(self) -> Any:
        """One transaction in which nobody else writes: `with billing.writing() as connection`."""
        return _Writing(self.engine)

    def once(
        self, key: str, what: str, target: str, at: float, change: Callable[[sa.Connection], dict[str, Any]]
    ) -> dict[str, Any]:
        """Make the change and keep its result under `key`, together or not at all. A known key changes nothing and
        gives the result it gave before. Whatever `change` raises rolls back."""
        with self.writing() as connection:
            if (known := made_before(connection, key)) is not None:
                return known
            result = change(connection)
            row = {"key": key, "what": what, "target": target, "at": at, "result": json.dumps(result)}
            connection.execute(CHANGE.insert().values(**row))
            return result

    def close(self) -> None:
        self.engine.dispose()


class _Writing:
    """Commits when the block ends well, else rolls back."""

    def __init__(self, engine: sa.Engine) -> None:
        self._connection = engine.connect().execution_options(writes=True)

    def __enter__(self) -> sa.Connection:
        self._transaction = self._connection.begin()
        return self._connection

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._transaction.commit()
            else:
                self._transaction.rollback()
        finally:
            self._connection.close()


def made_before(connection: sa.Connection, key: str) -> dict[str, Any] | None:
    """The result of the change with this key; None where it was not made."""
    result = connection.execute(sa.select(CHANGE.c.result).where(CHANGE.c.key == key)).scalar_one_or_none()
    return json.loads(result) if result is not None else None


def cents(amount: float) -> int:
    """Money as it is kept."""
    return round(amount * 100)


def day_of(now: float) -> date:
    """The UTC day of a moment in unix seconds."""
    return datetime.fromtimestamp(now, UTC).date()


def _private_file(engine: sa.Engine) -> None:
    if is_sqlite(engine) and engine.url.database not in (None, "", ":memory:"):
        file = Path(str(engine.url.database))
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _fill(connection: sa.Connection, seed: dict[str, Any], today: date) -> None:
    ours = seed["added_by_us"]
    customers = [c | {"tier": ours["tier"][c["id"]], "credit": 0} for c in seed["customers"]]
    methods = [{"brand": "", "last_four": ""} | m for m in seed["payment_methods"]]
    orders = [
        o | {
            "paid": cents(o["paid"]), "refunded": 0,
            "purchased_on": today - timedelta(days=ours["purchased_days_ago"][o["id"]]),
        }
        for o in seed["orders"]
    ]  # fmt: skip
    items = [i | {"place": place, "price": cents(i["price"])} for place, i in enumerate(seed["order_items"])]
    subscriptions = [
        {k: v for k, v in s.items() if k != "renews_in_days"}
        | {"price": cents(s["price"]), "renews_on": today + timedelta(days=s["renews_in_days"])}
        for s in ours["subscriptions"]
    ]
    for table, rows in (
        (CUSTOMER, customers), (METHOD, methods), (ORDER, orders), (ITEM, items), (SUBSCRIPTION, subscriptions),
    ):  # fmt: skip
        connection.execute(table.insert(), rows)
