"""Tools on a local git repository: look, reproduce, and - after a person's yes - write to a branch of their own.

    read_log, show_commit, show_diff, read_file, search_text   look
    reproduce, find_first_bad, try_revert                      run an allowed command in throw-away folders
    merge_state                                                whether people have merged a branch
    create_branch, revert_commit, replace_text, apply_patch    write to the branch that was said yes to
    open_pull_request                                          a record with evidence, for a person to merge by

There is no tool that merges, pushes, or writes to another branch. Which repository it is says the team's own file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from .repository_config import RepositoryFile, folder_of
from .repository_git import PLAIN_DIFF, Git, GitFailed, safe_path
from .repository_grant import StartWork, granted
from .repository_records import PullRequest, record, recorded
from .repository_runs import Ran, Runs
from .repository_write import Writer
from .tool import Call, tool
from .tools_api import ToolRefused

__all__ = ["RepositoryTools"]

LONGEST = 20_000  # characters of a diff or file that are returned
TEXTS: Mapping[str, Any] = {"title": Field(min_length=1, max_length=200)}
SHORT = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$", description="a short name of this change, used once")


class RepositoryTools:
    """The tools of one team. Safe to share between threads: every call opens what it needs."""

    def __init__(self, team: Team, file: RepositoryFile, settings: Settings) -> None:
        self.team, self.file, self.settings = team, file, settings

    # -- look ---------------------------------------------------------------------------------------------------

    @tool(limits={"most": Field(ge=0, le=200)})
    def read_log(self, call: Call, base: str = "", head: str = "", most: int = 0) -> dict[str, Any]:
        """The commits after `base` up to `head`, the newest first, with the files each one changed.

        Without `head` up to the main branch; without `base` the last ones."""
        git = self._git()
        upto = git.commit(head or self.file.main)
        span = f"{git.commit(base)}..{upto}" if base else upto
        form = "--format=%x1e%H%x1f%an%x1f%cI%x1f%s%x1f"
        most = most or self.file.look_back
        shown = ("--no-color", f"--max-count={most}", "--name-only", "--no-renames", form)
        said = git.text("log", *shown, span, "--")
        commits = []
        for entry in said.split("\x1e")[1:]:
            sha, author, at, subject, files = (*entry.split("\x1f"), "", "", "", "", "")[:5]
            names = [line for line in files.splitlines() if line]
            commits.append({"commit": sha, "author": author[:100], "at": at, "subject": subject[:300],
                            "files": names[:50], "more_files": max(0, len(names) - 50)})  # fmt: skip
        return {"repository": self.file.repository, "head": upto, "commits": commits}

    @tool()
    def show_commit(self, call: Call, commit: str) -> dict[str, Any]:
        """One commit: its message and its diff."""
        git = self._git()
        sha = git.commit(commit)
        text = git.text("show", *PLAIN_DIFF, "--stat", "--patch", "--format=%an%n%cI%n%B", sha, "--", most=4 * LONGEST)
        return {"commit": sha} | _cut(text)

    @tool()
    def show_diff(self, call: Call, base: str, head: str, path: str = "") -> dict[str, Any]:
        """What changed between two commits, in one file or folder where `path` is given."""
        git = self._git()
        one, other = git.commit(base), git.commit(head)
        only = [_path(path)] if path else []
        text = git.text("diff", *PLAIN_DIFF, "--stat", "--patch", one, other, "--", *only, most=4 * LONGEST)
        return {"base": one, "head": other} | _cut(text)

    @tool()
    def read_file(self, call: Call, path: str, commit: str = "") -> dict[str, Any]:
        """A file as it is in a commit (default: the main branch)."""
        git = self._git()
        sha = git.commit(commit or self.file.main)
        try:
            text = git.text("cat-file", "blob", f"{sha}:{_path(path)}", most=4 * LONGEST)
        except GitFailed:
            raise ToolRefused(f"there is no file {path[:200]} in {sha[:12]}") from None
        return {"path": path, "commit": sha} | _cut(text)

    @tool(limits={"text": Field(min_length=2, max_length=200)})
    def search_text(self, call: Call, text: str, commit: str = "") -> dict[str, Any]:
        """Lines that contain `text`, as it stands, in a commit (default: the main branch)."""
        git = self._git()
        sha = git.commit(commit or self.file.main)
        form = ("-n", "-I", "--no-color", "--full-name", "--fixed-strings", "--no-textconv")
        try:
            said = git.text("grep", *form, "-e", text, sha, "--", most=LONGEST)
        except GitFailed:
            return {"commit": sha, "found": []}
        return {"commit": sha, "found": [line.removeprefix(f"{sha}:")[:300] for line in said.splitlines()[:50]]}

    # -- run ----------------------------------------------------------------------------------------------------

    @tool()
    def reproduce(self, call: Call, commit: str = "", command: str = "") -> dict[str, Any]:
        """Run an allowed command on a commit (default: the main branch), thrown away after: green, red or unclear."""
        git = self._git()
        return self._on(git, self._known(git, call, commit), command).told()

    @tool()
    def find_first_bad(self, call: Call, good: str, bad: str = "", command: str = "") -> dict[str, Any]:
        """The first commit after `good` on which an allowed command is red, by halving; `bad`: the main branch."""
        git = self._git()
        one, other = self._known(git, call, good), self._known(git, call, bad)
        found = Runs(git, self.file).first_bad(one, other, self._command(command))
        files = [c.path for c in git.changes(f"{found.commit}^", found.commit)] if found.commit else []
        subject = git.text("log", "-1", "--format=%s", found.commit, "--").strip()[:300] if found.commit else ""
        return {"commit": found.commit, "subject": subject, "why": found.why, "tried": found.tried, "files": files[:50]}

    @tool()
    def try_revert(self, call: Call, commit: str, on: str = "", command: str = "") -> dict[str, Any]:
        """Run an allowed command on `on` (default: the main branch) without what `commit` changed. Writes nothing."""
        git = self._git()
        sha, base = self._known(git, call, commit), self._known(git, call, on)
        with git.scratch() as scratch:
            tree = git.reverted(scratch, base, sha)
            where = f"{base[:12]} without {sha[:12]}"
            ran = Runs(git, self.file).on_tree(scratch, tree, self._command(command), on=where)
            files = [c.path for c in git.changes(base, tree, env=scratch.env)]
        return ran.told() | {"commit": sha, "base": base, "files": files[:50]}

    @tool()
    def merge_state(self, call: Call, branch: str) -> dict[str, Any]:
        """Whether people have merged what a pull request was opened for: as it is, or as another commit."""
        git = self._git()
        main, request = git.commit(self.file.main), recorded(self._records(), _branch(branch))
        said: dict[str, Any] = {"branch": branch, "main": main}
        if request is None:
            return said | {"merged": False, "how": "no pull request was opened for it"}
        tip = git.branch(branch) or request.tip  # people delete a branch once they have merged it
        said["tip"] = tip
        if not git.contains(tip, request.tip):
            return said | {"merged": False, "how": "the branch is no more what the pull request was opened for"}
        if git.contains(main, tip):
            return said | {"merged": True, "how": "main contains it"}
        try:
            missing = [line for line in git.text("cherry", main, tip, request.base).splitlines() if line[:1] == "+"]
        except GitFailed:
            return said | {"merged": False, "how": "its commits are gone, and main does not have them"}
        how = f"{len(missing)} commits are not in it" if missing else "main has the same change as another commit"
        return said | {"merged": not missing, "how": how}

    # -- write, after a person's yes ----------------------------------------------------------------------------

    @tool(target="branch", idempotent=True)
    def create_branch(self, call: Call, branch: str) -> dict[str, Any]:
        """Begin the branch that was said yes to, at the commit that was said yes to."""
        return self._writer(call, branch).begin()

    @tool(target="commit", idempotent=True)
    def revert_commit(self, call: Call, branch: str, commit: str, reason: str) -> dict[str, Any]:
        """Take back what one commit changed, as one commit on the branch that was said yes to."""
        return self._writer(call, branch).revert(commit, reason)

    @tool(target="change", idempotent=True, limits={"change": SHORT, "old": Field(min_length=1)})
    def replace_text(
        self, call: Call, branch: str, change: str, path: str, old: str, new: str, message: str
    ) -> dict[str, Any]:  # fmt: skip
        """Replace a passage that stands exactly once in a file, as one commit on the branch that was said yes to."""
        return self._writer(call, branch).replace(change, path, old, new, message)

    @tool(target="change", idempotent=True, limits={"change": SHORT, "patch": Field(min_length=1, max_length=60_000)})
    def apply_patch(self, call: Call, branch: str, change: str, patch: str, message: str) -> dict[str, Any]:
        """Apply a unified diff (paths with a/ and b/) as one commit on the branch that was said yes to."""
        return self._writer(call, branch).patch(change, patch, message)

    @tool(target="branch", idempotent=True, limits=TEXTS)
    def open_pull_request(
        self, call: Call, branch: str, title: str, summary: str, risk: str, monitor: list[str], rollback: str
    ) -> dict[str, Any]:  # fmt: skip
        """Write the record a person merges by. The agreed command is run before and after, and must be green then."""
        git = self._git()
        grant = granted(call, self.file.repository, branch, self.team)
        tip = git.branch(branch)
        if tip is None or tip == grant.base:
            raise ToolRefused(f"{branch} has no change on it yet")
        before, after = self._on(git, grant.base, grant.command), self._on(git, tip, grant.command)
        if after.outcome != "green":
            raise ToolRefused(f"{grant.command} is {after.outcome} on {branch} ({after.how}): {after.output[-500:]}")
        request = PullRequest(
            ticket=grant.ticket, repository=self.file.repository, branch=branch, base=grant.base, tip=tip,
            into=self.file.main, title=title, summary=summary, scope=grant.scope,
            acceptance_criteria=grant.acceptance_criteria, risk=risk, monitor=monitor, rollback=rollback,
            commands=[before.line, after.line], before=before.told(), after=after.told(),
            files=[c.path for c in git.changes(grant.base, tip)], by=call.agent, at=call.now, key=call.key,
        )  # fmt: skip
        return record(request, self._records())

    # -- helpers ------------------------------------------------------------------------------------------------

    def _git(self) -> Git:
        return Git(folder_of(self.file, self.settings))

    def _known(self, git: Git, call: Call, revision: str) -> str:
        """A commit whose code may be run: one that people have merged, or the branch that was said yes to.

        A clone may hold anybody's commits, as those of pull requests, and whoever opened one would choose what runs.
        """
        sha, main = git.commit(revision or self.file.main), git.commit(self.file.main)
        if not git.contains(main, sha):
            try:
                granted(call, self.file.repository, revision, self.team)
            except ToolRefused:
                raise ToolRefused(
                    f"{revision[:100]} is not in {self.file.main}: only what people have merged is run, or the branch "
                    "that was said yes to"
                ) from None
        return sha

    def _command(self, command: str) -> str:
        return command or self.file.commands[0]

    def _on(self, git: Git, commit: str, command: str) -> Ran:
        return Runs(git, self.file).on_commit(commit, self._command(command))

    def _writer(self, call: Call, branch: str) -> Writer:
        grant: StartWork = granted(call, self.file.repository, branch, self.team)
        if branch == self.file.main:
            raise ToolRefused(f"nothing is written to {self.file.main}: a person merges")
        return Writer(self._git(), grant, call)

    def _records(self) -> Path:
        return self.settings.data / "pull_requests" / self.team.team


def _path(path: str) -> str:
    if not safe_path(path):
        raise ToolRefused(f"{path[:200]!r} is no path inside the repository")
    return path


def _branch(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", name) or ".." in name:
        raise ToolRefused(f"{name[:100]!r} is no name of a branch")
    return name


def _cut(text: str) -> dict[str, Any]:
    return {"text": text[:LONGEST], "whole": len(text) <= LONGEST}
