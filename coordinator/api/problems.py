"""Every refusal as one problem document (RFC 9457, application/problem+json), whoever raised it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import redis.exceptions
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shiftlead.queues.errors import ShiftleadError

__all__ = ["COUNT", "Forbidden", "Overloaded", "Unauthenticated", "install", "problem", "problem_for"]

log = logging.getLogger("shiftlead.api")
# Counts a refusal of the request under way, whoever answers it; threads that handle a part of it inherit it.
COUNT: ContextVar[Callable[[Exception], None] | None] = ContextVar("COUNT", default=None)

# What Redis says when it is there but cannot take a write: full, loading, a replica, disk trouble.
REDIS_BUSY = ("OOM", "MISCONF", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "NOREPLICAS")
MAY_BE_RECORDED = (
    "{what} did not answer in time. What you sent may be recorded, or not: retry it with the same Idempotency-Key."
)


class Unauthenticated(ShiftleadError):
    """No key, or one that nobody knows."""

    status = 401


class Forbidden(ShiftleadError):
    """The key is good, but not for this."""

    status = 403


class Overloaded(ShiftleadError):
    """More requests at once than one process keeps in memory."""

    status, retry_after_s = 429, 1


REFUSALS = (ShiftleadError, RequestValidationError, HTTPException)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    for kind in (ShiftleadError, HTTPException, RequestValidationError, redis.exceptions.RedisError, SQLAlchemyError):
        app.add_exception_handler(kind, _handle)


def problem_for(error: Exception) -> JSONResponse:
    """The problem document of any exception. What is not known is a 500 without internals; the log has them."""
    if (count := COUNT.get()) is not None and isinstance(error, REFUSALS):
        count(error)
    if isinstance(error, ShiftleadError):
        return _ours(error)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return problem(error.status_code, _http_detail(error), headers=headers)
    if _is_busy_redis(error):
        log.warning("redis: %s", error)
        return problem(503, MAY_BE_RECORDED.format(what="Redis"), headers={"Retry-After": "1"})
    if _is_busy_sql(error):
        log.warning("sql: %s", type(error).__name__)
        return problem(503, MAY_BE_RECORDED.format(what="The ledger's database"), headers={"Retry-After": "2"})
    log.error("a request failed", exc_info=error)
    return problem(500, "Shiftlead failed to handle this request. The log of `shiftlead web` says why.")


def problem(
    status: int, detail: str, *, kind: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """One problem document. `kind` names the error class, so that a program need not read the sentence."""
    title = HTTPStatus(status).phrase
    body = {"type": f"urn:shiftlead:{kind}" if kind else "about:blank", "title": title, "status": status}
    return JSONResponse(
        body | {"detail": detail} | more,
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


async def _handle(_request: Request, error: Exception) -> JSONResponse:
    return problem_for(error)


def _ours(error: ShiftleadError) -> JSONResponse:
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="shiftlead"'
    if error.status == 413:
        headers["Connection"] = "close"  # the rest of the body is not worth reading
    more = {
        name: value
        for name in ("field", "line", "number")
        if isinstance(value := getattr(error, name, None), str | int) and value != ""
    }
    return problem(error.status, str(error), kind=_kebab(type(error).__name__), headers=headers, **more)


def _invalid(error: RequestValidationError) -> JSONResponse:
    errors = [{"field": ".".join(str(p) for p in e["loc"][1:]), "message": e["msg"]} for e in error.errors()]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    return problem(422, f"{detail}. Nothing was stored.", kind="bad-input", field=errors[0]["field"], errors=errors)


def _http_detail(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is no such address. See /openapi.json for those there are."
    if error.status_code == 405:
        return "This address does not take that method. See /openapi.json."
    return str(error.detail)


def _is_busy_redis(error: Exception) -> bool:
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return True
    text = str(error).upper()
    return (
        isinstance(error, redis.exceptions.ResponseError)
        and any(text.startswith(word) or f" {word} " in text[:200] for word in REDIS_BUSY)
    ) or isinstance(error, redis.exceptions.OutOfMemoryError | redis.exceptions.ReadOnlyError)


def _is_busy_sql(error: Exception) -> bool:
    """Connection lost, locked, disk full, pool exhausted: the state of the database, not our SQL."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or type(error).__name__ in ("OperationalError", "InterfaceError")
    return isinstance(error, SQLAlchemyError) and type(error).__name__ == "TimeoutError"


def _kebab(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
