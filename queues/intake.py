"""The Celery door: any Celery client sends the task `shiftlead.enqueue` by name and gets the ticket's number.

    app.send_task("shiftlead.enqueue", args=[{"title": "Refund"}], kwargs={"key": "order-17"}, queue="shiftlead.intake")

Publishing a message acknowledges nothing: the ticket stands when the result says its number. Without an answer the
sender repeats with the same key. Errors reach the sender as Python's own exceptions, because it need not have
Shiftlead installed: ValueError means do not repeat it, TimeoutError means repeat it with the same key.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from celery.worker.consumer import consumer as celery_consumer
from celery.worker.request import Request

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team

from .broker import ENQUEUE, make_app, run_celery
from .connect import Connections
from .errors import ShiftleadError, Unavailable
from .keys import INTAKE_QUEUE, Keys
from .refusals import RefusalCounter
from .ticket import parse_draft

__all__ = ["enqueue", "make_intake", "run_intake"]

THREADS = 8  # they mostly wait for the ledger, which confirms many at once
TRIES = 4
FIRST_PAUSE_S = 0.25
MAX_KEY = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Messages that Celery logs with everything in them.
_WITH_BODY = tuple(
    getattr(celery_consumer, name) for name in ("UNKNOWN_TASK_ERROR", "INVALID_TASK_ERROR", "MESSAGE_DECODE_ERROR")
)


def run_intake(settings: Settings, teams: Sequence[Team]) -> int:
    """Take in what comes by Celery for `teams` until SIGTERM or SIGINT; returns the exit code."""
    import socket

    connections = Connections(settings)
    counters = {team.team: RefusalCounter(connections.client, Keys(team.team)) for team in teams}
    app = make_intake(settings, teams, connections, counters)
    _hush()
    try:
        return run_celery(app, node=f"intake@{socket.gethostname()}", queues=[INTAKE_QUEUE], concurrency=THREADS)
    finally:
        for counter in counters.values():
            counter.close()
        connections.close()


def make_intake(
    settings: Settings, teams: Sequence[Team], connections: Connections,
    counters: Mapping[str, RefusalCounter] | None = None,
) -> Celery:  # fmt: skip
    """The Celery app with the one task of the intake. Its refusals are counted by `counters`, one a team."""
    app = make_app(settings, teams)
    known = {team.team for team in teams}

    @app.task(name=ENQUEUE, bind=True, ignore_result=False, Request=_Discreet, throws=(ValueError, TimeoutError))
    def task(self: Any, draft: Any, key: Any = None, team: Any = None) -> str:
        # A message that is delivered again is the same request: its id is the key when the sender gave none.
        given = f"celery:{self.request.id}" if key is None else key
        try:
            return enqueue(connections, known, draft, key=given, team=team)
        except (ValueError, TimeoutError) as error:
            _count(counters or {}, settings.team, team, error)
            raise

    return app


def enqueue(connections: Connections, known: set[str], draft: Any, *, key: str, team: str | None = None) -> str:
    """Take a ticket in; returns its number. With the same key it may be repeated.

    Raises:
        ValueError: it is not a ticket, names no team of ours, or the key stood for another request. Nothing stored.
        TimeoutError: Shiftlead could not take it, or not confirm it. Repeat with the same key.
    """
    settings = connections.settings
    _check_call(draft, key, team)
    try:
        parsed = parse_draft(draft, max_bytes=settings.max_ticket_bytes)
        if team and parsed.team and team != parsed.team:
            raise ValueError(f"The ticket names team {parsed.team!r}, the call {team!r}. Nothing was stored.")
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


def _count(counters: Mapping[str, RefusalCounter], default: str, named: Any, error: Exception) -> None:
    """One more refusal: of the team that was named, else of the one that is meant when none is."""
    team = named if isinstance(named, str) and named in counters else default
    if counter := counters.get(team) or next(iter(counters.values()), None):
        ours = error.__context__  # senders get Python's own errors; what was refused is what they were made from
        counter.error(ours if isinstance(ours, ShiftleadError) else error)


def _check_call(draft: Any, key: Any, team: Any) -> None:
    """Refuse what only another program's mistake can send. Raises ValueError."""
    if not isinstance(draft, dict):
        raise ValueError(
            f"A ticket is an object with a title or a body, not {type(draft).__name__}. Nothing was stored."
        )
    if not isinstance(key, str) or not key.strip() or len(key) > MAX_KEY or _CONTROL.search(key):
        raise ValueError(
            f"`key` is a text of 1 to {MAX_KEY} characters without control characters. Nothing was stored."
        )
    if team is not None and not isinstance(team, str):
        raise ValueError(f"`team` is the name of a team, not {type(team).__name__}. Nothing was stored.")


def _hush() -> None:
    """Celery writes what a task was called with into its log, and that is a ticket's text.

    What is refused the sender is told; what fails by our fault is an error, and still logged.
    """
    for chatty in ("celery.app.trace", "celery.worker.request", "celery.worker.strategy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_without_body)


def _without_body(record: logging.LogRecord) -> bool:
    """A message Celery cannot read is logged with all that is in it: say only that there was one."""
    if record.msg in _WITH_BODY:
        record.msg, record.args = "A message that is no task of ours was thrown away (%s).", (_kind_of(record),)
        record.exc_info = record.exc_text = None
    return True


def _kind_of(record: logging.LogRecord) -> str:
    error = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return type(error).__name__


class _Discreet(Request):
    """A request whose arguments are shown to nobody: they are a ticket's text, and Flower shows what events carry."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._argsrepr, self._kwargsrepr = "(a ticket)", "{}"
        # What the sender made of them goes on to the tracer, which logs it. So would a name of the sender's own.
        self.request_dict.update(argsrepr="(a ticket)", kwargsrepr="{}", shadow=None)
        self.name = ENQUEUE  # type: ignore[misc]  # the stubs take the attribute for a property

    def info(self, safe: bool = False) -> Any:
        return super().info(safe=True)
