"""Run a team's allowed command on a commit, and find the commit since when it fails.

The files of the commit are written into a throw-away folder that has no `.git`, so whatever runs there can neither
see nor move a branch. It gets a clean environment (no key, no setting of ours), a time limit, bounded output, and
nothing of it is left alive. It is still the repository's own code, run as this user and with this machine's network:
connect only a repository whose tests you would run yourself.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .program import Program, shared_environment
from .repository_config import RepositoryFile
from .repository_git import Git, Scratch
from .tools_api import ToolRefused

__all__ = ["FirstBad", "Ran", "Runs"]

SHARED = ("PATH", "LANG", "LANGUAGE", "TZ")
TAIL = 3_000  # characters of output that are kept
MOST_OUTPUT = 4_000_000  # bytes
LONGEST_S = 300.0  # of one search; a run's own limit comes on top
SKIP = 125  # as with git bisect: this commit cannot be judged


@dataclass(frozen=True, slots=True)
class Ran:
    """One run. `outcome`: green (exit 0), red, or unclear (too slow, too loud, could not start, exit 125)."""

    command: str
    on: str
    outcome: Literal["green", "red", "unclear"]
    how: str
    output: str
    took_s: float

    def told(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def line(self) -> str:
        """In one line, as evidence."""
        last = next((line for line in reversed(self.output.splitlines()) if line.strip()), "")
        return f"$ {self.command}  on {self.on}: {self.outcome} ({self.how})" + (
            f": {last.strip()[:300]}" if last else ""
        )


@dataclass(frozen=True, slots=True)
class FirstBad:
    """`commit` is the first on which the command is red: its parent is green. "" where that cannot be said: `why`."""

    commit: str
    why: str
    tried: dict[str, str]  # commit -> outcome, in the order they were run


class Runs:
    """Runs in throw-away folders."""

    def __init__(self, git: Git, file: RepositoryFile) -> None:
        self.git, self.file = git, file

    def on_commit(self, commit: str, command: str) -> Ran:
        """The command on a commit (full hash).

        Raises:
            ToolRefused: it is not allowed.
        """
        with self.git.scratch() as scratch:
            return self.on_tree(scratch, commit, command, on=commit[:12])

    def on_tree(self, scratch: Scratch, tree: str, command: str, *, on: str) -> Ran:
        """The command on a tree that only this scratch knows."""
        argv = self.file.argv(command)
        folder, home = scratch.folder / "tree", scratch.folder / "home"
        for each in (folder, home):
            each.mkdir()
        self.git.check_out(scratch, tree, folder)
        return self._run(argv, folder, home, command, on)

    def first_bad(self, good: str, bad: str, command: str) -> FirstBad:
        """The first commit after `good`, an ancestor of `bad`, that turned the command red; by halving."""
        listed = self.git.text("rev-list", "--first-parent", "--reverse", f"{good}..{bad}").split()
        if not listed or not self.git.contains(bad, good):
            raise ToolRefused(f"{good[:12]} is not in the history of {bad[:12]}")
        tried: dict[str, str] = {}

        def outcome(commit: str) -> str:
            if commit not in tried:
                tried[commit] = self.on_commit(commit, command).outcome
            return tried[commit]

        if outcome(bad) != "red":
            return FirstBad("", f"{bad[:12]} is {tried[bad]}, not red", tried)
        if outcome(good) != "green":
            return FirstBad("", f"{good[:12]} is {tried[good]}, not green: it began before", tried)
        until = time.monotonic() + LONGEST_S
        low, high = -1, len(listed) - 1  # listed[low] is green (good itself stands at -1), listed[high] is red
        while high - low > 1:
            if time.monotonic() > until:
                return FirstBad("", f"it was not found within {LONGEST_S:.0f} s: {high - low} commits are left", tried)
            middle = (low + high) // 2
            seen = outcome(listed[middle])
            if seen == "unclear":
                return FirstBad("", f"{listed[middle][:12]} cannot be judged, so it stays open", tried)
            low, high = (middle, high) if seen == "green" else (low, middle)
        return FirstBad(listed[high], f"{listed[high][:12]} is red and the one before it is green", tried)

    def _run(self, argv: list[str], folder: Path, home: Path, command: str, on: str) -> Ran:
        env = shared_environment(SHARED) | {
            "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1", "CI": "true",
            "PATH": os.environ.get("PATH", os.defpath),
        }  # fmt: skip
        started, limit_s = time.monotonic(), self.file.time_limit_s
        try:
            run = Program(argv, folder, env=env, limit_s=limit_s, most=MOST_OUTPUT)
        except OSError as error:
            return Ran(command, on, "unclear", f"it could not be started: {error.strerror}", "", 0.0)
        took_s = round(time.monotonic() - started, 2)
        text = "\n".join(t for t in (run.stdout.decode("utf-8", "replace").strip(), run.stderr) if t)
        shown = text.replace(str(folder), ".").replace(str(home), "~").replace("\0", "\ufffd")[-TAIL:]
        if run.timed_out:
            return Ran(command, on, "unclear", f"not over after {limit_s:g} s", shown, took_s)
        if run.too_much:
            return Ran(command, on, "unclear", f"more than {MOST_OUTPUT:,} bytes of output", shown, took_s)
        if run.code == SKIP or run.code < 0:
            how = f"ended by signal {-run.code}" if run.code < 0 else "it says that it cannot judge (exit 125)"
            return Ran(command, on, "unclear", how, shown, took_s)
        return Ran(command, on, "green" if run.code == 0 else "red", f"exit {run.code}", shown, took_s)
