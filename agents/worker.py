"""The worker process: a Celery worker on threads that answers the doorbells of one or several agents of one team.

`run_worker` runs in the child that `agents/__main__.py` keeps alive. Exit code 75 asks for a fresh process: a handler
passed its run deadline and its thread cannot be ended.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import signals
from celery.worker import state as celery_state

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.allowance import Allowance
from shiftlead.queues.broker import RING, make_app, run_celery
from shiftlead.queues.connect import Connections
from shiftlead.queues.errors import BadInput, NotFound
from shiftlead.queues.keys import celery_queue
from shiftlead.queues.presence import Beater, Presence, WorkerInfo
from shiftlead.queues.spending import Spending
from shiftlead.queues.spending_writer import SpendingWriter

from .brains import brain_of
from .budget import Accounts
from .execution import Runner
from .tools import tools_for

__all__ = ["RECYCLE", "agents_for", "node_name", "run_worker"]

log = logging.getLogger(__name__)
RECYCLE = 75
SPARE_THREADS = 4  # doubled rings and brains that lost their lease must not keep a fresh ring waiting


def run_worker(settings: Settings, team_name: str, agents: Sequence[str] = (), concurrency: int | None = None) -> int:
    """Work for `agents` (all with a brain of ours when empty) until told to stop; returns the exit code.

    Raises:
        NotFound, BadInput: no such agent, a person, or its brain cannot be loaded.
    """
    connections = Connections(settings)
    desk = connections.desk(team_name)
    team = desk.team
    names = agents_for(team, agents)
    shelf = connections.knowledge(team_name)
    brains = {n: brain_of(team, n, settings, now=desk.clock.now, tools=tools_for, shelf=shelf) for n in names}
    slots = concurrency or sum(team.agents[n].capacity for n in names)
    node, started = node_name(team, agents), time.time()
    worker = f"{node}:{os.getpid()}:{int(started * 1000)}"
    presence = Presence(connections.client, desk.keys, desk.clock, settings)

    def recycle() -> None:
        celery_state.should_stop = RECYCLE  # type: ignore[assignment]
        beater.stop()

    books = SpendingWriter(spending := Spending(connections.ledger, team.team))
    allowance = Allowance(connections.client, desk.keys, spending.spent)
    accounts = Accounts(team, now=desk.clock.now, allowance=allowance, puts=books)
    runner = Runner(desk, brains, worker, recycle, accounts)

    def info() -> WorkerInfo:
        host = node.partition("@")[2]
        return WorkerInfo(
            pid=os.getpid(), host=host, node=node, started_at=started, slots=slots, running=runner.running
        )

    beater = Beater(presence, names, worker, info, ttl_s=settings.presence_ttl_s)
    app = make_app(settings, [team])

    @app.task(name=RING)
    def ring(team: str, agent: str, ticket: str) -> None:
        log.debug("ring for %s of %s: %s", ticket, agent, runner.ring(agent, ticket))

    _connect_signals(runner, beater, settings.grace_s)
    try:
        queues = [celery_queue(team.team, n) for n in names]
        return run_celery(app, node=node, queues=queues, concurrency=slots + SPARE_THREADS)
    finally:
        beater.stop()
        runner.end()
        books.close()
        connections.close()


def agents_for(team: Team, agents: Sequence[str] = (), *, role: str = "") -> list[str]:
    """The agents of `team` a worker process works for: those named, else those of `role`, else all.

    A person and an agent from outside fetch their tickets themselves.

    Raises:
        NotFound: the team has no such agent, or nobody in that role.
        BadInput: it is named and has no brain of ours.
    """
    ours = [n for n, spec in team.agents.items() if not spec.human and spec.brain != "outside"]
    for name in agents:
        if name not in team.agents:
            raise NotFound(f"Team {team.team!r} has no agent {name!r}. It has: {', '.join(team.agents)}.")
        if name not in ours:
            raise BadInput(
                f"{name} is a person or an agent from outside: it fetches its tickets itself.", field="agent"
            )
    found = list(agents) or [n for n in ours if not role or team.agents[n].role == role]
    if not found:
        roles = ", ".join(sorted({spec.role for spec in team.agents.values()}))
        raise NotFound(f"Team {team.team!r} has nobody to work for in role {role!r}. It has: {roles}.")
    return found


def node_name(team: Team, agents: Sequence[str]) -> str:
    """How Flower lists the process: `front_office.iris_support@host`, or `front_office.all@host`."""
    who = "+".join(agents)[:80] if agents else "all"
    return f"{team.team}.{who}@{socket.gethostname()}"


def _connect_signals(runner: Runner, beater: Beater, grace_s: float) -> None:
    """Be present from the moment the queues are read; on SIGTERM leave at once and finish within the grace time."""
    stopping = threading.Event()

    def stop_when_asked() -> None:
        stopping.wait()
        runner.close()
        beater.stop()
        runner.stop(grace_s)

    def ready(**_: Any) -> None:
        runner.start()
        beater.start()

    def shutting_down(**_: Any) -> None:
        stopping.set()  # called inside a signal handler: no more than this

    threading.Thread(target=stop_when_asked, name="stopping", daemon=True).start()
    signals.worker_ready.connect(_once(ready), weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)


def _once(call: Any) -> Any:
    """worker_ready comes again after each lost connection."""
    done = threading.Event()

    def first(**given: Any) -> None:
        if not done.is_set():
            done.set()
            call(**given)

    return first
