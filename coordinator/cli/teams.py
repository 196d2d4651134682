"""Team files: check, init, list, schema. None of these needs a running server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .output import Run, command, group, plain

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    team = group(app, "team", "Make and check teams: a team is a folder with a team.yaml.", panel="Teams")
    command(
        team,
        "check",
        own_team=True,
        examples=["shiftlead team check front_office", "shiftlead team check ./teams/acme"],
    )(check)
    command(team, "init", own_team=True, examples=["shiftlead team init acme"])(init)
    command(team, "list", own_team=True, examples=["shiftlead team list"])(list_all)
    command(team, "schema", own_team=True, examples=["shiftlead team schema > team.schema.json"])(schema)


def check(
    run: Run, team: Annotated[str | None, typer.Argument(help="Name or path; default: every team there is.")] = None
) -> None:
    """Check a team: its file, and that every agent's brain can be loaded. Warnings do not fail it.

    Each error has its file, line and column. To load a python brain its module is run.
    """
    from shiftlead.agents.brain_check import brain_problems
    from shiftlead.config.team import check_team, list_teams, load_team

    overlay = run.settings.overlay
    names = [team] if team else list(list_teams(run.settings))
    found = {name: check_team(name, run.settings, overlay=overlay) for name in names}
    for name, problems in found.items():
        if not any(p.severity == "error" for p in problems):
            problems += brain_problems(load_team(name, run.settings, overlay=overlay), run.settings)
    errors = sum(p.severity == "error" for problems in found.values() for p in problems)
    data = {
        "ok": not errors,
        "teams": {
            name: [
                asdict(p) | {"file": str(p.file)}
                for p in problems
            ]
            for name, problems in found.items()
        },
    }  # fmt: skip
    from rich.text import Text

    lines = [Text(str(p), style="red" if p.severity == "error" else "yellow") for ps in found.values() for p in ps]
    for name, problems in found.items():
        wrong = sum(p.severity == "error" for p in problems)
        strange = len(problems) - wrong
        verdict = f"✘ {name}: {wrong} error{'s' * (wrong != 1)}" if wrong else f"✔ {name} can be used"
        lines.append(Text(verdict + (f", {strange} warning{'s' * (strange != 1)}" if strange else "")))
    run.say(data, *lines)
    if errors:
        raise typer.Exit(2)


def init(
    run: Run,
    name: Annotated[str, typer.Argument(help="Name of the new team, as acme.")],
    into: Annotated[Path | None, typer.Option(help="Folder of teams; default: the first of SHIFTLEAD_TEAMS.")] = None,
) -> None:
    """Write a small team of your own: team.yaml and an agents.py with three functions to change."""
    from shiftlead.config.scaffold import FIRST_AGENT, init_team
    from shiftlead.coordinator.hints import called

    root = (into or next(iter(run.settings.teams), Path("teams"))).expanduser()
    files = init_team(name, root)
    # The name will do where teams are looked for; elsewhere the folder has to be named.
    known = name if root in run.settings.teams else str(root / name)
    run.say(
        {"team": name, "folder": str(root / name), "files": [str(p) for p in files]},
        f"✔ team {name} is in {root / name}: {', '.join(p.name for p in files)}",
        f"  Check it:  {called(run.settings, 'team', 'check', known, team=False, home=False)}",
        f"  Try it:    {called(run.settings, 'try', FIRST_AGENT, 'a ticket', team=known, home=False)}",
        f"  Start it:  {called(run.settings, 'up', team=known)}",
    )


def list_all(run: Run) -> None:
    """List the teams that can be named, and where their files are."""
    from rich.table import Table

    from shiftlead.config.team import list_teams

    found = list_teams(run.settings)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("team", no_wrap=True)
    table.add_column("file", overflow="fold")
    for name, file in found.items():
        table.add_row(plain(name), plain(str(file)))
    run.say({"teams": {name: str(file) for name, file in found.items()}}, table)


def schema(run: Run) -> None:
    """Print the JSON schema of a team.yaml, for editors."""
    import json

    from shiftlead.config.team import team_schema

    print(json.dumps(team_schema(), indent=None if run.as_json else 2, ensure_ascii=False))
