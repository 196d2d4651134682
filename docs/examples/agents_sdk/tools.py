"""The team's tools. Shiftlead checks the arguments, asks at the gates and does each effect once, whoever calls them."""

from __future__ import annotations

from typing import Any

from shiftlead.agents.tool import Call, Money, tool
from shiftlead.agents.tools_api import ToolRefused

ORDERS = {"4711": {"item": "lamp", "total": 89.0}, "4712": {"item": "desk", "total": 640.0}}


@tool()
def get_order(call: Call, order_id: str) -> dict[str, Any]:
    """What was ordered, and for how much."""
    if order_id not in ORDERS:
        raise ToolRefused(f"there is no order {order_id!r}")
    return ORDERS[order_id]


@tool(target="order_id", irreversible=True)
def send_refund(call: Call, order_id: str, amount: Money) -> dict[str, Any]:
    """Give money back for an order."""
    total = float(get_order(call, order_id)["total"])
    if amount > total:
        raise ToolRefused(f"order {order_id} was {total:.2f}")
    return {"order_id": order_id, "refunded": amount}  # here your payment system would be called, with call.key
