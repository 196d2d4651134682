"""Whether every brain of a team can be loaded, before a ticket depends on it.

    brain_problems(team, settings)            each problem with its file, line and column
    require_brains([team], settings)          the same, raised as one error
    load_brain(team, "iris_support", settings)  one agent's brain

A `python:` brain is loaded by running its module, so `require_brains` with `apart=True` does it in a process of its
own: what a module does while it is imported does not reach the long-lived process that asks.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import subprocess
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from shiftlead.config.marks import Mark, MarkedError, read_marked
from shiftlead.config.settings import Settings
from shiftlead.config.team import Problem, Team, TeamError, load_team
from shiftlead.queues.errors import BadInput

from .agent import Agent
from .brains import brain_of

__all__ = ["brain_problems", "load_brain", "require_brains"]

CHECK_S = 60.0  # a module that takes longer to import is not judged here; its worker says what it does


def brain_problems(team: Team, settings: Settings, agents: Sequence[str] = ()) -> list[Problem]:
    """What keeps the brains of `agents` (all of the team's own when empty) from being loaded; the same cause once."""
    found: dict[str, Problem] = {}
    for name, spec in team.agents.items():
        if (agents and name not in agents) or spec.human or spec.brain == "outside":
            continue
        try:
            load_brain(team, name, settings)
        except _Broken as broken:
            found.setdefault(str(broken.problem), broken.problem)
    return list(found.values())


def load_brain(team: Team, agent: str, settings: Settings) -> Agent:
    """The brain of one agent. What its module prints while it is loaded goes to standard error.

    Raises:
        BadInput: it cannot be loaded; says file, line and, for Python, the line itself.
    """
    spec = team.agents[agent]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return brain_of(team, agent, settings)
    except BadInput as error:
        mark = _place_in_team_file(team, agent, error.field or "brain")
        raise _Broken(mark, str(error)) from None
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        mark = Mark(Path(error.filename or team.folder), error.lineno or 1, error.offset or 1)
        raise _Broken(mark, f"{type(error).__name__}: {error.msg}{_quoted(error.text)}") from None
    except BaseException as error:  # whatever an imported module does, sys.exit() too
        mark = _place_of(error, team.folder) or _place_in_team_file(team, agent)
        line = linecache.getline(str(mark.file), mark.line)
        what = f"{type(error).__name__}: {error} (while {spec.brain!r} of {agent} was loaded)"
        raise _Broken(mark, what + _quoted(line)) from None


def require_brains(
    teams: Iterable[Team], settings: Settings, agents: Sequence[str] = (), *, apart: bool = False
) -> None:
    """Refuse teams with a brain that cannot be loaded.

    Raises:
        TeamError: lists what is wrong with which brain, with file, line and column.
    """
    for team in teams:
        has_code = any(spec.brain.startswith("python:") for spec in team.agents.values())
        problems = _apart(team) if apart and has_code else brain_problems(team, settings, agents)
        if problems:
            lines = "\n".join(f"  {p}" for p in problems)
            raise TeamError(
                f"Team {team.team!r} cannot be used: a brain cannot be loaded. Nothing was started.\n{lines}\n"
                f"Correct it, then look again with `shiftlead team check {team.team}`.",
                problems,
            )


class _Broken(BadInput):
    """One brain that cannot be loaded, as a problem at its place."""

    def __init__(self, mark: Mark, message: str) -> None:
        self.problem = Problem("error", mark.file, mark.line, mark.column, message)
        super().__init__(str(self.problem), field="brain")


def _place_in_team_file(team: Team, agent: str, key: str = "brain") -> Mark:
    """Where the team file says that of the agent."""
    file = team.folder / "team.yaml"
    with contextlib.suppress(OSError, MarkedError):
        return read_marked(file).place(("agents", agent, key))
    return Mark(file, 1, 1)


def _place_of(error: BaseException, folder: Path) -> Mark | None:
    """The innermost line of the team's own code that the error went through."""
    home = folder.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_absolute() and path.resolve().is_relative_to(home):
            return Mark(path, frame.lineno or 1, (frame.colno or 0) + 1)
    return None


def _quoted(line: str | None) -> str:
    return f": {line.strip()[:160]}" if line and line.strip() else ""


def _apart(team: Team) -> list[Problem]:
    """The problems, found by a process of its own. Its settings come through the environment, as every child's."""
    argv = [sys.executable, "-P", "-m", "shiftlead.agents.brain_check", str(team.folder), team.team]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHECK_S)
    except subprocess.TimeoutExpired:
        return []
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        return [Problem(**p | {"file": Path(p["file"])}) for p in found]
    except (ValueError, IndexError, TypeError):
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        message = f"loading its brains ended a process with {done.returncode}: {said[0][:300]}"
        return [Problem("error", team.folder / "team.yaml", 1, 1, message)]


def _main(folder: str, name: str) -> int:
    settings = Settings()
    file = Path(folder) / "team.yaml"
    team = load_team(file if file.is_file() else name, settings, overlay=settings.overlay)
    problems = brain_problems(team, settings)
    print("\n" + json.dumps([asdict(p) | {"file": str(p.file)} for p in problems]), flush=True)
    return 0


if __name__ == "__main__":
    import os

    status = _main(*sys.argv[1:3])
    os._exit(status)  # a module may have started threads; they have no say in when this ends
