"""Is the process alive, and can it take tickets? The first is open to all, the details of the second need a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import ShiftleadError

from .auth import caller_if_any
from .problems import problem

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """It can take tickets: Redis answers, every team's epoch is open, SQL answers, the ledger keeps up. Else 503."""
    try:
        known = await caller_if_any(request) is not None
    except (sa.exc.SQLAlchemyError, ShiftleadError):
        known = False  # without SQL nobody can be known: the bare answer has to do
    checks = await run_in_threadpool(_checks, request)
    wrong = {name: text for name, text in checks.items() if text != "ok"}
    more: dict[str, Any] = {"checks": checks} if known else {}
    if not wrong:
        return JSONResponse({"status": "ready"} | more)
    detail = "; ".join(f"{name}: {text}" for name, text in wrong.items()) if known else "Not ready. Retry in a moment."
    return problem(503, detail, kind="not-ready", headers={"Retry-After": "2"}, **more)


def _checks(request: Request) -> dict[str, str]:
    state = request.app.state
    checks = {"redis": _try(state.connections.client.ping), "sql": _try(lambda: _select_one(state.connections.ledger))}
    for name, desk in state.rooms.desks.items():
        checks[f"epoch {name}"] = _try(lambda d=desk: d.store.epoch(intake=True))  # type: ignore[misc]
        checks[f"ledger {name}"] = _try(lambda d=desk: _keeps_up(d))  # type: ignore[misc]
    return checks


def _select_one(ledger: Any) -> None:
    with ledger.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))


def _keeps_up(desk: Desk) -> None:
    """How long the oldest line that SQL has not yet confirmed is waiting."""
    client, keys = desk.store.client, desk.keys
    if desk.settings.acknowledge == "redis":
        return
    reached = client.xrevrange(keys.recorded, count=1)
    cursor = reached[0][1].get("id", reached[0][0]) if reached else "0-0"
    waiting = client.xrange(keys.ledger, min=f"({cursor}", count=1)
    if waiting:
        behind = desk.clock.now() - int(waiting[0][0].partition("-")[0]) / 1000
        if behind > desk.settings.lag_s:
            raise ShiftleadError(f"{behind:.0f} s behind; does a coordinator run?")


def _try(check: Callable[[], Any]) -> str:
    try:
        check()
    except (redis.RedisError, sa.exc.SQLAlchemyError, OSError) as error:
        return f"does not answer ({type(error).__name__})"
    except ShiftleadError as error:
        return str(error)
    return "ok"
