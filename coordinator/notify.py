"""Tell people: a notice goes to the log and to a file other programs can follow, at once. The ledger has it too.

Whoever has an address (people, and agents that name one) gets it there as well, through Apprise: when and in how many
messages is decided in `delivery.py`. What a ticket says is data: one short line, nothing a terminal, a chat or a mail
program would obey.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from shiftlead.config.addresses import check_address, shown
from shiftlead.config.private import open_private
from shiftlead.config.sending import by_apprise, harmless, one_line
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.ticket import Ticket

from .delivery import Delivery, Line, Message, Sent

__all__ = ["Notices", "letter"]

log = structlog.get_logger("shiftlead.notice")

NAME, SAYS = 100, 100  # of who asks, and of the message's beginning
TITLE, TEXT = 80, 300  # characters of a ticket's title and of the reason in a message
LONGEST = 1000  # characters of either in the file
LINES = 50  # tickets a message names


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
        customer, says = one_line(ticket.customer, NAME), one_line(ticket.body, SAYS)
        notice = {
            "at": at, "team": ticket.team, "to": target, "address": shown(address) if address else "",
            "ticket": ticket.number, "title": title, "state": str(ticket.state), "text": text,
            "customer": customer, "says": says,
        }  # fmt: skip
        log.warning("escalation", **{k: notice[k] for k in ("to", "ticket", "text")})
        try:
            with open_private(self.path) as sink:
                sink.write(json.dumps(notice, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        except OSError as error:
            log.error("the notice file cannot be written", path=str(self.path), error=str(error))
        if address and self._usable(target, address):
            line = Line(ticket.number, harmless(title, TITLE), str(ticket.state), harmless(text, TEXT),
                        customer=harmless(customer, NAME), says=harmless(says, SAYS))  # fmt: skip
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


def _about(line: Line) -> str:
    who = f"{line.customer}: " if line.customer else ""
    # A message without a title has its beginning for one.
    more = f" | {line.says}" if line.says and not line.says.startswith(line.title.rstrip("…")) else ""
    return f"{line.ticket} | {who}{line.title} | {line.state} | {line.text}{more}"
