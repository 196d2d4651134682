"""What the stub model answers: a script first, then seeded faults, else a sensible report.

A script is a list of steps, as JSON (a list, or one object a line). The first step that fits a call is used:

    {"answer": "any text"}                                          used once, in the order of the file
    {"match": "refund", "answer": {"kind": "resolved", ...}}        whenever the last user message matches
    {"tool_calls": [{"name": "look_up", "arguments": {"id": 7}}]}   the model asks for tools
    {"fault": "429", "retry_after": 7}, {"fault": "slow", "delay": 3}

`times` says how often a step is used (1 without `match`, else without end), `model` and `said` (anywhere in the
conversation) are further conditions. Faults: see FAULTS.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["FAULTS", "Answer", "Script", "default_report", "faulty", "read_script"]

HUGE = 1_000_000
# What a real server or model has been seen to do (I18), and what it is here.
FAULTS = {
    "429": "too many requests, with Retry-After",
    "500": "an error of the server",
    "503": "overloaded, no Retry-After",
    "401": "the key is refused, and repeated in the message",
    "slow": "the answer comes after `delay` seconds (60)",
    "drip": "the answer comes a byte at a time, one every 100 ms",
    "disconnect": "the connection is closed before the answer",
    "html": "200 with a page of a proxy",
    "truncated": "JSON cut in the middle, finish_reason stop",
    "length": "JSON cut in the middle, finish_reason length",
    "not_json": "a friendly sentence and no JSON",
    "wrong_enum": "a kind of report that there is not",
    "confidence": "a confidence of 1e12",
    "empty": "an empty answer",
    "empty_reply": "resolved, with nothing to say",
    "huge": "an answer of 1 MB",
    "unknown_tool": "a call of a tool that nobody offered",
    "content_filter": "nothing, finish_reason content_filter",
    "no_choices": "200 without any choice",
}
GOOD = {
    "resolved": {
        "kind": "resolved", "reply": "", "summary": "answered by the stub model", "evidence": [],
        "requires_escalation": False, "reason": "", "follow_ups": [],
    },
    "bid": {"kind": "bid", "take": False, "why": "a stub model takes nothing", "confidence": 0.5, "instead": ""},
    "reviewed": {
        "kind": "reviewed", "passed": True, "failed_checks": [], "findings": [], "notes": "the stub model looked at it",
    },
    "step_done": {"kind": "step_done", "name": "stub", "result": "{}", "confidence": 0.5, "needs": []},
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One answer of the stub. `fault` names what is wrong with it: in the message itself, or on the wire."""

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    finish_reason: str = "stop"
    fault: str = ""
    retry_after: str = "1"
    delay_s: float = 0.0


@dataclass
class Script:
    """Steps, faults with a share of all calls, and the default. Safe to share between threads."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    seed: int | None = None
    share: float = 0.5  # of the calls that meet a fault when there is a seed
    faults: tuple[str, ...] = tuple(name for name in FAULTS if name not in ("slow", "drip", "401"))
    retry_after: str = "1"

    def __post_init__(self) -> None:
        self._used: dict[int, int] = {}
        self._lock = threading.Lock()
        for number, step in enumerate(self.steps, 1):
            _check_step(number, step)

    def answer(self, request: Mapping[str, Any], number: int) -> Answer:
        """The answer to call `number` (from 1). The same seed gives the same fault to the same number."""
        with self._lock:
            for index, step in enumerate(self.steps):
                most = step.get("times", None if "match" in step or "said" in step else 1)
                if (most is None or self._used.get(index, 0) < most) and _fits(step, request):
                    self._used[index] = self._used.get(index, 0) + 1
                    return _from_step(step, request)
        if self.seed is not None:
            dice = random.Random(f"{self.seed}:{number}")  # noqa: S311 - repeatable, not secret
            if dice.random() < self.share:
                return faulty(dice.choice(self.faults), request, retry_after=self.retry_after)
        return Answer(default_text(request))


def read_script(path: Path) -> list[dict[str, Any]]:
    """The steps of a file.

    Raises:
        ValueError: not JSON, or a step that says nothing the stub can do; says which.
        OSError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        loaded = json.loads(text) if text.lstrip().startswith("[") else [json.loads(s) for s in text.splitlines() if s]
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}. A script is a list of steps, or one step a line.") from None
    for number, step in enumerate(loaded, 1):
        _check_step(number, step)
    return list(loaded)


def faulty(fault: str, request: Mapping[str, Any], *, delay_s: float = 0.0, retry_after: str = "1") -> Answer:
    """An answer in which `fault` goes wrong."""
    good = default_text(request)
    made: dict[str, Answer] = {
        "truncated": Answer(good[: len(good) * 2 // 3]),
        "length": Answer(good[: len(good) * 2 // 3], finish_reason="length"),
        "not_json": Answer("Sure! I have taken care of it, nothing more is to be done."),
        "wrong_enum": Answer(_changed(request, kind="finished")),
        "confidence": Answer(_changed(request, kind="step_done", name="classify", confidence=1e12)),
        "empty": Answer(""),
        "empty_reply": Answer(_changed(request, kind="resolved", reply=" ")),
        "huge": Answer(_changed(request, reply="very " * (HUGE // 5))),
        "unknown_tool": Answer(tool_calls=(("delete_everything", '{"sure": true}'),), finish_reason="tool_calls"),
        "content_filter": Answer("", finish_reason="content_filter"),
    }
    wire = Answer(good, fault=fault, retry_after=retry_after, delay_s=delay_s or (60.0 if fault == "slow" else 0.0))
    return replace(made.get(fault, wire), fault=fault)


def default_report(request: Mapping[str, Any]) -> dict[str, Any]:
    """A report of a kind the request allows. It says what it is, and decides nothing that a gate asks."""
    kinds = _kinds(request)
    report = dict(GOOD[next((kind for kind in GOOD if kind in kinds), "resolved")])
    if report["kind"] == "resolved":
        report["reply"] = f"The stub model has read {_number(request)}. No model was asked."
        if _asks_decision(request):
            report = {k: report[k] for k in ("kind", "reply", "summary", "evidence", "reason")}
            report |= {"decision": "deny", "reason": "a stub model approves nothing"}
    return report


def default_text(request: Mapping[str, Any]) -> str:
    """The default report as the request wants it: wrapped where its schema says so, and words where none is asked."""
    if not _kinds(request):
        return f"The stub model has read: {_last_user(request)[:200]}"
    return _wrapped(request, default_report(request))


def _changed(request: Mapping[str, Any], **values: Any) -> str:
    return _wrapped(request, default_report(request) | values)


def _wrapped(request: Mapping[str, Any], report: dict[str, Any]) -> str:
    schema = (request.get("response_format") or {}).get("json_schema", {}).get("schema", {})
    return json.dumps({"report": report} if "report" in schema.get("properties", {}) else report, ensure_ascii=False)


def _from_step(step: Mapping[str, Any], request: Mapping[str, Any]) -> Answer:
    delay = float(step.get("delay", 0))
    if fault := step.get("fault"):
        return faulty(str(fault), request, delay_s=delay, retry_after=str(step.get("retry_after", "1")))
    calls = tuple(
        (c["name"], c["arguments"] if isinstance(c["arguments"], str) else json.dumps(c["arguments"]))
        for c in step.get("tool_calls", ())
    )
    said = step.get("answer", "" if calls else None)
    text = default_text(request) if said is None else said if isinstance(said, str) else _wrapped(request, said)
    text = text.replace("{number}", _number(request))
    return Answer(text, calls, step.get("finish_reason", "tool_calls" if calls else "stop"), delay_s=delay)


def _check_step(number: int, step: Any) -> None:
    known = {"match", "said", "model", "times", "answer", "tool_calls", "fault", "retry_after", "delay",
             "finish_reason"}  # fmt: skip
    if not isinstance(step, dict) or not step or set(step) - known:
        raise ValueError(f"Step {number} of the script is not understood: {str(step)[:200]}. Keys: {sorted(known)}.")
    if step.get("fault") not in (None, *FAULTS):
        raise ValueError(f"Step {number} of the script: no fault {step['fault']!r}. Faults: {', '.join(FAULTS)}.")


def _fits(step: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    if "model" in step and not re.search(step["model"], str(request.get("model", ""))):
        return False
    if "said" in step and not any(re.search(step["said"], text) for text in _texts(request.get("messages", ()))):
        return False
    return "match" not in step or re.search(step["match"], _last_user(request)) is not None


def _texts(messages: Iterable[Any]) -> list[str]:
    """Content of messages, which is a text or a list of parts."""
    found = []
    for message in messages:
        content = message.get("content") or ""
        parts = content if isinstance(content, list) else [{"text": content}]
        found.append("".join(str(part.get("text", "")) for part in parts if isinstance(part, dict)))
    return found


def _last_user(request: Mapping[str, Any]) -> str:
    texts = _texts(m for m in request.get("messages", ()) if m.get("role") == "user")
    return texts[-1] if texts else ""


def _kinds(request: Mapping[str, Any]) -> list[str]:
    """The kinds of report the request names: in its schema, else in its first message."""
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        text = json.dumps(wanted["json_schema"].get("schema", {}))
        return re.findall(r'"kind": \{[^{}]*"(?:enum|const)": \[?"(\w+)"', text)
    return re.findall(r'"kind": ?"(\w+)"', "\n".join(_texts(request.get("messages", ())[:1])))


def _asks_decision(request: Mapping[str, Any]) -> bool:
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return '"decision"' in json.dumps(wanted["json_schema"])
    return '"decision":' in "\n".join(_texts(request.get("messages", ())[:1]))


def _number(request: Mapping[str, Any]) -> str:
    """The ticket the conversation is about: the first number in it."""
    found = re.search(r"T-\d{4}-\d{3,9}", "\n".join(_texts(request.get("messages", ())[1:])))
    return found.group() if found else "it"
