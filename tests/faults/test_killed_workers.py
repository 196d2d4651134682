"""Real workers die at every moment; their tickets do not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftlead.queues.lifecycle import State
from tests.cluster import Cluster, running_cluster

pytestmark = pytest.mark.real


@pytest.fixture
def cluster(short_folder: Path) -> Iterator[Cluster]:
    with running_cluster(short_folder) as cluster:
        cluster.start("coordinator")
        cluster.coordinating()
        yield cluster


def test_a_worker_killed_in_the_middle_loses_no_ticket(cluster: Cluster) -> None:
    """I5, I1, I2, TP-07: SIGKILL mid-work; another process finishes; lease + 2 s at most, and one terminal event."""
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    ticket = cluster.accept("hang_once please")
    held = cluster.in_state(ticket, State.WORKING)
    [first] = cluster.wait_until(lambda: cluster.runs(ticket))

    os.kill(first, signal.SIGKILL)

    done = cluster.ended(ticket)
    assert done.state is State.RESOLVED
    assert cluster.runs(ticket)[0] == first != cluster.runs(ticket)[1]
    assert done.worker != held.worker
    assert cluster.moves(ticket).count("resolve") == 1
    back = next(line for line in cluster.desk.history(ticket.id) if line.move == "give_back")
    claim = next(line for line in cluster.desk.history(ticket.id) if line.move == "claim")
    assert back.at - claim.at <= cluster.settings.lease_s + 2.0


def test_a_worker_killed_before_it_claims_gives_the_ticket_to_the_next(cluster: Cluster) -> None:
    """I5: assigned and never claimed; counted as undelivered, never failed."""
    cluster.start("worker", "--agent", "ann")
    deaf = cluster.worker_pid("ann")
    os.kill(deaf, signal.SIGSTOP)
    ticket = cluster.accept("quick")
    cluster.in_state(ticket, State.ASSIGNED)
    os.kill(deaf, signal.SIGKILL)

    done = cluster.ended(ticket)
    assert done.state is State.RESOLVED
    assert cluster.moves(ticket).count("claim") == 1
    assert deaf not in cluster.runs(ticket)
    assert done.attempts.crashed == 0


def test_a_worker_that_dies_in_the_brain_is_restarted_and_the_ticket_finished(cluster: Cluster) -> None:
    """I5, I17: a crash is reported by the parent at once; the second process finishes the ticket alone."""
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    ticket = cluster.accept("die_once")
    done = cluster.ended(ticket)
    assert done.state is State.RESOLVED
    lines = cluster.desk.history(ticket.id)
    claims = [line for line in lines if line.move == "claim"]
    back = next(line for line in lines if line.move == "give_back")
    assert back.at - claims[0].at <= 1.5
    assert claims[1].detail.get("alone") is True


def test_a_poisoned_ticket_fails_after_three_crashes_alone_and_its_neighbours_do_not(cluster: Cluster) -> None:
    """I17."""
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    neighbours = [cluster.accept("slow 0.3") for _ in range(2)]
    poison = cluster.accept("die")
    neighbours += [cluster.accept("quick") for _ in range(3)]

    failed = cluster.ended(poison, seconds=60)
    assert failed.state is State.FAILED
    assert "crashed its worker 3 times" in failed.reason
    for neighbour in neighbours:
        done = cluster.ended(neighbour, seconds=30)
        assert done.state is State.RESOLVED
        assert done.attempts.crashed == 0


def test_a_worker_paused_past_its_lease_cannot_write_any_more(cluster: Cluster) -> None:
    """I2, I4: SIGSTOP past the lease, another worker finishes, SIGCONT: the late report is refused."""
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    ticket = cluster.accept("slow 1")
    [paused] = cluster.wait_until(lambda: cluster.runs(ticket))
    os.kill(paused, signal.SIGSTOP)
    cluster.wait_until(lambda: "give_back" in cluster.moves(ticket), what="the lease ran out")
    cluster.start("worker", "--agent", "ann")
    done = cluster.ended(ticket)
    story = cluster.moves(ticket)
    os.kill(paused, signal.SIGCONT)

    another = cluster.accept("quick")
    cluster.ended(another)
    assert cluster.desk.find(ticket.id) == done
    assert cluster.moves(ticket) == story
    assert story.count("resolve") == 1


def test_a_brain_that_raises_is_tried_again(cluster: Cluster) -> None:
    cluster.start("worker", "--agent", "ann")
    cluster.present("ann")
    ticket = cluster.accept("raise_once")
    done = cluster.ended(ticket)
    assert done.state is State.RESOLVED
    back = next(line for line in cluster.desk.history(ticket.id) if line.move == "give_back")
    assert "the first try goes wrong" in back.reason


def test_a_handoff_goes_there_and_comes_back(cluster: Cluster) -> None:
    """FO-06, EN-08: through real workers; the asking agent goes on with the answer."""
    cluster.start("worker", "--agent", "ann")
    cluster.start("worker", "--agent", "bob")
    cluster.present("ann", "bob")
    ticket = cluster.accept("ask_bob about it")
    done = cluster.ended(ticket)
    assert done.state is State.RESOLVED
    assert [a["agent"] for a in done.answers] == ["bob"]
    assert cluster.moves(ticket) == [
        "accept", "triage", "assign", "claim", "hand_off", "resume", "assign", "claim", "resolve",
    ]  # fmt: skip
