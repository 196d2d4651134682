"""A day told through the real desk into a real ledger: what the tests of numbers and briefs count by hand."""

from __future__ import annotations

from typing import Any

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.handoff import answer_of
from shiftlead.queues import moves
from shiftlead.queues.desk import Desk
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_writer import LedgerWriter
from shiftlead.queues.report import AskHuman, Failed, HandOff, Report, Resolved
from shiftlead.queues.ticket import Ticket
from tests.conftest import open_desk
from tests.desks import _one, a_new_ticket, assigned, triaged

T = 1_800_000_000.0  # Friday 2027-01-15 08:00 UTC, where a story begins
IRIS, DEVIN, FELIX = "iris_support", "devin_engineering", "felix_ceo"


class Told:
    """A team at its desk, with a clock that is moved by hand and a writer that records when it is told to."""

    def __init__(self, client: Any, team: Team, settings: Settings, start: float = T) -> None:
        self.start, self.clock, self.team = start, ManualClock(start), team
        self.ledger = Ledger(settings.database_address)
        self.ledger.migrate()
        self.ledger.begin_epoch(team.team, None)
        self.desk: Desk = open_desk(client, team, self.clock, settings, ledger=self.ledger)
        self._writer = LedgerWriter(self.ledger, client, self.desk.keys, 1, self.clock, settings)

    def recorded(self) -> Ledger:
        """The ledger, with everything in it."""
        while self._writer.step(0.01):
            pass
        return self.ledger

    def at(self, second: float) -> None:
        """It is now so many seconds after the start."""
        self.clock.advance(self.start + second - self.clock.now())

    def comes(self, title: str, **fields: Any) -> Ticket:
        """A ticket comes in and is triaged at once; its first answer is due in a minute."""
        return triaged(self.desk, a_new_ticket(self.desk, title=title, **fields))

    def begun(self, ticket: Ticket, agent: str = IRIS) -> Ticket:
        """The agent is given the ticket and claims it."""
        return self.desk.claim(assigned(self.desk, self.desk.find(ticket.id), agent).id, agent, "w1")

    def says(self, ticket: Ticket, report: Report) -> Ticket:
        """The holder reports."""
        held = self.desk.find(ticket.id)
        return self.desk.report(held.id, held.token, report, agent=held.assigned_to or "")

    def goes_on(self, ticket: Ticket) -> Ticket:
        """A ticket that waits for its children, all closed, is ready again."""
        children = [self.desk.find(child) for child in self.desk.find(ticket.id).awaits]
        answers = [answer_of(child) for child in children]
        return self.moved(ticket, moves.resume, answers, actor="coordinator", reason="all are done")

    def escalated(self, ticket: Ticket) -> Ticket:
        """A step of its ladder tells the decision-maker."""
        return self.moved(ticket, moves.escalate, ladder=1, ladder_at=None, told=[FELIX], to=None, reason="it is late")

    def moved(self, ticket: Ticket, move: Any, *given: Any, **values: Any) -> Ticket:
        """One move, committed."""
        return _one(self.desk, ticket, lambda t, epoch: [move(t, *given, now=self.clock.now(), epoch=epoch, **values)])


def a_morning(told: Told) -> dict[str, Ticket]:
    """Five matters in 210 seconds: one simple, one approved by a person, one failed, one handed on, one cancelled."""
    t = {name: told.comes(name, priority=("high" if name == "refund" else "normal"))
         for name in ("simple", "refund", "broken", "crash", "noise")}  # fmt: skip
    told.at(10)
    told.begun(t["simple"])
    told.at(40)
    told.says(t["simple"], Resolved(reply="here it is"))
    told.begun(t["refund"])
    told.at(50)
    asked = told.says(
        t["refund"], AskHuman(action="process_refund", arguments={"amount": 620.0}, why="a long customer")
    )
    t["approval"] = told.desk.find(asked.awaits[0])
    told.at(80)
    told.desk.answer(t["approval"].id, "approve", actor="person:ann", reason="she is right")
    told.goes_on(t["refund"])
    told.at(90)
    told.begun(t["refund"])
    told.at(100)
    told.says(t["refund"], Resolved(reply="refunded"))
    told.begun(t["broken"])
    told.at(130)
    told.says(t["broken"], Failed(error="the order does not exist"))
    told.begun(t["crash"])
    told.at(140)
    asked = told.says(t["crash"], HandOff(needs=["bug"], question="why?"))
    t["part"] = told.desk.find(asked.awaits[0])
    told.at(150)
    triaged(told.desk, t["part"], needs=("bug",))
    told.begun(t["part"], DEVIN)
    told.at(200)
    told.says(t["part"], Resolved(reply="a null pointer"))
    told.goes_on(t["crash"])
    told.escalated(t["crash"])
    told.desk.reopen(t["broken"].id, actor="person:ann", reason="it does exist")
    told.desk.cancel(t["noise"].id, actor="person:ann", reason="a test")
    told.at(205)
    assigned(told.desk, told.desk.find(t["crash"].id), IRIS)
    told.at(210)
    return t
