"""`shiftlead up`: everything one installation needs, in the right order, on one data folder at a time.

<data>/up.pid is locked by the running `up` for as long as it lives, so its process id can be trusted while the lock is
held and is nobody's when it is not. Children are told their settings through the environment, so they mean the same
data folder whoever started them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import redis

from shiftlead.config.private import open_private, private_folder
from shiftlead.config.redis_client import make_client, server_time
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.errors import BadInput, Unavailable
from shiftlead.queues.keys import Keys

from .children import Proc, StartFailed, StartRefused, Status, Supervisor, say_at_once
from .embedded import DataFolderInUse, EmbeddedServer, last_lines
from .hints import called

__all__ = [
    "Proc", "StartFailed", "StartRefused", "Status", "Supervisor", "environment", "processes_for", "refuse_second",
    "running", "running_teams", "start_detached", "stop_running", "up",
]  # fmt: skip

# -P: the folder `up` is called in stays off the import path, as it does for the console script
COMMAND = [sys.executable, "-P", "-m", "shiftlead.coordinator"]


def up(
    settings: Settings,
    teams: Sequence[Team],
    *,
    web: bool = True,
    flower: bool = True,
    on_ready: Callable[[Supervisor], None] | None = None,
    on_death: Callable[[Proc, int, int], None] | None = None,
    say: Callable[[str], None] = say_at_once,
) -> int:
    """Start everything and keep it running until SIGTERM, SIGINT or SIGHUP. Returns 0.

    Signals are caught when this is the main thread; a second one ends the patience of the stop.

    Raises:
        DataFolderInUse: another `up` runs on this data folder (exit code 5).
        StartFailed: something did not come up (exit code 5). Everything else is stopped again.
    """
    with _UpLock(settings, [team.team for team in teams]) as lock:
        processes = processes_for(settings, teams, web=web, flower=flower)
        supervisor = Supervisor(processes, logs=settings.data / "logs", on_death=on_death, say=say)
        with _signals(supervisor):
            try:
                supervisor.start()
            except StartFailed:
                if supervisor.asked:  # to stop, while it was starting: that is no failure
                    return 0
                raise
            try:
                lock.note(ready=True)
                if on_ready is not None:
                    on_ready(supervisor)
                supervisor.watch()
            finally:
                lock.note(ready=False)
                supervisor.stop()
    return 0


def processes_for(settings: Settings, teams: Sequence[Team], *, web: bool = True, flower: bool = True) -> list[Proc]:
    """What has to run for these teams: server, coordinators, a worker per agent, intake, HTTP door, Flower.

    A person and an agent from outside pull their tickets themselves and get no worker.
    """
    env = environment(settings)
    everyone = ",".join(t.team for t in teams)

    def ours(name: str, *arguments: str, stage: int, team: str = everyone, **more: Any) -> Proc:
        one = teams[0].team if team == everyone else team
        return Proc(name, [*COMMAND, *arguments, "--team", team], env, stage=stage, team=one, **more)

    found: list[Proc] = []
    if not settings.redis_url:
        server = EmbeddedServer(settings)
        # a large append-only file takes its time; a server that cannot load it ends by itself
        found.append(Proc("redis", env=env, ready=server.ready, ready_s=600.0, server=server))
    for team in teams:
        name, mark = team.team, f"-{team.team}" if len(teams) > 1 else ""
        found.append(ours(f"coordinator{mark}", "coordinator", stage=1, team=name, ready=_coordinates(settings, name)))
        for agent, spec in team.agents.items():
            if not spec.human and spec.brain != "outside":
                ready = _present(settings, name, agent)
                worker = ours(
                    f"worker{mark}-{agent}", "worker", "--agent", agent, stage=2, team=name, agent=agent, ready=ready
                )
                found.append(worker)
    found.append(ours("intake", "intake", stage=2))
    if web:
        found.append(ours("web", "web", stage=2, port=(settings.host, settings.port, "SHIFTLEAD_PORT")))
    if flower:
        door = (settings.host, settings.flower_port, "SHIFTLEAD_FLOWER_PORT")
        found.append(ours("flower", "flower", stage=2, port=door))
    return found


def environment(settings: Settings) -> dict[str, str]:
    """The settings that differ from their defaults, as the environment a child reads them from."""
    found: dict[str, str] = {}
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if value is None:
            continue
        text = ":".join(str(v) for v in value) if isinstance(value, list) else str(value)
        found[f"SHIFTLEAD_{name.upper()}"] = text
    found["SHIFTLEAD_HOME"] = str(settings.data)
    return found


def running(settings: Settings) -> int | None:
    """The process id of the `up` on this data folder, None when there is none."""
    return _UpLock(settings).holder()


def refuse_second(settings: Settings) -> None:
    """Say at once when an `up` runs already.

    Raises:
        DataFolderInUse: names its process and its teams.
    """
    lock = _UpLock(settings)
    if lock.holder() is not None:
        raise _taken(settings, lock.read())


def running_teams(settings: Settings) -> list[str]:
    """The teams of the `up` on this data folder; empty when there is none."""
    lock = _UpLock(settings)
    if lock.holder() is None:
        return []
    return [str(team) for team in lock.read().get("teams", [])]


def stop_running(settings: Settings, *, timeout_s: float = 60.0) -> int | None:
    """Stop the `up` on this data folder and wait until it is gone. Returns its process id, None when none ran.

    Raises:
        Unavailable: it is still there after `timeout_s`.
    """
    lock = _UpLock(settings)
    pid = lock.holder()
    if pid is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while lock.holder() == pid:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Shiftlead (process {pid}) has not stopped within {timeout_s:g} s: it finishes work first. Ask again."
            )
        time.sleep(0.02)
    return pid


def start_detached(settings: Settings, argv: Sequence[str] = (*COMMAND, "up"), *, timeout_s: float = 120.0) -> int:
    """Start `argv` (an `up`) in the background and return its process id when everything is ready.

    Raises:
        DataFolderInUse: one runs already.
        StartFailed: it ended or was not ready in time; the last lines of <data>/logs/up.log say why.
    """
    refuse_second(settings)
    lock = _UpLock(settings)
    log = settings.data / "logs" / "up.log"
    private_folder(settings.data)
    private_folder(log.parent)
    with open_private(log, empty=True) as out:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **environment(settings)},
            start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + timeout_s
    while lock.holder() is None or not lock.read().get("ready"):
        code = process.poll()
        if code == BadInput.exit_code:
            said = last_lines(log, 20).rpartition("  ✘ ")
            raise StartRefused(said[2] if said[1] else f"Shiftlead refused to start. {log} ends:\n{said[2]}")
        if code is not None:
            raise StartFailed(f"Shiftlead ended with {code} while starting. {log} ends:\n{last_lines(log, 20)}")
        if time.monotonic() > deadline:
            process.terminate()
            process.wait()
            raise StartFailed(f"Shiftlead was not ready within {timeout_s:g} s. {log} ends:\n{last_lines(log, 20)}")
        time.sleep(0.02)
    process.returncode = 0  # it outlives us on purpose: subprocess need not warn that nobody waits for it
    return process.pid


class _UpLock:
    """<data>/up.pid: one `up` per data folder."""

    def __init__(self, settings: Settings, teams: Sequence[str] = ()) -> None:
        self.settings, self.teams = settings, list(teams)
        self.path = settings.data / "up.pid"
        self._file: int | None = None

    def __enter__(self) -> _UpLock:
        private_folder(self.path.parent)
        number = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + 0.3  # somebody may be looking whether it is taken, which takes a moment
        while True:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(number)
                    raise _taken(self.settings, self.read()) from None
                time.sleep(0.01)
        self._file = number
        self.note(ready=False)
        return self

    def __exit__(self, *_: object) -> None:
        number, self._file = self._file, None
        assert number is not None
        os.ftruncate(number, 0)
        os.close(number)

    def note(self, *, ready: bool) -> None:
        assert self._file is not None
        text = json.dumps({"pid": os.getpid(), "ready": ready, "teams": self.teams})
        # one write of one length: a reader sees the old text or the new one
        os.pwrite(self._file, text.ljust(64 + len(json.dumps(self.teams))).encode(), 0)

    def read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self.path.read_text()))
        return {}

    def holder(self) -> int | None:
        """Who has the lock."""
        try:
            number = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = self.read().get("pid")
            return int(pid) if pid is not None else None
        finally:
            os.close(number)
        return None


def _taken(settings: Settings, said: dict[str, Any]) -> DataFolderInUse:
    pid, teams = said.get("pid"), ", ".join(said.get("teams", []))
    return DataFolderInUse(
        f"Shiftlead is up already on {settings.data} (process {pid or 'unknown'})"
        f"{', for ' + teams if teams else ''}. Stop it with `{called(settings, 'down', team=False)}`, or name another "
        "folder with --home.",
        pid,
    )


@contextlib.contextmanager
def _signals(supervisor: Supervisor) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP ask for a stop, where Python lets us hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        supervisor.request_stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _coordinates(settings: Settings, team: str) -> Callable[[], bool]:
    """The team's queues are valid and somebody coordinates them."""
    keys = Keys(team)

    def ready() -> bool:
        with make_client(settings.redis_address, settings) as client, contextlib.suppress(redis.RedisError):
            return bool(client.hexists(keys.meta, "epoch")) and bool(client.exists(keys.leader))
        return False

    return ready


def _present(settings: Settings, team: str, agent: str) -> Callable[[], bool]:
    """A worker of the agent has beaten lately."""
    keys = Keys(team)

    def ready() -> bool:
        with make_client(settings.redis_address, settings) as client, contextlib.suppress(redis.RedisError):
            live = client.zrangebyscore(keys.presence, server_time(client), "+inf")
            return any(str(member).startswith(f"{agent}|") for member in live)
        return False

    return ready
