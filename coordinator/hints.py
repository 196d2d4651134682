"""A command as one would type it here: the program as it was called, with --team and --home where they are needed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from shiftlead.config.settings import Settings

__all__ = ["called", "near_path", "program"]


def called(settings: Settings, *words: str, team: bool | str = True, home: bool = True) -> str:
    """The command line `shiftlead WORDS` for this installation. `team` may name another team, or be left out."""
    fields = Settings.model_fields
    options: list[str] = []
    name = settings.team if team is True else team or ""
    usual = os.environ.get("SHIFTLEAD_TEAM") or fields["team"].default
    if name and {name, usual} != {fields["team"].default}:
        options += ["--team", name]
    if home and settings.data != Path(fields["home"].default).expanduser().absolute():
        options += ["--home", near_path(settings.data)]
    return " ".join([program(), *map(shlex.quote, [*words, *options])])


def program() -> str:
    """How this command line was called, so that it can be called again from here."""
    given = Path(sys.argv[0])
    if given.name != "shiftlead":
        if (given.parent.name, given.name) != ("coordinator", "__main__.py"):
            return "shiftlead"  # a script of somebody else's, not a way to call us
        return f"{shlex.quote(near_path(Path(sys.executable)))} -m shiftlead.coordinator"
    found = shutil.which("shiftlead")
    if found and given.exists() and Path(found).samefile(given):
        return "shiftlead"
    near = near_path(given.absolute())
    return shlex.quote(near if "/" in near else f"./{near}")


def near_path(path: Path) -> str:
    """The path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
