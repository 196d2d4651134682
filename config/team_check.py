"""What can be wrong with a team although every key and value is well-formed.

Errors: no catch-all, a target or approver nobody answers, a ladder that does not climb, a rule that can never be
evaluated. Warnings: an agent nothing leads to, a need nobody has, a route behind the catch-all, a gate on what somebody
says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .addresses import check_address
from .marks import Mark, Marked
from .references import UnknownReference, references
from .rules import TICKET_FIELDS, Rule, RuleError, near, words
from .settings import Settings
from .team_file import Flow, Gate, Team

__all__ = ["Problem", "find_problems", "rule_place"]

LISTS = words("links needs requires_handoff excluded children lineage answers checks awaits marks joined")
MAPS = words("context packet flow steps attempts failures result review")
NUMBERS = words(
    "team_version hops round version token life created_at updated_at due ready_at assigned_at closed_at not_before "
    "claim_by lease_until ladder ladder_at accept_by expires_at waits_until weight ladder_left looks_left "
    "first_reply_at escalations"
)
# What agents and senders write themselves: whoever can choose it could talk his way past a gate.
SAID = words("title body summary context links packet steps flow answers result reason joined")
FLAGS = frozenset({"alone", "suspect", "behind", "withheld", "aided"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `near` is the word that was probably meant, or ""."""

    severity: Literal["error", "warning"]
    file: Path
    line: int
    column: int
    message: str
    near: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"


def find_problems(team: Team, marked: Marked, settings: Settings | None = None) -> list[Problem]:
    """Everything the models cannot see; with `settings` also what this installation lacks for the team."""
    return list(_Check(team, marked, settings).run())


def rule_place(marked: Marked, at: tuple[Any, ...], error: RuleError) -> Mark:
    """The place in the file of a position inside a rule's text (exact for one-line and `|` texts)."""
    mark = marked.place(at)
    if mark.block:
        return Mark(mark.file, mark.line + error.line, error.column)
    if error.line > 1:
        return Mark(mark.file, mark.line + error.line - 1, error.column)
    return Mark(mark.file, mark.line, mark.column + error.column - 1)


class _Check:
    def __init__(self, team: Team, marked: Marked, settings: Settings | None) -> None:
        self.team, self.marked, self.settings = team, marked, settings

    def run(self) -> Iterator[Problem]:
        yield from self._names()
        yield from self._routes()
        yield from self._ladders()
        yield from self._gates()
        yield from self._ways()
        yield from self._slots()
        yield from self._addresses()
        yield from self._texts()
        yield from self._keywords()
        yield from self._rules()
        yield from self._reach()
        yield from self._models()

    def _at(
        self, severity: Literal["error", "warning"], at: tuple[str | int, ...], message: str, hint: str = "",
        *, key: bool = False,
    ) -> Problem:  # fmt: skip
        mark = self.marked.place(at, key=key)
        return Problem(severity, mark.file, mark.line, mark.column, message, hint)

    def _unknown(self, severity: Literal["error", "warning"], at: tuple[str | int, ...], what: str, word: str,
                 known: list[str], effect: str = "") -> Problem:  # fmt: skip
        hint = near(word, known)
        rest = f"did you mean {hint!r}?" if hint else f"known: {', '.join(known) or 'none'}"
        return self._at(severity, at, f"{what}{effect}; {rest}", hint)

    def _names(self) -> Iterator[Problem]:
        for name in self.team.people:
            if name in self.team.agents:
                yield self._at("error", ("people", name), f"{name} is an agent and a person; use two names", key=True)
        targets = [self.team.priorities[p] for p in ("urgent", "high", "normal", "low")]
        if targets != sorted(targets):
            yield self._at("warning", ("priorities",), "a less important priority has the shorter target")
        for name, agent in self.team.agents.items():
            for index, other in enumerate(agent.hands_off_to):
                if other not in self._who() and other not in self.team.capabilities:
                    yield self._unknown(
                        "warning", ("agents", name, "hands_off_to", index), f"nobody is or can {other!r}", other,
                        [*self._who(), *self.team.capabilities],
                    )  # fmt: skip

    def _who(self) -> list[str]:
        return [*self.team.agents, *self.team.people]

    def _routes(self) -> Iterator[Problem]:
        routes = self.team.routes
        catch_all = next((i for i, r in enumerate(routes) if r.when is None), None)
        if catch_all is None:
            yield self._at(
                "error", ("routes",), "the catch-all is missing: add a last route without `when`, as "
                f"- needs: [{routes[-1].needs[0]}]", key=True,
            )  # fmt: skip
        for index, route in enumerate(routes):
            if catch_all is not None and index > catch_all:
                yield self._at(
                    "warning", ("routes", index), "this route stands behind the catch-all; the catch-all is always "
                    "tried last, so move it there" if route.when else "a second catch-all is never used",
                )  # fmt: skip
            yield from self._needs(route.needs, ("routes", index, "needs"))

    def _needs(self, needs: list[str], at: tuple[str | int, ...]) -> Iterator[Problem]:
        missing = [n for n in needs if n not in self.team.capabilities]
        for name in missing:
            yield self._unknown(
                "warning", (*at, needs.index(name)), f"nobody on the team can {name!r}", name, self.team.capabilities,
                ": such tickets wait and escalate",
            )  # fmt: skip
        if not missing and not any(set(needs) <= self.team.can(who) for who in self._who()):
            yield self._at("warning", at, f"nobody can all of {', '.join(needs)}: such tickets wait and escalate")

    def _ladders(self) -> Iterator[Problem]:
        for i, ladder in enumerate(self.team.escalations):
            before = -1.0
            for j, step in enumerate(ladder.ladder):
                at = ("escalations", i, "ladder", j)
                if step.after_s <= before:
                    yield self._at(
                        "error", (*at, "after"), f"a ladder climbs: this step comes after {step.after_s:g} s, the one "
                        f"before it after {before:g} s",
                    )  # fmt: skip
                before = step.after_s
                if step.target and step.target not in self._who():
                    word = "notify" if step.notify else "reassign"
                    yield self._unknown(
                        "error", (*at, word), f"no agent and no person is called {step.target!r}, so nobody would "
                        "answer", step.target, self._who(),
                    )  # fmt: skip
                yield from self._needs_each(step.widen or [], (*at, "widen"))

    def _needs_each(self, needs: list[str], at: tuple[str | int, ...]) -> Iterator[Problem]:
        for index, name in enumerate(needs):
            if name not in self.team.capabilities:
                yield self._unknown(
                    "error", (*at, index), f"nobody on the team can {name!r}", name, self.team.capabilities
                )

    def _gates(self) -> Iterator[Problem]:
        for word, gates in (("gates", self.team.gates), ("review", self.team.review)):
            for index, gate in enumerate(gates):
                yield from self._gate(gate, (word, index))

    def _gate(self, gate: Gate, at: tuple[str | int, ...]) -> Iterator[Problem]:
        for word, who in (("approver", gate.approver), ("then", gate.then)):
            if who is None:
                continue
            if who not in self._who():
                yield self._unknown("error", (*at, word), f"unknown approver {who!r}", who, self._who())
            agent = self.team.agents.get(who)
            if gate.human and agent is not None and not agent.human:
                yield self._at("error", (*at, word), f"only a person may say yes here, and {who} is not `human: true`")
        if gate.then == gate.approver:
            yield self._at("warning", (*at, "then"), f"{gate.then} has let it expire already")

    def _ways(self) -> Iterator[Problem]:
        """Flows, the quality check, and who stands in for whom."""
        team = self.team
        for index, flow in enumerate(team.flows):
            yield from self._flow(flow, ("flows", index), [f.name for f in team.flows[:index]])
        if team.check is not None and len(able := team.agents_for([team.check.by])) < 2 and not self._only_checks(able):
            lacks = f"only {able[0]} can" if able else "nobody can"
            yield self._at(
                "warning" if able else "error", ("check", "by") if able else ("check",), f"{lacks} {team.check.by!r}"
                + (", and nobody looks at a reply of its own" if able else ", so no reply would ever leave"),
            )  # fmt: skip
        for name, agent in team.agents.items():
            yield from self._needs_each(agent.stands_in_for, ("agents", name, "stands_in_for"))
            for path in agent.knowledge:
                if path != "knowledge" and not (team.folder / path).exists():
                    yield self._at("warning", ("agents", name, "knowledge"), f"there is no {path!r} in its folder")

    def _flow(self, flow: Flow, at: tuple[str | int, ...], before: list[str]) -> Iterator[Problem]:
        yield from self._needs_each(flow.steps, (*at, "steps"))
        if flow.name in before:
            yield self._at("error", (*at, "name"), f"there are two flows {flow.name!r}")
        for step in flow.results:
            if step not in flow.steps:
                yield self._unknown("error", (*at, "results", step), f"the flow has no step {step!r}", step, flow.steps)

    def _only_checks(self, able: list[str]) -> bool:
        """Whether the one who looks at replies writes none: he can do nothing else."""
        return bool(able) and self.team.check is not None and self.team.agents[able[0]].can == [self.team.check.by]

    def _addresses(self) -> Iterator[Problem]:
        told: list[tuple[tuple[str | int, ...], str | None]] = [
            (("agents", n, "notify"), a.notify) for n, a in self.team.agents.items()
        ]
        told += [(("people", n, "notify"), p.notify) for n, p in self.team.people.items()]
        told += [(("channels", "addresses", n), a) for n, a in self.team.channels.addresses.items()]
        for at, address in told:
            if address and (wrong := check_address(address)):
                yield self._at("error", at, wrong)

    def _texts(self) -> Iterator[Problem]:
        """References in the texts of notifications: to a ticket field, or to a step of a flow and what it must say."""
        steps: dict[str, set[str]] = {}
        for flow in self.team.flows:
            for step in flow.steps:
                steps.setdefault(step, set()).update(flow.results.get(step, {}))
        for word in ("subject", "text"):
            try:
                for reference, (first, *below) in references(getattr(self.team.channels, word)):
                    known = set(TICKET_FIELDS) if first == "ticket" else steps.get(first)
                    if known is None:
                        raise UnknownReference(reference, f"no flow has a step {first!r}", first, ["ticket", *steps])
                    if known and below[0] not in known:
                        raise UnknownReference(reference, f"{first} has no {below[0]!r}", below[0], sorted(known))
            except UnknownReference as wrong:
                yield self._at("error", ("channels", word), str(wrong), wrong.hint)

    def _slots(self) -> Iterator[Problem]:
        for name, agent in self.team.agents.items():
            for capability, slots in agent.weights.items():
                at = ("agents", name, "weights", capability)
                if capability not in agent.can:
                    yield self._unknown(
                        "warning", at, f"{name} cannot {capability!r}", capability, agent.can, ", so this is not used"
                    )
                if slots > agent.capacity:
                    yield self._at(
                        "error", at, f"{slots} slots, and {name} has {agent.capacity}: it could never take one"
                    )
            path = agent.calendar
            if path and "://" not in path and not (self.team.folder / path).expanduser().is_file():
                yield self._at(
                    "warning", ("agents", name, "calendar"), f"there is no file {path!r} in the team's folder"
                )

    def _keywords(self) -> Iterator[Problem]:
        roles = [a.role for a in self.team.agents.values()]
        for name in self.team.keywords:
            if name not in self.team.capabilities and name not in roles:
                yield self._unknown(
                    "warning", ("keywords", name), f"nobody on the team can {name!r}", name, self.team.capabilities,
                    ", so these examples are not used",
                )  # fmt: skip

    def _rules(self) -> Iterator[Problem]:
        rules: list[tuple[tuple[str | int, ...], Rule | None]] = [
            *((("routes", i, "when"), r.when) for i, r in enumerate(self.team.routes)),
            *((("escalations", i, "when"), r.when) for i, r in enumerate(self.team.escalations)),
            *((("gates", i, "when"), g.when) for i, g in enumerate(self.team.gates)),
            *((("review", i, "when"), g.when) for i, g in enumerate(self.team.review)),
            *((("flows", i, "when"), f.when) for i, f in enumerate(self.team.flows)),
            (("check", "when"), self.team.check.when if self.team.check else None),
            *((("affinity", i, "when"), a.when) for i, a in enumerate(self.team.affinity)),
        ]
        for at, rule in rules:
            if rule is None:
                continue
            rule.evaluate({})  # must not raise, whatever is missing
            problem = rule.try_samples(sample_ticket())
            if problem:
                yield self._at("error", at, f"this rule can never be evaluated: {problem}")
            if at[0] not in ("gates", "review") and rule.fields("action"):
                yield self._at("warning", at, "`action` is only known in gates: this rule will not match")
            if at[0] in ("gates", "review"):
                yield from self._said(rule, at)

    def _said(self, rule: Rule, at: tuple[str | int, ...]) -> Iterator[Problem]:
        """A gate judges what code computes, not what somebody says."""
        said = ["`steps`"] if "steps" in rule.names else []
        said += [f"`ticket.{name}`" for name in rule.fields("ticket") if name in SAID]
        if said:
            yield self._at(
                "warning", at, f"this gate reads {' and '.join(said)}, which agents or senders write themselves: judge "
                "`action` and `customer`, whose facts the tools compute",
            )  # fmt: skip

    def _reach(self) -> Iterator[Problem]:
        """Agents that nothing leads to. Only a hand-off that names one of their capabilities would."""
        team = self.team
        reached = {c for route in team.routes for c in route.needs}
        reached |= {c for c in team.keywords if c in team.capabilities}
        reached |= {team.capability_of_role(role) for role in team.keywords if role not in team.capabilities} - {""}
        reached |= {c for a in team.agents.values() for c in a.hands_off_to}
        reached |= {c for ladder in team.escalations for step in ladder.ladder for c in step.widen or []}
        reached |= set(team.aliases.values())
        named = {step.target for ladder in team.escalations for step in ladder.ladder}
        reached |= {c for flow in team.flows for c in flow.steps} | ({team.check.by} if team.check else set())
        named |= {who for gate in [*team.gates, *team.review] for who in (gate.approver, gate.then or "")}
        named |= {c for a in team.agents.values() for c in a.hands_off_to}
        for name, agent in team.agents.items():
            able = {*agent.can, *agent.stands_in_for}
            if name not in named and not reached & able and not agent.examples:
                yield self._at(
                    "warning", ("agents", name), f"no route, gate, ladder or example leads to {name}: only tickets "
                    f"whose type or needs say {' or '.join(agent.can)} reach it", key=True,
                )  # fmt: skip

    def _models(self) -> Iterator[Problem]:
        """Agents that should think with a model where none is configured. They work, and not as was meant."""
        if self.settings is None or self.settings.openai_configured:
            return
        for name, agent in self.team.agents.items():
            if agent.brain == "openai":
                yield self._at(
                    "warning", ("agents", name, "brain"), f"{name} has `brain: openai` and no model is configured: set "
                    "SHIFTLEAD_OPENAI_API_KEY, or SHIFTLEAD_OPENAI_BASE_URL for a server of your own. Until then the "
                    "offline brain answers in its place, and says so in its reports",
                )  # fmt: skip


def sample_ticket() -> dict[str, Any]:
    """One plausible value for every field of a ticket."""
    return {
        name: [] if name in LISTS else {} if name in MAPS else 1.0 if name in NUMBERS else name in FLAGS or "text"
        for name in TICKET_FIELDS
    }
