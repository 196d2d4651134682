"""Read what a model said as one Report, and refuse everything that is not one this agent may make here.

A model is a stranger with good intentions: it cuts JSON short, wraps it in words, invents kinds, numbers, names and
decisions. What does not pass is refused with a sentence the model can act on; nothing is guessed or mended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from shiftlead.queues.denials import denials, same_wish
from shiftlead.queues.errors import BadInput
from shiftlead.queues.flow_steps import check_result
from shiftlead.queues.report import (
    YEAR_S,
    AskHuman,
    AskRequester,
    Blocked,
    Failed,
    FollowUp,
    HandOff,
    Later,
    Part,
    Report,
    Resolved,
    Reviewed,
    StepDone,
)
from shiftlead.queues.reserved import RESERVED, plain_type

from .agent import Work, as_report
from .answer_schema import CALL_TOOL
from .bidding import BID, Bid, is_bid

__all__ = ["BadAnswer", "ToolCall", "read_answer", "read_arguments"]

MOST = 200_000  # characters; a report of more could not be kept
TRIES = 20  # places in a text where an object may begin
THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
SURE = re.compile(r"confidence|probability|likelihood|certainty", re.IGNORECASE)
# What small models write where they have nothing to say, and the words of our own description.
NOTHING = frozenset({
    "", "null", "none", "n/a", "na", "string", "text", "reply", "your reply", "todo", "tbd", "ok", "unknown",
    "undefined", "placeholder", "example", "yes", "no",
})  # fmt: skip


class BadAnswer(ValueError):
    """The answer is no report this agent may make. The message is written for the model."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool asked for in words, by a model whose server knows no tools."""

    name: str
    arguments: dict[str, Any]


def read_answer(
    text: str, work: Work, kinds: Collection[str], *, now: float, tools: Collection[str] = ()
) -> Report | ToolCall:
    """The report in `text`. `now` is unix seconds; `tools` may be asked for in words.

    Raises:
        BadAnswer: there is none, or not one of `kinds`, or it says what it may not say.
    """
    value = _object_in(text)
    kind = value.get("kind")
    if kind == CALL_TOOL and tools:
        return ToolCall(str(value.get("tool", "")), read_arguments(value.get("arguments")))
    if kind not in kinds:
        raise BadAnswer(f"`kind` is {json.dumps(kind)[:80]}. Here it is one of: {', '.join(kinds)}.")
    _check_confidence(value)
    try:
        report = as_report(_completed(value, work))
    except BadInput as error:
        raise BadAnswer(str(error)[:600]) from None
    _check(report, work, now)
    return report


def read_arguments(given: Any) -> dict[str, Any]:
    """The arguments of an action or a tool: an object, or one written as JSON.

    Raises:
        BadAnswer: neither.
    """
    if isinstance(given, str):
        try:
            given = _load(given) if given.strip() else {}
        except (ValueError, RecursionError):
            given = None
    if given is None or not isinstance(given, dict):
        raise BadAnswer("The arguments must be one JSON object.")
    return given


# -- finding the object -----------------------------------------------------------------------------------------------


def _object_in(text: str) -> dict[str, Any]:
    if len(text) > MOST:
        raise BadAnswer(f"The answer has {len(text):,} characters; answer with a short report.")
    text = THOUGHT.sub("", text, count=1).strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text.partition("\n")[2][:-3].strip()
    if not text:
        raise BadAnswer("The answer is empty.")
    found = list(_objects(text))
    if not found:
        cut = " It is cut off: answer more briefly." if text.lstrip().startswith(("{", "[")) else ""
        raise BadAnswer(f"The answer is not a JSON object.{cut}")
    if len(found) > 1 and any(other != found[0] for other in found):
        raise BadAnswer(f"The answer holds {len(found)} different objects; answer with one.")
    value = found[0]
    inner = value.get("report")
    if isinstance(inner, dict) and set(value) == {"report"}:
        value = inner
    return value


def _objects(text: str) -> list[dict[str, Any]]:
    """The objects at the top level of the text that could be a report."""
    try:
        whole = _load(text)
        return [whole] if isinstance(whole, dict) else []
    except (ValueError, RecursionError):
        pass
    found, at = [], text.find("{")
    for _ in range(TRIES):
        if at < 0:
            break
        try:
            value, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text, at)
        except RecursionError:
            break
        except ValueError:
            # An object that does not end hides the ones inside it: a part of a report is not the report.
            break
        if isinstance(value, dict) and ("kind" in value or "report" in value):
            found.append(value)
        at = text.find("{", end)
    return found


def _load(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


# -- filling in what was not asked for --------------------------------------------------------------------------------


def _completed(value: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """The report with what Shiftlead knows itself. A null stands for "nothing said"."""
    report = _without_null(value)
    for name in ("arguments", "result"):
        if isinstance(report.get(name), str) and report.get("kind") in ("ask_human", "step_done"):
            report[name] = read_arguments(report[name])
    if isinstance(report.get("packet"), dict):
        report["packet"] = report["packet"] | {"task_id": work.ticket.number}
    if report.get("kind") == "bid":
        return _bid(report, work)
    if report.get("kind") == "failed":
        report["retryable"] = True  # a model may give up; it may not close a ticket by it
    return report


def _bid(said: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """A bid as it travels: see bidding.py."""
    try:
        bid = Bid.model_validate({k: v for k, v in said.items() if k != "kind"})
        if bid.take and not is_bid(work.ticket):
            raise BadAnswer("You have this ticket already: do it, or decline it with `take` false and why.")
        return bid.as_report().model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        raise BadAnswer(f"This is no bid: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _without_null(value: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict) and name not in ("arguments", "result"):
            kept[name] = _without_null(item)
        elif isinstance(item, list):
            kept[name] = [_without_null(i) if isinstance(i, dict) else i for i in item]
        elif item is not None:
            kept[name] = item
    return kept


# -- what it may not say ----------------------------------------------------------------------------------------------


def _check_confidence(value: Any, depth: int = 0) -> None:
    """A confidence is 0 to 1, or a percentage, wherever it stands."""
    if depth > 20:
        raise BadAnswer("The answer is nested too deeply.")
    if isinstance(value, dict):
        for name, item in value.items():
            number = isinstance(item, int | float) and not isinstance(item, bool)
            if number and SURE.search(str(name)) and not 0 <= item <= 100:
                raise BadAnswer(f"{str(name)[:60]} is {str(item)[:20]}; a confidence is between 0 and 1.")
            _check_confidence(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_confidence(item, depth + 1)


def _check(report: Report, work: Work, now: float) -> None:
    match report:
        case Resolved():
            _check_resolved(report, work)
        case Reviewed():
            if report.passed is bool(report.failed_checks):
                raise BadAnswer("A review either passed, or names the checks that failed.")
        case StepDone():
            _check_needs(report.needs, work)
            _check_step(report, work)
            if not (report.needs or work.ticket.flow) or set(report.needs) == set(work.ticket.needs):
                raise BadAnswer("step_done names in `needs` who goes on, and that is not what the ticket needs now.")
        case HandOff():
            if report.parts and (report.needs or report.to):
                raise BadAnswer("Say either `needs` yourself, or `parts` that do; not both.")
            for part in report.parts or [report]:
                _check_part(part, work)
        case AskHuman():
            _check_action(report, work)
        case AskRequester():
            _say(report.question, "question")
        case Blocked():
            _say(report.action, "action")
            _check_moment(report.until, now, "until")
        case Later():
            _check_moment(report.at, now, "at")
        case Failed():
            _say(report.error, "error")


def _check_step(report: StepDone, work: Work) -> None:
    """Within a flow: the next step needs no name, and the result says what the flow wants of it."""
    try:
        check_result(work.ticket, report)
    except BadInput as error:
        raise BadAnswer(str(error)[:600]) from None


def _check_resolved(report: Resolved, work: Work) -> None:
    if work.ticket.type == "approval":
        if report.decision is None:
            raise BadAnswer("This is an approval: `decision` is approve or deny.")
        _say(report.reason or report.reply, "reason")
        return
    if report.decision is not None:
        raise BadAnswer("`decision` belongs to approvals, and this ticket is none: leave it out.")
    read_only = work.ticket.type == "brief" and work.ticket.source == "shiftlead"
    _say(report.summary if read_only else report.reply, "summary" if read_only else "reply")
    for follow_up in report.follow_ups:
        _check_part(follow_up, work)


def _check_part(part: Part | FollowUp, work: Work) -> None:
    if bool(part.needs) is bool(part.to):
        raise BadAnswer("Say in `needs` what somebody must be able to do, and leave `to` null.")
    if plain_type(part.type) in RESERVED:
        raise BadAnswer(f"Nobody makes a ticket of type {part.type!r}; a yes is asked for with ask_human.")
    asked_for_a_bid = part.type == BID and part.to in {c.name for c in work.colleagues}
    if part.to and not asked_for_a_bid and part.to not in _known_agents(work):
        raise BadAnswer(f"Nobody known here is called {part.to!r}: use `needs` and leave `to` null.")
    if part.to == work.agent and isinstance(part, Part):
        raise BadAnswer("You hold this ticket: it cannot be handed to you.")
    _check_needs(part.needs, work)
    _say(part.question or part.title, "question")


def _check_needs(needs: list[str], work: Work) -> None:
    unknown = [need for need in needs if work.team_can and need not in work.team_can]
    if unknown:
        raise BadAnswer(f"Nobody here can {', '.join(unknown)[:200]}. The team can: {', '.join(work.team_can)}.")


def _check_action(report: AskHuman, work: Work) -> None:
    if report.to and report.to not in _known_agents(work):
        raise BadAnswer("Leave `to` null: the team's gates say who decides.")
    if any(same_wish(report.action, report.arguments, no) for no in denials(work.ticket.answers)):
        raise BadAnswer(f"{report.action} with these arguments was denied. Go on without it.")


def _check_moment(at: float | None, now: float, name: str) -> None:
    if at is not None and not now < at <= now + YEAR_S:
        raise BadAnswer(f"`{name}` is {at:g}; it must be after {now:.0f} (now) and within a year, in unix seconds.")


def _known_agents(work: Work) -> set[str]:
    """Agents that occur in the ticket's own record; a text cannot add one."""
    named = {line.agent for line in work.history} | {a.get("agent") for a in work.answers}
    named |= {work.ticket.asked_by, work.ticket.prefers, *work.ticket.requires_handoff}
    return {name for name in named if name}


def _say(text: str, name: str) -> None:
    """The field must hold words for a person."""
    bare = re.sub(r"[\s<>\[\]{}().…_*\"'`-]+", " ", text).strip().lower()
    if bare in NOTHING or not any(c.isalpha() for c in bare):
        raise BadAnswer(f"`{name}` says nothing. Write it out for the person who reads it.")
