"""Find, read and check teams. Every error says file, line, column, and a near match.

    load_team("front_office", settings)      a team ready to work
    check_team("./acme/team.yaml", settings) what is wrong or strange about it, without raising

Own teams are looked for in the folders of SHIFTLEAD_TEAMS, then among the shipped ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from .marks import Marked, MarkedError, merge, read_marked
from .rules import RuleError, near
from .settings import Settings
from .team_check import Problem, find_problems, rule_place
from .team_file import (
    Affinity,
    AgentSpec,
    Brief,
    Budget,
    Budgets,
    Channels,
    Check,
    Flow,
    Gate,
    Intake,
    Keywords,
    Ladder,
    LadderStep,
    Limits,
    Person,
    Route,
    Team,
    TeamFile,
    Triage,
)

__all__ = [
    "Affinity", "AgentSpec", "Brief", "Budget", "Budgets", "Channels", "Check", "Flow", "Gate", "Intake", "Keywords",
    "Ladder", "LadderStep", "Limits", "Person", "Problem", "Route", "SHIPPED", "Team", "TeamError", "TeamNotFound",
    "Triage", "check_team", "list_teams", "load_team", "team_schema",
]  # fmt: skip

SHIPPED = Path(__file__).parent / "teams"
PARTS = {
    "affinity": Affinity, "agents": AgentSpec, "people": Person, "routes": Route, "escalations": Ladder, "gates": Gate,
    "keywords": Keywords, "review": Gate, "flows": Flow,
}  # fmt: skip
SECTIONS: dict[str, Any] = {
    "limits": Limits, "intake": Intake, "brief": Brief, "triage": Triage, "check": Check, "budgets": Budgets,
    "channels": Channels,
}  # fmt: skip


class TeamError(ValueError):
    """The team cannot be used. `problems` lists why, one per place."""

    def __init__(self, message: str, problems: list[Problem] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class TeamNotFound(TeamError):
    """No team of that name, no file at that path."""


def load_team(name_or_path: str | Path, settings: Settings, *, overlay: Path | None = None) -> Team:
    """The team of that name, or of the team.yaml (or its folder) at that path. `overlay` is merged over the file.

    Raises:
        TeamNotFound: there is none; names the nearest.
        TeamError: it has errors; the message lists them with file, line and column. Warnings do not matter here.
    """
    team, problems = _read(name_or_path, settings, overlay)
    errors = [p for p in problems if p.severity == "error"]
    if team is None or errors:
        lines = "\n".join(f"  {p}" for p in errors)
        count = f"{len(errors)} error" + ("s" if len(errors) != 1 else "")
        raise TeamError(f"Team {str(name_or_path)!r} cannot be used, {count}:\n{lines}", errors)
    return team


def check_team(name_or_path: str | Path, settings: Settings, *, overlay: Path | None = None) -> list[Problem]:
    """Everything wrong (error) or strange (warning) about a team, in the order of the file.

    Raises:
        TeamNotFound: there is none.
    """
    _, problems = _read(name_or_path, settings, overlay)
    return sorted(problems, key=lambda p: (str(p.file), p.line, p.column))


def list_teams(settings: Settings) -> dict[str, Path]:
    """Every team that can be named, and its team.yaml. An own team hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for root in (*(p.expanduser() for p in settings.teams), SHIPPED):
        for file in sorted(root.glob("*/team.yaml")) if root.is_dir() else []:
            found.setdefault(file.parent.name, file.absolute())
    return dict(sorted(found.items()))


def team_schema() -> dict[str, Any]:
    """The JSON schema of a team.yaml, for editors."""
    schema = TeamFile.model_json_schema(by_alias=True)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "Shiftlead team file"}


def _find(name_or_path: str | Path, settings: Settings) -> Path:
    path = Path(name_or_path).expanduser()
    looks_like_path = isinstance(name_or_path, Path) or "/" in str(name_or_path) or path.suffix in (".yaml", ".yml")
    if looks_like_path:
        file = path / "team.yaml" if path.is_dir() else path
        if file.is_file():
            return file.absolute()
        raise TeamNotFound(f"There is no team file {str(file)!r}.")
    teams = list_teams(settings)
    if str(name_or_path) in teams:
        return teams[str(name_or_path)]
    hint = near(str(name_or_path), teams)
    raise TeamNotFound(
        f"There is no team {str(name_or_path)!r}."
        + (f" Did you mean {hint!r}?" if hint else "")
        + f" Teams: {', '.join(teams) or 'none'}. Make one: shiftlead team init {name_or_path}"
    )


def _read(name_or_path: str | Path, settings: Settings, overlay: Path | None) -> tuple[Team | None, list[Problem]]:
    file = _find(name_or_path, settings)
    try:
        marked = _load_files(file, overlay)
    except MarkedError as error:
        return None, [Problem("error", error.mark.file, error.mark.line, error.mark.column, str(error))]
    except OSError as error:
        return None, [Problem("error", Path(error.filename or file), 1, 1, f"cannot be read: {error.strerror}")]
    if not isinstance(marked.data, dict):
        return None, [Problem("error", file, 1, 1, "a team file is a mapping with team, agents, routes, ...")]
    try:
        parsed = TeamFile.model_validate(marked.data)
    except ValidationError as error:
        return None, [_explain(e, marked) for e in error.errors()]
    values = {name: getattr(parsed, name) for name in TeamFile.model_fields}
    team = Team.model_construct(**values, folder=file.parent, escalation_s=settings.escalation_s)
    return team, find_problems(team, marked, settings)


def _load_files(file: Path, overlay: Path | None) -> Marked:
    """team.yaml, with examples.yaml beside it as its `keywords`, and the overlay on top."""
    marked = read_marked(file)
    examples = file.parent / "examples.yaml"
    if examples.is_file() and isinstance(marked.data, dict):
        found = read_marked(examples)
        under = Marked({"keywords": found.data})
        under.values = {("keywords", *at): mark for at, mark in found.values.items()} | {(): marked.values[()]}
        under.keys = {("keywords", *at): mark for at, mark in found.keys.items()}
        under.keys[("keywords",)] = found.values[()]
        marked = merge(under, marked)
    return merge(marked, read_marked(overlay)) if overlay is not None else marked


def _explain(error: Any, marked: Marked) -> Problem:
    """One pydantic error as a problem at its place in the file."""
    at = tuple(p for p in error["loc"] if p != "[key]")
    kind = error["type"]
    cause = (error.get("ctx") or {}).get("error")
    hint = ""
    if kind == "extra_forbidden":
        mark = marked.place(at, key=True)
        known = _known(at[:-1])
        hint = near(str(at[-1]), known)
        where = f" in {_path(at[:-1])}" if at[:-1] else ""
        rest = f"did you mean {hint!r}?" if hint else f"known here: {', '.join(known)}"
        message = f"unknown key {at[-1]!r}{where}; {rest}"
    elif isinstance(cause, RuleError):
        mark, message, hint = rule_place(marked, at, cause), f"{_path(at)}: {cause}", cause.hint
    elif kind == "missing":
        mark, message = marked.place(at[:-1], key=True), f"{_path(at)} is missing"
    else:
        mark = marked.place(at, key="[key]" in error["loc"])
        text = str(cause) if cause is not None else error["msg"][:1].lower() + error["msg"][1:]
        given = error.get("input")
        shown = f", not {given!r}" if cause is None and isinstance(given, str | int | float | None) else ""
        message = f"{_path(at)}: {text}{shown}"
        if cause is not None and "did you mean" in text:
            hint = text.split("did you mean '")[-1].split("'")[0]
            bad = next((k for k in marked.keys if k[:-1] == at and repr(k[-1]) in text), None)
            mark = marked.keys[bad] if bad else mark
    return Problem("error", mark.file, mark.line, mark.column, message, hint)


def _known(at: tuple[Any, ...]) -> list[str]:
    """Keys that may stand in the mapping at `at`."""
    if not at:
        model: Any = TeamFile
    elif (at[0] == "budgets" and len(at) > 1) or (at[0] == "agents" and at[2:] == ("budget",)):
        model = Budget
    elif at[0] in SECTIONS:
        model = SECTIONS[str(at[0])]
    elif at[0] == "escalations" and len(at) > 2:
        model = LadderStep
    else:
        model = PARTS.get(str(at[0]), TeamFile)
    return [field.alias or name for name, field in model.model_fields.items()]


def _path(at: tuple[Any, ...]) -> str:
    """routes[2].needs"""
    text = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in at)
    return text.lstrip(".")
