"""The demonstration, as a user runs it: one command, and the ledger shows what it promises."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shiftlead.config.process import alive
from shiftlead.config.settings import Settings
from shiftlead.coordinator.cli.demo_events import events_shown
from shiftlead.coordinator.cli.demo_script import script_of, with_demo
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ticket import Line

pytestmark = pytest.mark.real
CLI = [sys.executable, "-m", "shiftlead.coordinator", "demo"]


LAST = re.compile(r"demo: (\d+) tickets · (\d+) completed · 0 lost · ledger verified")
PATIENCE_S = "150"  # other tests run beside it


def played(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The demonstration, run to its end."""
    argv = [*CLI, "--deadline", PATIENCE_S, *options]
    done = subprocess.run(argv, env=environment(folder), capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def environment(folder: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SHIFTLEAD_")}
    return clean | {"SHIFTLEAD_HOME": str(folder), "NO_COLOR": "1"}


def pids_named(text: str) -> list[int]:
    """Process ids the demonstration told us of."""
    return [int(pid) for pid in re.findall(r"pid (\d+)", text)]


@pytest.mark.timeout(300)
def test_the_demonstration_loses_nothing_and_shows_all_five_events(short_folder: Path, team: object) -> None:
    """FO-06, FO-09, FO-12, FO-13, FO-14, EN-08, EN-09, I1, I5, I7: told by the ledger, not by the demonstration."""
    done = played(short_folder)
    last = done.stdout.rstrip("\n").splitlines()[-1]
    figures = LAST.fullmatch(last)
    assert figures and figures[1] == figures[2] and int(figures[1]) >= 60
    assert len(re.findall(r"^✔ T-\d{4}-\d{3,} ", done.stdout, re.M)) == 5 and "✘" not in done.stdout

    # Everything it started is gone.
    started = pids_named(done.stdout)
    assert len(started) >= 5 and not any(alive(pid) for pid in started)

    # The commands it prints work from here, on the stopped folder.
    printed = [line.strip() for line in done.stdout.splitlines() if " --home " in line]
    assert len(printed) == 3
    for command in printed:
        shown = subprocess.run(
            shlex.split(command), env=environment(short_folder / "elsewhere"), capture_output=True, text=True,
            cwd=short_folder,
        )  # fmt: skip
        assert shown.returncode == 0, command + shown.stderr

    # The five events are in the ledger, and each is gone when its lines are.
    [home] = short_folder.glob("demo-*")
    ledger = Ledger(Settings(home=home).database_address, read_only=True)
    lines = [line for _, line in ledger.events("front_office", limit=100_000, after=0)]
    ledger.close()
    found = events_shown(team, lines)  # type: ignore[arg-type]
    assert all(event.ok for event in found)
    for index, moves in enumerate(("hand_off", "agent", "escalate", "give_back", "fail")):
        rest = [line for line in lines if not _says(line, moves)]
        assert not events_shown(team, rest)[index].ok, moves  # type: ignore[arg-type]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in with_demo() if name != "front_office"])
def test_every_team_at_work_loses_nothing_and_shows_what_it_is_for(short_folder: Path, name: str) -> None:
    """TA-14, SD-01, TP-11, SS-03: each shipped team in real processes, and the same last line."""
    done = played(short_folder, "--team", name)
    figures = LAST.fullmatch(done.stdout.rstrip("\n").splitlines()[-1])
    assert figures and figures[1] == figures[2]
    shown = re.findall(r"^✔ T-\d{4}-\d{3,} ", done.stdout, re.M)
    assert len(shown) == len(script_of(name).shows) and "✘" not in done.stdout
    assert not any(alive(pid) for pid in pids_named(done.stdout))


def test_an_interrupted_demonstration_leaves_nothing_running(short_folder: Path) -> None:
    """Ctrl-C stops everything it started."""
    demo = subprocess.Popen(
        CLI, env=environment(short_folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=short_folder, start_new_session=True,
    )  # fmt: skip
    assert demo.stdout is not None
    said = ""
    try:
        for line in demo.stdout:
            said += line
            if len(pids_named(said)) >= 2:
                demo.send_signal(signal.SIGINT)
                break
        said += demo.communicate(timeout=40)[0]
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 130 and "Stopped, as asked" in said and "Traceback" not in said
    assert not any(alive(pid) for pid in pids_named(said))


def test_a_demonstration_that_does_not_finish_says_so_and_fails(short_folder: Path) -> None:
    """Its last line tells the true figures."""
    done = subprocess.run(
        [*CLI, "--deadline", "5", "--json"],
        env=environment(short_folder),
        capture_output=True,
        text=True,
        cwd=short_folder,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    data = json.loads(done.stdout)
    assert not data["ok"] and data["lost"] == data["enqueued"] - data["completed"] > 0
    assert data["verified"]


def _says(line: Line, move: str) -> bool:
    return line.move == move
