"""One turn of a brain, from the first look at its budget to the last line of its account: how it ended, never an error.

What was approved is done before the brain is called. Whatever a brain raises is a failed attempt, also an exit.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shiftlead.config.team import Team

from .agent import Agent, Failed, Report, Work
from .approved_actions import with_effects
from .attempt_log import logged
from .bidding import answer_work
from .budget import Account, in_hand
from .quota import Busy, OverBudget
from .tools import Toolbox, at_hand
from .tools_api import EndsTurn

__all__ = ["Ended", "clean", "last_line", "think"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a turn ended: with a report; or `busy`, and the ticket goes back; or `over_budget`, and somebody ends it."""

    report: Report
    busy: Busy | None = None
    over_budget: bool = False

    @property
    def word(self) -> str:
        """For the account."""
        return "busy" if self.busy is not None else "over_budget" if self.over_budget else self.report.kind


def think(
    brain: Agent, work: Work, team: Team, toolbox_for: Callable[[Work], Toolbox | None], account: Account
) -> Ended:
    """Let the brain work, in the thread this is called in."""
    try:
        ended = _think(brain, work, team, toolbox_for, account)
    except EndsTurn as ends:
        ended = Ended(ends.report)
    except Busy as busy:
        ended = Ended(Failed(error=clean(str(busy)), retryable=True), busy=busy)
    except OverBudget as over:
        ended = Ended(Failed(error=clean(over.reason), retryable=True), over_budget=True)
    except BaseException as error:
        log.warning("%s: the brain of %s failed", work.ticket.number, work.agent, exc_info=error)
        ended = Ended(Failed(error=last_line(error), retryable=True))
    try:
        account.close(ended.word)
    except Exception as error:
        log.warning("%s: its account could not be closed: %s", work.ticket.number, error)
    return ended


def _think(
    brain: Agent, work: Work, team: Team, toolbox_for: Callable[[Work], Toolbox | None], account: Account
) -> Ended:
    account.begin()
    toolbox = toolbox_for(work)
    with at_hand(toolbox), in_hand(account):
        return Ended(logged(work, lambda: answer_work(brain, with_effects(work, toolbox), team)))


def last_line(error: BaseException) -> str:
    """`ValueError: no such order (agents.py, line 12, in handle)`."""
    said = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return clean(said + where)


def clean(text: str) -> str:
    """Text the ledger can hold, whatever a brain put into its exception."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:2000]
