"""Two coordinators: the active one is paused past its lease and comes back; nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.lifecycle import State
from tests.cluster import Cluster, running_cluster

pytestmark = pytest.mark.real


def _leader(cluster: Cluster) -> int:
    """Pid of the active coordinator."""
    owner = cluster.wait_until(lambda: cluster.connections.client.get(cluster.desk.keys.leader))
    return int(owner.split(":")[-2])


def _pause_between_commits(cluster: Cluster, pid: int) -> None:
    """Stop the process where it does not hold SQLite's write lock: nobody could write until it goes on."""
    for _ in range(200):
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # it has stopped, not only been told to
        with contextlib.closing(sqlite3.connect(cluster.folder / "ledger.db", timeout=0.05)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
                return
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
    raise AssertionError("the ledger was locked every time")


@pytest.mark.timeout(120)
def test_a_paused_coordinator_that_wakes_up_doubles_nothing(short_folder: Path) -> None:
    """I15, I6, I7: SIGSTOP past the lease, failover within 5 s, SIGCONT; one life, one end, one chain."""
    with running_cluster(short_folder) as cluster:
        both: list[subprocess.Popen[bytes]] = [cluster.start("coordinator"), cluster.start("coordinator")]
        cluster.coordinating()
        cluster.start("worker", "--agent", "ann")
        cluster.present("ann")
        tickets = [cluster.accept(f"quick {n}") for n in range(10)]
        paused = _leader(cluster)
        assert paused in [p.pid for p in both]

        for _ in range(2):
            _pause_between_commits(cluster, paused)
            cluster.wait_until(lambda paused=paused: _leader(cluster) != paused, seconds=5, what="failover in 5 s")
            tickets += [cluster.accept(f"quick more {n}") for n in range(10)]
            os.kill(paused, signal.SIGCONT)
            tickets += [cluster.accept(f"quick again {n}") for n in range(10)]
            paused = _leader(cluster)

        for ticket in tickets:
            assert cluster.ended(ticket).state is State.RESOLVED
            story = cluster.moves(ticket)
            assert [story.count(m) for m in ("accept", "triage", "resolve")] == [1, 1, 1]
            assert len(cluster.runs(ticket)) == 1
        assert len({t.number for t in tickets}) == len(tickets)
        report = cluster.wait_until(lambda: verify(cluster.connections.ledger, "crew"))
        assert report.ok, report.problems
        assert all(p.poll() is None for p in both)
