"""Which repository a team works on, and what may be run in it: the team's `data/repository.yaml`.

    repository: shop                  # a folder in SHIFTLEAD_REPOSITORIES; a path is refused
    main: main                        # the branch people merge into; no agent ever writes to it
    commands: [python check.py]       # what may be run, word by word; the first is meant when none is named
    time_limit: 60s                   # of one run
    look_back: 20                     # commits that are looked at when a ticket names no range

No ticket chooses any of this: what a ticket says of repositories, paths and commands is text of strangers.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from shiftlead.config.duration import duration_s
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.errors import BadInput

from .tools_api import ToolRefused

__all__ = ["BRANCH", "REPOSITORY", "RepositoryFile", "folder_of", "read_repository"]

REPOSITORY = Path("data") / "repository.yaml"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,4}")


class RepositoryFile(BaseModel):
    """See the head of this file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    main: str = "main"
    commands: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)]
    time_limit_s: Annotated[float, Field(alias="time_limit"), BeforeValidator(duration_s)] = 60.0
    look_back: Annotated[int, Field(ge=1, le=500)] = 20

    @field_validator("repository")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("the plain name of a folder, without any slash")
        return value

    @field_validator("main")
    @classmethod
    def _branch(cls, value: str) -> str:
        if not BRANCH.fullmatch(value) or value.startswith("fix/"):
            raise ValueError("the name of a branch; those of agents begin with fix/")
        return value

    @field_validator("commands")
    @classmethod
    def _words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for command in value:
            if not shlex.split(command):
                raise ValueError("a command has at least one word")
        return value

    def argv(self, command: str) -> list[str]:
        """The words of an allowed command. `python` is the one that runs here.

        Raises:
            ToolRefused: the team's file does not allow it.
        """
        if command not in self.commands:
            raise ToolRefused(f"{command[:100]!r} is none of the commands that may be run: {', '.join(self.commands)}")
        words = shlex.split(command)
        return [sys.executable, *words[1:]] if words[0] in ("python", "python3") else words


def read_repository(team: Team) -> RepositoryFile | None:
    """What the team's file says; None: it has none.

    Raises:
        BadInput: it cannot be read; says where.
    """
    path = team.folder / REPOSITORY
    if not path.is_file():
        return None
    try:
        return RepositoryFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{path}: {where or 'the file'}: {first['msg']}.", field="repository") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read: {error}.", field="repository") from None


def folder_of(file: RepositoryFile, settings: Settings) -> Path:
    """Where the repository lies.

    Raises:
        ToolRefused: no folder of repositories is set, or there is no such repository in it.
    """
    if settings.repositories is None:
        raise ToolRefused(
            f"no repository is connected: set SHIFTLEAD_REPOSITORIES to the folder that has {file.repository!r} in it"
        )
    folder = settings.repositories.expanduser().absolute() / file.repository
    if not folder.is_dir():
        raise ToolRefused(f"there is no repository {file.repository!r} in the folder SHIFTLEAD_REPOSITORIES names")
    return folder
