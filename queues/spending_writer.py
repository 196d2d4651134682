"""Write what steps took without holding up a report: rows are gathered for a moment and written together.

Best effort: where SQL does not answer they are tried again, less and less often, and written at the end of the process;
what is lost even then is logged with its numbers. A report never waits for this.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from .spending import Step

__all__ = ["SpendingWriter"]

log = logging.getLogger(__name__)
GATHER_S = 0.1
LONGEST_PAUSE_S = 10.0
MOST_KEPT = 100_000  # steps that wait for SQL; beyond, the oldest are logged and dropped


class Writes(Protocol):
    """Where rows go."""

    def write(self, steps: Sequence[Step]) -> None: ...


class SpendingWriter:
    """One thread of a process. A later row of a step takes the place of the earlier one."""

    def __init__(self, spending: Writes) -> None:
        self._spending = spending
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[tuple[str, int, int], Step] = {}
        self._some = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, step: Step) -> None:
        """Write the step as it is now, soon. Never raises, never waits."""
        with self._lock:
            self._waiting[step.ticket_id, step.life, step.token] = replace(step, models=dict(step.models))
            if len(self._waiting) > MOST_KEPT:
                _lost(self._waiting.pop(next(iter(self._waiting))))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="spending", daemon=True)
                self._thread.start()
        self._some.set()

    def flush(self) -> bool:
        """Write what waits, now; whether SQL has it."""
        with self._writing:
            with self._lock:
                batch, self._waiting = self._waiting, {}
            if not batch:
                return True
            try:
                self._spending.write(list(batch.values()))
                return True
            except SQLAlchemyError as error:
                log.warning("what %d steps took could not be written, trying again: %s", len(batch), error)
            with self._lock:
                self._waiting = batch | self._waiting
            return False

    def close(self, patience_s: float = 5.0) -> None:
        """Write what waits, and stop. What SQL does not take within `patience_s` is logged."""
        self._closed = True
        until = time.monotonic() + patience_s
        while not self.flush():
            if time.monotonic() >= until:
                for step in self._waiting.values():
                    _lost(step)
                break
            time.sleep(GATHER_S)
        self._some.set()

    def _run(self) -> None:
        pause = GATHER_S
        while not self._closed:
            self._some.wait()
            self._some.clear()
            time.sleep(pause)
            if self.flush():
                pause = GATHER_S
            else:
                pause = min(2 * pause, LONGEST_PAUSE_S)
                self._some.set()


def _lost(step: Step) -> None:
    log.error(
        "what a step took is not in SQL: %s life %d token %d by %s: %d calls, %d and %d tokens, %d billionths",
        step.number, step.life, step.token, step.agent, step.calls, step.input_tokens, step.output_tokens, step.cost,
    )  # fmt: skip
