"""What a newcomer meets first: broken brains, hints that work as they stand, files in place of texts, answers."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftlead.agents import __main__ as keeper
from shiftlead.agents.agent import Resolved, Work
from shiftlead.agents.knowledge import Knowledge
from shiftlead.agents.offline_support import answer
from shiftlead.config.settings import Settings, get_settings
from shiftlead.config.team import SHIPPED, Team, load_team
from shiftlead.coordinator.children import Proc, StartFailed, StartRefused, Supervisor
from shiftlead.coordinator.cli.agents import in_zone
from shiftlead.coordinator.cli.demo_events import events_shown
from shiftlead.coordinator.cli.demo_report import in_all
from shiftlead.coordinator.cli.doors import use_running_team
from shiftlead.coordinator.cli.output import Run
from shiftlead.coordinator.cli.run import flower_login
from shiftlead.coordinator.cli.work import REPORT_EXAMPLE, _warn_of_rivals
from shiftlead.coordinator.hints import called
from shiftlead.coordinator.supervisor import _UpLock, running_teams
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.report import REPORT
from shiftlead.queues.ticket import Line, Ticket
from tests.unit.test_cli import a_team, call

PAGES = SHIPPED / "front_office" / "knowledge"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, short_folder: Path) -> Path:
    """No server, and nothing of the developer's own settings."""
    for name in list(os.environ):
        if name.startswith("SHIFTLEAD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SHIFTLEAD_HOME", str(short_folder))
    monkeypatch.setenv("SHIFTLEAD_TEAM", "front_office")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(short_folder)
    get_settings.cache_clear()
    return short_folder


# -- a brain that cannot be loaded ------------------------------------------------------------------------------------


def broken(folder: Path, code: str) -> Path:
    file = a_team(folder, "    return 'fine'")
    (file.parent / "agents.py").write_text(code)
    return file.parent


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def handle(work):\n    return (\n", ["agents.py:2:", "SyntaxError", "return ("]),
        ("def handel(work):\n    return 'fine'\n", ["team.yaml:3:", "Did you mean 'handel'"]),
        ("import no_such_package\n", ["agents.py:1:", "no_such_package"]),
        ("raise SystemExit(0)\n", ["agents.py:1:", "SystemExit"]),
    ],
    ids=["syntax", "name", "import", "exit"],
)
def test_team_check_loads_every_brain(
    home: Path, code: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """TP-02: what would keep a worker from starting is an error with its place."""
    broken(home, code)
    assert call("team", "check", "acme") == 2
    said = capsys.readouterr().out
    assert "can be used" not in said
    for words in says:
        assert words in said


def test_team_check_finds_a_program_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = a_team(home, "    return 'fine'")
    file.write_text(file.read_text().replace("python:agents:handle", "exec:./gone.sh"))
    assert call("team", "check", "acme") == 2
    assert "gone.sh" in capsys.readouterr().out


def test_try_shows_the_line_that_is_no_python(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken(home, "def handle(work):\n    retrun 'fine'\n")
    assert call("try", "--team", "acme", "ann", "hello") == 2
    said = capsys.readouterr().err
    assert f"{folder / 'agents.py'}:2:" in said and "retrun 'fine'" in said


@pytest.mark.parametrize("command", [("up", "--detach"), ("up",), ("worker", "--all")], ids=" ".join)
def test_nothing_is_started_with_a_broken_brain(
    home: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    broken(home, "def handle(work):\n    return (\n")
    began = time.monotonic()
    assert call(*command, "--team", "acme") == 2
    assert time.monotonic() - began < 15
    said = capsys.readouterr().err
    assert "agents.py:2:" in said and '{"' not in said
    assert not (home / "redis").exists()


def test_a_worker_whose_input_is_bad_is_not_started_again(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent ends with 2 as well; one that had been at work is started again."""
    kept = keeper._Keeper(Settings(), team, "node", [sys.executable, "-c", "raise SystemExit(2)"])
    answers = iter([True, False])
    monkeypatch.setattr(kept, "_report_dead", lambda *_: next(answers))
    monkeypatch.setattr(kept, "_sleep", lambda _: None)
    assert kept.run() == 2
    assert next(answers, None) is None


def test_the_supervisor_ends_with_the_words_of_a_child_whose_input_is_bad(tmp_path: Path) -> None:
    said = json.dumps({"level": "error", "event": "agents.py:2:12: not Python"})
    bad = Proc("worker", ["sh", "-c", f"echo '{said}' >&2; exit 2"], ready=lambda: False)
    with pytest.raises(StartRefused, match=r"worker cannot start: agents.py:2:12: not Python$") as failure:
        Supervisor([bad], logs=tmp_path, say=lambda _: None).start()
    assert failure.value.exit_code == 2


def test_a_child_whose_input_became_bad_stays_away(tmp_path: Path) -> None:
    """It was ready once, died, and cannot start any more."""
    flag = tmp_path / "flag"
    script = f'if [ -e "{flag}" ]; then echo "✘ no such agent" >&2; exit 2; fi; touch "{flag}"; sleep 60'
    said: list[str] = []
    lives = [True]
    supervisor = Supervisor(
        [Proc("worker", ["sh", "-c", script], ready=lambda: flag.exists() and lives[0])],
        logs=tmp_path / "logs", say=said.append,
    )  # fmt: skip
    supervisor.start()
    try:
        lives[0] = False
        os.kill(supervisor.status()[0].pid or 0, 9)
        until = time.monotonic() + 10
        while supervisor.status()[0].state != "ended" and time.monotonic() < until:
            for child in supervisor._children:
                supervisor._look_after(child)
            time.sleep(0.01)
        assert (supervisor.status()[0].state, supervisor.status()[0].restarts) == ("ended", 1)
        assert any("no such agent" in line for line in said)
    finally:
        supervisor.stop()


def test_a_taken_port_is_found_before_the_first_process_is_started(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    with socket.create_server(("127.0.0.1", 0)) as door:
        web = Proc("web", ["sleep", "60"], stage=2, port=("127.0.0.1", door.getsockname()[1], "SHIFTLEAD_PORT"))
        first = Proc("redis", ["touch", str(mark)], ready=mark.exists)
        with pytest.raises(StartFailed, match="SHIFTLEAD_PORT"):
            Supervisor([first, web], logs=tmp_path / "logs", say=lambda _: None).start()
    assert not mark.exists()


# -- hints ------------------------------------------------------------------------------------------------------------


def test_a_hint_carries_what_it_needs_and_no_more(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHIFTLEAD_HOME")
    monkeypatch.delenv("SHIFTLEAD_TEAM")
    assert called(Settings(), "up") == "shiftlead up"
    assert called(Settings(team="acme", home=home / "d"), "up") == "shiftlead up --team acme --home d"
    assert called(Settings(team="acme", home=home / "d"), "down", team=False) == "shiftlead down --home d"
    assert called(Settings(), "enqueue", "a b", team="acme") == "shiftlead enqueue 'a b' --team acme"

    program = home / ".venv" / "bin" / "shiftlead"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert called(Settings(), "up") == ".venv/bin/shiftlead up"


def test_team_init_names_commands_that_work(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("team", "init", "acme") == 0
    said = capsys.readouterr().out
    assert f"shiftlead up --team acme --home {home}" in said.replace("--home .\n", f"--home {home}\n")
    assert "try ada_support 'a ticket' --team acme" in said
    assert call("team", "check", "acme") == 0
    assert call("try", "ada_support", "a ticket", "--team", "acme") == 0


def test_the_one_team_that_runs_is_meant_when_none_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SHIFTLEAD_TEAM")
    settings = Settings()
    assert running_teams(settings) == []
    with _UpLock(settings, ["acme"]):
        assert running_teams(settings) == ["acme"]
        chosen, named = Run(as_json=False), Run(as_json=False, team_names="front_office")
        use_running_team(named)
        assert named.settings.team == "front_office"
        use_running_team(chosen)
        use_running_team(chosen)
        assert chosen.settings.team == "acme"
        assert capsys.readouterr().err.count("Team acme") == 1
        assert call("up") == 5  # a second one says which teams run
        assert "for acme" in capsys.readouterr().err
    monkeypatch.delenv("SHIFTLEAD_TEAM")
    get_settings.cache_clear()
    with _UpLock(settings, ["acme", "beta"]):
        several = Run(as_json=False)
        use_running_team(several)
        assert several.settings.team == "front_office"


def test_where_the_login_of_flower_stands_is_told_and_the_password_is_not(home: Path) -> None:
    (home / "flower_auth").write_text("shiftlead:s3cret\n")
    told = flower_login(Settings())
    assert "login shiftlead" in told and str(home / "flower_auth") in told and "s3cret" not in told
    assert "s3cret" not in flower_login(Settings(flower_auth="ann:s3cret"))


# -- work, enqueue, agents --------------------------------------------------------------------------------------------


def test_a_program_that_cannot_be_run_is_refused_with_what_to_do(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "agent.py").write_text("print('{}')")
    assert call("work", "--agent", "iris_support", "--exec", "./agent.py") == 2
    said = capsys.readouterr().err
    assert "chmod +x ./agent.py" in said and "python ./agent.py" in said
    (home / "agent.py").chmod(stat.S_IRWXU)
    assert call("work", "--agent", "iris_support", "--exec", "./agent.py") == 5  # nothing runs; the program is fine


def test_the_help_of_work_shows_a_report_that_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    REPORT.validate_python(json.loads(REPORT_EXAMPLE))
    assert call("work", "--help") == 0
    assert '"kind": "resolved"' in capsys.readouterr().out


def test_a_program_beside_a_running_worker_is_warned(desk: Any) -> None:
    said: list[str] = []
    run: Any = SimpleNamespace(remark=said.append)
    agent = next(iter(desk.team.agents))
    _warn_of_rivals(run, desk, agent)
    assert said == []
    presence = Presence(desk.store.client, desk.keys, desk.clock, desk.settings)
    presence.beat([agent], "w:77:1", WorkerInfo(pid=77))
    _warn_of_rivals(run, desk, agent)
    assert "process 77" in said[0] and "brain: outside" in said[0]


def test_the_name_of_a_file_is_not_stored_as_a_ticket(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "README.md").write_text("# Hello")
    assert call("enqueue", "README.md") == 2
    said = capsys.readouterr().err
    assert ".jsonl" in said and "Nothing was stored" in said
    assert call("enqueue", "README.txt is missing") == 5  # a text; nothing runs here


def test_a_bad_line_does_not_say_that_nothing_was_stored(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "t.jsonl").write_text('{"body": "fine"}\nnot json\n{"boddy": "x"}\n')
    assert call("enqueue", "t.jsonl", "--strict") == 2
    said = capsys.readouterr().err
    assert "othing" not in said and said.count("This line was not stored.") == 2


def test_a_hold_tells_day_and_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert in_zone(1_750_000_000.0) == "Sun 2025-06-15 17:06:40 CEST (UTC+02:00)"
    finally:
        monkeypatch.undo()
        time.tzset()


# -- the demonstration ------------------------------------------------------------------------------------------------


def test_the_ticket_of_the_killed_worker_is_the_one_that_is_named(team: Team) -> None:
    lines = [
        Line(ticket=t, number=t, seq=s, move=m, actor=a, at=float(s), before=b, after=c, detail={"worker": w})
        for t in ("T-2026-001", "T-2026-002")
        for s, m, a, b, c, w in (
            (1, "claim", "agent:x", "assigned", "working", "n:1:1"),
            (2, "give_back", "coordinator", "working", "ready", ""),
            (3, "claim", "agent:x", "assigned", "working", "n:2:1"),
            (4, "resolve", "agent:x", "working", "resolved", ""),
        )
    ]  # fmt: skip
    assert events_shown(team, lines)[3].number == "T-2026-001"
    assert events_shown(team, lines, killed="T-2026-002")[3].number == "T-2026-002"
    assert events_shown(team, lines, killed="T-2026-009")[3].number == "T-2026-001"  # the ledger does not say so


def test_a_reason_is_not_cut_inside_a_word(team: Team) -> None:
    decider = team.decision_makers()[0]
    moves = [("triage", "coordinator"), ("escalate", "coordinator"), ("fail", f"agent:{decider}")]
    lines = [
        Line(ticket="t", number="T-2026-001", seq=i, move=m, actor=a, at=float(i), reason="nobody can " * 30,
             detail={"needs": ["flying"]})
        for i, (m, a) in enumerate(moves)
    ]  # fmt: skip
    told = events_shown(team, lines)[4].detail
    assert told.endswith("…") and told.rstrip("…").split()[-1] in ("nobody", "can")


def test_the_figures_of_the_demonstration_are_explained() -> None:
    assert in_all(69, 1, 12) == (
        "69 completed, of them 1 closed as failed with a reason; 81 with the 12 that agents handed on"
    )
    assert in_all(3, 0, 0) == "3 completed"


# -- an answer from the pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "I was charged twice for order 1234",
        "Hello, I was charged twice for my order number 4711 today, please help",
        "You charged me twice for order A-4711 on my account on 2026-11-20",
    ],
)
def test_a_number_in_the_question_does_not_hide_its_answer(text: str) -> None:
    ticket = Ticket(id="t", number="T-2026-001", team="front_office", type="billing", title=text, body=text)
    report = answer(Work(agent="iris_support", ticket=ticket, token=1), Knowledge(PAGES))
    assert isinstance(report, Resolved) and "charged-twice.md" in report.reply


@pytest.mark.parametrize("text", ["My order number is 4711", "My account number 12345", "order 77 today"])
def test_a_number_alone_is_no_question(text: str) -> None:
    assert all(hit.confidence == 0.0 for hit in Knowledge(PAGES).search(text))


def test_the_new_team_loads(home: Path) -> None:
    call("team", "init", "acme")
    assert load_team("acme", Settings()).team == "acme"
