"""The tool `send_escalation_notification` (TP-05): tell people about an escalated ticket, over the team's channels.

    critical, high   slack, email, pagerduty         any other urgency   email      both are data: `channels.by_urgency`

Each channel is an effect of its own below the call's: what was sent stays sent, whoever is killed and retried. A worker
that dies while one message is on its way leaves that channel `unknown`, which is said and not repeated; the others are
still told. A channel that says it did not take the message is asked again within the call, so a message whose
acknowledgement was lost may come twice. Only what a channel took stands in `channels`.

Nothing of an address leaves this file: not in a result, a reason, a log line or the effects ledger (I24).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from shiftlead.config.addresses import check_address, masked
from shiftlead.config.references import UnknownReference, fill
from shiftlead.config.sending import by_apprise, harmless
from shiftlead.config.team import Team
from shiftlead.queues.effects import Effects, Intent

from .tool import Call, tool
from .tools_api import ToolRefused

__all__ = ["NOTIFY", "NotifyingTools"]

log = logging.getLogger(__name__)
NOTIFY = "send_escalation_notification"
PAUSES_S = (1.0, 4.0)  # before the second and the third try of a channel
TITLE, TEXT = 120, 500  # characters of a title and of a value in a message

Urgency = Literal["low", "medium", "high", "critical"]
Who = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")]


class NotifyingTools:
    """The tool on one team's channels and effects. `send(address, subject, body)` answers "" or why not."""

    def __init__(
        self, team: Team, effects: Effects, *, send: Callable[[str, str, str], str] = by_apprise,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.team, self.channels, self.effects = team, team.channels, effects
        self._send, self._pause = send, pause

    @tool(target="ticket_id", idempotent=True)
    def send_escalation_notification(
        self, call: Call, ticket_id: str, urgency: Urgency, assigned_to: Who = ""
    ) -> dict[str, Any]:
        """Tell people once that this ticket was escalated: over Slack, email and PagerDuty when it is critical or high,
        else by email. `assigned_to` is who works on it now; empty = the support team. The answer says which channels
        took it."""
        if ticket_id != call.ticket.number:
            raise ToolRefused(f"this is {call.ticket.number}: nobody is told about {ticket_id[:40]!r} here")
        message = self._message(call, urgency, assigned_to or self.channels.to)
        sent: list[str] = []
        not_sent: dict[str, str] = {}
        for channel in dict.fromkeys(self._channels(urgency)):
            why = self._tell(call, channel, urgency, message)
            if why:
                not_sent[channel] = why
            else:
                sent.append(channel)
        at = datetime.fromtimestamp(call.now, UTC).isoformat(timespec="seconds")
        told = {"notification_sent": bool(sent), "channels": sent, "timestamp": at}
        return told | ({"not_sent": not_sent} if not_sent else {})

    def _channels(self, urgency: str) -> list[str]:
        by_urgency = self.channels.by_urgency
        return by_urgency.get(urgency, by_urgency.get("default", []))

    def _tell(self, call: Call, channel: str, urgency: str, message: tuple[str, str]) -> str:
        """ "" when the channel has the message, now or since an earlier attempt; else why not."""
        address = self.channels.addresses.get(channel, "")
        if not address:
            return "no address is configured"
        if wrong := check_address(address):
            return wrong
        ticket = call.ticket
        intent = self.effects.begin(
            ticket.id, ticket.life, NOTIFY, f"{ticket.number} {channel}", {"channel": channel, "urgency": urgency},
            ticket.token, call.agent,
        )  # fmt: skip
        if intent.status == "new":
            return self._sent(intent, address, message)
        if intent.status == "done":
            return ""
        return "an earlier attempt broke off in the middle: nobody knows whether it was sent"

    def _sent(self, intent: Intent, address: str, message: tuple[str, str]) -> str:
        why = ""
        for wait_s in (0.0, *PAUSES_S):
            if wait_s:
                self._pause(wait_s)
            why = self._try(address, message)
            if not why:
                self.effects.finish(intent, {"sent": True})
                return ""
        self.effects.free(intent, why)
        log.warning("%s was not told: %s", intent.target, why)
        return why

    def _try(self, address: str, message: tuple[str, str]) -> str:
        try:
            return masked(self._send(address, *message), address)[:300]
        except Exception as error:  # what it says may hold the address
            return f"sending broke off ({type(error).__name__})"

    def _message(self, call: Call, urgency: str, assigned_to: str) -> tuple[str, str]:
        """Subject and body. Urgency, number and assignee always stand there; the team's texts come after them."""
        ticket = call.ticket

        def filled(text: str, length: int) -> str:
            return fill(text, ticket=facts, steps=ticket.steps, show=lambda value: harmless(value, length))

        facts = ticket.model_dump(mode="json")
        head = f"{ticket.number} | urgency {urgency} | for {assigned_to}"
        try:
            subject, text = filled(self.channels.subject, TITLE), filled(self.channels.text, TEXT)
        except UnknownReference as missing:  # a step that was skipped: the message still goes
            subject, text = harmless(ticket.title, TITLE), f"({harmless(str(missing), TEXT)})"
        return f"[{urgency}] {self.team.team}: {ticket.number} {subject}".strip(), f"{head}\n{text}".strip()
