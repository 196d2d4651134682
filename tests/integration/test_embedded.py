"""The embedded server: ours alone, on one data folder at a time, gone with its parent, and it forgets nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shiftlead.config.process import bound
from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.coordinator import embedded
from shiftlead.coordinator.embedded import DataFolderInUse, EmbeddedServer, NoRedis, find_binary, wait_for_redis

pytestmark = pytest.mark.real

PARENT = """
import sys, time
from shiftlead.config.settings import Settings
from shiftlead.coordinator.embedded import EmbeddedServer
server = EmbeddedServer(Settings(home=sys.argv[1]), bind_to_parent=sys.argv[2] == "bound")
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "data folder", socket_timeout_s=1.0)


@contextlib.contextmanager
def a_server_whose_parent_is_killed(settings: Settings, how: str) -> Iterator[int]:
    """Another process starts the server and is killed with -9. The server's id; it is ended afterwards."""
    argv = [sys.executable, "-c", PARENT, str(settings.home), how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        put(settings, "before", "kept")
        parent.kill()
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def put(settings: Settings, key: str, value: str) -> None:
    with make_client(settings.redis_address, settings) as client:
        client.set(key, value)


def got(settings: Settings, key: str) -> str | None:
    with make_client(settings.redis_address, settings) as client:
        return client.get(key)


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has taken its exit code yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def eventually(true: Callable[[], bool], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_the_server_listens_on_a_private_socket_and_keeps_every_write_on_disk(settings: Settings) -> None:
    """Security: Unix socket, mode 0600, no TCP port. I1: append-only file, nothing evicted."""
    with EmbeddedServer(settings), make_client(settings.redis_address, settings) as client:
        config = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy", "save")
        mode = settings.socket_path.stat().st_mode
        folders = [settings.data, settings.data / "redis", settings.data / "logs"]

        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert [stat.S_IMODE(f.stat().st_mode) for f in folders] == [0o700] * 3
    assert config == {
        "port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": "",
    }  # fmt: skip
    assert not settings.socket_path.exists()


def test_a_killed_server_comes_back_with_its_data_on_a_stale_socket(settings: Settings) -> None:
    """I1: `kill -9` of the server loses nothing that was acknowledged."""
    server = EmbeddedServer(settings)
    server.start()
    put(settings, "ticket", "T-2026-001")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: server.pid is None)
    assert settings.socket_path.exists()
    server.release()

    with EmbeddedServer(settings):
        assert got(settings, "ticket") == "T-2026-001"


def test_a_second_start_on_the_same_folder_is_refused_and_names_the_first(settings: Settings) -> None:
    with EmbeddedServer(settings) as first:
        put(settings, "a", "1")
        with pytest.raises(DataFolderInUse, match=rf"process {os.getpid()}.*shiftlead down") as refusal:
            EmbeddedServer(settings).start()
        assert refusal.value.exit_code == 5
        assert refusal.value.pid == os.getpid()
        assert first.ready()
        assert got(settings, "a") == "1"

    with EmbeddedServer(settings):  # and it is free again
        assert got(settings, "a") == "1"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_the_server_ends_when_its_parent_is_killed(settings: Settings) -> None:
    with a_server_whose_parent_is_killed(settings, "bound") as pid:
        eventually(lambda: gone(pid))
    with EmbeddedServer(settings):
        assert got(settings, "before") == "kept"


def test_an_orphaned_server_is_shut_down_before_a_new_one_touches_its_data(settings: Settings) -> None:
    """Two servers never share one append-only file: the orphan still holds the lock it inherited."""
    with a_server_whose_parent_is_killed(settings, "orphan") as orphan:
        put(settings, "after", "kept too")  # the orphan lives and takes writes
        assert not gone(orphan)

        with EmbeddedServer(settings) as server:
            assert gone(orphan)
            assert server.pid not in (None, orphan)
            assert (got(settings, "before"), got(settings, "after")) == ("kept", "kept too")


def test_an_orphan_that_does_not_answer_keeps_the_folder_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ORPHAN_S", 0.2)
    with a_server_whose_parent_is_killed(settings, "orphan") as orphan:
        os.kill(orphan, signal.SIGSTOP)

        with pytest.raises(DataFolderInUse, match=rf"kill {orphan}") as refusal:
            EmbeddedServer(settings).start()
        assert refusal.value.pid == orphan

        os.kill(orphan, signal.SIGKILL)
        eventually(lambda: gone(orphan))
        with EmbeddedServer(settings):
            assert got(settings, "before") == "kept"


def test_in_the_foreground_it_ends_cleanly_on_sigterm(settings: Settings) -> None:
    code = (
        "import sys; from shiftlead.config.settings import Settings; "
        "from shiftlead.coordinator.embedded import EmbeddedServer; "
        "sys.exit(EmbeddedServer(Settings(home=sys.argv[1])).run())"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(settings.home)]) as process:
        wait_for_redis(settings, 10)
        put(settings, "a", "1")
        process.terminate()
        assert process.wait(10) == 0
    assert not settings.socket_path.exists()


def test_a_server_that_cannot_start_says_why(settings: Settings) -> None:
    aof = settings.data / "redis" / "appendonlydir"
    aof.mkdir(parents=True)
    (aof / "appendonly.aof.manifest").write_text("not a manifest\n")

    with pytest.raises(NoRedis, match=r"ended with 1(.|\n)*redis\.log(.|\n)*manifest"):
        EmbeddedServer(settings).start()


def test_a_long_data_folder_gets_a_short_socket_in_a_folder_of_ours(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("deep" * 30))
    folder = settings.socket_path.parent
    try:
        with EmbeddedServer(settings):
            put(settings, "a", "1")
            assert len(os.fsencode(settings.socket_path)) < 108
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700

        folder.chmod(0o777)
        with pytest.raises(NoRedis, match="not a folder of yours alone"):
            EmbeddedServer(settings).start()
    finally:
        folder.rmdir()


def test_without_any_server_program_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoRedis, match="SHIFTLEAD_REDIS_URL"):
        find_binary()

    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_binary() == str(program)


def test_who_waits_for_a_server_that_never_comes_is_told_where_without_the_password() -> None:
    settings = Settings(redis_url="redis://:canary@127.0.0.1:1/0", socket_timeout_s=0.2)
    with pytest.raises(NoRedis, match="shiftlead up") as refusal:
        wait_for_redis(settings, 0.05)
    assert "127.0.0.1:1" in str(refusal.value)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("watch", [False, True], ids=["kernel", "watcher"])
def test_a_bound_command_ends_with_its_parent(watch: bool) -> None:
    if not watch and not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a child of its parent's death")
    code = (
        "import subprocess, sys, time; from shiftlead.config.process import bound; "
        f"subprocess.Popen(bound(['sh', '-c', 'echo $$; exec sleep 60'], watch={watch})); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
        eventually(lambda: gone(pid))


@pytest.mark.parametrize("watch", [False, True], ids=["kernel", "watcher"])
def test_a_bound_command_keeps_its_exit_code_and_hears_signals(watch: bool) -> None:
    assert subprocess.run(bound(["sh", "-c", "exit 7"], watch=watch), check=False).returncode == 7
    with subprocess.Popen(
        bound(["sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"], watch=watch),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 9
