"""A dry run: past tickets through a team file before it goes live."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app, "simulate", panel="Teams", own_team=True,
        examples=[
            "shiftlead simulate --team ./teams/acme --file last-week.jsonl",
            "shiftlead simulate --team acme --file tickets.jsonl --days 5 --seed 7 --minutes bug=30,billing=4",
            "shiftlead simulate --team acme --file last-week.jsonl --without iris_support --svg without-iris.svg",
        ],
    )(simulate)  # fmt: skip


def simulate(
    run: Run,
    file: Annotated[Path, typer.Option("--file", help="Past tickets, JSONL; a line may have at, after_s, minutes.")],
    team: Annotated[str | None, typer.Option("--team", help="Name or path; default: SHIFTLEAD_TEAM.")] = None,
    model: Annotated[Path | None, typer.Option(help="YAML: how long work takes, who asks whom, how often.")] = None,
    minutes: Annotated[str, typer.Option(help="Minutes of work by type, capability, role: bug=30")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    start: Annotated[str | None, typer.Option(help="When it begins: ISO 8601; default: the next Monday.")] = None,
    days: Annotated[float | None, typer.Option(min=0.01, max=3660, help="Spread them over so many days.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Let so many come in an hour.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop then: ISO 8601; default: when nothing is open.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave this agent out. May be repeated.")] = None,
    together: Annotated[
        float, typer.Option("--together", min=0.1, max=60, help="Seconds that count as one instant; more is faster.")
    ] = 1.0,
    server: Annotated[str, typer.Option(help="valkey (comes along), or fake: in this process, slower.")] = "valkey",
    svg: Annotated[Path | None, typer.Option(help="Write a picture: one file, no scripts.")] = None,
) -> None:  # fmt: skip
    """Run past tickets through a team without touching anything: who would get what, how long it would wait.

    The real desk and the real coordinator work on a clock that jumps from event to event, on a server of their own in
    a temporary folder. No brain runs, nobody is notified. Agents are a seeded model of working times; a ticket's
    `requires_handoff` is followed, and everything else assumed can be said with --model.
    """
    from shiftlead.config.team import load_team
    from shiftlead.coordinator.simulated_agents import Behaviour, Model, minutes_option, read_model
    from shiftlead.coordinator.simulated_past import moment, read_past
    from shiftlead.coordinator.simulation import Simulation
    from shiftlead.coordinator.simulation_figures import figures
    from shiftlead.coordinator.simulation_report import parts
    from shiftlead.coordinator.simulation_room import private_server
    from shiftlead.queues.errors import BadInput

    if days is not None and rate is not None:
        raise BadInput("Say --days or --rate, not both.", field="rate")
    found = load_team(team or run.settings.team, run.settings, overlay=run.settings.overlay)
    begin = None if start is None else moment(start)
    past = read_past(
        file.expanduser(), max_bytes=run.settings.max_ticket_bytes, start=begin, rate=rate, days=days, seed=seed
    )
    assumed = read_model(model.expanduser(), found) if model is not None else Model()
    if minutes:
        assumed = assumed.model_copy(update={"minutes": assumed.minutes | minutes_option(minutes, found)})
    end = None if until is None else moment(until)
    if end is not None and end <= past[0].at:
        raise BadInput(f"--until {until} lies before the first ticket.", field="until")
    if svg is not None and not svg.expanduser().absolute().parent.is_dir():
        raise BadInput(f"There is no folder for {svg}.", field="svg")
    with private_server(run.settings, server) as (client, dry_settings):
        simulation = Simulation(
            client, found, dry_settings, past, behaviour=Behaviour(found, assumed, seed), until=end, seed=seed,
            absent=without or (), together_s=together,
        )  # fmt: skip
        with _progress(run, len(past)) as tell:
            dry = simulation.run(tell)
    told = figures(dry)
    if svg is not None:
        from shiftlead.coordinator.simulation_picture import picture

        svg.expanduser().write_text(picture(dry, told), encoding="utf-8")
        run.remark(f"The picture is in {svg}.")
    run.say(told, *parts(dry, told))


@contextmanager
def _progress(run: Run, total: int) -> Iterator[Callable[[float, int], None] | None]:
    """A bar on a terminal; nothing where nobody watches."""
    if run.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .output import console

    columns: tuple[Any, ...] = (
        TextColumn("simulate {task.fields[at]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulate", total=total, at="")

        def tell(at: float, come: int) -> None:
            from datetime import UTC, datetime

            bar.update(task, completed=come, at=datetime.fromtimestamp(at, UTC).strftime("%a %H:%M"))

        yield tell
