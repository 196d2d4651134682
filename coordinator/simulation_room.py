"""Where a dry run takes place: a server of its own in a temporary folder, and nobody who could hear anything."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import structlog

from shiftlead.config.redis_client import make_client
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.errors import BadInput

from .cycle import Cycle
from .embedded import EmbeddedServer
from .notify import Notices
from .simulation_wire import lean_client

__all__ = ["complaints", "private_server", "tell_nobody"]

AGES_S = 20 * 366 * 86_400.0  # longer than any dry run


@contextmanager
def private_server(settings: Settings, kind: str = "valkey") -> Iterator[tuple[redis.Redis, Settings]]:
    """An empty server that is ours alone, and the settings to use it with. Both are gone afterwards.

    `kind`: valkey, or fake for the one in this process (slower; needs the package fakeredis).

    Raises:
        BadInput: there is no such kind, or the package is missing.
        NoRedis: there is no server program, or it does not come up.
    """
    folder = Path(tempfile.mkdtemp(prefix="sl-dry-"))
    dry = _settings(settings, folder)
    try:
        if kind == "fake":
            yield _fake(), dry
        elif kind == "valkey":
            with _Forgetful(dry), make_client(dry.redis_address, dry) as client:
                lean = lean_client(client, str(dry.socket_path), timeout_s=dry.socket_timeout_s)
                try:
                    yield lean, dry
                finally:
                    lean.close()
        else:
            raise BadInput(f"--server is valkey or fake, not {kind!r}.", field="server")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Forgetful(EmbeddedServer):
    """The embedded server without its file: nothing of a dry run is kept."""

    def prepare(self) -> list[str]:
        argv = super().prepare()
        argv[argv.index("--appendonly") + 1] = "no"
        return argv


def _fake() -> Any:
    try:
        import fakeredis
    except ImportError:
        raise BadInput(
            "--server fake needs the package fakeredis with its Lua (pip install 'fakeredis[lua]'). Leave the option "
            "out to use the server that comes along.",
            field="server",
        ) from None
    return fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))


class _TellNobody(Notices):
    """A dry run tells nobody anything; the record has every step."""

    def tell(self, *_: Any, **__: Any) -> None:
        return None


def _settings(settings: Settings, folder: Path) -> Settings:
    """The settings of a dry run in `folder`: no SQL, no lease, no other server, whatever the environment says."""
    values = {
        "home": folder, "redis_url": "", "database_url": "", "broker_url": "", "notices": "", "url": "", "key": "",
        "acknowledge": "redis", "sweep_s": 900.0, "lease_s": AGES_S, "presence_ttl_s": AGES_S,
        "calendar_refresh_s": 86_000.0,
    }  # fmt: skip
    return Settings.model_validate(settings.model_dump() | values)


def tell_nobody(cycle: Cycle, settings: Settings, team: Team) -> None:
    silent = _TellNobody(settings, team)
    for part in (cycle, getattr(cycle, "firing", None), getattr(cycle, "giving", None)):
        if part is not None and hasattr(part, "notices"):
            part.notices = silent


@contextmanager
def complaints(into: Counter[str]) -> Iterator[None]:
    """What the engine would log is counted: a dry run writes to no log, and a warning is worth a line in the report."""

    def count(_logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        here = threading.get_ident() == mine  # what else this process does is not the dry run's
        if here and method in ("warning", "error", "exception", "critical"):
            into[f"{event.get('event')}: {event.get('error', '')}".rstrip(": ")[:160]] += 1
        raise structlog.DropEvent

    mine = threading.get_ident()
    before = structlog.get_config()
    structlog.configure(processors=[count])
    try:
        yield
    finally:
        structlog.configure(**before)
