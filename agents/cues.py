"""What a text says without a model: is it a defect, a decision, a complaint, and which lines prove it.

Cues are regular expressions over the words of the ticket; what a defect points at is in `causes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .agent import Work

__all__ = ["Answer", "answers_of", "cut", "decision_cue", "defect_cue", "evidence", "said", "complaint_cue"]


_STRONG_DEFECT = (
    r"\b\w{1,80}(?:Exception|Error)\b|Caused by:|stack ?trace|Traceback|\[ERROR\]|\bERROR\b|"
    r"\bat \w{1,80}(?:\.\w{1,80}){2,12}\(|\berror (?:code|message)|"
    r"error \d{3}|\b(?:HTTP|status) ?5\d\d\b|internal server error|\bNPE\b"
)
_WEAK_DEFECT = (
    r"\bbugs?\b|\bcrash\w*|\bapp (?:is )?(?:freez\w+|frozen|hangs?|closes)|(?:page|app|screen|"
    r"site) (?:is |does ?n.t |does not |will not |won.t |keeps )"
    r"(?:not )?(?:load\w*|open\w*|respond\w*|crash\w*)|not loading|blank (?:page|screen)|"
    r"fails? after (?:the )?update|broken since"
)
_DECISION = (
    r"exception to (?:the|your|our) (?:\w+ )?(?:policy|rule)|special (?:price|discount|terms)|"
    r"discount of \d+|waive|goodwill|contract|"
    r"\bSLA\b|renewal terms|payment terms|partnership|decide whether|needs? a decision|sign[- ]?off|budget approval"
)
_COMPLAINT = (
    r"\blawyer|\battorney|legal action|\bsue\b|\bcourt\b|ombudsman|regulator|consumer protection|formal complaint|"
    r"(?:speak|talk) to (?:a |the |your )?manager|management|trading standards"
)


def defect_cue(text: str, *, strong: bool = False) -> str:
    """The words that make it a technical defect, or an empty text. `strong`: only error output counts."""
    match = re.search(_STRONG_DEFECT, text) or (None if strong else re.search(_WEAK_DEFECT, text, re.I))
    return match.group(0).strip() if match else ""


def decision_cue(text: str) -> str:
    match = re.search(_DECISION, text, re.I)
    return match.group(0) if match else ""


def complaint_cue(text: str) -> str:
    match = re.search(_COMPLAINT, text, re.I)
    return match.group(0) if match else ""


def evidence(text: str, limit: int = 5) -> list[str]:
    """Lines or sentences of the text that carry proof, unchanged but for length, in the text's order."""
    telling = re.compile(
        rf"{_STRONG_DEFECT}|\bWARN\b|expected\b.{{0,200}}\bbut\b|fails?\b|\d{{4}}-\d\d-\d\d.\d\d:\d\d", re.I
    )
    lines = [cut(line, 300) for line in re.split(r"\n+|(?<=[.!?])\s+(?=[A-Z])", text) if telling.search(line)]
    return list(dict.fromkeys(line for line in lines if len(line) > 8))[:limit]


def said(work: Work) -> str:
    """Title and body for quoting: the title only where the body does not begin with it."""
    title, body = work.ticket.title, work.ticket.body
    return body if body.startswith(title.removesuffix("…")) else work.text


def cut(text: str, length: int) -> str:
    """At most `length` characters on one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rsplit(" ", 1)[0] + "…"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one child brought back."""

    number: str
    agent: str
    type: str
    text: str
    summary: str
    decision: str
    failed: bool
    evidence: tuple[str, ...] = ()


def answers_of(work: Work) -> list[Answer]:
    """The children's results in one shape, oldest first."""
    return [_answer(a) for a in (work.answers or work.ticket.answers)]


def _answer(raw: dict[str, Any]) -> Answer:
    report = next((raw[k] for k in ("result", "report") if isinstance(raw.get(k), dict)), raw)
    text = _first(report, "reply", "error", "text", "summary", "reason") or _first(raw, "reason", "text", "error")
    return Answer(
        number=_first(raw, "number", "ticket", "child") or "the linked ticket",
        agent=_first(raw, "agent", "by", "actor"),
        type=_first(raw, "type"),
        text=text,
        summary=_first(report, "summary"),
        decision=_first(report, "decision") or _first(raw, "decision"),
        failed=report.get("kind") == "failed" or raw.get("state") in ("failed", "cancelled", "unknown"),
        evidence=tuple(str(e) for e in report.get("evidence") or ()),
    )


def _first(data: dict[str, Any], *keys: str) -> str:
    values: Iterable[Any] = (data.get(k) for k in keys)
    return next((v for v in values if isinstance(v, str) and v), "")
