"""The Procfile under a Procfile runner: everything at once, a ticket goes through, and SIGTERM ends all of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_verify import verify
from tests.cluster import Cluster, clean_environment, free_port, listens, processes_of

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
SIX = ["redis", "coordinator", "agents", "intake", "web", "flower"]


def test_the_procfile_starts_all_six_at_once_completes_a_ticket_and_ends_on_sigterm(short_folder: Path) -> None:
    """Section 9: no order is needed at the start nor at the end; nothing is left running, and the ledger is whole."""
    cluster = Cluster(short_folder, "")
    ports = {"SHIFTLEAD_PORT": str(free_port()), "SHIFTLEAD_FLOWER_PORT": str(free_port())}
    bin_folder = Path(sys.executable).parent
    env = clean_environment() | cluster.env | ports | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    log = short_folder / "honcho.log"
    with log.open("wb") as out:
        runner = subprocess.Popen(
            [sys.executable, "-m", "honcho", "--no-colour", "--app-root", str(short_folder),
             "--procfile", str(ROOT / "Procfile"), "start"],
            env=env, stdout=out, stderr=out, cwd=short_folder, start_new_session=True,
        )  # fmt: skip
    cluster.processes.append(runner)
    try:
        cluster.coordinating()
        enqueued = subprocess.run(
            [str(bin_folder / "shiftlead"), "enqueue", "quick please", "--json"],
            env=env, capture_output=True, text=True, cwd=short_folder,
        )  # fmt: skip
        assert enqueued.returncode == 0, enqueued.stderr
        done = cluster.ended(cluster.desk.find(json.loads(enqueued.stdout)["ticket"]["number"]))
        assert done.state == "resolved"
        assert done.result is not None and done.result["reply"] == "done: quick please"

        cluster.wait_until(lambda: all(listens(int(p)) for p in ports.values()), what="the HTTP door and Flower")
        # A runner stops all at once: the server may be gone before a worker has put its last message away.
        cluster.wait_until(lambda: not cluster.connections.client.exists("unacked"), what="every ring is put away")
        started = re.findall(r"system\s*\|\s*(\S+) started", log.read_text())
        assert sorted(started) == sorted(f"{name}.1" for name in SIX)
        assert "stopped" not in log.read_text()

        runner.send_signal(signal.SIGTERM)
        assert runner.wait(20) in (0, 128 + signal.SIGTERM)
        cluster.wait_until(lambda: not processes_of(short_folder), seconds=10, what="everything has ended")
    finally:
        cluster.stop()
        for pid in processes_of(short_folder):
            os.kill(pid, signal.SIGKILL)
    said = log.read_text()
    assert "Traceback" not in said, said[max(0, said.find("Traceback") - 600) :][:5000]
    assert "sending SIGKILL" not in said, said[-3000:]
    ledger = Ledger(cluster.settings.database_address, read_only=True)
    report = verify(ledger, "crew")
    ledger.close()
    assert report.ok and report.tickets == 1, report.problems
