"""One attempt of an agent in the log, from its first day (SD-11): start, then end or failure, under the trace id.

    stage start      trace_id, customer_id, message_preview: the first 100 characters, secrets masked
    stage end        trace_id, duration (seconds), success
    stage failure    trace_id, error, and what was raised goes on

`success` is false where the attempt ended with a report that it failed, or the agent was busy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import structlog

from shiftlead.config.log import masked

from .agent import Failed, Report, Work
from .quota import Busy, OverBudget
from .tools_api import EndsTurn

__all__ = ["PREVIEW", "logged"]

PREVIEW = 100  # characters of the message
READ = 2000  # of it are looked through for secrets: one that begins in the preview must not end behind what was read

log = structlog.stdlib.get_logger("shiftlead.attempt")


def logged(work: Work, think: Callable[[], Report]) -> Report:
    """What `think` reports.

    Raises:
        whatever `think` raises.
    """
    ids = {"trace_id": work.trace_id, "ticket": work.ticket.number, "agent": work.agent}
    begun = time.monotonic()

    def end(success: bool) -> None:
        log.info("attempt", **ids, stage="end", duration=round(time.monotonic() - begun, 3), success=success)

    log.info("attempt", **ids, stage="start", customer_id=work.ticket.customer, message_preview=_preview(work))
    try:
        report = think()
    except EndsTurn as ended:
        end(not isinstance(ended.report, Failed))
        raise
    except (Busy, OverBudget):
        end(False)
        raise
    except BaseException as error:
        log.log(logging.WARNING, "attempt", **ids, stage="failure", error=f"{type(error).__name__}: {error}"[:1000])
        raise
    end(not isinstance(report, Failed))
    return report


def _preview(work: Work) -> str:
    """The message's beginning in one line; masked before it is cut, so that half a secret does not escape."""
    said = masked((work.ticket.body or work.ticket.title)[:READ])
    return "".join(c if c.isprintable() else " " for c in said[:PREVIEW])
