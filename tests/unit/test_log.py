"""What a log line says, and what it must never say."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from shiftlead.config.log import bound_ids, set_up_logging
from shiftlead.config.settings import Settings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The logging of the other tests is not ours to change."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_both_kinds_of_logger_write_the_same_lines_with_the_bound_ids(out: io.StringIO) -> None:
    """SD-11: a line names the trace it belongs to."""
    set_up_logging(Settings(), process="worker", stream=out)
    with bound_ids(ticket="T-2026-001", trace="tr1", agent=None):
        structlog.get_logger("shiftlead.x").info("claimed", token=7)
        logging.getLogger("celery").warning("lost %s", "the broker")
    structlog.get_logger("shiftlead.x").debug("too quiet")
    structlog.get_logger("shiftlead.x").info("after")

    first, second, third = lines(out)
    assert (first["event"], first["token"], first["level"]) == ("claimed", 7, "info")
    assert (second["event"], second["logger"], second["level"]) == ("lost the broker", "celery", "warning")
    for line in (first, second):
        assert (line["ticket"], line["trace"], line["process"]) == ("T-2026-001", "tr1", "worker")
        assert "agent" not in line
    assert "ticket" not in third


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "console"])
def test_no_secret_reaches_a_line(out: io.StringIO, as_json: bool) -> None:
    """I24: planted canaries, in every place a careless caller may put them."""
    set_up_logging(Settings(), process="web", stream=out, json=as_json)
    log = structlog.get_logger("shiftlead.x")
    log.info("by name", api_key="canary01", password="canary02", openai_api_key="canary03", token="canary04")
    log.info("nested", settings={"key": "canary05", "more": [{"Authorization": "canary06"}]})
    log.info("an address redis://:canary07@host/0 and postgresql://me:canary08@host/db")
    log.info(
        "header", value="Bearer canary09canary", other="sk-canary10canary", raw="password=canary11 secret: canary12"
    )
    logging.getLogger("uvicorn").error("failed with %s", "api_key='canary13'", extra={"cookie": "canary14"})
    try:
        raise ValueError("token=canary15")
    except ValueError:
        log.exception("broken")

    assert "broken" in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert "canary" not in out.getvalue()


def test_an_unknown_level_is_refused_by_the_name_of_its_setting() -> None:
    with pytest.raises(ValueError, match="SHIFTLEAD_LOG_LEVEL is 'LOUD'"):
        set_up_logging(Settings(log_level="LOUD"), process="web")
