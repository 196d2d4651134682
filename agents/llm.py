"""The `openai` brain: a model thinks, Shiftlead holds the frame. Any server that speaks chat completions.

    brain.handle(work) -> Report

One turn of an agent: prompt -> answer -> tools and again, at most so often -> a report that passed every check. An
answer that cannot be used gets one more chance with what was wrong; a server that fails is tried again while there is
time; then the fallback model is asked; then the report is Failed and retryable, so that a stand-in agent or a person
gets the ticket. Only a checked report ends a turn: a model's fault never closes a ticket.

429 raises quota.Busy: the agent is busy until the provider takes it back. Each call's worst case is reserved from the
budgets before it is made: see budget.py.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftlead.config.log import bound_ids
from shiftlead.config.settings import Settings
from shiftlead.queues.errors import BadInput

from .agent import Blocked, Failed, Report, Work
from .answer_schema import allowed_kinds
from .budget import account_at_hand
from .checker import floor
from .conversation import Conversation
from .knowledge import Knowledge
from .knowledge_cited import cited
from .llm_call import client_for
from .llm_faults import ModelFault, NoTime
from .meter import METER, Call, Count, Meter, Metered, cost_of
from .prompt import Parts, Prompt, choose_version, read_parts
from .quota import Busy, OverBudget
from .tools_api import EndsTurn, ToolsFor

__all__ = ["OpenAIBrain"]

log = logging.getLogger(__name__)
MOST_RESERVE_S = 5.0  # of the deadline, so that the report itself still arrives in time
FIRST_PAUSE_S = 0.5


class OpenAIBrain:
    """An Agent for `role`. `folder` is the team's, `now` the clock of deadlines (unix seconds).

    `prompts` names versions that are compared, each with its page in place of roles/<role>.md; a ticket's line of
    tickets always gets the same one. `knowledge` are folders or pages; the team's own when empty. `metered` is called
    once a turn with what it took. Safe to share between threads.

    Raises:
        BadInput: the address or the key cannot be one.
    """

    def __init__(
        self, role: str, folder: Path, settings: Settings, *, now: Callable[[], float] = time.time,
        tools: ToolsFor | None = None, prompts: Mapping[str, str] | None = None,
        knowledge: Knowledge | Sequence[Path] = (), meter: Meter = METER,
        metered: Callable[[Metered], None] | None = None, first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:  # fmt: skip
        _check_settings(settings)
        self.role, self.folder, self.settings, self.now = role, folder, settings, now
        self.prompts, self.meter, self.metered = dict(prompts or {}), meter, metered
        self.first_pause_s = first_pause_s
        self.knowledge = knowledge if isinstance(knowledge, Knowledge) else Knowledge(knowledge or folder / "knowledge")
        self._tools = tools
        self._models = list(dict.fromkeys(m for m in (settings.openai_model, settings.openai_fallback_model) if m))

    def handle(self, work: Work) -> Report:
        """One report.

        Raises:
            Busy: the provider's quota or a day's budget is used up; it says for how long.
        OverBudget: the ticket's is.
        """
        kinds = allowed_kinds(work)
        if not kinds:
            return _for_a_person(work)
        line = work.ticket.lineage[-1] if work.ticket.lineage else work.ticket.id
        variant = choose_version(line, self.prompts)
        parts = read_parts(self.folder, self.role, variant, self.prompts.get(variant, ""))
        turn = _Turn(self, work, parts.version, variant)
        with bound_ids(ticket=work.ticket.number, agent=work.agent, trace=work.trace_id or None, prompt=turn.version):
            try:
                report = floor(work, self._think(work, kinds, parts, turn), self.knowledge)
            except BaseException as error:
                turn.end(
                    "busy" if isinstance(error, Busy) else "over_budget" if isinstance(error, OverBudget) else "error"
                )
                raise
            turn.end(report.kind)
            return report

    def _think(self, work: Work, kinds: tuple[str, ...], parts: Parts, turn: _Turn) -> Report:
        left = work.deadline - self.now() if work.deadline else self.settings.run_deadline_s
        until = time.monotonic() + left - min(MOST_RESERVE_S, max(0.0, left) * 0.1)
        tools = self._tools(work) if self._tools else None
        talk = Conversation(
            self.settings, client_for(self.settings), work, kinds, parts, knowledge=self.knowledge, tools=tools,
            now=self.now, until=until, told=turn, pause=self._pause,
        )  # fmt: skip
        reasons = []
        for model in self._models:
            try:
                return cited(talk.with_model(model), talk.hits)
            except EndsTurn as ends:
                return ends.report
            except NoTime as fault:
                reasons.append(f"{model}: {fault}")
                break
            except ModelFault as fault:
                log.warning("%s gave no report: %s", model, fault, extra={"outcome": fault.outcome})
                reasons.append(f"{model}: {fault}")
        said = "; ".join(reasons)
        return Failed(error=f"No model gave a usable report on {work.ticket.number} ({said})."[:2000], retryable=True)

    def _pause(self, attempt: int, until: float) -> bool:
        """Wait before attempt number `attempt` + 1, with jitter; False when there is no time for it."""
        wait = min(8.0, self.first_pause_s * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads load
        if time.monotonic() + wait >= until:
            return False
        time.sleep(wait)
        return True


class _Turn:
    """Counts the calls of one turn, and tells of it when it is over."""

    def __init__(self, brain: OpenAIBrain, work: Work, version: str, variant: str) -> None:
        self.brain, self.work, self.version, self.variant = brain, work, version, variant
        self.calls: list[Call] = []
        self.prompt: Prompt | None = None
        self.account = account_at_hand()

    def reserve(self, model: str, input_tokens: int, output_tokens: int) -> None:
        if self.account is not None:
            worst = cost_of(self.brain.settings.openai_prices, model, input_tokens, output_tokens)
            self.account.reserve(model, input_tokens + output_tokens, worst)

    def called(self, **values: Any) -> None:
        ticket, work = self.work.ticket, self.work
        call = Call(at=self.brain.now(), team=ticket.team, ticket=ticket.id, number=ticket.number, life=ticket.life,
                    token=work.token, agent=work.agent, prompt=self.version, **values)  # fmt: skip
        self.calls.append(call)
        self.brain.meter.add(call)
        if self.account is not None:
            self.account.called(call)

    def prompted(self, prompt: Prompt) -> None:
        self.prompt = prompt
        if self.account is not None:
            self.account.prompted(prompt.version, prompt.variant, prompt.condensed, prompt.left_out, prompt.summary)

    def end(self, report: str) -> None:
        count = Count()
        for call in self.calls:
            count.add(call)
        ticket, kept = self.work.ticket, self.prompt
        log.info("turn of a model", extra={
            "report": report, "calls": count.calls, "input_tokens": count.input_tokens,
            "output_tokens": count.output_tokens, "cost": str(count.cost), "condensed": kept.condensed if kept else 0,
            "left_out": kept.left_out if kept else 0,
        })  # fmt: skip
        if self.brain.metered is not None:
            self.brain.metered(Metered(
                team=ticket.team, ticket=ticket.id, number=ticket.number, life=ticket.life, token=self.work.token,
                agent=self.work.agent, report=report, prompt=self.version, variant=self.variant,
                condensed=kept.condensed if kept else 0, left_out=kept.left_out if kept else 0,
                summary=kept.summary if kept else "", calls=tuple(self.calls), count=count,
            ))  # fmt: skip


def _check_settings(settings: Settings) -> None:
    """Refuse what no call could be made with, before a ticket depends on it. The key itself is never shown."""
    url = settings.openai_base_url
    if url and not url.startswith(("http://", "https://")):
        raise BadInput("SHIFTLEAD_OPENAI_BASE_URL is an address such as http://127.0.0.1:11434/v1.", field="brain")
    key = settings.openai_api_key.get_secret_value().strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput("SHIFTLEAD_OPENAI_API_KEY holds characters that no key has.", field="brain")


def _for_a_person(work: Work) -> Report:
    """An approval whose gate wants a person: no model is asked, and nothing is decided."""
    number = work.ticket.number
    action = f"Only a person may decide this: shiftlead approve {number}, or shiftlead deny {number}."
    return Blocked(owner="a person", action=action, until=work.ticket.expires_at)
