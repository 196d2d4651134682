"""Other channels become {source, urgency, component, reporter, links} (TA-03); strangers find the door shut."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import typer
from fastapi.testclient import TestClient
from pydantic import SecretStr
from typer.testing import CliRunner

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.coordinator.api.app import create_app
from shiftlead.coordinator.cli import doors
from shiftlead.coordinator.cli import enqueue as enqueue_cli
from shiftlead.coordinator.cli.inbound import messages
from shiftlead.coordinator.inbound import Ignored, Message
from shiftlead.coordinator.inbound_calendar import from_calendar
from shiftlead.coordinator.inbound_github import from_github, signature_holds
from shiftlead.coordinator.inbound_notification import from_notification
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ticket import Draft
from tests.conftest import open_desk
from tests.unit.test_api_input import Connected

SECRET = "it is not a secret"
JOB = "https://ci.example/acme/shop/actions/runs/1173"
ISSUE: dict[str, Any] = {
    "number": 12, "title": "Checkout is red", "state": "open", "html_url": "https://github.com/acme/shop/issues/12",
    "body": f"Fulfillment fails, see {JOB}. Range 7d5e57d19e84...79936a2c7965. Like https://github.com/acme/shop/issues/7!",
    "labels": [{"name": "bug"}, {"name": "priority: high"}, {"name": "component: checkout/fulfillment"}],
    "user": {"login": "mia", "type": "User"}, "updated_at": "2027-01-15T12:00:00Z",
}  # fmt: skip
OPENED = {"action": "opened", "issue": ISSUE, "repository": {"full_name": "acme/shop"}, "sender": {"login": "mia"}}
COMMENT = {
    "action": "created", "issue": ISSUE, "repository": {"full_name": "acme/shop"},
    "comment": {"id": 88, "body": "It is red here, too", "user": {"login": "tom", "type": "User"}},
}  # fmt: skip
CALENDAR = b"""BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:x\r
BEGIN:VEVENT\r
UID:1@shop\r
SUMMARY:[checkout] Deploy window\r
DESCRIPTION:Watch https://ci.example/jobs/77 please\r
DTSTART:20270115T120000Z\r
DTEND:20270115T130000Z\r
ORGANIZER:mailto:mia@shop.example\r
CATEGORIES:ops,sev2\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:2@shop\r
SUMMARY:Off\r
STATUS:CANCELLED\r
DTSTART;VALUE=DATE:20270116\r
END:VEVENT\r
END:VCALENDAR\r
"""


def five(draft: Draft) -> tuple[str, str, str, str]:
    return draft.source, draft.urgency, draft.component, draft.reporter


def test_an_issue_says_what_a_ticket_needs(tmp_path: Path) -> None:
    """TA-03: labels are urgency and component; links are what shows the failure, not whatever is mentioned."""
    opened, rest = from_github(OPENED, "issues"), from_github(ISSUE)
    assert five(opened.draft) == five(rest.draft) == ("issue", "high", "checkout/fulfillment", "mia")
    assert opened.draft.links == [ISSUE["html_url"], JOB, "7d5e57d19e84...79936a2c7965"]
    assert (opened.draft.type, opened.draft.team, opened.draft.assigned_to, opened.draft.needs) == (
        "bug",
        None,
        None,
        [],
    )
    comment = from_github(COMMENT, "issue_comment").draft
    assert (comment.source, comment.reporter, comment.links[0]) == ("issue_comment", "tom", ISSUE["html_url"])
    assert comment.body == "It is red here, too"


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (OPENED | {"action": "closed"}, "issues"), (OPENED | {"action": "labeled"}, "issues"), (OPENED, "push"),
        (COMMENT | {"action": "edited"}, "issue_comment"), (ISSUE | {"state": "closed"}, ""),
        (COMMENT | {"comment": {"id": 1, "body": "x", "user": {"login": "ci", "type": "Bot"}}}, "issue_comment"),
        (OPENED | {"issue": ISSUE | {"pull_request": {"url": "x"}}}, "issues"),
    ],
)  # fmt: skip
def test_what_opens_no_matter_is_ignored_with_its_reason(payload: Any, event: str) -> None:
    """TA-03: a program's comment, too, or two programs would answer each other."""
    with pytest.raises(Ignored):
        from_github(payload, event)


@pytest.mark.parametrize("odd", [None, [], "x", {}, {"issue": 3}, {"issue": {"title": 7}}, {"title": "x", "url": None}])
def test_what_is_no_issue_is_refused(odd: Any) -> None:
    """TA-03: never an unexpected error."""
    with pytest.raises(BadInput):
        from_github(odd)
    if not isinstance(odd, dict):
        with pytest.raises(BadInput):
            from_notification(odd)


def test_odd_parts_of_an_issue_are_left_out_and_long_ones_cut() -> None:
    """I17: NUL, lone surrogates, wrong types, ten thousand labels, a body of a megabyte."""
    odd = ISSUE | {
        "title": "a\0b\ud800 " + "x" * 1000, "body": "y" * 1_000_000, "labels": [{"name": 3}, None, "sev1"] * 9999,
        "user": ["mia"], "number": {"a": 1},
    }  # fmt: skip
    draft = from_github(odd).draft
    assert len(draft.title) == 500 and "\0" not in draft.title and len(draft.body) == 60_000
    assert (draft.urgency, draft.reporter) == ("urgent", "")


def test_a_notification_is_read_by_the_usual_names() -> None:
    """TA-05: the id of the task, the failing job and the range of commits are kept."""
    draft = from_notification({
        "id": "task-1173", "channel": "board", "severity": "high", "service": "checkout/fulfillment",
        "text": "Orders cannot be shipped", "from": "Mia <mia@shop.example>", "job_url": JOB,
        "commit_range": "9f8e7d6...1a2b3c4", "team": "somebody_else", "customer": "sofia",
        "escalation_threshold": "9 years", "assigned_to": "felix", "shard": 3,
    }).draft  # fmt: skip
    assert five(draft) == ("board", "high", "checkout/fulfillment", "mia@shop.example")
    said = {"team": "somebody_else", "customer": "sofia", "escalation_threshold": "9 years"}
    assert draft.context == {"task": "task-1173", "said": said | {"assigned_to": "felix", "shard": "3"}}
    assert draft.customer == ""
    assert draft.links == [JOB, "9f8e7d6...1a2b3c4"] and draft.team is None and draft.assigned_to is None
    with pytest.raises(BadInput, match="says nothing"):
        from_notification({"from": "x"})


def test_a_calendar_says_its_events() -> None:
    """TA-03: cancelled ones are nobody's work; the same file again has the same keys."""
    [event] = from_calendar(CALENDAR)
    assert five(event.draft) == ("calendar", "high", "checkout", "mia@shop.example")
    assert event.draft.links == ["https://ci.example/jobs/77"]
    assert event.draft.context["starts"].startswith("2027-01-15T12:00")
    assert [m.key for m in from_calendar(CALENDAR)] == [event.key]
    assert from_calendar(CALENDAR.replace(b"UID:1@shop", b"UID:9@shop"))[0].key != event.key
    for data in (b"", b"no calendar", b"BEGIN:VEVENT\r\n", CALENDAR[:150]):
        with pytest.raises(BadInput):
            from_calendar(data)


def test_a_file_may_hold_one_message_or_many(tmp_path: Path) -> None:
    """TA-03: an object, an array, one a line; a bad one is told and does not stop the others."""
    one, many, lines = tmp_path / "one.json", tmp_path / "many.json", tmp_path / "many.jsonl"
    one.write_text(json.dumps(OPENED, indent=2))
    many.write_text(json.dumps([ISSUE, ISSUE | {"state": "closed"}, {"x": 1}]))
    lines.write_text(f"{json.dumps(ISSUE)}\n\n{json.dumps(COMMENT)}\n")

    def kinds(path: Path) -> list[tuple[int, str]]:
        return [(n, type(m).__name__) for n, m in messages("github", str(path), max_bytes=262_144)]

    assert kinds(one) == [(1, "Message")]
    assert kinds(many) == [(1, "Message"), (2, "Ignored"), (3, "BadInput")]
    assert kinds(lines) == [(1, "Message"), (3, "Message")]
    with pytest.raises(BadInput, match="github"):
        list(messages("githab", "x", max_bytes=1))


def test_a_signature_is_of_this_body_and_this_secret() -> None:
    """I23: GitHub's own example, and everything beside it."""
    mac = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature_holds("It's a Secret to Everybody", b"Hello, World!", mac)
    for secret, body, header in [
        ("", b"Hello, World!", mac), ("x", b"Hello, World!", mac), ("It's a Secret to Everybody", b"Hello", mac),
        ("It's a Secret to Everybody", b"Hello, World!", mac.replace("sha256", "sha1")),
        ("It's a Secret to Everybody", b"Hello, World!", mac.upper()), ("x", b"x", ""), ("x", b"x", "sha256=é"),
        ("", b"", "sha256=" + hmac.new(b"", b"", hashlib.sha256).hexdigest()),
    ]:  # fmt: skip
        assert not signature_holds(secret, body, header)


@pytest.fixture
def http(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """The door, for the team two_agent beside front_office."""
    secret = getattr(request, "param", SECRET)
    settings = Settings(
        home=tmp_path, acknowledge="redis", github_secret=SecretStr(secret), github_team="two_agent"
    )  # fmt: skip
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    connected = Connected(settings, client, Ledger(settings.database_address))
    connected.ledger.migrate()
    for name in ("front_office", "two_agent"):
        connected.desks[name] = open_desk(client, load_team(name, settings), ManualClock(), settings)
    with TestClient(create_app(connected, ["front_office", "two_agent"])) as made:  # type: ignore[arg-type]
        yield made
    connected.ledger.close()


def post(http: TestClient, payload: Any, event: str = "issues", *, sign: str = SECRET, query: str = "") -> Any:
    body = json.dumps(payload).encode()
    mac = hmac.new(sign.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": event, "X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Delivery": "1"}
    return http.post(f"/v1/inbound/github{query}", content=body, headers=headers)


def waiting(http: TestClient, team: str) -> int:
    """Tickets of the team that nobody has looked at yet."""
    desk = http.app.state.rooms.desks[team]  # type: ignore[attr-defined]
    return int(desk.store.client.zcard(desk.keys.new))


def test_a_signed_delivery_is_one_ticket_however_often_it_comes(http: TestClient) -> None:
    """TA-03, I13: a repeat is found by what it says; a comment on the same issue joins it; no header chooses a team."""
    first, again = post(http, OPENED), post(http, OPENED, query="?team=front_office")
    joined, touched = post(http, COMMENT, "issue_comment"), post(http, OPENED | {"action": "labeled"})
    number = first.json()["number"]
    assert (first.status_code, first.json()) == (201, {"number": number})
    assert (again.status_code, again.json()) == (200, {"number": number, "repeated": True})
    assert (joined.status_code, joined.json()) == (200, {"number": number, "joined": True})
    assert (touched.status_code, post(http, {}, "ping").status_code) == (200, 200) and "ignored" in touched.json()
    assert (waiting(http, "two_agent"), waiting(http, "front_office")) == (1, 0)


def test_an_unsigned_delivery_stores_nothing(http: TestClient) -> None:
    """I23: a wrong secret, another body, no signature at all; what is signed and no issue is a 4xx, too."""
    forged = post(http, OPENED, sign="guessed")
    bare = http.post("/v1/inbound/github", content=b"{}", headers={"X-GitHub-Event": "issues"})
    odd = post(http, {"action": "opened"})
    assert (forged.status_code, bare.status_code, odd.status_code) == (401, 401, 422)
    assert waiting(http, "two_agent") == 0


@pytest.mark.parametrize("http", [""], indirect=True)
def test_without_a_secret_the_door_is_closed(http: TestClient) -> None:
    """I23: an empty secret must not be one that everybody knows."""
    assert post(http, OPENED, sign="").status_code == 403


def test_keys_differ_where_the_matter_does() -> None:
    """I13: reopened is not opened again; another comment with the same words is another comment."""
    reopened = from_github(OPENED | {"action": "reopened"})
    other: dict[str, Any] = COMMENT | {"comment": COMMENT["comment"] | {"id": 89}}  # type: ignore[operator]
    made: list[Message] = [from_github(OPENED), reopened, from_github(COMMENT), from_github(other)]
    assert len({m.key for m in made}) == 4


def test_the_command_line_takes_a_channels_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TA-03: stored, joined, known again, ignored and bad ones are counted; other options beside it are refused."""
    settings = Settings(home=tmp_path, acknowledge="redis")
    client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
    desk = open_desk(client, load_team("two_agent", settings), ManualClock(), settings)

    @contextmanager
    def door(run: Any) -> Iterator[Any]:
        yield doors.LocalDoor(desk)

    monkeypatch.setattr(doors, "open_door", door)
    monkeypatch.setenv("SHIFTLEAD_HOME", str(tmp_path))
    shell = typer.Typer()
    enqueue_cli.add(shell)
    shell.command("other")(lambda: None)  # so that `enqueue` is a word of the command line
    file, calendar = tmp_path / "many.json", tmp_path / "team.ics"
    file.write_text(json.dumps([OPENED, COMMENT, OPENED, OPENED | {"action": "closed"}, {"x": 1}]))
    calendar.write_bytes(CALENDAR)

    def run(*words: str) -> tuple[int, Any]:
        done = CliRunner().invoke(shell, ["enqueue", *words, "--json"])
        return done.exit_code, json.loads(done.stdout) if done.exit_code in (0, 2) and done.stdout.strip() else None

    code, told = run(str(file), "--from", "github")
    assert code == 2
    assert (told["stored"], len(told["joined"]), told["known"], len(told["ignored"])) == (1, 1, 1, 1)
    assert [e["line"] for e in told["errors"]] == [5]
    assert run(str(calendar), "--from", "calendar")[1]["stored"] == 1
    assert run(str(calendar), "--from", "calendar")[1]["known"] == 1
    for words in (["--from", "githab"], ["--from", "github", "--type", "bug"], ["--from", "github", "--key", "k"]):
        assert run(str(file), *words)[0] == 2
