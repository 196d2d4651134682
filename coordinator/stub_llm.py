"""A model server without a model: speaks the protocol of chat completions, answers from a script. For trying and tests.

    with StubLlm(Script([{"fault": "429", "retry_after": 7}])) as stub:
        OpenAI(base_url=stub.url, api_key="any")          # stub.calls, stub.counts, stub.most_at_once

`GET /v1/models`, `POST /v1/chat/completions` (whole or streamed; tools; response_format json_schema and json_object,
checked as strictly as the real one checks them; usage; errors in the real shape) and `GET /counts`. One event loop on
one thread serves any number of connections.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from .stub_answers import Answer, Script

__all__ = ["StubLlm", "strict_problem"]

MODELS = ("stub-large", "stub-small")
ALL = frozenset({"json_schema", "json_object", "tools", "stream"})
MAX_BODY = 20_000_000
KEPT = 10_000
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Too Large",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


class StubLlm:
    """The server. `features` without "json_schema", "json_object" or "tools" refuses them, as small servers do.

    `calls` and `headers` hold the latest requests as they came, `counts` how they ended by word, `most_at_once` how
    many waited for their answer at the same moment.
    """

    def __init__(
        self, script: Script | None = None, *, host: str = "127.0.0.1", port: int = 0, delay_s: float = 0.0,
        key: str = "", features: frozenset[str] = ALL,
    ) -> None:  # fmt: skip
        self.script = script or Script()
        self.host, self.port, self.delay_s, self.key, self.features = host, port, delay_s, key, features
        self.calls: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.headers: deque[dict[str, str]] = deque(maxlen=KEPT)
        self.counts: Counter[str] = Counter()
        self.count = self.at_once = self.most_at_once = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """What a client calls its base URL."""
        return f"http://{self.host}:{self.port}/v1"

    def start(self) -> StubLlm:
        """Listen, on a thread of its own.

        Raises:
            OSError: the port is taken.
        """
        ready: list[BaseException | None] = []
        up = threading.Event()

        def listening() -> None:
            ready.append(None)
            up.set()

        def run() -> None:
            try:
                asyncio.run(self._serve(listening))
            except BaseException as error:
                ready.append(error)
                up.set()

        self._thread = threading.Thread(target=run, name="stub model", daemon=True)
        self._thread.start()
        up.wait()
        if ready[0] is not None:
            raise ready[0]
        return self

    def stop(self) -> None:
        """Close every connection and the port."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(10)

    def wait(self) -> None:
        """Until it is stopped."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.5)

    def __enter__(self) -> StubLlm:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- HTTP -------------------------------------------------------------------------------------------------------

    async def _serve(self, ready: Callable[[], None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, self.host, self.port, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        await self._stopping.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _request(reader)) is not None:
                method, path, headers, body = asked
                if not await self._reply(method, path, headers, body, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client went away, or does not speak HTTP
        finally:
            writer.close()

    async def _reply(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False closes the connection."""
        path = path.partition("?")[0].rstrip("/")
        if method == "GET" and path == "/counts":
            await _send(writer, 200, {"calls": self.count, "most_at_once": self.most_at_once, **self.counts})
        elif method == "GET" and path == "/v1/models":
            models = [{"id": m, "object": "model", "created": 0, "owned_by": "shiftlead"} for m in MODELS]
            await _send(writer, 200, {"object": "list", "data": models})
        elif method == "POST" and path == "/v1/chat/completions":
            return await self._chat(headers, body, writer)
        else:
            await _send(writer, 404, _error(f"There is no {method} {path} here.", code="not_found"))
        return True

    async def _chat(self, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        self.count += 1
        number = self.count
        self.headers.append(dict(headers))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            try:
                request = json.loads(body)
            except ValueError:
                request = None
            if self.key and headers.get("authorization") != f"Bearer {self.key}":
                self.counts["401"] += 1
                await _send(writer, 401, _error("Incorrect API key provided.", code="invalid_api_key"))
                return True
            problem = _problem(request, self.features)
            if problem is not None:
                self.counts["400"] += 1
                await _send(writer, 400, problem)
                return True
            self.calls.append(request)
            answer = self.script.answer(request, number)
            self.counts[answer.fault or "answered"] += 1
            await asyncio.sleep(self.delay_s + answer.delay_s)
            return await self._answer(answer, request, headers, number, writer)
        finally:
            self.at_once -= 1

    async def _answer(
        self, answer: Answer, request: Mapping[str, Any], headers: Mapping[str, str], number: int,
        writer: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        match answer.fault:
            case "disconnect":
                return False
            case "429":
                after = {"Retry-After": answer.retry_after} if answer.retry_after else {}
                await _send(writer, 429, _error("Rate limit reached.", "requests", code="rate_limit_exceeded"), after)
            case "500" | "503":
                await _send(writer, int(answer.fault), _error("The server had an error.", "server_error"))
            case "401":
                said = f"Incorrect API key provided: {headers.get('authorization', '')}."
                await _send(writer, 401, _error(said, code="invalid_api_key"))
            case "html":
                await _send(writer, 200, b"<html><body>Please sign in</body></html>", {"Content-Type": "text/html"})
            case "no_choices":
                await _send(writer, 200, _completion(answer, request, number) | {"choices": []})
            case "drip":
                await _drip(writer, _completion(answer, request, number))
            case _ if request.get("stream"):
                await _stream(writer, answer, request, number)
            case _:
                await _send(writer, 200, _completion(answer, request, number))
        return True


def strict_problem(schema: Any, path: str = "schema") -> str:
    """Why the schema would be refused in strict mode; "" when it would not. As the real server's published rules."""
    if not isinstance(schema, dict):
        return f"{path} is not an object"
    if path == "schema" and (schema.get("type") != "object" or "anyOf" in schema):
        return "the root must be an object without anyOf"
    for word in ("minLength", "maxLength", "allOf", "oneOf", "not", "if", "patternProperties", "default"):
        if word in schema:
            return f"{path}: {word} is not permitted"
    if schema.get("type") == "object" or "properties" in schema:
        names = list(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False:
            return f"{path}: additionalProperties must be false"
        if set(schema.get("required", ())) != set(names):
            return f"{path}: required must name every property"
    parts = [(f"{path}.{name}", part) for name, part in schema.get("properties", {}).items()]
    parts += [(f"{path}.anyOf", part) for part in schema.get("anyOf", ())]
    parts += [(f"{path}.items", schema["items"])] if "items" in schema else []
    return next((found for where, part in parts if (found := strict_problem(part, where))), "")


def _problem(request: Any, features: frozenset[str]) -> dict[str, Any] | None:
    """The error for a request the real server would refuse, or this one's features do not allow."""
    if not isinstance(request, dict):
        return _error("We could not parse the JSON body of your request.")
    for name in ("model", "messages"):
        if not request.get(name):
            return _error(f"Missing required parameter: '{name}'.", param=name)
    if request.get("tools") and "tools" not in features:
        return _error("This server does not support tools.", param="tools")
    wanted = request.get("response_format") or {}
    kind = wanted.get("type", "text")
    if kind not in ("text", *features):
        return _error(f"Unsupported response_format {kind!r}.", param="response_format")
    if kind == "json_object" and "json" not in json.dumps(request["messages"]).lower():
        return _error("'messages' must contain the word 'json' in some form.", param="messages")
    if kind == "json_schema" and wanted.get("json_schema", {}).get("strict"):
        found = strict_problem(wanted["json_schema"].get("schema"))
        if found:
            return _error(f"Invalid schema for response_format: {found}.", param="response_format")
    return None


def _error(message: str, kind: str = "invalid_request_error", **more: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": more.get("param"), "code": more.get("code")}}


def _usage(answer: Answer, request: Mapping[str, Any]) -> dict[str, int]:
    """Four characters count as a token, as good as any for a model that is none."""
    asked = len(json.dumps(request["messages"])) // 4
    said = (len(answer.text) + sum(len(name) + len(given) for name, given in answer.tool_calls)) // 4
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _message(answer: Answer, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": f"call_{number}_{i}", "type": "function", "function": {"name": name, "arguments": given}}
            for i, (name, given) in enumerate(answer.tool_calls)
        ]
    return message


def _completion(answer: Answer, request: Mapping[str, Any], number: int) -> dict[str, Any]:
    choice = {"index": 0, "message": _message(answer, number), "finish_reason": answer.finish_reason, "logprobs": None}
    return {
        "id": f"chatcmpl-stub-{number}", "object": "chat.completion", "created": int(time.time()),
        "model": request["model"], "choices": [choice], "usage": _usage(answer, request),
    }  # fmt: skip


async def _stream(writer: asyncio.StreamWriter, answer: Answer, request: Mapping[str, Any], number: int) -> None:
    whole = _completion(answer, request, number)
    message = whole["choices"][0]["message"]
    pieces: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    pieces += [{"content": answer.text[i : i + 40]} for i in range(0, len(answer.text), 40)]
    pieces += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(message.get("tool_calls", ()))]
    base = {k: whole[k] for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks = [base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in pieces]
    chunks.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish_reason}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        chunks.append(base | {"choices": [], "usage": whole["usage"]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    await _send(writer, 200, body.encode(), {"Content-Type": "text/event-stream"})


async def _drip(writer: asyncio.StreamWriter, value: Any) -> None:
    body = json.dumps(value).encode()
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    for index in range(len(body)):
        writer.write(body[index : index + 1])
        await writer.drain()
        await asyncio.sleep(0.1)


async def _send(writer: asyncio.StreamWriter, status: int, value: Any, more: Mapping[str, str] | None = None) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(more or {})}
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes] | None:
    """Method, path, headers (names in small letters) and body of the next request; None at the end."""
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if length > MAX_BODY:
        raise ValueError("too large")
    return method, path, headers, await reader.readexactly(length)
