"""A real Shiftlead for tests: server, coordinators and workers as processes of their own, started and killed by pid."""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from shiftlead.config.settings import Settings
from shiftlead.queues.connect import Connections
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import NotFound, Unavailable
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Draft, Ticket
from tests.conftest import running_server

PATIENCE_S = 60.0  # how long a state is waited for before a test gives up; nothing is measured by it
TEAM_FILE = """
team: crew
agents:
  ann: {role: support, can: [work], capacity: 4, brain: "python:brains:work"}
  bob: {role: engineering, can: [fix], capacity: 2, brain: "python:brains:work"}
  eve: {role: decision-maker, can: [decision, approval], capacity: 1, brain: offline}
routes:
  - when: ticket.type == "fix"
    needs: [fix]
  - needs: [work]
"""
BRAINS = """
import os, time, pathlib
from shiftlead.agents.agent import HandOff, Resolved

HERE = pathlib.Path(__file__).parent

class LastWords:
    kind = "resolved"

def work(work):
    word = work.ticket.body.split()[0] if work.ticket.body else ""
    mark = HERE / f"{work.ticket.number}.runs"
    with mark.open("a") as runs:
        runs.write(f"{os.getpid()}\\n")
    first = len(mark.read_text().splitlines()) == 1
    if word == "die" or (word == "die_once" and first):
        os._exit(9)
    if word == "hang_once" and first:
        time.sleep(3600)
    if word == "slow":
        time.sleep(float(work.ticket.body.split()[1]))
    if word == "ask_bob" and not work.answers:
        return HandOff(to="bob", question="fix please")
    if word == "raise_once" and first:
        raise ValueError("the first try goes wrong")
    return Resolved(reply=f"done: {work.ticket.body[:40]}", summary="done")
"""

HEAVY = [  # what commands import when they run
    "rich.panel", "rich.table", "rich.tree", "shiftlead.coordinator.__main__", "shiftlead.coordinator.brief",
    "shiftlead.coordinator.cli.doors", "shiftlead.coordinator.cli.story", "shiftlead.coordinator.inbox",
    "shiftlead.coordinator.why", "shiftlead.queues.connect", "shiftlead.queues.track_record", "shiftlead.queues.views",
]  # fmt: skip


class Cluster:
    """One installation in a temporary folder. Lease 2 s, deadlines short, so faults show within seconds."""

    def __init__(self, folder: Path, address: str, *, team: str = "crew", **env: str) -> None:
        self.folder, self.team_name = folder, team
        (folder / "teams" / "crew").mkdir(parents=True, exist_ok=True)
        (folder / "teams" / "crew" / "team.yaml").write_text(TEAM_FILE)
        (folder / "teams" / "crew" / "brains.py").write_text(BRAINS)
        self.env = {
            "SHIFTLEAD_HOME": str(folder),
            "SHIFTLEAD_TEAMS": str(folder / "teams"),
            "SHIFTLEAD_TEAM": team,
            "SHIFTLEAD_REDIS_URL": address,
            "SHIFTLEAD_LEASE_S": "2",
            "SHIFTLEAD_CLAIM_DEADLINE_S": "2",
            "SHIFTLEAD_PRESENCE_TTL_S": "1",
            "SHIFTLEAD_LEADER_LEASE_S": "1.5",
            "SHIFTLEAD_SWEEP_S": "0.3",
            "SHIFTLEAD_SOCKET_TIMEOUT_S": "3",
            "SHIFTLEAD_GRACE_S": "3",
        } | env
        self.settings = Settings.model_validate({k[10:].lower(): v for k, v in self.env.items()})
        self.connections = Connections(self.settings)
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def desk(self) -> Desk:
        return self.connections.desk(self.team_name)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start `shiftlead COMMAND`; its output goes to a log in the folder."""
        log = (self.folder / f"{len(self.processes)}-{command[0]}.log").open("wb")
        argv = [sys.executable, "-m", "shiftlead.coordinator", *command, "--team", self.team_name]
        process = subprocess.Popen(
            argv,
            env=os.environ | self.env,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            start_new_session=True,
        )
        log.close()
        self.processes.append(process)
        return process

    def write_team(self, team_file: str, brains: str) -> None:
        """The files of the cluster's own team; before anything is started."""
        folder = self.folder / "teams" / self.team_name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "team.yaml").write_text(team_file)
        (folder / "brains.py").write_text(brains)

    def shiftlead(self, *arguments: str, code: int = 0, given: str | None = None) -> str:
        """What `shiftlead ARGUMENTS` says in a window of 100 columns: stdout where it ends with 0, else stderr."""
        env = clean_environment() | self.env | {"COLUMNS": "100"}
        ended, out, err = forked_command(arguments, env, self.folder, given)
        assert ended == code, f"{arguments}: {ended}\n{out}\n{err}\n{self.logs()}"
        assert "Traceback" not in err, err
        return err if code else out

    def call(self, key: str, path: str, body: Any) -> tuple[int, Any]:
        """POST to the HTTP door (`SHIFTLEAD_PORT` of this cluster): status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.env["SHIFTLEAD_PORT"]), timeout=20)
        try:
            connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def stop(self) -> None:
        """End every process group this test started."""
        for sig in (signal.SIGCONT, signal.SIGTERM):
            for process in self.processes:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, sig)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(6)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
        self.connections.close()

    def logs(self) -> str:
        return "\n".join(f"--- {p.name}\n{p.read_text()[-3000:]}" for p in sorted(self.folder.glob("*.log")))

    def wait_until(self, true: Callable[[], Any], *, seconds: float = PATIENCE_S, what: str = "") -> Any:
        """Poll a state; fails with the processes' logs when it does not come true in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # a server that is away is a state like another one: the tests take it away on purpose
            with contextlib.suppress(Unavailable, NotFound, redis.ConnectionError, redis.TimeoutError):
                if found := true():
                    return found
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {what or true}\n{self.logs()}")

    def coordinating(self) -> None:
        """Wait until somebody leads and an epoch is open."""
        client, key = self.connections.client, self.desk.keys.leader
        self.wait_until(lambda: client.get(key) and self.desk.store.epoch(), what="a leader and an open epoch")

    def present(self, *agents: str) -> None:
        """Wait until the agents' workers are there."""
        from shiftlead.queues.presence import Presence

        presence = Presence(self.connections.client, self.desk.keys, self.connections.clock, self.settings)
        self.wait_until(lambda: set(agents) <= set(presence.live()), what=f"workers of {agents}")

    def worker_pid(self, agent: str) -> int:
        """Pid of the process that works for `agent`; its parent only restarts it."""
        from shiftlead.queues.presence import Presence

        presence = Presence(self.connections.client, self.desk.keys, self.connections.clock, self.settings)
        pid: int = self.wait_until(lambda: [w.pid for w in presence.live().get(agent, [])])[0]
        return pid

    def accept(self, body: str, **fields: Any) -> Ticket:
        try:
            return self.desk.accept(Draft.model_validate({"body": body} | fields), actor="door:test").ticket
        except Unavailable as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error

    def ended(self, ticket: Ticket, *, seconds: float = PATIENCE_S) -> Ticket:
        """Wait until the ticket is completed."""

        def done() -> Ticket | None:
            found = self.desk.find(ticket.id)
            return None if found.is_open else found

        found: Ticket = self.wait_until(done, seconds=seconds, what=f"{ticket.number} completed")
        return found

    def in_state(self, ticket: Ticket, state: State, *, seconds: float = PATIENCE_S) -> Ticket:
        def there() -> Ticket | None:
            found = self.desk.find(ticket.id)
            return found if found.state is state else None

        found: Ticket = self.wait_until(there, seconds=seconds, what=f"{ticket.number} {state}")
        return found

    def runs(self, ticket: Ticket) -> list[int]:
        """Pids of the processes whose brain was given the ticket, in order."""
        mark = self.folder / "teams" / "crew" / f"{ticket.number}.runs"
        return [int(line) for line in mark.read_text().splitlines()] if mark.exists() else []

    def moves(self, ticket: Ticket) -> list[str]:
        return [line.move for line in self.desk.history(ticket.id)]


@contextlib.contextmanager
def running_cluster(folder: Path, *options: str, team: str = "crew", **env: str) -> Iterator[Cluster]:
    """A cluster with its server; nothing else runs yet."""
    with running_server(folder, *options) as address:
        cluster = Cluster(folder, address, team=team, **env)
        try:
            yield cluster
        finally:
            cluster.stop()


def forked_command(
    arguments: Sequence[str], env: dict[str, str], folder: Path, given: str | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command: a process of its own, forked from one that has imported all of it.

    A command takes a second to start from nothing and a tenth of one so; stories run dozens.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.cluster", *HEAVY])
    with tempfile.TemporaryDirectory(prefix="sl-") as there:
        streams = [Path(there) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(given or "")
        process = context.Process(target=_command, args=(tuple(arguments), env, folder, streams))
        process.start()
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join(5)
        return process.exitcode or 0, streams[1].read_text(), streams[2].read_text()


def _command(arguments: Sequence[str], env: dict[str, str], folder: Path, streams: Sequence[Path]) -> None:
    from shiftlead.coordinator.__main__ import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.argv = ["shiftlead", *arguments]
    main()


def clean_environment() -> dict[str, str]:
    """This environment without settings of ours, and without colours."""
    return {k: v for k, v in os.environ.items() if not k.startswith("SHIFTLEAD_")} | {"NO_COLOR": "1"}


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def processes_of(folder: Path) -> list[int]:
    """Pids of the living processes whose data folder is `folder` or in it, told by their environment (Linux)."""
    mark, found = f"SHIFTLEAD_HOME={folder}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            said = (entry / "environ").read_bytes().split(b"\0")
            if (
                any(e == mark or e.startswith(mark + b"/") for e in said)
                and "State:\tZ" not in (entry / "status").read_text()
            ):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]
