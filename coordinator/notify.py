"""Tell people: a notice goes to the log and to a file other programs can follow, at once. The ledger has it too.

Whoever has an address (people, and agents that name one) gets it there as well, through Apprise: when and in how many
messages is decided in `delivery.py`. What a ticket says is data: one short line, nothing a terminal, a chat or a mail
program would obey.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import structlog

from shiftlead.config.addresses import check_address, for_apprise, shown
from shiftlead.config.private import open_private
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.ticket import Ticket

from .delivery import Delivery, Line, Message, Sent

__all__ = ["Notices", "by_apprise", "letter", "one_line"]

log = structlog.get_logger("shiftlead.notice")

TITLE, TEXT = 80, 300  # characters of a ticket's title and of the reason in a message
LONGEST = 1000  # characters of either in the file
LINES = 50  # tickets a message names
MENTION = re.compile(r"(?<!\w)@(?=\w)")
# Marks what apprise and what it posts with would say themselves: their lines may name a whole address.
_sending = threading.local()


class Notices:
    """Appends one JSON line per notice to the sink, and delivers it to whoever has an address.

    `clock` is seconds of any clock that does not jump. `send(address, subject, body)` answers "" or why it failed.
    """

    def __init__(
        self, settings: Settings, team: Team, *, clock: Callable[[], float] = time.monotonic,
        send: Callable[[str, str, str], str] | None = None,
    ) -> None:  # fmt: skip
        self.path = Path(settings.notices) if settings.notices else settings.data / "notices.jsonl"
        self.team = team
        self._post = send or by_apprise
        self._useless: set[str] = set()  # targets whose address was found wrong
        self.delivery = Delivery(self._send, window_s=settings.notice_group_s, clock=clock)

    @property
    def sent(self) -> Sent:
        """What became of what was delivered: messages sent, notices grouped, failed and dropped, since the start."""
        return self.delivery.sent

    def tell(self, target: str, ticket: Ticket, text: str, *, at: float) -> None:
        """Tell `target` (agent or person); returns at once. What cannot be written or sent is logged, never raised."""
        address = self._address(target)
        title, text = one_line(ticket.title, LONGEST), one_line(text, LONGEST)
        notice = {
            "at": at, "team": ticket.team, "to": target, "address": shown(address) if address else "",
            "ticket": ticket.number, "title": title, "state": str(ticket.state), "text": text,
        }  # fmt: skip
        log.warning("escalation", **{k: notice[k] for k in ("to", "ticket", "text")})
        try:
            with open_private(self.path) as sink:
                sink.write(json.dumps(notice, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            log.error("the notice file cannot be written", path=str(self.path), error=str(error))
        if address and self._usable(target, address):
            line = Line(ticket.number, _harmless(title, TITLE), str(ticket.state), _harmless(text, TEXT))
            self.delivery.put(target, address, line)

    def close(self, timeout: float = 2.0) -> None:
        """Send what waits, for at most `timeout` seconds. A notice told after that is delivered as before."""
        self.delivery.close(timeout)

    def _address(self, target: str) -> str:
        someone = self.team.people.get(target) or self.team.agents.get(target)
        return (someone.notify if someone is not None else None) or ""

    def _usable(self, target: str, address: str) -> bool:
        wrong = check_address(address)
        if wrong and target not in self._useless:
            self._useless.add(target)
            log.error("notices cannot be delivered: the address is wrong", to=target, why=wrong)
        return not wrong

    def _send(self, message: Message) -> str:
        return self._post(message.address, *letter(self.team.team, message.lines))


def letter(team: str, lines: tuple[Line, ...]) -> tuple[str, str]:
    """Subject and body: a line for each ticket, with the newest that was said about it."""
    newest: dict[str, Line] = {}
    count: dict[str, int] = {}
    for line in lines:
        newest[line.ticket] = line
        count[line.ticket] = count.get(line.ticket, 0) + 1
    body = [_about(line) + (f" ({n} notices)" if (n := count[line.ticket]) > 1 else "") for line in newest.values()]
    if len(body) > LINES:
        body = [*body[:LINES], f"and {len(body) - LINES} more tickets; all are in the file of notices"]
    if len(lines) == 1:
        return f"{team}: {lines[0].ticket} {lines[0].title}".strip(), body[0]
    tickets = f"{len(newest)} tickets" if len(newest) > 1 else lines[0].ticket
    return f"{team}: {len(lines)} notices about {tickets}", "\n".join(body)


def one_line(text: str, length: int) -> str:
    """At most `length` characters of the text, in one line, without control characters and direction marks."""
    # Cut first: a text may be long. Cc line breaks and terminals, Cf direction and invisible, Cs not text at all,
    # Zl and Zp line breaks of Unicode.
    kept = []
    for char in text[: 4 * length]:
        kind = unicodedata.category(char)
        kept.append(" " if kind in ("Cc", "Zl", "Zp") else "" if kind in ("Cf", "Cs") else char)
    line = " ".join("".join(kept).split())
    whole = len(line) <= length and len(text) <= 4 * length
    return line if whole else line[: length - 1].rstrip() + "…"


def by_apprise(address: str, subject: str, body: str) -> str:
    """Send one message; "" or why it was not taken. Blocks as long as the network does.

    Only one service is made of the address (Apprise would read several out of a list), with nothing stored on disk, no
    redirects, and without Apprise's pool of threads: those would be waited for when the process ends.
    """
    import apprise  # slow to load: not before there is something to send

    _keep_quiet()
    _sending.said = []
    try:
        asset = apprise.AppriseAsset(
            app_id="Shiftlead", app_desc="Shiftlead", async_mode=False, service_timeout=0, storage_mode="memory",
            http_redirects=False, pgp_autogen=False, pem_autogen=False, interpret_emojis=False, allow_templates=False,
        )  # fmt: skip
        service = apprise.Apprise.instantiate(for_apprise(address), asset=asset)
        if service is None:
            return "; ".join(_sending.said) or "Apprise cannot use the address"
        service.overflow_mode = apprise.OverflowMode.TRUNCATE  # one message, however short the service wants it
        letterbox = apprise.Apprise(asset=asset)
        letterbox.add(service)
        done = letterbox.notify(
            body=body, title=subject, body_format=apprise.NotifyFormat.TEXT, notify_type=apprise.NotifyType.WARNING
        )
        return "" if done else "; ".join(_sending.said) or "it was not taken"
    finally:
        _sending.said = None


class _Quiet(logging.Filter):
    """Keeps what is logged while we send out of the log, and keeps the warnings as the reason of a failure."""

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(_sending, "said", None)
        if said is None:
            return True
        if record.levelno >= logging.WARNING and len(said) < 5:
            said.append(one_line(record.getMessage(), TEXT))
        return False


_quiet = _Quiet()


def _keep_quiet() -> None:
    for name in ("apprise", "urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_quiet)  # adding it again changes nothing


def _about(line: Line) -> str:
    return f"{line.ticket} | {line.title} | {line.state} | {line.text}"


def _harmless(text: str, length: int) -> str:
    """What a chat would read as markup or as a call to everybody is only text."""
    return one_line(MENTION.sub("@ ", text.replace("<", "‹").replace(">", "›")), length)
