"""What a resolved ticket teaches: a customer's question and the reply that was sent, without whose it was.

Pure: a ticket in, a lesson or None out. None for what is no customer's, was not answered, was answered with "we do not
know", was only taken up, or whose text was erased. Names, addresses, numbers and links of the customer become marks
such as [name] before anything is kept: another customer may be answered from it, and must not read about this one.

What is certain is replaced (the ticket's own fields, e-mail addresses, digits, names after a greeting or before the
end), and what may be a name is replaced, too: words with a capital letter that no page of the team has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .knowledge_words import words
from .lifecycle import State
from .reserved import RESERVED
from .ticket import Ticket

__all__ = ["NO_ANSWER", "Lesson", "lesson_of", "masked"]

NO_ANSWER = "no answer known"  # how the summary of a reply begins that says so: it teaches nothing
MOST_QUESTION, MOST_REPLY = 2_000, 4_000  # characters
SIGNATURE = 200  # so many at the end may be somebody's greetings and name
NAME, MAIL, NUMBER, LINK = "[name]", "[e-mail]", "[number]", "[link]"
MARK = re.compile(r"\[(?:name|e-mail|number|link)\]")

PERSONAL = re.compile(
    r"name|customer|reporter|contact|person|user|mail|phone|mobile|address|street|city|iban|account", re.I
)
AN_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}")
A_LINK = re.compile(r"\b(?:https?://|www\.)\S+")
# Three digits or more, with what stands between the groups of a telephone, card or account number.
A_NUMBER = re.compile(r"[#+]?\b\w*\d(?:[\w./:-]| (?=\d)|[()] ?(?=\d))*")
GREETING = re.compile(
    r"^[ \t]*(?:hello|hi|hey|dear|good (?:morning|day|afternoon|evening)|hallo|guten tag|liebe[rs]?|sehr geehrte[rs]?|"
    r"bonjour|hola|ciao)\b[^\n,.!:]{0,60}[,.!:]?",
    re.I | re.M,
)
CLOSING = re.compile(
    r"\b((?:kind |best |warm |many )?(?:regards|wishes|thanks|thank you|sincerely|yours|cheers|gr(?:ü|ue)(?:ß|ss)en?))"
    r"[\s,.!]{0,9}((?:[^\W\d_][\w.'’-]*[ \t]*){1,4})\s*$",
    re.I,
)
INTRODUCED = re.compile(
    r"\b((?:my name is|i am called|i'm called|this is|signed|mr|mrs|ms|miss|dr|herr|frau|señora?|madame|monsieur)\.?)"
    r"[ \t]+((?:[A-ZÀ-ÖØ-Þ][\w'’-]*[ \t]*){1,4})",
    re.I,
)
I_AM = re.compile(r"\b((?:[Ii] am|[Ii]['’]m|[Hh]ere is|[Ii]ch bin)[ \t]+)((?:[A-ZÀ-ÖØ-Þ][\w'’-]+[ \t]*){1,4})")
FRAME = re.compile(r"\A(?:\[name\]|[,\s])+|\n\s*\(From (?:our|an) [^\n]*\)|\n\s*[^\n]{0,40}\bteam\.?\s*\Z")
CAPITAL = re.compile(r"\b[A-ZÀ-ÖØ-Þ][\w'’-]*")
# A capital letter is no sign of a name here: a sentence begins, an abbreviation, a day, what everybody knows.
ORDINARY = frozenset(
    re.findall(
        r"\S+",
        """i i'm i've i'd i'll monday tuesday wednesday thursday friday saturday sunday january february march april may
        june july august september october november december english german french spanish europe european euro euros
        iban sepa android iphone ios mac windows linux chrome firefox safari google apple microsoft visa mastercard
        maestro paypal amex internet wifi wi-fi christmas easter uk us usa eu""",
    )
)
# German writes every noun with a capital letter; so many of these words tell that a text is German.
GERMAN = frozenset(re.findall(r"\w+", "und die der das ist nicht ich mit meine mein wie kann für auf habe wir sie"))
ENOUGH_GERMAN = 3


@dataclass(frozen=True, slots=True)
class Lesson:
    """`question` and `reply` are masked. `general`: nothing had to be masked in the reply, so it fits anybody."""

    ticket_id: str
    number: str
    title: str
    question: str
    reply: str
    at: float

    @property
    def general(self) -> bool:
        return not MARK.search(self.reply)


def lesson_of(ticket: Ticket, known: Collection[str] = ()) -> Lesson | None:
    """The lesson, or None. `known` are the words of the team's pages, as `words` gives them: no names."""
    result = ticket.result or {}
    reply = result.get("reply")
    if (
        ticket.state is not State.RESOLVED
        or result.get("kind") != "resolved"
        or not isinstance(reply, str)
        or not reply.strip()
        or not ticket.customer
        or ticket.parent is not None
        or ticket.type in RESERVED
        or ticket.source == "shiftlead"
        or result.get("requires_escalation")
        or str(result.get("summary", "")).startswith(NO_ANSWER)
    ):
        return None
    own = list(_own_words(ticket))
    title = masked(ticket.title, own, known)
    body = masked(ticket.body[:MOST_QUESTION], own, known)
    said = _body_of(masked(reply[:MOST_REPLY], own, known))
    if not said:
        return None
    return Lesson(ticket.id, ticket.number, title, body, said, ticket.closed_at or ticket.updated_at)


def masked(text: str, own: Iterable[str] = (), known: Collection[str] = ()) -> str:
    """`text` with marks in place of what is somebody's. `own` are texts that certainly are; `known` never are."""
    text = A_LINK.sub(LINK, AN_ADDRESS.sub(MAIL, text))
    for value in sorted({o.strip() for o in own if len(o.strip()) > 1}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", NAME, text, flags=re.I)
    text = A_NUMBER.sub(lambda m: _number(m.group()), text)
    text = GREETING.sub("", text)
    text = INTRODUCED.sub(rf"\1 {NAME} ", text)
    text = I_AM.sub(lambda m: m[0] if _ordinary(m[2].split()[0], known) else f"{m[1]}{NAME} ", text)
    text, end = text.rstrip()[:-SIGNATURE], text.rstrip()[-SIGNATURE:]
    text += CLOSING.sub(rf"\1 {NAME}", end)
    text = _without_capitals(text, known)
    return re.sub(r"(?:\[name\][ \t]*){2,}", f"{NAME} ", text).strip()


def _own_words(ticket: Ticket) -> Iterator[str]:
    """What the ticket itself names somebody by: its fields, whole and in parts, and its context."""
    for value in (ticket.customer, ticket.reporter, *_personal(ticket.context)):
        yield value
        yield from (part for part in re.split(r"[^\w'’-]+|_", value) if len(part) > 2 and not part.isdigit())


def _personal(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _personal(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _personal(item, key)
    elif isinstance(value, str) and len(value) <= 200 and PERSONAL.search(key):
        yield value


def _number(found: str) -> str:
    """One or two digits say how many days; more may be an order, a telephone, an amount."""
    if sum(c.isdigit() for c in found) < 3:
        return found
    end = found[len(found.rstrip("./:-")) :]
    return NUMBER + end


def _without_capitals(text: str, known: Collection[str]) -> str:
    if len(GERMAN.intersection(text.lower().split())) >= ENOUGH_GERMAN:
        # Only what nobody writes otherwise: two capitals in a row, as a first and a family name.
        return re.sub(r"\b[A-ZÀ-ÖØ-Þ][\w'’-]+ [A-ZÀ-ÖØ-Þ][\w'’-]+\b", lambda m: _pair(m.group(), known), text)
    for m in reversed(list(CAPITAL.finditer(text))):
        if not _begins_sentence(text, m.start()) and not _ordinary(m.group(), known):
            text = text[: m.start()] + NAME + text[m.end() :]
    # "Anna [name] writes": what begins the sentence belongs to it, unless everybody says it.
    return re.sub(r"\b([A-ZÀ-ÖØ-Þ][\w'’-]+) \[name\]", lambda m: m[0] if _ordinary(m[1], known) else NAME, text)


def _pair(found: str, known: Collection[str]) -> str:
    return found if any(_ordinary(w, known) for w in found.split()) else NAME


def _ordinary(word: str, known: Collection[str]) -> bool:
    plain = word.lower().removesuffix("'s").removesuffix("’s")
    if plain in ORDINARY or (word.isupper() and len(word) <= 5) or not word[:1].isupper():
        return True
    stems = words(word)
    return not stems or all(stem in known for stem in stems)


def _begins_sentence(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t\"'(“„«*>-")
    return not before or before[-1] in ".!?:\n]"


def _body_of(reply: str) -> str:
    """The reply without a greeting, what it was written from, and who signed."""
    return FRAME.sub("", reply).strip()
