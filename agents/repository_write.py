"""Commits on the branch a person said yes to: within the files agreed on, each once, and never over somebody's work.

A commit carries the key of its effect as a trailer. Whoever begins again after a crash finds it by that and makes no
second one.
"""

from __future__ import annotations

from typing import Any

from .repository_git import Git, GitFailed, Scratch, check_changes, safe_path
from .repository_grant import StartWork
from .tool import Call
from .tools_api import ToolRefused

__all__ = ["Writer"]

TRAILER = "Shiftlead-Effect"
LARGEST_FILE = 1_000_000  # bytes


class Writer:
    """The branch of one grant."""

    def __init__(self, git: Git, grant: StartWork, call: Call) -> None:
        self.git, self.grant, self.call = git, grant, call

    def begin(self) -> dict[str, Any]:
        """The branch exists. One of that name that is not ours is left alone.

        Raises:
            ToolRefused: somebody else has such a branch, or the agreed commit is gone.
        """
        branch, base = self.grant.branch, self.git.commit(self.grant.base)
        tip = self.git.branch(branch)
        if tip is None:
            self.git.move_branch(branch, base, None, f"shiftlead: {self.call.ticket.number}")
            return {"branch": branch, "base": base, "tip": base}
        if not self._ours(tip):
            raise ToolRefused(f"there is a branch {branch} that was not made here; it is left alone")
        return {"branch": branch, "base": base, "tip": tip}

    def revert(self, commit: str, reason: str) -> dict[str, Any]:
        """Take back one commit: the one that was agreed on."""
        sha = self.git.commit(commit)
        if self.grant.revert != sha:
            agreed = self.grant.revert[:12] or "none"
            raise ToolRefused(f"{sha[:12]} is not the commit that was agreed to be taken back ({agreed})")
        subject = self.git.text("log", "-1", "--format=%s", sha, "--").strip()[:60]
        message = f'Revert "{subject}"\n\n{reason.strip()}\n\nThis reverts commit {sha}.'
        return self._commit(message, lambda scratch, tip: self.git.reverted(scratch, tip, sha))

    def patch(self, change: str, patch: str, message: str) -> dict[str, Any]:
        """Apply a unified diff."""
        data = patch.encode() if patch.endswith("\n") else f"{patch}\n".encode()
        return self._commit(message, lambda scratch, tip: self.git.patched(scratch, tip, data))

    def replace(self, change: str, path: str, old: str, new: str, message: str) -> dict[str, Any]:
        """Replace `old`, which must stand exactly once in the file."""
        if not safe_path(path):
            raise ToolRefused(f"{path[:200]!r} is no path inside the repository")

        def build(scratch: Scratch, tip: str) -> str:
            mode, blob = self._blob(tip, path)
            text = self.git.run("cat-file", "blob", blob, most=LARGEST_FILE + 1)
            if len(text) > LARGEST_FILE:
                raise ToolRefused(f"{path} is larger than {LARGEST_FILE:,} bytes")
            times = text.count(old.encode())
            if times != 1:
                raise ToolRefused(f"the passage stands {times} times in {path}, not once: quote more of it")
            written = scratch.folder / "blob"
            written.write_bytes(text.replace(old.encode(), new.encode()))
            made = self.git.text("hash-object", "-w", "--no-filters", "--", str(written), env=scratch.env).strip()
            self.git.run("read-tree", f"{tip}^{{tree}}", env=scratch.env)
            self.git.run("update-index", "--cacheinfo", f"{mode},{made},{path}", env=scratch.env)
            return self.git.text("write-tree", env=scratch.env).strip()

        return self._commit(message, build)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _commit(self, message: str, build: Any) -> dict[str, Any]:
        branch, number = self.grant.branch, self.call.ticket.number
        tip = self.git.branch(branch)
        if tip is None:
            raise ToolRefused(f"there is no branch {branch} yet: create it first")
        if not self._ours(tip):
            raise ToolRefused(f"somebody else has committed to {branch}; it is left alone")
        if made := self._made_before(tip):
            return {"branch": branch, "commit": made, "repeated": True}
        with self.git.scratch(keep=True) as scratch:
            try:
                tree = build(scratch, tip)
                changes = self.git.changes(tip, tree)
                # Against where it began, too: no two commits together may leave what was agreed on.
                check_changes(changes, self.grant.files)
                text = f"{_message(message)}\n\nTicket: {number}\n{TRAILER}: {self.call.key}\n"
                made = self.git.commit_tree(scratch, tree, tip, text, author=self.call.agent, at=self.call.now)
            except GitFailed as failed:
                raise ToolRefused(f"nothing was committed: {str(failed)[:500]}") from None
            self.git.move_branch(branch, made, tip, f"shiftlead: {number}")
        return {"branch": branch, "commit": made, "files": [c.path for c in changes]}

    def _ours(self, tip: str) -> bool:
        """Whether everything on the branch since the agreed base was committed through here."""
        if not self.git.contains(tip, self.grant.base):
            return False
        form = f"--format=%H%x1f%(trailers:key={TRAILER},valueonly,separator=%x20)"
        said = self.git.text("log", form, f"{self.grant.base}..{tip}", "--")
        return all(line.partition("\x1f")[2].strip() for line in said.splitlines() if line)

    def _made_before(self, tip: str) -> str:
        """The commit of this very effect, if there is one."""
        form = f"--format=%H%x1f%(trailers:key={TRAILER},valueonly,separator=%x20)"
        for line in self.git.text("log", form, f"{self.grant.base}..{tip}", "--").splitlines():
            commit, _, key = line.partition("\x1f")
            if self.call.key and key.strip() == self.call.key:
                return commit
        return ""

    def _blob(self, tip: str, path: str) -> tuple[str, str]:
        entry = self.git.text("ls-tree", "-z", tip, "--", path).split("\0")[0].rstrip("\ufffd")
        mode, kind, blob = (*entry.partition("\t")[0].split(), "", "", "")[:3]
        if kind != "blob" or mode not in ("100644", "100755"):
            raise ToolRefused(f"there is no plain file {path} on {self.grant.branch}")
        return mode, blob


def _message(message: str) -> str:
    """A message without trailers of somebody's own making."""
    lines = [line for line in message.strip().splitlines() if not line.casefold().startswith(TRAILER.casefold())]
    return "\n".join(lines).strip() or "Change"
