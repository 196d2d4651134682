"""The refund policy, and the facts of a refund request as its text and its ticket state them.

    support may grant         up to 500; up to 100 for the basic tier; up to 30 days after the purchase
    a decision is needed      above any of these
    a credit                  up to 50 is given at once, more is reviewed by a manager
    the decision-maker may    approve up to 1,000 when an order is named and it is at most 90 days old

All limits are inclusive: 500.00 passes, 500.01 does not. What is not stated is None, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from shiftlead.queues.ticket import Ticket

__all__ = [
 "COUNTS", "CREDIT_LIMIT", "DECIDER_LIMIT", "MONEY", "MONTHS", "Refund", "amounts_in", "days_in", "decide_refund",
 "decimal_of", "read_refund", "refund_of", "why_decision_needed",
]  # fmt: skip

SUPPORT_LIMIT = Decimal(500)
BASIC_LIMIT = Decimal(100)
CREDIT_LIMIT = Decimal(50)
SUPPORT_DAYS = 30
DECIDER_LIMIT = Decimal(1000)
DECIDER_DAYS = 90


@dataclass(frozen=True, slots=True)
class Refund:
    """What is known of a refund request. Days are whole days since the purchase."""

    amount: Decimal | None = None
    currency: str = "$"
    orders: tuple[str, ...] = ()
    tier: str = ""
    days: int | None = None
    amount_from: str = ""

    @property
    def money(self) -> str:
        if self.amount is None:
            return "an amount we do not know"
        return f"{self.currency}{self.amount:,.2f}"

    @property
    def arguments(self) -> dict[str, Any]:
        """As the arguments of the action `process_refund`; unknown facts are left out, so a gate closes on them."""
        known: dict[str, Any] = {"orders": list(self.orders)} if len(self.orders) > 1 else {}
        if self.amount is not None:
            known |= {"amount": float(self.amount), "currency": CODES.get(self.currency, self.currency)}
        if self.orders:
            known["order"] = self.orders[0]
        if self.days is not None:
            known["days_since_purchase"] = self.days
        return known | ({"tier": self.tier} if self.tier else {})


def why_decision_needed(refund: Refund) -> str:
    """The rule that takes this refund out of support's hands, or an empty text when support may grant it."""
    if refund.amount is not None and refund.amount > SUPPORT_LIMIT:
        return f"{refund.money} is more than the {SUPPORT_LIMIT} support may grant"
    if refund.amount is not None and refund.tier == "basic" and refund.amount > BASIC_LIMIT:
        return f"{refund.money} is more than the {BASIC_LIMIT} support may grant on the basic tier"
    if refund.days is not None and refund.days > SUPPORT_DAYS:
        return f"the purchase is {refund.days} days old, support may grant up to {SUPPORT_DAYS}"
    return ""


def decide_refund(refund: Refund) -> tuple[bool, str]:
    """Whether the decision-maker approves, and the reason in a sentence."""
    if refund.amount is None:
        return False, "no amount is stated, so there is nothing that can be approved"
    if refund.amount > DECIDER_LIMIT:
        return False, (
            f"{refund.money} is above the upper limit of {DECIDER_LIMIT:,} for one refund. It can be asked again per "
            "item, or with the proof of purchase for a review by a person"
        )
    if not refund.orders:
        return False, f"no order is named, so {refund.money} cannot be tied to a purchase. Ask again with the order"
    if refund.days is not None and refund.days > DECIDER_DAYS:
        return False, f"the purchase is {refund.days} days old and the upper limit is {DECIDER_DAYS} days"
    return True, f"{refund.money} is within the upper limit of {DECIDER_LIMIT:,} and order {refund.orders[0]} is named"


def read_refund(text: str, context: Mapping[str, Any], *, now: float) -> Refund:
    """The facts: typed ones from the context first, then the text; `now` is unix seconds, for dates.

    Of several amounts in the text the largest counts: asking once too often is the cheaper mistake. The order total
    is used only when nothing else names an amount.
    """
    named = amounts_in(text)
    currency, largest = max(named, key=lambda m: m[1]) if named else ("$", None)
    amount, source = _number(context, "amount", "refund_total", "refund_amount"), "ticket"
    if amount is None:
        amount, source = largest, "text"
    if amount is None:
        amount, source = _number(context, "order_total", "total"), "order total"
    orders = re.findall(r"#?\b(W\d{5,}|(?:ORD|ORDER)[-_]?\d{3,})\b", text, re.I) + re.findall(
        r"\border\s{0,8}(?:number|no\.?|id)?\s{0,8}[:#]?\s{0,8}(\d{4,})\b", text, re.I
    )
    for key in ("order", "order_id", "orders"):
        value = context.get(key)
        orders += [str(v).lstrip("#") for v in (value if isinstance(value, list) else [value]) if v]
    days = _number(context, "days_since_purchase", "days")
    return Refund(
        amount=amount,
        currency=SIGNS.get(str(context.get("currency", "")).upper(), currency),
        orders=tuple(dict.fromkeys(o.upper() for o in orders)),
        tier=_tier(context),
        days=int(days) if days is not None else _purchase_days(text, context, now),
        amount_from=source if amount is not None else "",
    )


def refund_of(ticket: Ticket) -> Refund:
    """The refund a ticket asks for: as an approval's stored arguments, else from its words and context."""
    arguments = ticket.context.get("arguments")
    context = {**ticket.context, **(arguments if isinstance(arguments, dict) else {})}
    text = "" if isinstance(arguments, dict) else f"{ticket.title}\n{ticket.body}"
    return read_refund(text, context, now=ticket.created_at)


SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
CODES = {sign: code for code, sign in SIGNS.items()}
NUMBER = r"\d{1,3}(?:[.,' ]\d{3}){1,5}(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,2})?"
MONEY = re.compile(
    rf"(?P<sign>[$€£])\s?(?P<a>{NUMBER})(?!\d)|(?<![\w.,])(?P<b>{NUMBER})\s?(?P<code>USD|EUR|GBP|"
    rf"dollars?|euros?|pounds?|[$€£])(?!\w)",
    re.I,
)


def amounts_in(text: str) -> list[tuple[str, Decimal]]:
    """(currency sign, amount) for each sum of money the text names: $1,234.56, 1.234,56 EUR, 80 dollars."""
    found = []
    for match in MONEY.finditer(text):
        word = match["sign"] or match["code"]
        sign = word if word in CODES else SIGNS.get(WORDS.get(word.lower().rstrip("s"), word.upper()), "$")
        amount = decimal_of(match["a"] or match["b"])
        if amount is not None:
            found.append((sign, amount))
    return found


WORDS = {"dollar": "USD", "euro": "EUR", "pound": "GBP"}


def decimal_of(text: str) -> Decimal | None:
    """The number in `1.234,56`, `1,234.56` or `1 234`; None when it is none."""
    digits = re.sub(r"[' ]", "", text)
    last = max(digits.rfind("."), digits.rfind(","))
    if last >= 0 and len(digits) - last - 1 in (1, 2):  # what follows the last mark is cents
        digits = re.sub(r"[.,]", "", digits[:last]) + "." + digits[last + 1 :]
    else:
        digits = re.sub(r"[.,]", "", digits)
    try:
        return Decimal(digits)
    except InvalidOperation:
        return None


def _number(context: Mapping[str, Any], *keys: str) -> Decimal | None:
    for key in keys:
        value = context.get(key)
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, (int, float)):
            return Decimal(str(value))
        if isinstance(value, str):
            stated = [number for _, number in amounts_in(value)]
            number = stated[0] if stated else decimal_of(value.strip())
            if number is not None:
                return number
    return None


def _tier(context: Mapping[str, Any]) -> str:
    for key in ("tier", "customer_tier"):
        if isinstance(context.get(key), str):
            return str(context[key]).strip().lower()
    return ""


COUNTS = {"a": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
COUNTS |= {"an": 1, "one": 1, "eleven": 11, "twelve": 12}
UNIT_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
AGO = re.compile(rf"\b(\d{{1,4}}|{'|'.join(COUNTS)})\s+(day|week|month|year)s?\s+(?:ago|old|back)\b", re.I)
MONTHS = [date(2000, n, 1).strftime("%B").lower() for n in range(1, 13)]
DATE = re.compile(
    rf"\b(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})\b|\b(?P<month>{'|'.join(MONTHS)})\s+(?P<day>\d{{1,2}})(?:st|"
    rf"nd|rd|th)?,?\s+(?P<year>\d{{4}})",
    re.I,
)


def days_in(text: str, *, now: float) -> int | None:
    """Days since what the text dates: `34 days ago`, `two weeks ago`, `2026-01-05`, `March 3, 2026`; the longest."""
    found = []
    for count, unit in AGO.findall(text):
        found.append(int(COUNTS.get(count.lower(), 0) or count) * UNIT_DAYS[unit.lower()])
    today = datetime.fromtimestamp(now, UTC).date()
    for match in DATE.finditer(text):
        try:
            if match["iso"]:
                day = date.fromisoformat(match["iso"])
            else:
                day = date(int(match["year"]), MONTHS.index(match["month"].lower()) + 1, int(match["day"]))
        except ValueError:
            continue
        if day <= today:
            found.append((today - day).days)
    return max(found, default=None)


def _purchase_days(text: str, context: Mapping[str, Any], now: float) -> int | None:
    for key in ("purchase_date", "purchased_at", "ordered_at"):
        if isinstance(context.get(key), str):
            return days_in(context[key][:10], now=now)
    return days_in(text, now=now)
