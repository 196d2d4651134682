"""What a team file may say: strict, frozen models. `config/team.py` reads files into them.

Times are written as 30m, 4h or 30_minutes and kept in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from .rules import near
from .team_sections import (
    Affinity,
    Brief,
    Budget,
    Budgets,
    Channels,
    Check,
    Flow,
    Intake,
    Keywords,
    Limits,
    Triage,
)
from .team_types import (
    PRIORITIES,
    Brain,
    Capability,
    Delay,
    Id,
    Priority,
    Seconds,
    Sentence,
    Strict,
    Type,
    When,
    WorkingHours,
)

__all__ = [
    "Affinity", "AgentSpec", "Brief", "Budget", "Budgets", "Channels", "Check", "Flow", "Gate", "Intake", "Keywords",
    "Ladder", "LadderStep", "Limits", "PRIORITIES", "Person", "Priority", "Route", "Team", "TeamFile", "Triage",
]  # fmt: skip


class AgentSpec(Strict):
    """One agent. Its name is the key in `agents`."""

    role: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", description="names roles/<role>.md")]
    can: Annotated[list[Capability], Field(min_length=1)]
    capacity: Annotated[int, Field(ge=1, le=1000, description="tickets at a time")] = 1
    brain: Brain = "offline"
    hours: WorkingHours | None = None
    human: Annotated[bool, Field(description="a person answers, not a program")] = False
    weights: Annotated[
        dict[Capability, Annotated[int, Field(ge=1, le=100)]], Field(description="slots a ticket takes; 1 if not named")
    ] = {}
    calendar: Annotated[str, Field(min_length=1, description="iCalendar file or https address")] | None = None
    action_hours: Annotated[
        WorkingHours | None, Field(description="its results leave only then; it may work at any time")
    ] = None
    notify: Annotated[str, Field(min_length=1, description="address for notices: mailto://..., https://...")] | None = (
        None
    )
    hands_off_to: Annotated[list[Type], Field(description="agents or capabilities it usually asks")] = []
    examples: Annotated[list[Sentence], Field(description="sentences of tickets for its first capability")] = []
    tools: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}( live)?$")]],
        Field(description="tools it may use; what cannot be undone is only tried out unless it says: NAME live"),
    ] = []
    model: Annotated[str | None, Field(min_length=1, description="model it thinks with; empty = the setting")] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, description="empty = the setting")] = None
    prompts: Annotated[
        dict[Id, Annotated[str, Field(min_length=1)]],
        Field(description="versions that are compared: name to its page in place of roles/<role>.md"),
    ] = {}
    knowledge: Annotated[list[str], Field(description="folders or pages it knows, in the team's folder")] = [
        "knowledge"
    ]
    stands_in_for: Annotated[
        list[Capability], Field(description="taken only while nobody else who can is available")
    ] = []
    budget: Annotated[Budget | None, Field(description="of this agent, a day; empty = the team's for agents")] = None


class Person(Strict):
    """Somebody who is told things and may decide, but pulls no tickets."""

    notify: Annotated[str, Field(min_length=1, description="address: mailto://..., https://...")]
    can: list[Capability] = []


class Route(Strict):
    """Which capability a ticket needs. Without `when` it is the catch-all."""

    when: When | None = None
    needs: Annotated[list[Capability], Field(min_length=1)]
    type: Type | None = None
    priority: Priority | None = None
    category: Type | None = None


class LadderStep(Strict):
    """After this long in open state: tell somebody, give it to somebody, or let others take it too."""

    after_s: Delay = Field(alias="after", description="0s: at once")
    notify: Id | None = None
    reassign: Id | None = None
    widen: Annotated[list[Capability], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> LadderStep:
        if sum(x is not None for x in (self.notify, self.reassign, self.widen)) != 1:
            raise ValueError("a step says exactly one of notify, reassign, widen")
        return self

    @property
    def target(self) -> str:
        """Who is told or gets it; "" when the step widens."""
        return self.notify or self.reassign or ""


class Ladder(Strict):
    when: When | None = None
    hours: Annotated[WorkingHours | None, Field(description="outside of them its clock stands")] = None
    ladder: Annotated[list[LadderStep], Field(min_length=1)]


class Gate(Strict):
    """An action that needs a yes first."""

    when: When
    approver: Id
    expires_s: Seconds | None = Field(None, alias="expires")
    human: Annotated[bool, Field(description="only a person may say yes")] = False
    then: Annotated[Id | None, Field(description="who decides when the first approver let it expire")] = None
    confirms: Annotated[
        list[Type], Field(description="arguments that must be filled in before anybody can say yes")
    ] = []
    reason: Annotated[Type | None, Field(description="why it asks, in a word: refund_over_threshold")] = None


class TeamFile(Strict):
    """A team.yaml."""

    team: Id
    description: str = ""
    version: Annotated[int, Field(ge=1)] = 1
    priorities: Annotated[dict[Priority, Seconds], Field(description="target for the first useful answer")] = Field(
        default_factory=lambda: dict(PRIORITIES), validate_default=True
    )
    agents: Annotated[dict[Id, AgentSpec], Field(min_length=1)]
    people: dict[Id, Person] = {}
    aliases: Annotated[dict[Type, Type], Field(description="what a sender says -> the type we mean")] = {}
    routes: Annotated[list[Route], Field(min_length=1)]
    keywords: Annotated[dict[str, Keywords], Field(description="by capability or role")] = {}
    escalations: list[Ladder] = []
    gates: list[Gate] = []
    review: Annotated[list[Gate], Field(description="looked at after the gates: flagged for a manager's yes")] = []
    limits: Limits = Limits()
    affinity: list[Affinity] = []
    intake: Intake = Intake()
    holidays: Annotated[list[date], Field(max_length=1000, description="no working hours on these days")] = []
    brief: Brief | None = None
    triage: Triage = Triage()
    flows: Annotated[list[Flow], Field(description="pipelines; the first whose condition holds")] = []
    check: Annotated[Check | None, Field(description="who looks at a reply before it leaves; empty = nobody")] = None
    budgets: Budgets = Budgets()
    channels: Channels = Channels()

    @field_validator("priorities", mode="before")
    @classmethod
    def _all_four(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in value:
            if name not in PRIORITIES:
                hint = near(str(name), PRIORITIES)
                raise ValueError(
                    f"unknown priority {name!r}; " + (f"did you mean {hint!r}?" if hint else ", ".join(PRIORITIES))
                )
        return {**PRIORITIES, **value}


class Team(TeamFile):
    """A team as it runs: the file, where it lies, and the installation's default ladder. Compared by its content."""

    folder: Path = Path()
    escalation_s: float = 1800.0

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Team) and other.digest == self.digest and other.folder == self.folder

    @property
    def name(self) -> str:
        return self.team

    @cached_property
    def digest(self) -> str:
        """A name for exactly this content, wherever it lies."""
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude={"folder"}).encode()).hexdigest()

    def can(self, who: str) -> set[str]:
        """What an agent or a person can do; nothing for a stranger."""
        spec = self.agents.get(who) or self.people.get(who)
        return set(spec.can) if spec else set()

    @cached_property
    def days_off(self) -> frozenset[date]:
        """The team's holidays."""
        return frozenset(self.holidays)

    def weight(self, agent: str, needs: list[str]) -> int:
        """Slots a ticket with these needs takes of `agent`."""
        spec = self.agents.get(agent)
        return max((spec.weights.get(need, 1) for need in needs), default=1) if spec else 1

    @cached_property
    def capabilities(self) -> list[str]:
        """Everything somebody on the team can do."""
        return sorted({c for who in (*self.agents, *self.people) for c in self.can(who)})

    def agents_for(self, needs: Sequence[str]) -> list[str]:
        """Agents who can do all of `needs`, in the file's order."""
        return [name for name, spec in self.agents.items() if set(needs) <= set(spec.can)]

    def stand_ins_for(self, needs: Sequence[str]) -> list[str]:
        """Agents who can do all of `needs` only while nobody else who can is there."""
        wanted, can = set(needs), self.agents_for(needs)
        return [n for n, a in self.agents.items() if n not in can and wanted <= {*a.can, *a.stands_in_for}]

    def capability_of_role(self, role: str) -> str:
        """The first capability of the first agent in that role; "" when nobody has it."""
        return next((spec.can[0] for spec in self.agents.values() if spec.role == role), "")

    def decision_makers(self) -> list[str]:
        """Agents with the role decision-maker or the capability `decision`, in the file's order."""
        return [n for n, a in self.agents.items() if a.role == "decision-maker" or "decision" in a.can]

    def target_s(self, priority: str) -> float:
        """Seconds to the first useful answer."""
        return {str(k): v for k, v in self.priorities.items()}[priority]

    def ladder_for(self, facts: dict[str, Any]) -> Ladder | None:
        """The first ladder whose condition holds; else the default: tell the first decision-maker. None: no such."""
        for ladder in self.escalations:
            if ladder.when is None or ladder.when.evaluate(facts).value:
                return ladder
        return self._default_ladder

    @cached_property
    def _default_ladder(self) -> Ladder | None:
        told = next(iter([*self.decision_makers(), *self.people]), None)
        if told is None:
            return None
        return Ladder(ladder=[LadderStep(after=self.escalation_s, notify=told)])
