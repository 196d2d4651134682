"""Which gate an action stands before: the team's `gates` first, then its `review` rules, in the file's order (SD-05).

Facts in, a decision out. A rule that cannot be evaluated closes its gate: somebody is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .team_file import Gate, Team

__all__ = ["Closed", "closed_gate"]


@dataclass(frozen=True, slots=True)
class Closed:
    """The first that asks. `number` counts from 1; `problem` is why its rule could not be evaluated, or ""."""

    kind: Literal["gate", "review"]
    number: int
    gate: Gate
    problem: str = ""

    @property
    def name(self) -> str:
        """`gate 1`."""
        return f"{self.kind} {self.number}"

    @property
    def why(self) -> str:
        """In a sentence, for whoever asks and whoever is asked; the team's own word for it comes first."""
        word = f"{self.gate.reason}: " if self.gate.reason else ""
        if self.problem:
            return f"{word}{self.name} cannot be evaluated ({self.problem}), so it is closed"[:1000]
        return f"{word}{self.name} is closed: {self.gate.when.source}"[:1000]


def closed_gate(team: Team, facts: Mapping[str, Any]) -> Closed | None:
    """The gate that wants a yes for the action in `facts`; None where none does."""
    rules: list[tuple[Literal["gate", "review"], list[Gate]]] = [("gate", team.gates), ("review", team.review)]
    for kind, gates in rules:
        for number, gate in enumerate(gates, 1):
            verdict = gate.when.evaluate(dict(facts))
            if verdict.value is not False:
                return Closed(kind, number, gate, str(verdict.problem) if verdict.value is None else "")
    return None
