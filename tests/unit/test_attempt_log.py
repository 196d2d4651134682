"""What the log says of each attempt of an agent, from a real run (SD-11)."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from shiftlead.agents.agent import Failed, Report, Resolved, Work
from shiftlead.agents.execution import Runner
from shiftlead.agents.quota import Busy
from shiftlead.config.log import set_up_logging
from shiftlead.config.settings import Settings
from shiftlead.queues.lifecycle import State
from tests.room import Room


class Brain:
    """Does what the ticket says."""

    def handle(self, work: Work) -> Report:
        match work.ticket.title:
            case "raise":
                raise ValueError("the order book is gone; password=hunter2hunter2")
            case "busy":
                raise Busy(after_s=5.0, reason="429")
            case "give up":
                return Failed(error="no such order")
        return Resolved(reply="done")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path, "front_office")
    room.runners = {name: Runner(room.desk, {name: Brain()}, f"{name}@w1", lambda: None) for name in room.team.agents}
    yield room
    room.close()


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, out = root.handlers[:], root.level, io.StringIO()
    set_up_logging(Settings(), process="worker", stream=out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def attempts(out: io.StringIO) -> list[dict[str, Any]]:
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line for line in said if line["event"] == "attempt"]


def test_an_attempt_is_logged_from_start_to_end_under_its_trace_id(room: Room, out: io.StringIO) -> None:
    """SD-11: who asks, how the message begins, how long it took, and that it succeeded."""
    body = "My parcel has not come, the key is sk-abcdefghijklmnop and this is how it goes on. " + "x" * 200
    ticket = room.comes("parcel", body, customer="mia", type="customer_issue")
    assert ticket.state is State.RESOLVED
    start, end = attempts(out)
    preview = body.replace("sk-abcdefghijklmnop", "***")[:100]
    assert (start["stage"], start["customer_id"], start["message_preview"]) == ("start", "mia", preview)
    assert (end["stage"], end["success"]) == ("end", True)
    assert end["duration"] >= 0
    assert start["trace_id"] == end["trace_id"] == ticket.trace_id != ""


def test_a_failure_is_logged_and_goes_on_to_whoever_decides_what_it_means(room: Room, out: io.StringIO) -> None:
    """SD-11: it is raised again, so the runtime counts it and others try; nothing secret is in the line."""
    ticket = room.comes("raise", "hello", customer="mia", type="customer_issue")
    assert ticket.failures["iris_support"] == 2
    failure = attempts(out)[1]
    assert (failure["stage"], failure["trace_id"]) == ("failure", ticket.trace_id)
    assert failure["error"] == "ValueError: the order book is gone; password=***"
    assert "success" not in failure


@pytest.mark.parametrize(("title", "state"), [("give up", State.FAILED), ("busy", State.READY)])
def test_what_ends_without_success_says_so(room: Room, out: io.StringIO, title: str, state: State) -> None:
    ticket = room.comes(title, "hello", customer="mia", type="customer_issue")
    assert ticket.state is state
    assert [(line["stage"], line.get("success")) for line in attempts(out)] == [("start", None), ("end", False)]
