"""A model of the lifecycle against the desk: whatever is asked in whatever order, what must never happen does not.

200 runs of up to 50 steps on each server.
"""

from __future__ import annotations

import contextlib
from typing import Any

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.config.team_file import AgentSpec, Check
from shiftlead.queues import moves, timers
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput, NoSlot, Refused, ShiftleadError
from shiftlead.queues.layout import layout
from shiftlead.queues.lifecycle import HELD, QUEUE_OF, Queue, State
from shiftlead.queues.report import (
    AskHuman,
    AskRequester,
    Blocked,
    Failed,
    HandOff,
    Later,
    Resolved,
    Reviewed,
    StepDone,
)
from shiftlead.queues.reserved import RESERVED
from shiftlead.queues.ticket import Draft, Line, Ticket

AGENTS = ("iris_support", "devin_engineering", "felix_ceo")
CHECKER = AgentSpec(role="checker", can=["quality_check"], capacity=3)
VERDICTS = (Reviewed(passed=True), Reviewed(passed=False, failed_checks=["tone_appropriate"]))
ROUNDS = 2
REPORTS = (
    Resolved(reply="done"),
    Resolved(reply="sorry", requires_escalation=True, reason="angry"),
    StepDone(name="look", result={"a": 1}, needs=["bug"]),
    HandOff(needs=["bug"], question="why?"),
    HandOff(to="felix_ceo", question="may we?"),
    AskHuman(action="refund", arguments={"amount": 5.0}),
    AskRequester(question="which order?"),
    Blocked(owner="bank", action="open again"),
    Later(at=1_800_000_100.0),
    Failed(error="no", retryable=True),
    Failed(error="never"),
    *VERDICTS,
)


class Lifecycle(RuleBasedStateMachine):
    """Holds what was acknowledged: ids, the highest token of each, old (ticket, token) pairs, terminal events."""

    client: Any = None
    checked = False

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.client.flushall()
        conf = Settings(acknowledge="redis", claim_deadline_s=10, lease_s=30)
        team = load_team("front_office", conf)
        if self.checked:
            team = team.model_copy(update={"agents": team.agents | {"quinn": CHECKER}, "check": Check(rounds=ROUNDS)})
        self.desk = Desk(self.client, team, clock=self.clock, settings=conf)
        self.desk.store.open_epoch(1, Line(ticket="", move="epoch", actor="coordinator", at=0))
        self.ids: list[str] = []
        self.tokens: dict[str, int] = {}
        self.stale: list[tuple[str, int]] = []

    def tickets(self) -> list[Ticket]:
        ids = [i for q in Queue for i in self.client.zrange(self.desk.keys.queue(q), 0, -1)]
        return [t for t in self.desk.store.read(ids)[1] if t is not None]

    def pick(self, draw: Any, *states: State) -> Ticket | None:
        there = [t for t in self.tickets() if not states or t.state in states]
        return draw.draw(st.sampled_from(sorted(there, key=lambda t: t.number))) if there else None

    def coordinate(self, ticket: Ticket, decide: Any) -> None:
        [outcome] = self.desk.apply_many([(ticket.id, decide)])
        assert isinstance(outcome, Ticket | NoSlot), outcome

    @rule(priority=st.sampled_from(["urgent", "normal", None]))
    def accept(self, priority: Any) -> None:
        self.ids.append(self.desk.accept(Draft(body="help", priority=priority), actor="door:test").ticket.id)

    @rule(data=st.data())
    def triage(self, data: Any) -> None:
        if (t := self.pick(data, State.NEW)) is not None:
            self.coordinate(t, self.triaged)

    def triaged(self, t: Ticket, epoch: int) -> list[Any]:
        at = {"needs": t.needs or ["bug"], "due": t.created_at, "ladder_at": t.created_at + 30}
        now = self.clock.now()
        return [moves.triage(t, state=State.READY, reasons=[], actor="coordinator", now=now, epoch=epoch, **at)]

    @rule(data=st.data(), agent=st.sampled_from(AGENTS))
    def assign(self, data: Any, agent: str) -> None:
        if (t := self.pick(data, State.READY)) is not None:
            self.assign_to(t, agent)

    def assign_to(self, ticket: Ticket, agent: str) -> None:
        now, capacity = self.clock.now(), self.desk.team.agents[agent].capacity
        self.coordinate(
            ticket,
            lambda t, e: [moves.assign(t, agent, reasons=[], capacity=capacity, claim_by=now + 10, now=now, epoch=e)],
        )

    @rule(data=st.data(), worker=st.sampled_from(["w1", "w2"]), alone=st.booleans())
    def claim(self, data: Any, worker: str, alone: bool) -> None:
        if (t := self.pick(data, State.ASSIGNED)) is not None:
            held = self.desk.claim(t.id, t.assigned_to or "", worker, alone=alone)
            assert held.token > t.token

    @rule(data=st.data(), report=st.sampled_from(REPORTS))
    def report(self, data: Any, report: Any) -> None:
        if (t := self.pick(data, State.WORKING)) is not None:
            if t.type == "approval" and isinstance(report, Resolved):
                report = report.model_copy(update={"decision": "deny"})
            try:
                self.desk.report(t.id, t.token, report, agent=t.assigned_to or "")
            except BadInput:  # handed to whoever holds it, or for what nobody else can: nothing was written
                assert self.desk.find(t.id) == t
            else:
                self.stale.append((t.id, t.token))

    @rule(data=st.data())
    def person_decides(self, data: Any) -> None:
        if (t := self.pick(data)) is not None:
            with contextlib.suppress(Refused):
                self.desk.answer(t.id, "approve", actor="person:p", reason="yes")

    @rule(data=st.data())
    def person_cancels(self, data: Any) -> None:
        if (t := self.pick(data)) is not None:
            with contextlib.suppress(Refused):
                self.desk.cancel(t.id, actor="person:p", reason="withdrawn")

    @rule(data=st.data(), changes=st.sampled_from([{"priority": "urgent"}, {"needs": ["bug"]}, {"customer": "mia"}]))
    def person_edits(self, data: Any, changes: dict[str, Any]) -> None:
        if (t := self.pick(data)) is not None:
            with contextlib.suppress(Refused, BadInput):
                assert self.desk.edit(t.id, changes, actor="person:p", reason="").state is t.state

    @rule(data=st.data(), agent=st.sampled_from(["iris_support", "devin_engineering"]))
    def person_reassigns(self, data: Any, agent: str) -> None:
        if (t := self.pick(data)) is not None:
            with contextlib.suppress(Refused):
                self.desk.reassign(t.id, to=agent, actor="person:p", reason="")
                if t.state is State.WORKING:
                    self.stale.append((t.id, t.token))

    @rule(data=st.data())
    def person_snoozes(self, data: Any) -> None:
        if (t := self.pick(data)) is not None:
            with contextlib.suppress(Refused):
                self.desk.snooze(t.id, self.clock.now() + 60, actor="person:p", reason="")

    @rule(data=st.data())
    def person_merges(self, data: Any) -> None:
        one, two = self.pick(data), self.pick(data)
        if one is not None and two is not None:
            with contextlib.suppress(Refused):
                self.desk.merge(one.id, two.id, actor="person:p", reason="")

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def worker_dies(self, worker: str) -> None:
        self.desk.worker_gone(worker)

    @rule(seconds=st.sampled_from([1, 11, 31, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        now = self.clock.now()
        for timer in timers.due(self.client, self.desk.keys, now):

            def decide(t: Ticket, e: int, timer: timers.Timer = timer) -> Any:
                if timer.kind == "ladder":
                    return [
                        moves.escalate(
                            t, ladder=1, ladder_at=now + 86400, told=["x"], to=None, reason="late", now=now, epoch=e
                        )
                    ]
                return timers.fired(timer, t, now=now, epoch=e, present={"w1"}, max_crashes=3, deciders=["felix_ceo"])

            self.coordinate_timer(timer, decide)

    def coordinate_timer(self, timer: timers.Timer, decide: Any) -> None:
        [outcome] = self.desk.apply_many([(timer.ticket, decide)])
        assert isinstance(outcome, Ticket)
        if timer.kind == "expire" and outcome.state is State.WAITING:
            self.client.zrem(self.desk.keys.timers, f"expire:{timer.ticket}")

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def a_late_writer_comes_back(self, data: Any) -> None:
        ticket_id, token = data.draw(st.sampled_from(self.stale))
        before = self.client.hgetall(self.desk.keys.ticket(ticket_id))
        with contextlib.suppress(ShiftleadError):
            self.desk.report(ticket_id, token, Resolved(reply="late"), agent="iris_support")
        assert self.client.hgetall(self.desk.keys.ticket(ticket_id)) == before

    @invariant()
    def every_ticket_stands_where_its_document_says_and_nowhere_else(self) -> None:
        """I1, I11."""
        tickets = self.tickets()
        assert len(tickets) == len({t.id for t in tickets})
        assert set(self.ids) <= {t.id for t in tickets}
        expected: dict[str, set[str]] = {}
        timers_expected: set[str] = set()
        for t in tickets:
            places, armed = layout(t)
            for place, _ in places:
                expected.setdefault(self.desk.keys(place), set()).add(t.id)
            timers_expected |= {f"{kind}:{t.id}" for kind, _ in armed}
            if t.is_open:
                assert armed or len(places) > 1, t
        pipe = self.client.pipeline()
        for key in expected:
            pipe.zrange(key, 0, -1)
        found = pipe.execute()
        assert {k: set(f) for k, f in zip(expected, found, strict=True)} == expected
        left = set(self.client.zrange(self.desk.keys.timers, 0, -1)) ^ timers_expected
        assert all(member.startswith("expire:") for member in left)

    @invariant()
    def tokens_rise_slots_hold_and_lives_end_once(self) -> None:
        """I2, I3."""
        load: dict[str, int] = {}
        for t in self.tickets():
            assert t.token >= self.tokens.get(t.id, 0)
            self.tokens[t.id] = t.token
            assert t.queue is QUEUE_OF[t.state]
            if t.state in HELD:
                load[t.assigned_to or ""] = load.get(t.assigned_to or "", 0) + 1
        for agent, count in load.items():
            assert count <= self.desk.team.agents[agent].capacity

    def teardown(self) -> None:
        """I7: every ticket's lines are 1..n, and one of them at most is terminal."""
        for t in self.tickets():
            lines = self.desk.history(t.id)
            assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
            ends = [line for line in lines if line.move in ("resolve", "answer", "fail", "cancel", "merge")]
            assert len(ends) == (0 if t.is_open else 1)


class Reviewing(Lifecycle):
    """The same, in a team whose replies are looked at before they leave."""

    checked = True

    @rule(data=st.data(), author=st.sampled_from(["iris_support", "felix_ceo"]))
    def reply(self, data: Any, author: str) -> None:
        """An agent answers at once what is ready and not in review; a new one, where there is none."""
        there = [t for t in self.tickets() if t.state is State.READY and t.type not in RESERVED and not t.in_review]
        self.answer(self.one_of(data, there) if there else self.a_ready_ticket(), author)

    @rule(data=st.data(), verdict=st.sampled_from(VERDICTS), judge=st.sampled_from(["quinn", "felix_ceo"]))
    def judge(self, data: Any, verdict: Reviewed, judge: str) -> None:
        """Somebody looks at a reply, at a new one where there is none: who wrote at it is refused."""
        there = [t for t in self.tickets() if t.state is State.READY and t.in_review]
        t = self.one_of(data, there) if there else self.answer(self.a_ready_ticket(), "iris_support")
        if not t.in_review or (held := self.held(t, judge)) is None or held.review is None:
            return
        try:
            self.desk.report(t.id, held.token, verdict, agent=judge)
        except BadInput:
            assert judge in held.review.authors
        else:
            assert judge not in held.review.authors
            self.stale.append((t.id, held.token))

    def one_of(self, data: Any, tickets: list[Ticket]) -> Ticket:
        chosen: Ticket = data.draw(st.sampled_from(sorted(tickets, key=lambda t: t.number)))
        return chosen

    def answer(self, ticket: Ticket, author: str) -> Ticket:
        if (held := self.held(ticket, author)) is not None:
            self.desk.report(ticket.id, held.token, Resolved(reply="here it is"), agent=author)
            self.stale.append((ticket.id, held.token))
        return self.desk.find(ticket.id)

    @invariant()
    def no_reply_leaves_unseen(self) -> None:
        """SD-07, SD-08, I10: it passed, or a decision-maker has answered after the rounds were used up."""
        for t in self.tickets():
            review = t.review
            if t.state is State.RESOLVED and t.parent is None and t.type not in RESERVED:
                passed = review is not None and not review.open and (review.verdict or {}).get("passed")
                assert passed or (t.round >= ROUNDS and t.assigned_to == "felix_ceo"), t
                assert not passed or review is None or t.assigned_to == review.author
            assert t.round <= ROUNDS
            if t.in_review:
                assert review is not None and set(review.authors) <= set(t.excluded)
                assert t.state is State.FAILED or (t.result or {}).get("kind") == "resolved"

    def a_ready_ticket(self) -> Ticket:
        self.accept("normal")
        self.coordinate(self.desk.find(self.ids[-1]), self.triaged)
        return self.desk.find(self.ids[-1])

    def held(self, ticket: Ticket, agent: str) -> Ticket | None:
        """Given to `agent` and claimed; None where it has no slot."""
        self.assign_to(ticket, agent)
        if self.desk.find(ticket.id).state is not State.ASSIGNED:
            return None
        return self.desk.claim(ticket.id, agent, "w1")


STEPS = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)


@pytest.mark.timeout(300)
def test_the_model_holds_on_fakeredis() -> None:
    """I1, I2, I3, I4, I7, I11."""
    server = fakeredis.FakeServer(version=(7, 0))
    machine = type("OnFake", (Lifecycle,), {"client": fakeredis.FakeRedis(decode_responses=True, server=server)})
    run_state_machine_as_test(machine, settings=STEPS)  # type: ignore[no-untyped-call]


@pytest.mark.timeout(300)
def test_the_model_holds_for_a_team_that_looks_at_its_replies() -> None:
    """SD-08, I2, I3, I10."""
    server = fakeredis.FakeServer(version=(7, 0))
    machine = type("Checked", (Reviewing,), {"client": fakeredis.FakeRedis(decode_responses=True, server=server)})
    steps = settings(STEPS, max_examples=25, stateful_step_count=30)
    run_state_machine_as_test(machine, settings=steps)  # type: ignore[no-untyped-call]


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_model_holds_on_a_real_server(valkey: Any) -> None:
    """I1, I2, I3, I4, I7, I11."""
    machine = type("OnValkey", (Lifecycle,), {"client": valkey})
    run_state_machine_as_test(machine, settings=STEPS)  # type: ignore[no-untyped-call]
