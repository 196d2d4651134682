"""A random history of a team, told through the real desk and the real cycle, into a real ledger.

The seed decides every act, so a story that found something can be told again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.cycle import Cycle
from shiftlead.queues.erasing import erase
from shiftlead.queues.errors import ShiftleadError
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ledger_writer import LedgerWriter
from shiftlead.queues.lifecycle import CLOSED, Queue, State
from shiftlead.queues.presence import WorkerInfo
from shiftlead.queues.report import AskHuman, AskRequester, Blocked, Failed, HandOff, Later, Report, Resolved, StepDone
from shiftlead.queues.retention import Retention
from shiftlead.queues.ticket import Draft, Ticket
from tests.conftest import open_desk

PERSON = "person:ann"
WORKER = "w1"
JOB = "https://ci.example/job/"

WEIGHTS = {
    "accept": 6, "tick": 5, "claim": 7, "report": 8, "time_passes": 2, "edit": 2, "reassign": 1, "snooze": 1,
    "merge": 1, "cancel": 1, "reopen": 2, "reply": 2, "answer": 3, "delegate": 1, "note": 1, "retire": 1, "erase": 1,
    "hold_agent": 1, "agent_event": 1, "hand_back": 1, "worker_gone": 1,
}  # fmt: skip
"""How often each act comes, among the others: a method of `History` each."""


class History:
    """A team at its desk. Each act picks a ticket and does one thing; what the desk refuses is part of the story.

    An act returns what it did, "" where there was nothing to do it to.
    """

    def __init__(self, client: Any, team: Team, settings: Settings, seed: int) -> None:
        self.client, self.seed = client, seed
        self.clock = ManualClock()
        # One of a customer at once, so that the others stand behind it; and nobody has an address to send notices to.
        intake = team.intake.model_copy(update={"per_customer": 1})
        people = {name: person.model_copy(update={"notify": ""}) for name, person in team.people.items()}
        self.team = team.model_copy(update={"intake": intake, "people": people})
        self.ledger = Ledger(settings.database_address)
        self.ledger.migrate()
        self.ledger.begin_epoch(team.team, None)
        self.desk = open_desk(client, self.team, self.clock, settings, ledger=self.ledger)
        self.story: list[str] = []
        self.forgotten: set[str] = set()
        """Keys of who served a customer last, which an erasure took away."""
        self._random = random.Random(seed)
        self._cycle = Cycle(self.desk, self.ledger, lambda rings: None)
        self._cycle.upkeep = None  # it works in a thread of its own; here retention is an act
        self._retention = Retention(self.desk.store, self.ledger)
        self._writer = LedgerWriter(self.ledger, client, self.desk.keys, 1, self.clock, settings)

    def tell(self, acts: int) -> None:
        """Do so many random acts, and record everything."""
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        for name in self._random.choices(names, weights, k=acts):
            act: Callable[[], str] = getattr(self, name)
            try:
                what = act()
            except ShiftleadError as refused:
                what = f"refused, {type(refused).__name__}: {refused}"
            if what:
                self.story.append(f"{name}: {what}")
        self.record()

    def record(self) -> None:
        """The ledger has everything."""
        while self._writer.step(0.001):
            pass

    def close(self) -> None:
        self._cycle.stop()
        self.ledger.close()

    def tickets(self) -> list[Ticket]:
        """The tickets that stand in Redis, by number."""
        ids = [i for queue in Queue for i in self.client.zrange(self.desk.keys.queue(queue), 0, -1)]
        return sorted((t for t in self.desk.store.read(ids)[1] if t is not None), key=lambda t: t.number)

    def served(self) -> set[str]:
        """The keys that say who served a customer last."""
        return set(self.client.scan_iter(match=self.desk.keys.served("*")))

    # -- senders --------------------------------------------------------------------------------------------------

    def accept(self) -> str:
        pick = self._random.choice
        fields: dict[str, Any] = {
            "body": f"I was charged twice for my order number {self._random.randint(1, 15)}",
            "customer": pick(["acme", "ACME ", "bob", ""]),
            "reporter": pick(["mia", "tom"]),
            "priority": pick(["urgent", "normal", None, "low"]),
            "type": pick(["billing", "bug", "request", "monitoring"]),
            "links": pick([[], ["https://ci/x.example/1"], [f"{JOB}22"], [f"{JOB}22", f"{JOB}23"]]),
            "needs": pick([[], [], [], ["nonsense"]]),
            "requires_handoff": pick([[], [], [], [], ["devin_engineering"]]),
        }
        key = pick([None, f"k{self._random.randint(0, 9)}"])
        answer = self.desk.accept(Draft(**fields), actor="door:test", key=key)
        became = "joined" if answer.joined else "new" if answer.created else "known"
        return f"{answer.ticket.number} {became}, key {key}, {fields}"

    def reply(self) -> str:
        return self._to(self._pick(State.WAITING), lambda t: self.desk.reply(t.id, "4711", actor="door:test"))

    # -- agents ---------------------------------------------------------------------------------------------------

    def claim(self) -> str:
        alone = self._random.random() < 0.3
        return self._to(
            self._pick(State.ASSIGNED),
            lambda t: self.desk.claim(t.id, t.assigned_to or "", WORKER, alone=alone),
        )

    def report(self) -> str:
        ticket = self._pick(State.WORKING)
        if ticket is None:
            return ""
        said = self._answer_to(ticket)
        self.desk.report(ticket.id, ticket.token, said, agent=ticket.assigned_to or "")
        return f"{ticket.number} {said!r}"

    def hand_back(self) -> str:
        return self._to(
            self._pick(State.WORKING),
            lambda t: self.desk.hand_back(t.id, t.token, reason="stopping", actor=f"agent:{t.assigned_to}"),
        )

    def worker_gone(self) -> str:
        return f"{WORKER}, which held {self.desk.worker_gone(WORKER)}"

    def agent_event(self) -> str:
        agent, ref = self._an_agent(), f"{JOB}{self._random.randint(22, 24)}"
        self.desk.agent_event(agent, "deployed", ref=ref, actor=f"agent:{agent}")
        return f"{agent} deployed {ref}"

    # -- people ---------------------------------------------------------------------------------------------------

    def hold_agent(self) -> str:
        agent = self._an_agent()
        free = {"paused": False, "draining": False, "busy_until": None}
        holds: list[dict[str, Any]] = [{"paused": True}, {"draining": True}, {"busy_until": self.clock.now() + 100}]
        values = self._random.choice([*holds, free, free, free])  # mostly free, or nobody would work
        self.desk.set_agent(agent, actor=PERSON, **values)
        return f"{agent} {values}"

    def edit(self) -> str:
        pick = self._random.choice
        changes: dict[str, Any] = pick(
            [
                {"customer": pick(["acme", "bob", "", "zed"])},
                {"priority": pick(["urgent", "low"])},
                {"needs": pick([["bug"], ["nonsense"], ["billing"], []])},
                {"links": [f"{JOB}99"]},
                {"type": "bug"},
            ]
        )
        return self._to(
            self._pick(), lambda t: self.desk.edit(t.id, changes, actor=PERSON, reason="wrong"), str(changes)
        )

    def reassign(self) -> str:
        whom: dict[str, Any] = self._random.choice(
            [{"to": "iris_support"}, {"to": "devin_engineering"}, {"to": "felix_ceo"}, {"needs": ["bug"]}]
        )
        values = whom | {"actor": PERSON, "reason": "better"}
        return self._to(self._pick(), lambda t: self.desk.reassign(t.id, **values), str(whom))

    def snooze(self) -> str:
        until = self.clock.now() + self._random.choice([20, 5000])
        return self._to(
            self._pick(), lambda t: self.desk.snooze(t.id, until, actor=PERSON, reason="later"), f"until {until}"
        )

    def merge(self) -> str:
        into = self._pick()
        if into is None:
            return ""
        return self._to(
            self._pick(),
            lambda t: self.desk.merge(t.id, into.id, actor=PERSON, reason="the same"),
            f"into {into.number}",
        )

    def cancel(self) -> str:
        return self._to(self._pick(), lambda t: self.desk.cancel(t.id, actor=PERSON, reason="a test"))

    def reopen(self) -> str:
        """One of Redis, or, less often, one of SQL that may have left Redis."""
        ticket = self._pick(*CLOSED)
        if self._random.random() < 0.4:
            archived = self.ledger.recent_completed(self.team.team, 50)
            ticket = self._random.choice(archived)[0] if archived else ticket
        return self._to(ticket, lambda t: self.desk.reopen(t.id, actor=PERSON, reason="not done"))

    def answer(self) -> str:
        decision = self._random.choice(["approve", "deny"])
        return self._to(
            self._pick_asked(), lambda t: self.desk.answer(t.id, decision, actor=PERSON, reason="so be it"), decision
        )

    def delegate(self) -> str:
        to = self._random.choice(["on_call", "felix_ceo"])
        return self._to(
            self._pick_asked(), lambda t: self.desk.delegate(t.id, to, actor=PERSON, reason="away"), f"to {to}"
        )

    def note(self) -> str:
        return self._to(self._pick(), lambda t: self.desk.note(t.id, "seen in store 2", actor=PERSON))

    def erase(self) -> str:
        ticket = self._pick(*CLOSED)
        if ticket is None:
            return ""
        self.record()
        had = self.served()
        self.desk.recorded = _Recording(self)
        try:
            erased = erase(self.desk, ticket.id, actor=PERSON, reason="asked to", vacuum=False)
        finally:
            self.desk.recorded = None
            self.forgotten |= had - self.served()
        return f"{ticket.number} with {erased.numbers}"

    # -- the coordinator, and time --------------------------------------------------------------------------------

    def tick(self) -> str:
        """Everybody is present, and the coordinator does what there is to do."""
        self._cycle.presence.beat(list(self.team.agents), WORKER, WorkerInfo())
        for _ in range(4):
            self._cycle.run(self.clock.now())
        return "four cycles"

    def time_passes(self) -> str:
        seconds = self._random.choice([1, 11, 31, 1000, 9000, 90_000])
        self.clock.advance(seconds)
        self.tick()
        return f"{seconds} s, and four cycles"

    def retire(self) -> str:
        self.record()
        before = self.clock.now() - self._random.choice([0, 500])
        return f"{self._retention.retire(before=before)} completed before {before}"

    # -- helpers --------------------------------------------------------------------------------------------------

    def _pick(self, *states: State) -> Ticket | None:
        """One of Redis's tickets, in one of the states."""
        there = [t for t in self.tickets() if not states or t.state in states]
        return self._random.choice(there) if there else None

    def _pick_asked(self) -> Ticket | None:
        """An open approval if there is one, so that not nearly all answers are refused; sometimes anything."""
        asked = [t for t in self.tickets() if t.type == "approval" and t.is_open]
        return self._random.choice(asked) if asked and self._random.random() < 0.8 else self._pick()

    def _an_agent(self) -> str:
        return self._random.choice(list(self.team.agents))

    def _to(self, ticket: Ticket | None, does: Callable[[Ticket], object], how: str = "") -> str:
        if ticket is None:
            return ""
        try:
            does(ticket)
        except ShiftleadError as refused:
            return f"{ticket.number} {how} refused, {type(refused).__name__}: {refused}"
        return f"{ticket.number} {how}".rstrip()

    def _answer_to(self, ticket: Ticket) -> Report:
        if ticket.type == "approval":
            return Resolved(decision=self._random.choice(["approve", "deny"]), reply="we have looked")
        answers: list[Report] = [
            *(Resolved(reply=text) for text in ("done", "found", "paid back", "explained")),
            Resolved(reply="sorry", requires_escalation=True, reason="angry"),
            StepDone(name="look", result={"a": 1}, needs=["bug"]),
            HandOff(needs=["bug"], question="why?"),
            HandOff(to="felix_ceo", question="may we?"),
            *(AskHuman(action="process_refund", arguments={"amount": amount}) for amount in (5.0, 50.0, 620.0)),
            AskRequester(question="which order?"),
            Blocked(owner="bank", action="open again"),
            Later(at=self.clock.now() + 50),
            Failed(error="not now", retryable=True),
            Failed(error="never"),
        ]
        return self._random.choice(answers)


class _Recording:
    """Records what is waited for, where a process of its own would."""

    def __init__(self, history: History) -> None:
        self._history = history

    def wait(self, stream_id: str, timeout_s: float, epoch: int) -> bool:
        self._history.record()
        return True
