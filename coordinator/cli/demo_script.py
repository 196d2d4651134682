"""What a demonstration is made of: tickets, a team file laid over the team's, and what happens beside the tickets.

config/demo/<team>/tickets.jsonl   what is enqueued
config/demo/<team>/overlay.yaml    short times, so that one sees something (may be missing)
config/demo/<team>/script.yaml     this file's `Script`
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from shiftlead.config.team_types import Id, Seconds
from shiftlead.queues.errors import NotFound

if TYPE_CHECKING:
    from shiftlead.queues.ticket import Draft

__all__ = ["Script", "called", "drafts_of", "overlay_of", "prepared", "script_of", "with_demo"]

Kind = Literal["approval", "question", "blocked", "ticket"]


class Script(BaseModel):
    """Beside the tickets. `answers`: what the people of the demonstration say to what waits for them, by kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    busy: Annotated[dict[Id, Seconds], Field(description="agents who are in a session at first, and how long")] = {}
    session: str = "strategy session"
    kill: Annotated[bool, Field(description="whether a worker is killed in the middle of a ticket")] = True
    answers: Annotated[dict[Kind, str], Field(description="an approval is answered with yes, and these words")] = {}
    first: Annotated[
        dict[Kind, str], Field(description="module:function people call with the data folder before they answer")
    ] = {}
    prepare: Annotated[str, Field(description="module:function that makes what the team works on in a folder")] = ""
    shows: Annotated[list[str], Field(description="names of events in demo_events.py that the ledger must tell")]


def with_demo() -> list[str]:
    """Teams that have a demonstration."""
    return sorted(entry.name for entry in _demos().iterdir() if (entry / "script.yaml").is_file())


def script_of(team: str) -> Script:
    """The team's script.

    Raises:
        NotFound: it has none; names the teams that have.
    """
    file = _demos() / team / "script.yaml"
    if not file.is_file():
        raise NotFound(f"There is no demonstration of a team {team!r}. There is one of: {', '.join(with_demo())}.")
    return Script.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))


def overlay_of(team: str) -> Path | None:
    """What is laid over the team's file; None for nothing."""
    file = _demos() / team / "overlay.yaml"
    return file if file.is_file() else None


def drafts_of(team: str) -> Sequence[Draft]:
    """The tickets, in their order."""
    from shiftlead.queues.ticket import parse_draft

    lines = (_demos() / team / "tickets.jsonl").read_bytes().splitlines()
    return [parse_draft(line, max_bytes=262_144) for line in lines if line.strip()]


def prepared(script: Script, folder: Path) -> dict[str, str]:
    """Make what the team works on in `folder`; the environment its processes need for it."""
    if not script.prepare:
        return {}
    made: dict[str, str] = called(script.prepare, folder)
    return made


def called(what: str, folder: Path) -> Any:
    """The result of `module:function`, which is ours and named in a script, for the folder of a demonstration."""
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)(folder)


def _demos() -> Path:
    return Path(str(files("shiftlead.config") / "demo"))
