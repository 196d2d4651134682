"""`shiftlead work`: any program as an agent, from the command line. It pulls, as an outside agent does over HTTP."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import Run, command

if TYPE_CHECKING:
    from shiftlead.agents.agent import Agent, Report
    from shiftlead.queues.desk import Desk
    from shiftlead.queues.ticket import Ticket

__all__ = ["add"]

PANEL = "Agents"
LOOK_S, LONGEST_LOOK_S = 0.1, 1.0  # pause between two looks at an empty queue
RETRIES = 5
REPORT_EXAMPLE = '{"kind": "resolved", "reply": "Your order is on its way.", "summary": "looked up the parcel"}'


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app, "work", panel=PANEL,
        examples=[
            "shiftlead work --agent devin_engineering --exec './my_agent.sh'",
            "shiftlead work --agent ada --exec 'python agent.py' --once",
            "A report, as the program prints it: " + REPORT_EXAMPLE,
            'Others: {"kind": "ask_requester", "question": "..."}  {"kind": "failed", "error": "..."}',
        ],
    )(work)  # fmt: skip


def work(
    run: Run,
    agent: Annotated[str, typer.Option(help="The agent to work as.")],
    program: Annotated[
        str, typer.Option("--exec", help="Program: Work as JSON on stdin, one Report as JSON on stdout.")
    ],
    once: Annotated[bool, typer.Option("--once", help="End after one ticket.")] = False,
) -> None:
    """Run any program as an agent: each ticket starts it once. Ctrl-C gives the ticket in hand back.

    The program gets one Work as JSON on stdin (ticket, history, answers, ...), prints one report as JSON on stdout
    and ends with 0. Its stderr is for its own messages.
    """
    from shiftlead.agents.brains import ExecBrain
    from shiftlead.queues.errors import NotFound

    from .doors import local_desk

    _refuse_not_executable(program)
    brain = ExecBrain(program, Path.cwd(), limit_s=run.settings.run_deadline_s)
    with local_desk(run) as desk:
        if agent not in desk.team.agents:
            raise NotFound(f"Team {desk.team.team!r} has no agent {agent!r}. It has: {', '.join(desk.team.agents)}.")
        _warn_of_rivals(run, desk, agent)
        stop = _Stop()
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            _Puller(run, desk, agent, brain, stop).pull(once)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _refuse_not_executable(program: str) -> None:
    """Before any ticket: a file of the user's that cannot be run as a program.

    Raises:
        BadInput: says what to do.
    """
    from shiftlead.queues.errors import BadInput

    try:
        first = shlex.split(program)[0]
    except (ValueError, IndexError):
        return  # the brain itself says what is wrong with it
    path = Path(first).expanduser()
    if not path.is_file() or os.access(path, os.X_OK) or ("/" not in first and shutil.which(first)):
        return
    by_python = f", or run it with an interpreter: --exec {shlex.quote('python ' + first)}" * first.endswith(".py")
    raise BadInput(
        f"{first} is a file, but not one that can be run: it is not executable. Nothing was started. Make it so with "
        f"`chmod +x {shlex.quote(first)}` (its first line names the interpreter, as #!/bin/sh){by_python}.",
        field="exec",
    )


def _warn_of_rivals(run: Run, desk: Desk, agent: str) -> None:
    """A running worker of the same agent hears of each ticket first, so this program would wait in vain."""
    from shiftlead.queues.presence import Presence

    there = Presence(desk.store.client, desk.keys, desk.clock, desk.settings).live().get(agent, [])
    workers = [w for w in there if w.worker]
    if not workers:
        return
    pids = ", ".join(str(w.pid) for w in workers)
    spec = desk.team.agents[agent]
    run.remark(
        "⚠ "
        f"{agent} has {len(workers)} running worker{'s' * (len(workers) != 1)} (process {pids}), which will get its "
        f"tickets first; this program may never see one. Either set `brain: outside` for {agent} in "
        f"{desk.team.folder / 'team.yaml'} and start Shiftlead again, or stop that worker."
        + ("" if spec.brain == "outside" else f" (Its brain there is {spec.brain}.)")
    )


class _Stop:
    """A handler of signals: ends what is running, but never between a claim and the care for the claimed ticket, which
    would then wait for its lease to run out (I19)."""

    def __init__(self) -> None:
        self._held = self._asked = False

    def __call__(self, *_: object) -> None:
        self._asked = True
        if not self._held:
            raise KeyboardInterrupt

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        """Raises KeyboardInterrupt when a signal came meanwhile."""
        self._held = False
        if self._asked:
            raise KeyboardInterrupt


class _Puller:
    """Claims, runs the program, reports; a thread renews the lease meanwhile."""

    def __init__(self, run: Run, desk: Desk, agent: str, brain: Agent, stop: _Stop) -> None:
        self.run, self.desk, self.agent, self.brain, self.stop = run, desk, agent, brain, stop
        self.worker = f"{desk.team.team}.{agent}@{socket.gethostname()}:{os.getpid()}:{int(time.time() * 1000)}"

    def pull(self, once: bool) -> None:
        from shiftlead.queues.presence import Beater, Presence, WorkerInfo

        desk, settings = self.desk, self.desk.settings
        presence = Presence(desk.store.client, desk.keys, desk.clock, settings)
        started = time.time()

        def info() -> WorkerInfo:
            return WorkerInfo(pid=os.getpid(), host=socket.gethostname(), node=self.worker, started_at=started)

        beater = Beater(presence, [self.agent], self.worker, info, ttl_s=settings.presence_ttl_s)
        beater.start()
        self.run.remark(f"{self.agent} waits for tickets. Ctrl-C ends it.")
        pause = LOOK_S
        try:
            while True:
                self.stop.hold()
                ticket = desk.claim_next(self.agent, self.worker)
                if ticket is None:
                    self.stop.release()
                    time.sleep(pause)
                    pause = min(LONGEST_LOOK_S, pause * 1.3)
                    continue
                pause = LOOK_S
                self._do(ticket)
                if once:
                    return
        finally:
            beater.stop()

    def _do(self, ticket: Ticket) -> None:
        from shiftlead.agents.work import build_work
        from shiftlead.queues.errors import BadInput, NotFound, Refused

        over, lost = threading.Event(), threading.Event()
        renewing = threading.Thread(target=self._renew, args=(ticket, over, lost), daemon=True)
        renewing.start()
        try:
            self.stop.release()
            report = self.brain.handle(build_work(self.desk, ticket, self.desk.team))
            if lost.is_set():
                raise Refused("somebody else holds it now; the report was dropped")
            after = self._report(ticket, report)
        except (Refused, NotFound) as error:
            self.run.say({"number": ticket.number, "error": str(error)}, f"✘ {ticket.number}: {error}")
            return
        except BadInput as error:
            self._give_back(ticket, f"its program's report cannot be used: {error}")
            self.run.say({"number": ticket.number, "error": str(error)}, f"✘ {ticket.number} given back: {error}")
            return
        except BaseException:
            self.stop.hold()
            self._give_back(ticket, "its program was stopped")
            raise
        finally:
            over.set()
            renewing.join(self.desk.settings.socket_timeout_s + 1)
        self.run.say(
            {"number": after.number, "report": report.kind, "state": str(after.state)},
            f"✔ {after.number} {report.kind}: now {after.state}",
        )

    def _report(self, ticket: Ticket, report: Report) -> Ticket:
        """Repeated with the same token while the outcome is unknown: the desk knows what it has."""
        from shiftlead.queues.errors import NotRecorded

        for attempt in range(RETRIES):
            try:
                return self.desk.report(ticket.id, ticket.token, report, agent=self.agent)
            except NotRecorded:
                if attempt == RETRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _renew(self, ticket: Ticket, over: threading.Event, lost: threading.Event) -> None:
        from redis.exceptions import RedisError

        from shiftlead.queues.errors import Refused, ShiftleadError

        while not over.wait(self.desk.settings.heartbeat_s):
            try:
                self.desk.renew(ticket)
            except Refused:
                lost.set()
                return
            except (RedisError, ShiftleadError):
                continue  # a beat may be lost; the next one comes within the lease

    def _give_back(self, ticket: Ticket, reason: str) -> None:
        from shiftlead.queues.errors import ShiftleadError

        try:
            self.desk.hand_back(ticket.id, ticket.token, reason=reason, actor=f"agent:{self.agent}")
        except ShiftleadError as error:
            self.run.remark(f"{ticket.number} could not be given back ({error}); its lease does it.")
