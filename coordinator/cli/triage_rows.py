"""Rows of a file for `shiftlead triage`: reading them, deciding them, and trying a classifier on them."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from shiftlead.agents.classifier import Classifier
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.calibration import Labelled
from shiftlead.coordinator.opinions import Opinions
from shiftlead.coordinator.routing import OpinionOf, decided
from shiftlead.queues.errors import BadInput
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket, check_text

__all__ = ["decide_row", "labelled_texts", "labelled_tickets", "read_rows", "reader_of", "tried"]

FALLBACK = "fallback"  # nobody should work on it
WORST = 10  # labels that are shown


def read_rows(file: str) -> Iterator[tuple[int, Any]]:
    """Each line with its number; a line that is no JSON comes as the error that says so. Empty lines are left out."""
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield number, json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    yield number, ValueError(f"it is no JSON ({error})")


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = Path(file).open("rb")  # noqa: SIM115 - closed below; only opening it is the caller's mistake
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.", field="file") from None
    with lines:
        yield lines


def reader_of(team: Team, settings: Settings) -> OpinionOf | None:
    """Who is asked where the examples are not sure; None where no model is configured."""
    opinions = Opinions(team, settings)
    return opinions.now if opinions.configured else None


def decide_row(team: Team, row: Any, number: int, opinion_of: OpinionOf | None) -> dict[str, Any]:
    """The answer for one row, decided as the coordinator decides a new ticket.

    Raises:
        ValueError, BadInput: the row is none.
    """
    ticket = _ticket(team, row, number)
    decision = decided(ticket, team, now=ticket.created_at, opinion_of=opinion_of)
    assert decision is not None  # who is asked here waits for the answer
    nobody = decision.state is State.CANCELLED
    agents = team.agents_for(decision.needs)
    role = FALLBACK if nobody else team.agents[agents[0]].role if agents else ""
    return {
        "id": row.get("id", number), "route": FALLBACK if nobody else decision.needs[0], "role": role,
        "needs": [] if nobody else decision.needs, "priority": decision.priority, "confidence": decision.confidence,
        "summary": decision.summary, "why": decision.reasons,
    }  # fmt: skip


def _ticket(team: Team, row: Any, number: int) -> Ticket:
    if isinstance(row, Exception):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"an object with id, title and body is expected, this is {type(row).__name__}")
    said = {name: row.get(name) for name in ("title", "body", "type")}
    for name, value in said.items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} is a text, not {type(value).__name__}")
        check_text(value, name)
    texts = {name: value for name, value in said.items() if value}
    now = time.time()
    return Ticket(id=str(number), number=str(number), team=team.team, created_at=now, updated_at=now, **texts)


def labelled_tickets(file: str) -> list[Labelled]:
    """Rows of {title, body, label}.

    Raises:
        BadInput: a line is none; says which.
    """
    found = []
    for number, row in read_rows(file):
        if not isinstance(row, dict) or not isinstance(row.get("label"), str):
            raise BadInput(f"{file}, line {number}: title, body and label are expected.", field="file", line=number)
        found.append(Labelled(str(row.get("title") or ""), str(row.get("body") or row.get("text") or ""), row["label"]))
    return found


def labelled_texts(file: Path, text: str, label: str, *, shots: int | None = None) -> list[tuple[str, str]]:
    """(text, label) of each row; with `shots` the first so many of each label.

    Raises:
        BadInput: the file cannot be read, or a line has no such fields; says which.
    """
    seen: Counter[str] = Counter()
    found = []
    for number, row in read_rows(str(file)):
        if not isinstance(row, dict) or not isinstance(row.get(text), str) or row.get(label) is None:
            said = row if isinstance(row, Exception) else f"{text!r} and {label!r} are expected"
            raise BadInput(f"{file}, line {number}: {said}.", field="file", line=number)
        name = str(row[label])
        seen[name] += 1
        if shots is None or seen[name] <= shots:
            found.append((row[text], name))
    if not found:
        raise BadInput(f"{file} has no rows.", field="file")
    return found


def tried(
    examples: Sequence[tuple[str, str]], trials: Sequence[tuple[str, str]], progress: Callable[[float], None] | None
) -> dict[str, Any]:
    """Learn the examples, guess the trials, and count."""
    started = time.monotonic()
    classifier = Classifier.learn(examples, calibrate=False, progress=progress)
    learned = time.monotonic()
    said = [classifier.label_of(text) for text, _ in trials]
    done = time.monotonic()
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for guess, (_, label) in zip(said, trials, strict=True):
        taken[label][guess] += 1
    worst = sorted((label for label in taken if taken[label][label] < taken[label].total()),
                   key=lambda label: taken[label][label] / taken[label].total())[:WORST]  # fmt: skip
    return {
        "accuracy": sum(taken[label][label] for label in taken) / len(trials), "train": len(examples),
        "test": len(trials), "labels": len(classifier.labels), "train_s": round(learned - started, 2),
        "ms_per_text": round((done - learned) / len(trials) * 1000, 3), "worst": [_row(x, taken[x]) for x in worst],
    }  # fmt: skip


def _row(label: str, taken: Counter[str]) -> dict[str, Any]:
    others = {name or "nothing": count for name, count in taken.most_common(4) if name != label}
    return {"label": label, "of": taken.total(), "right": taken[label] / taken.total(), "taken_for": others}
