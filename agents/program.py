"""One run of a program: without a shell, in a process group of its own, with limits, and nothing of it left alive.

Its environment is what it is given and no more, so nothing that opens the house goes along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .descendants import MARK, kill_descendants

__all__ = ["MAX_OUTPUT", "Program", "shared_environment"]

MAX_OUTPUT = 1_000_000
STDERR_TAIL = 4096
READ = 65_536


def shared_environment(names: Sequence[str]) -> dict[str, str]:
    """The variables of `names` as they are set here, and the locale's."""
    return {k: v for k, v in os.environ.items() if k in names or k.startswith("LC_")}


class Program:
    """Runs `argv` in `folder`; over when the constructor returns.

    `stdout`, `stderr` (its end), `code` (negative: the signal that ended it), `timed_out`, `too_much`: it was killed
    because it took longer than `limit_s` or wrote more than `most` bytes.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self, argv: Sequence[str], folder: Path, *, env: Mapping[str, str], limit_s: float, data: bytes = b"",
        most: int = MAX_OUTPUT,
    ) -> None:  # fmt: skip
        mark = uuid.uuid4().hex
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            list(argv), cwd=folder, env={**env, MARK: mark}, stdin=pipe, stdout=pipe, stderr=pipe,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        self.timed_out = self.too_much = False
        self._most = most
        self._out, self._err = bytearray(), bytearray()
        self._over = threading.Event()  # it exited, or it wrote too much
        threads = [
            threading.Thread(target=target, args=args, daemon=True)
            for target, args in (
                (_feed, (process.stdin, data)),
                (self._read_out, (process.stdout,)),
                (self._read_err, (process.stderr,)),
                (self._watch, (process.pid,)),
            )
        ]
        for thread in threads:
            thread.start()
        try:
            self.timed_out = not self._over.wait(limit_s)
        finally:
            # The leader is not yet reaped, so its number is still ours: this can hit no stranger.
            kill_descendants(process.pid, mark)
            _kill_group(process.pid)
            self.code = process.wait()
            for thread in threads:
                thread.join(timeout=2.0)
            if not any(thread.is_alive() for thread in threads):  # else a stray grandchild still holds a pipe
                process.stdout.close()
                process.stderr.close()
        self.stdout = bytes(self._out)
        self.stderr = bytes(self._err).decode("utf-8", "replace").replace("\0", "").strip()

    def _read_out(self, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), READ):
            self._out += chunk
            if len(self._out) > self._most:
                self.too_much = True
                self._over.set()
                return

    def _read_err(self, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), READ):
            self._err = (self._err + chunk)[-STDERR_TAIL:]

    def _watch(self, pid: int) -> None:
        with contextlib.suppress(ChildProcessError):  # killed and reaped before we looked
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self._over.set()


def _feed(stream: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError):  # it did not want to read all of it; its exit code tells whether that was right
        stream.write(data)
    with contextlib.suppress(OSError):
        stream.close()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        os.killpg(pid, signal.SIGKILL)
