"""`shiftlead worker`: keep one worker process running.

The parent does nothing but that, so it does not die of what an agent does. The child ends with its parent.

    child ends with   parent
    0, or asked to    stops too
    75                starts it again at once: it asked for a fresh process
    2 while starting  stops too, with 2: its input is bad, as a brain that cannot be loaded; again would not help
    anything else     tells the desk at once which worker died, and starts it again, more slowly each time
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from shiftlead.config.log import set_up_logging
from shiftlead.config.process import bound
from shiftlead.config.settings import Settings, get_settings
from shiftlead.config.team import Team, load_team
from shiftlead.queues.connect import Connections
from shiftlead.queues.errors import BadInput, ShiftleadError
from shiftlead.queues.presence import Presence

from .brain_check import require_brains
from .worker import RECYCLE, agents_for, node_name, run_worker

__all__ = ["keep_worker", "main", "worker_command"]

log = logging.getLogger("shiftlead.agents")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
HEALTHY_S = 60.0
KILL_AFTER_S = 10.0
BAD_INPUT = BadInput.exit_code


def keep_worker(settings: Settings, team: Team, agents: Sequence[str] = (), concurrency: int | None = None) -> int:
    """Run a worker for `agents` (all when empty) in a child process, again and again, until SIGTERM or SIGINT.

    Settings reach the child through the environment of this process. Call it from the main thread.
    """
    argv = worker_command(team.team, agents, concurrency)
    keeper = _Keeper(settings, team, node_name(team, agents), argv)
    before = {s: signal.signal(s, keeper.stop) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        return keeper.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def worker_command(team: str, agents: Sequence[str] = (), concurrency: int | None = None) -> list[str]:
    """The child's command line. -P: the folder it is started in stays off the import path, so that a brain that
    imports a package called `agents` gets that one, and not a folder that happens to lie there.
    """
    argv = [sys.executable, "-P", "-m", "shiftlead.agents", "--child", "--team", team]
    argv += [part for name in agents for part in ("--agent", name)]
    return argv + (["--concurrency", str(concurrency)] if concurrency else [])


class _Keeper:
    def __init__(self, settings: Settings, team: Team, node: str, argv: list[str]) -> None:
        self.settings, self.team, self.node, self.argv = settings, team, node, argv
        self.child: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def run(self) -> int:
        pause = FIRST_PAUSE_S
        while not self.stopping:
            started = time.monotonic()
            # its own session: an interrupt at the terminal reaches the parent, and the parent tells the child once
            self.child = subprocess.Popen(bound(self.argv), start_new_session=True)
            code = self._wait(self.child)
            if self.stopping or code == 0:
                if code not in (0, RECYCLE):
                    self._report_dead(self.child.pid, code)
                return 0
            if code == RECYCLE:
                log.info("%s starts anew", self.node)
                continue
            was_there = self._report_dead(self.child.pid, code)
            if code == BAD_INPUT and not was_there:  # it has said what is wrong
                return BAD_INPUT
            pause = FIRST_PAUSE_S if time.monotonic() - started > HEALTHY_S else pause
            log.error("%s ended with %s; it starts again in %.1f s", self.node, _ending(code), pause)
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        return 0

    def stop(self, *_: object) -> None:
        """Ask the child to finish. A signal handler."""
        self.stopping = True
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        deadline = None
        while True:
            if self.stopping and deadline is None:
                child.terminate()  # the signal may have come before there was a child to tell
                deadline = time.monotonic() + self.settings.grace_s + KILL_AFTER_S
            if deadline is not None and time.monotonic() > deadline:
                child.kill()
            try:
                return child.wait(0.5)
            except subprocess.TimeoutExpired:
                continue

    def _report_dead(self, pid: int, code: int) -> bool:
        """Its tickets need not wait for their leases; where this fails, they do. Whether it had been at work."""
        worker, was_there = f"{self.node}:{pid}:", False
        connections = Connections(self.settings)
        try:
            desk = connections.desk(self.team.team)
            beaten = Presence(connections.client, desk.keys, desk.clock, self.settings).forget(worker)
            numbers = desk.worker_gone(worker)
            was_there = bool(beaten or numbers)
            level = logging.INFO if code == BAD_INPUT and not was_there else logging.ERROR
            log.log(level, "%s died (%s); given back: %s", worker, _ending(code), ", ".join(numbers) or "nothing")
        except Exception as error:
            level = logging.INFO if code == BAD_INPUT else logging.ERROR
            log.log(level, "%s died (%s) and could not be reported: %s", worker, _ending(code), error)
        finally:
            connections.close()
        return was_there

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < until:
            time.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `python -m shiftlead.agents`."""
    parser = argparse.ArgumentParser(prog="shiftlead worker", description="Work for agents of a team.")
    parser.add_argument("--team", default="", help="name of the team, or its folder")
    parser.add_argument("--agent", action="append", default=[], help="an agent; may be given again")
    parser.add_argument("--role", default="", help="every agent of this role")
    parser.add_argument("--all", action="store_true", help="every agent (the default)")
    parser.add_argument("--concurrency", type=int, default=None, help="tickets at a time")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    settings = get_settings()
    set_up_logging(settings, process="worker")
    try:
        team = load_team(given.team or settings.team, settings, overlay=settings.overlay)
        agents = agents_for(team, given.agent, role=given.role) if given.agent or given.role else []
        if given.child:
            require_brains([team], settings, agents)
            return run_worker(settings, team.team, agents, given.concurrency)
        return keep_worker(settings, team, agents, given.concurrency)
    except (ShiftleadError, ValueError) as error:
        log.error("%s", error)
        return getattr(error, "exit_code", 2)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # A brain that is still running must not keep the process: its ticket has been given back.
    os._exit(status)
