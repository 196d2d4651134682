"""A notification or an e-mail, as JSON, as a ticket. Usual names of each part are known; the rest is its context.

Whose customer it is, no message can say of itself: tools act for a ticket's customer, so a stranger could name any. The
rest stands under `said`, one level below the names of a context that mean something to us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shiftlead.queues.errors import BadInput

from .inbound import Message, component_of, evidence_links, message, text_of, urgency_of

__all__ = ["from_notification"]

NAMES: dict[str, tuple[str, ...]] = {
    "title": ("title", "subject", "summary", "headline", "alertname"),
    "body": ("body", "text", "message", "description", "content", "plain"),
    "reporter": ("reporter", "from", "sender", "author", "user", "email"),
    "urgency": ("urgency", "priority", "severity", "level", "importance"),
    "component": ("component", "service", "module", "area"),
    "source": ("source", "channel", "via"),
    "type": ("type", "kind"),
}
IDS = ("task", "task_id", "id", "message_id", "message-id", "alert_id", "incident")
LINKS = ("links", "link", "url", "urls", "job_url", "html_url", "commit_range", "generatorURL")
MAX_CONTEXT = 30


def from_notification(payload: Any, *, max_bytes: int = 262_144) -> Message:
    """One message.

    Raises:
        BadInput: it is no JSON object, or says nothing.
    """
    if not isinstance(payload, Mapping):
        raise BadInput(f"A notification is a JSON object, this is {type(payload).__name__}. Nothing was stored.")
    found = {part: _first(payload, names) for part, names in NAMES.items()}
    if not found["title"] and not found["body"]:
        known = ", ".join((*NAMES["title"], *NAMES["body"]))
        raise BadInput(f"The notification says nothing: it has none of {known}. Nothing was stored.", field="body")
    labels = [text_of(x, 100) for x in payload["labels"]] if isinstance(payload.get("labels"), list) else []
    given = _given_links(payload)
    taken = {name for names in (*NAMES.values(), IDS, LINKS, ("labels",)) for name in names}
    rest = {str(k)[:100]: text_of(v, 1000) for k, v in list(payload.items())[:200] if k not in taken}
    task, more = _first(payload, IDS), [x for x in rest.items() if x[1]][:MAX_CONTEXT]
    said = {
        "title": found["title"][:500], "body": found["body"] or found["title"], "source": _source(found["source"]),
        "reporter": _address(found["reporter"])[:200],
        "urgency": urgency_of([found["urgency"], *labels]) or found["urgency"][:50],
        "component": (found["component"] or component_of(labels, found["title"]))[:200],
        "type": found["type"][:100] or "notification",
        "links": list(dict.fromkeys([*given, *evidence_links(found["title"], found["body"])]))[:50],
        "context": {k: v for k, v in (("task", task[:200]), ("said", dict(more))) if v},
    }  # fmt: skip
    return message(said, max_bytes=max_bytes)


def _first(payload: Mapping[str, Any], names: tuple[str, ...]) -> str:
    values = (text_of(_flat(payload.get(name))) for name in names)
    return next((value for value in values if value), "")


def _flat(value: Any) -> Any:
    """A person given as {"name": ..., "email": ...} is their address."""
    return (value.get("email") or value.get("login") or value.get("name")) if isinstance(value, Mapping) else value


def _given_links(payload: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name in LINKS:
        value = payload.get(name)
        each = value if isinstance(value, list) else list(value.values()) if isinstance(value, Mapping) else [value]
        found += [text for text in (text_of(x, 2000) for x in each[:50]) if text]
    return found


def _source(said: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", said.casefold()).strip("_")[:100] or "notification"


def _address(said: str) -> str:
    """`Tom <tom@example.com>` is tom@example.com."""
    found = re.search(r"<([^<>\s]+@[^<>\s]+)>", said)
    return found[1] if found else said
