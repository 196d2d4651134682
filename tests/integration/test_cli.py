"""The command line against a real coordinator, then against its stopped data folder, then over HTTP."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftlead.config.settings import Settings
from shiftlead.coordinator.supervisor import processes_for, running
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman
from tests.cluster import Cluster, running_cluster
from tests.desks import assigned

pytestmark = pytest.mark.real
CLI = [sys.executable, "-m", "shiftlead.coordinator"]


def shiftlead(
    cluster: Cluster, *arguments: str, code: int = 0, given: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command and check its exit code."""
    done = subprocess.run(
        [*CLI, *arguments], env=_clean_environment() | cluster.env | env, input=given, capture_output=True, text=True,
        cwd=cluster.folder, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{cluster.logs()}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def cluster(short_folder: Path) -> Iterator[Cluster]:
    """A coordinator; the tests are the workers."""
    with running_cluster(short_folder) as made:
        made.start("coordinator")
        made.coordinating()
        yield made


def test_a_ticket_is_put_in_shown_and_explained(cluster: Cluster) -> None:
    """EN-06, FO-13: why it waits, and what happened when."""
    made = json.loads(shiftlead(cluster, "enqueue", "The till is broken", "--customer", "Ada", "--json").stdout)[
        "ticket"
    ]
    ticket = cluster.in_state(cluster.desk.find(made["id"]), State.READY)

    listed = json.loads(shiftlead(cluster, "list", "--queue", "intake", "--json").stdout)
    assert [t["number"] for t in listed["tickets"]] == [ticket.number]
    assert listed["counts"] == {"intake": 1, "active": 0, "completed": 0}
    table = shiftlead(cluster, "list", "--state", "ready").stdout
    assert "○ ready" in table and ticket.number in table and "The till is broken" in table

    shown = shiftlead(cluster, "show", ticket.number).stdout
    assert "accept" in shown and "triage" in shown and "Ada" in shown
    assert "ann has no worker running" in shiftlead(cluster, "why", ticket.number).stdout
    assert "T-1999-001" in shiftlead(cluster, "show", "T-1999-001", code=3).stderr


def test_the_same_key_puts_one_ticket_in(cluster: Cluster) -> None:
    """EN-02, I13."""
    first = json.loads(shiftlead(cluster, "enqueue", "once", "--key", "k1", "--json").stdout)
    again = json.loads(shiftlead(cluster, "enqueue", "once", "--key", "k1", "--json").stdout)
    assert (first["created"], again["created"]) == (True, False)
    assert first["ticket"]["number"] == again["ticket"]["number"]
    assert "different request" in shiftlead(cluster, "enqueue", "other", "--key", "k1", code=4).stderr


def test_a_bad_line_is_told_with_its_place_and_the_others_are_stored(cluster: Cluster) -> None:
    """EN-01: a bad line stores nothing of itself; batches go in whole; the same file with a key may come again."""
    lines = [json.dumps({"body": f"ticket {n}"}) for n in range(1, 1203)]
    lines[700] = '{"body": "x", "colour": "red"}'
    (cluster.folder / "many.jsonl").write_text("\n".join(lines))

    done = shiftlead(cluster, "enqueue", "many.jsonl", "--key", "file", code=2)
    assert "many.jsonl:701: " in done.stderr and "colour" in done.stderr
    assert "1,201 stored" in done.stdout and "1 bad" in done.stdout

    again = json.loads(shiftlead(cluster, "enqueue", "many.jsonl", "--key", "file", "--json", code=2).stdout)
    assert (again["stored"], again["known"], [e["line"] for e in again["errors"]]) == (0, 1201, [701])
    cluster.wait_until(lambda: cluster.desk.store.client.zcard(cluster.desk.keys.queue("intake")) == 1201)

    from_stdin = shiftlead(cluster, "enqueue", "-", given='{"body": "one"}\nnot json\n', code=2)
    assert "<stdin>:2: " in from_stdin.stderr and "1 stored" in from_stdin.stdout


def test_agents_are_held_paused_and_listed(cluster: Cluster) -> None:
    """FO-09: a stated time and a reason."""
    shiftlead(cluster, "agents", "busy", "eve", "--until", "+30m", "--reason", "strategy session")
    shiftlead(cluster, "agents", "pause", "bob")
    rows = {r["agent"]: r for r in json.loads(shiftlead(cluster, "agents", "list", "--json").stdout)["agents"]}
    assert 1700 < rows["eve"]["busy_until"] - time.time() < 1801
    assert "strategy session" in rows["eve"]["obstacle"] and rows["bob"]["paused"]
    shiftlead(cluster, "agents", "resume", "bob")
    assert "bob is paused" not in shiftlead(cluster, "agents", "list").stdout
    assert "eve" in shiftlead(cluster, "agents", "pause", "nobody", code=3).stderr


def test_people_approve_deny_note_and_cancel(cluster: Cluster) -> None:
    """EN-10: a person answers an approval; the refusal says what is possible."""
    parent = cluster.in_state(cluster.accept("pay it back"), State.READY)
    held = cluster.desk.claim(assigned(cluster.desk, parent, "ann").id, "ann", "w1")
    waiting = cluster.desk.report(held.id, held.token, AskHuman(action="pay", arguments={}), agent="ann")
    asking = cluster.in_state(cluster.desk.find(waiting.awaits[0]), State.READY)
    answered = json.loads(shiftlead(cluster, "approve", asking.number, "--reason", "fine", "--json").stdout)
    assert answered["state"] == "resolved" and answered["result"]["decision"] == "approve"

    other = cluster.accept("a question")
    cluster.in_state(other, State.READY)
    assert "waits for no approval" in shiftlead(cluster, "deny", other.number, "--reason", "no", code=4).stderr
    shiftlead(cluster, "note", other.number, "called again")
    shiftlead(cluster, "cancel", other.number, "--reason", "sent twice")
    assert cluster.moves(other)[-2:] == ["note", "cancel"]
    assert [line.actor.split(":")[0] for line in cluster.desk.history(other.id)][-2:] == ["person", "person"]
    assert "cancelled" in shiftlead(cluster, "cancel", other.number, "--reason", "again", code=4).stderr


def test_any_program_can_work_as_an_agent(cluster: Cluster) -> None:
    """EN-14 (exec): Work as JSON in, one Report as JSON out; a slow program keeps its ticket by heartbeats."""
    program = cluster.folder / "agent.py"
    program.write_text(
        "import json, sys, time\nwork = json.load(sys.stdin)\ntime.sleep(3)\n"
        "print(json.dumps({'kind': 'resolved', 'reply': 'seen: ' + work['ticket']['body']}))\n"
    )
    ticket = cluster.accept("a cable")
    command = shlex.join([sys.executable, str(program)])
    done = json.loads(shiftlead(cluster, "work", "--agent", "ann", "--exec", command, "--once", "--json").stdout)
    assert done == {"number": ticket.number, "report": "resolved", "state": "resolved"}

    after = cluster.ended(ticket)
    assert after.result is not None and after.result["reply"] == "seen: a cable"
    assert cluster.moves(ticket).count("claim") == 1, "the lease of 2 s was renewed while the program ran for 3 s"


def test_a_stopped_program_gives_its_ticket_back(cluster: Cluster) -> None:
    """I19."""
    ticket = cluster.accept("a long one")
    worker = subprocess.Popen(
        [*CLI, "work", "--agent", "ann", "--exec", "sleep 60"], env=_clean_environment() | cluster.env,
        cwd=cluster.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        cluster.in_state(ticket, State.WORKING)
        worker.terminate()
        assert worker.wait(15) == 130
    finally:
        worker.kill()
        worker.wait()
    assert "give_back" in cluster.moves(ticket)


def test_a_stopped_data_folder_can_still_be_read(short_folder: Path) -> None:
    """FO-13: the ledger tells the story when nothing runs; it says so, and nothing is written."""
    with running_cluster(short_folder) as cluster:
        coordinator = cluster.start("coordinator")
        cluster.coordinating()
        ticket = cluster.in_state(cluster.accept("still there"), State.READY)
        gone = cluster.accept("not needed")
        cluster.in_state(gone, State.READY)
        cluster.desk.cancel(gone.id, actor="person:test", reason="not needed")
        coordinator.terminate()
        coordinator.wait(20)
    files = sorted(p.name for p in short_folder.glob("ledger.db*"))

    listed = shiftlead(cluster, "list", "--json")
    assert [t["number"] for t in json.loads(listed.stdout)["tickets"]] == [ticket.number, gone.number]
    assert "this is what the ledger says" in listed.stderr
    assert [
        t["number"] for t in json.loads(shiftlead(cluster, "list", "--state", "cancelled", "--json").stdout)["tickets"]
    ] == [gone.number]
    assert "triage" in shiftlead(cluster, "show", ticket.number).stdout
    assert "was ready" in shiftlead(cluster, "why", ticket.number).stdout
    verified = json.loads(shiftlead(cluster, "audit", "verify", "--json").stdout)
    assert verified["ok"] and verified["tickets"] == 2
    assert json.loads(shiftlead(cluster, "audit", "verify", "--head", verified["head"], "--json").stdout)["ok"]
    assert "not in the chain" in shiftlead(cluster, "audit", "verify", "--head", "f" * 64, code=1).stdout
    assert "shiftlead list" not in shiftlead(cluster, "show", "T-1999-001", code=3).stdout
    shiftlead(cluster, "enqueue", "x", code=5)
    assert sorted(p.name for p in short_folder.glob("ledger.db*")) == files


def test_with_an_address_and_a_key_the_same_commands_speak_http(cluster: Cluster) -> None:
    """Section 8: SHIFTLEAD_URL and SHIFTLEAD_KEY; the refusals keep their exit codes."""
    port = _free_port()
    cluster.env["SHIFTLEAD_PORT"] = str(port)
    cluster.start("web")
    cluster.wait_until(lambda: _listens(port), what="the HTTP door")
    scopes = [part for s in ("enqueue", "read", "approve", "admin") for part in ("--scope", s)]
    key = json.loads(shiftlead(cluster, "keys", "create", "desk", *scopes, "--json").stdout)["key"]
    far = {"SHIFTLEAD_URL": f"http://127.0.0.1:{port}", "SHIFTLEAD_KEY": key, "SHIFTLEAD_HOME": "/nonexistent"}

    made = json.loads(shiftlead(cluster, "enqueue", "from afar", "--key", "k", "--json", **far).stdout)
    assert made["created"]
    assert not json.loads(shiftlead(cluster, "enqueue", "from afar", "--key", "k", "--json", **far).stdout)["created"]
    number = made["ticket"]["number"]
    batch = shiftlead(
        cluster, "enqueue", "-", "--json", given='{"body": "a"}\n{"bdy": "b"}\n{"body": "c"}', code=2, **far
    )
    assert json.loads(batch.stdout)["stored"] == 2

    listed = json.loads(shiftlead(cluster, "list", "--json", **far).stdout)["tickets"]
    assert len(listed) == 3
    assert "accept" in shiftlead(cluster, "show", number, **far).stdout
    shiftlead(cluster, "note", number, "a remark", **far)
    assert "no approval" in shiftlead(cluster, "approve", number, code=4, **far).stderr
    shiftlead(cluster, "show", "T-1999-001", code=3, **far)
    cancelled = json.loads(shiftlead(cluster, "cancel", number, "--reason", "enough", "--json", **far).stdout)
    assert cancelled["state"] == "cancelled"
    shiftlead(cluster, "list", code=4, **(far | {"SHIFTLEAD_KEY": "slk_wrong"}))


def test_up_detaches_tells_its_key_once_and_comes_down(short_folder: Path) -> None:
    """Section 9: everything starts, says where it is, and stops in reverse."""
    ports = {"SHIFTLEAD_PORT": str(_free_port()), "SHIFTLEAD_FLOWER_PORT": str(_free_port())}
    env = _clean_environment() | ports | {"SHIFTLEAD_HOME": str(short_folder)}

    def run(*arguments: str) -> str:
        done = subprocess.run([*CLI, *arguments], env=env, capture_output=True, text=True, cwd=short_folder, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    settings = Settings(home=short_folder)
    try:
        up = json.loads(run("up", "--detach", "--no-flower", "--json"))
        assert up["http"].endswith(ports["SHIFTLEAD_PORT"]) and up["admin_key"].startswith("slk_")
        assert running(settings) == up["pid"]
        assert "iris_support" in run("agents", "list")
    finally:
        down = run("down")
    assert "stopped" in down and running(settings) is None
    assert "Nothing runs" in run("down")


def test_the_supervisor_starts_commands_there_are(short_folder: Path, team: object) -> None:
    """The names in `processes_for` and those of the command line are the same."""
    from shiftlead.config.team import Team

    assert isinstance(team, Team)
    for process in processes_for(Settings(home=short_folder), [team]):
        if process.server is None:
            words = [*process.argv, "--help"]
            done = subprocess.run(words, capture_output=True, text=True, env=_clean_environment())
            assert done.returncode == 0, done.stderr


def _clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("SHIFTLEAD_")} | {"NO_COLOR": "1"}


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True
