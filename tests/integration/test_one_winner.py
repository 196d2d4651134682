"""Thirty-two claimers, one ticket, one winner: real processes on a real server."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import Refused
from tests.conftest import open_desk
from tests.desks import an_assigned_ticket

PROCESSES, THREADS_EACH, ROUNDS = 4, 8, 1_000


def _claimers(address: str, home: str, tickets: list[str], barrier: Any, wins: Any) -> None:
    """Eight claimers in one process; each round all of all processes start together."""
    import threading

    settings = Settings(home=home, acknowledge="redis")
    team = load_team("front_office", settings)

    def one(worker: str) -> None:
        desk = Desk(make_client(address, settings), team, clock=ManualClock(), settings=settings)
        won = 0
        for ticket_id in tickets:
            barrier.wait()
            try:
                desk.claim(ticket_id, "iris_support", worker)
                won += 1
            except Refused:
                pass
        wins.put(won)

    name = multiprocessing.current_process().name
    threads = [threading.Thread(target=one, args=(f"{name}-{n}",)) for n in range(THREADS_EACH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.real
@pytest.mark.timeout(180)
def test_a_thousand_rounds_of_32_claimers_have_one_winner_each(
    valkey: Any, valkey_address: str, settings: Settings
) -> None:
    """I3: 1,000 rounds, one winner each, and one claim line in each story."""
    roomy = load_team("front_office", settings)
    spec = roomy.agents["iris_support"].model_copy(update={"capacity": ROUNDS})
    roomy = roomy.model_copy(update={"agents": roomy.agents | {"iris_support": spec}})
    desk = open_desk(valkey, roomy, ManualClock(), settings)
    tickets = [an_assigned_ticket(desk).id for _ in range(ROUNDS)]

    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(PROCESSES * THREADS_EACH), context.Queue()
    args = (valkey_address, str(settings.home), tickets, barrier, wins)
    processes = [context.Process(target=_claimers, args=args) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    won = sum(wins.get(timeout=150) for _ in range(PROCESSES * THREADS_EACH))
    for process in processes:
        process.join(10)

    assert won == ROUNDS
    for ticket_id in tickets:
        assert [line.move for line in desk.history(ticket_id)].count("claim") == 1
