"""policy_compliant: what a reply promises is what somebody may promise (SD-07). Numbers in policy.py.

money      a refund or credit beyond the limits, without an effect or a yes on the ticket
moments    "by Friday", "within two hours", that no page, tool or colleague names and no follow-up keeps
secrets    nobody is asked for a password, a code or a whole card number, and none is repeated
promises   nothing is guaranteed
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from .checker_case import Case, Looked
from .checker_claims import DATE, claims_in, durations_in
from .policy import CREDIT_LIMIT, Refund, why_decision_needed

__all__ = ["policy_compliant"]

REFUND = re.compile(r"\brefund\w*|\breimburs\w*|\bmoney back\b|\bpa(?:y|id) (?:you |it )?back\b|\bwent back\b", re.I)
CREDIT = re.compile(r"\bcredit(?:ed)?\b(?![ _]card)|\bvoucher\b|\bgoodwill\b|\bcompensat\w+|\bdiscount\b", re.I)
GIVES = re.compile(
    r"\b(?:will|shall|going to|is|are|was|were|been|be|have|has|['’]ll|['’]ve)\b[^.!?]{0,40}"
    r"\b(?:refund(?:ed)?|reimbursed?|credit(?:ed)?|compensated?|granted?|approved?|issued?|made|processed|receive[ds]?|given?"
    r"|on (?:its|the) way|yours|on your account)\b"
    r"|\b(?:we|i) (?:grant|refund|approve|issue|credit|reimburse|offer|give)\b"
    r"|\byou (?:get|will get|receive)\b|\bwent back\b",
    re.I,
)
DENIES = re.compile(r"\b(?:not|never|no|cannot|unable|nothing|denied|decline\w*|could|would|may|if|once|unless|up to|"
                    r"ask(?:ed)?|request(?:ed)?|whether)\b|n['’]t\b|\?\s*$", re.I)  # fmt: skip
OURS = re.compile(
    r"\b(?:we|i|our|somebody|someone|a (?:colleague|manager|person|specialist))\b[^.!?]{0,80}"
    r"\b(?:will|shall|going to)\b|\b(?:we|i)['’]ll\b"
    r"|\b(?:it|you|your \w+|the \w+|they|this)\b[^.!?]{0,40}\b(?:will|shall)\b|['’]ll\b|\bexpect\b",
    re.I,
)
MOMENT = re.compile(
    r"\b(?:by|on|until|before|this|next)\s+(?:(?:this|next)\s+)?(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|\b(?:by |before |until )?(?:tomorrow|tonight|today|(?:next|this) week)\b"
    r"|\b(?:by |before )?the end of (?:the |this )?(?:day|week|month)\b|\bimmediately\b|\bright away\b",
    re.I,
)
SECRET = re.compile(
    r"\b(?:password|passcode|pin(?: code| number)?|cvv|cvc|security code|one[- ]time (?:code|password)|otp|"
    r"social security number|ssn|(?:full |complete |whole |entire |credit |debit ){0,3}card (?:number|details))\b",
    re.I,
)
ASKS = re.compile(
    r"\b(?:send|give|tell|provide|confirm|share|reply with|enter|type|state|let us (?:know|have)|what is|what['’]s|"
    r"could you|can you|we need|verify)\b",
    re.I,
)
NEVER = re.compile(
    r"\b(?:never|not|without|last four|last 4|reset|change your|forgot\w*|new password|link)\b|n['’]t\b", re.I
)
CARD = re.compile(r"(?<![\w-])(?:\d[ -]?){13,19}(?![\w-])")
GUARANTEE = re.compile(
    r"\b(?:guarantee[ds]?|100 ?%|promise you|no matter what|definitely will|will definitely)\b", re.I
)


def policy_compliant(case: Case) -> Looked:
    """Every promise, with what allows it."""
    looked = Looked()
    for sentence in case.sentences:
        if CARD.search(sentence) and any(_is_card(m[0]) for m in CARD.finditer(sentence)):
            looked.wrong("it repeats a whole card number", sentence)
        if case.quoted(sentence):
            continue
        if SECRET.search(sentence) and ASKS.search(sentence) and not NEVER.search(sentence):
            looked.wrong(f"it asks for a secret: {SECRET.search(sentence)[0]!r}", sentence)  # type: ignore[index]
        if (match := GUARANTEE.search(sentence)) and not re.search(r"\bcannot\b|\bnot\b|n['’]t\b", sentence, re.I):
            looked.wrong(f"it guarantees: {match[0]!r}", sentence)
        _money(sentence, case, looked)
        _moments(sentence, case, looked)
    looked.seen = looked.seen or ["it promises nothing"]
    return looked


def _money(sentence: str, case: Case, looked: Looked) -> None:
    kinds = [k for k, pattern in (("refund", REFUND), ("credit", CREDIT)) if pattern.search(sentence)]
    if not kinds or not GIVES.search(sentence) or DENIES.search(sentence):
        return
    named = [c.value for c in claims_in(sentence) if c.kind == "amount" and isinstance(c.value, Decimal)]
    kind, amount = kinds[0], max(named, default=case.refund.amount if kinds[0] == "refund" else None)
    if allowed := _allowed(kind, amount, case):
        looked.seen.append(f"{kind} of {amount if amount is not None else 'no sum'}: {allowed}")
        return
    if why := _too_much(kind, amount, case):
        looked.wrong(f"a {kind} is promised that nobody has approved: {why}", sentence)
    else:
        looked.seen.append(f"{kind} of {amount if amount is not None else 'no sum'}: within the limits")


def _too_much(kind: str, amount: Decimal | None, case: Case) -> str:
    """The rule it breaks without a yes; "" when it is within the limits."""
    if kind == "refund":
        asked = case.refund
        return why_decision_needed(Refund(amount, asked.currency, asked.orders, asked.tier, asked.days))
    over = amount is not None and amount > CREDIT_LIMIT
    return f"{amount} is more than the {CREDIT_LIMIT} given without a look" if over else ""


def _allowed(kind: str, amount: Decimal | None, case: Case) -> str:
    """Why this sum may be promised whatever the limits say: it was done, or somebody said yes to it."""
    for effect in case.effects:
        if kind in str(effect.get("tool")) and _covers(effect.get("result"), amount):
            return f"{effect.get('tool')} was done"
    for answer in case.approved:
        if kind in str(answer.get("action")) and _covers(answer.get("arguments"), amount):
            return f"approved in {answer.get('number')}"
    return ""


def _covers(facts: Any, amount: Decimal | None) -> bool:
    values = [v for k, v in facts.items() if "amount" in k or k in ("refunded_in_all", "credit_in_all")] if isinstance(
        facts, dict) else []  # fmt: skip
    sums = [Decimal(str(v)) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return bool(sums) and (amount is None or amount <= max(sums))


def _moments(sentence: str, case: Case, looked: Looked) -> None:
    if not OURS.search(sentence) or re.search(r"\b(?:if|unless|once you|when you)\b", sentence, re.I):
        return
    kept = [f.after_s + (f.within_s or 4 * 3600.0) for f in case.draft.follow_ups]
    known = {hours for _, all_ in durations_in(case.trusted) for hours in all_}
    for said, hours in durations_in(sentence):
        if set(hours) <= known:
            looked.seen.append(f"{said}: a page, tool or colleague says so")
        elif kept and max(hours) * 3600 >= min(kept):
            looked.seen.append(f"{said}: a follow-up keeps it")
        else:
            looked.wrong(f"nobody said that it takes {said}", sentence)
    for match in [*MOMENT.finditer(sentence), *DATE.finditer(sentence)]:
        if match[0].lower() not in case.trusted.lower() and not kept:
            looked.wrong(f"nobody said that it is {match[0]!r}", sentence)


def _is_card(text: str) -> bool:
    """Thirteen to nineteen digits whose check digit is right (Luhn)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
