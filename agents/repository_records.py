"""A pull request as a record (TA-09): what was done, on whose yes, what was run, and how to go back.

Two files under the data folder, JSON for programs and Markdown for people. It merges nothing: a person does, with git.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from shiftlead.config.private import private_folder

__all__ = ["PullRequest", "record", "recorded"]


class PullRequest(BaseModel):
    """`before` and `after` are runs of the agreed command on the base and on the branch; `at`: unix seconds, UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ticket: str
    repository: str
    branch: str
    base: str
    tip: str
    into: str
    title: str
    summary: str
    scope: str
    acceptance_criteria: list[str]
    commands: list[str]
    before: dict[str, Any]
    after: dict[str, Any]
    files: list[str]
    risk: str
    monitor: list[str]
    rollback: str
    by: str
    at: float
    key: str

    def markdown(self) -> str:
        """As a person reads it."""
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        parts = [
            f"# {self.title}",
            f"{self.ticket}, `{self.branch}` into `{self.into}` of {self.repository}, by {self.by}, {when}",
            self.summary,
            f"## Scope\n{self.scope}",
            "## Acceptance criteria\n" + _list(self.acceptance_criteria),
            "## Files\n" + _list(f"`{name}`" for name in self.files),
            "## Commands run\n" + _list(f"`{line}`" for line in self.commands),
            f"## Before\n{_output(self.before)}",
            f"## After\n{_output(self.after)}",
            f"## Risk\n{self.risk}",
            "## What to monitor\n" + _list(self.monitor),
            f"## Rollback\n{self.rollback}",
            f"## To merge\nA person does: `git merge --no-ff {self.branch}` on `{self.into}`.",
        ]
        return "\n\n".join(parts) + "\n"


def record(request: PullRequest, folder: Path) -> dict[str, Any]:
    """Write it, over an earlier one of the same branch; where it lies and what it says in short."""
    private_folder(folder)
    name = _name(request.branch)
    _write(folder / f"{name}.json", json.dumps(request.model_dump(), indent=1, ensure_ascii=False))
    _write(folder / f"{name}.md", request.markdown())
    return {
        "pull_request": f"pull_requests/{folder.name}/{name}.md", "title": request.title, "branch": request.branch,
        "tip": request.tip, "files": request.files, "commands": request.commands, "risk": request.risk,
        "monitor": request.monitor, "rollback": request.rollback,
    }  # fmt: skip


def recorded(folder: Path, branch: str) -> PullRequest | None:
    """The record of a branch; None: no pull request was opened for it here."""
    try:
        return PullRequest.model_validate_json((folder / f"{_name(branch)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _name(branch: str) -> str:
    return branch.replace("/", "-")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", errors="replace")
    part.chmod(0o600)
    part.replace(path)


def _list(items: Any) -> str:
    return "\n".join(f"- {item}" for item in items) or "- none"


def _output(ran: dict[str, Any]) -> str:
    fence = "```"
    text = str(ran.get("output", "")).replace(fence, "'''")
    return f"{ran.get('outcome')} ({ran.get('how')}, {ran.get('took_s')} s)\n\n{fence}\n{text}\n{fence}"
