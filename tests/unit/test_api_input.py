"""What the HTTP door refuses, with which status, and who may call what. On a Redis in memory and SQLite in a file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from fastapi.testclient import TestClient

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.api import app as app_module
from shiftlead.coordinator.api import auth
from shiftlead.coordinator.api.app import create_app
from shiftlead.queues import moves
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line, Ticket

TEAM = "front_office"


@dataclass
class Connected:
    """The connections of a test."""

    settings: Settings
    client: Any
    ledger: Ledger
    desks: dict[str, Desk] = field(default_factory=dict)

    def desk(self, name: str) -> Desk:
        return self.desks[name]


@dataclass
class Door:
    """The door under test, and keys to it."""

    http: TestClient
    connected: Connected
    clock: ManualClock

    @property
    def desk(self) -> Desk:
        return self.connected.desks[TEAM]

    def key(self, *scopes: str, agent: str | None = None, team: str = TEAM) -> dict[str, str]:
        secret = auth.create_key(self.connected.ledger, team, f"key of {agent or scopes}", scopes, agent)
        return {"Authorization": f"Bearer {secret}"}

    def given_to(self, agent: str, **draft: Any) -> Ticket:
        """A ticket the coordinator has just assigned to `agent`."""
        number = self.http.post("/v1/tickets", json={"title": "x"} | draft, headers=self.key("enqueue")).json()[
            "number"
        ]
        ticket, desk, now = self.desk.find(number), self.desk, self.clock.now()
        at: dict[str, Any] = {"now": now, "epoch": 1}
        for step in (
            lambda t: moves.triage(t, state=State.READY, reasons=["test"], actor="coordinator", **at),
            lambda t: moves.assign(t, agent, reasons=["test"], capacity=9, claim_by=now + 10, **at),
        ):
            desk.store.commit(1, [[step(desk.find(ticket.id))]], bell=False)
        return desk.find(ticket.id)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    settings = Settings(home=tmp_path, acknowledge="redis")
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    ledger = Ledger(settings.database_address)
    ledger.migrate()
    clock = ManualClock()
    connected = Connected(settings, client, ledger)
    connected.desks[TEAM] = Desk(client, load_team(TEAM, settings), clock=clock, settings=settings, ledger=ledger)
    connected.desks[TEAM].store.open_epoch(1, Line(ticket="", move="epoch", actor="coordinator", at=clock.now()))
    with TestClient(create_app(connected, [TEAM])) as http:  # type: ignore[arg-type]
        yield Door(http, connected, clock)
    ledger.close()


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status and document["title"] and document["detail"] and document["type"]
    return document


DEEP = b'{"context":' + b'{"a":' * 1000 + b"1" + b"}" * 1001
BAD_BODIES = [
    ("malformed JSON", b'{"title": ', 422, "Malformed JSON in line 1"),
    ("unknown field", b'{"titel": "x"}', 422, "unknown field 'titel'"),
    ("NUL", b'{"title": "a\\u0000b"}', 422, "NUL"),
    ("lone surrogate", b'{"title": "\\ud800"}', 422, "lone surrogate"),
    ("1000 levels", DEEP, 422, "nested"),
    ("NaN", b'{"context": {"x": NaN}}', 422, "NaN"),
    ("infinite number", b'{"context": {"x": 1e999}}', 422, "too large"),
    ("5000 digits", b'{"context": {"x": ' + b"1" * 5000 + b"}}", 422, "not a ticket"),
    ("not UTF-8", b'{"title": "\xff"}', 422, "UTF-8"),
    ("no object", b"[]", 422, "JSON object"),
    ("empty", b"", 422, "Malformed"),
    ("10 MB", b'{"body": "' + b"a" * 10_000_000 + b'"}', 413, "bytes"),
    ("unknown team", b'{"team": "front_offise"}', 404, "front_office"),
]


@pytest.mark.parametrize(("raw", "status", "says"), [c[1:] for c in BAD_BODIES], ids=[c[0] for c in BAD_BODIES])
def test_a_body_that_cannot_be_a_ticket_is_refused_with_its_reason(
    door: Door, raw: bytes, status: int, says: str
) -> None:
    """EN-01, I17: named problems, nothing stored."""
    problem = is_problem(door.http.post("/v1/tickets", content=raw, headers=door.key("enqueue")), status)

    assert says in problem["detail"]
    assert door.connected.client.zcard(door.desk.keys.new) == 0


def test_a_large_body_is_refused_before_it_has_all_arrived(door: Door) -> None:
    """I17: without a Content-Length, too, and the connection is closed."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 65_536
            yield b"a" * 65_536

    from shiftlead.coordinator.api.body import body
    from shiftlead.queues.errors import TooLarge

    class Streaming:
        app = door.http.app
        headers: dict[str, str] = {}  # noqa: RUF012

        async def stream(self) -> Any:
            for chunk in endless():
                yield chunk

    import anyio

    with pytest.raises(TooLarge):
        anyio.run(body(), Streaming())
    assert sent <= door.connected.settings.max_ticket_bytes + 65_536
    answer = door.http.post("/v1/tickets", content=b"a" * 300_000, headers=door.key("enqueue"))
    is_problem(answer, 413)
    assert answer.headers["connection"] == "close"


def test_bidi_controls_are_text(door: Door) -> None:
    answer = door.http.post("/v1/tickets", json={"title": "\u202eevil\u202c"}, headers=door.key("enqueue", "read"))

    assert answer.status_code == 201
    assert answer.json()["title"] == "\u202eevil\u202c"


def test_a_new_ticket_says_where_it_is_and_a_repeated_one_is_the_same(door: Door) -> None:
    """EN-02: same key and body = the stored ticket; other body = refused."""
    key = door.key("enqueue", "read")
    first = door.http.post("/v1/tickets", json={"title": "a"}, headers=key | {"Idempotency-Key": "k1"})
    again = door.http.post("/v1/tickets", json={"title": "a"}, headers=key | {"Idempotency-Key": "k1"})
    other = door.http.post("/v1/tickets", json={"title": "b"}, headers=key | {"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    assert again.json()["id"] == first.json()["id"]
    assert is_problem(other, 422)["type"] == "urn:shiftlead:key-reused"
    assert door.http.get(first.headers["Location"], headers=key).json()["id"] == first.json()["id"]
    is_problem(door.http.post("/v1/tickets", json={}, headers=key | {"Idempotency-Key": "k" * 256}), 422)


@pytest.mark.parametrize("lines", [False, True])
def test_a_batch_is_answered_one_by_one(door: Door, lines: bool) -> None:
    key = door.key("enqueue") | {"Idempotency-Key": "batch"}
    drafts: list[Any] = [{"title": "a"}, {"titel": "b"}, {"title": "c", "team": "nobody"}, {"title": "d"}]
    if lines:
        raw, key = "\n".join(map(json.dumps, drafts)), key | {"Content-Type": "application/x-ndjson"}
    else:
        raw = json.dumps(drafts)

    first = door.http.post("/v1/tickets/batch", content=raw, headers=key).json()
    again = door.http.post("/v1/tickets/batch", content=raw, headers=key).json()

    assert [r["status"] for r in first["results"]] == [201, 422, 404, 201]
    assert "titel" in first["results"][1]["problem"]["detail"]
    assert (first["accepted"], first["refused"]) == (2, 2)
    assert [r["status"] for r in again["results"]] == [200, 422, 404, 200]
    assert again["results"][0]["id"] == first["results"][0]["id"]
    is_problem(door.http.post("/v1/tickets/batch", json=[{}] * 1001, headers=door.key("enqueue")), 422)
    is_problem(door.http.post("/v1/tickets/batch", json=[1], headers=door.key("enqueue")), 422)
    is_problem(door.http.post("/v1/tickets/batch", json={}, headers=door.key("enqueue")), 422)


def test_every_route_needs_a_key_but_the_open_ones(door: Door) -> None:
    """I16: also for a route that is added later. A webhook is opened by its signature, and not without a secret."""
    open_routes = {"/healthz", "/readyz"}
    signed_routes = {"/v1/inbound/github"}  # what an unsigned delivery gets with a secret: tests/unit/test_inbound.py
    for path, methods in door.http.get("/openapi.json").json()["paths"].items():
        if path in open_routes:
            continue
        if path in signed_routes:
            for headers in ({}, door.key("admin"), {"X-Hub-Signature-256": "sha256=" + "0" * 64}):
                is_problem(door.http.post(path, content=b"{}", headers=headers), 403)
            continue
        for method in methods:
            url = path.replace("{ticket}", "T-2026-001").replace("{agent}", "iris_support")
            for headers in ({}, {"Authorization": "Bearer slk_guess"}, {"Authorization": "Basic abc"}):
                answer = door.http.request(method, url, headers=headers)
                is_problem(answer, 401)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert door.http.get("/healthz").json() == {"status": "ok"}


ROLES: list[tuple[str, str, str, set[str]]] = [
    ("POST", "/v1/tickets", '{"title":"x"}', {"enqueue"}),
    ("POST", "/v1/tickets/batch", "[]", {"enqueue"}),
    ("GET", "/v1/tickets", "", {"read"}),
    ("GET", "/v1/tickets/{n}", "", {"read"}),
    ("GET", "/v1/tickets/{n}/history", "", {"read"}),
    ("POST", "/v1/tickets/{n}/approve", "", {"approve"}),
    ("POST", "/v1/tickets/{n}/deny", "", {"approve"}),
    ("POST", "/v1/tickets/{n}/cancel", "", set()),
    ("POST", "/v1/tickets/{n}/note", '{"text":"x"}', {"approve"}),
    ("POST", "/v1/tickets/{n}/heartbeat", '{"token":1}', set()),
    ("POST", "/v1/tickets/{n}/report", '{"token":1,"report":{"kind":"resolved"}}', set()),
    ("POST", "/v1/agents/iris_support/next", "", set()),
    ("PATCH", "/v1/tickets/{n}", '{"changes":{"title":"y"}}', set()),
    ("POST", "/v1/tickets/{n}/reassign", '{"to":"devin_engineering"}', set()),
    ("POST", "/v1/tickets/{n}/snooze", '{"until":1}', set()),
    ("POST", "/v1/tickets/{n}/merge", '{"into":"T-2026-999"}', set()),
    ("POST", "/v1/tickets/{n}/delegate", '{"to":"felix_ceo"}', {"approve"}),
    ("GET", "/v1/inbox", "", {"approve"}),
    ("GET", "/v1/agents", "", {"read"}),
    ("POST", "/v1/agents/iris_support/hold", '{"paused":false}', set()),
    ("POST", "/v1/agents/iris_support/event", '{"name":"deployed"}', set()),
    ("GET", "/v1/stats", "", {"read"}),
    ("GET", "/v1/brief?who=felix_ceo", "", {"read"}),
    ("GET", "/v1/agents/iris_support/record", "", {"read"}),
    ("GET", "/v1/tickets/{n}/similar", "", {"read"}),
]


@pytest.mark.parametrize(("method", "path", "raw", "scopes"), ROLES, ids=[f"{m} {p}" for m, p, _, _ in ROLES])
def test_a_key_opens_what_its_scope_says_and_nothing_else(
    door: Door, method: str, path: str, raw: str, scopes: set[str]
) -> None:
    """I16: every route x every role that belongs to no agent."""
    ticket = door.given_to("iris_support")
    url = path.replace("{n}", ticket.number)
    for scope in ("enqueue", "read", "approve", "admin"):
        answer = door.http.request(method, url, content=raw, headers=door.key(scope))
        allowed = scope == "admin" or scope in scopes
        assert (answer.status_code not in (401, 403)) is allowed, (scope, answer.text)


def test_an_agents_key_sees_and_works_on_its_own_tickets_only(door: Door) -> None:
    """I16, FO-07: to a stranger a ticket of somebody else does not exist."""
    ticket = door.given_to("iris_support")
    iris, devin = (door.key("work", "read", agent=a) for a in ("iris_support", "devin_engineering"))
    url = f"/v1/tickets/{ticket.number}"

    for call in ("", "/history"):
        assert door.http.get(url + call, headers=iris).status_code == 200
        is_problem(door.http.get(url + call, headers=devin), 404)
    token = {"token": ticket.token}
    for call, said in (
        ("heartbeat", token),
        ("note", token | {"text": "x"}),
        ("report", token | {"report": {"kind": "resolved"}}),
    ):
        is_problem(door.http.post(f"{url}/{call}", json=said, headers=devin), 404)
    is_problem(door.http.post("/v1/agents/iris_support/next", headers=devin), 403)
    assert door.http.post("/v1/agents/devin_engineering/next", headers=devin).status_code == 204
    is_problem(door.http.get("/v1/tickets?agent=iris_support", headers=devin), 403)
    assert door.http.get("/v1/tickets", headers=devin).json() == {"tickets": [], "after": ""}
    assert len(door.http.get("/v1/tickets", headers=iris).json()["tickets"]) == 1


def test_a_key_of_another_team_finds_no_team_here(door: Door) -> None:
    """I16: and is not told that there is one."""
    ticket = door.given_to("iris_support")
    stranger = door.key("read", "enqueue", team="two_agent")

    problem = is_problem(door.http.get(f"/v1/tickets/{ticket.number}?team={TEAM}", headers=stranger), 404)
    is_problem(door.http.post("/v1/tickets", json={"team": TEAM}, headers=stranger), 404)
    assert "Did you mean" not in problem["detail"]


def test_an_agent_works_through_the_four_calls(door: Door) -> None:
    """EN-14: next, heartbeat, note, report; EN-07: the token of yesterday is refused with 409 (I4)."""
    ticket = door.given_to("iris_support", body="charged twice")
    iris = door.key("work", "read", agent="iris_support")
    url = f"/v1/tickets/{ticket.id}"

    work = door.http.post("/v1/agents/iris_support/next", headers=iris).json()
    token = work["token"]
    lease = door.http.post(f"{url}/heartbeat", json={"token": token}, headers=iris).json()["lease_until"]
    noted = door.http.post(f"{url}/note", json={"text": "found it", "token": token}, headers=iris)
    stale = door.http.post(f"{url}/heartbeat", json={"token": ticket.token}, headers=iris)
    said = {"token": token, "report": {"kind": "resolved", "reply": "refunded"}}
    done = door.http.post(f"{url}/report", json=said, headers=iris)
    again = door.http.post(f"{url}/report", json=said, headers=iris)
    late = door.http.post(f"{url}/heartbeat", json={"token": token}, headers=iris)

    assert work["ticket"]["id"] == ticket.id and work["role"] == "support"
    assert [line["move"] for line in work["history"]] == ["accept", "triage", "assign", "claim"]
    assert work["deadline"] > door.clock.now() and "billing" in work["team_can"]
    assert lease == door.clock.now() + door.connected.settings.lease_s
    assert noted.status_code == 200 and "found it" in [line.reason for line in door.desk.history(ticket.id)]
    assert is_problem(stale, 409)["type"] == "urn:shiftlead:stale-token"
    assert done.json()["state"] == again.json()["state"] == "resolved"
    is_problem(late, 409)


def test_a_lease_is_not_renewed_beyond_the_run_deadline(door: Door) -> None:
    """I5: a hung agent that still sends heartbeats loses the ticket."""
    ticket = door.given_to("iris_support")
    iris = door.key("work", agent="iris_support")
    token = door.http.post("/v1/agents/iris_support/next", headers=iris).json()["token"]
    door.clock.advance(door.connected.settings.run_deadline_s + 1)

    is_problem(door.http.post(f"/v1/tickets/{ticket.number}/heartbeat", json={"token": token}, headers=iris), 409)


def test_a_person_cancels_and_the_ledger_says_who_and_why(door: Door) -> None:
    ticket = door.given_to("iris_support")
    answer = door.http.post(f"/v1/tickets/{ticket.number}/cancel", json={"reason": "twice"}, headers=door.key("admin"))

    assert answer.json()["state"] == "cancelled"
    line = door.desk.history(ticket.id)[-1]
    assert (line.actor, line.reason) == ("person:key of ('admin',)", "twice")
    is_problem(door.http.post(f"/v1/tickets/{ticket.number}/approve", headers=door.key("approve")), 409)


def test_a_list_comes_in_pages_that_lose_nothing(door: Door) -> None:
    """FO-08: the three queues, page by page; all tickets of the fixture enter in the same second."""
    key = door.key("enqueue", "read")
    made = [door.http.post("/v1/tickets", json={"title": str(i)}, headers=key).json()["id"] for i in range(7)]
    seen, after, pages = [], "", 0
    while True:
        answer = door.http.get(
            "/v1/tickets", params={"limit": 3, "after": after, "queue": "intake"}, headers=key
        ).json()
        seen += [t["id"] for t in answer["tickets"]]
        after, pages = answer["after"], pages + 1
        if not after:
            break

    assert sorted(seen) == sorted(made) and len(seen) == 7 and pages == 3
    is_problem(door.http.get("/v1/tickets?after=xx", headers=key), 422)
    for score in ("nan", "inf", "-inf"):
        cursor = base64.urlsafe_b64encode(f"intake {score} x".encode()).decode()
        is_problem(door.http.get("/v1/tickets", params={"after": cursor}, headers=key), 422)
    is_problem(door.http.get("/v1/tickets?limit=0", headers=key), 422)
    is_problem(door.http.get("/v1/tickets?state=lost", headers=key), 422)


@pytest.mark.parametrize("name", ["T-2026-999", "@iris_support", "%00", "0" * 36, "../meta", "T-2026-٠٠١"])
def test_what_is_no_ticket_is_not_found(door: Door, name: str) -> None:
    is_problem(door.http.get(f"/v1/tickets/{name}", headers=door.key("read")), 404)


def test_wrong_addresses_and_methods_are_problems_too(door: Door) -> None:
    is_problem(door.http.get("/v2"), 404)
    is_problem(door.http.put("/v1/tickets", headers=door.key("admin")), 405)
    is_problem(door.http.post("/v1/agents/iris_suport/next", headers=door.key("admin")), 404)


def test_a_revoked_key_is_refused_within_five_seconds(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Security: look-ups are remembered for three seconds, not longer."""
    headers = door.key("read")
    now = [1000.0]
    monkeypatch.setattr(auth.time, "monotonic", lambda: now[0])
    assert door.http.get("/v1/tickets", headers=headers).status_code == 200

    door.connected.ledger.revoke_key(TEAM, auth.digest_of(headers["Authorization"].removeprefix("Bearer ")))
    now[0] += 3.1

    is_problem(door.http.get("/v1/tickets", headers=headers), 401)


def test_sql_has_no_secret_of_a_key(door: Door) -> None:
    """I24: only the hash."""
    secret = door.key("read")["Authorization"].removeprefix("Bearer ")
    found = b"".join(p.read_bytes() for p in door.connected.settings.data.iterdir() if p.is_file())

    assert secret.encode() not in found
    assert auth.digest_of(secret).encode() in found


def test_a_key_is_made_only_with_scopes_that_make_sense(door: Door) -> None:
    for scopes, agent in ((["root"], None), ([], None), (["work"], None), (["approve"], "iris_support")):
        with pytest.raises(BadInput):
            auth.create_key(door.connected.ledger, TEAM, "x", scopes, agent)


def test_the_first_key_is_kept_for_its_owner_alone(door: Door) -> None:
    ledger, settings = door.connected.ledger, door.connected.settings
    assert not auth.any_key(ledger, [TEAM])

    secret = auth.first_admin_key(ledger, settings)

    file = settings.data / "admin_key"
    assert file.read_text().strip() == secret and file.stat().st_mode & 0o777 == 0o600
    assert auth.any_key(ledger, [TEAM])
    assert door.http.get("/v1/tickets", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_every_answer_carries_security_headers_and_none_allows_other_origins(door: Door) -> None:
    for answer in (door.http.get("/healthz"), door.http.get("/v1/tickets", headers={"Origin": "https://evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_a_failure_of_ours_shows_no_internals(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    key = door.key("read")
    monkeypatch.setattr(door.desk, "find", _raising(RuntimeError("password=hunter2")))

    answer = door.http.get("/v1/tickets/T-2026-001", headers=key)

    is_problem(answer, 500)
    assert "hunter2" not in answer.text and answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "error", [redis.ConnectionError("gone"), redis.TimeoutError(), redis.exceptions.OutOfMemoryError("OOM used")]
)
def test_a_server_that_is_away_or_full_means_retry_with_the_same_key(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """I21: 503 with Retry-After, nothing acknowledged."""
    key = door.key("enqueue")
    monkeypatch.setattr(door.desk.store, "commit", _raising(error))

    answer = door.http.post("/v1/tickets", json={}, headers=key)

    assert "same Idempotency-Key" in is_problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_closed_intake_answers_429(door: Door) -> None:
    """I22: with the time to come back at."""
    door.connected.client.hset(door.desk.keys.meta, "closed", "the ledger is behind")
    answer = door.http.post("/v1/tickets", json={}, headers=door.key("enqueue"))

    is_problem(answer, 429)
    assert int(answer.headers["Retry-After"]) >= 1


def test_more_requests_than_fit_are_turned_away_at_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """I22: bounded memory."""
    monkeypatch.setattr(app_module, "MAX_IN_FLIGHT", 0)
    answer = door.http.post("/v1/tickets", json={})

    is_problem(answer, 429)
    assert answer.headers["Retry-After"] == "1"


def test_ready_says_what_is_wrong_only_to_those_with_a_key(door: Door) -> None:
    assert door.http.get("/readyz").json() == {"status": "ready"}
    door.connected.client.hdel(door.desk.keys.meta, "epoch")

    bare, known = door.http.get("/readyz"), door.http.get("/readyz", headers=door.key("read"))

    assert TEAM not in is_problem(bare, 503)["detail"]
    assert f"epoch {TEAM}" in is_problem(known, 503)["detail"]
    assert known.json()["checks"]["redis"] == "ok"


def test_the_document_describes_every_body(door: Door) -> None:
    """Other systems read it: each reference must lead somewhere."""
    document = door.http.get("/openapi.json").json()
    text = json.dumps(document)
    refs = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert refs <= set(document["components"]["schemas"])
    assert {"Draft", "Reported", "HandOff", "Heartbeat"} <= refs | set(document["components"]["schemas"])


def _raising(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: Any, **__: Any) -> Any:
        raise error

    return raise_it
