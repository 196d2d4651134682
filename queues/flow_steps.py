"""Where a ticket goes when a step of its pipeline is done. Pure: a ticket and a report go in, a way comes out.

    the report names needs       there: so a flow branches, skips a step or goes back (max_turns bounds the circles)
    at a step of the flow        the next step; after the last one the ticket is resolved
    somewhere beside the flow    the step after the one the ticket left it from
    no flow                      who can do what the ticket needs, as before

Within a flow a result stands under the flow's own name of the step, whatever the report calls it: rules, templates and
later steps find it there. What it must say is data of the team file (`results`), and is checked here for every door.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from shiftlead.config.rules import near
from shiftlead.config.team_sections import Flow

from .errors import BadInput
from .report import Resolved, StepDone
from .ticket import FlowPlace, Ticket

__all__ = ["Onward", "after", "begin", "check_result", "ending", "simulated", "wanted", "where"]

SAID = ("reply", "suggested_reply", "summary")  # what a step may have for the requester, best first


@dataclass(frozen=True, slots=True)
class Onward:
    """The name its result stands under, and the way from there. No `needs`: that was the last step."""

    step: str
    needs: list[str]
    flow: FlowPlace | None = None
    reason: str = ""


def begin(flow: Flow) -> FlowPlace:
    """The first step of a pipeline."""
    return FlowPlace(
        name=flow.name, version=flow.version, steps=flow.steps, at=flow.steps[0], values=flow.values,
        results=flow.results,
    )  # fmt: skip


def after(ticket: Ticket, report: StepDone) -> Onward:
    """Where the ticket goes with this step done."""
    flow, here = ticket.flow, _here(ticket)
    if flow is None:
        return Onward(report.name, report.needs or ticket.needs)
    index = flow.steps.index(here or flow.at)
    needs = report.needs or flow.steps[index + 1 : index + 2]
    entered = next((need for need in needs if need in flow.steps), here or flow.at)
    moved = flow.model_copy(update={"at": entered})
    return Onward(here or report.name, needs, moved, where(moved, needs) if needs else "")


def ending(ticket: Ticket) -> Resolved:
    """What a finished pipeline answers: the newest word for the requester that one of its steps has written.

    A `reply` of any step goes before a `suggested_reply`, and that before a `summary`. Without all of them the reply
    says what was done, and nothing else.
    """
    flow = ticket.flow
    done = list(ticket.steps)
    newest = [step["result"] for step in reversed(ticket.steps.values()) if isinstance(step.get("result"), dict)]
    texts = (result.get(name) for name in SAID for result in newest)
    reply = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    name = f"{flow.name} v{flow.version}" if flow else "its pipeline"
    return Resolved(
        reply=reply or f"{ticket.number} has gone through all of its steps: {', '.join(done)}.",
        summary=f"{name} is done: {', '.join(done)}",
    )


def where(flow: FlowPlace, needs: list[str]) -> str:
    """`flow customer_support_triage v1, step 2 of 4: know`."""
    at = f"flow {flow.name} v{flow.version}, step {flow.steps.index(flow.at) + 1} of {len(flow.steps)}: {flow.at}"
    beside = [need for need in needs if need not in flow.steps]
    return f"{at}; now with {' + '.join(beside)}" if beside else at


def check_result(ticket: Ticket, report: StepDone) -> None:
    """Whether a step says what its flow wants of it, in the version the ticket began.

    Raises:
        BadInput: a field is missing, or is none of the words, or no text, list, number or flag; names the field.
    """
    here = _here(ticket) or ""
    for name, wish in _wanted(ticket, here).items():
        if wrong := _wrong(report.result.get(name), wish):
            raise BadInput(f"{ticket.number}: step {here}: {name!r} {wrong}.", field=f"result.{name}")


def wanted(ticket: Ticket) -> str:
    """What the result of its step must say, in words: `category: one of billing, technical; ...`; "" for anything."""
    return "; ".join(f"{name}: {_words(wish)}" for name, wish in _wanted(ticket, _here(ticket) or "").items())


def simulated(ticket: Ticket) -> StepDone | None:
    """A report as the step it is at wants it, for dry runs; None at the last step and outside of a flow."""
    here = _here(ticket)
    if ticket.flow is None or here is None or here == ticket.flow.steps[-1]:
        return None
    return StepDone(name=here, result={name: _any(wish) for name, wish in _wanted(ticket, here).items()})


def _any(wish: list[str] | str) -> Any:
    if isinstance(wish, list):
        return wish[0]
    known: dict[str, Any] = {"text": "simulated", "list": [], "flag": False, "number": 0}
    return known.get(wish, int(wish.split("..")[0]) if ".." in wish else None)


def _wanted(ticket: Ticket, step: str) -> dict[str, list[str] | str]:
    return ticket.flow.results.get(step, {}) if ticket.flow else {}


def _here(ticket: Ticket) -> str | None:
    """The step of its flow the ticket is at; None when it has none, or somebody beside the flow has it."""
    steps = ticket.flow.steps if ticket.flow else []
    return next((need for need in ticket.needs if need in steps), None)


def _wrong(value: Any, wanted: list[str] | str) -> str:
    if value is None:
        return f"is missing; {_words(wanted)} is wanted"
    if isinstance(wanted, list):
        hint = near(str(value), wanted)
        rest = f"did you mean {hint!r}?" if hint else f"it is one of {', '.join(wanted)}"
        return "" if value in wanted else f"is {str(value)[:60]!r}; {rest}"
    return "" if _fits(value, wanted) else f"is {str(value)[:60]!r}; {_words(wanted)} is wanted"


def _fits(value: Any, wanted: str) -> bool:
    if bounds := re.fullmatch(r"(\d+)\.\.(\d+)", wanted):
        return _number(value) and int(bounds[1]) <= value <= int(bounds[2])
    match wanted:
        case "text":
            return isinstance(value, str) and bool(value.strip())
        case "list":
            return isinstance(value, list)
        case "flag":
            return isinstance(value, bool)
        case _:
            return _number(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(wanted: list[str] | str) -> str:
    if isinstance(wanted, list):
        return f"one of {', '.join(wanted)}"
    return f"a number {wanted}" if ".." in wanted else f"a {wanted}"
