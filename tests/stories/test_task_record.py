"""Capture: a comment on the board and an email tell of one failing job, and become one task record (TA-05)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shiftlead.coordinator.api.auth import create_key
from shiftlead.queues.lifecycle import State
from tests.cluster import Cluster, free_port, listens, running_cluster

pytestmark = pytest.mark.real
TEAM = "front_office"
JOB = "https://ci.example/acme/shop/actions/runs/1173"
COMMITS = "https://git.example/acme/shop/compare/9f8e7d6...1a2b3c4"
BOARD: dict[str, Any] = {
    "type": "bug",
    "source": "issue_comment",
    "title": "Checkout build is red since noon",
    "body": "@lead the fulfillment step of checkout fails on main, orders cannot be shipped.",
    "reporter": "mia",
    "urgency": "high",
    "priority": "high",
    "component": "checkout/fulfillment",
    "links": [JOB],
    "context": {"task": "task-1173"},
}
EMAIL: dict[str, Any] = {
    "type": "email",
    "source": "email",
    "title": "[CI] acme/shop: run failed",
    "body": "The run failed after the last push, please look.\n\nSent from my iPhone",
    "reporter": "tom@example.com",
    "links": [f"{JOB}/?utm_source=email#step:4", COMMITS],
}


class Doors:
    """A running coordinator and HTTP door; each channel has a key of its own that may only bring tickets."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.port = cluster, free_port()
        cluster.env["SHIFTLEAD_PORT"] = str(self.port)
        cluster.start("coordinator")
        cluster.coordinating()
        cluster.start("web")
        cluster.wait_until(lambda: listens(self.port), what="the HTTP door")
        scopes = {"board": ["enqueue"], "mail": ["enqueue"], "lead": ["read"]}
        self.keys = {name: create_key(cluster.connections.ledger, TEAM, name, s) for name, s in scopes.items()}

    def call(self, who: str, path: str, body: Any = None, *, key: str = "") -> tuple[int, dict[str, str], Any]:
        """Status, headers in small letters, and the JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.keys[who]}"} | ({"Idempotency-Key": key} if key else {})
        try:
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, {n.lower(): v for n, v in answer.getheaders()}, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture
def doors(short_folder: Path) -> Iterator[Doors]:
    with running_cluster(short_folder, team=TEAM) as cluster:
        yield Doors(cluster)


@pytest.mark.timeout(90)
def test_two_notifications_about_one_failing_job_are_one_task_record(doors: Doors) -> None:
    """TA-05, EN-02: one record with source, urgency, component and all links; both requesters are kept.

    Neither channel may read, so the second learns where its message went and nothing that the first one said (I16).
    """
    status, _, record = doors.call("board", "/v1/tickets", BOARD, key="comment-88")
    assert status == 201
    ticket = doors.cluster.desk.find(record["number"])
    doors.cluster.wait_until(lambda: doors.cluster.desk.find(ticket.id).state is State.READY, what="it is triaged")

    status, headers, reply = doors.call("mail", "/v1/tickets", EMAIL, key="mail-4")

    assert (status, headers["shiftlead-joined"]) == (200, record["number"])
    assert headers["location"].endswith(record["number"])
    assert (reply["id"], reply["number"], reply["team"]) == (record["id"], record["number"], TEAM)
    assert [j["reporter"] for j in reply["joined"]] == [EMAIL["reporter"]]
    assert (reply["title"], reply["links"]) == (EMAIL["title"], EMAIL["links"])
    for said in (BOARD["title"], BOARD["body"], BOARD["component"], BOARD["reporter"], "task-1173"):
        assert said not in json.dumps(reply)

    _, _, task = doors.call("lead", f"/v1/tickets/{record['number']}")
    assert {k: task[k] for k in ("source", "urgency", "priority", "component", "type", "context")} == {
        k: BOARD[k] for k in ("source", "urgency", "priority", "component", "type", "context")
    }
    assert task["links"] == [JOB, *EMAIL["links"]]
    assert (task["reporter"], [(j["source"], j["reporter"]) for j in task["joined"]]) == (
        "mia",
        [("email", "tom@example.com")],
    )
    _, _, story = doors.call("lead", f"/v1/tickets/{record['number']}/history")
    [join] = [line for line in story if line["move"] == "join"]
    assert (join["actor"], join["detail"]["text"]) == ("door:http:mail", EMAIL["body"])
    _, _, there = doors.call("lead", "/v1/tickets")
    brought = [t["number"] for t in there["tickets"] if t["source"] in ("issue_comment", "email")]
    assert brought == [record["number"]]


@pytest.mark.timeout(90)
def test_a_channel_that_repeats_itself_adds_nothing_and_learns_nothing(doors: Doors) -> None:
    """I13, EN-02: the same key gets the same number again, without what others have said since; a batch joins, too."""
    _, _, record = doors.call("board", "/v1/tickets", BOARD, key="comment-88")
    for _ in range(2):
        doors.call("mail", "/v1/tickets", EMAIL, key="mail-4")

    status, headers, again = doors.call("board", "/v1/tickets", BOARD, key="comment-88")
    refused, _, problem = doors.call("board", "/v1/tickets", BOARD | {"body": "x"}, key="comment-88")
    _, _, batch = doors.call("mail", "/v1/tickets/batch", [EMAIL | {"reporter": "eve"}, {"title": "Another matter"}])

    assert (status, headers["idempotency-replayed"], again["number"]) == (200, "true", record["number"])
    assert "shiftlead-joined" not in headers and EMAIL["reporter"] not in json.dumps(again)
    assert (refused, problem["type"]) == (422, "urn:shiftlead:key-reused")
    assert [(r["status"], r.get("joined", False)) for r in batch["results"]] == [(200, True), (201, False)]
    assert batch["results"][0]["number"] == record["number"]
    assert doors.cluster.moves(doors.cluster.desk.find(record["id"])).count("join") == 2


@pytest.mark.timeout(90)
def test_a_channel_whose_key_may_read_sees_the_record_it_joined(doors: Doors) -> None:
    """EN-02: who could look it up by its number gets it at once."""
    doors.keys["desk"] = create_key(doors.cluster.connections.ledger, TEAM, "desk", ["enqueue", "read"])
    _, _, record = doors.call("board", "/v1/tickets", BOARD)
    status, headers, task = doors.call("desk", "/v1/tickets", EMAIL)
    assert (status, headers["shiftlead-joined"]) == (200, record["number"])
    assert (task["title"], task["reporter"], len(task["joined"])) == (BOARD["title"], "mia", 1)
