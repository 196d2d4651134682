"""Real worker processes on a real server: what they do with a doorbell, and what is left when they die.

No coordinator runs here: tickets are assigned by hand and timers are fired by hand.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from shiftlead.agents.agent import Report, Resolved, Work
from shiftlead.agents.execution import Runner
from shiftlead.config.redis_client import broker_url_for
from shiftlead.config.settings import Settings
from shiftlead.coordinator.stub_llm import StubLlm
from shiftlead.queues import timers
from shiftlead.queues.broker import Ring, make_app, ring
from shiftlead.queues.connect import Connections
from shiftlead.queues.desk import Desk
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.spending import Spending
from shiftlead.queues.ticket import Draft, Line, Ticket
from tests.desks import assigned, triaged

pytestmark = pytest.mark.real
TEAM = """
team: crew
version: 1
priorities: {urgent: 5m, high: 30m, normal: 4h, low: 24h}
agents:
  bee: {role: support, can: [work, decision], capacity: 4, brain: "python:brains:handle"}
  ant: {role: support, can: [work], capacity: 1, brain: "python:brains:handle"}
  fox: {role: support, can: [work], capacity: 1, brain: openai}
routes:
  - needs: [work]
"""
BRAINS = '''
"""Does what the ticket says, and writes down that it began and ended."""
import os, time
from pathlib import Path

HERE = Path(__file__).parent

def say(word, work):
    with (HERE / "log").open("a") as log:
        log.write(f"{word} {work.ticket.number}\\n")

def handle(work):
    say("begin", work)
    what, _, rest = work.ticket.body.partition(" ")
    if what == "exit":
        os._exit(9)
    if what == "quota":
        from shiftlead.agents.quota import Busy
        raise Busy(after_s=90, reason="429: come back in 90 s")
    if what == "raise":
        raise ValueError("no such order \\0")
    if what == "wait":
        while not (HERE / rest).exists():
            time.sleep(0.01)
    say("end", work)
    return {"kind": "nonsense"} if what == "nonsense" else f"done by {work.agent}, {len(work.history)} lines"
'''


class Crew:
    """A team on a real server, and a hand that plays the coordinator."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.connections = Connections(settings)
        self.connections.ledger.migrate()
        self.desk: Desk = self.connections.desk("crew")
        self.desk.store.open_epoch(1, Line(ticket="", move="epoch", actor="coordinator", at=self.desk.clock.now()))
        self.app = make_app(settings, [self.desk.team])
        self.presence = Presence(self.connections.client, self.desk.keys, self.desk.clock, settings)

    def give(self, body: str, agent: str = "bee", *, rings: int = 1, **values: Any) -> Ticket:
        ticket = self.desk.accept(Draft(body=body), actor="door:test").ticket
        ticket = assigned(self.desk, triaged(self.desk, ticket, needs=("work",), **values), agent)
        self.ring(ticket, times=rings)
        return ticket

    def ring(self, ticket: Ticket, *, times: int = 1) -> None:
        ring(self.app, [Ring("crew", ticket.assigned_to or "", ticket.id, ticket.number, ticket.type)] * times)

    def read(self, ticket: Ticket) -> Ticket:
        return self.desk.find(ticket.id)

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def becomes(self, ticket: Ticket, state: State, *, within_s: float = 20.0) -> Ticket:
        until(lambda: self.read(ticket).state is state, f"{ticket.number} {state}", within_s)
        return self.read(ticket)

    def began(self, ticket: Ticket) -> None:
        until(lambda: f"begin {ticket.number}" in self.log(), f"{ticket.number} to begin")

    def fire_lease(self, ticket: Ticket, *, present: set[str]) -> None:
        """Wait for the lease timer to be due and do what the coordinator does."""
        client, keys = self.connections.client, self.desk.keys
        found: list[timers.Timer] = []

        def is_due() -> bool:
            due = timers.due(client, keys, self.desk.clock.now())
            found[:] = [t for t in due if t.kind == "lease" and t.ticket == ticket.id]
            return bool(found)

        until(is_due, f"the lease of {ticket.number} to end")
        [mine] = found

        def decide(t: Ticket, epoch: int) -> Any:
            now = self.desk.clock.now()
            return timers.fired(mine, t, now=now, epoch=epoch, present=present, max_crashes=3, deciders=[])

        self.desk.apply_many([(ticket.id, decide)])

    @contextmanager
    def worker(self, *arguments: str, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process that is present; killed at the end if the test did not stop it."""
        env = os.environ | {f"SHIFTLEAD_{k.upper()}": str(v) for k, v in self.overrides(settings).items()}
        argv = [sys.executable, "-m", "shiftlead.agents", "--team", "crew", *arguments]
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        try:
            until(lambda: bool(self.presence.live()), "the worker to be present")
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def overrides(self, more: dict[str, Any]) -> dict[str, Any]:
        return {
            "home": self.settings.home, "redis_url": self.settings.redis_url, "teams": self.folder.parent,
            "acknowledge": "redis", "lease_s": self.settings.lease_s, "grace_s": 2,
        } | more  # fmt: skip


def until(true: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    """Wait for a state, and say which one did not come."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"waited {within_s:g} s for {what}")
        time.sleep(0.01)


@pytest.fixture
def crew(valkey: redis.Redis, valkey_address: str, short_folder: Path) -> Iterator[Crew]:
    folder = short_folder / "teams" / "crew"
    folder.mkdir(parents=True)
    (folder / "team.yaml").write_text(TEAM)
    (folder / "brains.py").write_text(BRAINS)
    settings = Settings(
        home=short_folder, redis_url=valkey_address, teams=[folder.parent], acknowledge="redis", lease_s=1.5
    )
    crew = Crew(settings, folder)
    yield crew
    crew.app.close()
    crew.connections.close()


def test_a_rung_worker_claims_works_and_resolves(crew: Crew) -> None:
    with crew.worker("--child", "--agent", "bee"):
        ticket = crew.becomes(crew.give("go"), State.RESOLVED)

    assert ticket.result is not None and ticket.result["reply"].startswith("done by bee, ")
    moves = [line.move for line in crew.desk.history(ticket.id)]
    assert moves == ["accept", "triage", "assign", "claim", "resolve"]


def test_a_worker_with_an_empty_queue_asks_no_model(crew: Crew) -> None:
    """EN-12: present for three beats and rung for nothing, zero calls; then one ticket, one call, one row."""

    def beat() -> float:
        [(_, at)] = crew.connections.client.zrange(crew.desk.keys.presence, 0, -1, withscores=True)
        return float(at)

    with StubLlm() as stub, crew.worker("--child", "--agent", "fox", openai_base_url=stub.url):
        first = beat()
        ring(crew.app, [Ring("crew", "fox", "no-such-ticket", "T-2026-000", "work")])
        until(lambda: beat() > first + 2 * crew.settings.presence_ttl_s / 3, "its worker to have beaten again")
        assert stub.count == 0

        ticket = crew.becomes(crew.give("Where is my card?", "fox"), State.RESOLVED)
        assert stub.count == 1
    [step] = Spending(crew.connections.ledger, "crew").of(ticket.id)
    assert (step.agent, step.calls, step.report, list(step.models)) == ("fox", 1, "resolved", ["gpt-4.1-mini"])


def test_an_agent_whose_provider_says_no_is_busy_until_it_says_yes(crew: Crew) -> None:
    """EN-04: provider quota is busy-until; the ticket goes back, and nothing is counted against it."""
    with crew.worker("--child", "--agent", "bee"):
        ticket = crew.becomes(crew.give("quota"), State.READY)
        held = crew.desk.store.agent_states(["bee"])["bee"]
        assert held.busy_until is not None
        assert 80 < held.busy_until - crew.desk.clock.now() <= 90
        assert held.reason == "429: come back in 90 s"
        assert sum(ticket.attempts.model_dump().values()) == 0

        crew.desk.set_agent("bee", actor="person:lead", busy_until=crew.desk.clock.now() + 9000, reason="holiday")
        again = assigned(crew.desk, ticket, "bee")
        crew.ring(again)
        until(lambda: crew.log().count(f"begin {ticket.number}") == 2, "the second attempt")
        crew.becomes(ticket, State.READY)
        assert crew.desk.store.agent_states(["bee"])["bee"].reason == "holiday"


def test_a_doorbell_rung_ten_times_also_late_is_one_run(crew: Crew) -> None:
    """I2, I12: any message may come 0, 1 or 10 times, for a finished ticket too."""
    with crew.worker("--child", "--all"):
        ticket = crew.give("wait open", rings=10)
        crew.began(ticket)
        crew.ring(ticket, times=5)
        (crew.folder / "open").touch()
        crew.becomes(ticket, State.RESOLVED)
        crew.ring(ticket, times=5)
        after = crew.becomes(crew.give("go", "ant"), State.RESOLVED)  # behind all of them in time
        until(lambda: not crew.connections.client.llen("shiftlead.crew.bee"), "all rings to be heard")

    assert crew.log().count(f"begin {ticket.number}") == 1
    assert after.state is State.RESOLVED
    assert [line.move for line in crew.desk.history(ticket.id)].count("resolve") == 1


def test_a_ring_for_somebody_elses_ticket_does_nothing(crew: Crew) -> None:
    with crew.worker("--child", "--agent", "bee"):
        other = crew.give("go", "ant", rings=0)
        ring(crew.app, [Ring("crew", "bee", other.id)])
        crew.becomes(crew.give("go"), State.RESOLVED)

    assert crew.read(other).state is State.ASSIGNED


@pytest.mark.parametrize(
    ("body", "said"), [("raise", "ValueError: no such order"), ("nonsense", "This is not a Report")]
)
def test_a_brain_that_fails_gives_the_ticket_back_with_its_last_line(crew: Crew, body: str, said: str) -> None:
    with crew.worker("--child", "--agent", "bee"):
        ticket = crew.becomes(crew.give(body), State.READY)

    assert said in ticket.reason
    assert (ticket.attempts.handed_back, ticket.attempts.crashed, ticket.suspect) == (1, 0, False)


def test_a_killed_worker_loses_its_ticket_when_the_lease_ends(crew: Crew) -> None:
    """I5: the runtime renews past the first lease while it lives, and nobody does when it is dead."""
    with crew.worker("--child", "--agent", "bee") as process:
        ticket = crew.give("wait never")
        first = crew.becomes(ticket, State.WORKING).lease_until or 0.0
        until(lambda: crew.desk.clock.now() > first + 0.5, "the first lease to be over")
        assert not timers.due(crew.connections.client, crew.desk.keys, crew.desk.clock.now())

        process.kill()
        process.wait()
        crew.fire_lease(ticket, present=set())

    back = crew.read(ticket)
    assert (back.state, back.suspect, back.attempts.crashed) == (State.READY, True, 0)


def test_a_worker_that_slept_past_its_lease_is_not_heard(crew: Crew) -> None:
    """I4, I2: the token moved on while it was stopped; its late report changes nothing."""
    with crew.worker("--child", "--agent", "bee") as process:
        ticket = crew.give("wait open")
        crew.began(ticket)
        worker = crew.read(ticket).worker or ""
        os.kill(process.pid, signal.SIGSTOP)
        crew.fire_lease(ticket, present={worker})
        moved = crew.desk.claim(assigned(crew.desk, crew.read(ticket), "ant").id, "ant", "elsewhere")
        (crew.folder / "open").touch()
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: f"end {ticket.number}" in crew.log(), "the late brain to end")
        until(lambda: "report is dropped" in (crew.folder / "worker.log").read_text(), "the late report")

    now = crew.read(ticket)
    assert (now.state, now.assigned_to, now.token, now.version) == (State.WORKING, "ant", moved.token, moved.version)


def test_a_handler_past_its_run_deadline_loses_the_ticket_and_the_process_asks_for_a_fresh_one(crew: Crew) -> None:
    """I5, I17, TP-07: exit 75; others in the process finish, and only the one that hangs is suspect."""
    with crew.worker("--child", "--agent", "bee", run_deadline_s=2) as process:
        hung = crew.give("wait never")
        crew.began(hung)
        until(lambda: crew.desk.clock.now() > (crew.read(hung).assigned_at or 0) + 1, "the middle of the deadline")
        other = crew.give("wait open")
        crew.began(other)
        back = crew.becomes(hung, State.READY)
        assert not crew.presence.live() or crew.presence.live()["bee"][0].until < crew.desk.clock.now() + 3
        (crew.folder / "open").touch()
        assert process.wait(15) == 75

    assert "run deadline of 2 s" in back.reason and back.suspect and back.attempts.crashed == 0
    assert crew.read(other).state is State.RESOLVED and not crew.read(other).suspect
    assert not crew.presence.live()


def test_a_suspect_runs_alone_and_the_others_wait_their_turn(crew: Crew) -> None:
    """I17: nothing else runs while it does, it overtakes nobody and nobody overtakes it."""
    with crew.worker("--child", "--agent", "bee"):
        first = crew.give("wait one")
        crew.began(first)
        suspect = crew.give("wait two", suspect=True)
        until(lambda: not crew.connections.client.llen("shiftlead.crew.bee"), "its ring to be heard")
        third = crew.give("go")
        until(lambda: not crew.connections.client.llen("shiftlead.crew.bee"), "its ring to be heard")
        assert crew.log() == [f"begin {first.number}"]
        (crew.folder / "one").touch()
        crew.began(suspect)
        assert crew.read(suspect).alone
        (crew.folder / "two").touch()
        crew.becomes(third, State.RESOLVED)

    assert crew.log() == [f"{word} {t.number}" for t in (first, suspect, third) for word in ("begin", "end")]


def test_a_ticket_that_ends_its_process_comes_back_at_once_and_fails_after_three_times_alone(crew: Crew) -> None:
    """I5, I17: the parent says who died; crashes count only while alone; its neighbour is not blamed for ever."""
    with crew.worker("--agent", "bee", lease_s=60) as process:
        poison = crew.give("exit")
        back = crew.becomes(poison, State.READY)
        assert (back.suspect, back.attempts.crashed) == (True, 0)
        assert "died" in back.reason
        for crashes in (1, 2):
            crew.ring(assigned(crew.desk, back, "bee"))
            back = crew.becomes(poison, State.READY)
            assert back.attempts.crashed == crashes
        crew.ring(assigned(crew.desk, back, "bee"))
        failed = crew.becomes(poison, State.FAILED)
        after = crew.becomes(crew.give("go"), State.RESOLVED)
        process.terminate()
        assert process.wait(10) == 0

    assert "3 times while alone" in failed.reason
    assert after.attempts.crashed == 0
    assert not crew.presence.live()


def test_the_child_does_not_outlive_its_killed_parent(crew: Crew) -> None:
    with crew.worker("--agent", "bee") as process:
        [worker] = crew.presence.live()["bee"]
        process.kill()
        process.wait()
        until(lambda: not _runs(worker.pid), "the child to end")

    until(lambda: not crew.presence.live(), "the worker to leave")


def test_a_stopping_worker_finishes_what_it_can_and_hands_back_the_rest_uncounted(crew: Crew) -> None:
    """I19: within the grace time, and nothing is held against the ticket."""
    with crew.worker("--child", "--agent", "bee", lease_s=60) as process:
        short, long = crew.give("wait open"), crew.give("wait never")
        crew.began(short)
        crew.began(long)
        process.terminate()
        until(lambda: not crew.presence.live(), "the worker to leave")
        (crew.folder / "open").touch()
        assert process.wait(10) == 0

    assert crew.read(short).state is State.RESOLVED
    back = crew.read(long)
    assert (back.state, back.reason) == (State.READY, "the worker is stopping")
    assert sum(back.attempts.model_dump().values()) == 0 and not back.suspect


def test_a_report_whose_answer_was_lost_is_repeated_and_stands_once(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk knows the operation by its token, so repeating it is safe."""
    ticket = crew.give("go", rings=0)
    runner = Runner(crew.desk, {"bee": _Ready()}, "w@h:1:1", lambda: None)
    report, faults = crew.desk.report, [redis.ConnectionError("reset"), redis.TimeoutError("frozen")]

    def flaky(*args: Any, **kwargs: Any) -> Ticket:
        outcome = report(*args, **kwargs)
        if faults:
            raise faults.pop()
        return outcome

    monkeypatch.setattr(crew.desk, "report", flaky)

    assert runner.ring("bee", ticket.id) == "resolved"
    assert not faults
    assert [line.move for line in crew.desk.history(ticket.id)].count("resolve") == 1


def test_a_worker_survives_a_redis_that_is_away_for_a_moment(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that cannot be answered is dropped; the sweep rings again."""
    ticket = crew.give("go", rings=0)
    runner = Runner(crew.desk, {"bee": _Ready()}, "w@h:1:1", lambda: None)
    with monkeypatch.context() as away:
        away.setattr(crew.desk.store, "read", _raise)
        assert runner.ring("bee", ticket.id) == "too late"

    assert runner.ring("bee", ticket.id) == "resolved"
    assert runner.running == 0


INTAKE = """
import sys
from shiftlead.config.settings import get_settings
from shiftlead.config.team import load_team
from shiftlead.queues.intake import run_intake
settings = get_settings()
sys.exit(run_intake(settings, [load_team("crew", settings)]))
"""


def test_any_celery_client_can_send_a_ticket_by_name_and_gets_its_number(crew: Crew) -> None:
    """EN-01, EN-02: the client knows the broker and the task's name, nothing of Shiftlead."""
    url = broker_url_for(crew.settings.redis_url)
    client = Celery("somebody_else", broker=url, backend=url, set_as_current=False)
    env = os.environ | {f"SHIFTLEAD_{k.upper()}": str(v) for k, v in crew.overrides({"team": "crew"}).items()}
    with (crew.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", INTAKE], env=env, stdout=log, stderr=log)

    seen: list[dict[str, Any]] = []
    listening = threading.Event()

    def listen() -> None:
        with crew.app.connection() as connection:
            receiver = crew.app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context():
                listening.set()
                with contextlib.suppress(TimeoutError):
                    list(receiver.itercapture(timeout=5, wakeup=False))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert listening.wait(5)

    def send(draft: Any, **more: Any) -> Any:
        sent = client.send_task("shiftlead.enqueue", args=[draft], kwargs=more, queue="shiftlead.intake")
        return sent.get(timeout=20)

    try:
        number = send({"title": "Refund", "body": "a secret canary"}, key="order-17")
        again = send({"title": "Refund", "body": "a secret canary"}, key="order-17")
        with pytest.raises(ValueError, match="colour"):
            send({"title": "x", "colour": "red"})
        with pytest.raises(ValueError, match="different request"):
            send({"title": "another"}, key="order-17")
        with pytest.raises(ValueError, match="no team 'nobody'"):
            send({"title": "x"}, team="nobody")
        for draft in (["a secret canary"], "a secret canary", 7, None):
            with pytest.raises(ValueError, match="Nothing was stored"):
                send(draft)
        for key in (7, ["k"], "", "k" * 256, "a\nb", "\x1b[2J"):
            with pytest.raises(ValueError, match="`key`"):
                send({"title": "a secret canary"}, key=key)
        with pytest.raises(ValueError, match="`team`"):
            send({"title": "x"}, team={"a": "secret canary"})
        with pytest.raises(ValueError, match="names team 'crew', the call 'other'"):
            send({"title": "x", "team": "crew"}, team="other")
        client.send_task("shiftlead.enqeue", args=["a secret canary"], queue="shiftlead.intake")
        assert send({"title": "Refund", "body": "a secret canary"}, key="order-17") == number
    finally:
        process.terminate()
        code = process.wait(15)
        client.close()
        listener.join(10)

    assert code == 0
    assert {e["type"] for e in seen} >= {"task-received", "task-succeeded", "task-failed"}
    assert "canary" not in str(seen)  # I24: what Flower gets to see
    assert number == again and crew.desk.find(number).title == "Refund"
    assert crew.connections.client.zcard(crew.desk.keys.queue("intake")) == 1
    assert "canary" not in (crew.folder / "worker.log").read_text()


class _Ready:
    def handle(self, work: Work) -> Report:
        return Resolved(reply="done")


def _raise(*_: Any) -> Any:
    raise redis.ConnectionError("away")


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
