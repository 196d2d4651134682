"""Budgets (EN-12, I10): reserved before a call, metered during it, settled afterwards; what is used up stops it.

The real `openai` client speaks to the stub server; counters are tried on every server we support.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from sqlalchemy.exc import OperationalError

from shiftlead.agents.agent import Resolved, Work
from shiftlead.agents.brain_check import brain_problems
from shiftlead.agents.brains import brain_of
from shiftlead.agents.budget import Accounts
from shiftlead.agents.execution import Runner
from shiftlead.agents.llm_call import abilities_of, close_clients
from shiftlead.agents.prompt import choose_version
from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.facts import agent_facts
from shiftlead.coordinator.stub_answers import Script
from shiftlead.coordinator.stub_llm import StubLlm
from shiftlead.coordinator.why import explain
from shiftlead.queues.allowance import Allowance, Amount, Limit, Over
from shiftlead.queues.comparison import compare
from shiftlead.queues.keys import Keys
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import State
from shiftlead.queues.presence import Presence
from shiftlead.queues.report import AskHuman, Failed
from shiftlead.queues.spending import Spending, Step
from shiftlead.queues.spending_writer import SpendingWriter
from shiftlead.queues.ticket import Ticket
from tests.conftest import open_desk
from tests.desks import a_new_ticket, assigned, triaged

ROOT = Path(__file__).parents[2]
DAY = "2027-01-15"
T = 1_800_000_000.0  # that day, 08:00 UTC
PRICES = '{"stub-large": {"input": 2, "output": 8}}'
TEAM = """
team: shop
agents:
  mia: {role: support, can: [help], capacity: 50, brain: openaiMORE}
  tom: {role: support, can: [help], capacity: 50}
  boss: {role: decision-maker, can: [decision], capacity: 50, brain: BOSS}
people:
  ann: {notify: "mailto://ann@localhost", can: [decision]}
routes: [{needs: [help]}]
budgets: BUDGETS
"""


# -- counters ---------------------------------------------------------------------------------------------------------


def counters(client: Any, spent: Amount = Amount()) -> Allowance:  # noqa: B008 - frozen
    return Allowance(client, Keys("shop"), lambda **whose: spent)


def test_threads_that_spend_at_once_cannot_go_over_together(any_redis: Any) -> None:
    """EN-12: 24 threads; what is spent and reserved never passes the limit, and what is not used is there again."""
    allowance, spent, lock = counters(any_redis), [0], threading.Lock()
    limits = [Limit("the ticket's", tokens=20_000, ticket_id="t1"), Limit("the day's", tokens=25_000, day=DAY)]

    def spends(number: int) -> int:
        made = 0
        while True:
            try:
                held = allowance.reserve(limits, Amount(tokens=700))
            except Over:
                return made
            used = 100 + (number * 37 + made * 53) % 600
            with lock:
                spent[0] += used
                assert spent[0] <= 20_000
            allowance.settle(held, Amount(tokens=used))
            made += 1

    with ThreadPoolExecutor(24) as pool:
        made = sum(pool.map(spends, range(24)))
    assert made > 28 and spent[0] > 20_000 - 700  # with the worst case alone it would have been 28 calls
    assert [allowance.counted(limit).tokens for limit in limits] == [spent[0], spent[0]]


@pytest.mark.real
def test_processes_that_spend_at_once_cannot_go_over_together(valkey: redis.Redis, valkey_address: str) -> None:
    """EN-12: money, from three processes of four threads each. Nobody knows of the others but by the counter."""
    program = (
        "import sys, redis, concurrent.futures as f\n"
        "from shiftlead.queues.allowance import Allowance, Amount, Limit, Over\n"
        "from shiftlead.queues.keys import Keys\n"
        "client = redis.Redis.from_url(sys.argv[1], decode_responses=True)\n"
        "here = Allowance(client, Keys('shop'), lambda **whose: Amount())\n"
        f"limit = Limit('the day', money=600_000_007, day='{DAY}')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "def spend(_):\n"
        "    spent = 0\n"
        "    while True:\n"
        "        try: held = here.reserve([limit], Amount(money=3_000_001))\n"
        "        except Over: return spent\n"
        "        here.settle(held, Amount(money=2_000_003)); spent += 2_000_003\n"
        "with f.ThreadPoolExecutor(4) as pool: print(sum(pool.map(spend, range(4))))\n"
    )
    argv = [sys.executable, "-c", program, valkey_address]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(3)]
    for process in processes:  # all are there before the first begins
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in processes]
    spent = [int(text) for text in said]
    assert all(spent), "each had a part"
    assert 600_000_007 - 12 * 3_000_001 < sum(spent) <= 600_000_007
    assert counters(valkey).counted(Limit("", day=DAY)).money == sum(spent)


def test_a_counter_that_redis_lost_is_what_sql_has_and_what_is_being_spent(any_redis: Any) -> None:
    """I8: after FLUSHALL nothing is free again; a call that was on its way is counted whole when it is settled."""
    limit = Limit("the ticket's", tokens=1_000, runs=9, ticket_id="t1")
    before = counters(any_redis)
    held = before.reserve([limit], Amount(tokens=400))
    any_redis.flushall()

    after = counters(any_redis, spent=Amount(tokens=500, runs=3))
    other = after.reserve([limit], Amount(tokens=100, runs=1))
    before.settle(held, Amount(tokens=350))
    assert after.counted(limit) == Amount(tokens=950, runs=4)
    after.settle(other, Amount(tokens=20, runs=1))
    assert after.counted(limit) == Amount(tokens=870, runs=4)
    with pytest.raises(Over, match=r"the ticket's is 1,000 tokens: 870 tokens are spent or reserved, and 131 tokens"):
        after.reserve([limit], Amount(tokens=131))


def test_what_one_counter_refuses_is_counted_in_none(any_redis: Any) -> None:
    """And a call that never came back stays counted as its worst case: no crash makes room in a budget."""
    allowance = counters(any_redis)
    wide, narrow = Limit("the day's", tokens=1_000, day=DAY), Limit("the ticket's", tokens=100, ticket_id="t1")
    with pytest.raises(Over) as raised:
        allowance.reserve([wide, narrow], Amount(tokens=101))
    assert raised.value.limit is narrow
    assert allowance.counted(wide) == Amount()
    allowance.reserve([wide, narrow], Amount(tokens=100))  # and its worker dies
    assert allowance.counted(wide) == Amount(tokens=100)


# -- a team with budgets ----------------------------------------------------------------------------------------------


class Shop:
    """A team at its desk, a worker of it in this process, a stub model, a ledger."""

    def __init__(
        self, folder: Path, stub: StubLlm, budgets: str, *, boss: str = "offline", more: str = "", **settings: Any
    ) -> None:  # fmt: skip
        file = folder / "team.yaml"
        file.write_text(TEAM.replace("BUDGETS", budgets).replace("BOSS", boss).replace("MORE", more))
        given = {"openai_base_url": stub.url, "openai_model": "stub-large", "openai_prices": PRICES,
                 "openai_max_tokens": 500, "home": folder, "acknowledge": "redis"}  # fmt: skip
        self.settings = Settings.model_validate(given | settings)
        self.team, self.clock = load_team(file, self.settings), ManualClock(T)
        self.ledger = Ledger(self.settings.database_address)
        self.ledger.migrate()
        self.client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
        self.desk = open_desk(self.client, self.team, self.clock, self.settings, ledger=self.ledger)
        self.spending = Spending(self.ledger, "shop")
        self.writer = SpendingWriter(self.spending)
        allowance = Allowance(self.client, self.desk.keys, self.spending.spent)
        accounts = Accounts(self.team, now=self.clock.now, allowance=allowance, puts=self.writer)
        brains = {n: brain_of(self.team, n, self.settings, now=self.clock.now) for n in self.team.agents}
        self.runner = Runner(self.desk, brains, "w@h:1:1", lambda: None, accounts)

    def ticket(self, body: str = "Where is my card?") -> Ticket:
        return triaged(self.desk, a_new_ticket(self.desk, body=body), needs=("help",))

    def work(self, ticket: Ticket, agent: str = "mia") -> str:
        return self.runner.ring(agent, assigned(self.desk, self.desk.find(ticket.id), agent).id)

    def steps(self, *tickets: Ticket) -> list[Step]:
        assert self.writer.flush()
        return self.spending.of(*(t.id for t in tickets))

    def now(self, ticket: Ticket) -> Ticket:
        return self.desk.find(ticket.id)

    def close(self) -> None:
        self.writer.close()
        self.ledger.close()


@pytest.fixture
def stub() -> Iterator[StubLlm]:
    abilities_of.cache_clear()
    with StubLlm() as stub:
        yield stub
    close_clients()


def test_every_step_is_written_with_what_it_took(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12, TP-10: tokens, money, calls and the prompt's version of a model; an offline brain's run without them."""
    shop = Shop(tmp_path, stub, "{}")
    with_model, offline = shop.ticket(), shop.ticket()
    assert shop.work(with_model) == "resolved"
    shop.work(offline, "tom")
    [step] = shop.steps(with_model)
    sent = json.dumps(stub.calls[0]["messages"])
    assert (step.agent, step.report, step.calls, step.estimated, step.unpriced) == ("mia", "resolved", 1, 0, 0)
    assert len(step.prompt) == 12 and step.prompt in [c.key.split()[-1] for c in shop.spending.costs("prompt")]
    assert step.models == {"stub-large": [1, step.input_tokens, step.output_tokens, step.cost]}
    assert step.cost == 2_000 * step.input_tokens + 8_000 * step.output_tokens  # billionths
    assert len(sent) / 8 < step.input_tokens < len(sent)
    [other] = shop.steps(offline)
    assert (other.agent, other.calls, other.input_tokens, other.models, other.prompt) == ("tom", 0, 0, {}, "")
    assert shop.spending.spent(day=DAY) == Amount(step.input_tokens + step.output_tokens, step.cost, 2)
    assert shop.spending.spent(agent="tom", day=DAY) == Amount(runs=1)
    shop.close()


def test_two_versions_of_a_prompt_are_shared_out_by_the_team_file_alone(tmp_path: Path, stub: StubLlm) -> None:
    """TP-10: `prompts: {a: ..., b: ...}`; each step says which one it was, and they stand side by side."""
    for name in "ab":
        (tmp_path / f"{name}.md").write_text(f"Answer in the way of {name}.")
    shop = Shop(tmp_path, stub, "{}", more=", prompts: {a: a.md, b: b.md}")
    tickets: list[Ticket] = []
    while len(tickets) < 6 or len({choose_version(t.id, {"a": "", "b": ""}) for t in tickets}) < 2:
        tickets.append(shop.ticket())
    for ticket in tickets:
        assert shop.work(ticket) == "resolved"
    steps = {step.number: step for step in shop.steps(*tickets)}
    for ticket, call in zip(tickets, stub.calls, strict=True):
        step = steps[ticket.number]
        assert f"in the way of {step.variant}." in call["messages"][0]["content"]
        assert step.prompt.startswith(f"{step.variant}-")
    made = compare(shop.ledger, "shop")
    assert {(v.agent, v.variant) for v in made.versions} == {("mia", "a"), ("mia", "b")}
    assert sum(v.tickets for v in made.versions) == len(tickets) and made.verdicts == []  # nobody has judged one
    shop.close()


def test_a_days_budget_stops_an_agent_at_most_one_call_late(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12: twenty tickets at once. Nothing is over the limit, the rest is ready for others, and `why` says it."""
    shop = Shop(tmp_path, stub, "{agent: {tokens: 12000}}")
    tickets = [shop.ticket(f"ticket {n}") for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(shop.work, tickets))
    assert set(said) == {"resolved", "busy"}
    spent = shop.spending.spent(agent="mia", day=DAY) if shop.writer.flush() else None
    assert spent is not None and 12_000 - 8 * 4_000 < spent.tokens <= 12_000
    assert stub.count == said.count("resolved")

    left = [t for t, word in zip(tickets, said, strict=True) if word == "busy"]
    ready = shop.now(left[0])
    assert ready.state is State.READY and sum(ready.attempts.model_dump().values()) == 0
    mia = agent_facts(shop.desk, Presence(shop.client, shop.desk.keys, shop.clock, shop.settings), shop.clock.now())[
        "mia"
    ]
    assert mia.busy_until == T + 16 * 3600  # the next UTC day
    assert "the budget of mia on 2027-01-15 (UTC) is 12,000 tokens" in mia.obstacle(shop.clock.now())
    assert "12,000 tokens" in explain(shop.desk, ready, now=shop.clock.now()).text
    assert shop.work(left[0], "tom") in (
        "resolved",
        "failed",
        "hand_off",
        "ask_requester",
    )  # there is capacity elsewhere

    shop.clock.advance(16 * 3600)
    assert shop.work(left[1]) == "resolved"
    shop.close()


def test_a_tickets_budget_sends_it_to_whoever_decides_with_the_reason(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12, I10: no call is made beyond it, and the ticket does not come back to the agent that used it up."""
    shop = Shop(tmp_path, stub, "{ticket: {money: 0.0001}}")
    ticket = shop.ticket()
    assert shop.work(ticket) == "over budget"
    now = shop.now(ticket)
    assert (now.state, now.named, stub.count) == (State.READY, "boss", 0)
    assert "the budget of T-" in now.reason and "boss ends it" in now.reason
    [step] = shop.steps(ticket)
    assert (step.report, step.calls) == ("over_budget", 0)
    shop.work(ticket, "boss")
    assert shop.now(ticket).assigned_to == "boss"
    shop.close()


def test_where_every_decision_maker_costs_money_it_waits_for_a_person(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12: never lost and never a loop."""
    shop = Shop(tmp_path, stub, "{ticket: {tokens: 10}}", boss="openai")
    ticket = shop.ticket()
    assert shop.work(ticket) == "over budget"
    now = shop.now(ticket)
    assert now.state is State.WAITING and now.waits_for.startswith("a person: the budget of T-")
    assert stub.count == 0
    shop.close()


def test_a_budget_never_chooses_who_answers_an_approval(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12, I23: its gate has chosen. It waits for a person, who may answer it, and expires as every approval."""
    shop = Shop(tmp_path, stub, "{ticket: {tokens: 10}}")
    asks = assigned(shop.desk, shop.ticket(), "tom")
    held = shop.desk.claim(asks.id, "tom", "w")
    waits = shop.desk.report(held.id, held.token, AskHuman(action="refund", why="?", to="mia"), agent="tom")
    approval = triaged(shop.desk, shop.desk.find(waits.awaits[0]), needs=("help",), named="mia")
    assert shop.work(approval) == "over budget"
    now = shop.now(approval)
    assert now.state is State.WAITING and now.named != "boss" and now.waits_for.startswith("a person: ")
    assert now.expires_at is not None
    shop.desk.answer(approval.id, "approve", actor="person:ann", reason="fine")
    assert shop.now(approval).state is State.RESOLVED
    shop.close()


def test_runs_are_counted_for_every_brain(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12: the third turn of a ticket is for the decision-maker, who is let through; the team's day ends them all."""
    shop = Shop(tmp_path, stub, "{ticket: {runs: 2}, team: {runs: 4}}")
    ticket = shop.ticket()
    for _ in range(2):
        shop.work(ticket, "tom")
        if not shop.now(ticket).is_open:
            shop.desk.reopen(ticket.id, actor="person:ann", reason="not yet")
    assert shop.work(ticket, "tom") == "over budget"
    assert shop.now(ticket).named == "boss"
    assert shop.work(ticket, "boss") != "over budget"
    assert [s.agent for s in shop.steps(ticket)] == ["tom", "tom", "boss"]  # what could not begin was no run
    shop.work(shop.ticket(), "tom")
    assert shop.work(shop.ticket(), "tom") == "busy"
    assert "team shop on 2027-01-15 (UTC) is 4 runs" in shop.desk.store.agent_states(["tom"])["tom"].reason
    shop.close()


def test_programs_that_decide_do_not_hand_a_used_up_budget_round(tmp_path: Path, stub: StubLlm) -> None:
    """EN-12, I11: one that was let through and used it up itself is followed by a person, never by another program."""
    shop = Shop(tmp_path, stub, "{ticket: {tokens: 10}}")
    shop.desk.team = shop.team.model_copy(
        update={"agents": shop.team.agents | {"chief": shop.team.agents["boss"]}}
    )  # fmt: skip
    ticket = assigned(shop.desk, shop.ticket(), "boss")
    held = shop.desk.claim(ticket.id, "boss", "w")
    used = Failed(error="the budget is used up", retryable=True)
    now = shop.desk.over_budget(held.id, held.token, used, agent="boss")
    assert now.state is State.WAITING and now.waits_for.startswith("a person: ")
    shop.close()


def test_a_model_without_a_price_is_refused_where_money_is_limited(tmp_path: Path, stub: StubLlm) -> None:
    """What nobody can count nobody can limit: said when the team is started, and refused at the desk all the same."""
    shop = Shop(tmp_path, stub, "{agent: {money: 5}}")
    unpriced = shop.settings.model_copy(update={"openai_fallback_model": "stub-small"})
    [problem] = brain_problems(shop.team, unpriced)
    assert "'stub-small' has no price" in problem.message and problem.line == 4
    mia = shop.runner._brains["mia"]
    mia.settings = mia.settings.model_copy(update={"openai_prices": ""})  # type: ignore[attr-defined]
    ticket = shop.ticket()
    assert (shop.work(ticket), stub.count) == ("busy", 0)
    assert "no price" in shop.desk.store.agent_states(["mia"])["mia"].reason
    shop.close()


def test_a_failing_call_gives_back_what_it_reserved(tmp_path: Path) -> None:
    """EN-12: errors cost nothing, an answer that had to be repaired costs twice; the counter says what SQL says."""
    abilities_of.cache_clear()
    with StubLlm(Script([{"fault": "500"}, {"fault": "not_json"}])) as stub:
        shop = Shop(tmp_path, stub, "{ticket: {tokens: 100000}}")
        ticket = shop.ticket()
        assert shop.work(ticket) == "resolved" and stub.count == 3
        [step] = shop.steps(ticket)
        limit = Limit("", ticket_id=ticket.id)
        assert Allowance(shop.client, shop.desk.keys, shop.spending.spent).counted(limit) == Amount(
            step.input_tokens + step.output_tokens, step.cost, 1
        )
        assert step.calls == 3 and step.output_tokens > 0
        shop.close()
    close_clients()


def test_a_report_is_not_lost_when_its_costs_cannot_be_written(
    tmp_path: Path, stub: StubLlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Best effort: the report stands, and the row comes when SQL is there again."""
    shop = Shop(tmp_path, stub, "{}")
    write, failures = shop.spending.write, []

    def refuses(steps: Any) -> None:
        failures.append(len(steps))
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(shop.spending, "write", refuses)
    ticket = shop.ticket()
    assert shop.work(ticket) == "resolved"
    assert not shop.writer.flush() and failures and shop.spending.of(ticket.id) == []
    monkeypatch.setattr(shop.spending, "write", write)
    shop.writer.close()
    assert [s.report for s in shop.spending.of(ticket.id)] == ["resolved"]
    shop.ledger.close()


@pytest.mark.parametrize("away", ["its story", "its budgets"])
def test_no_agent_fails_a_ticket_while_sql_is_away(
    tmp_path: Path, stub: StubLlm, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """EN-04, I18: two such attempts barred it from the ticket, and in the end a decision-maker had every ticket."""
    shop = Shop(tmp_path, stub, "{ticket: {runs: 9}}")
    ticket = shop.ticket()

    def gone(*_: object, **__: object) -> Any:
        raise OperationalError("SELECT", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as patched:
        if away == "its story":
            patched.setattr(shop.ledger, "lines", gone)
        else:
            patched.setattr(shop.runner._accounts.allowance, "_spent", gone)
        for _ in range(3):
            assert shop.work(ticket, "tom") == "busy"
    now = shop.now(ticket)
    assert (now.state, now.failures, now.attempts.handed_back, now.named) == (State.READY, {}, 0, None)
    tom = shop.desk.store.agent_states(["tom"])["tom"]
    assert tom.busy_until == T + 15 and "can" in tom.reason and "OperationalError" in tom.reason
    assert shop.work(ticket, "tom") == "resolved"
    shop.close()


def test_a_turn_is_written_while_it_goes_on(tmp_path: Path, stub: StubLlm) -> None:
    """A worker that is killed loses the call it was in; the row of its turn is there and has no report yet."""
    rows: list[tuple[int, str]] = []

    class Watching:
        def put(self, step: Step) -> None:
            rows.append((step.calls, step.report))

    shop = Shop(tmp_path, stub, "{}")
    account = Accounts(shop.team, now=shop.clock.now, puts=Watching())
    shop.runner._accounts = account
    assert shop.work(shop.ticket()) == "resolved"
    assert rows == [(1, ""), (1, "resolved")]
    shop.close()


def test_without_budgets_nothing_is_counted_in_redis(tmp_path: Path, stub: StubLlm) -> None:
    """What is not limited costs no round trip."""
    shop = Shop(tmp_path, stub, "{}")
    shop.work(shop.ticket())
    assert not list(shop.client.scan_iter(match="*:spent:*"))
    shop.close()


def test_a_python_brain_can_count_its_own_calls(tmp_path: Path, stub: StubLlm) -> None:
    """It finds the account of its turn, and is held to the same budget."""
    from shiftlead.agents.budget import account_at_hand

    shop = Shop(tmp_path, stub, "{ticket: {tokens: 1000}}")

    class Own:
        def handle(self, work: Work) -> Resolved:
            account = account_at_hand()
            assert account is not None
            account.reserve("mine", 1_001, None)
            return Resolved(reply="never")

    shop.runner._brains = {"tom": Own()}
    ticket = shop.ticket()
    assert shop.work(ticket, "tom") == "over budget" and shop.now(ticket).named == "boss"
    shop.close()
