"""Notices: what goes when, what a message says, and which addresses count. No thread, no network, no waiting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shiftlead.config.addresses import SCHEMES, check_address, for_apprise, masked, shown
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.delivery import TRIES, Delivery, Line, Message, Outbox
from shiftlead.coordinator.notify import LINES, Notices, letter, one_line
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

HOSTILE = "Pay\x1b[2J now\r\nSubject: owned\u2028<b>bold</b>\u202egnp @everyone me@example.org\ud800"


class Post:
    """Takes messages; the answers are said beforehand."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.messages = list(answers), list[Message]()

    def __call__(self, message: Message) -> str:
        self.messages.append(message)
        return self.answers.pop(0) if self.answers else ""

    @property
    def told(self) -> list[tuple[str, list[str]]]:
        return [(m.target, [line.ticket for line in m.lines]) for m in self.messages]


def a_line(number: int | str) -> Line:
    return Line(f"T-{number}", "a title", "ready", "late")


def by_hand(post: Post, most: int = 1000) -> Delivery:
    return Delivery(post, window_s=60.0, clock=lambda: 0.0, senders=0, most=most)


def a_team(**people: str) -> Team:
    return Team.model_validate(
        {
            "team": "front", "version": 1, "routes": [{"needs": ["help"]}],
            "agents": {
                "iris": {"role": "support", "can": ["help"], "notify": "mailto://iris@localhost"},
                "devin": {"role": "engineering", "can": ["help"]},
            },
            "people": {name: {"notify": address} for name, address in people.items()},
        }
    )  # fmt: skip


def a_ticket(number: str = "T-2027-001", title: str = "charged twice") -> Ticket:
    return Ticket(id=f"id-{number}", number=number, team="front", title=title, state=State.READY)


def notices_to(post: Post, settings: Settings, **people: str) -> Notices:
    notices = Notices(settings, a_team(**people))
    notices.delivery = by_hand(post)
    return notices


def in_the_file(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (settings.data / "notices.jsonl").read_text().splitlines()]


def test_the_first_notice_goes_at_once_and_the_rest_of_the_window_as_one_message() -> None:
    """EN-09: notices to one target are grouped per minute; another target does not wait for it."""
    post = Post()
    delivery = by_hand(post)
    delivery.put("ann", "https://ann", a_line(1))
    assert delivery.flush(100.0) == 1
    for number in (2, 3, 4):
        delivery.put("ann", "https://ann", a_line(number))
    delivery.put("bob", "https://bob", a_line(5))

    assert delivery.flush(159.9) == 1
    assert delivery.flush(160.0) == 1
    assert post.told == [("ann", ["T-1"]), ("bob", ["T-5"]), ("ann", ["T-2", "T-3", "T-4"])]
    assert (delivery.sent.sent, delivery.sent.grouped) == (3, 3)

    delivery.put("ann", "https://ann", a_line(6))
    assert delivery.flush(219.9) == 0, "the message at the end of a window begins the next one"
    assert delivery.flush(220.0) == 1


def test_a_message_that_fails_goes_again_later_with_what_came_meanwhile() -> None:
    """EN-09: the order stays, and nothing is sent twice."""
    post = Post("refused", "refused")
    delivery = by_hand(post)
    delivery.put("ann", "https://ann", a_line(1))
    delivery.flush(0.0)
    delivery.put("ann", "https://ann", a_line(2))

    tried = [at for at in range(1, 120) if delivery.flush(float(at))]
    assert tried == [10, 30], "the wait doubles"
    assert post.told == [("ann", ["T-1"]), ("ann", ["T-1", "T-2"]), ("ann", ["T-1", "T-2"])]
    assert (delivery.sent.sent, delivery.sent.grouped, delivery.sent.failed) == (1, 2, 0)


def test_a_notice_is_given_up_after_a_bounded_number_of_tries() -> None:
    """EN-09: an address that never answers holds nothing for ever."""
    post = Post(*["refused"] * 100)
    delivery = by_hand(post)
    delivery.put("ann", "https://ann", a_line(1))
    tried = sum(delivery.flush(float(at)) for at in range(0, 7200, 5))
    assert tried == len(post.messages) == TRIES
    assert (delivery.sent.failed, delivery.sent.sent) == (1, 0)


def test_what_a_library_raises_is_a_failed_try() -> None:
    """EN-09."""

    def broken(message: Message) -> str:
        raise RuntimeError("no such host")

    delivery = Delivery(broken, window_s=60.0, clock=lambda: 0.0, senders=0)
    delivery.put("ann", "https://ann", a_line(1))
    assert [delivery.flush(at) for at in (0.0, 9.0, 10.0)] == [1, 0, 1]


def test_when_too_many_wait_the_oldest_go_and_are_counted() -> None:
    """EN-09: bounded memory, whoever they are for."""
    post = Post()
    delivery = by_hand(post, most=1000)
    for number in range(1500):
        delivery.put("ann" if number % 2 else "bob", "https://x", a_line(number))
    assert delivery.sent.dropped == 500
    delivery.flush(0.0)
    left = [line.ticket for message in post.messages for line in message.lines]
    assert sorted(left) == sorted(f"T-{n}" for n in range(500, 1500))


def test_what_is_being_sent_counts_too_and_goes_first_when_it_comes_back() -> None:
    """EN-09: a failure does not make room for more than the bound."""
    outbox = Outbox(60.0, most=3)
    for number in (1, 2, 3):
        outbox.put("ann", "https://x", a_line(number))
    message = outbox.take(0.0)
    assert message is not None and outbox.take(0.0) is None and outbox.next_at() is None
    assert outbox.put("ann", "https://x", a_line(4)) == 1
    assert outbox.failed(message, 0.0) == ([], 0)
    assert len(outbox) == 3


def test_a_message_has_a_line_for_each_ticket_and_the_subject_says_how_many() -> None:
    """EN-09."""
    late, again = a_line("2027-001"), Line("T-2027-001", "a title", "working", "still late")
    assert letter("front", (late,)) == ("front: T-2027-001 a title", "T-2027-001 | a title | ready | late")
    subject, body = letter("front", (late, a_line("2027-002"), again))
    assert subject == "front: 3 notices about 2 tickets"
    assert body.splitlines() == [
        "T-2027-001 | a title | working | still late (2 notices)",
        "T-2027-002 | a title | ready | late",
    ]
    subject, body = letter("front", tuple(a_line(n) for n in range(1000)))
    assert subject == "front: 1000 notices about 1000 tickets"
    assert len(body.splitlines()) == LINES + 1 and "950 more" in body


def test_the_file_has_every_notice_at_once_and_only_its_owner_reads_it(settings: Settings) -> None:
    """EN-09, I24: grouping delays no line of the file; a password or a token of an address is not in it."""
    file = settings.data / "notices.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o644)
    notices = notices_to(Post(), settings, ann="https://u:s3cr3t@hooks.example/services/t0k3n")
    for number in ("T-2027-001", "T-2027-002"):
        notices.tell("ann", a_ticket(number), "late", at=5.0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert in_the_file(settings)[1] == {
        "at": 5.0, "team": "front", "to": "ann", "address": "https://hooks.example/***", "ticket": "T-2027-002",
        "title": "charged twice", "state": "ready", "text": "late", "customer": "", "says": "",
    }  # fmt: skip


def test_people_and_agents_with_an_address_are_told_and_the_others_are_in_the_file(settings: Settings) -> None:
    """EN-09: an agent without an address, somebody unknown and a wrong address cost nothing."""
    post = Post()
    notices = notices_to(post, settings, ann="https://hooks.example/x", eve="gnome://")
    for target in ("ann", "iris", "devin", "eve", "nobody"):
        notices.tell(target, a_ticket(), "late", at=1.0)
    notices.delivery.flush(0.0)
    assert [(m.target, m.address) for m in post.messages] == [
        ("ann", "https://hooks.example/x"),
        ("iris", "mailto://iris@localhost"),
    ]
    assert [n["to"] for n in in_the_file(settings)] == ["ann", "iris", "devin", "eve", "nobody"]


def test_a_file_that_cannot_be_written_keeps_nobody_from_being_told(settings: Settings, tmp_path: Path) -> None:
    """EN-09."""
    post = Post()
    notices = notices_to(post, settings, ann="https://hooks.example/x")
    notices.path = tmp_path / "no such folder" / "notices.jsonl"
    notices.tell("ann", a_ticket(), "late", at=1.0)
    assert notices.delivery.flush(0.0) == 1


def test_what_a_ticket_says_is_one_harmless_line(settings: Settings) -> None:
    """EN-09, I24: no line break, no control character, no direction mark, no markup, no call to everybody."""
    post = Post()
    notices = notices_to(post, settings, ann="https://hooks.example/x")
    notices.tell("ann", a_ticket(title=HOSTILE + "x" * 10_000), HOSTILE * 1000, at=1.0)
    notices.delivery.flush(0.0)
    [line] = post.messages[0].lines
    assert line.title.startswith("Pay [2J now Subject: owned ‹b›bold‹/b›gnp @ everyone me@example.org")
    assert len(line.title) == 80 and len(line.text) == 300 and line.title.endswith("…")
    subject, body = letter("front", (line,))
    assert all(c.isprintable() for c in subject + body)
    [noted] = in_the_file(settings)
    assert all(c.isprintable() for c in noted["title"] + noted["text"]) and len(noted["text"]) == 1000
    assert one_line("Grüße, 你好 🙂", 80) == "Grüße, 你好 🙂"


@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        ("mailto://oncall@localhost", ""),
        ("mailtos://u:p@mail.example?to=ann@example.org", ""),
        ("https://hooks.example/services/x?key=1", ""),
        ("slack://a/b/c", ""),
        ("ntfy://topic", ""),
        ("gnome://", "does not tell anybody"),
        ("dbus://", "does not tell anybody"),
        ("syslog://local0", "does not tell anybody"),
        ("exec:///bin/true", "does not tell anybody"),
        ("file:///etc/passwd", "does not tell anybody"),
        ("mastodon://token@host", "does not tell anybody"),
        ("slck://a/b/c", "did you mean slack://"),
        ("oncall@localhost", "begins with"),
        ("mailto:oncall@localhost", "begins with"),
        ("mailto://localhost", "names nobody"),
        ("https:///path", "names no host"),
        ("https://[::1", "cannot be read"),
        ("json://host:99999", "cannot be read"),
        ("slack://", "nothing behind"),
        ("mailto://a@b gnome://", "no spaces"),
        ("mailto://a@b\r\ngnome://", "no spaces"),
        ("https://" + "h" * 3000, "at most"),
        ("", "begins with"),
    ],
)
def test_an_address_is_a_way_to_tell_somebody_over_the_network(address: str, wrong: str) -> None:
    """EN-09: targets are checked when a team is loaded; nothing that runs a program, writes a file or goes public."""
    said = check_address(address)
    assert (wrong in said) if wrong else said == ""


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # a module of Python's it looks for
def test_every_scheme_is_one_the_library_knows() -> None:
    """EN-09: nobody is promised a way that does not exist."""
    from apprise.manager_plugins import NotificationManager

    known = NotificationManager()  # type: ignore[no-untyped-call]
    known.load_modules()  # type: ignore[no-untyped-call]
    assert [s for s in sorted(SCHEMES - {"http", "https"}) if s not in known] == []


def test_a_web_address_is_a_json_post_with_its_query() -> None:
    """EN-09."""
    assert for_apprise("https://u:p@h:8443/a%20b?x=1&y=&method=GET") == "jsons://u:p@h:8443/a%20b?-x=1&-y=&-method=GET"
    assert for_apprise("HTTP://h") == "json://h"
    assert for_apprise("slack://a/b/c?x=1") == "slack://a/b/c?x=1"


def test_what_is_shown_of_an_address_is_no_secret() -> None:
    """I24."""
    assert shown("mailto://oncall@localhost") == "mailto://oncall@localhost"
    assert shown("mailtos://ann:s3cr3t@mail.example:587/bob?pass=s3cr3t") == "mailtos://ann@mail.example:587"
    assert shown("slack://t0k3n/t0k3n/t0k3n") == "slack://***"
    assert shown("json://u:s3cr3t@[::1]:8080") == "json://[::1]:8080"
    assert shown("t0k3n") == shown("https://[::1") == "***"
    said = masked("cannot reach h.example/services/t0%2Fk3n with p@ss", "https://u:p%40ss@h.example/services/t0%2Fk3n")
    assert said == "cannot reach h.example/***/*** with ***"


def test_nobody_pays_for_the_library_before_something_is_sent() -> None:
    """EN-09: neither the command line nor the start of a coordinator loads it."""
    code = (
        "import sys, shiftlead.coordinator.__main__, shiftlead.coordinator.loop, shiftlead.coordinator.notify\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('apprise', 'requests')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
