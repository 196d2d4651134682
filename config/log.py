"""Logging, set up once per process: readable lines on a terminal, one JSON object a line everywhere else.

structlog and the standard library's loggers (Celery, uvicorn, Flower) end in the same place. Ids bound with
`bound_ids(ticket=..., agent=...)` stand on every line of that thread until the block ends. Keys, passwords and tokens
of the outside world are masked before a line is written, whoever wrote it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .settings import Settings

__all__ = ["bound_ids", "masked", "redacted", "set_up_logging"]

MASK = "***"
SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|secret|secrets|authorization|cookie|auth|credential|credentials|bearer)$"
    r"|(^|_)(api|access|private|admin|signing)_?key$|^key$|(^|_)apikey$"
    r"|(^|_)token$",
    re.IGNORECASE,
)
ASSIGNED = r"(?:password|passwd|secret|api[_-]?key|access[_-]?key|token)"
SECRET_TEXT = [
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s@]+@", re.IGNORECASE), rf"\1{MASK}@"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\b(sk|pk|rk|slk|ghp|gho|github_pat|xox[abpr]|whsec)[-_][A-Za-z0-9_-]{8,}"), MASK),
    (re.compile(rf"({ASSIGNED}[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{{4,}}", re.IGNORECASE), rf"\1{MASK}"),
]


def set_up_logging(
    settings: Settings,
    *,
    process: str,
    json: bool | None = None,
    stream: TextIO | None = None,
    level: str | None = None,
) -> None:
    """Send this process's log to `stream` (standard error). `json` None: JSON unless it is a terminal.

    May be called again; the last call counts.

    Raises:
        ValueError: SHIFTLEAD_LOG_LEVEL names no level.
    """
    out = stream if stream is not None else sys.stderr
    number = logging.getLevelNamesMapping().get((level or settings.log_level).upper())
    if number is None:
        raise ValueError(f"SHIFTLEAD_LOG_LEVEL is {settings.log_level!r}; use DEBUG, INFO, WARNING or ERROR.")
    as_json = not out.isatty() if json is None else json

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_process(process),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        last += [structlog.processors.format_exc_info, redacted, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        plain = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
        # the text of an exception is made first, so that it is masked too
        last += [structlog.processors.format_exc_info, redacted, console]

    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for chatty in ("httpx2", "httpcore2", "openai", "asyncio", "uvicorn.access", "alembic"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def bound_ids(**ids: str | int | None) -> AbstractContextManager[None]:
    """Put these ids (team, agent, ticket, trace, worker) on every line of this thread, inside a with block."""
    given = {name: value for name, value in ids.items() if value is not None}
    return structlog.contextvars.bound_contextvars(**given)


def redacted(_logger: WrappedLogger | None, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the same event without secrets. The fencing token, a number, stays readable."""
    return {name: _clean(name, value) for name, value in event.items()}


def masked(text: str) -> str:
    """The text without keys, passwords and tokens of the outside world."""
    for pattern, put in SECRET_TEXT:
        text = pattern.sub(put, text)
    return text


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if SECRET_NAME.search(name):
        return MASK if value else value
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {k: _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean("", v) for v in value]
    return _clean(name, str(value))


def _name_process(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("process", process)
        return event

    return add
