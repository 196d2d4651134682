"""no_hallucinations: each claim stands in the ticket, on a page, or in what tools and colleagues said (SD-07).

    amounts, percentages, durations, dates, identifiers (orders, items, tickets), e-mail addresses, links, phone numbers
    "has been refunded", "was cancelled", "we shipped": what was done is shown by an effect or a colleague's word

A sum the reply itself adds up, of amounts that are known, is known. What a page says word for word is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import combinations

from .checker_case import Case, Looked
from .policy import COUNTS, MONEY, MONTHS, amounts_in, decimal_of

__all__ = ["Claim", "claims_in", "durations_in", "no_hallucinations"]


@dataclass(frozen=True, slots=True)
class Claim:
    """`said` as it is written; `value` as it is compared, within its kind."""

    kind: str
    said: str
    value: object


@dataclass(frozen=True, slots=True)
class _Act:
    """Something that was done: how a reply says it, the word that shows it, and tools that do it."""

    name: str
    said: str
    shown: str
    tools: tuple[str, ...] = ()


ACTS = (
    _Act(
        "refund", said=r"refunded|reimbursed|paid back|returned to your (?:card|account)",
        shown="refunded|reimbursed|process_refund", tools=("refund",),
    ),
    _Act(
        "credit", said=r"credited|put (?:a |the )?credit|added (?:a |the )?(?:\S+ )?credit",
        shown="credited|credit_in_all", tools=("credit",),
    ),
    _Act("cancellation", said="cancel+ed|called off", shown="cancel+ed", tools=("cancel",)),
    _Act(
        "shipment", said="shipped|dispatched|sent out|handed to the carrier",
        shown="shipped|dispatched|delivered|in transit", tools=("ship",),
    ),
    _Act("delivery", said="delivered", shown="delivered"),
    _Act("exchange", said="exchanged|replaced", shown="exchanged|replaced", tools=("exchange", "replace")),
    _Act(
        "change", said="updated|changed|modified|corrected", shown="updated|changed|modified|corrected",
        tools=("update", "modify", "change"),
    ),
)  # fmt: skip
DONE = (
    r"\b(?:(?:has|have|had|was|were|is|are|got)\s+(?:now |already |just |been |successfully |fully |partly |also ){0,4}"
    r"|(?:we|i)(?:['’]ve| have)?\s+(?:now |already |just |successfully |also ){0,4})(?:ACT)\b"
)
UNSAID = re.compile(
    r"\b(?:not|never|no|cannot|nothing|unless|if|once|when|until|after|before|as soon as|whether|would|could|can|may|"
    r"might|will|should|must|please|to be)\b|n['’]t\b|\?\s*$",
    re.I,
)
HEARD = re.compile(
    r"\b(?:you (?:say|said|write|wrote|mention(?:ed)?|report(?:ed)?|told)|sorry|regret|understand|apolog)", re.I
)
UNITS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0, "month": 720.0, "year": 8760.0}
COUNT = rf"\d{{1,4}}|{'|'.join(COUNTS)}"
DURATION = re.compile(
    rf"\b(?:({COUNT})\s*(?:-|–|to|or|and)\s*)?({COUNT})[\s-]+"
    rf"(?:full |whole |more |business |working |calendar |banking ){{0,3}}({'|'.join(UNITS)})s?\b",
    re.I,
)
PERCENT = re.compile(r"(?<![\w.])(\d{1,3}(?:[.,]\d{1,3})?)\s?(?:%|percent\b)", re.I)
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
LINK = re.compile(
    r"\b(?:https?://|www\.)[^\s<>()\"'”]{1,500}"
    r"|(?<![\w.@-])[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,4}\.(?:com|org|net|io|shop|example|eu|de|uk)\b"
    r"(?:/[^\s<>()\"'”]{0,500})?",
    re.I,
)
PHONE = re.compile(r"(?<![\w#.,$€£-])\+?\(?\d{1,4}\)?(?:[\s./-]\(?\d{2,5}\)?){2,5}(?![\w.,]?\d)")
IDENTIFIER = re.compile(r"#?(?<![\w-])(?=[\w-]{0,40}\d{4})[A-Za-z0-9][\w-]{3,40}(?![\w-])|#\d{3,12}\b")
MONTH = "|".join([*MONTHS, *(m[:3] for m in MONTHS)])
DATE = re.compile(
    rf"\b(?P<iso>\d{{4}}-\d\d-\d\d)\b|\b(?P<m1>{MONTH})\.?\s+(?P<d1>\d{{1,2}})(?:st|nd|rd|th)?\b"
    rf"|\b(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?(?P<m2>{MONTH})\b|\b(?P<us>\d{{1,2}}/\d{{1,2}}/\d{{2,4}})\b",
    re.I,
)
NUMBER = re.compile(
    r"(?<!\d)\d{1,15}(?:[.,' ]\d{3}){0,5}(?:[.,]\d{1,2})?(?![\d%])"
    r"(?!\s*(?:%|percent|days?|hours?|minutes?|weeks?|months?|years?|business|working|times)\b)",
    re.I,
)
# Money without a sign after it: `USD 600`, or two decimals.
SUM = re.compile(
    r"\b(?:USD|EUR|GBP)\s?(\d[\d,]*(?:\.\d{1,2})?)|(?<![\w.,])(\d{1,3}(?:,\d{3})*\.\d\d|\d+\.\d\d)(?![\w%]|[.,]\d)"
)
COMPUTED = re.compile(r"\b(?:difference|total|sum|altogether|in all|combined|amounts? to)\b", re.I)
MOST_TERMS, MOST_TOLD = 4, 16  # amounts that are added up, of so many


def no_hallucinations(case: Case) -> Looked:
    """Every claim, with where it was found."""
    looked, known = Looked(), _Known(case)
    amounts: list[Decimal] = []
    for sentence in case.sentences:
        if case.quoted(sentence):
            looked.seen.append(f"quoted from a page: {sentence[:120]}")
            continue
        for claim in claims_in(sentence):
            where = known.where(claim)
            if not where and isinstance(claim.value, Decimal):
                where = "adds up" if _adds_up(claim.value, amounts) or known.computed(claim.value, sentence) else ""
            if where:
                looked.seen.append(f"{claim.kind} {claim.said}: {where}")
                amounts += [claim.value] if isinstance(claim.value, Decimal) else []
            else:
                looked.wrong(f"{claim.kind} {claim.said} is in no source", sentence)
        for act in _acts_in(sentence):
            if where := _shown(act, case):
                looked.seen.append(f"{act.name} was done: {where}")
            elif not (HEARD.search(sentence) and re.search(act.said, case.request, re.I)):
                looked.wrong(f"nothing shows that the {act.name} was done", sentence)
    looked.seen = looked.seen or ["it claims nothing that could be wrong"]
    return looked


def claims_in(text: str) -> Iterator[Claim]:
    """The claims of one sentence. What is part of a longer one is taken once: a date is no identifier."""
    rest = text
    for kind, pattern in (("address", EMAIL), ("link", LINK), ("date", DATE), ("phone number", PHONE)):
        for match in pattern.finditer(rest):
            yield Claim(kind, match[0], _value(kind, match))
        rest = pattern.sub(lambda m: " " * len(m[0]), rest)
    for _, amount in amounts_in(rest):
        yield Claim("amount", f"{amount:.2f}", amount)
    rest = MONEY.sub(" ", rest)
    for match in SUM.finditer(rest):
        if (plain := decimal_of(match[1] or match[2])) is not None:
            yield Claim("amount", f"{plain:.2f}", plain)
    rest = SUM.sub(" ", rest)
    for match in PERCENT.finditer(rest):
        yield Claim("percentage", match[0], Decimal(match[1].replace(",", ".")))
    for said, hours in durations_in(rest):
        yield Claim("duration", said, hours)
    for match in IDENTIFIER.finditer(rest):
        if not re.fullmatch(r"(?:19|20)\d\d", match[0]):  # a year by itself
            yield Claim("number", match[0], match[0].lstrip("#").upper())


def durations_in(text: str) -> list[tuple[str, tuple[float, ...]]]:
    """(as written, hours): `5 to 7 business days` is both 120 and 168."""
    found = []
    for low, high, unit in DURATION.findall(text):
        said = f"{f'{low} to ' if low else ''}{high} {unit.lower()}s"
        found.append((said, tuple(_count(n) * UNITS[unit.lower()] for n in (low, high) if n)))
    return found


class _Known:
    """What the sources say, ready to be compared."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.of: dict[str, dict[str, set[object]]] = {}
        opened = datetime.fromtimestamp(case.opened_at, UTC)
        for source, text in case.sources.items():
            self.of[source] = {
                "amount": {decimal_of(n) for n in NUMBER.findall(text)},
                "percentage": {Decimal(m[1].replace(",", ".")) for m in PERCENT.finditer(text)},
                "duration": {hours for _, all_ in durations_in(text) for hours in all_},
                "date": {_value("date", m) for m in DATE.finditer(text)},
                "number": {part for m in IDENTIFIER.finditer(text) for part in _parts(m[0])},
                "address": {m[0].lower() for m in EMAIL.finditer(text)},
                "link": {_link(m[0]) for m in LINK.finditer(text)},
                "phone number": {re.sub(r"\D", "", m[0]) for m in PHONE.finditer(text)},
            }
        self.of["ticket"]["date"].add((opened.month, opened.day))

    def where(self, claim: Claim) -> str:
        """The source that has it; "" when none has."""
        wanted = claim.value if isinstance(claim.value, tuple) and claim.kind == "duration" else (claim.value,)
        return next((s for s, known in self.of.items() if all(value in known[claim.kind] for value in wanted)), "")

    def computed(self, amount: Decimal, sentence: str) -> bool:
        """Whether a total or a difference, called so, is one of amounts that a tool told."""
        told = [value for value in self.of["tool"]["amount"] if isinstance(value, Decimal) and value % 1]
        return bool(COMPUTED.search(sentence)) and len(told) <= MOST_TOLD and _adds_up(amount, told)


def _parts(identifier: str) -> Iterator[str]:
    """`credit_card_8897086` is also known as 8897086."""
    whole = identifier.lstrip("#").upper()
    yield whole
    yield from (part for part in re.split(r"[_-]", whole) if sum(c.isdigit() for c in part) >= 4)


def _value(kind: str, match: re.Match[str]) -> object:
    if kind == "address":
        return match[0].lower()
    if kind == "link":
        return _link(match[0])
    if kind == "phone number":
        return re.sub(r"\D", "", match[0])
    if match["iso"]:
        return int(match["iso"][5:7]), int(match["iso"][8:10])
    if match["us"]:
        month, day = match["us"].split("/")[:2]
        return int(month), int(day)
    month, day = (match["m1"], match["d1"]) if match["m1"] else (match["m2"], match["d2"])
    return next(i for i, name in enumerate(MONTHS, 1) if name.startswith(month.lower()[:3])), int(day)


def _link(text: str) -> str:
    return re.sub(r"^(?:https?://)?(?:www\.)?", "", text.lower()).rstrip("/.,;:!?")


def _count(text: str) -> float:
    return float(COUNTS.get(text.lower(), 0) or text)


def _adds_up(amount: Decimal, known: Sequence[Decimal]) -> bool:
    """Whether the reply's own amounts give it: a sum of some, or the difference of two."""
    terms = list(dict.fromkeys(known))[-MOST_TOLD:]
    sizes = range(2, min(MOST_TERMS, len(terms)) + 1)
    return any(sum(some) == amount for n in sizes for some in combinations(terms, n)) or any(
        abs(a - b) == amount for a, b in combinations(terms, 2)
    )


def _acts_in(sentence: str) -> list[_Act]:
    found = []
    for act in ACTS:
        match = re.search(DONE.replace("ACT", act.said), sentence, re.I)
        if match and not UNSAID.search(sentence[: match.end()]) and not sentence.rstrip().endswith("?"):
            found.append(act)
    return found


def _shown(act: _Act, case: Case) -> str:
    """The effect, the tool's word or the colleague's word that shows it; "" when none does."""
    for effect in case.effects:
        if any(word in str(effect.get("tool")) for word in act.tools):
            return f"{effect.get('tool')} {effect.get('target', '')}".strip()
    shown = re.compile(rf"\b(?:{act.shown})\b", re.I)
    for source in ("tool", "colleague"):
        if match := shown.search(case.sources.get(source, "")):
            return f"{source} says {match[0]!r}"
    return ""
