"""A lean way to talk to the server of a dry run: a third of a simulated week would go into the client's bookkeeping.

One Unix socket, one thread, RESP2, text in and out. No pool, no retry, no health check: the server is ours, beside us,
and when it is gone the dry run is over. Transactions and everything unusual take redis-py's own way.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.connection import DefaultParser

__all__ = ["lean_client"]

PIECE = 1 << 16
PARSER: Any = DefaultParser  # it turns an error's text into the right exception; redis-py does not type it


def lean_client(client: redis.Redis, path: str, *, timeout_s: float) -> redis.Redis:
    """A client like `client`, whose plain calls and pipelines go over one socket at `path`."""
    return _Lean(client, _Wire(path, timeout_s))


class _Lean(redis.Redis):
    """Redis over one wire."""

    def __init__(self, client: redis.Redis, wire: _Wire) -> None:
        super().__init__(connection_pool=client.connection_pool)
        self.wire = wire

    def execute_command(self, *args: Any, **options: Any) -> Any:
        [reply] = self.wire.ask([args])
        return _meant(self.response_callbacks, args, options, reply)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Any:
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return _LeanPipeline(self.wire, self.connection_pool, self.response_callbacks, False, shard_hint)

    def close(self) -> None:
        self.wire.close()


class _LeanPipeline(Pipeline):
    """A pipeline without a transaction, over one wire."""

    def __init__(self, wire: _Wire, *args: Any) -> None:
        super().__init__(*args)
        self.wire = wire

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        replies = self.wire.ask([args for args, _ in stack])
        found: list[Any] = []
        for (args, options), reply in zip(stack, replies, strict=True):
            try:
                found.append(_meant(self.response_callbacks, args, options, reply))
            except redis.ResponseError as error:
                if raise_on_error:
                    raise
                found.append(error)
        return found


class _Wire:
    """Commands out, replies in, in their order."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._socket.connect(path)
        self._data, self._at = b"", 0

    def ask(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Raises:
        redis.ConnectionError: the server is gone.
        """
        try:
            self._socket.sendall(b"".join(map(_packed, commands)))
            return [self._reply() for _ in commands]
        except OSError as error:
            raise redis.ConnectionError(f"The server of the dry run is gone: {error}") from None

    def close(self) -> None:
        self._socket.close()

    def _reply(self) -> Any:
        line = self._line()
        kind, rest = line[0], line[1:]
        if kind == 36:  # $
            size = int(rest)
            return None if size < 0 else self._bytes(size).decode()
        if kind == 58:  # :
            return int(rest)
        if kind == 42:  # *
            count = int(rest)
            return None if count < 0 else [self._reply() for _ in range(count)]
        if kind == 43:  # +
            return rest.decode()
        return PARSER.parse_error(rest.decode())

    def _line(self) -> bytes:
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            self._more(PIECE)
        line, self._at = self._data[self._at : end], end + 2
        return line

    def _bytes(self, size: int) -> bytes:
        while len(self._data) - self._at < size + 2:
            self._more(max(PIECE, size))
        at, self._at = self._at, self._at + size + 2
        return self._data[at : at + size]

    def _more(self, size: int) -> None:
        piece = self._socket.recv(size)
        if not piece:
            raise redis.ConnectionError("The server of the dry run is gone.")
        self._data, self._at = self._data[self._at :] + piece, 0


def _packed(args: Sequence[Any]) -> bytes:
    parts = [b"*%d\r\n" % sum(len(_words(a)) if i == 0 else 1 for i, a in enumerate(args))]
    for place, arg in enumerate(args):
        for word in _words(arg) if place == 0 else (arg,):
            data = word if isinstance(word, bytes) else (repr(word) if isinstance(word, float) else str(word)).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _words(command: Any) -> list[str]:
    """A command of two words is sent as two: SCRIPT LOAD."""
    return str(command).split()


def _meant(callbacks: Any, args: Sequence[Any], options: dict[str, Any], reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    options.pop("keys", None)
    empty = options.pop("EMPTY_RESPONSE", None) if "EMPTY_RESPONSE" in options else None
    if reply in (None, []) and empty is not None:
        return empty
    callback = callbacks.get(args[0])
    return reply if callback is None else callback(reply, **options)
