"""From a brain setting to an Agent: offline, python, exec (EN-14, I17: programs that hang, crash or talk rubbish)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shiftlead.agents.agent import Failed, Resolved, Work
from shiftlead.agents.brains import brain_for
from shiftlead.agents.offline import OfflineBrain
from shiftlead.config.settings import Settings
from shiftlead.queues.errors import BadInput
from shiftlead.queues.report import Report
from shiftlead.queues.ticket import Ticket


def some_work(**values: object) -> Work:
    ticket = Ticket(id="t1", number="T-2026-001", team="shop", title="Hello", body="A question")
    return Work.model_validate({"agent": "iris", "ticket": ticket, "token": 1, **values})


def run(brain: str, folder: Path, **values: object) -> Report:
    return brain_for(brain, role="support", folder=folder, settings=Settings()).handle(some_work(**values))


def program(folder: Path, text: str, name: str = "agent.py") -> str:
    path = folder / name
    path.write_text(text if text.startswith("#!") else f"#!/usr/bin/env python3\n{text}")
    path.chmod(0o755)
    return f"exec:./{name}"


def failed(report: Report) -> Failed:
    assert isinstance(report, Failed), report
    return report


def gone(pid: int) -> bool:
    """Whether it ends within five seconds: the kill is sent, a busy process needs a moment to die of it."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def test_offline_knows_the_pages_of_its_team(tmp_path: Path) -> None:
    brain = brain_for("offline", role="engineering", folder=tmp_path, settings=Settings())
    assert isinstance(brain, OfflineBrain)
    assert brain.role == "engineering" and brain.knowledge.folders == (tmp_path / "knowledge",)


@pytest.mark.parametrize("brain", ["", "magic", "openai:x", "offline:x", "python:", "python:only", "exec:", "exec: "])
def test_a_brain_that_is_none_is_refused_and_named(tmp_path: Path, brain: str) -> None:
    with pytest.raises(BadInput) as raised:
        brain_for(brain, role="support", folder=tmp_path, settings=Settings())
    assert "python:module:function" in str(raised.value)
    if brain in ("magic", "openai"):
        assert "offline, openai, python:module:function, exec:command" in str(raised.value)


def test_a_function_in_the_team_folder_answers(tmp_path: Path) -> None:
    """The file wins over an installed module of the same name, and does not hide it."""
    (tmp_path / "json.py").write_text("def triage(work):\n    return 'Dear ' + work.agent\n")
    report = run("python:json:triage", tmp_path)
    assert isinstance(report, Resolved) and report.reply == "Dear iris"
    import json

    assert hasattr(json, "loads")


def test_an_object_with_handle_answers_and_a_class_is_made_once(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(
        "class Desk:\n    def handle(self, work):\n        return {'kind': 'failed', 'error': "
        "work.ticket.title}\ndesk = Desk()\n"
    )
    assert failed(run("python:agents:desk", tmp_path)).error == "Hello"
    assert failed(run("python:agents:Desk", tmp_path)).error == "Hello"


def test_an_importable_module_is_found_when_the_folder_has_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="OrderedDict"):
        run("python:collections:nothing_here", tmp_path)
    with pytest.raises(BadInput, match="no module 'nobody_has_this'"):
        run("python:nobody_has_this:f", tmp_path)


def test_an_exception_of_a_python_brain_goes_through(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(
        "def boom(work):\n    raise KeyError('x')\ndef odd(work):\n    return 7\nasync def "
        "later(work):\n    return ''\n"
    )
    with pytest.raises(KeyError):
        run("python:agents:boom", tmp_path)
    with pytest.raises(BadInput, match="returned int"):
        run("python:agents:odd", tmp_path)
    with pytest.raises(BadInput, match="async"):
        run("python:agents:later", tmp_path)


def test_a_changed_file_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "agents.py"
    for n in (1, 2):
        path.write_text(f"def f(work):\n    return 'answer {n}'\n")
        os.utime(path, ns=(n, n))
        report = run("python:agents:f", tmp_path)
        assert isinstance(report, Resolved) and report.reply == f"answer {n}"


def test_a_program_gets_work_and_answers_with_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in, Report out, run in the team's folder, without the house's keys (EN-14, I24)."""
    monkeypatch.setenv("SHIFTLEAD_KEY", "secret-canary")
    brain = program(
        tmp_path,
        "import json, os, sys\nwork = json.load(sys.stdin)\n"
        "json.dump({'kind': 'resolved', 'reply': work['ticket']['body'], 'summary': os.getcwd(),"
        " 'reason': os.environ.get('SHIFTLEAD_KEY', '-')}, sys.stdout)\n",
    )
    report = run(brain, tmp_path)
    assert isinstance(report, Resolved)
    assert (report.reply, report.summary, report.reason) == ("A question", str(tmp_path.resolve()), "-")


@pytest.mark.parametrize(
    ("prints", "says"),
    [
        ("All is well!", "plain text is not a report"),
        ('"a text"', "a JSON str"),
        ("[1]", "a JSON list"),
        ('{"kind": "resolvd"}', "not a Report"),
        ("", "not JSON"),
        ("[" * 5000, "not JSON"),
    ],
)
def test_output_that_is_no_report_fails_with_what_was_printed(tmp_path: Path, prints: str, says: str) -> None:
    report = failed(run(program(tmp_path, f"print({prints!r})"), tmp_path))
    assert says in report.error and not report.retryable


def test_output_that_is_not_utf8_fails(tmp_path: Path) -> None:
    report = failed(run(program(tmp_path, "import os\nos.write(1, b'\\xff\\xfe')"), tmp_path))
    assert "not JSON" in report.error


def test_an_exit_code_is_a_retryable_failure_with_the_end_of_stderr(tmp_path: Path) -> None:
    brain = program(tmp_path, "import sys\nsys.stderr.write('x' * 9000 + 'the reason')\nsys.exit(3)\n")
    report = failed(run(brain, tmp_path))
    assert report.retryable and "code 3" in report.error and report.error.endswith("the reason")
    assert len(report.error) < 4096 + 300


def test_a_program_that_ends_itself_by_a_signal_is_retryable(tmp_path: Path) -> None:
    report = failed(run(program(tmp_path, "import os\nos.kill(os.getpid(), 9)\n"), tmp_path))
    assert report.retryable and "signal 9" in report.error


def test_an_endless_program_is_killed_at_the_deadline_with_its_children(tmp_path: Path) -> None:
    """I5, I17: the deadline is kept, and nothing of its process group lives on."""
    brain = program(
        tmp_path,
        "import pathlib, subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\nsys.stderr.write('still busy')\nsys.stderr.flush()\n"
        "while True: pass\n",
    )
    start = time.monotonic()
    report = failed(run(brain, tmp_path, deadline=time.time() + 1.5))
    assert 1.0 < time.monotonic() - start < 10
    assert report.retryable and "process group was killed" in report.error and "still busy" in report.error
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_child_left_behind_is_ended_and_does_not_delay_the_answer(tmp_path: Path) -> None:
    brain = program(
        tmp_path,
        "import pathlib, subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "pathlib.Path('pid').write_text(str(child.pid))\nprint('{\"kind\": \"resolved\"}')\n",
    )
    assert isinstance(run(brain, tmp_path, deadline=time.time() + 60), Resolved)
    assert gone(int((tmp_path / "pid").read_text()))


def test_too_much_output_is_cut_off(tmp_path: Path) -> None:
    brain = program(tmp_path, "import sys\nwhile True: sys.stdout.write('x' * 100000)\n")
    report = failed(run(brain, tmp_path, deadline=time.time() + 60))
    assert "1,000,000 bytes" in report.error and not report.retryable


def test_a_program_that_does_not_read_its_input_may_still_answer(tmp_path: Path) -> None:
    brain = program(tmp_path, 'print(\'{"kind": "resolved", "reply": "ok"}\')')
    ticket = Ticket(id="t1", number="T-2026-001", team="shop", body="x" * 200_000)
    report = run(brain, tmp_path, ticket=ticket)
    assert isinstance(report, Resolved) and report.reply == "ok"


def test_the_command_line_is_split_without_a_shell(tmp_path: Path) -> None:
    text = "import json, sys\nprint(json.dumps({'kind': 'resolved', 'reply': '|'.join(sys.argv[1:])}))"
    report = run(program(tmp_path, text) + " 'two words' $HOME ; echo", tmp_path)
    assert isinstance(report, Resolved) and report.reply == "two words|$HOME|;|echo"


def test_a_missing_program_is_refused_before_any_ticket(tmp_path: Path) -> None:
    for brain in ("exec:./missing", "exec:no-such-program-here", "exec:'open quote"):
        with pytest.raises(BadInput, match="exec:"):
            brain_for(brain, role="support", folder=tmp_path, settings=Settings())
    (tmp_path / "plain.txt").write_text("not a program")
    assert failed(run("exec:./plain.txt", tmp_path)).retryable


def test_a_program_sees_a_few_variables_and_none_of_the_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I24: a secret is not given away because nobody thought of its name."""
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "SHIFTLEAD_KEY", "SHIFTLEAD_REDIS_URL", "DATABASE_URL"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("LC_TIME", "C")
    brain = program(
        tmp_path, "import json, os\nprint(json.dumps({'kind': 'resolved', 'reply': str(dict(os.environ))}))"
    )
    report = run(brain, tmp_path)
    assert isinstance(report, Resolved) and "canary" not in report.reply
    assert "'LC_TIME'" in report.reply and "'PATH'" in report.reply


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("ends", ['print(\'{"kind": "resolved", "reply": "ok"}\')', "time.sleep(60)"])
def test_a_grandchild_in_a_session_of_its_own_does_not_survive(tmp_path: Path, ends: str) -> None:
    """I17: also when its parent has ended, so that it belongs to init."""
    brain = program(
        tmp_path,
        "import pathlib, subprocess, sys, time\n"
        "code = 'import os, pathlib, subprocess, sys, time\\n'"
        '\'child = subprocess.Popen(["sleep", "300"], start_new_session=True, stdout=2)\\n\''
        "'pathlib.Path(\"pid\").write_text(str(child.pid))\\n'\n"
        "subprocess.run([sys.executable, '-c', code], start_new_session=True)\n" + ends,
    )
    run(brain, tmp_path, deadline=time.time() + 2.0)
    assert gone(int((tmp_path / "pid").read_text()))


def test_the_deadline_is_counted_on_the_clock_of_the_caller(tmp_path: Path) -> None:
    """I5."""
    brain = program(tmp_path, "import time\ntime.sleep(60)")
    agent = brain_for(brain, role="support", folder=tmp_path, settings=Settings(), now=lambda: 1000.0)
    began = time.monotonic()
    assert "no report within 0.2 s" in failed(agent.handle(some_work(deadline=1000.2))).error
    assert time.monotonic() - began < 10
