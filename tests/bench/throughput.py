"""Tickets per second through the whole life, beside raw Celery's no-op drain in the same run. Ratios, not promises.

    .venv/bin/python -m tests.bench.throughput [--tickets 3000] [--rounds 3]

Raw Celery: its safest measured settings (threads, acks_late, prefetch 1), N published messages, one worker, until the
last is acknowledged. Shiftlead: N accepted tickets triaged, assigned, rung, claimed, resolved and recorded in SQL, one
coordinator and one worker process, until the last is completed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shiftlead.queues.ticket import Draft
from tests.cluster import Cluster
from tests.conftest import running_server

TEAM = """
team: crew
agents:
  ann: {role: support, can: [work], capacity: 64, brain: "python:brains:noop"}
routes:
  - needs: [work]
"""
BRAINS = """
from shiftlead.agents.agent import Resolved
DONE = Resolved(reply="done")
def noop(work):
    return DONE
"""
RAW = """
import sys, time
from celery import Celery
app = Celery("raw", broker=sys.argv[1])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True, accept_content=["json"],
                broker_transport_options={"priority_steps": [0]}, task_default_queue="raw")
@app.task(name="noop")
def noop():
    pass
if sys.argv[2] == "publish":
    for _ in range(int(sys.argv[3])):
        noop.apply_async()
else:
    app.worker_main(["worker", "-P", "threads", "-c", "64", "--without-mingle", "--without-gossip", "-l", "ERROR"])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tickets", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for n in range(options.rounds):
        raw, ours = _raw_celery(options.tickets), _shiftlead(options.tickets)
        ratios.append(ours / raw)
        print(f"round {n + 1}: raw Celery {raw:,.0f}/s, Shiftlead {ours:,.0f}/s, ratio {ours / raw:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} over {options.rounds} rounds of {options.tickets} tickets")


def _raw_celery(count: int) -> float:
    import redis

    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    try:
        (folder / "raw.py").write_text(RAW)
        with running_server(folder, "--appendonly", "yes") as address:
            broker = f"redis+socket://{folder}/r.sock"
            subprocess.run([sys.executable, "raw.py", broker, "publish", str(count)], cwd=folder, check=True)
            client = redis.Redis.from_url(address)
            worker = subprocess.Popen(
                [sys.executable, "raw.py", broker, "work"],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                while client.llen("raw") == count:
                    time.sleep(0.002)
                began = time.perf_counter()
                while client.llen("raw") or client.hlen("unacked"):
                    time.sleep(0.002)
                return count / (time.perf_counter() - began)
            finally:
                worker.terminate()
                worker.wait(20)
                client.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shiftlead(count: int) -> float:
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    try:
        with running_server(folder, "--appendonly", "yes") as address:
            cluster = Cluster(
                folder, address, SHIFTLEAD_LEASE_S="30", SHIFTLEAD_CLAIM_DEADLINE_S="30", SHIFTLEAD_PRESENCE_TTL_S="3",
                SHIFTLEAD_LEADER_LEASE_S="3", SHIFTLEAD_SWEEP_S="1", SHIFTLEAD_LOG_LEVEL="WARNING",
            )  # fmt: skip
            try:
                (folder / "teams" / "crew" / "team.yaml").write_text(TEAM)
                (folder / "teams" / "crew" / "brains.py").write_text(BRAINS)
                cluster.start("coordinator")
                cluster.coordinating()
                # everything waits, triaged, until the worker is there: the drain is what is measured
                for start in range(0, count, 500):
                    drafts = [(Draft(body=f"ticket {n}"), None) for n in range(start, min(start + 500, count))]
                    cluster.desk.accept_many(drafts, actor="door:bench")
                keys, client = cluster.desk.keys, cluster.connections.client
                cluster.wait_until(lambda: client.zcard(keys.new) == 0)
                cluster.start("worker", "--agent", "ann")
                cluster.wait_until(lambda: client.zcard(keys.queue("completed")), what="the first ticket")
                began, first = time.perf_counter(), client.zcard(keys.queue("completed"))
                cluster.wait_until(lambda: client.zcard(keys.queue("completed")) == count, seconds=300, what="all done")
                return float((count - first) / (time.perf_counter() - began))
            finally:
                cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
