"""`shiftlead up`: in order, kept alive, stopped in reverse, once per data folder, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.coordinator import children
from shiftlead.coordinator.children import Proc, StartFailed, Supervisor
from shiftlead.coordinator.embedded import DataFolderInUse, EmbeddedServer
from shiftlead.coordinator.supervisor import environment, processes_for, running, start_detached, stop_running

pytestmark = pytest.mark.real

# A small process: writes that it is up, and that it was asked to stop.
LIVES = 'trap \'echo "stop $0" >> "$1"; exit 0\' TERM; echo "up $0" >> "$1"; while :; do sleep 0.02; done'

UP = """
import sys
from pathlib import Path
from shiftlead.config.settings import Settings
from shiftlead.coordinator import supervisor
from shiftlead.coordinator.children import Proc
settings, story = Settings(home=sys.argv[1]), sys.argv[2]
supervisor.processes_for = lambda *_, **__: [
    Proc("one", ["sh", "-c", sys.argv[3], "one", story], ready=lambda: "up one" in Path(story).read_text())
]
sys.exit(supervisor.up(settings, []))
"""


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story"
    path.touch()
    return path


def lives(name: str, story: Path, **more: Any) -> Proc:
    return Proc(name, ["sh", "-c", LIVES, name, str(story)], ready=lambda: f"up {name}" in story.read_text(), **more)


@contextlib.contextmanager
def watched(supervisor: Supervisor) -> Iterator[Supervisor]:
    """Start, watch and stop in one thread, as `up` does."""
    ready, trouble = threading.Event(), []

    def run() -> None:
        try:
            supervisor.start()
            ready.set()
            supervisor.watch()
        except BaseException as error:
            trouble.append(error)
            ready.set()
        finally:
            supervisor.stop()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(20)
        assert not trouble, trouble
        yield supervisor
    finally:
        supervisor.request_stop()
        thread.join(20)
    assert not thread.is_alive()


def eventually(true: Callable[[], bool], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_processes_start_in_order_and_stop_in_reverse(tmp_path: Path, story: Path) -> None:
    """I19: everybody is asked to stop and may finish; who serves the others goes last."""
    said: list[str] = []
    # given out of order: the stage counts
    processes = [lives("agents", story, stage=2), lives("server", story), lives("coordinator", story, stage=1)]
    with watched(Supervisor(processes, logs=tmp_path / "logs", say=said.append)) as supervisor:
        assert [(s.name, s.state) for s in supervisor.status()] == [
            ("server", "ready"), ("coordinator", "ready"), ("agents", "ready"),
        ]  # fmt: skip

    assert story.read_text().split("\n")[:-1] == [
        "up server", "up coordinator", "up agents", "stop agents", "stop coordinator", "stop server",
    ]  # fmt: skip
    assert [line.split()[:2] for line in said] == [["server", "ready"], ["coordinator", "ready"], ["agents", "ready"]]


def test_what_dies_is_reported_and_started_again(tmp_path: Path, story: Path) -> None:
    """I5: the death of a worker is told at once, with the id it had."""
    deaths: list[tuple[str, int, int]] = []
    supervisor = Supervisor(
        [lives("worker", story, agent="iris_support")],
        logs=tmp_path / "logs",
        on_death=lambda proc, pid, code: deaths.append((proc.agent, pid, code)),
        say=lambda _: None,
    )
    with watched(supervisor):
        first = supervisor.status()[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        eventually(lambda: supervisor.status()[0].restarts == 1 and supervisor.status()[0].state == "ready")
        assert supervisor.status()[0].pid != first
        assert deaths == [("iris_support", first, -signal.SIGKILL)]


def test_a_process_that_keeps_dying_is_given_more_and_more_time(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor([Proc("flaky", ["sh", "-c", "sleep 0.05; exit 3"])], logs=tmp_path, say=said.append)
    with watched(supervisor):
        eventually(lambda: sum("died" in line for line in said) >= 3)

    pauses = [float(line.split("starts again in ")[1].split()[0]) for line in said if "died" in line]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert "exit code 3" in next(line for line in said if "died" in line)


def test_a_listener_that_fails_does_not_end_the_watch(tmp_path: Path, story: Path) -> None:
    said: list[str] = []

    def fails(*_: object) -> None:
        raise RuntimeError("no connection")

    supervisor = Supervisor([lives("worker", story)], logs=tmp_path, on_death=fails, say=said.append)
    with watched(supervisor):
        os.kill(supervisor.status()[0].pid or 0, signal.SIGKILL)
        eventually(lambda: supervisor.status()[0].restarts == 1)
    assert any("could not be reported: no connection" in line for line in said)


def test_a_process_that_ends_while_starting_stops_the_others_and_shows_its_log(tmp_path: Path, story: Path) -> None:
    bad = Proc("web", ["sh", "-c", "echo the certificate is missing >&2; exit 4"], ready=lambda: False, stage=1)
    supervisor = Supervisor([lives("server", story), bad], logs=tmp_path / "logs", say=lambda _: None)

    with pytest.raises(StartFailed, match=r"web ended with exit code 4(.|\n)*the certificate is missing") as failure:
        supervisor.start()
    assert failure.value.exit_code == 5
    assert story.read_text().split("\n")[:-1] == ["up server", "stop server"]


def test_a_process_that_is_not_ready_in_time_is_named(tmp_path: Path) -> None:
    slow = Proc("slow", ["sleep", "60"], ready=lambda: False, ready_s=0.2)
    supervisor = Supervisor([slow], logs=tmp_path, say=lambda _: None)
    with pytest.raises(StartFailed, match=r"slow was not ready within 0\.2 s"):
        supervisor.start()
    assert supervisor.status()[0].pid is None


def test_a_port_that_is_taken_is_found_before_anything_waits_for_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        web = Proc("web", ["sleep", "60"], port=("127.0.0.1", port, "SHIFTLEAD_PORT"))
        with pytest.raises(StartFailed, match=rf"127\.0\.0\.1:{port}.*SHIFTLEAD_PORT"):
            Supervisor([web], logs=tmp_path, say=lambda _: None).start()


def test_who_ignores_the_request_to_stop_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f'trap "" TERM; sleep 60 & echo $$ $! > "{pids}.new"; mv "{pids}.new" "{pids}"; while :; do sleep 60; done'
    supervisor = Supervisor(
        [Proc("deaf", ["sh", "-c", script], ready=pids.exists)], logs=tmp_path, say=lambda _: None, grace_s=0.1
    )
    with watched(supervisor):
        leader, helper = (int(p) for p in pids.read_text().split())
    eventually(lambda: gone(leader) and gone(helper))


def test_a_large_log_is_set_aside_when_its_process_starts(
    tmp_path: Path, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "LARGEST_LOG", 10)
    (tmp_path / "one.log").write_text("more than ten bytes")
    with watched(Supervisor([lives("one", story)], logs=tmp_path, say=lambda _: None)):
        assert (tmp_path / "one.log.1").read_text() == "more than ten bytes"
        assert (tmp_path / "one.log").read_text() == ""


def test_the_embedded_server_is_kept_alive_like_any_other_process(tmp_path: Path) -> None:
    """I1, I8: a killed server is back with its data, under the same lock."""
    settings = Settings(home=tmp_path / "home")
    server = EmbeddedServer(settings)
    proc = Proc("redis", ready=server.ready, server=server)
    with watched(Supervisor([proc], logs=settings.data / "logs", say=lambda _: None)) as supervisor:
        with make_client(settings.redis_address, settings) as client:
            client.set("ticket", "T-2026-001")
        os.kill(supervisor.status()[0].pid or 0, signal.SIGKILL)
        eventually(lambda: supervisor.status()[0].restarts == 1 and supervisor.status()[0].state == "ready")
        with make_client(settings.redis_address, settings) as client:
            assert client.get("ticket") == "T-2026-001"
        with pytest.raises(DataFolderInUse):
            EmbeddedServer(settings).start()
    with EmbeddedServer(settings):
        pass


def test_a_team_gets_a_worker_for_each_agent_that_is_a_program(tmp_path: Path) -> None:
    def agent(brain: str = "offline", human: bool = False) -> SimpleNamespace:
        return SimpleNamespace(brain=brain, human=human)

    agents = {"iris_support": agent(), "felix_ceo": agent(human=True), "visitor": agent("outside")}
    office: Any = SimpleNamespace(team="front_office", agents=agents)
    settings = Settings(home=tmp_path, port=8200)

    found = processes_for(settings, [office])

    assert [(p.name, p.stage) for p in found] == [
        ("redis", 0), ("coordinator", 1), ("worker-iris_support", 2), ("intake", 2), ("web", 2), ("flower", 2),
    ]  # fmt: skip
    worker = found[2]
    expected = ["-P", "-m", "shiftlead.coordinator", "worker", "--agent", "iris_support", "--team", "front_office"]
    assert list(worker.argv[1:]) == expected
    assert (worker.team, worker.agent) == ("front_office", "iris_support")
    assert worker.env == {"SHIFTLEAD_HOME": str(tmp_path), "SHIFTLEAD_PORT": "8200"}
    assert worker.ready is not None
    assert not worker.ready()  # no server: not ready, and no error

    elsewhere = Settings(home=tmp_path, redis_url="redis://localhost:1/0")
    names = [p.name for p in processes_for(elsewhere, [office, office], web=False, flower=False)]
    assert names[:2] == ["coordinator-front_office", "worker-front_office-iris_support"]
    assert "redis" not in names


def test_the_doors_of_several_teams_serve_them_all(tmp_path: Path) -> None:
    """EN-01: `up --team att,oth` takes tickets for both."""
    teams: Any = [SimpleNamespace(team=name, agents={}) for name in ("att", "oth")]
    found = {p.name: list(p.argv)[-2:] for p in processes_for(Settings(home=tmp_path), teams) if p.argv}
    assert [found[name] for name in ("intake", "web", "flower")] == [["--team", "att,oth"]] * 3
    assert found["coordinator-oth"] == ["--team", "oth"]


def test_children_read_the_settings_of_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        home=tmp_path, teams=[Path("a"), Path("b c")], insecure_redis=True, lease_s=2.5, overlay=tmp_path / "o.yaml"
    )
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_up_runs_once_per_data_folder_and_down_stops_it(tmp_path: Path, story: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    argv = [sys.executable, "-c", UP, str(settings.home), str(story), LIVES]
    assert running(settings) is None
    assert stop_running(settings) is None

    pid = start_detached(settings, argv)
    try:
        assert running(settings) == pid
        assert "up one" in story.read_text()
        with pytest.raises(DataFolderInUse, match=rf"process {pid}\)"):
            start_detached(settings, argv)
        second = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert second.returncode != 0
        assert f"up already on {settings.data} (process {pid})" in second.stderr

        assert stop_running(settings) == pid
        assert running(settings) is None
        assert story.read_text().split("\n")[:-1] == ["up one", "stop one"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_detached_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(StartFailed, match=r"ended with 6 while starting(.|\n)*no such team"):
        start_detached(settings, ["sh", "-c", "echo no such team; exit 6"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path, story: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    argv = [sys.executable, "-c", UP, str(settings.home), str(story), LIVES]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split("pid ")[1].split()[0])
        process.kill()
    eventually(lambda: gone(child))
    assert "stop one" in story.read_text()
    assert running(settings) is None
