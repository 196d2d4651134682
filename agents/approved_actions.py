"""Carry out what was approved: the runtime does it, once, before the brain is called with the result (EN-10, I23).

A yes counts when it is the answer of an approval this ticket asked for, to an action whose hash is that of the stored
arguments, for a tool this agent may use, with no later no about the same target. What gates judge is computed again:
where it is no longer what was approved, the new facts are asked for. A yes makes one effect: the effects ledger knows
which approval it was done by.

The question whether an unknown effect is to be done again is for a person alone; a program's answer does not count.
"""

from __future__ import annotations

from typing import Any

from shiftlead.queues.denials import denials
from shiftlead.queues.effects import Intent
from shiftlead.queues.reports import action_hash

from .agent import AskHuman, Work
from .tool import Facts, ToolSpec
from .tools import REPEAT, Outcome, Toolbox, as_outcome
from .tools_api import EndsTurn, ToolRefused

__all__ = ["execute_approved", "with_effects"]


def with_effects(work: Work, toolbox: Toolbox | None) -> Work:
    """`work` as the brain gets it: what was approved is done, and what was done in this life stands among `answers`.

    Raises:
        EndsTurn: somebody must be asked first; the brain is not called.
    """
    if toolbox is None:
        return work
    told = execute_approved(work, toolbox)
    said = toolbox.story()
    if told is not None:
        said = [s for s in said if (s["tool"], s.get("target")) != (told["tool"], told.get("target"))] + [told]
    return work.model_copy(update={"answers": [*work.answers, *said], "tools": list(toolbox.allowed)})


def execute_approved(work: Work, toolbox: Toolbox) -> dict[str, Any] | None:
    """Do what the newest yes allows, if it was not done; the effect, or None when there is no such yes.

    Raises:
        EndsTurn: what would be done is not what was approved, or nobody knows whether it was done.
        StaleToken, Unavailable: nothing was done.
    """
    later: list[dict[str, Any]] = []  # what was denied after the yes we look at
    for answer in reversed(work.answers):
        later += denials([answer])
        if not _ours(answer, work) or _taken_back(answer, later, toolbox):
            continue
        if answer.get("action") == REPEAT:
            outcome = _again(answer, work, toolbox)
        elif answer.get("decision") == "approve" and answer.get("action") in toolbox.allowed:
            outcome = _once(answer, work, toolbox, toolbox.allowed[answer["action"]])
        else:
            continue
        if outcome is None:
            continue
        if not outcome.repeated:
            toolbox.audit(outcome)
        toolbox.end_turn_on(outcome)
        return outcome.told() | {"approval": answer.get("number"), "approved_by": answer.get("agent")}
    return None


def _ours(answer: dict[str, Any], work: Work) -> bool:
    """The answer of an approval of this ticket, bound to exactly these arguments."""
    arguments = answer.get("arguments")
    if answer.get("type") != "approval" or answer.get("state") != "resolved" or not isinstance(arguments, dict):
        return False
    asked = answer.get("ticket") in work.ticket.children
    return asked and answer.get("hash") == action_hash(str(answer.get("action")), arguments)


def _taken_back(yes: dict[str, Any], later: list[dict[str, Any]], toolbox: Toolbox) -> bool:
    """A no that came after a yes to the same action on the same target is the last word."""
    spec = toolbox.allowed.get(str(yes.get("action")))
    if spec is None or spec.reads or yes.get("decision") != "approve":
        return False
    about, nos = spec.target_in(yes), [spec.target_in(no) for no in later if no["action"] == spec.name]
    return any(about is None or target in (None, about) for target in nos)


def _once(answer: dict[str, Any], work: Work, toolbox: Toolbox, spec: ToolSpec) -> Outcome | None:
    stored, ticket, target = answer["arguments"], work.ticket, ""
    try:
        arguments = spec.arguments({k: v for k, v in stored.items() if k in spec.model.model_fields})
        if spec.reads:
            return None
        target = spec.target_of(arguments)
        before = toolbox.effects.find(ticket.id, ticket.life, spec.name, target)
        if before is not None and before.status in ("done", "unknown"):
            return as_outcome(before, {})
        facts = spec.facts(toolbox.call_of(before), arguments)
    except ToolRefused as refused:
        return Outcome("refused", spec.name, target, why=str(refused))
    if other := _changed(stored, facts):
        raise EndsTurn(AskHuman(
            action=spec.name, arguments=facts.asked,
            why=f"{answer.get('number')} said yes to other facts: {', '.join(other)} {_is(other)} not as approved.",
        ))  # fmt: skip
    outcome = toolbox.perform(spec, arguments, facts, approval=str(answer["ticket"]))
    return _once(answer, work, toolbox, spec) if outcome.moved else outcome  # the new facts are asked for


def _changed(stored: dict[str, Any], facts: Facts) -> list[str]:
    """What is not as it was approved. What nobody computed was not true either: it may have chosen who was asked."""
    asked, missing = facts.asked, object()
    names = (stored.keys() | asked.keys()) - facts.moving
    return sorted(name for name in names if stored.get(name, missing) != asked.get(name, missing))


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _again(answer: dict[str, Any], work: Work, toolbox: Toolbox) -> Outcome | None:
    """A person's word on an effect that is unknown."""
    asked, ticket = answer["arguments"], work.ticket
    spec = toolbox.allowed.get(str(asked.get("tool")))
    if spec is None or asked.get("life") != ticket.life or not answer.get("aided"):
        return None
    intent = toolbox.effects.find(ticket.id, ticket.life, spec.name, str(asked.get("target")))
    if intent is None or not _about(intent, answer):
        return None
    by = str(answer.get("agent") or "a person")
    if intent.status == "done":
        return as_outcome(intent, {})
    if answer.get("decision") != "approve":
        reason = str(answer.get("reason") or "")
        settled = toolbox.effects.settle(ticket.id, ticket.life, spec.name, intent.target, by=by, reason=reason)
        return as_outcome(settled, {}, repeated=False) if settled is not None else None
    used = intent.approval == answer.get("ticket")
    arguments = spec.arguments(intent.arguments)
    return toolbox.perform(spec, arguments, Facts({}), approval=str(answer["ticket"]), again_by="" if used else by)


def _about(intent: Intent, answer: dict[str, Any]) -> bool:
    """The word is about this attempt, or made it."""
    return intent.attempt == answer["arguments"].get("attempt") or intent.approval == answer.get("ticket")
