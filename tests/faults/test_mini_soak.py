"""The mini soak: 500 tickets, 20 faults, real processes; lost / completed twice / two holders / stuck = 0 / 0 / 0 / 0.

What was promised is told by the posters' own log of acknowledgements, what happened by the ledger. The schedule comes
from a seed, and a fault falls when so many tickets are completed, so the work and the faults run through each other.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy.exc import SQLAlchemyError

from shiftlead.queues.errors import ShiftleadError
from shiftlead.queues.keys import celery_queue
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.lifecycle import Queue
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Draft, Line
from tests.cluster import Cluster, running_cluster

pytestmark = pytest.mark.real
SEED = int(os.environ.get("SOAK_SEED", "500"))
TICKETS, POSTERS, AHEAD = 500, 4, 80
FAULTS = (
    ["kill a worker"] * 8 + ["kill a coordinator"] * 4 + ["pause a worker"] * 2 + ["pause a coordinator"] * 2
    + ["empty the broker"] * 2 + ["empty redis"] * 2
)  # fmt: skip
AGENTS = ("ann", "bob", "eve")
TEAM = """
team: crew
agents:
  ann: {role: support, can: [work], capacity: 8, brain: "python:brains:work"}
  bob: {role: support, can: [work], capacity: 8, brain: "python:brains:work"}
  eve: {role: decision-maker, can: [work, decision, approval], capacity: 8, brain: "python:brains:work"}
routes:
  - needs: [work]
"""


class Soak:
    """Posters, a crew, and somebody who breaks things."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.chance = cluster, random.Random(SEED)
        self.presence = Presence(
            cluster.connections.client, cluster.desk.keys, cluster.connections.clock, cluster.settings
        )
        self.acknowledged: dict[str, str] = {}  # idempotency key -> number
        self.coordinators: list[subprocess.Popen[bytes]] = []
        self.paused: list[threading.Timer] = []
        self.stop = threading.Event()
        self._keys, self._lock, self._done = iter(range(TICKETS)), threading.Lock(), 0

    def completed(self) -> int:
        """Completed tickets, as the ledger counts them; it never counts backwards."""
        with contextlib.suppress(SQLAlchemyError):
            self._done = self.cluster.connections.ledger.counts("crew")[str(Queue.COMPLETED)]
        return self._done

    def post(self) -> None:
        """Post with a key until it is acknowledged; not too far ahead of the crew, so that posts meet every fault."""
        while not self.stop.is_set():
            with self._lock:
                n = next(self._keys, None)
            if n is None:
                return
            while n > self._done + AHEAD and not self.stop.wait(0.01):
                pass
            key, body = f"key-{n}", f"slow 0.02 {n}"
            while not self.stop.is_set():
                with contextlib.suppress(ShiftleadError, redis.RedisError, SQLAlchemyError):
                    answer = self.cluster.desk.accept(Draft(body=body), actor="door:test", key=key)
                    self.acknowledged[key] = answer.ticket.number
                    break
                self.stop.wait(0.02)

    # -- faults ---------------------------------------------------------------------------------------------------

    def break_something(self, fault: str) -> None:
        broker = [celery_queue("crew", agent) for agent in AGENTS]
        client = self.cluster.connections.client
        match fault:
            case "kill a worker":
                self._signal(self._worker(), signal.SIGKILL)
            case "kill a coordinator":
                victim = self.chance.choice(self.coordinators)
                victim.kill()
                victim.wait()
                self.coordinators.remove(victim)
                self.coordinators.append(self.cluster.start("coordinator"))
            case "pause a worker":
                self._pause(self._worker())
            case "pause a coordinator":
                self._pause(self.chance.choice(self.coordinators).pid)
            case "empty the broker":
                client.delete(*broker, "unacked", "unacked_index", "unacked_mutex")
            case "empty redis":
                client.flushall()

    def _worker(self) -> int:
        """A living worker process of an agent that the schedule names; its keeper starts it again."""
        agent = self.chance.choice(AGENTS)

        def alive() -> list[int]:
            pids = [info.pid for info in self.presence.live().get(agent, [])]
            return [pid for pid in pids if _is_ours(pid)]

        return int(self.cluster.wait_until(alive, what=f"a worker of {agent}")[0])

    def _pause(self, pid: int) -> None:
        """Longer than any lease here, so that it wakes up to a world that went on."""
        self._signal(pid, signal.SIGSTOP)
        wake = threading.Timer(self.cluster.settings.lease_s + 0.3, self._signal, (pid, signal.SIGCONT))
        wake.start()
        self.paused.append(wake)

    def _signal(self, pid: int, number: int) -> None:
        if _is_ours(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        self.stop.set()
        for wake in self.paused:
            wake.join()


def _is_ours(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"shiftlead." in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.mark.timeout(180)
def test_500_tickets_and_20_faults_lose_nothing_and_double_nothing(short_folder: Path) -> None:
    """I1, I2, I3, I5, I7, I8, I11, I12, I13, I15."""
    assert len(FAULTS) == 20
    with running_cluster(short_folder, SHIFTLEAD_MAX_CRASHES="20", SHIFTLEAD_RECORD_TIMEOUT_S="1") as cluster:
        (short_folder / "teams" / "crew" / "team.yaml").write_text(TEAM)
        soak = Soak(cluster)
        soak.coordinators = [cluster.start("coordinator"), cluster.start("coordinator")]
        for agent in AGENTS:
            cluster.start("worker", "--agent", agent)
        cluster.coordinating()
        cluster.present(*AGENTS)
        schedule = soak.chance.sample(FAULTS, len(FAULTS))
        print(f"seed {SEED}, lease {cluster.settings.lease_s:g} s: {', '.join(schedule)}")

        began = time.monotonic()
        posters = [threading.Thread(target=soak.post) for _ in range(POSTERS)]
        for poster in posters:
            poster.start()
        try:
            for n, fault in enumerate(schedule, 1):
                share = TICKETS * n // (len(schedule) + 2)
                _reach(cluster, soak, lambda share=share: soak.completed() >= share, f"{share} before {fault!r}")
                soak.break_something(fault)
            _reach(cluster, soak, lambda: len(soak.acknowledged) == TICKETS, "all posts are acknowledged")
            _reach(cluster, soak, lambda: soak.completed() >= TICKETS, "all tickets are completed")
        finally:
            soak.end()
            for poster in posters:
                poster.join()
        took_s = time.monotonic() - began
        lost, twice, holders, stuck = _count(cluster, soak)
        print(f"{TICKETS} tickets, {len(FAULTS)} faults, {took_s:.1f} s, seed {SEED}: ", end="")
        print(f"lost / completed twice / two holders / stuck = {lost} / {twice} / {holders} / {stuck}")
        assert (lost, twice, holders, stuck) == (0, 0, 0, 0)
        report = verify(cluster.connections.ledger, "crew")
        assert report.ok, report.problems[:5]
        assert report.tickets == TICKETS, "one ticket for each key"


def _reach(cluster: Cluster, soak: Soak, true: Callable[[], bool], what: str) -> None:
    try:
        cluster.wait_until(true, seconds=40, what=what)
    except AssertionError as error:
        some = {t.number: t.state for chunk in cluster.connections.ledger.open_tickets("crew") for t, _ in chunk[:5]}
        told = f"seed {SEED}: {what}; {soak.completed()} completed, {len(soak.acknowledged)} acknowledged, open {some}"
        raise AssertionError(f"{told}\n{error}") from None


def _count(cluster: Cluster, soak: Soak) -> tuple[int, int, int, int]:
    """Lost, completed twice, held by two at once, stuck: from the posters' log and the ledger's lines."""
    ledger = cluster.connections.ledger
    events = [line for _, line in ledger.events("crew", limit=100_000, after=0) if line.ticket[:1] not in ("", "@")]
    stories: dict[str, list[Line]] = {}
    for line in events:
        stories.setdefault(line.ticket, []).append(line)
    found = {key: ledger.ticket("crew", number) for key, number in soak.acknowledged.items()}
    lost = sum(
        entry is None or entry[0].body != f"slow 0.02 {key.removeprefix('key-')}" for key, entry in found.items()
    )
    lost += len(soak.acknowledged) - len(set(soak.acknowledged.values())) + TICKETS - len(soak.acknowledged)
    twice = sum(Counter(line.life for line in s if line.move in ("resolve", "fail", "cancel")).most_common(1)[0][1] > 1
                for s in stories.values() if s[-1].after in ("resolved", "failed", "cancelled"))  # fmt: skip
    stuck = sum(s[-1].after != "resolved" for s in stories.values())
    return lost, twice, sum(_two_holders(s) for s in stories.values()), stuck


def _two_holders(story: list[Line]) -> bool:
    """Somebody took it while another one had it, or ended it without having it, or a token came twice."""
    holder, tokens = None, [line.token for line in story if line.move in ("claim", "assign", "give_back", "recover")]
    for line in story:
        if line.move == "claim":
            if holder is not None:
                return True
            holder = line.actor
        elif line.move == "resolve" and line.actor != holder:
            return True
        elif line.after != "working":
            holder = None
    return tokens != sorted(set(tokens))
