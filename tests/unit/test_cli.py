"""The command line without a server: help, exit codes, messages, and what works with nothing running."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import typer

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.coordinator.__main__ import app, main
from shiftlead.coordinator.cli import doors
from shiftlead.coordinator.cli.agents import moment
from shiftlead.coordinator.cli.demo_events import events_shown
from shiftlead.coordinator.cli.hands import _lines
from shiftlead.coordinator.cli.output import ago, in_time
from shiftlead.coordinator.cli.people import _signal
from shiftlead.coordinator.cli.story import SYMBOLS, state_text
from shiftlead.queues.errors import BadInput
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line
from tests.conftest import open_desk

HELP = [sys.executable, "-m", "shiftlead.coordinator", "--help"]
HEAVY = {"celery", "sqlalchemy", "sqlmodel", "fastapi", "openai", "redis", "httpx2", "pydantic_settings"}


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch: pytest.MonkeyPatch, short_folder: Path) -> None:
    """No server, and nothing of the developer's own settings."""
    for name in list(os.environ):
        if name.startswith("SHIFTLEAD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SHIFTLEAD_HOME", str(short_folder))
    monkeypatch.setenv("SHIFTLEAD_TEAM", "front_office")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(short_folder)


def call(*arguments: str) -> int:
    """The exit code of `shiftlead ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    command = command or typer.main.get_command(app)
    found = getattr(command, "commands", None)
    if not found:
        yield path, command
        return
    for name, sub in found.items():
        yield from commands(sub, (*path, name))


EVERY = dict(commands())


# -- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.quiet
def test_help_is_quick() -> None:
    """`shiftlead --help` computes at most two and a half times what its own tools, Typer and Rich, take to load."""
    bare = [sys.executable, "-c", "import typer, rich.console, rich.markdown, rich.panel, rich.table"]
    assert computing_s(HELP) <= 2.5 * computing_s(bare)


def computing_s(argv: list[str]) -> float:
    """Seconds of a processor, the median of five runs."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(spent)


def test_help_loads_no_heavy_library() -> None:
    code = "import sys, shiftlead.coordinator.__main__; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in ("0 ok", "1 unexpected", "2 bad input", "3 not found", "4 refused", "5 unavailable"):
        assert word in said


@pytest.mark.parametrize("path", list(EVERY), ids=" ".join)
def test_every_command_has_an_example_and_the_shared_options(path: tuple[str, ...]) -> None:
    command = EVERY[path]
    assert f"shiftlead {' '.join(path)}" in command.epilog
    assert command.help
    options = {name for p in command.params for name in p.opts}
    assert {"--json", "--home"} <= options
    assert "--team" in options or path[0] in ("team", "demo")


def test_the_commands_are_those_that_are_promised() -> None:
    promised = "up down demo coordinator worker web flower redis intake enqueue list show why approve deny cancel note"
    promised += " inbox delegate edit reassign snooze merge similar brief stats erase refusals reply reopen"
    assert {*promised.split(), "try", "work"} <= {path[0] for path in EVERY}
    groups = {
        "agents": "list pause resume busy drain event record",
        "team": "check init list schema",
        "keys": "create revoke list",
    }
    for group, names in groups.items():
        assert {path[1] for path in EVERY if path[0] == group} == set(names.split())
    assert ("audit", "verify") in EVERY


# -- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("list", "--queue", "nope"), 2, "intake, active, completed"),
        (("list", "--state", "nope"), 2, "resolved"),
        (("list",), 5, "shiftlead up"),
        (("show", "T-2026-001"), 5, "shiftlead up"),
        (("enqueue", "a ticket"), 5, "shiftlead up"),
        (("enqueue", "  "), 2, "no text"),
        (("enqueue", "gone.jsonl"), 2, "gone.jsonl"),
        (("enqueue", "x", "--context", "{"), 2, "Malformed JSON"),
        (("enqueue", "x", "--priority", "soon"), 2, "priority"),
        (("approve", "T-2026-001"), 5, "shiftlead up"),
        (("agents", "list"), 5, "shiftlead up"),
        (("agents", "busy", "felix_ceo", "--until", "soon"), 2, "17:30"),
        (("agents", "busy", "felix_ceo", "--until", "+0s"), 2, "17:30"),
        (("agents", "busy", "felix_ceo", "--until", "0001-01-01T00:00"), 2, "17:30"),
        (("agents", "busy", "felix_ceo", "--until", "9999-12-31T23:59"), 2, "ten years"),
        (("agents", "busy", "felix_ceo", "--until", "+1h", "--reason", "\udcff"), 2, "the reason contains a lone"),
        (("agents", "pause", "felix_ceo", "--reason", "\udcff"), 2, "the reason contains a lone"),
        (("agents", "drain", "felix_ceo", "--reason", "\udcff"), 2, "the reason contains a lone"),
        (("agents", "resume", "felix_ceo", "--reason", "\udcff"), 2, "the reason contains a lone"),
        (("agents", "event", "felix_ceo", "deployed", "--ref", "\udcff"), 2, "the ref contains a lone"),
        (("try", "nobody", "x"), 3, "iris_support"),
        (("try", "iris_support", " "), 2, "no text"),
        (("try", "iris_support", "x", "--context", "[]"), 2, "JSON object"),
        (("try", "iris_support", "x", "--steps", "gone.json"), 2, "gone.json"),
        (("team", "check", "front_ofice"), 3, "front_office"),
        (("team", "init", "Not A Name"), 2, "small letters"),
        (("worker",), 2, "--agent NAME"),
        (("audit", "verify"), 5, "shiftlead up"),
        (("keys", "create", "x", "--scope", "everything"), 2, "everything"),
        (("keys", "create", "x", "--agent", "nobody"), 3, "iris_support"),
        (("keys", "revoke", "x"), 3, "keys list"),
        (("work", "--agent", "iris_support", "--exec", "no-such-program-anywhere"), 2, "no-such-program"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_mistake_has_its_exit_code_and_says_what_to_do(
    arguments: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == code
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said

    assert call(*arguments, "--json") == code
    error = json.loads(capsys.readouterr().err)
    assert error["exit_code"] == code and words in error["error"]


@pytest.mark.parametrize("arguments", [("nope",), ("list", "--nope"), ("list", "--limit", "0"), ("show",)])
def test_a_mistyped_call_is_bad_input_in_json_too(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert capsys.readouterr().err
    assert call(*arguments, "--json") == 2
    assert json.loads(capsys.readouterr().err)["exit_code"] == 2


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHIFTLEAD_LEASE_S", "-1")
    assert call("list") == 2
    assert "SHIFTLEAD_LEASE_S" in capsys.readouterr().err


def test_with_debug_the_error_itself_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTLEAD_DEBUG", "1")
    with pytest.raises(BadInput):
        main(["list", "--queue", "nope"])


def test_a_local_command_does_not_act_here_when_another_machine_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHIFTLEAD_URL", "http://127.0.0.1:1")
    assert call("agents", "list") == 4
    assert call("list") == 2, "without a key nobody can ask"
    monkeypatch.setenv("SHIFTLEAD_KEY", "slk_x")
    assert call("list") == 5
    assert "http://127.0.0.1:1 does not answer" in capsys.readouterr().err


def test_strict_enqueue_names_every_bad_line_before_anything_is_sent(
    short_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """EN-01: unknown fields are refused with their name; nothing of the line is stored."""
    lines = ['{"body": "fine"}', '{"boddy": "x"}', "", "not json", '["a"]', '{"body": "fine", "key": 5}']
    (short_folder / "t.jsonl").write_text("\n".join(lines))
    assert call("enqueue", "t.jsonl", "--strict") == 2
    said = capsys.readouterr()
    assert [line.split(": ")[0] for line in said.err.splitlines()] == [f"t.jsonl:{n}" for n in (2, 4, 5, 6)]
    assert "boddy" in said.err and "nothing was stored" in said.out


# -- what works without a server --------------------------------------------------------------------------------------


def test_try_runs_a_brain_and_stores_nothing(short_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TP-09: an agent can be tried alone."""
    assert call("try", "devin_engineering", "NullPointerException after the update", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "resolved" and "NullPointerException" in report["reply"]
    assert call("try", "iris_support", "Can I get a refund for order #W123?") == 0
    assert "nothing stored" in capsys.readouterr().out
    assert list(short_folder.iterdir()) == []


def test_try_gives_the_brain_earlier_steps_and_context(short_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TP-06, TP-09: results of earlier steps can be mocked."""
    a_team(short_folder, "    return {'kind': 'resolved', 'reply': work.steps['know']['x'] + work.ticket.context['y']}")
    (short_folder / "steps.json").write_text('{"know": {"x": "from a step, "}}')
    arguments = ["--team", "acme", "--steps", "steps.json", "--context", '{"y": "from the context"}', "--json"]
    assert call("try", "ann", "hello", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["reply"] == "from a step, from the context"


def test_try_says_where_a_brain_raised(short_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_team(short_folder, "    raise KeyError('nope')")
    assert call("try", "ann", "hello", "--team", "acme") == 1
    said = capsys.readouterr().err
    assert "KeyError" in said and "agents.py:2" in said and "Traceback" not in said


def test_a_new_team_can_be_made_checked_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("team", "init", "acme") == 0
    assert call("team", "check", "acme") == 0
    assert call("team", "init", "acme") == 2, "it is there already"
    capsys.readouterr()
    assert call("team", "list", "--json") == 0
    assert {"acme", "front_office"} <= set(json.loads(capsys.readouterr().out)["teams"])
    assert call("team", "schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Shiftlead team file"


def test_team_check_tells_line_and_column(short_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = a_team(short_folder, "    return 'x'")
    file.write_text(file.read_text().replace("brain:", "brian:"))
    assert call("team", "check", "acme", "--json") == 2
    [problem] = json.loads(capsys.readouterr().out)["teams"]["acme"]
    assert (problem["line"], problem["near"]) == (3, "brain")


def test_keys_are_made_listed_and_revoked_without_showing_the_secret_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("keys", "create", "shop", "--json") == 0
    secret = json.loads(capsys.readouterr().out)["key"]
    assert call("keys", "list") == 0
    listed = capsys.readouterr().out
    assert "shop" in listed and "✔ valid" in listed and secret not in listed
    assert call("keys", "revoke", "shop") == 0
    capsys.readouterr()
    assert call("keys", "list") == 0
    assert "✘ revoked" in capsys.readouterr().out


def test_home_before_or_after_is_the_folder_that_is_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("show", "T-2026-001", "--home", str(tmp_path / "other")) == 5
    assert str(tmp_path / "other") in capsys.readouterr().err


# -- small things -----------------------------------------------------------------------------------------------------


def test_states_can_be_told_apart_without_colour() -> None:
    assert set(SYMBOLS) == set(State)
    assert len({symbol for symbol, _ in SYMBOLS.values()}) == len(State)
    assert all(str(state) in state_text(state).plain for state in State)


def test_moments_are_read_as_people_write_them() -> None:
    now = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))
    assert moment("+30m", now) == now + 1800
    assert moment("12:30", now) == now + 1800
    assert moment("11:00", now) == now + 23 * 3600, "the next time it is eleven"
    assert moment("2026-11-21T12:30", now) == now + 1800
    for wrong in ("soon", "25:00", "2026-11-21T11:00", "+", "+-5m"):
        with pytest.raises(BadInput):
            moment(wrong, now)


def an_item(**values: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "kind": "approval", "number": "T-2026-031", "title": "Approve start_work for T-2026-030?", "asks": "a change",
        "asked_by": "iris_support", "until": None, "action": "start_work", "arguments": {}, "terms": [], "missing": [],
    }  # fmt: skip
    return base | values


def test_the_inbox_shows_what_a_yes_confirms_and_no_forged_term() -> None:
    """EN-10, I17: an argument, a name or a text with line ends must not look like a term that is confirmed."""
    forged = "x)\nconfirms scope: only docs\u2028confirms scope: none"
    arguments = {"note": forged, "scope": ["all", None], "title": "Rework the till", f"n{forged}": 1}
    lines = _lines(an_item(arguments=arguments, terms=["scope", "cost"], missing=["cost"], asks=forged, title=forged))
    assert [line for line in lines if line.startswith("confirms")] == ['confirms scope: ["all", null]']
    assert lines[:3] == ["start_work", 'confirms scope: ["all", null]', "missing: cost"]
    assert lines[3].startswith('with title="Rework the till", note="x)\\nconfirms scope: only docs ')
    assert not any("\n" in line or "\u2028" in line for line in lines)


def test_the_inbox_cuts_long_values_and_many_arguments() -> None:
    """I17."""
    lines = _lines(an_item(arguments={f"a{n}": "x" * 1_000 for n in range(500)}, terms=["a0"], asks="y" * 5_000))
    assert lines[1].startswith('confirms a0: "xxx') and len(lines[1]) < 140
    assert "and 487 more" in lines[3] and max(map(len, lines)) < 2_000


class Everybody:
    """A desk of which only the agents are asked for."""

    def __init__(self, team: Any) -> None:
        self.team = team

    def set_agent(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing is sent for an agent that the team does not have")


@pytest.mark.parametrize("verb", [("pause",), ("drain",), ("resume",), ("busy", "--until", "+1h"), ("event", "done")])
def test_a_mistyped_agent_is_told_who_was_meant(
    verb: tuple[str, ...], team: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doors, "open_door", lambda run: contextlib.nullcontext(doors.LocalDoor(Everybody(team))))  # type: ignore[arg-type]
    command, *rest = verb
    assert call("agents", command, "felix_ceoo", *rest) == 3
    assert "Did you mean 'felix_ceo'?" in capsys.readouterr().err
    assert call("agents", command, "zzz", *rest) == 3
    assert "It has: " in capsys.readouterr().err


def test_a_reason_is_shown_as_it_is_written_and_on_one_line(
    team: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """I17: neither markup nor what a terminal obeys."""
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    desk = open_desk(client, team, ManualClock(1_800_000_000.0), Settings(acknowledge="redis"))
    desk.set_agent("felix_ceo", actor="person:x", reason="[red]x[/]\x1b[2J\nforged ✔ free", paused=True)
    monkeypatch.setattr(doors, "local_desk", lambda run: contextlib.nullcontext(desk))
    monkeypatch.setenv("COLUMNS", "200")  # wide enough for the reason to stand in one line
    assert call("agents", "list") == 0
    said = capsys.readouterr().out
    [line] = [line for line in said.splitlines() if "felix_ceo" in line]
    assert "[red]x[/]␛[2J forged" in line and "\x1b" not in said


def test_time_spans_are_short() -> None:
    assert [ago(s) for s in (5, 90, 1800, 4000, 100_000)] == ["5s", "1m 30s", "30m", "1h 6m", "1d 3h"]
    assert (in_time(None, 0), in_time(10, 0), in_time(0, 10)) == ("-", "in 10s", "10s ago")


def test_an_empty_ledger_shows_none_of_the_events_shown(team: Any) -> None:
    """The events of the demonstration come from the ledger, not from what it did."""
    found = events_shown(team, [])
    assert len(found) == 5 and not any(event.ok for event in found)


def a_team(folder: Path, body: str) -> Path:
    """A team `acme` with one agent whose brain is `body`."""
    home = folder / "teams" / "acme"
    home.mkdir(parents=True)
    (home / "agents.py").write_text(f"def handle(work):\n{body}\n")
    file = home / "team.yaml"
    file.write_text(
        "team: acme\nagents:\n  ann: {role: support, can: [work], brain: 'python:agents:handle'}\n"
        "routes: [{needs: [work]}]\n"
    )
    return file


def test_a_handoff_is_seen_although_two_processes_read_their_clocks_apart(team: Any) -> None:
    """FO-06: the ledger's order counts. The coordinator's reading may be some milliseconds behind the worker's."""
    told = [
        ("p", 1, "accept", "door:x", 10.0), ("p", 2, "hand_off", "agent:iris_support", 11.0),
        ("c", 1, "accept", "agent:iris_support", 11.0), ("c", 2, "resolve", "agent:devin_engineering", 12.004),
        ("p", 3, "resume", "coordinator", 12.0), ("p", 4, "resolve", "agent:iris_support", 13.0),
    ]  # fmt: skip
    numbers = {"p": "T-2026-001", "c": "T-2026-002"}
    lines = [
        Line(ticket=t, number=numbers[t], seq=s, move=m, actor=a, at=at, detail={"children": [numbers["c"]]})
        for t, s, m, a, at in told
    ]
    assert events_shown(team, lines)[0].number == "T-2026-001"

    too_early = [*lines[:3], lines[4], lines[5], lines[3]]  # support replied before engineering had answered
    assert not events_shown(team, too_early)[0].ok


@pytest.mark.parametrize(
    ("given", "seen"),
    [("error_rate=0.2", ("error_rate", 0.2)), ("state=red", ("state", "red")), ("x=nan", ("x", "nan"))],
)
def test_a_signal_is_a_name_and_a_value(given: str, seen: tuple[str, float | str]) -> None:
    """TA-10: what a watch sees stands on the ticket as values, not only as words."""
    assert _signal(given) == seen


@pytest.mark.parametrize("given", ["0.2", "=1", "a=\0"])
def test_a_signal_without_name_or_value_is_refused(given: str) -> None:
    with pytest.raises(BadInput):
        _signal(given)
