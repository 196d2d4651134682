"""Notices reach real servers on this machine: a web server that takes JSON and a mail server."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.coordinator.delivery import Delivery
from shiftlead.coordinator.notify import Notices
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

# Apprise looks for a module of Python's that is on its way out.
GOING = "ignore:'imghdr' is deprecated:DeprecationWarning"
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings(GOING)]
WAIT_S = 20.0


class Hook:
    """A web server: what was posted to it, and what it answers next (200 when nothing is said)."""

    def __init__(self) -> None:
        self.posts: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.answers: list[int] = []
        self.hold = threading.Event()  # set: answers may go
        self.hold.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.posts.put((self.path, body))
                hook.hold.wait(WAIT_S)
                with contextlib.suppress(OSError):
                    self.send_response(hook.answers.pop(0) if hook.answers else 200)
                    self.send_header("Location", "/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def do_GET(self) -> None:
                hook.posts.put((self.path, {}))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(WAIT_S)


class Mailbox:
    """A mail server that takes everything: what was sent to whom."""

    def __init__(self) -> None:
        self.mails: queue.Queue[tuple[list[str], email.message.EmailMessage]] = queue.Queue()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT_S)

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        to: list[str] = []
        while line := await reader.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"RCPT":
                to.append(line.decode().partition("<")[2].partition(">")[0])
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                raw = await reader.readuntil(b"\r\n.\r\n")
                mail = email.message_from_bytes(raw[:-3], policy=email.policy.default)
                self.mails.put((to, mail))
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            await writer.drain()
            if verb == b"QUIT":
                break
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(WAIT_S)
        self._loop.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    server = Mailbox()
    yield server
    server.close()


def team_of(address: str) -> Team:
    return Team.model_validate(
        {
            "team": "front", "version": 1, "routes": [{"needs": ["help"]}],
            "agents": {"iris": {"role": "support", "can": ["help"]}}, "people": {"ann": {"notify": address}},
        }
    )  # fmt: skip


def by_hand(settings: Settings, address: str, clock: ManualClock) -> Notices:
    """Sends through the real library, when the test says so."""
    notices = Notices(settings, team_of(address), clock=clock.now)
    notices.delivery = Delivery(notices._send, window_s=settings.notice_group_s, clock=clock.now, senders=0)
    return notices


def tell(notices: Notices, *numbers: int, title: str = "charged twice") -> None:
    for number in numbers:
        ticket = Ticket(id=f"i{number}", number=f"T-2027-{number:03}", team="front", title=title, state=State.READY)
        notices.tell("ann", ticket, f"late <b>{number}</b>", at=1.0)


def a_closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_first_notice_is_posted_at_once_and_the_others_as_one(hook: Hook, settings: Settings) -> None:
    """EN-09: by its own threads, on the real clock; the coordinator only says what there is to tell."""
    notices = Notices(settings.model_copy(update={"notice_group_s": 1.0}), team_of(f"{hook.address}/hook?key=k1"))
    tell(notices, 1)
    path, first = hook.posts.get(timeout=WAIT_S)
    tell(notices, 2, 3, 4)
    _, rest = hook.posts.get(timeout=WAIT_S)
    notices.close()

    assert path == "/hook?key=k1"
    assert first["title"] == "front: T-2027-001 charged twice"
    assert first["message"] == "T-2027-001 | charged twice | ready | late ‹b›1‹/b›"
    assert rest["title"] == "front: 3 notices about 3 tickets"
    assert [line.split(" | ")[0] for line in rest["message"].splitlines()] == ["T-2027-002", "T-2027-003", "T-2027-004"]
    assert rest["attachments"] == []
    assert hook.posts.empty() and (notices.sent.sent, notices.sent.grouped) == (2, 3)


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_a_post_that_is_not_taken_is_posted_again(hook: Hook, settings: Settings, answer: int) -> None:
    """EN-09: a redirect is not followed: it would lose the message and look like a success."""
    clock = ManualClock()
    hook.answers = [answer]
    notices = by_hand(settings, f"{hook.address}/hook", clock)
    tell(notices, 1)
    assert notices.delivery.flush(clock.now()) == 1
    tell(notices, 2)
    assert notices.delivery.flush(clock.now() + 9) == 0
    assert notices.delivery.flush(clock.now() + 10) == 1
    posts = [hook.posts.get_nowait() for _ in range(2)]
    assert [path for path, _ in posts] == ["/hook", "/hook"]
    assert posts[1][1]["title"] == "front: 2 notices about 2 tickets"
    assert (notices.sent.sent, notices.sent.failed) == (1, 0) and hook.posts.empty()


def test_a_mail_is_plain_text_and_no_title_writes_its_headers(mailbox: Mailbox, settings: Settings) -> None:
    """EN-09, I24: what a ticket says never becomes a header, a second recipient or HTML."""
    clock = ManualClock()
    notices = by_hand(settings, f"mailto://oncall@localhost:{mailbox.port}", clock)
    tell(notices, 1, title="Grüße\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>\u202e")
    assert notices.delivery.flush(clock.now()) == 1
    assert notices.sent.sent == 1, "the mail server took it"
    to, mail = mailbox.mails.get(timeout=WAIT_S)

    assert to == ["oncall@localhost"] and mail["Bcc"] is None
    assert mail["Subject"] == "front: T-2027-001 Grüße Bcc: eve@example.org ‹script›alert(1)‹/script›"
    assert mail.get_content_type() == "text/plain"
    [line] = mail.get_content().strip().splitlines()
    assert line.startswith("T-2027-001 | Grüße Bcc: eve@example.org ‹script›alert(1)‹/script› | ready | late")


@pytest.mark.parametrize("address", ["mailto://oncall@localhost:{}", "http://127.0.0.1:{}/x", "https://127.0.0.1:{}"])
def test_a_server_that_is_not_there_harms_nobody(settings: Settings, address: str) -> None:
    """EN-09: tried, logged, kept for the next try; the file has it."""
    clock = ManualClock()
    notices = by_hand(settings, address.format(a_closed_port()), clock)
    tell(notices, 1)
    assert notices.delivery.flush(clock.now()) == 1
    assert notices.delivery.flush(clock.now() + 10) == 1, "the second try"
    assert (notices.sent.sent, notices.sent.failed) == (0, 0)
    assert "T-2027-001" in notices.path.read_text()


def test_no_secret_of_an_address_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """I24: neither by us nor by the libraries, whatever the level; the file does not have it either."""
    caplog.set_level(logging.DEBUG)
    clock = ManualClock()
    for address in (
        f"https://user:c4nary1@127.0.0.1:{a_closed_port()}/services/c4nary2?key=c4nary3",
        f"jsons://user:c4nary1@127.0.0.1:{a_closed_port()}/c4nary2?+Authorization=c4nary3",
        f"mailto://user:c4nary1@localhost:{a_closed_port()}?to=ann@example.org&smtp=127.0.0.1",
        "pagerduty://c4nary1c4nary1@c4nary2/?region=c4nary3",
        "slack://c4nary1/c4nary2/c4nary3",
    ):
        notices = by_hand(settings, address, clock)
        tell(notices, 1)
        assert notices.delivery.flush(clock.now()) == 1
        assert notices.sent.sent == 0
    out, err = capfd.readouterr()
    said = caplog.text + out + err
    assert "it is tried again" in said
    assert "c4nary" not in said + notices.path.read_text()


def test_who_never_answers_holds_up_neither_the_teller_nor_the_end(hook: Hook, settings: Settings) -> None:
    """EN-09: telling returns at once, and closing takes its two seconds at most; what is left is counted."""
    hook.hold.clear()
    notices = Notices(settings, team_of(f"{hook.address}/hook?rto=60"))
    tell(notices, 1)
    hook.posts.get(timeout=WAIT_S)  # it is being sent now
    began = time.monotonic()
    tell(notices, *range(2, 50))
    assert time.monotonic() - began < 1.0
    began = time.monotonic()
    notices.close(0.3)
    assert time.monotonic() - began < 2.0
    assert notices.sent.failed == 48


def test_what_waits_for_its_window_goes_when_the_coordinator_ends(hook: Hook, settings: Settings) -> None:
    """EN-09: and a notice told after that is delivered, too: leading may begin again."""
    notices = Notices(settings, team_of(f"{hook.address}/hook"))
    tell(notices, 1)
    hook.posts.get(timeout=WAIT_S)
    tell(notices, 2, 3)
    notices.close()
    _, rest = hook.posts.get(timeout=WAIT_S)
    assert rest["title"] == "front: 2 notices about 2 tickets"
    assert (notices.sent.sent, notices.sent.failed) == (2, 0)

    tell(notices, 4)
    notices.close()
    assert "T-2027-004" in hook.posts.get(timeout=WAIT_S)[1]["message"]
