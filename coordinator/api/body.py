"""Request bodies: read within a limit, decoded strictly. A body that is too large is refused before it is all read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from shiftlead.config.settings import Settings
from shiftlead.queues.errors import BadInput, TooLarge
from shiftlead.queues.ticket import MAX_DEPTH, Draft, check_text, parse_draft

__all__ = ["BATCH_FACTOR", "body", "checked", "decode", "parse", "read_draft", "schema"]

T = TypeVar("T")
BATCH_FACTOR = 32  # a batch may have the bytes of so many of the largest tickets


def body(factor: int = 1) -> Callable[[Request], Coroutine[Any, Any, bytes]]:
    """A FastAPI dependency: the raw body, at most `factor` times `max_ticket_bytes` bytes.

    Raises:
        TooLarge: by what Content-Length says, or as soon as more than that has arrived.
    """

    async def read(request: Request) -> bytes:
        settings: Settings = request.app.state.settings
        limit = settings.max_ticket_bytes * factor
        told = request.headers.get("content-length", "")
        if told.isdecimal() and (len(told) > 15 or int(told) > limit):
            raise _too_large(f"{told[:15]}", limit)
        chunks, size = [], 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(f"more than {limit}", limit)
                chunks.append(chunk)
        except ClientDisconnect:
            raise BadInput("The connection was closed before the body was complete. Nothing was stored.") from None
        return b"".join(chunks)

    return read


def read_draft(raw: bytes | dict[str, Any], settings: Settings) -> Draft:
    """A ticket as it was sent.

    Raises:
        BadInput, TooLarge: it cannot be one; says which field.
    """
    try:
        draft = parse_draft(raw, max_bytes=settings.max_ticket_bytes)
    except ValueError as error:  # a number with thousands of digits
        raise BadInput(f"This is not a ticket: {str(error).partition(';')[0]}. Nothing was stored.") from None
    _check_finite(draft.context, "context")
    return draft


def parse(kind: type[T] | TypeAdapter[T], raw: bytes) -> T:
    """A small body as `kind`. An empty body is an empty object.

    Raises:
        BadInput: says which field is wrong.
    """
    value = checked(decode(raw)) if raw.strip() else {}
    adapter: TypeAdapter[T] = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"])
        what = (
            f"unknown field {field!r}" if first["type"] == "extra_forbidden" else f"{field or 'body'}: {first['msg']}"
        )
        raise BadInput(f"This cannot be used: {what}. Nothing was written.", field=field) from None


def decode(raw: bytes) -> Any:
    """JSON with everything refused that a database or a model cannot hold.

    Raises:
        BadInput: malformed, not UTF-8, NaN or infinite, NUL, lone surrogate, too deep.
    """
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadInput(f"The body is not UTF-8 (byte {error.start}). Nothing was written.") from None
    except json.JSONDecodeError as error:
        raise BadInput(
            f"Malformed JSON in line {error.lineno}, column {error.colno}: {error.msg}. Nothing was written.",
            line=error.lineno,
        ) from None
    except RecursionError:
        raise BadInput(f"The JSON is nested too deeply; at most {MAX_DEPTH} levels are taken.") from None
    except ValueError as error:  # a number with thousands of digits
        raise BadInput(f"The JSON cannot be read: {str(error).partition(';')[0]}. Nothing was written.") from None
    return value


def checked(value: Any) -> Any:
    """`value`, if it is text a database can hold. Raises BadInput."""
    check_text(value)
    _check_finite(value, "body")
    return value


def schema(*kinds: type[BaseModel], media: str = "application/json") -> dict[str, Any]:
    """For OpenAPI: a handler that reads its body itself still says what it takes."""
    refs = [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in kinds]
    return {
        "requestBody": {
            "required": True,
            "content": {media: {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}},
        }
    }


def _check_finite(value: Any, where: str) -> None:
    """1e999 is valid JSON and no number: it would be stored as null."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{where} is a number too large to keep. Nothing was stored.", field=where)
    if isinstance(value, dict):
        for key, item in value.items():
            _check_finite(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(item, f"{where}.{index}")


def _no_constant(name: str) -> None:
    raise BadInput(f"{name} is not a JSON number. Nothing was written.")


def _too_large(told: str, limit: int) -> TooLarge:
    return TooLarge(
        f"The body has {told} bytes; at most {limit:,} are taken here. Put large material behind a link. "
        "Nothing was stored."
    )
