"""`shiftlead demo`: a team, real tickets, real processes, and a killed worker, on a data folder of its own.

Afterwards everything is stopped, the ledger is verified, and what happened is read from the ledger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command, console

if TYPE_CHECKING:
    from pathlib import Path

    from shiftlead.config.settings import Settings
    from shiftlead.queues.connect import Connections
    from shiftlead.queues.ticket import Draft

    from .demo_people import People
    from .demo_script import Script
    from .demo_view import Board

__all__ = ["TEAM", "Show", "add"]

TEAM = "front_office"
BURST, BURST_EVERY_S = 9, 0.6
DEADLINE_S = 60.0
TICK_S = 0.1
KILL_AFTER_S, KILL_TRIES = 2.0, 6
PACE_S = "0.5"


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app,
        "demo",
        panel="Start and stop",
        own_team=True,
        examples=["shiftlead demo", "shiftlead demo --team support_desk", "shiftlead demo --home ./demo --json"],
    )(demo)


def demo(
    run: Run,
    team: Annotated[str, typer.Option(help="A shipped team.", show_default=TEAM)] = TEAM,
    deadline: Annotated[float, typer.Option(min=5, help="Seconds the tickets may take.")] = DEADLINE_S,
) -> None:
    """Show everything in half a minute: real tickets, a handoff, a hold, an escalation, a killed worker.

    Each shipped team has a demonstration of its own: --team. It starts real processes on a data folder of its own and
    stops them again. Nothing outside that folder is touched.
    """
    from .demo_people import People
    from .demo_report import tell
    from .demo_script import drafts_of, prepared, script_of
    from .demo_view import Board

    script = script_of(team)
    home = _home(run)
    os.environ.update(prepared(script, home))
    settings = _settings(home, team)
    drafts = list(drafts_of(team))
    before = signal.signal(signal.SIGTERM, _interrupt)
    board = Board(console(), quiet=run.as_json)
    show = Show(settings, drafts, board, deadline, script, People(script, board.say))
    try:
        board.say(f"{len(drafts)} tickets for the team {team}, on a data folder of its own: {settings.data}")
        with _processes(settings, board):
            show.play()
    except KeyboardInterrupt:
        board.say(f"Stopped, as asked; nothing of it runs any more. Its data folder: {settings.data}")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    tell(run, settings, show)


@dataclass
class Show:
    """Enqueues, kills and watches until everything is completed."""

    settings: Settings
    drafts: list[Draft]
    board: Board
    deadline_s: float
    script: Script
    people: People
    numbers: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    took_s: float = 0.0
    complete: bool = False
    _kills: int = 0
    killed: str = ""  # number of the ticket whose worker was killed
    _victim: tuple[str, str, float] | None = None  # ticket id, worker, when
    _killed: bool = False

    def play(self) -> None:
        from shiftlead.queues.connect import Connections

        connections = Connections(self.settings)
        try:
            with self.board:
                self._play(connections)
        finally:
            connections.close()

    def _play(self, connections: Connections) -> None:
        desk = connections.desk()
        for agent, busy_s in self.script.busy.items():
            until = desk.clock.now() + busy_s
            desk.set_agent(agent, actor="person:demo", reason=self.script.session, busy_until=until)
        started, sent = time.monotonic(), 0
        while True:
            elapsed = time.monotonic() - started
            if sent < len(self.drafts) and elapsed >= sent / BURST * BURST_EVERY_S:
                self._enqueue(connections, self.drafts[sent : sent + BURST])
                sent += BURST
            if self.script.kill and elapsed > KILL_AFTER_S and not self._killed:
                self._kill(connections)
            self.people.look(connections.desk())
            moment = self._snapshot(connections, elapsed)
            self.board.show(moment)
            open_now = moment.counts["intake"] + moment.counts["active"]
            self.complete = sent >= len(self.drafts) and (not open_now or self._only_for_later(connections, open_now))
            self.took_s = elapsed
            if self.complete or elapsed > self.deadline_s:
                return
            time.sleep(TICK_S)

    def _only_for_later(self, connections: Connections, open_now: int) -> bool:
        """Whether every open ticket is a follow-up of a completed one: a watch, a promise."""
        from shiftlead.queues.lifecycle import OPEN
        from shiftlead.queues.views import LiveView

        if open_now > len(self.drafts):
            return False
        left = [t for t in LiveView(connections.desk()).tickets(limit=2 * len(self.drafts)) if t.state in OPEN]
        return all(t.source == "follow_up" for t in left)

    def _enqueue(self, connections: Connections, drafts: Sequence[Draft]) -> None:
        from shiftlead.queues.errors import ShiftleadError

        for answer in connections.desk().accept_many([(d, None) for d in drafts], actor="door:demo"):
            if isinstance(answer, ShiftleadError):
                self.refused.append(str(answer))
            else:
                self.numbers.append(answer.ticket.number)

    def _kill(self, connections: Connections) -> None:
        """SIGKILL the process that holds a working ticket; again, if the ticket was reported in that very moment."""
        from shiftlead.queues.presence import Presence

        desk = connections.desk()
        if self._victim is not None:
            ticket_id, worker, at = self._victim
            lines = desk.history(ticket_id)
            if any(line.move == "give_back" for line in lines):
                self._killed = True
                return
            still = desk.find(ticket_id)
            if still.worker == worker and time.monotonic() - at < self.settings.lease_s + 3:
                return  # its lease has not run out yet
            self._victim = None
        if self._kills >= KILL_TRIES:
            self._killed = True  # the events say that it was not seen
            return
        presence = Presence(desk.store.client, desk.keys, desk.clock, desk.settings).live()
        for agent in sorted(desk.team.agents, key=lambda a: desk.team.agents[a].capacity):
            if agent in self.script.busy:
                continue
            _, held = desk.store.read(desk.store.client.zrange(desk.keys.working(agent), 0, -1))
            # The one claimed last has the most work before it.
            for ticket in sorted((t for t in held if t is not None), key=lambda t: -t.updated_at):
                pid = next((w.pid for w in presence.get(agent, []) if w.worker == ticket.worker), 0)
                if pid > 1:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    self._kills += 1
                    self._victim = (ticket.id, ticket.worker or "", time.monotonic())
                    self.killed = ticket.number
                    others = ", ".join(t.number for t in held if t and t.worker == ticket.worker and t != ticket)
                    beside = f" (and {others})" if others else ""
                    self.board.say(
                        f"  kill -9 {pid}: the worker of {agent}, which holds {ticket.number}{beside}; "
                        "another process will finish it"
                    )
                    return

    def _snapshot(self, connections: Connections, elapsed: float) -> Any:
        from shiftlead.coordinator.facts import agent_facts
        from shiftlead.queues.presence import Presence
        from shiftlead.queues.views import LiveView

        from .demo_view import Snapshot

        desk = connections.desk()
        now = desk.clock.now()
        agents = agent_facts(desk, Presence(desk.store.client, desk.keys, desk.clock, desk.settings), now)
        events = [line for _, line in connections.ledger.events(desk.team.team, limit=8)]
        counts = LiveView(desk).counts()
        if len(self.numbers) + len(self.refused) < len(self.drafts):
            doing = "tickets come in"
        elif busy := next((name for name in self.script.busy if agents[name].held(now)), ""):
            doing = f"{busy} is in a session"
        else:
            doing = (
                "the last ones wait for their escalation" if counts["active"] + counts["intake"] < 4 else "work goes on"
            )
        return Snapshot(elapsed, len(self.drafts), len(self.numbers), counts, list(agents.values()), events, now, doing)


@contextlib.contextmanager
def _processes(settings: Settings, board: Board) -> Iterator[None]:
    """Server, coordinator and a worker per agent, all ready; stopped at the end, whatever happens."""
    from shiftlead.agents.brain_check import require_brains
    from shiftlead.config.team import load_team
    from shiftlead.coordinator.supervisor import Supervisor, processes_for

    team = load_team(settings.team, settings, overlay=settings.overlay)
    require_brains([team], settings, apart=True)
    wanted = [p for p in processes_for(settings, [team], web=False, flower=False) if p.name != "intake"]
    supervisor = Supervisor(wanted, logs=settings.data / "logs", say=lambda text: board.say(f"  {text}"), grace_s=10.0)
    ready, failed = threading.Event(), []

    def supervise() -> None:  # one thread for all of it: the children end when the thread that started them does
        try:
            supervisor.start()
            ready.set()
            supervisor.watch()
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()
            supervisor.stop()

    thread = threading.Thread(target=supervise, name="supervisor")
    thread.start()
    try:
        while not ready.wait(0.2):
            pass
        if failed:
            raise failed[0]
        yield
    finally:
        supervisor.request_stop()
        try:
            thread.join()
        except KeyboardInterrupt:
            supervisor.request_stop()  # a second Ctrl-C: no more patience
            thread.join()
            raise


def _home(run: Run) -> Path:
    """A data folder of the demonstration's own, empty."""
    from shiftlead.queues.errors import BadInput

    stamp = time.strftime("demo-%Y%m%d-%H%M%S")
    home = run.home.expanduser().absolute() if run.home else run.settings.data / stamp
    if (home / "ledger.db").exists():
        raise BadInput(
            f"{home} has tickets in it already. Name another folder with --home, or leave it out.", field="home"
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home


def _settings(home: Path, team: str) -> Settings:
    """Settings of the demonstration's own: nothing of the user's installation is used."""
    from shiftlead.config.settings import Settings

    from .demo_script import overlay_of

    os.environ.setdefault("SHIFTLEAD_PACE_S", PACE_S)  # thinking time of the offline brains, so that one sees them work
    return Settings(
        home=home, team=team, teams=[], overlay=overlay_of(team), redis_url="", database_url="", broker_url="",
        url="", key="", notices="", acknowledge="sql", lease_s=3.0, presence_ttl_s=1.5, record_timeout_s=10.0,
    )  # fmt: skip


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
