"""The turns of one conversation with a model: answer, tools, one repair. It ends with a checked report, or a fault."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import openai

from shiftlead.config.settings import Settings

from .agent import Report, Work
from .answer_schema import response_schema
from .answers import BadAnswer, ToolCall, read_answer, read_arguments
from .knowledge import Knowledge
from .llm_call import Asked, Reply, abilities_of, ask
from .llm_faults import Broken, ModelFault, NoTime, NoTools, Refused, Useless, without
from .meter import cost_of
from .prompt import Parts, Prompt, build_prompt
from .prompt_text import estimate_tokens, fenced, fit, harmless
from .quota import Busy
from .tools_api import Tool, ToolRefused, Tools

__all__ = ["Conversation", "Told"]

MAX_CALLS = 10  # answers of one model in one turn
MAX_ATTEMPTS = 3  # at one answer, when the server fails
MAX_TOOL_CALLS = 8  # in one answer
MAX_STRANGE = 2  # calls of tools that there are not
PAGES = 3  # sections of the team's pages that go along
SEARCHED = 20_000  # characters of the ticket they are looked up for
SHOWN = 2000  # characters of a bad answer that are shown to the model again
OUTCOMES = {"tool_calls": "tools", "length": "truncated", "content_filter": "refused", "refusal": "refused"}
BYTES_A_TOKEN = 3  # at least, in most writing; what is reserved must rather be too much
TOOL_SHARE = 12  # a tool's result may take one of so many parts of the context


class Told(Protocol):
    """Who is told of the prompt and of every call, and may refuse one before it is made."""

    def reserve(self, model: str, input_tokens: int, output_tokens: int) -> None: ...

    def called(self, **values: Any) -> None: ...

    def prompted(self, prompt: Prompt) -> None: ...


class Conversation:
    """One turn's talk about `work`. `until` is monotonic; results of tools are kept when the model changes."""

    def __init__(
        self, settings: Settings, client: openai.OpenAI, work: Work, kinds: tuple[str, ...], parts: Parts, *,
        knowledge: Knowledge, tools: Tools | None, now: Callable[[], float], until: float, told: Told,
        pause: Callable[[int, float], bool],
    ) -> None:  # fmt: skip
        self.settings, self.client, self.work, self.kinds, self.parts = settings, client, work, kinds, parts
        self.tools, self.now, self.until, self.told, self.pause = tools, now, until, told, pause
        self.offered: Sequence[Tool] = tools.tools if tools else ()
        self.hits = knowledge.search(work.text[:SEARCHED], limit=PAGES)
        self._results: dict[str, str] = {}
        self._key = settings.openai_api_key.get_secret_value().strip()

    def with_model(self, model: str) -> Report:
        """The report of this model.

        Raises:
            ModelFault: it gave none. Busy: its provider says when to come back. EndsTurn: a tool decided.
        """
        self.model = model
        self.able = abilities_of(str(self.client.base_url), model)
        messages, prompt = self._begin()
        repaired, strange = False, 0
        for number in range(1, MAX_CALLS + 1):
            last = number == MAX_CALLS
            try:
                reply = self._call(messages, offer=not last)
            except NoTools:
                messages[0] = {"role": "system", "content": self._prompt(prompt.boundary).system}
                continue
            try:
                if reply.tool_calls and self.offered and not last:
                    strange += self._use_tools(messages, reply, prompt.boundary)
                    if strange > MAX_STRANGE:
                        raise Useless("it keeps calling tools that there are not")
                    continue
                if reply.tool_calls:
                    raise BadAnswer("There are no tools to call now; answer with the report itself.")
                found = self._read(reply, prompt.boundary, () if last else tuple(t["name"] for t in self.offered))
                if not isinstance(found, ToolCall):
                    return found
                result, known = self._use(found.name, found.arguments)
                strange += not known
                if strange > MAX_STRANGE:
                    raise Useless("it keeps calling tools that there are not")
                self._say(messages, reply.text, self._material(prompt.boundary, found.name, result))
            except BadAnswer as error:
                if repaired:
                    raise Useless(f"its answer cannot be used, also the second time: {error}") from None
                repaired = True
                wrong = f"This cannot be used: {error} Answer again: one JSON object with one report, nothing else."
                self._say(messages, reply.text, wrong)
        raise Useless(f"it gave no report in {MAX_CALLS} answers")

    # -- the prompt -------------------------------------------------------------------------------------------------

    def _begin(self) -> tuple[list[dict[str, Any]], Prompt]:
        prompt = self._prompt()
        self.told.prompted(prompt)
        return list(prompt.messages), prompt

    def _prompt(self, boundary: str = "") -> Prompt:
        pages = [(hit.label, hit.text) for hit in self.hits]
        return build_prompt(
            self.work, self.parts, kinds=self.kinds, context_tokens=self.settings.openai_context_tokens,
            now=self.now(), knowledge=pages, tools=self.offered, tools_in_words=not self.able.tools,
            boundary=boundary,
        )  # fmt: skip

    def _material(self, boundary: str, name: str, text: str) -> str:
        tokens = self.settings.openai_context_tokens // TOOL_SHARE
        return fenced(boundary, f"result of the tool {name}", fit(harmless(text), tokens, where="with the tool"))

    def _say(self, messages: list[dict[str, Any]], theirs: str, ours: str) -> None:
        """What it said, as far as it is worth repeating, and what we say to it."""
        shown = theirs if len(theirs) <= SHOWN else theirs[:SHOWN] + " [...]"
        messages += [{"role": "assistant", "content": shown or "(nothing)"}, {"role": "user", "content": ours}]

    # -- one answer -------------------------------------------------------------------------------------------------

    def _call(self, messages: Sequence[dict[str, Any]], *, offer: bool) -> Reply:
        """One answer, tried again while the server fails and there is time."""
        names = tuple(t["name"] for t in self.offered) if offer else ()
        approval = self.work.ticket.type == "approval"
        for attempt in range(MAX_ATTEMPTS):
            in_words = names if not self.able.tools else ()
            asked = Asked(
                response_schema(self.kinds, approval=approval, tools=in_words), self.settings.openai_temperature,
                self.settings.openai_max_tokens, self.settings.openai_timeout_s,
                tools=self.offered if offer and self.able.tools else (),
            )  # fmt: skip
            self.told.reserve(self.model, _worst_prompt(messages, asked), asked.max_tokens)
            began = time.monotonic()
            try:
                reply = ask(self.client, self.model, messages, asked, until=self.until)
            except Busy:
                self._meter("busy", messages, None, began)
                raise
            except (NoTime, NoTools):
                raise
            except Broken as fault:
                self._meter(fault.outcome, messages, None, began)
                if attempt + 1 == MAX_ATTEMPTS:
                    raise
                if not self.pause(attempt, self.until):
                    raise NoTime(f"{fault}, and there is no time to try again") from None
            except ModelFault as fault:
                self._meter(fault.outcome, messages, None, began)
                raise
            else:
                self._meter(OUTCOMES.get(reply.finish, "ok"), messages, reply, began)
                return reply
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _read(self, reply: Reply, boundary: str, tools: tuple[str, ...]) -> Report | ToolCall:
        if reply.finish in ("content_filter", "refusal"):
            raise Refused("the model declines to answer (content filter)")
        text = without(self._key, reply.text)
        if reply.finish == "length":
            raise BadAnswer(f"The answer was cut off after {self.settings.openai_max_tokens} tokens: be much briefer.")
        if boundary in text:
            raise BadAnswer("The boundary of the material must not stand in a report.")
        return read_answer(text, self.work, self.kinds, now=self.now(), tools=tools)

    def _meter(self, outcome: str, messages: Sequence[dict[str, Any]], reply: Reply | None, began: float) -> None:
        known = reply is not None and reply.input_tokens is not None and reply.output_tokens is not None
        spent, given = (reply.input_tokens or 0, reply.output_tokens or 0) if known and reply else (0, 0)
        if not known and outcome not in ("busy", "refused", "error"):  # it was read, and nobody says how much that was
            spent = sum(estimate_tokens(str(m.get("content") or "")) for m in messages)
            given = estimate_tokens(reply.text) if reply else 0
        price = cost_of(self.settings.openai_prices, self.model, spent, given)
        self.told.called(model=self.model, outcome=outcome, input_tokens=spent, output_tokens=given,
                         estimated=not known, cost=price, took_s=time.monotonic() - began)  # fmt: skip

    # -- tools ------------------------------------------------------------------------------------------------------

    def _use_tools(self, messages: list[dict[str, Any]], reply: Reply, boundary: str) -> int:
        """Do what was asked for, in its order; returns how many tools there are not."""
        calls = reply.tool_calls[:MAX_TOOL_CALLS]
        said = [{"id": i, "type": "function", "function": {"name": n[:64], "arguments": a}} for i, n, a in calls]
        messages.append({"role": "assistant", "content": reply.text[:SHOWN] or None, "tool_calls": said})
        strange = 0
        for call_id, name, given in calls:
            try:
                arguments = read_arguments(given)
            except BadAnswer as error:
                result, known = str(error), True
            else:
                result, known = self._use(name, arguments)
            strange += not known
            content = self._material(boundary, name if known else "that there is not", result)
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        return strange

    def _use(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """The result, and whether there is such a tool. What was done in this turn is not done again."""
        if self.tools is None or name not in {t["name"] for t in self.offered}:
            known = ", ".join(t["name"] for t in self.offered) or "none"
            return f"There is no such tool. Tools: {known}.", False
        key = json.dumps([name, arguments], sort_keys=True)
        if key not in self._results:
            try:
                self._results[key] = self.tools.call(name, arguments)
            except ToolRefused as refused:
                self._results[key] = f"Not done: {refused}"
        return self._results[key], True


def _worst_prompt(messages: Sequence[dict[str, Any]], asked: Asked) -> int:
    """Tokens that go out with one call, at the most: messages, schema and tools."""
    return -(-len(json.dumps([messages, asked.schema, asked.tools], ensure_ascii=False).encode()) // BYTES_A_TOKEN)
