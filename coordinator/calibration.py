"""How sure must the examples be before a team follows them? Each floor, and what it would decide and get right.

A ticket below the floor is not lost: it goes to a model, or to the catch-all. So a floor is good when what it decides
is right, and it decides much. Right means: it goes to the agents it should go to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shiftlead.agents.reading import Examples, Guess, examples_of, read, rows_of, who_can
from shiftlead.config.team import Team

__all__ = ["Labelled", "Step", "guessed", "held_out", "recommended", "steps"]

FLOORS = [n / 20 for n in range(2, 20)]
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Labelled:
    """A ticket whose place is known: a capability, a role, or an agent."""

    title: str
    body: str
    label: str


@dataclass(frozen=True, slots=True)
class Step:
    """One floor: how many of all tickets it decides, and how many of those are right. Shares from 0 to 1."""

    floor: float
    decided: float
    right: float


Answer = tuple[float, bool]  # confidence, and whether it was right


def guessed(team: Team, rows: Iterable[Labelled]) -> list[Answer]:
    """What the team's examples say of these tickets."""
    examples = examples_of(team)
    return [_answer(team, examples, row) for row in rows]


def held_out(team: Team) -> list[Answer]:
    """What the team's examples say of each of its own sentences, when they were not taught that one."""
    rows = rows_of(team)
    place: Counter[str] = Counter()
    folds = []
    for row in rows:
        folds.append(place[row.label] % FOLDS if row.weight == 1.0 else None)  # cues are always taught
        place[row.label] += row.weight == 1.0
    answers = []
    for number in range(FOLDS):
        others = [row for row, fold in zip(rows, folds, strict=True) if fold != number]
        if not others:
            continue
        examples = Examples(team, others)
        for row, fold in zip(rows, folds, strict=True):
            if fold == number:
                guess = examples.guess_features(row.features)
                answers.append(_judged(team, guess, set(who_can(team, row.label))))
    return answers


def steps(answers: Sequence[Answer]) -> list[Step]:
    """The table, from the lowest floor to the highest one that decides anything."""
    table = []
    for floor in FLOORS:
        decided = [right for confidence, right in answers if confidence >= floor]
        if decided:
            table.append(Step(floor, len(decided) / len(answers), sum(decided) / len(decided)))
    return table


def recommended(table: Sequence[Step], right: float) -> Step | None:
    """The lowest floor at which that share of what is decided is right; the best there is where none reaches it."""
    good = [step for step in table if step.right >= right]
    return good[0] if good else max(table, key=lambda s: (s.right, s.decided), default=None)


def _answer(team: Team, examples: Examples | None, row: Labelled) -> Answer:
    guess = examples.guess(read(row.title, row.body)) if examples else None
    return _judged(team, guess, _meant(team, row.label))


def _judged(team: Team, guess: Guess | None, meant: set[str]) -> Answer:
    return (guess.confidence, bool(meant & set(who_can(team, guess.capability)))) if guess else (0.0, False)


def _meant(team: Team, label: str) -> set[str]:
    """The agents a label means."""
    if label in team.agents:
        return {label}
    by_role = {name for name, spec in team.agents.items() if spec.role == label}
    return by_role or set(who_can(team, label))
