"""Agents from the command line: `try` runs a brain on one ticket in memory, `work` runs any program as an agent."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command, plain

if TYPE_CHECKING:
    from shiftlead.agents.agent import Agent, Report, Work
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
        app, "try", panel=PANEL,
        examples=[
            "shiftlead try iris_support 'I was charged twice for order 4711'",
            """shiftlead try --team acme greeter 'hello' --context '{"tier": "basic"}' --steps earlier.json --json""",
        ],
    )(try_agent)  # fmt: skip
    command(
        app, "work", panel=PANEL,
        examples=[
            "shiftlead work --agent devin_engineering --exec './my_agent.sh'",
            "shiftlead work --agent ada --exec 'python agent.py' --once",
            "A report, as the program prints it: " + REPORT_EXAMPLE,
            'Others: {"kind": "ask_requester", "question": "..."}  {"kind": "failed", "error": "..."}',
        ],
    )(work)  # fmt: skip


def try_agent(
    run: Run,
    agent: Annotated[str, typer.Argument(help="An agent of the team.")],
    text: Annotated[str, typer.Argument(help="The ticket's text.")],
    type: Annotated[str | None, typer.Option(help="Type of the ticket; default: what the agent can first.")] = None,
    customer: Annotated[str, typer.Option(help="Whom it is about.")] = "",
    context: Annotated[str | None, typer.Option(help="Free facts, a JSON object.")] = None,
    steps: Annotated[Path | None, typer.Option(help="JSON file with the results of earlier steps, by name.")] = None,
) -> None:
    """Run an agent's brain on one ticket, here and now. Nothing is stored and no server is needed."""
    from shiftlead.agents.agent import as_report
    from shiftlead.agents.brain_check import load_brain
    from shiftlead.config.team import load_team
    from shiftlead.queues.errors import BadInput, NotFound

    from .doors import use_running_team

    use_running_team(run)
    team = load_team(run.settings.team, run.settings, overlay=run.settings.overlay)
    if agent not in team.agents:
        raise NotFound(f"Team {team.team!r} has no agent {agent!r}. It has: {', '.join(team.agents)}.")
    spec = team.agents[agent]
    if spec.human or spec.brain == "outside":
        raise BadInput(f"{agent} is a person or an agent from outside: there is no brain to run.", field="agent")
    brain = load_brain(team, agent, run.settings)
    made = _work_in_memory(
        team, agent, text, type or spec.can[0], customer, _object(context, "--context") if context else {},
        _file_object(steps) if steps else {},
    )  # fmt: skip
    started = time.monotonic()
    try:
        report = as_report(brain.handle(made))
    except BadInput:
        raise
    except Exception as error:
        if os.environ.get("SHIFTLEAD_DEBUG"):
            raise
        raise RuntimeError(
            f"{agent}'s brain ({spec.brain}) raised {type_name(error)}: {error}{_place(error)}"
        ) from error
    took_s = time.monotonic() - started
    from rich.panel import Panel

    from .story import report_parts

    title, body = report_parts(report.model_dump())
    below = f"{spec.brain}, {took_s * 1000:.0f} ms, nothing stored"
    run.say(
        report.model_dump(mode="json"),
        Panel(plain(body), title=plain(f"{agent}: {title}"), title_align="left", subtitle=plain(below)),
    )  # fmt: skip


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
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _Puller(run, desk, agent, brain).pull(once)
        finally:
            signal.signal(signal.SIGTERM, before)


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


class _Puller:
    """Claims, runs the program, reports; a thread renews the lease meanwhile."""

    def __init__(self, run: Run, desk: Desk, agent: str, brain: Agent) -> None:
        self.run, self.desk, self.agent, self.brain = run, desk, agent, brain
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
                ticket = desk.claim_next(self.agent, self.worker)
                if ticket is None:
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


def _work_in_memory(
    team: Any, agent: str, text: str, type: str, customer: str, context: dict[str, Any], steps: dict[str, Any]
) -> Work:
    """A Work as the worker would build it, for a ticket that exists nowhere."""
    from shiftlead.agents.agent import Work
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.lifecycle import State
    from shiftlead.queues.ticket import Line, Ticket, check_text

    check_text(text, "the text")
    if not text.strip():
        raise BadInput("The ticket has no text.", field="text")
    spec, now = team.agents[agent], time.time()
    first = next(line.strip() for line in text.splitlines() if line.strip())
    number = f"T-{time.gmtime(now).tm_year}-000"
    ticket = Ticket(
        id="try", number=number, team=team.team, team_version=team.version, type=type, title=first[:140], body=text,
        source="try", customer=customer, context=context, needs=[type] if type in spec.can else [spec.can[0]],
        steps=steps, state=State.WORKING, assigned_to=agent, worker="try", token=1, created_at=now, updated_at=now,
        due=now, assigned_at=now, trace_id="try",
    )  # fmt: skip
    line = Line(ticket="try", number=number, seq=1, move="accept", actor="door:try", at=now, after="new")
    return Work(
        agent=agent, role=spec.role, ticket=ticket, token=1, history=[line], steps=steps, team_can=team.capabilities,
        deadline=now + 900, trace_id="try",
    )  # fmt: skip


def _object(text: str, what: str) -> dict[str, Any]:
    from shiftlead.queues.errors import BadInput

    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what}: malformed JSON: {error}.") from None
    if not isinstance(data, dict):
        raise BadInput(f"{what}: a JSON object is expected, this is {type_name(data)}.")
    return data


def _file_object(path: Path) -> dict[str, Any]:
    from shiftlead.queues.errors import BadInput

    try:
        return _object(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}.") from None


def type_name(value: Any) -> str:
    """The name of its class."""
    return type(value).__name__


def _place(error: BaseException) -> str:
    """Where in the user's file it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last is not None else ""


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
