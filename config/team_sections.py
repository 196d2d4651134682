"""What a team file may say beside its agents, routes, ladders and gates: one model a section."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from .calendar import Hours
from .team_types import Capability, Seconds, Sentence, Strict, Type, When

__all__ = [
    "Affinity", "Brief", "Budget", "Budgets", "Channels", "Check", "Flow", "Intake", "Keywords", "Limits", "Triage",
]  # fmt: skip


class Affinity(Strict):
    """A ticket goes to whoever did something a moment ago: the one who deployed watches the deployment."""

    when: When | None = None
    event: Type
    within_s: Seconds = Field(86_400.0, alias="within")


class Intake(Strict):
    """What happens to a ticket that may have been sent before."""

    join_repeats: Annotated[bool, Field(description="an exact repeat by its requester joins the open ticket")] = True
    join_links: Annotated[bool, Field(description="a ticket with the same link joins the open one")] = True
    per_customer: Annotated[
        int | None, Field(ge=1, le=10_000, description="ready tickets of one customer; the others stand behind")
    ] = None


class Brief(Strict):
    """A brief for each decision-maker, every day at this time."""

    at: Annotated[str, Field(description="wall clock and zone: 08:00 Europe/Berlin")]

    @field_validator("at")
    @classmethod
    def _at(cls, value: str) -> str:
        if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d \S+", value):
            raise ValueError("a time of day and a zone, as 08:00 Europe/Berlin")
        Hours(f"Mon-Sun 00:00-24:00 {value.partition(' ')[2]}")
        return value


class Keywords(Strict):
    """How tickets for one capability sound. A cue in <angle brackets> is a feature, as <stack trace>."""

    cues: list[Sentence] = []
    sentences: list[Sentence] = []


class Limits(Strict):
    """This team's own limits; empty = the setting of the same name."""

    max_handoffs: Annotated[int, Field(ge=1, le=100)] | None = None
    max_turns: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_messages: Annotated[
        int | None, Field(ge=1, le=256, description="tickets one matter may grow to by handing on; empty = 256")
    ] = None
    max_crashes: Annotated[int, Field(ge=1, le=100)] | None = None
    run_deadline_s: Seconds | None = Field(None, alias="run_deadline")


class Triage(Strict):
    """How new tickets are read."""

    floor: Annotated[
        float,
        Field(ge=0, le=1, description="least confidence at which the examples decide; see: triage calibrate"),
    ] = 0.4
    urgency_rules: Annotated[
        Literal["impact", "source"],
        Field(description="impact: damage is urgent (outage, data loss, ...); source: money, law and threats are"),
    ] = "impact"


Wanted = (
    Annotated[list[Type], Field(min_length=1, max_length=100)]
    | Annotated[str, Field(pattern=r"^(text|list|number|flag|\d+\.\.\d+)$")]
)


class Flow(Strict):
    """A pipeline: one ticket goes from capability to capability, and each step's result stands under `steps`.

    `steps` is a text like `classify >> know >> decide >> notify`; a report may name other `needs` and so branch. A
    ticket keeps the name, version, steps and values of its flow from triage to its end, whatever the file says later.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    version: Annotated[int, Field(ge=1)] = 1
    when: Annotated[When | None, Field(description="which tickets go this way; empty = all that name no needs")] = None
    steps: Annotated[list[Capability], Field(min_length=1, max_length=30)]
    results: Annotated[
        dict[Capability, dict[Type, Wanted]],
        Field(description="what the result of a step must say: a list of words, text, list, number, flag or 0..100"),
    ] = {}
    values: Annotated[
        dict[Type, bool | int | float | str], Field(description="facts for its steps, as ticket.flow.values.NAME")
    ] = {}

    @field_validator("steps", mode="before")
    @classmethod
    def _arrows(cls, value: Any) -> Any:
        return [step.strip() for step in value.split(">>")] if isinstance(value, str) else value

    @field_validator("steps")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("a flow goes to each capability once")
        return value

    def after(self, step: str) -> str | None:
        """The capability after `step`; None after the last one, or when `step` is none of the flow's."""
        at = self.steps.index(step) if step in self.steps else len(self.steps)
        return self.steps[at + 1] if at + 1 < len(self.steps) else None


class Check(Strict):
    """A finished reply is looked at by somebody else before it leaves."""

    when: Annotated[When | None, Field(description="which tickets; empty = every one")] = None
    by: Annotated[Capability, Field(description="who can do this looks at it, never the author")] = "quality_check"
    rounds: Annotated[int, Field(ge=1, le=10, description="failed reviews after which a person decides")] = 3


class Budget(Strict):
    """What may be spent. Empty = no limit. Reserved before each call of a model, counted afterwards."""

    tokens: Annotated[int | None, Field(ge=0)] = None
    money: Annotated[float | None, Field(ge=0, description="in the currency of SHIFTLEAD_OPENAI_PRICES")] = None
    runs: Annotated[int | None, Field(ge=0, description="turns of agents")] = None


class Budgets(Strict):
    """By ticket (all its lives), and by agent, team and UTC day. An agent's own `budget` replaces `agent`."""

    ticket: Budget = Budget()
    agent: Annotated[Budget, Field(description="of each agent, a day")] = Budget()
    team: Annotated[Budget, Field(description="of the whole team, a day")] = Budget()


class Channels(Strict):
    """Where notifications go: addresses by channel, and which channels an urgency takes."""

    addresses: Annotated[dict[Type, Annotated[str, Field(min_length=1)]], Field(description="mailto://, https://")] = {}
    by_urgency: Annotated[dict[Type, list[Type]], Field(description="`default` for the others")] = {
        "critical": ["slack", "email", "pagerduty"],
        "high": ["slack", "email", "pagerduty"],
        "default": ["email"],
    }
    to: Annotated[str, Field(min_length=1, description="who is told when nobody is named")] = "support-team"
    subject: Annotated[str, Field(max_length=500, description="after urgency and number")] = "${ticket.title}"
    text: Annotated[
        str, Field(max_length=5000, description="below who is told; ${classify.reasoning} is what a step has found")
    ] = "${ticket.title}"
