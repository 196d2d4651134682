"""What comes in by other people's channels, as a ticket: {source, urgency, component, reporter, links} (TA-03).

Pure: a payload in, a draft out. Each channel has a file of its own; what they share stands here. What a payload says is
data of strangers: it fills fields of a draft, chooses no team, no agent and no repository, and is bounded.

A message has a key made of everything it says, so the same one sent again is the same ticket.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiftlead.queues.errors import BadInput
from shiftlead.queues.ticket import Draft, parse_draft

__all__ = [
    "MOST_TEXT", "Ignored", "Message", "component_of", "evidence_links", "message", "payload_of", "text_of",
    "urgency_of",
]  # fmt: skip

MOST_TEXT = 60_000  # characters of a body
MOST_LINKS = 20
URL = re.compile(r"https?://[^\s<>()\[\]{}\"'`|\\^]{4,1900}")
RANGE = re.compile(r"(?<![0-9a-f/.])[0-9a-f]{7,40}\.{2,3}[0-9a-f]{7,40}(?![0-9a-f])")
# A page that shows what went wrong: one job, one run, one comparison. Other pages many matters may mention.
SHOWS = re.compile(r"/(?:actions/runs|runs|jobs?|builds?|pipelines?|compare|logs?|artifacts)/", re.I)
URGENCY = {
    word: urgency
    for urgency, words in {
        "urgent": "urgent critical blocker emergency p0 p1 s0 s1 sev0 sev1",
        "high": "high major important error p2 s2 sev2",
        "normal": "normal medium moderate warning p3 s3 sev3",
        "low": "low minor trivial info p4 s4 sev4",
    }.items()
    for word in words.split()
}
RANK = ("urgent", "high", "normal", "low")
PREFIX = re.compile(r"^(?:priority|prio|severity|sev|urgency|impact)\s*[:/= -]\s*", re.I)
COMPONENT = re.compile(r"^(?:component|comp|area|module|service)\s*[:/=]\s*(.+)$", re.I)


class Ignored(Exception):
    """Nothing for anybody to do; says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """A draft, and the idempotency key it is brought with."""

    draft: Draft
    key: str


def message(fields: Mapping[str, Any], *, stamp: str = "", max_bytes: int = 262_144) -> Message:
    """A draft of `fields`, which may hold anything a payload held. `stamp` makes the key differ where the words do not.

    Raises:
        BadInput, TooLarge: it cannot be a ticket.
    """
    said = {name: value for name, value in fields.items() if value not in ("", None, [], {})}
    draft = parse_draft(said, max_bytes=max_bytes)
    whole = json.dumps([draft.model_dump(mode="json"), stamp], sort_keys=True)
    return Message(draft, f"{draft.source}:{hashlib.sha256(whole.encode()).hexdigest()[:40]}")


def text_of(value: Any, most: int = MOST_TEXT) -> str:
    """A text that can be kept; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    clean = str(value).encode("utf-8", "replace").decode().replace("\0", "").replace("\r\n", "\n").strip()
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def urgency_of(words: Iterable[str]) -> str:
    """The most urgent of what labels or fields say, as `high`; "" where none says anything."""
    said = {URGENCY.get(PREFIX.sub("", word.strip().casefold()).strip(), "") for word in words}
    return next((urgency for urgency in RANK if urgency in said), "")


def component_of(labels: Sequence[str], title: str = "") -> str:
    """What a label like `component: checkout/fulfillment`, or a title like `[checkout] ...`, names."""
    for label in labels:
        if found := COMPONENT.match(label.strip()):
            return found[1].strip()[:200]
    named = re.match(r"^\[([A-Za-z][\w./ -]{0,80})\]\s", title)
    return named[1].strip() if named else ""


def evidence_links(*texts: str) -> list[str]:
    """Links that show what went wrong: jobs, runs, comparisons, and ranges of commits.

    Other addresses in a text stay in the text: tickets that share a link are one matter, and many share those.
    """
    found: list[str] = []
    for text in texts:
        for address in URL.findall(text[:MOST_TEXT]):
            plain = address.rstrip(".,;:!?*_~")
            if SHOWS.search(plain) and re.search(r"\d", plain):
                found.append(plain)
        found += RANGE.findall(URL.sub(" ", text[:MOST_TEXT]))
    return list(dict.fromkeys(found))[:MOST_LINKS]


def payload_of(raw: bytes | str) -> Any:
    """JSON of somebody else.

    Raises:
        BadInput: it is none.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"This is not JSON: {str(error)[:200]}. Nothing was stored.") from None
