"""One call of a model over HTTP, in our own time: the `openai` SDK without its retries, its environment and its logs.

    reply = ask(client, model, messages, wish, until=monotonic_moment)

What a server cannot do - strict schemas, JSON mode, tools, a temperature - it says with a 400; then the call is made
again with less, and what worked is remembered for the model. What the SDK would do by itself and must not: read
OPENAI_* from the environment, retry, wait 600 s, keep reading an answer that never ends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx2
import openai

from shiftlead.config.settings import Settings

from .llm_faults import Broken, ModelFault, NoTime, NoTools, TooLong, fault_of

__all__ = ["Abilities", "Asked", "Reply", "abilities_of", "ask", "client_for", "close_clients"]

MAX_BODY = 4_000_000  # bytes of one answer that are read at all
CONNECT_S = 5.0
LEVELS = ("json_schema", "json_object", "prompt")
OPENAI = "https://api.openai.com/v1"
NO_KEY = "none"  # the SDK wants one, a local server wants none


@dataclass
class Abilities:
    """What a model's server was seen to take. Only ever reduced; a race costs one more refused call."""

    level: int = 0  # in LEVELS
    tools: bool = True
    temperature: bool = True
    max_tokens: str = "max_tokens"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of one answer."""

    schema: Mapping[str, Any]
    temperature: float
    max_tokens: int
    timeout_s: float
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: its text, the tools asked for as (id, name, arguments as JSON), and what it took."""

    text: str
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    finish: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None


_clients: dict[tuple[str, str], openai.OpenAI] = {}
_making = threading.Lock()


def client_for(settings: Settings) -> openai.OpenAI:
    """The client of this process for these settings: one for all agents and threads, since making one takes long."""
    which = settings.openai_base_url or OPENAI, settings.openai_api_key.get_secret_value().strip()
    with _making:
        if which not in _clients:
            client = openai.OpenAI(api_key=which[1] or NO_KEY, base_url=which[0], max_retries=0)
            # Read from the environment whatever one passes; they belong to some other program.
            client.organization = client.project = client.webhook_secret = client.admin_api_key = None
            client._custom_headers = {}
            _clients[which] = client
        return _clients[which]


def close_clients() -> None:
    """Close every connection of this process to a model."""
    with _making:
        for client in _clients.values():
            client.close()
        _clients.clear()


@lru_cache(maxsize=64)
def abilities_of(base_url: str, model: str) -> Abilities:
    """What is known of a model on a server, by this process."""
    return Abilities()


def ask(
    client: openai.OpenAI, model: str, messages: Sequence[Mapping[str, Any]], asked: Asked, *, until: float
) -> Reply:
    """One answer, before the monotonic moment `until`. Asked with less where the server refuses how it was asked.

    Raises:
        ModelFault: there is none, by kind: see llm_faults.py. NoTools: make the prompt anew, with the tools in words.
        quota.Busy: the provider says when to come back.
    """
    able = abilities_of(str(client.base_url), model)
    attempt = Abilities(able.level, able.tools and bool(asked.tools), able.temperature, able.max_tokens)
    while True:
        try:
            reply = _once(client, model, messages, asked, attempt, until)
        except openai.APIStatusError as error:
            if error.status_code in (400, 404, 422, 500, 501) and _asks_less(attempt, error):
                if asked.tools and not attempt.tools:
                    able.tools = False
                    raise NoTools from None
                continue
            raise fault_of(error, client.api_key) from None
        able.level, able.temperature = max(able.level, attempt.level), attempt.temperature
        able.max_tokens = attempt.max_tokens
        return reply


def _asks_less(attempt: Abilities, error: openai.APIStatusError) -> bool:
    """Take away what the server refused; False when it refused something else."""
    said = f"{error.param or ''} {error.code or ''} {error.message}".lower()
    if error.status_code == 404 or any(word in said for word in ("context length", "context_length", "context size")):
        return False
    if "max_tokens" in said and attempt.max_tokens == "max_tokens":
        attempt.max_tokens = "max_completion_tokens"
    elif "temperature" in said and attempt.temperature:
        attempt.temperature = False
    elif "tool" in said and attempt.tools:
        attempt.tools = False
    elif attempt.level < len(LEVELS) - 1 and (
        any(word in said for word in ("response_format", "json_schema", "json_object", "schema", "grammar"))
        or error.status_code in (400, 422)
    ):
        attempt.level += 1
    else:
        return False
    return True


def _once(
    client: openai.OpenAI, model: str, messages: Sequence[Mapping[str, Any]], asked: Asked, able: Abilities,
    until: float,
) -> Reply:  # fmt: skip
    left = until - time.monotonic()
    if left <= 0:
        raise NoTime("the time for this ticket is over")
    timeout_s = min(asked.timeout_s, left)
    until = time.monotonic() + timeout_s
    request: dict[str, Any] = {"model": model, "messages": list(messages), able.max_tokens: asked.max_tokens}
    if able.temperature:
        request["temperature"] = asked.temperature
    if able.tools and asked.tools:
        request["tools"] = [{"type": "function", "function": dict(tool)} for tool in asked.tools]
    if LEVELS[able.level] == "json_schema":
        schema = {"name": "report", "strict": True, "schema": dict(asked.schema)}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif LEVELS[able.level] == "json_object":
        request["response_format"] = {"type": "json_object"}
    try:
        with client.chat.completions.with_streaming_response.create(
            **request, timeout=openai.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        ) as response:
            body = _read(response.iter_bytes(), until)
    except openai.APIStatusError:
        raise
    except openai.OpenAIError as error:
        raise fault_of(error, client.api_key) from None
    except httpx2.HTTPError as error:  # while the body was read
        raise fault_of(error, client.api_key) from None
    return _reply(body)


def _read(chunks: Any, until: float) -> bytes:
    """The body. A server that sends a little now and then keeps every timeout of the client; it does not keep ours."""
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLong(f"the answer has more than {MAX_BODY:,} bytes")
        if time.monotonic() > until:
            raise Broken("timeout", "the answer was still coming in when its time was over")
    return bytes(body)


def _reply(body: bytes) -> Reply:
    try:
        whole = json.loads(body)
        if isinstance(whole, dict) and isinstance(whole.get("error"), dict) and not whole.get("choices"):
            raise Broken("error", f"200 with an error: {str(whole['error'].get('message', ''))[:200]}")
        choice = whole["choices"][0]
        message = choice["message"]
        calls = tuple(_tool_call(index, call) for index, call in enumerate(message.get("tool_calls") or ()))
        usage = whole.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        spent = [n if isinstance(n, int) and 0 <= n < 10**9 else None for n in counts]
        text = message.get("content") or ""
        if not isinstance(text, str):
            text = "".join(str(part.get("text", "")) for part in text)
        refusal = message.get("refusal")
        finish = "refusal" if refusal and not text else str(choice.get("finish_reason") or "stop")
        return Reply(text, calls, finish, spent[0], spent[1])
    except ModelFault:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise Broken("error", "200 with something that is no chat completion") from None


def _tool_call(index: int, call: Mapping[str, Any]) -> tuple[str, str, str]:
    given = call["function"].get("arguments") or "{}"
    return (
        str(call.get("id") or f"call_{index}"), str(call["function"].get("name", "")),
        given if isinstance(given, str) else json.dumps(given),
    )  # fmt: skip
