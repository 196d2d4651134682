"""Child processes that never outlive their parent.

`bound(argv)` puts this very file before a command. It runs as a program of its own, asks the kernel for a signal at
the parent's death (Linux), and becomes the command: the process id stays the same. Where the kernel has no such
signal it stays, watches its parent and passes signals on. A `preexec_fn` would do the same with less, but runs
Python between fork and exec, which can hang when the parent has threads.

The signal comes when the *thread* that started the child ends, so children are started from a thread that lives as
long as they shall.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

__all__ = ["alive", "bound", "free_port"]

WATCH_S = 0.5
PR_SET_PDEATHSIG = 1


def bound(argv: list[str], *, watch: bool = False) -> list[str]:
    """The command that runs `argv` as a child of this process and ends it with SIGTERM when this process dies.

    `watch` asks for the portable way, where a small process stays in between.
    """
    how = "watch" if watch or not sys.platform.startswith("linux") else "signal"
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), how, str(os.getpid()), *argv]  # noqa: PTH100


def alive(pid: int) -> bool:
    """Whether there is a process of that id, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def free_port(host: str, port: int) -> bool:
    """Whether one could listen there now."""
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError:
            return False
    return True


def _ask_the_kernel() -> None:
    """SIGTERM for this process at its parent's death. It survives exec."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _watch(parent: int, argv: list[str]) -> int:
    """Run `argv`, pass signals on, end it when the parent is gone. Returns its exit code."""
    import subprocess

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    # Held back until there is a child to pass them on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    with subprocess.Popen(argv, close_fds=False, preexec_fn=_hear_signals) as child:
        for number in numbers:
            signal.signal(number, lambda n, _: child.send_signal(n))
        _hear_signals()
        told = False
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(WATCH_S)
                return code if code >= 0 else 128 - code
            if not told and os.getppid() != parent:
                child.terminate()
                told = True


def _hear_signals() -> None:
    """The child must not inherit that they are held back. This program has no threads, so a preexec_fn is safe."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def _main() -> int:
    how, parent, *argv = sys.argv[1:]
    if how == "watch":
        return _watch(int(parent), argv)
    _ask_the_kernel()
    if os.getppid() != int(parent):  # it died before the kernel was asked
        return 128 + signal.SIGTERM
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the command is the supervisor's own
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        return 127


if __name__ == "__main__":
    sys.exit(_main())
