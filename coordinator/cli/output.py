"""What every command shares: the options --home, --team and --json, how answers are printed, and the exit codes.

A command is a function whose first argument is a `Run`; `command` adds the shared options and turns what goes wrong
into one message on stderr and one exit code. Heavy modules are imported inside the commands, so that `--help` is
quick.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from shiftlead.config.settings import Settings

__all__ = [
    "EXIT_CODES", "Run", "ago", "command", "console", "fail", "group", "guarded", "in_time", "local_time", "plain",
    "safe",
]  # fmt: skip

EXIT_CODES = (
    "Exit codes: 0 ok · 1 unexpected · 2 bad input · 3 not found · 4 refused · 5 unavailable (try again).\n\n"
    "Every command takes --json, --home FOLDER (or SHIFTLEAD_HOME) and --team NAME (or SHIFTLEAD_TEAM).\n\n"
    "First steps: shiftlead demo · shiftlead up · shiftlead enqueue 'My order 4711 is late' · shiftlead list"
)
SHARED = "Everywhere"
# C0 without tab and line feed, C1, what turns the direction of writing, odd line ends, halves of a character
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Run:
    """One call of a command: its settings, and how it should answer."""

    as_json: bool
    team_names: str = ""
    home: Path | None = None  # the folder --home named; where it did not, SHIFTLEAD_HOME or the default counts

    @cached_property
    def settings(self) -> Settings:
        from shiftlead.config.settings import get_settings

        return get_settings()

    @property
    def teams(self) -> list[str]:
        """The teams the command is for; more than one where `--team a,b` said so."""
        return [t for t in (self.team_names or self.settings.team).split(",") if t]

    def say(self, data: Any, *parts: RenderableType) -> None:
        """Print the answer: `data` as JSON, or `parts` for people."""
        if self.as_json:
            print(_json(data))
            return
        from rich.text import Text

        out = console()
        for part in parts:  # a sentence is never cut into lines: a pipe or the terminal does that itself
            out.print(_harmless(part), markup=False, soft_wrap=isinstance(part, str | Text))

    def remark(self, text: str) -> None:
        """Something beside the answer: on stderr, so that a pipe gets the answer alone."""
        console(stderr=True).print(safe(text), style="dim", markup=False, soft_wrap=True)


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str], panel: str | None = None, own_team: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `function(run, ...)` under `name` with the shared options and the examples in its help.

    `own_team`: the command has a team argument of its own.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()

        def call(**values: Any) -> None:
            as_json = bool(values.pop("as_json"))
            home, team = values.pop("home"), values.pop("shared_team", None)
            with guarded(as_json):
                _set_environment(home, team)
                function(Run(as_json, team or "", home), **values)

        shared = [*_shared(own_team)]
        call.__name__, call.__doc__ = function.__name__, function.__doc__
        call.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
        epilog = "\n\n".join(["[bold]Examples[/bold]", *(f"  {_plain(e)}" for e in examples)])
        app.command(name, epilog=epilog, rich_help_panel=panel, no_args_is_help=False)(call)
        return function

    return register


def group(
    app: typer.Typer, name: str, text: str, *, panel: str | None = None, cls: type[TyperGroup] | None = None
) -> typer.Typer:
    """A group of commands, as `shiftlead agents ...`."""
    sub = typer.Typer(cls=cls, help=text, no_args_is_help=True, rich_markup_mode="rich")
    app.add_typer(sub, name=name, rich_help_panel=panel)
    return sub


@contextmanager
def guarded(as_json: bool) -> Iterator[None]:
    """Turn an error into its message and exit code; no traceback unless SHIFTLEAD_DEBUG is set."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; the interpreter would complain while closing
        raise typer.Exit(0) from None
    except Exception as error:
        if os.environ.get("SHIFTLEAD_DEBUG"):
            raise
        message, code = _meaning(error)
        fail(message, code, as_json)


def fail(message: str, code: int, as_json: bool) -> None:
    """Say what went wrong and end with `code`."""
    if as_json:
        print(_json({"error": message, "exit_code": code}), file=sys.stderr)
    else:
        console(stderr=True).print(safe(f"✘ {message}"), style="red", markup=False, soft_wrap=True, highlight=False)
    raise typer.Exit(code)


def console(*, stderr: bool = False) -> Console:
    """A console for people. Piped output is not cut to a narrow window; NO_COLOR is respected."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 160
    return Console(stderr=stderr, width=width, highlight=False)


def safe(text: str) -> str:
    """The text with what a terminal would obey, or would turn round, made visible; line breaks and tabs stay."""
    return HIDDEN.sub(_visible, text)


def plain(text: str, style: str = "") -> Text:
    """Somebody's text for a table or a panel: no markup, no control characters."""
    from rich.text import Text

    return Text(safe(text), style=style)


def ago(seconds: float) -> str:
    """A time span in one or two units: 45s, 12m, 3h 5m, 2d 4h."""
    s = int(abs(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m {s % 60}s" if s < 600 else f"{s // 60}m"
    if s < 86_400:
        return f"{s // 3600}h {s % 3600 // 60}m"
    return f"{s // 86_400}d {s % 86_400 // 3600}h"


def in_time(at: float | None, now: float) -> str:
    """`in 5m`, `3s ago`, or a dash."""
    if at is None:
        return "-"
    return f"in {ago(at - now)}" if at >= now else f"{ago(now - at)} ago"


def local_time(at: float) -> str:
    """A moment in the local time zone, to the second."""
    from datetime import datetime

    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _shared(own_team: bool) -> Iterator[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    if not own_team:
        team = "Team; default: SHIFTLEAD_TEAM, else front_office."
        yield inspect.Parameter(
            "shared_team", keyword, default=None,
            annotation=Annotated[str | None, typer.Option("--team", help=team, rich_help_panel=SHARED)],
        )  # fmt: skip
    yield inspect.Parameter(
        "home", keyword, default=None,
        annotation=Annotated[
            Path | None, typer.Option("--home", help="Data folder; default: SHIFTLEAD_HOME.", rich_help_panel=SHARED)
        ],
    )  # fmt: skip
    yield inspect.Parameter(
        "as_json", keyword, default=False,
        annotation=Annotated[bool, typer.Option("--json", help="Answer in JSON.", rich_help_panel=SHARED)],
    )  # fmt: skip


def _set_environment(home: Path | None, team: str | None) -> None:
    """The options become settings of this process and of those it starts."""
    from shiftlead.config.settings import get_settings

    if home is not None:
        os.environ["SHIFTLEAD_HOME"] = str(home.expanduser().absolute())
    if team:
        os.environ["SHIFTLEAD_TEAM"] = team.split(",")[0]
    get_settings.cache_clear()


def _meaning(error: Exception) -> tuple[str, int]:
    """The message and exit code for an error."""
    from pydantic import ValidationError

    from shiftlead.queues.errors import ShiftleadError

    if isinstance(error, ShiftleadError):
        return str(error), error.exit_code
    if type(error).__name__ == "TeamNotFound":  # by name: importing the team reader costs every command 100 ms
        return str(error), 3
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        name = f"SHIFTLEAD_{where.upper()}" if error.title == "Settings" else where
        return f"{name}: {first['msg']} (given: {first.get('input')!r}).", 2
    family = type(error).__module__.partition(".")[0]
    if family == "redis":
        if type(error).__name__ in ("ConnectionError", "TimeoutError", "BusyLoadingError"):
            return not_running(), 5
        return f"Redis refused: {error}", 5
    if family == "sqlalchemy":
        return f"The ledger's database does not answer: {str(error).splitlines()[0]}", 5
    if isinstance(error, ValueError | FileExistsError):
        return str(error), 2
    hint = "Set SHIFTLEAD_DEBUG=1 to see where."
    return f"Unexpected: {type(error).__name__}: {error}. {hint}", 1


def not_running() -> str:
    """What to say when nothing answers."""
    from shiftlead.config.settings import get_settings

    settings = get_settings()
    if settings.redis_url:
        return "The server of SHIFTLEAD_REDIS_URL does not answer. Start it, or correct the address."
    return (
        f"No Shiftlead is running on this data folder ({settings.data}): start one with `shiftlead up`, or name "
        "another folder with --home."
    )


def _json(data: Any) -> str:
    """What a terminal would obey is escaped: the same JSON, and harmless to look at."""
    text = json.dumps(data, ensure_ascii=False, default=str)
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _harmless(part: RenderableType) -> RenderableType:
    """A sentence is cleaned here; tables and panels are made of `plain` texts."""
    from rich.text import Text

    if isinstance(part, Text) and HIDDEN.search(part.plain):
        return plain(part.plain, str(part.style))
    return safe(part) if isinstance(part, str) else part


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"\\u{code:04X}"


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
