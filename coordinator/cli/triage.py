"""Triage without a server: where tickets would go (FILE), how good that is (eval), how sure it must be (calibrate)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .output import Run, command, group, plain

if TYPE_CHECKING:
    from shiftlead.config.team import Team

__all__ = ["add"]

READ = "tickets"  # the command that is meant when none is named


class ReadsTickets(TyperGroup):
    """`shiftlead triage FILE` is short for `shiftlead triage tickets FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in where none is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [READ, *args]
        return super().parse_args(ctx, args)


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    sub = group(app, "triage", "Where tickets would go and why, without a server.", panel="Agents", cls=ReadsTickets)
    command(
        sub, READ,
        examples=["shiftlead triage tickets.jsonl", "cat tickets.jsonl | shiftlead triage - --team acme --json"],
    )(tickets)  # fmt: skip
    command(
        sub, "eval",
        examples=["shiftlead triage eval --train train.jsonl --test test.jsonl --text text --label intent --shots 10"],
    )(evaluate)  # fmt: skip
    command(
        sub, "calibrate",
        examples=["shiftlead triage calibrate --team acme", "shiftlead triage calibrate labelled.jsonl"],
    )(calibrate)  # fmt: skip


def tickets(
    run: Run,
    file: Annotated[str, typer.Argument(help="JSON lines {id, title, body, type}; - is standard input.")] = "-",
) -> None:
    """Say for each ticket where it would go, how important it is, and why. Nothing is stored or started.

    `role` is that of the agents it goes to; `fallback` is what nobody should work on: spam, tests, adverts, nothing.
    """
    from shiftlead.queues.errors import BadInput

    from .triage_rows import decide_row, read_rows, reader_of

    team = _team(run)
    opinion_of = reader_of(team, run.settings)
    shown, refused = [], []
    for number, row in read_rows(file):
        try:
            answer = decide_row(team, row, number, opinion_of)
        except (ValueError, BadInput) as error:
            refused.append(number)
            run.remark(f"line {number} is refused: {error}")
            continue
        if run.as_json:
            run.say(answer)
        shown.append(answer)
    if not run.as_json:
        run.say(None, _tickets_table(shown))
    if refused:
        lines = ", ".join(map(str, refused[:20]))
        raise BadInput(f"{len(refused)} of {len(refused) + len(shown)} lines are refused: line {lines}.", field="file")


def evaluate(
    run: Run,
    train: Annotated[Path, typer.Option(help="JSON lines to learn from.")],
    test: Annotated[Path, typer.Option(help="JSON lines to be tried on.")],
    text: Annotated[str, typer.Option(help="The field with the text.")] = "text",
    label: Annotated[str, typer.Option(help="The field with the label.")] = "label",
    shots: Annotated[int | None, typer.Option(min=1, help="Learn only the first so many of each label.")] = None,
) -> None:
    """Measure the built-in classifier on data of your own: share of right labels, and what is taken for what."""
    from .triage_rows import labelled_texts, tried

    examples = labelled_texts(train, text, label, shots=shots)
    trials = labelled_texts(test, text, label)
    with _progress(run, "learning") as progress:
        result = tried(examples, trials, progress)
    from rich.table import Table

    table = Table("label", "of", "right", "taken for", title="the worst labels", title_justify="left")
    for row in result["worst"]:
        taken = ", ".join(f"{name} ({count})" for name, count in row["taken_for"].items())
        table.add_row(plain(row["label"]), str(row["of"]), f"{row['right']:.0%}", plain(taken))
    head = (
        f"{result['accuracy']:.1%} right of {result['test']:,} rows, {result['labels']} labels, learned from "
        f"{result['train']:,} rows in {result['train_s']:.1f} s; {result['ms_per_text']:.2f} ms a text"
    )
    run.say(result, head, *([table] if result["worst"] else []))


def calibrate(
    run: Run,
    file: Annotated[
        str | None, typer.Argument(help="JSON lines {title, body, label}; a label is a capability, a role or an agent.")
    ] = None,
    right: Annotated[float, typer.Option(min=0.5, max=1.0, help="Share of what is decided that must be right.")] = 0.9,
) -> None:
    """Find the team's floor: how sure the examples must be before a ticket follows them.

    Without a file, each example sentence is guessed by a classifier that was not taught it.
    """
    from dataclasses import asdict

    from rich.table import Table

    from shiftlead.coordinator.calibration import guessed, held_out, recommended, steps
    from shiftlead.queues.errors import BadInput

    from .triage_rows import labelled_tickets

    team = _team(run)
    answers = guessed(team, labelled_tickets(file)) if file else held_out(team)
    if not answers:
        raise BadInput(f"Team {team.team!r} has no example sentences, and no labelled rows were given.", field="file")
    table = steps(answers)
    best = recommended(table, right)
    line = f"triage: {{floor: {best.floor:g}}}" if best else ""
    shown = Table("floor", "decided", "right of those", "")
    for step in table:
        mark = "<- recommended" if step is best else "now" if abs(step.floor - team.triage.floor) < 0.001 else ""
        shown.add_row(f"{step.floor:.2f}", f"{step.decided:.0%}", f"{step.right:.1%}", mark)
    source = f"{len(answers):,} labelled rows" if file else f"its {len(answers):,} example sentences, each held out"
    told = f"In {team.team}'s team.yaml:  {line}" if best else "Nothing was recognised at any floor."
    if best and best.right < right:
        told += f"   (no floor reaches {right:.0%}; more examples would help)"
    run.say(
        {"team": team.team, "rows": len(answers), "now": team.triage.floor, "steps": [asdict(s) for s in table],
         "recommended": asdict(best) if best else None, "line": line},
        f"Team {team.team}, by {source}:", shown, told,
    )  # fmt: skip


def _team(run: Run) -> Team:
    from shiftlead.config.team import load_team

    return load_team(run.settings.team, run.settings, overlay=run.settings.overlay)


def _tickets_table(answers: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("id", "goes to", "needs", "priority", "sure", "what", "why")
    for a in answers:
        table.add_row(
            plain(str(a["id"])), plain(a["role"]), plain(" + ".join(a["needs"])), a["priority"],
            f"{a['confidence']:.2f}", plain(a["summary"][:60]), plain("; ".join(a["why"][:2])[:90]),
        )  # fmt: skip
    return table


@contextmanager
def _progress(run: Run, what: str) -> Iterator[Callable[[float], None] | None]:
    """A bar on a terminal; nothing where nobody watches."""
    if run.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from .output import console

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)
