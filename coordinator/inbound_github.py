"""GitHub's issues and comments as tickets: from a webhook (`issues`, `issue_comment`) or from the REST API.

Only what opens a matter becomes a ticket: an issue that is opened or reopened, a person's comment. The rest is ignored
with its reason. A webhook is GitHub's when its HMAC-SHA256 over the raw body is right; the id of its delivery is not
signed and proves nothing, so a repeat is found by what it says.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from shiftlead.queues.errors import BadInput

from .inbound import Ignored, Message, component_of, evidence_links, message, text_of, urgency_of

__all__ = ["EVENTS", "from_github", "signature_holds"]

EVENTS = ("issues", "issue_comment")
BUG = re.compile(r"\b(?:bug|defect|regression|incident|outage)\b", re.I)


def signature_holds(secret: str, body: bytes, header: str) -> bool:
    """Whether `header` (X-Hub-Signature-256: sha256=...) is the HMAC of the raw body. An empty secret signs nothing."""
    kind, _, given = header.strip().partition("=")
    if not secret or kind != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", given):
        return False
    return hmac.compare_digest(hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(), given)


def from_github(payload: Any, event: str = "", *, max_bytes: int = 262_144) -> Message:
    """One message. `event`: the webhook's X-GitHub-Event; empty = told by what the payload holds.

    Raises:
        Ignored: there is nothing to do for anybody.
        BadInput: it is neither a webhook of these events nor an issue.
    """
    if not isinstance(payload, Mapping):
        raise BadInput(f"A GitHub issue is a JSON object, this is {type(payload).__name__}. Nothing was stored.")
    if event and event not in EVENTS:
        raise Ignored(f"event {event[:50]!r}: only {' and '.join(EVENTS)} become tickets")
    whole = isinstance(payload.get("issue"), Mapping)
    issue = payload["issue"] if whole else payload
    if not isinstance(issue.get("title"), str) or not text_of(issue.get("html_url") or issue.get("url"), 2000):
        raise BadInput("This is no GitHub issue: it has no title and address. Nothing was stored.", field="issue")
    if issue.get("pull_request"):
        raise Ignored("a pull request, and no issue")
    comment = payload.get("comment") if whole else None
    action = text_of(payload.get("action"), 50) if whole else ""
    if isinstance(comment, Mapping):
        return _comment(payload, issue, comment, action, max_bytes)
    if whole and action not in ("opened", "reopened"):
        raise Ignored(f"an issue that was {action or 'touched'}")
    if not whole and issue.get("state") == "closed":
        raise Ignored("the issue is closed")
    said = _fields(payload, issue, text_of(issue.get("body"))) | {
        "type": "bug" if any(BUG.search(label) for label in _labels(issue)) else "issue", "source": "issue",
        "reporter": _login(issue.get("user")),
    }  # fmt: skip
    stamp = f"reopened {text_of(issue.get('updated_at'), 50)}" if action == "reopened" else ""
    return message(said, stamp=stamp, max_bytes=max_bytes)


def _comment(
    payload: Mapping[str, Any], issue: Mapping[str, Any], comment: Mapping[str, Any], action: str, max_bytes: int
) -> Message:  # fmt: skip
    if action not in ("", "created"):
        raise Ignored(f"a comment that was {action}")
    user = comment.get("user")
    if isinstance(user, Mapping) and user.get("type") == "Bot":
        raise Ignored("a program's comment")  # else two programs could answer each other for ever
    said = _fields(payload, issue, text_of(comment.get("body"))) | {
        "type": "comment", "source": "issue_comment", "reporter": _login(user),
    }  # fmt: skip
    return message(said, stamp=text_of(comment.get("id"), 50), max_bytes=max_bytes)


def _fields(payload: Mapping[str, Any], issue: Mapping[str, Any], body: str) -> dict[str, Any]:
    title, labels = text_of(issue.get("title"), 500), _labels(issue)
    address = text_of(issue.get("html_url") or issue.get("url"), 2000)
    repository = payload.get("repository")
    named = text_of(repository.get("full_name"), 200) if isinstance(repository, Mapping) else ""
    about = {"repository": named, "issue_number": text_of(issue.get("number"), 20), "labels": labels}
    return {
        "title": title, "body": body or title, "urgency": urgency_of(labels), "component": component_of(labels, title),
        "links": list(dict.fromkeys([address, *evidence_links(body, text_of(issue.get("body")))])),
        "context": {k: v for k, v in about.items() if v},
    }  # fmt: skip


def _labels(issue: Mapping[str, Any]) -> list[str]:
    given = issue.get("labels")
    found = [x.get("name") if isinstance(x, Mapping) else x for x in given] if isinstance(given, list) else []
    return [text for text in (text_of(label, 100) for label in found[:50]) if text]


def _login(user: Any) -> str:
    return text_of(user.get("login"), 200) if isinstance(user, Mapping) else ""
