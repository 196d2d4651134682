"""End what a program started, also what went into a session of its own or outlived its parent. Linux only: /proc tells.

A process is the program's if its parent is, or if it has the run's mark in its environment, which children inherit.
Each is stopped before we look again, so it can start no more meanwhile, and is held by a pidfd, so that a number given
to somebody else in between is not hit. A program that clears its environment AND leaves its parent hides on purpose:
against that only a container helps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

__all__ = ["MARK", "kill_descendants"]

MARK = "SHIFTLEAD_RUN"  # the environment variable whose value is different for every run
ROUNDS = 50  # a program that starts others faster than we stop them must not keep us for ever


def kill_descendants(pid: int, mark: str) -> int:
    """Kill what `pid`, a child of ours that was not waited for yet, started with `mark`. Returns how many.

    The child itself is only stopped. Elsewhere than on Linux nothing is done: its process group has to do.
    """
    if not sys.platform.startswith("linux"):
        return 0
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
    held: dict[int, int] = {}  # process -> pidfd
    wanted = f"{MARK}={mark}".encode()
    try:
        for _ in range(ROUNDS):
            if not _hold_more(pid, wanted, held):
                break
        for number in held.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(number, signal.SIGKILL)
    finally:
        for number in held.values():
            os.close(number)
    return len(held)


def _hold_more(leader: int, wanted: bytes, held: dict[int, int]) -> bool:
    """Stop those that are not stopped yet; whether there were any."""
    found = False
    for entry in Path("/proc").iterdir():
        pid = int(entry.name) if entry.name.isdigit() else 0
        if pid in (0, leader, os.getpid()) or pid in held or not _is_ours(pid, wanted, {leader, *held}):
            continue
        with contextlib.suppress(OSError):
            number = os.pidfd_open(pid)
            if _is_ours(pid, wanted, {leader, *held}):  # asked again once it is held: it is this one and no later one
                held[pid], found = number, True
                signal.pidfd_send_signal(number, signal.SIGSTOP)
            else:
                os.close(number)
    return found


def _is_ours(pid: int, wanted: bytes, family: set[int]) -> bool:
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        if state in "ZX":
            return False
        return int(parent) in family or wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, ValueError):  # it has gone, or it is somebody else's
        return False
