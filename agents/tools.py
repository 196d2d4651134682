"""The tools one agent may use for one ticket: allowed, checked, gated, written down, done once.

    name       on the agent's list in the team file, else refused: no text selects another tool
    arguments  typed and within limits
    effect     done before in this life of the ticket: the stored result; unknown: a person looks
    gates      of the team, then its review rules, over facts from the database; a closed or doubtful one wants a yes
    a no       to the same wish: refused; to another for the same target: wants a yes as well (queues/denials.py)
    dry run    what cannot be undone is only tried out, unless the team file says `NAME live`
    hours      outside the agent's action hours the effect waits for them, and the ticket with it (EN-04)
    intent     in SQL, after a look whether this agent still holds the ticket; then it is done, then written down

Every call stands as a note in the ticket's story. A yes of a person or approver is carried out by the runtime, once,
before the brain is called again: approved_actions.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from shiftlead.config.gates import closed_gate
from shiftlead.config.team import Team
from shiftlead.queues.denials import denials, same_wish
from shiftlead.queues.effects import MAX_TARGET, Effects, Intent
from shiftlead.queues.errors import BadInput
from shiftlead.queues.reports import action_hash

from .agent import AskHuman, Blocked, Failed, Later, Work
from .quota import Busy
from .tool import Call, Facts, Registry, ToolSpec
from .tools_api import EndsTurn, FactsMoved, Tool, ToolRefused, Tools

__all__ = [
    "REPEAT", "Outcome", "Toolbox", "as_outcome", "at_hand", "current_toolbox", "live_tools", "tools_for",
]  # fmt: skip

log = logging.getLogger(__name__)
MOST_TOLD = 4_000  # characters of a result in the ticket's story
LOOKS = 20  # at facts that keep changing while others work on the same object
REPEAT = "repeat_effect"  # the question to a person whether an unknown effect is to be done again
Status = Literal["done", "dry_run", "needs_approval", "refused", "failed", "unknown", "running"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. With `needs_approval`, `arguments` is what the yes is asked for."""

    status: Status
    tool: str
    target: str = ""
    result: Any = None
    why: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    repeated: bool = False  # it had been done before; nothing was done now
    moved: bool = False  # refused, because its facts changed after its gates had judged them: judge again

    def told(self) -> dict[str, Any]:
        """As an agent and the ticket's story read it."""
        said = {"type": "effect", "tool": self.tool, "target": self.target, "status": self.status, "why": self.why}
        return {k: v for k, v in said.items() if v} | ({"result": self.result} if self.result is not None else {})


class Toolbox:
    """See the head of this file. One thread at a time."""

    def __init__(
        self, work: Work, team: Team, effects: Effects, registry: Registry, *, now: Callable[[], float],
        holds: Callable[[], None] = lambda: None,
        note: Callable[[str, dict[str, Any]], None] = lambda text, detail: None,
    ) -> None:  # fmt: skip
        """`now`: unix seconds. `holds` raises StaleToken when the ticket was taken away; `note` adds to its story.

        Raises:
            BadInput: the team file gives the agent a tool that does not exist.
        """
        self.work, self.team, self.effects = work, team, effects
        self._now, self._holds, self._note = now, holds, note
        spec = team.agents.get(work.agent)
        self._live = live_tools(spec.tools if spec else [])
        unknown = [name for name in self._live if name not in registry]
        if unknown:
            known = ", ".join(sorted(registry)) or "none"
            raise BadInput(f"{work.agent}: there is no tool {unknown[0]!r}. There are: {known}.", field="tools")
        self.allowed: dict[str, ToolSpec] = {name: registry[name] for name in self._live}

    @property
    def tools(self) -> Sequence[Tool]:
        return [Tool(name=s.name, description=s.description, parameters=s.parameters) for s in self.allowed.values()]

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result as JSON. See tools_api.Tools."""
        outcome = self.use(name, arguments)
        if outcome.status in ("refused", "failed"):
            raise ToolRefused(outcome.why)
        self.end_turn_on(outcome)
        said = {"result": outcome.result} | ({"note": outcome.why} if outcome.why else {})
        return json.dumps({"status": outcome.status} | said, ensure_ascii=False)

    def use(self, name: str, arguments: dict[str, Any]) -> Outcome:
        """One call, as an outcome: for brains that are code.

        Raises:
            EndsTurn: it has to wait for the agent's action hours.
            StaleToken: the ticket was taken away.
            Unavailable: the ledger does not answer; nothing was done.
            quota.Busy: what it speaks to is not there for a while.
        """
        for _ in range(LOOKS):
            outcome = self._use(str(name)[:100], arguments)
            if not outcome.moved:
                break
        self.audit(outcome)
        return outcome

    def end_turn_on(self, outcome: Outcome) -> None:
        """Raises EndsTurn for an outcome after which the agent has nothing more to do."""
        if outcome.status == "needs_approval":
            raise EndsTurn(AskHuman(action=outcome.tool, arguments=outcome.arguments, why=outcome.why))
        if outcome.status == "unknown":
            raise EndsTurn(self._ask_a_person(outcome))
        if outcome.status == "running":
            raise EndsTurn(Failed(error=outcome.why, retryable=True))

    def story(self) -> list[dict[str, Any]]:
        """What was done, or may have been done, in this life of the ticket, by whichever agent."""
        ticket = self.work.ticket
        mine = [i for i in self.effects.of(ticket.id) if i.life == ticket.life and i.status in ("done", "unknown")]
        return [as_outcome(intent, {}, repeated=False).told() for intent in mine]

    def call_of(self, intent: Intent | None = None, facts: Facts | None = None) -> Call:
        work, key = self.work, intent.key if intent is not None else ""
        judged = facts.action if facts is not None else {}
        return Call(work.ticket, work.agent, self._now(), key, tuple(work.ancestors), judged)

    def perform(
        self, spec: ToolSpec, arguments: BaseModel, facts: Facts, *, approval: str = "", again_by: str = ""
    ) -> Outcome:
        """Do it, if nobody has: intent, effect, result. Its gates were passed."""
        ticket, target, given = self.work.ticket, spec.target_of(arguments), _plain(arguments)
        if spec.irreversible and not self._live[spec.name]:
            why = "dry run: nothing was changed. It becomes real when the team file lists it as live"
            return Outcome("dry_run", spec.name, target, {"would": facts.action}, why)
        self._wait_for_action_hours(spec.name)
        self._holds()
        try:
            intent = self.effects.begin(
                ticket.id, ticket.life, spec.name, target, given, self.work.token, self.work.agent,
                idempotent=spec.idempotent, approval=approval, again_by=again_by,
            )  # fmt: skip
        except BadInput as error:
            return Outcome("refused", spec.name, target[:MAX_TARGET], why=str(error))
        if intent.status != "new":
            return as_outcome(intent, given)
        try:
            result = spec.run(self.call_of(intent, facts), arguments)
        except ToolRefused as refused:
            self.effects.free(intent, str(refused))
            return Outcome("refused", spec.name, target, why=str(refused), moved=isinstance(refused, FactsMoved))
        except Busy as busy:  # the tool's own word that nothing was done
            self.effects.free(intent, busy.reason)
            raise
        except Exception as error:
            return self._broke_off(spec, intent, error)
        return as_outcome(self.effects.finish(intent, result), given, repeated=False)

    def audit(self, outcome: Outcome) -> None:
        """One line in the ticket's story: which tool, on what, how it ended."""
        said = f"{outcome.tool}{' ' + outcome.target if outcome.target else ''}: {outcome.status}"
        said += " (it was before)" if outcome.repeated else ""
        detail = {"tool": outcome.tool, "target": outcome.target, "outcome": outcome.status, "why": outcome.why[:500]}
        if outcome.status == "done" and not outcome.target:  # what it was told, for whoever looks at its reply
            detail["result"] = json.dumps(outcome.result, ensure_ascii=False, default=str)[:MOST_TOLD]
        text = said.encode("utf-8", "replace").decode().replace("\0", "")
        try:
            self._note(text, {"effect": json.loads(json.dumps(detail).replace("\\u0000", ""))})
        except Exception as error:  # it is written down in the effects ledger; the story can wait
            log.warning("%s: %s is not in its story: %s", self.work.ticket.number, said, error)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _use(self, name: str, given: dict[str, Any]) -> Outcome:
        spec = self.allowed.get(name)
        if spec is None:
            known = ", ".join(self.allowed) or "none"
            return Outcome("refused", name, why=f"{name!r} is none of your tools. You have: {known}.")
        target = ""
        try:
            arguments = spec.arguments(given)
            if spec.reads:
                return Outcome("done", name, result=self._read(spec, arguments))
            target, ticket = spec.target_of(arguments), self.work.ticket
            before = self.effects.find(ticket.id, ticket.life, name, target)
            if before is not None and before.status in ("done", "unknown"):
                return as_outcome(before, _plain(arguments))
            facts = spec.facts(self.call_of(before), arguments)
        except ToolRefused as refused:
            return Outcome("refused", name, target, why=str(refused))
        nos = self._nos_to(spec, target)
        if any(same_wish(name, facts.asked, no, moving=facts.moving) for no in nos):
            why = "somebody said no to exactly this: do not ask again, nor with other words; go on without it"
            return Outcome("refused", name, target, why=why)
        closed = self._closed_gate(spec, facts)
        if nos:
            closed += f"{'; ' if closed else ''}{nos[-1].get('number')} said no to {name} on {target} before"
        if closed:
            return Outcome("needs_approval", name, target, why=closed, arguments=facts.asked)
        return self.perform(spec, arguments, facts)

    def _read(self, spec: ToolSpec, arguments: BaseModel) -> Any:
        try:
            return spec.run(self.call_of(), arguments)
        except (ToolRefused, Busy):
            raise
        except Exception as error:  # what it says may hold an address or a key: it goes to the log alone
            log.warning("%s: %s failed", self.work.ticket.number, spec.name, exc_info=error)
            raise ToolRefused(f"{spec.name} does not work at the moment ({type(error).__name__}).") from None

    def _broke_off(self, spec: ToolSpec, intent: Intent, error: BaseException) -> Outcome:
        log.warning("%s: %s failed", self.work.ticket.number, spec.name, exc_info=error)
        what = f"{spec.name} broke off ({type(error).__name__})"
        if spec.idempotent:
            self.effects.free(intent, what)
            return Outcome("failed", spec.name, intent.target, why=f"{what}; it may be called again, it counts once")
        return as_outcome(self.effects.unknown(intent, f"{what}; it may have been done"), {})

    def _closed_gate(self, spec: ToolSpec, facts: Facts) -> str:
        """Why somebody must say yes first; "" when nobody must."""
        if spec.reads:
            return ""
        ticket = self.work.ticket
        judged = {
            "ticket": ticket.model_dump(mode="json"), "customer": {"id": ticket.customer} | facts.customer,
            "steps": self.work.steps, "now": self._now(), "action": facts.action | {"name": spec.name},
        }  # fmt: skip
        closed = closed_gate(self.team, judged)
        return closed.why if closed is not None else ""

    def _wait_for_action_hours(self, name: str) -> None:
        spec = self.team.agents.get(self.work.agent)
        now = self._now()
        if spec is None or spec.action_hours is None:
            return
        until = spec.action_hours.next_open(now, self.team.days_off)
        if until is not None and until > now:
            raise EndsTurn(Later(at=until, why=f"{name} waits for the action hours of {self.work.agent}"))

    def _nos_to(self, spec: ToolSpec, target: str) -> list[dict[str, Any]]:
        """What was denied of this tool on this target, here or where the ticket comes from, oldest first."""
        answers = [*(a for t in reversed(self.work.ancestors) for a in t.answers), *self.work.answers]
        return [no for no in denials(answers) if no["action"] == spec.name and spec.target_in(no) in (None, target)]

    def _ask_a_person(self, outcome: Outcome) -> AskHuman | Blocked:
        """Only somebody who looks there knows whether it happened."""
        ticket = self.work.ticket
        intent = self.effects.find(ticket.id, ticket.life, outcome.tool, outcome.target)
        given = (intent.attempt, intent.arguments) if intent is not None else (0, {})
        arguments = {
            "tool": outcome.tool, "target": outcome.target, "life": ticket.life, "attempt": given[0],
            "arguments": given[1],
        }  # fmt: skip
        digest = action_hash(REPEAT, arguments)
        asked = any(a.get("hash") == digest and a.get("state") == "resolved" for a in self.work.answers)
        why = f"Nobody here knows whether {outcome.tool} on {outcome.target} was done: {outcome.why}. Look there first."
        people = [n for n in self.team.people if "approval" in self.team.can(n)]
        people += [n for n, a in self.team.agents.items() if a.human and "approval" in a.can]
        if not people or asked:  # nobody to ask, or a program answered, which cannot know
            return Blocked(owner="a person", action=why)
        ask = f"{why} Yes: it did not happen, do it again, once. No: it happened, or it must stay undone."
        return AskHuman(action=REPEAT, arguments=arguments, why=ask, to=people[0])


def as_outcome(intent: Intent, given: dict[str, Any], *, repeated: bool = True) -> Outcome:
    """An effect of the ledger as the outcome of a call with `given`."""
    if intent.status == "done":
        other = bool(given) and given != intent.arguments
        why = intent.why or ("it had been done before; nothing was done now" if repeated else "")
        if repeated and other:
            why = (
                f"it had been done before, with other arguments ({json.dumps(intent.arguments)}); nothing was done now"
            )
        return Outcome("done", intent.tool, intent.target, intent.result, why, repeated=repeated)
    if intent.status == "unknown":
        return Outcome("unknown", intent.tool, intent.target, why=intent.why)
    return Outcome("running", intent.tool, intent.target, why=f"how {intent.tool} ended is not known yet")


def live_tools(tools: Sequence[str]) -> dict[str, bool]:
    """A team file's list of tools: name to whether it is live."""
    return {name: bool(live) for name, _, live in (entry.partition(" ") for entry in tools)}


def _plain(arguments: BaseModel) -> dict[str, Any]:
    return arguments.model_dump(mode="json", exclude_none=True)


_current: ContextVar[Toolbox | None] = ContextVar("toolbox", default=None)


def current_toolbox() -> Toolbox | None:
    """The tools of the agent whose `handle` runs in this thread; None when the team file gives it none."""
    return _current.get()


def tools_for(work: Work) -> Tools | None:
    """The same for a brain that is given a `tools_api.ToolsFor`: the runtime has made the toolbox for this work."""
    toolbox = current_toolbox()
    return toolbox if toolbox is not None and toolbox.work.ticket.id == work.ticket.id else None


@contextmanager
def at_hand(toolbox: Toolbox | None) -> Iterator[None]:
    """What runs inside finds `toolbox` with `current_toolbox()`."""
    token = _current.set(toolbox)
    try:
        yield
    finally:
        _current.reset(token)
