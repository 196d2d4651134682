"""API keys: who calls, and what he may do.

A key is a secret `slk_...` that is shown once; SQL has only its SHA-256 (the secret has 256 random bits, so a slow
hash would protect nothing). A key has scopes, belongs to one team (`*` = to all), and an agent's key to one agent.
Look-ups are remembered for three seconds, so a revoked key is refused within five.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from shiftlead.config.private import private_folder
from shiftlead.config.settings import Settings
from shiftlead.queues.errors import BadInput

from .problems import Forbidden, Unauthenticated

__all__ = [
    "ANY_TEAM", "SCOPES", "Caller", "KeyLedger", "Keyring", "any_key", "caller_if_any", "create_key", "digest_of",
    "first_admin_key", "may",
]  # fmt: skip

PREFIX = "slk_"
ANY_TEAM = "*"
SCOPES = ("enqueue", "work", "approve", "admin", "read")
AGENT_SCOPES = {"work", "read", "enqueue"}  # an agent decides by working on an approval ticket, never by its key
REMEMBER_S = 3.0
REMEMBER_AT_MOST = 10_000


class KeyLedger(Protocol):
    """What this file needs of the ledger."""

    def add_key(self, team: str, hash: str, name: str, scopes: Sequence[str], agent: str | None = None, /) -> None: ...
    def find_key(self, hash: str, /) -> Any: ...
    def keys(self, team: str, /) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the key's name, its team, its agent if it is an agent's, and what it may do."""

    name: str
    team: str
    scopes: frozenset[str]
    agent: str | None = None

    def may(self, *scopes: str) -> bool:
        """Whether the key has one of `scopes`; admin has all."""
        return "admin" in self.scopes or not self.scopes.isdisjoint(scopes)

    @property
    def actor(self) -> str:
        """How the ledger names the caller."""
        return f"agent:{self.agent}" if self.agent else f"person:{self.name}"


class Keyring:
    """Finds the caller of a secret. Known keys are remembered for three seconds; unknown ones never are, so that
    somebody who tries out secrets fills no memory and a new key works at once."""

    def __init__(self, ledger: Callable[[], KeyLedger]) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Caller]] = {}

    def remembered(self, secret: str) -> Caller | None:
        """The caller if the secret was looked up a moment ago. Never blocks."""
        entry = self._known.get(digest_of(secret))
        return entry[1] if entry and time.monotonic() - entry[0] <= REMEMBER_S else None

    def find(self, secret: str) -> Caller | None:
        """The caller, from SQL. None: nobody knows the secret, or it was revoked."""
        digest, asked_at = digest_of(secret), time.monotonic()
        row = self._ledger().find_key(digest)
        with self._lock:
            if row is None:
                self._known.pop(digest, None)
                return None
            if len(self._known) >= REMEMBER_AT_MOST:
                self._known.clear()
            caller = Caller(row.name, row.team, frozenset(row.scopes), row.agent or None)
            self._known[digest] = (asked_at, caller)
        return caller


def may(*scopes: str) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    """A FastAPI dependency: the caller, if his key has one of `scopes`.

    Raises:
        Unauthenticated: no key, or an unknown one.
        Forbidden: the key has other scopes.
    """

    async def caller_of(request: Request) -> Caller:
        caller = await caller_if_any(request)
        if caller is None:
            raise Unauthenticated(
                "This needs a key that is valid: send `Authorization: Bearer slk_...`. Make one: shiftlead keys create"
            )
        if not caller.may(*scopes):
            raise Forbidden(f"The key {caller.name!r} has no scope {' or '.join(scopes)}. Nothing was done.")
        return caller

    return caller_of


async def caller_if_any(request: Request) -> Caller | None:
    """The caller, or None without a valid key. The event loop is left only for a look-up in SQL."""
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if kind.lower() != "bearer" or not secret.startswith(PREFIX) or len(secret) > 200:
        return None
    keyring: Keyring = request.app.state.keyring
    return keyring.remembered(secret) or await run_in_threadpool(keyring.find, secret)


def create_key(ledger: KeyLedger, team: str, name: str, scopes: Iterable[str], agent: str | None = None) -> str:
    """Make a key and return its secret, which is stored nowhere.

    Raises:
        BadInput: an unknown scope, a working key without an agent, or an agent's key that could approve.
    """
    wanted = list(dict.fromkeys(scopes))
    unknown = [s for s in wanted if s not in SCOPES]
    if unknown or not wanted:
        raise BadInput(f"Scopes are {', '.join(SCOPES)}; {unknown[0] if unknown else 'none'!r} is not.", field="scopes")
    if agent is None and "work" in wanted and "admin" not in wanted:
        raise BadInput("A key with the scope work belongs to one agent: name it.", field="agent")
    if agent is not None and not AGENT_SCOPES.issuperset(wanted):
        raise BadInput(f"An agent's key may have {', '.join(sorted(AGENT_SCOPES))} and no more.", field="scopes")
    secret = PREFIX + secrets.token_urlsafe(32)
    ledger.add_key(team, digest_of(secret), name, wanted, agent)
    return secret


def first_admin_key(ledger: KeyLedger, settings: Settings) -> str:
    """Make the first key of an installation, for all its teams, and keep it for the local command line.

    The file `admin_key` in the data folder (mode 0600) is written before SQL: a crash in between leaves a key that
    opens nothing, and the next start makes another; the other way round would lock everybody out.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    private_folder(settings.data)
    _write_private(settings.data / "admin_key", secret)
    ledger.add_key(ANY_TEAM, digest_of(secret), "admin", ["admin"], None)
    return secret


def any_key(ledger: KeyLedger, teams: Iterable[str]) -> bool:
    """Whether somebody could come in: a key that was not revoked."""
    return any(key.revoked_at is None for team in (ANY_TEAM, *teams) for key in ledger.keys(team))


def digest_of(secret: str) -> str:
    """What SQL has of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
