"""The HTTP door: one FastAPI application for all teams, and the process that serves it."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shiftlead.config.settings import Settings
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Draft

from . import costs, hands, health, housekeeping, inbound, numbers, similar, tickets, work
from .auth import Keyring, any_key, first_admin_key
from .problems import Overloaded, install, problem_for
from .refusing import Refusing
from .rooms import Rooms
from .waiting import Waiting

if TYPE_CHECKING:
    from shiftlead.queues.connect import Connections

__all__ = ["create_app", "run_web"]

log = logging.getLogger("shiftlead.api")
THREADS = 128
MAX_IN_FLIGHT = 1_024  # beside those who wait for a ticket; more would only wait for a thread and fill the memory
REDIS_PATIENCE_S = 2.0  # a caller hears 503 within three seconds, also when a server hangs
GRACE_S = 10
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


def create_app(connections: Connections, teams: list[str]) -> FastAPI:
    """The application that serves `teams`. The ledger's tables must be there."""
    settings = connections.settings
    app = FastAPI(
        title="Shiftlead",
        description="Tickets in, the right agent, nothing lost. Every call but /healthz needs a key.",
        version="1",
        docs_url=None,  # its page would load scripts from the internet
        redoc_url=None,
        lifespan=_lifespan,
    )
    desks = {name: connections.desk(name) for name in teams}
    outside = settings.model_copy(update={"presence_ttl_s": settings.presence_ttl_s * work.OUTSIDE_FACTOR})
    block_s = min(1.0, settings.socket_timeout_s / 2)
    app.state.connections, app.state.settings = connections, settings
    app.state.rooms = Rooms(desks, settings)
    app.state.keyring = Keyring(lambda: connections.ledger)
    app.state.waiting = {n: Waiting(d.store.client, d.keys, block_s=block_s) for n, d in desks.items()}
    app.state.presence = {n: Presence(d.store.client, d.keys, d.clock, outside) for n, d in desks.items()}
    install(app)
    app.state.refusals = Refusing(desks, app.state.keyring, settings)
    app.add_middleware(_Guard, refusals=app.state.refusals)
    for router in (
        health.router,
        numbers.router,
        costs.router,
        hands.router,
        similar.router,
        work.router,
        tickets.router,
        housekeeping.router,
        inbound.router,
    ):
        app.include_router(router)
    app.openapi = _document(app)  # type: ignore[method-assign]
    return app


def run_web(settings: Settings, teams: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0, or 2 when it may not or cannot listen there."""
    from shiftlead.queues.connect import Connections

    patience = min(settings.socket_timeout_s, REDIS_PATIENCE_S)
    connections = Connections(settings.model_copy(update={"socket_timeout_s": patience}))
    try:
        connections.ledger.migrate()
        refusal = _first_start(connections, teams)
        if refusal:
            print(refusal, file=sys.stderr)
            return 2
        try:
            listening = _listen(settings.host, settings.port)
        except OSError as error:
            print(
                f"The HTTP door cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
                "Is another Shiftlead running? Choose another port with SHIFTLEAD_PORT.",
                file=sys.stderr,
            )
            return 2
        app = create_app(connections, teams)
        config = uvicorn.Config(
            app, log_level=settings.log_level.lower(), access_log=False, server_header=False, date_header=True,
            timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=30,
        )  # fmt: skip
        with listening:
            _Server(config, app.state.waiting.values()).run(sockets=[listening])
        return 0
    finally:
        connections.close()


class _Server(uvicorn.Server):
    """Lets waiting agents go at once when it is told to stop."""

    def __init__(self, config: uvicorn.Config, waiting: Any) -> None:
        super().__init__(config)
        self._waiting: Sequence[Waiting] = list(waiting)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        for waiting in self._waiting:
            waiting.stop()
        super().handle_exit(sig, frame)


class _Guard:
    """Around everything: security headers, a bound on requests in flight, and no answer with internals in it."""

    def __init__(self, app: ASGIApp, refusals: Refusing) -> None:
        self.app, self._refusals = app, refusals
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        self._refusals.watch(scope)

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS]
            await send(message)

        waits = scope["path"].endswith("/next")  # bounded by Waiting
        if not waits and self._in_flight >= MAX_IN_FLIGHT:
            refusal = Overloaded(f"{MAX_IN_FLIGHT:,} requests are under way here. Nothing was stored; retry.")
            await problem_for(refusal)(scope, receive, guarded)
            return
        self._in_flight += not waits
        try:
            await self.app(scope, receive, guarded)
        except Exception as error:
            if started:
                raise
            await problem_for(error)(scope, receive, guarded)
        finally:
            self._in_flight -= not waits


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    try:
        yield
    finally:
        for waiting in app.state.waiting.values():
            await anyio.to_thread.run_sync(waiting.close)
        await anyio.to_thread.run_sync(app.state.refusals.close)


def _first_start(connections: Connections, teams: list[str]) -> str:
    """Make the first admin key where only this machine can reach us. Returns why we must not start, if so."""
    settings = connections.settings
    if any_key(connections.ledger, teams):
        return ""
    if not _is_loopback(settings.host):
        return (
            f"There is no API key yet, so the HTTP door does not listen on {settings.host}: others could reach it. "
            "Start it once on 127.0.0.1, or make a key: shiftlead keys create"
        )
    secret = first_admin_key(connections.ledger, settings)
    kept = f"kept for the local command line in {settings.data / 'admin_key'} (mode 0600)"
    if sys.stdout.isatty():
        print(f"First start: the admin key is {secret}\nIt is shown once, and {kept}.", flush=True)
    else:  # a log file or a journal: others may read it, and it is kept for long
        print(f"First start: an admin key was made. It is {kept}.", flush=True)
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening


def _document(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """OpenAPI, with the bodies the handlers read themselves, and the key."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            kinds: list[Any] = [Draft, tickets.Reason, tickets.Reply, work.Heartbeat, work.Note, work.Reported]
            kinds += [*hands.BODIES, *housekeeping.BODIES, *costs.BODIES]
            _, extra = models_json_schema(
                [(k, "validation") for k in kinds], ref_template="#/components/schemas/{model}"
            )
            components = made.setdefault("components", {})
            components["schemas"] = extra.get("$defs", {}) | components.get("schemas", {})
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{"key": []}]
            for path in ("/healthz", "/readyz"):
                made["paths"][path]["get"]["security"] = []
            app.openapi_schema = made
        return app.openapi_schema

    return document
