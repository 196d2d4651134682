"""The two agents at work, in one process: the shipped team with the real desk, coordinator, ledger, tools and brains.

The repository is the sample shop (agents/repository_sample.py) in a folder of the test's own. A person is whoever the
test says: `pair.desk.answer(...)`, and git itself for a merge.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import fakeredis

from shiftlead.agents.agent import Work
from shiftlead.agents.budget import Accounts
from shiftlead.agents.execution import Runner
from shiftlead.agents.offline import OfflineBrain
from shiftlead.agents.repository_sample import NAME, make_repository
from shiftlead.agents.toolroom import Toolroom
from shiftlead.agents.tools import Toolbox
from shiftlead.agents.work import build_work
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.cycle import Cycle
from shiftlead.queues.broker import Ring
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_writer import LedgerWriter
from shiftlead.queues.presence import Presence, WorkerInfo
from shiftlead.queues.report import Report
from shiftlead.queues.spending import Spending
from shiftlead.queues.spending_writer import SpendingWriter
from shiftlead.queues.ticket import Draft, Line, Ticket
from tests.conftest import open_desk


@cache
def _made() -> tuple[Path, list[str]]:
    """The sample, made once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="sl-shop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / NAME, make_repository(folder / NAME)


def copy_shop(folder: Path) -> list[str]:
    """A copy of the sample in `folder`; the hashes of its commits, the oldest first."""
    made, commits = _made()
    shutil.copytree(made, folder)
    return commits


START = 1_800_100_000.0  # after the sample's last commit
AGENTS = ("orchestrator", "engineer")


class Pair:
    """`repository` is the clone's folder, `commits` its hashes, the oldest first; the third breaks the shop."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repositories" / NAME
        self.commits = copy_shop(self.repository)
        self.settings = Settings(home=folder, acknowledge="redis", repositories=folder / "repositories")
        team = load_team("two_agent", self.settings)
        people = {name: person.model_copy(update={"notify": ""}) for name, person in team.people.items()}
        self.team = team.model_copy(update={"people": people})
        self.clock = ManualClock(START)
        self.client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
        self.ledger = Ledger(self.settings.database_address)
        self.ledger.migrate()
        self.ledger.begin_epoch(self.team.team, None)
        self.desk = open_desk(self.client, self.team, self.clock, self.settings, ledger=self.ledger)
        self._rings: deque[Ring] = deque()
        self._cycle = Cycle(self.desk, self.ledger, self._rings.extend)
        self._cycle.upkeep = None  # it works in a thread of its own
        self._writer = LedgerWriter(self.ledger, self.client, self.desk.keys, 1, self.clock, self.settings)
        roles = {name: self.team.agents[name].role for name in AGENTS}
        self.brains: dict[str, Any] = {n: OfflineBrain(r, self.team.folder / "knowledge") for n, r in roles.items()}
        self._books = SpendingWriter(Spending(self.ledger, self.team.team))
        accounts = Accounts(self.team, now=self.clock.now, puts=self._books)
        self.runner = Runner(self.desk, self.brains, "w@h:1:1", lambda: None, accounts)

    def close(self) -> None:
        self._cycle.stop()
        self._books.close()
        self.ledger.close()

    # -- time goes on -------------------------------------------------------------------------------------------

    def run(self, *, work: bool = True) -> None:
        """Until nothing is left to do at this moment. Without `work` everything is given out, and nobody begins."""
        presence = Presence(self.client, self.desk.keys, self.clock, self.settings)
        while True:
            presence.beat(AGENTS, "w@h:1:1", WorkerInfo(slots=8))
            while self._cycle.run(self.clock.now()):
                pass
            if not work or not self._rings:
                return
            while self._rings:
                ring = self._rings.popleft()
                self.runner.ring(ring.agent, ring.ticket)
                self.clock.advance(1.0)

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run()

    def recorded(self) -> Ledger:
        """The ledger, with everything in it."""
        while self._writer.step(0.01):
            pass
        self._books.flush()
        return self.ledger

    # -- tickets ------------------------------------------------------------------------------------------------

    def comes(self, *, run: bool = True, **fields: Any) -> Ticket:
        ticket = self.desk.accept(Draft.model_validate(fields), actor="door:test").ticket
        if run:
            self.run()
        return self.now(ticket)

    def now(self, ticket: Ticket | str) -> Ticket:
        return self.desk.find(ticket if isinstance(ticket, str) else ticket.id)

    def story(self, ticket: Ticket) -> list[Line]:
        return self.desk.history(ticket.id)

    def moves(self, ticket: Ticket) -> list[str]:
        return [line.move for line in self.story(ticket) if line.move != "note"]

    def children(self, ticket: Ticket, kind: str) -> list[Ticket]:
        found = [self.desk.find(child) for child in self.now(ticket).children]
        return [child for child in found if child.type == kind]

    def says(self, ticket: Ticket, report: Report, agent: str) -> Ticket:
        """`agent` claims it and reports."""
        held = self.desk.claim(ticket.id, agent, "w2")
        after = self.desk.report(held.id, held.token, report, agent=agent)
        self.run()
        return after

    def toolbox(self, ticket: Ticket, agent: str = "engineer") -> Toolbox:
        """The tools of `agent`, who claims the ticket."""
        work: Work = build_work(self.desk, self.desk.claim(ticket.id, agent, "w3"), self.team)
        found = Toolroom(self.desk).toolbox(work)
        assert found is not None
        return found

    # -- git, as a person uses it -------------------------------------------------------------------------------

    def git(self, *args: str) -> str:
        argv = ["git", "-c", "user.name=lead", "-c", "user.email=lead@shop.example", *args]
        done = subprocess.run(argv, cwd=self.repository, check=True, capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def branches(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ") for line in lines)
