"""Redis is emptied, or comes back older than it was: noticed, rebuilt, and nothing that was acknowledged is gone."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from shiftlead.queues.errors import ShiftleadError, Unavailable
from shiftlead.queues.layout import layout
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.ticket import Draft, Ticket
from tests.cluster import Cluster, running_cluster
from tests.conftest import running_server

pytestmark = pytest.mark.real


def _post(cluster: Cluster, name: str, acknowledged: list[tuple[str, str]], stop: threading.Event) -> None:
    """Post tickets with keys until told to stop; a refused or unconfirmed one is repeated with its key."""
    n = 0
    while not stop.is_set():
        n += 1
        key = f"{name}-{n}"
        while not stop.is_set():
            try:
                answer = cluster.desk.accept(Draft(body=f"quick {key}"), actor="door:test", key=key)
                acknowledged.append((key, answer.ticket.number))
                break
            except (Unavailable, ShiftleadError):
                stop.wait(0.02)


@pytest.mark.timeout(120)
def test_flushall_while_posts_go_on_loses_no_acknowledged_ticket(short_folder: Path) -> None:
    """I1, I8, I13: nothing acknowledged is lost, no number is given twice, queues equal the ledger's projection."""
    with running_cluster(short_folder) as cluster:
        cluster.start("coordinator")
        cluster.coordinating()
        acknowledged: list[tuple[str, str]] = []
        stop = threading.Event()
        posters = [threading.Thread(target=_post, args=(cluster, f"p{i}", acknowledged, stop)) for i in range(4)]
        for poster in posters:
            poster.start()
        for round_ in range(3):
            have = len(acknowledged)
            cluster.wait_until(lambda have=have: len(acknowledged) > have + 40, what="posts are acknowledged")
            cluster.connections.client.flushall()
            cluster.wait_until(lambda r=round_: cluster.desk.store.epoch() >= r + 2, what="a new epoch")
        have = len(acknowledged)
        cluster.wait_until(lambda: len(acknowledged) > have + 40, what="posts after the last flush")
        stop.set()
        for poster in posters:
            poster.join()

        numbers = [number for _, number in acknowledged]
        assert len(numbers) == len(set(numbers))
        for key, number in acknowledged:
            assert cluster.desk.find(number).body == f"quick {key}"
        _queues_equal_the_ledger(cluster)
        assert verify(cluster.connections.ledger, "crew").ok


@pytest.mark.timeout(120)
def test_a_restored_old_aof_is_noticed_and_rebuilt(short_folder: Path) -> None:
    """I8: SQL is ahead of the stream, so Redis was rolled back, even when newer lines were written on top."""
    data = short_folder / "data"
    data.mkdir()
    cluster = Cluster(short_folder, f"unix://{short_folder}/r.sock")
    aof = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(data))
    try:
        early = _one_ticket_and_stop(cluster, aof, "quick early")
        shutil.copytree(data, short_folder / "old")
        late = _one_ticket_and_stop(cluster, aof, "quick late")
        shutil.rmtree(data)
        shutil.copytree(short_folder / "old", data)
        with running_server(short_folder, *aof):
            assert cluster.connections.client.hget(cluster.desk.keys.numbers, late.number) is None
            cluster.start("coordinator")
            cluster.wait_until(lambda: cluster.desk.store.epoch() >= 2, what="a new epoch")
            assert cluster.desk.find(late.number).body == "quick late"
            assert cluster.desk.find(early.number).body == "quick early"
            fresh = cluster.accept("quick fresh")
            assert fresh.number not in (early.number, late.number)
            _queues_equal_the_ledger(cluster)
            cluster.stop()
    finally:
        cluster.stop()


def _one_ticket_and_stop(cluster: Cluster, options: tuple[str, ...], body: str) -> Ticket:
    """A server and a coordinator take one ticket in and end in good order."""
    with running_server(cluster.folder, *options):
        coordinator = cluster.start("coordinator")
        cluster.wait_until(lambda: cluster.connections.client.ping())
        cluster.coordinating()
        ticket = cluster.accept(body)
        coordinator.terminate()
        coordinator.wait(10)
    return ticket


def _queues_equal_the_ledger(cluster: Cluster) -> None:
    """I8: every sorted set of Redis holds exactly what the ledger's snapshots say."""
    desk, ledger = cluster.desk, cluster.connections.ledger

    def equal() -> bool:
        expected: dict[str, set[str]] = {}
        for chunk in ledger.open_tickets("crew"):
            for ticket, _ in chunk:
                for place, _ in layout(ticket)[0]:
                    expected.setdefault(place, set()).add(ticket.id)
        found = {place: set(desk.store.client.zrange(desk.keys(place), 0, -1)) for place in expected}
        new, ready = desk.store.client.zcard(desk.keys.new), expected.get("new", set())
        return found == expected and new == len(ready)

    cluster.wait_until(equal, what="queues equal the ledger's projection")
