"""The Celery door: any Celery client sends the task `shiftlead.enqueue` by name and gets the ticket's number.

    app.send_task("shiftlead.enqueue", args=[{"title": "Refund"}], kwargs={"key": "order-17"}, queue="shiftlead.intake")

Publishing a message acknowledges nothing: the ticket stands when the result says its number. Without an answer the
sender repeats with the same key. Errors reach the sender as Python's own exceptions, because it need not have
Shiftlead installed: ValueError means do not repeat it, TimeoutError means repeat it with the same key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.worker.request import Request

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from .broker import ENQUEUE, make_app, run_celery
from .connect import Connections
from .errors import ShiftleadError, Unavailable
from .keys import INTAKE_QUEUE
from .ticket import parse_draft

__all__ = ["enqueue", "make_intake", "run_intake"]

THREADS = 8  # they mostly wait for the ledger, which confirms many at once
TRIES = 4
FIRST_PAUSE_S = 0.25


def run_intake(settings: Settings, teams: Sequence[Team]) -> int:
    """Take in what comes by Celery for `teams` until SIGTERM or SIGINT; returns the exit code."""
    import socket

    connections = Connections(settings)
    app = make_intake(settings, teams, connections)
    try:
        return run_celery(app, node=f"intake@{socket.gethostname()}", queues=[INTAKE_QUEUE], concurrency=THREADS)
    finally:
        connections.close()


def make_intake(settings: Settings, teams: Sequence[Team], connections: Connections) -> Celery:
    """The Celery app with the one task of the intake."""
    app = make_app(settings, teams)
    known = {team.team for team in teams}

    @app.task(name=ENQUEUE, bind=True, ignore_result=False, Request=_Discreet, throws=(ValueError, TimeoutError))
    def task(self: Any, draft: Any, key: str | None = None, team: str | None = None) -> str:
        # A message that is delivered again is the same request: its id is the key when the sender gave none.
        return enqueue(connections, known, draft, key=key or f"celery:{self.request.id}", team=team)

    return app


def enqueue(connections: Connections, known: set[str], draft: Any, *, key: str, team: str | None = None) -> str:
    """Take a ticket in; returns its number. With the same key it may be repeated.

    Raises:
        ValueError: it is not a ticket, names no team of ours, or the key stood for another request. Nothing stored.
        TimeoutError: Shiftlead could not take it, or not confirm it. Repeat with the same key.
    """
    settings = connections.settings
    try:
        parsed = parse_draft(draft, max_bytes=settings.max_ticket_bytes)
        name = team or parsed.team or settings.team
        if name not in known:
            raise ValueError(
                f"There is no team {name!r} here; there is {', '.join(sorted(known))}. Nothing was stored."
            )
        for attempt in range(TRIES):
            try:
                return connections.desk(name).accept(parsed, actor="door:celery", key=key).ticket.number
            except Unavailable:
                if attempt == TRIES - 1:
                    raise
                time.sleep(FIRST_PAUSE_S * 2**attempt)
    except Unavailable as error:
        raise TimeoutError(str(error)) from None
    except ShiftleadError as error:
        raise ValueError(str(error)) from None
    raise AssertionError("unreachable")


class _Discreet(Request):
    """A request whose arguments are shown to nobody: they are a ticket's text, and Flower shows what events carry."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._argsrepr, self._kwargsrepr = "(a ticket)", "{}"

    def info(self, safe: bool = False) -> Any:
        return super().info(safe=True)
