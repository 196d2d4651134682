"""Keep child processes running: start them in order, restart what dies, stop them in reverse.

A child is ours alone: it runs in a session of its own, so a Ctrl-C reaches this process first and the order of the
stop is kept; it gets SIGTERM when this process dies, however it dies; and a kill goes to its own process group before
its id is given back to the system, so it can never hit a stranger.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shiftlead.config.private import open_private, private_folder
from shiftlead.config.process import bound, free_port
from shiftlead.queues.errors import BadInput, ShiftleadError, Unavailable

from .embedded import EmbeddedServer, last_lines

__all__ = ["Proc", "StartFailed", "StartRefused", "Status", "Supervisor", "say_at_once"]

POLL_S = 0.05
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 10.0
STEADY_S = 10.0  # a process that lived this long starts again at once when it dies
LARGEST_LOG = 5_000_000  # bytes; a larger log is set aside as <name>.log.1 when its process starts


class StartFailed(Unavailable):
    """A process did not come up. What had been started is stopped again."""


class StartRefused(StartFailed):
    """It did not come up because of what it was given, as a brain that cannot be loaded. Again would not help."""

    exit_code = BadInput.exit_code


@dataclass(frozen=True)
class Proc:
    """One process to keep running. `ready` says whether it does its work; None = as soon as it lives."""

    name: str
    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)  # added to this process's own
    ready: Callable[[], bool] | None = None
    restart: bool = True
    stage: int = 0  # the processes of a stage start together, when those of the one before are ready
    ready_s: float = 45.0  # seconds it has to become ready
    port: tuple[str, int, str] | None = None  # host, port and the setting that changes it: must be free, then answer
    server: EmbeddedServer | None = None  # runs the embedded server instead of argv
    team: str = ""
    agent: str = ""


@dataclass(frozen=True)
class Status:
    """How one process is. `state`: starting, ready, waiting (to be started again), ended."""

    name: str
    state: str
    pid: int | None
    restarts: int


@dataclass
class _Child:
    proc: Proc
    process: subprocess.Popen[bytes] | None = None
    state: str = "ended"
    since: float = 0.0  # monotonic
    due: float = 0.0  # monotonic: when to start again
    failures: int = 0  # deaths in a row
    restarts: int = 0


def say_at_once(text: str) -> None:
    """Print a line now: whoever reads a pipe must not wait for the end."""
    print(text, flush=True)


class Supervisor:
    """Runs `processes`. `start`, `watch` and `stop` belong to one thread, which must live as long as the children.

    `say` gets one line per event. `on_death(proc, pid, returncode)` hears of every death nobody asked for.
    """

    def __init__(
        self,
        processes: Sequence[Proc],
        *,
        logs: Path,
        on_death: Callable[[Proc, int, int], None] | None = None,
        say: Callable[[str], None] = say_at_once,
        grace_s: float = 15.0,
    ) -> None:
        self.logs, self.on_death, self.say, self.grace_s = logs, on_death, say, grace_s
        self._children = [_Child(p) for p in sorted(processes, key=lambda p: p.stage)]
        self._asked = threading.Event()
        self._hurry = threading.Event()

    def start(self) -> None:
        """Start everything, stage by stage, and return when all of it is ready.

        Raises:
            StartFailed: a process ended or was not ready in time; its last log lines are in the message.
            DataFolderInUse: the embedded server's data folder is taken.
        """
        private_folder(self.logs)
        try:
            for child in self._children:  # a taken port is found before anything is started
                _check_port(child.proc)
            for stage in sorted({c.proc.stage for c in self._children}):
                together = [c for c in self._children if c.proc.stage == stage]
                for child in together:
                    _check_port(child.proc)
                    self._spawn(child)
                self._await_ready(together)
        except BaseException:
            self.stop()
            raise

    def watch(self) -> None:
        """Restart what dies, until `request_stop`."""
        while not self._asked.wait(POLL_S):
            for child in self._children:
                self._look_after(child)

    def request_stop(self) -> None:
        """End `watch`, or a start under way. A second request ends the patience of a stop. Safe in a signal handler."""
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether a stop was requested."""
        return self._asked.is_set()

    def stop(self) -> None:
        """Stop everything, last stage first: SIGTERM, and SIGKILL for what is left after the grace time."""
        for stage in sorted({c.proc.stage for c in self._children}, reverse=True):
            together = [c for c in self._children if c.proc.stage == stage and c.process is not None]
            for child in together:
                if not self._over(child):
                    _signal(child, signal.SIGTERM)
            deadline = time.monotonic() + self.grace_s
            while any(not self._over(c) for c in together):
                if time.monotonic() > deadline or self._hurry.is_set():
                    break
                time.sleep(0.01)
            for child in together:
                self._bury(child)
        for child in self._children:
            child.state = "ended"
            if child.proc.server is not None:
                child.proc.server.release()

    def status(self) -> list[Status]:
        """How each process is, in the order of their start."""
        return [Status(c.proc.name, c.state, c.process.pid if c.process else None, c.restarts) for c in self._children]

    # -- one child ----------------------------------------------------------------------------------------------

    def _spawn(self, child: _Child) -> None:
        proc = child.proc
        path = self._log(proc)
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_name(path.name + ".1"))
        argv, umask = list(proc.argv), -1
        if proc.server is not None:
            argv, umask = proc.server.prepare(), 0o077
        fds = proc.server.pass_fds if proc.server is not None else ()
        with open_private(path) as log:
            child.process = subprocess.Popen(
                bound(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **proc.env},
                start_new_session=True, pass_fds=fds, umask=umask,
            )  # fmt: skip
        if proc.server is not None:
            proc.server.note_server(child.process.pid)
        child.state, child.since = "starting", time.monotonic()

    def _await_ready(self, children: list[_Child]) -> None:
        while waiting := [c for c in children if c.state != "ready"]:
            for child in waiting:
                proc, process = child.proc, child.process
                assert process is not None
                if self._over(child):
                    code = self._bury(child)
                    if code == BadInput.exit_code and proc.server is None:
                        raise StartRefused(f"{proc.name} cannot start: {_last_message(self._log(proc))}")
                    self._fail(proc, f"ended with {_meaning(code)} while starting")
                elif self._is_ready(child):
                    self._tell(child)
                elif time.monotonic() - child.since > proc.ready_s:
                    self._fail(proc, f"was not ready within {proc.ready_s:g} s")
            if self._asked.is_set():
                raise StartFailed("Stopped while starting, as asked.")
            time.sleep(0.02)

    def _look_after(self, child: _Child) -> None:
        if child.process is not None and self._over(child):
            pid, lived = child.process.pid, time.monotonic() - child.since
            code = self._bury(child)
            # Bad input, before it was ready: the same would happen again. One that was ready has merely died.
            refused = code == BadInput.exit_code and child.state == "starting" and child.proc.server is None
            restart = child.proc.restart and not refused
            child.failures = 0 if lived > STEADY_S else child.failures + 1
            pause = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(child.failures, 10)) if child.failures else 0.0
            child.state, child.due = ("waiting" if restart else "ended"), time.monotonic() + pause
            then = f"starts again in {pause:.1f} s" if restart else "stays away"
            if refused:
                self.say(
                    f"{child.proc.name} cannot start and is not started again until the next `up`; everything else "
                    f"goes on. {_last_message(self._log(child.proc))}"
                )
            self.say(f"{child.proc.name} (pid {pid}) died with {_meaning(code)}, {then}. Log: {self._log(child.proc)}")
            self._report(child.proc, pid, code)
        if child.state == "waiting" and time.monotonic() >= child.due:
            child.restarts += 1
            try:
                self._spawn(child)
            except (OSError, ShiftleadError) as error:
                child.failures += 1
                child.due = time.monotonic() + LONGEST_BACKOFF_S
                self.say(f"{child.proc.name} cannot be started: {error}")
        elif child.state == "starting" and self._is_ready(child):
            self._tell(child)

    def _is_ready(self, child: _Child) -> bool:
        proc = child.proc
        if proc.port is not None and not _listens(proc.port[0], proc.port[1]):
            return False
        return proc.ready is None or proc.ready()

    def _tell(self, child: _Child) -> None:
        assert child.process is not None
        child.state = "ready"
        after = time.monotonic() - child.since
        self.say(f"{child.proc.name:<24} ready  pid {child.process.pid:<7} {after:5.1f} s")

    def _report(self, proc: Proc, pid: int, code: int) -> None:
        if self.on_death is None:
            return
        try:
            self.on_death(proc, pid, code)
        except Exception as error:  # a listener's trouble must not end the watch over the others
            self.say(f"the death of {proc.name} could not be reported: {error}")

    def _fail(self, proc: Proc, what: str) -> None:
        log = self._log(proc)
        raise StartFailed(f"{proc.name} {what}. Its log, {log}, ends:\n{last_lines(log)}")

    def _over(self, child: _Child) -> bool:
        """Whether it has ended. It is left unreaped where possible, so that its id stays its own until `_bury`."""
        process = child.process
        if process is None or process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):
            return process.poll() is not None
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return process.poll() is not None

    def _bury(self, child: _Child) -> int:
        """Kill what is left of its group, a brain's program for example, and take its exit code."""
        process, child.process = child.process, None
        assert process is not None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def _log(self, proc: Proc) -> Path:
        return self.logs / f"{proc.name}.log"


def _signal(child: _Child, number: int) -> None:
    assert child.process is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.process.pid, number)


def _check_port(proc: Proc) -> None:
    if proc.port is not None and not free_port(proc.port[0], proc.port[1]):
        host, port, setting = proc.port
        raise StartFailed(
            f"{proc.name} needs {host}:{port}, and another program listens there. Stop that one, or set {setting} to a "
            "free port."
        )


def _last_message(log: Path) -> str:
    """What a process said last went wrong, in its own words; the end of its log where it said nothing of the kind."""
    lines = [line.removeprefix("  ") for line in last_lines(log, 40).splitlines()]
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith("✘ "):
            return "\n".join([lines[index].removeprefix("✘ "), *lines[index + 1 :]])
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(lines[index])
            if said.get("level") in ("error", "critical"):
                return str(said["event"])
    return f"Its log, {log}, ends:\n{last_lines(log)}"


def _listens(host: str, port: int) -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here, only asked
    try:
        socket.create_connection((reachable, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _meaning(code: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"signal {-code}"
