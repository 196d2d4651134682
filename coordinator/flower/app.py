"""Flower with a Tickets tab: a subclass, one handler more, and our templates before Flower's. Nothing is patched.

Flower's templates and its BaseHandler are no promised interface, so the version is pinned below 2.3 and the page has
a test.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import structlog
from flower.app import Flower
from flower.options import default_options
from flower.urls import settings as flower_settings
from tornado.template import Loader, Template
from tornado.web import url

from shiftlead.config.clock import Clock, ServerClock
from shiftlead.config.redis_client import make_client, server_time
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.broker import make_app
from shiftlead.queues.errors import BadInput

from .handlers import Desks, TicketsView

__all__ = ["ShiftleadFlower", "run_flower"]

log = structlog.get_logger("shiftlead.flower")
HERE = Path(__file__).parent / "templates"
options: Any = default_options


def run_flower(settings: Settings, teams: Sequence[Team]) -> int:
    """Show the fleet and the tickets until SIGTERM or SIGINT; returns the exit code.

    Always behind a login and read-only. Listens on SHIFTLEAD_HOST, which is loopback unless it was set.

    Raises:
        BadInput: SHIFTLEAD_FLOWER_AUTH is not user:password.
    """
    with as_file(files("shiftlead.config") / "flowerconfig.py") as shipped:
        options.parse_config_file(str(shipped), final=False)
    options.address, options.port = settings.host, settings.flower_port
    options.basic_auth = [_login(settings)]
    options.read_only = True
    secret = _kept(settings.data / "flower_cookie", lambda: secrets.token_urlsafe(48))
    client = make_client(settings.redis_address, settings)
    desks = Desks(client, ServerClock(lambda: server_time(client)), teams, f"http://{settings.host}:{settings.port}")
    flower: Any = ShiftleadFlower(
        desks, capp=make_app(settings, teams), options=options, **{**flower_settings, "cookie_secret": secret}
    )
    try:
        port = flower.start_http_server()
    except OSError as error:
        raise BadInput(
            f"Flower cannot listen on {settings.host}:{settings.flower_port}: {error.strerror}. "
            "Stop what uses it, or set SHIFTLEAD_FLOWER_PORT.",
            field="flower_port",
        ) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: flower.io_loop.add_callback_from_signal(flower.stop))
    log.info("Flower listens", url=f"http://{settings.host}:{port}/tickets", login=_whose(settings))
    try:
        flower.start()
    finally:
        flower.stop()
        client.close()
    return 0


class ShiftleadFlower(Flower):
    """Flower and our page. `clock` tells what is late."""

    def __init__(self, desks: Desks, **given: Any) -> None:
        loader = _TwoRoots(HERE, Path(str(flower_settings["template_path"])))
        super().__init__(template_loader=loader, **given)  # type: ignore[no-untyped-call]
        self.desks = desks
        prefix = f"/{given['options'].url_prefix.strip('/')}" if given["options"].url_prefix else ""
        self.add_handlers(r".*", [url(rf"{prefix}/tickets", TicketsView, name="tickets")])

    @property
    def clock(self) -> Clock:
        return self.desks.clock


class _TwoRoots(Loader):
    """Our template where we have one, else Flower's. Everything is escaped unless a template says `raw`."""

    def __init__(self, ours: Path, theirs: Path) -> None:
        super().__init__(str(theirs), autoescape="xhtml_escape")
        self._ours = ours

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        return name  # templates name each other plainly; there are no folders

    def _create_template(self, name: str) -> Any:
        path = self._ours / name
        if not path.is_file():
            return super()._create_template(name)
        return Template(path.read_bytes(), name=name, loader=self)


def _login(settings: Settings) -> str:
    """user:password, from the settings, else made once and kept where only the owner reads it."""
    if settings.flower_auth:
        user, _, password = settings.flower_auth.partition(":")
        if not user or not password:
            raise BadInput("SHIFTLEAD_FLOWER_AUTH must be user:password.", field="flower_auth")
        return settings.flower_auth
    return _kept(settings.data / "flower_auth", lambda: f"shiftlead:{secrets.token_urlsafe(18)}")


def _whose(settings: Settings) -> str:
    return "SHIFTLEAD_FLOWER_AUTH" if settings.flower_auth else f"user:password in {settings.data / 'flower_auth'}"


def _kept(path: Path, make: Any) -> str:
    """What the file says; written once, mode 0600. Two starting at once agree: the first one's text stands."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make() + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
