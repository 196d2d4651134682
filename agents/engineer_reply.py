"""What an engineer answers a request for validation with: exactly six parts (TA-12), as data.

The reply itself is for people; the data goes along as one JSON text among the evidence. A model may also answer with
the JSON alone, or in a fenced block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["Check", "EngineerReply", "PatchPlan", "PullRequestDraft", "RankedCause", "reply_in"]

Words = Annotated[str, Field(min_length=1, max_length=4000)]
FENCED = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.S)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class RankedCause(_Strict):
    """One suspicion. `standing`: shown by a run, likely by what was read, or merely possible."""

    rank: Annotated[int, Field(ge=1, le=20)]
    cause: Words
    standing: Literal["shown", "likely", "possible"]
    evidence: list[Words] = []


class Check(_Strict):
    """One assumption, and how it was looked at; `outcome` is empty while nobody has."""

    assumption: Words
    outcome: str = Field(default="", max_length=4000)


class PatchPlan(_Strict):
    """The smallest change. `none`: there is no change the engineer can stand behind, and `summary` says why."""

    kind: Literal["revert", "patch", "none"]
    summary: Words
    base: str = Field(default="", pattern=r"^([0-9a-f]{40,64})?$")
    revert: str = Field(default="", pattern=r"^([0-9a-f]{40,64})?$")
    branch: str = Field(default="", max_length=100)
    files: list[Words] = Field(default=[], max_length=50)
    command: str = Field(default="", max_length=500)
    expected_tests: list[Words] = Field(default=[], max_length=20)


class PullRequestDraft(_Strict):
    title: Words
    body: Words


class EngineerReply(_Strict):
    """The six parts."""

    root_cause_map: Annotated[list[RankedCause], Field(min_length=1, max_length=20)]
    validation_checklist: Annotated[list[Check], Field(min_length=1, max_length=50)]
    reproduction_steps: Annotated[list[Words], Field(min_length=1, max_length=50)]
    patch_plan: PatchPlan
    pull_request: PullRequestDraft
    rollback_plan: Annotated[list[Words], Field(min_length=1, max_length=20)]

    def markdown(self) -> str:
        """The same for people, under six headings."""
        plan = self.patch_plan
        causes = [f"{c.rank}. {c.cause} ({c.standing})" for c in sorted(self.root_cause_map, key=lambda c: c.rank)]
        checks = [
            f"- [{'x' if c.outcome else ' '}] {c.assumption}{_after(c.outcome)}" for c in self.validation_checklist
        ]
        steps = [f"{n}. {step}" for n, step in enumerate(self.reproduction_steps, 1)]
        planned = [plan.summary, *(f"- expected: {test}" for test in plan.expected_tests)]
        planned += [f"- files: {', '.join(plan.files)}"] if plan.files else []
        parts = [
            ("Root causes, ranked", causes), ("Validation checklist", checks), ("To reproduce", steps),
            ("Patch plan", planned), ("Pull request", [f"**{self.pull_request.title}**", self.pull_request.body]),
            ("Rollback", [f"- {step}" for step in self.rollback_plan]),
        ]  # fmt: skip
        return "\n\n".join("\n".join([f"## {title}", *lines]) for title, lines in parts)


def reply_in(answer: Mapping[str, Any]) -> tuple[EngineerReply | None, str]:
    """The six parts in what an engineer brought back, or what is wrong with them."""
    wrong = "the six parts are missing"
    for text in [*(answer.get("evidence") or []), answer.get("reply") or ""]:
        found = FENCED.search(text) if isinstance(text, str) else None
        written = found[1] if found else str(text).strip()
        if not written.startswith("{"):
            continue
        try:
            return EngineerReply.model_validate_json(written), ""
        except ValidationError as error:
            where = (".".join(map(str, e["loc"])) or "it" for e in error.errors()[:6])
            wrong = f"wrong or missing: {', '.join(where)}"
    return None, wrong


def _mark(outcome: str) -> str:
    return "x" if outcome else " "


def _after(outcome: str) -> str:
    return f": {outcome}" if outcome else ""
