"""A worker is killed around an effect: the outside changes once, or a person is asked (EN-11, SD-04, I5).

Real coordinator, real workers, SIGKILL by the worker to itself at the worst moments.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shiftlead.agents.billing_tables import CHANGE, ORDER, Billing
from shiftlead.queues.effects import Effects, Intent
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket
from tests.cluster import Cluster
from tests.conftest import running_server
from tests.till import BASIC, BICYCLE, CAMERA, GOLD, KETTLES, Till, team_folder

pytestmark = pytest.mark.real

# Dies once a word, at the moment the ticket's body begins with.
BRAINS = '''
import json, os, pathlib, signal
from shiftlead.agents.billing_tables import Billing
from shiftlead.agents.tools import current_toolbox
from shiftlead.queues.effects import Effects

HERE = pathlib.Path(__file__).parent
word = number = ""

def die(moment):
    mark = HERE / f"{number}.{moment}"
    if word == moment and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

once, finish = Billing.once, Effects.finish

def dying_once(self, key, what, target, at, change):
    die("before_the_change")
    def dying_change(connection):
        result = change(connection)
        die("inside_the_change")
        return result
    result = once(self, key, what, target, at, dying_change)
    die("after_the_change")
    return result

def dying_finish(self, intent, result):
    finished = finish(self, intent, result)
    die("after_the_finish")
    return finished

Billing.once, Effects.finish = dying_once, dying_finish

def work(work):
    """The body: a word, a tool, its arguments."""
    global word, number
    number = work.ticket.number
    word, name, arguments = work.ticket.body.split(" ", 2)
    done = [a for a in work.answers if a.get("type") == "effect" and a["tool"] == name]
    if done:
        return "told: " + json.dumps(done[-1]["result"])
    return "called: " + current_toolbox().call(name, json.loads(arguments))
'''
TOOLS = '''
import os, pathlib, signal
from shiftlead.agents.tool import Call, tool

HERE = pathlib.Path(__file__).parent

@tool(target="to")
def send_letter(call: Call, to: str) -> str:
    """Post a letter: nobody can tell from here whether it left."""
    with (HERE / "post").open("a") as post:
        post.write(f"{to}\\n")
    if len((HERE / "post").read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "posted"
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="sl-") as folder, running_server(Path(folder)) as address:
        cluster = Cluster(Path(folder), address, team="till")
        team = team_folder(Path(folder) / "teams")
        text = (team / "team.yaml").read_text()
        (team / "team.yaml").write_text(
            text.replace("update_payment_method]", "update_payment_method, send_letter]", 1)
        )
        (team / "brains.py").write_text(BRAINS)
        (team / "tools.py").write_text(TOOLS)
        try:
            cluster.start("coordinator")
            cluster.coordinating()
            cluster.start("worker", "--agent", "bill")
            cluster.present("bill")
            yield cluster
        finally:
            cluster.stop()


def closed(cluster: Cluster, ticket: Ticket) -> Ticket:
    def over() -> Ticket | None:
        found = cluster.desk.find(ticket.id)
        return found if not found.is_open else None

    found: Ticket = cluster.wait_until(over, what=f"{ticket.number} closed")
    return found


def asks(cluster: Cluster, ticket: Ticket) -> Ticket:
    """The open approval the ticket waits for, and who is asked."""

    def pending() -> Ticket | None:
        found = cluster.desk.find(ticket.id)
        if found.state is not State.WAITING or not found.awaits:
            return None
        child = cluster.desk.find(found.awaits[0])
        return child if child.state is not State.NEW else None

    found: Ticket = cluster.wait_until(pending, what=f"{ticket.number} waits for a yes")
    return found


def effect(cluster: Cluster, ticket: Ticket) -> Intent:
    [found] = Effects(cluster.connections.ledger, "till", cluster.connections.clock).of(ticket.id)
    return found


def rows(cluster: Cluster, orders: set[str]) -> tuple[dict[str, int], list[str]]:
    """Refunded cents by order, and the order of every change that was made."""
    billing = Billing(f"sqlite:///{cluster.settings.data / 'billing-till.db'}")
    with billing.reading() as connection:
        refunded = {o.id: o.refunded for o in connection.execute(ORDER.select()) if o.refunded and o.id in orders}
        changes = connection.execute(sa.select(CHANGE.c.target).where(CHANGE.c.target.in_(orders))).scalars().all()
    billing.close()
    return refunded, list(changes)


def test_a_refund_changes_its_row_once_wherever_the_worker_is_killed(cluster: Cluster) -> None:
    """EN-11, SD-04: between intent and effect, inside it, between effect and finish, and before the report."""
    moments = {
        "before_the_change": (GOLD, CAMERA, 2), "inside_the_change": (BASIC, KETTLES, 2),
        "after_the_change": (BASIC, "#W3220203", 2), "after_the_finish": ("yusuf_taylor_7149", "#W5690487", 1),
    }  # fmt: skip
    for moment, (customer, order, attempts) in moments.items():
        given = json.dumps({"order_id": order, "amount": 90.0})
        ticket = cluster.accept(f"{moment} process_refund {given}", customer=customer)

        done = closed(cluster, ticket)
        assert (cluster.folder / "teams" / "till" / f"{ticket.number}.{moment}").exists(), moment
        assert done.state is State.RESOLVED and '"amount": 90.0' in str(done.result), done
        assert (effect(cluster, ticket).status, effect(cluster, ticket).attempt) == ("done", attempts), moment
    orders = {order for _, order, _ in moments.values()}
    refunded, changes = rows(cluster, orders)
    assert refunded == dict.fromkeys(orders, 9_000)
    assert sorted(changes) == sorted(orders)


def test_an_approved_refund_is_done_once_by_the_runtime_though_its_worker_is_killed(cluster: Cluster) -> None:
    """EN-10, EN-11: asked with the facts of the database, approved by a person, done before the brain is called."""
    given = json.dumps({"order_id": BICYCLE, "amount": 600.0})
    ticket = cluster.accept(f"after_the_change process_refund {given}", customer=GOLD)
    approval = asks(cluster, ticket)
    assert (approval.context["arguments"]["days_since_purchase"], approval.named) == (45, "boss")
    assert rows(cluster, {BICYCLE}) == ({}, [])

    cluster.desk.answer(approval.id, "approve", actor="person:boss", reason="a good customer")

    done = closed(cluster, ticket)
    assert str((done.result or {})["reply"]).startswith("told: "), done
    assert rows(cluster, {BICYCLE}) == ({BICYCLE: 60_000}, [BICYCLE])
    assert (effect(cluster, ticket).approval, effect(cluster, ticket).attempt) == (approval.id, 2)
    notes = [line for line in cluster.desk.history(ticket.id) if "effect" in line.detail]
    assert [n.detail["effect"]["outcome"] for n in notes] == ["needs_approval", "done"]


def test_what_nobody_knows_waits_for_a_person_and_happens_again_only_by_that_word(cluster: Cluster) -> None:
    """EN-11: the letter left, or not: the next attempt does not post another."""
    post = cluster.folder / "teams" / "till" / "post"
    ticket = cluster.accept('- send_letter {"to": "Mia"}')
    approval = asks(cluster, ticket)

    assert (approval.context["action"], approval.named) == ("repeat_effect", "on_call")
    assert (post.read_text(), effect(cluster, ticket).status) == ("Mia\n", "unknown")
    cluster.desk.answer(approval.id, "approve", actor="person:on_call", reason="the box is empty")

    assert closed(cluster, ticket).state is State.RESOLVED
    assert post.read_text() == "Mia\nMia\n"
    assert (effect(cluster, ticket).status, effect(cluster, ticket).attempt) == ("done", 2)


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.till import CAMERA, Till
from shiftlead.queues.effects import Effects

class Dying(Effects):
    def begin(self, *a, **k):
        intent = super().begin(*a, **k)
        if sys.argv[2] == "between intent and effect":
            os.kill(os.getpid(), signal.SIGKILL)
        return intent

    def finish(self, intent, result):
        if sys.argv[2] == "between effect and finish":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().finish(intent, result)

till = Till(Path(sys.argv[1]))
toolbox = till.toolbox(till.ticket(token=int(sys.argv[3])), effects=Dying(till.ledger, "till", till.clock))
print(toolbox.call("process_refund", {"order_id": CAMERA, "amount": 90.0}))
"""


@pytest.mark.parametrize("moment", ["between intent and effect", "between effect and finish"])
def test_a_killed_process_leaves_an_intent_and_the_next_one_ends_it(tmp_path: Path, moment: str) -> None:
    """EN-11: the same without a cluster: what is in SQL, step by step, after each SIGKILL."""
    root = Path(__file__).resolve().parents[2]

    def attempt(when: str, token: int) -> Any:
        argv = [sys.executable, "-c", CHILD, str(tmp_path), when, str(token)]
        return subprocess.run(
            argv, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True
        )

    assert attempt(moment, 5).returncode == -signal.SIGKILL
    till = Till(tmp_path)
    [begun] = till.effects.of("t1")
    assert (begun.status, begun.attempt) == ("running", 1)
    assert till.refunded(CAMERA) == (0 if moment == "between intent and effect" else 9_000)

    for token in (7, 8):
        again = attempt("never", token)
        assert json.loads(again.stdout)["result"]["refunded_in_all"] == 90.0, again.stderr

    assert (till.refunded(CAMERA), till.changes()) == (9_000, 1)
    [done] = till.effects.of("t1")
    assert (done.status, done.attempt, done.key) == ("done", 2, begun.key)
    till.close()
