"""git, as agents may use it: plumbing on one local repository, and nothing of it that runs other people's code.

No hooks, no pager, no editor, no transport, no configuration but the repository's own; names are resolved to full
hashes once, and only hashes are passed on. Trees are built in a scratch index, so no working tree of anybody is
touched; a branch moves only from the commit it was read at (compare and swap), so nobody's commit is overwritten.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .tools_api import ToolRefused

__all__ = ["MOST", "Git", "GitFailed", "PLAIN_DIFF", "Scratch", "TreeChange", "check_changes", "safe_path"]

MOST = 1_000_000  # bytes of output that are read
LIMIT_S = 30.0
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}(?:[~^]\d{0,4}){0,3}")
PLAIN_FILES = {"000000", "100644", "100755"}  # no symbolic link, no submodule
OPTIONS = {
    "core.hooksPath": os.devnull, "core.fsmonitor": "false", "core.attributesFile": os.devnull, "core.pager": "cat",
    "core.quotePath": "false", "protocol.allow": "never", "gc.auto": "0", "maintenance.auto": "false",
    "diff.external": "", "core.editor": "false", "commit.gpgSign": "false", "core.protectHFS": "true",
    "core.protectNTFS": "true", "advice.graftFileDeprecated": "false",
}  # fmt: skip


class GitFailed(Exception):
    """git said no; its own words."""


@dataclass(frozen=True, slots=True)
class TreeChange:
    """One path that differs between two trees. A mode of 000000 is: not there."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """An index of its own, and a folder; what is written to it is gone afterwards unless `keep` was said."""

    folder: Path
    env: Mapping[str, str]


class Git:
    """One repository. Every call is bounded in time and output."""

    def __init__(self, folder: Path) -> None:
        """`folder`: a clone (with a `.git` folder) or a bare repository.

        Raises:
            ToolRefused: it is neither.
        """
        self.git_dir = folder / ".git" if (folder / ".git").is_dir() else folder
        if not (self.git_dir / "HEAD").is_file() or not (self.git_dir / "objects").is_dir():
            raise ToolRefused(f"there is no git repository {folder.name!r} in the folder of repositories")
        if shutil.which("git") is None:
            raise ToolRefused("git is not installed on this machine")

    # -- reading ------------------------------------------------------------------------------------------------

    def commit(self, revision: str) -> str:
        """The full hash of a commit.

        Raises:
            ToolRefused: no such commit, or a name that is none.
        """
        if not REVISION.fullmatch(revision) or ".." in revision:
            raise ToolRefused(f"{revision[:100]!r} is no name of a commit")
        try:
            found = self.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except GitFailed:
            raise ToolRefused(f"the repository has no commit {revision[:100]!r}") from None
        return found.strip()

    def branch(self, name: str) -> str | None:
        """The commit a local branch stands at; None: there is no such branch."""
        try:
            return self.text("rev-parse", "--verify", "--quiet", f"refs/heads/{name}^{{commit}}").strip()
        except GitFailed:
            return None

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is in the history of `commit`; both full hashes."""
        try:
            self.run("merge-base", "--is-ancestor", ancestor, commit)
        except GitFailed:
            return False
        return True

    def text(self, *args: str, env: Mapping[str, str] | None = None, most: int = MOST) -> str:
        """What a command prints, as text with whatever is no UTF-8 replaced."""
        return self.run(*args, env=env, most=most).decode("utf-8", "replace").replace("\0", "\ufffd")

    def run(self, *args: str, env: Mapping[str, str] | None = None, most: int = MOST, cwd: Path | None = None) -> bytes:
        """What a command prints, at most `most` bytes of it.

        Raises:
            GitFailed: it failed or took too long.
        """
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        argv = ["git", "--no-pager", "--literal-pathspecs", *options, f"--git-dir={self.git_dir}", *args]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                argv, cwd=cwd or self.git_dir, env={**_environment(), **(env or {})}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=said, start_new_session=True,
            )  # fmt: skip
            late = threading.Timer(LIMIT_S, _kill, [process])
            late.start()
            try:
                assert process.stdout
                out = process.stdout.read(most + 1)
                if len(out) > most:
                    _kill(process)
                process.stdout.close()
                code = process.wait()
            finally:
                late.cancel()
                _kill(process)
            if code != 0 and len(out) <= most:
                said.seek(0)
                words = said.read(2000).decode("utf-8", "replace").strip()
                raise GitFailed(f"git {args[0]}: {words or f'it ended with {code}'}")
        return out[:most]

    # -- trees --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scratch(self, *, keep: bool = False) -> Iterator[Scratch]:
        """An index that is nobody else's. Objects are thrown away with it; with `keep` they go to the repository."""
        with tempfile.TemporaryDirectory(prefix="shiftlead-git-") as name:
            folder = Path(name)
            env = {"GIT_INDEX_FILE": str(folder / "index")}
            if not keep:
                (folder / "objects").mkdir()
                env |= {
                    "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
                    "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.git_dir / "objects"),
                }
            yield Scratch(folder, env)

    def patched(self, scratch: Scratch, on: str, patch: bytes, *, backwards: bool = False) -> str:
        """The tree of commit `on` with a unified diff applied, or taken back.

        Raises:
            ToolRefused: it does not apply.
        """
        path = scratch.folder / "patch"
        path.write_bytes(patch)
        self.run("read-tree", f"{on}^{{tree}}", env=scratch.env)
        try:
            way = ["-R"] if backwards else []
            self.run("apply", "--cached", "--whitespace=nowarn", *way, "--", str(path), env=scratch.env)
        except GitFailed as failed:
            raise ToolRefused(f"the change does not apply: {str(failed)[:500]}") from None
        return self.text("write-tree", env=scratch.env).strip()

    def reverted(self, scratch: Scratch, on: str, commit: str) -> str:
        """The tree of `on` without what `commit` changed against its first parent; all full hashes.

        Raises:
            ToolRefused: it is the first commit, or later changes stand in the way.
        """
        try:
            patch = self.run("diff", *PLAIN_DIFF, "--binary", "--full-index", f"{commit}^", commit, most=5 * MOST)
        except GitFailed:
            raise ToolRefused(f"{commit[:12]} has no commit before it, so there is nothing to go back to") from None
        if len(patch) >= 5 * MOST:  # cut off: a part of it must not be taken back
            raise ToolRefused(f"{commit[:12]} changed too much to be taken back here")
        return self.patched(scratch, on, patch, backwards=True)

    def check_out(self, scratch: Scratch, tree: str, folder: Path) -> None:
        """Write the files of a tree into an empty folder; there is no `.git` in it."""
        env = {**scratch.env, "GIT_INDEX_FILE": str(scratch.folder / "checkout-index"), "GIT_WORK_TREE": str(folder)}
        self.run("read-tree", tree, env=env)
        self.run("checkout-index", "-a", "-f", "-q", env=env, cwd=folder)

    def changes(self, before: str, after: str, *, env: Mapping[str, str] | None = None) -> list[TreeChange]:
        """What differs between two trees or commits, path by path.

        Raises:
            ToolRefused: a path is no text.
        """
        fields = self.run("diff-tree", "-r", "--raw", "-z", "--no-renames", before, after, env=env).split(b"\0")[:-1]
        found = []
        for head, path in zip(fields[::2], fields[1::2], strict=False):
            old, new, *_ = head.decode().removeprefix(":").split()
            try:
                found.append(TreeChange(path.decode(), old, new))
            except UnicodeDecodeError:
                raise ToolRefused("a path in this change is not UTF-8") from None
        return found

    # -- writing ------------------------------------------------------------------------------------------------

    def move_branch(self, name: str, to: str, at: str | None, why: str) -> None:
        """Let the branch `name` stand at `to`, if it still stands at `at` (None: if it does not exist).

        Raises:
            ToolRefused: somebody else moved it.
        """
        try:
            self.run("update-ref", "-m", why, f"refs/heads/{name}", to, at or "0" * len(to))
        except GitFailed:
            raise ToolRefused(f"{name} was moved by somebody else meanwhile; nothing was changed") from None

    def commit_tree(self, scratch: Scratch, tree: str, parent: str, message: str, *, author: str, at: float) -> str:
        """A commit of `tree` on `parent`; no branch moves yet. `at`: unix seconds, UTC."""
        path = scratch.folder / "message"
        path.write_text(message, encoding="utf-8")
        said = {"NAME": author, "EMAIL": f"{author}@shiftlead.invalid", "DATE": f"@{int(at)} +0000"}
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in said.items()}
        env = {**scratch.env, **who}
        return self.text("commit-tree", tree, "-p", parent, "-F", str(path), env=env).strip()


PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")


def safe_path(path: str) -> bool:
    """Whether a path names a file inside the tree, and nothing of git's own."""
    parts = path.split("/")
    if not path or len(path) > 500 or "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        return False
    return all(part not in ("", ".", "..") and not part.casefold().startswith(".git") for part in parts)


def check_changes(changes: Sequence[TreeChange], files: Sequence[str]) -> None:
    """Refuse what goes beyond plain files among `files`.

    Raises:
        ToolRefused: names the path.
    """
    if not changes:
        raise ToolRefused("this changes nothing")
    for change in changes:
        if not safe_path(change.path):
            raise ToolRefused(f"{change.path[:200]!r} may not be changed: it is no plain path, or git's own")
        if not {change.before, change.after} <= PLAIN_FILES:
            raise ToolRefused(f"{change.path} is a symbolic link or a submodule: only plain files may be changed")
        if change.path not in files:
            raise ToolRefused(f"{change.path} is outside of what was said yes to ({', '.join(files) or 'no file'})")


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0",
    }  # fmt: skip


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Its whole group. A process that was waited for has given its number back, so it is left alone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
