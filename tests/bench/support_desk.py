"""The support desk under load, in the figures its source reports (SD-14): targets beside what this run measured.

    .venv/bin/python -m tests.bench.support_desk [--tickets 1000] [--json]

Real processes: coordinator, one worker with all offline specialists, SQLite. All messages come at once, so the peak is
how many conversations are open together; a script plays the manager and says yes. The offline brains answer in
milliseconds and cost nothing, so the reply time is that of the coordination alone, and CSAT and cost are what `stats`
has of them. The share of unaided ones is a property of the messages: this mix has one in twenty for the manager.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shiftlead.coordinator.cli.demo_people import People
from shiftlead.coordinator.cli.demo_script import Script
from shiftlead.queues.statistics import Stats, statistics
from shiftlead.queues.ticket import Draft
from tests.cluster import Cluster
from tests.conftest import running_server

OVERLAY = "agents: {mara_manager: {hours: null}, noah_night: {hours: null}}\nbrief: null\n"
DAY_S = 86_400.0
BUYER, GOLD = "yusuf_taylor_7149", "sofia_li_9219"
# (of twenty, customer or "" for a guest, message)
MIX = [
    (3, BUYER, "Message {n}: I would like a refund of $0.10 for order #W5690487, it is not what I thought."),
    (1, GOLD, "Message {n}: please refund $1 of order #W3916020, 45 days are not so long."),
    (2, GOLD, "Message {n}: what does my subscription cost and when does it renew?"),
    (3, "", "Message {n}: I see two equal charges on my statement, was I charged twice?"),
    (3, "", "Message {n}: how long does delivery take, and is express quicker?"),
    (2, "", "Message {n}: my tracking number does not move, where is my parcel?"),
    (2, "", "Message {n}: what is your return policy, how many days do I have?"),
    (2, "", "Message {n}: can I exchange the shoes for another size?"),
    (2, "", "Message {n}: I forgot my password, how do I reset it?"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tickets", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measured(options.tickets)
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{'':24}{'target':>12}{'this run':>14}")
    for name, target in TARGETS.items():
        print(f"{name:24}{target:>12}{_shown(figures[name]):>14}")


TARGETS = {
    "conversations a day": "10,000", "open at once": "500", "unaided": "73 %", "mean reply, s": "107", "CSAT": "4.2",
    "cost per ticket": "0.34",
}  # fmt: skip


def messages() -> Iterator[Draft]:
    """The mix, for ever, each message once."""
    rows = [(customer, text) for count, customer, text in MIX for _ in range(count)]
    for n in itertools.count():
        customer, text = rows[n % len(rows)]
        yield Draft(body=text.format(n=n), customer=customer or f"guest_{n}", source="bench")


def measured(count: int) -> dict[str, Any]:
    """The figures of `count` messages, by the names of TARGETS."""
    folder = Path(tempfile.mkdtemp(prefix="sl-"))
    try:
        with running_server(folder, "--appendonly", "yes") as address:
            (folder / "overlay.yaml").write_text(OVERLAY)
            cluster = Cluster(
                folder, address, team="support_desk", SHIFTLEAD_OVERLAY=str(folder / "overlay.yaml"),
                SHIFTLEAD_LEASE_S="30", SHIFTLEAD_CLAIM_DEADLINE_S="30", SHIFTLEAD_PRESENCE_TTL_S="5",
                SHIFTLEAD_LEADER_LEASE_S="5", SHIFTLEAD_SWEEP_S="1", SHIFTLEAD_LOG_LEVEL="ERROR",
            )  # fmt: skip
            try:
                return _run(cluster, count)
            finally:
                cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(cluster: Cluster, count: int) -> dict[str, Any]:
    cluster.start("coordinator")
    cluster.coordinating()
    cluster.start("worker", "--all")
    cluster.present("bela_billing", "sven_shipping", "rita_returns", "gina_general", "fay_fallback")
    desk, client = cluster.desk, cluster.connections.client
    manager = People(Script(shows=["acted"], answers={"approval": "fine", "ticket": "done"}), lambda line: None)
    began, sent, peak = desk.clock.now(), 0, 0
    source = messages()
    while True:
        if sent < count:
            part = list(itertools.islice(source, min(250, count - sent)))
            desk.accept_many([(draft, None) for draft in part], actor="door:bench")
            sent += len(part)
        open_now = client.zcard(desk.keys.queue("intake")) + client.zcard(desk.keys.queue("active"))
        peak = max(peak, open_now)
        if sent == count and not open_now:
            break
        if desk.clock.now() - began > 900:
            raise SystemExit(f"{open_now} of {count} are still open after 900 s")
        manager.look(desk)
        time.sleep(0.05)
    took = desk.clock.now() - began
    stats = _recorded(cluster, began, count)
    return {
        "conversations a day": count / took * DAY_S,
        "open at once": peak,
        "unaided": stats.unaided_share,
        "mean reply, s": stats.first_reply.mean_s,
        "CSAT": stats.csat,
        "cost per ticket": stats.cost_per_ticket,
        "took_s": took,
        "completed": stats.completed,
        "approvals": stats.approvals.model_dump(),
    }


def _recorded(cluster: Cluster, began: float, count: int) -> Stats:
    """The numbers when SQL has all of them."""
    desk, ledger = cluster.desk, cluster.connections.ledger

    def all_there() -> Stats | None:
        now = desk.clock.now()
        stats = statistics(ledger, desk.team, since=began - 1, until=now, now=now)
        return stats if sum(stats.completed.values()) >= count else None

    found: Stats = cluster.wait_until(all_there, seconds=60, what="the ledger to have everything")
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "not recorded"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    main()
