"""Is this the same matter once more? Only equality counts: the same words by the same requester, or the same link.

Pure, and linear in the length of the text, whatever stands in it. A ticket that nobody is named on is never a repeat,
nor is one with hardly any words. What a sender says beside the words belongs to it: the same sentence about another
order, in `context` or as a link, is another matter. Likeness alone never joins (coordinator/similar.py suggests).
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby, islice
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from shiftlead.config.team import Team

from .letters import written
from .ticket import Draft, Ticket

__all__ = [
    "MAX_JOINED", "MAX_LINKS", "UNTYPED", "compatible", "fingerprint", "link_marks", "marks_for", "marks_of_links",
    "why_joined",
]  # fmt: skip

MAX_JOINED = 100  # who brought the same; then the next one becomes a ticket of its own
MAX_LINKS = 100
MOST_JOINED_BYTES = 32_768  # what is larger is a ticket of its own: a hundred of them must not fill one
MAX_LINK_MARKS = 20
LONGEST_LINK = 2_000
MOST_PARAMETERS = 50
LEAST_TEXT = 12  # letters and digits; "please help" proves nothing
LONG_WORD = 200  # beyond this a word is compared as it is: normalising long runs of accents takes quadratic time
TEXT, LINK = "text:", "link:"

# Types that say by which way something came, or nothing at all, but not what it is.
UNTYPED = frozenset(
    {"", "request", "ticket", "message", "other", "general", "email", "unknown", "notification", "comment", "mention"}
)
INVISIBLE = dict.fromkeys(
    [0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)
REPLY_PREFIXES = frozenset({"re", "aw", "sv", "vs", "antw", "fw", "fwd", "wg", "tr", "rv", "enc", "odp", "ynt"})
# Parameters that say how somebody came to a page, not which page it is.
TRACKING = frozenset(
    {"fbclid", "gclid", "dclid", "gbraid", "wbraid", "msclkid", "yclid", "igshid", "mc_cid", "mc_eid", "mkt_tok",
     "_hsenc", "_hsmi", "_ga", "_gl", "ref_src", "vero_id", "oly_enc_id", "oly_anon_id", "s_cid", "wickedid"}
)  # fmt: skip
PORTS = {"http": 80, "https": 443}
ONE_THING = re.compile(r"\d|(?<![^\W_])[a-f]{7,64}(?![^\W_])", re.ASCII)  # a number, or a hash without one
HOST = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10}(?::\d{1,5})?", re.ASCII)


def marks_for(draft: Draft, team: Team) -> list[str]:
    """Everything a repeat of `draft` is found by, the surest first."""
    if _bytes(draft.body) > MOST_JOINED_BYTES or _bytes(draft.model_dump_json()) > MOST_JOINED_BYTES:
        return []
    addresses = _addresses(draft.links)
    text = fingerprint(draft, team, addresses)
    return [*([text] if text else []), *(_marks(addresses) if team.intake.join_links else [])]


def fingerprint(draft: Draft, team: Team, addresses: list[str] | None = None) -> str:
    """A digest of who says what. "" where a repeat cannot be told: nobody is named, too few words, too large, or
    switched off.

    Quotes, signatures, reply prefixes, case, blanks and invisible characters do not count. How it came (`source`), how
    urgent it is and what the sender numbers it do not, either. `addresses`: of its first 20 links, if known.
    """
    who = [_plain(draft.reporter), _plain(draft.customer)]
    if not team.intake.join_repeats or not any(who) or _bytes(draft.body) > MOST_JOINED_BYTES:
        return ""
    if addresses is None:
        addresses = _addresses(draft.links)
    spelt = [address or link.strip() for address, link in zip(addresses, draft.links, strict=False)]
    said = _plain(f"{_subject(draft.title)} {written(draft.body.translate(INVISIBLE))}")
    if sum(map(str.isalnum, said)) < LEAST_TEXT:
        return ""
    spelt_elsewhere = {"customer": draft.customer, "issue": draft.title}
    context = {k: v for k, v in draft.context.items() if v != spelt_elsewhere.get(k, ...)}
    about = [
        *who, _kind(draft.type, team), said, _plain(draft.component), context,
        sorted({*spelt, *(link.strip() for link in draft.links[len(spelt) :])}), sorted(draft.needs),
        sorted(draft.requires_handoff), draft.assigned_to,
    ]  # fmt: skip
    return TEXT + _digest(json.dumps(about, sort_keys=True))


def link_marks(draft: Draft, team: Team) -> list[str]:
    """Digests of the draft's first 20 links by which it joins, in the order given; none where it is switched off."""
    return marks_of_links(draft.links) if team.intake.join_links else []


def marks_of_links(links: Iterable[str]) -> list[str]:
    """Digests of those of the first 20 links that name one thing: a job, a commit, an issue.

    A host, its first page, or a page whose address has no number or hash in it, is something many talk about.
    """
    return _marks(_addresses(links))


def compatible(draft: Draft, owner: Ticket, team: Team) -> bool:
    """Whether a link may join them: the draft is of the owner's type or has none, and asks for nothing of its own.

    A typed ticket never disappears in an untyped one: whoever opened that first would decide where an incident goes.
    Nor does what one customer brings in the ticket of another: tools act for the ticket's customer, and an agent would
    read there what a stranger wants done.
    """
    one, other = _plain(draft.customer), _plain(owner.customer)
    if one and other and one != other:
        return False
    asks = draft.needs or draft.requires_handoff or draft.assigned_to or draft.context.get("escalation_threshold")
    mine, theirs = _kind(draft.type, team), _kind(owner.type, team)
    return not asks and (not mine or mine == theirs or (bool(theirs) and mine == _kind(owner.category, team)))


def why_joined(draft: Draft, owner: Ticket, marks: Iterable[str], team: Team) -> str:
    """Why `draft`, which has `marks`, is the matter of `owner`; "" = it is not, or there is no room left."""
    shared = set(marks) & set(owner.marks)
    room = len(owner.joined) < MAX_JOINED and len({*owner.links, *draft.links}) <= MAX_LINKS
    # A number of the sender's own is a wish for a ticket of its own.
    if not shared or not room or not owner.is_open or owner.parent is not None or draft.number is not None:
        return ""
    if any(mark.startswith(TEXT) for mark in shared):
        return "the same text by the same requester"
    first = zip(_addresses(draft.links), draft.links, strict=False)
    same = next((link for address, link in first if LINK + _digest(address) in shared), "")
    return f"the same link: {same[:200]}" if same and compatible(draft, owner, team) else ""


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _kind(name: str, team: Team) -> str:
    """A type as the team means it; "" where it says nothing."""
    plain = "_".join(name.casefold().replace("-", " ").split())
    meant = team.aliases.get(name) or team.aliases.get(plain) or plain
    return "" if meant in UNTYPED else meant


def _plain(text: str) -> str:
    """Without case, invisible characters, and any other blanks than one between two words."""
    runs = groupby(text.translate(INVISIBLE).split(), key=lambda word: len(word) <= LONG_WORD)
    joined = ((short, " ".join(words)) for short, words in runs)
    return " ".join(unicodedata.normalize("NFKC", run) if short else run for short, run in joined).casefold()


def _subject(title: str) -> str:
    """A title without Re:, Fwd: and their like."""
    while True:
        prefix, colon, rest = title.partition(":")
        if not colon or prefix.strip().casefold() not in REPLY_PREFIXES:
            return title
        title = rest


def _addresses(links: Iterable[str]) -> list[str]:
    """The one spelling of each of the first 20 links; more are not looked at: a draft's price is bounded."""
    return [_address(link) for link in islice(links, MAX_LINK_MARKS)]


def _marks(addresses: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(LINK + _digest(address) for address in addresses if address))


def _address(link: str) -> str:
    """The one spelling of a link; "" where it names nothing in particular, or is longer than 2,000 characters."""
    if len(link) > LONGEST_LINK:
        return ""
    link = link.translate(INVISIBLE).strip()
    if not link or any(c.isspace() for c in link):
        return ""
    try:
        parts = urlsplit(link)
        if not parts.netloc and HOST.fullmatch(link.partition("/")[0].casefold()):
            parts = urlsplit(f"https://{link}")
        if parts.netloc:
            return _web_address(parts)
    except ValueError:  # no port, no IPv6 address, too many parameters: whatever it is, it is no link
        return ""
    if parts.scheme and ":" in link and not parts.path.startswith("//") and "/" not in link.partition(":")[0]:
        return ""  # mailto:, tel:, data: name a person or carry the thing itself
    # A commit, a range of commits, an issue: 9f8e7d6..1a2b3c4, acme/shop#12, SHOP-118
    return link.casefold() if len(link) >= 6 and ONE_THING.search(link.casefold()) else ""


def _web_address(parts: SplitResult) -> str:
    scheme = parts.scheme.casefold()
    host = (parts.hostname or "").rstrip(".")
    port = "" if parts.port in (None, PORTS.get(scheme)) else f":{parts.port}"
    path = parts.path.rstrip("/")
    query = urlencode(
        sorted(p for p in parse_qsl(parts.query, True, max_num_fields=MOST_PARAMETERS) if not _tracks(p[0]))
    )
    # An address behind # is a place on the page, unless a program in the browser finds its pages by it.
    page = parts.fragment if parts.fragment.startswith(("/", "!/")) else ""
    named = f"{path}?{query}#{page}"
    if not host or not ONE_THING.search(named.casefold()):
        return ""
    return f"{'https' if scheme == 'http' else scheme}://{host}{port}{named}"


def _tracks(name: str) -> bool:
    plain = name.casefold()
    return plain.startswith("utm_") or plain in TRACKING


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]
