"""Notifications of an escalation reach real servers, once, and say honestly whom they reached (TP-05)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import Work
from shiftlead.agents.notifying import NOTIFY, NotifyingTools
from shiftlead.agents.tool import registry
from shiftlead.agents.tools import Outcome, Toolbox
from shiftlead.config.clock import ManualClock
from shiftlead.config.team import Team
from shiftlead.queues.effects import Effects
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.ticket import Ticket
from tests.integration.test_notices import GOING, WAIT_S, Hook, Mailbox, hook, mailbox

__all__ = ["hook", "mailbox"]  # fixtures
pytestmark = pytest.mark.filterwarnings(GOING)
NUMBER = "T-2026-001"
STEPS = {"classify": {"result": {"category": "technical", "reasoning": "production <b>is down</b> @channel"}}}


class Killed(BaseException):
    """The process ends here."""


class Sender:
    """Takes messages in place of a network: what each address got, and what happens at one."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.fails: dict[str, list[Any]] = {}

    def __call__(self, address: str, subject: str, body: str) -> str:
        self.sent.append((address, subject, body))
        left = self.fails.get(address) or [""]
        said = left.pop(0)
        if isinstance(said, BaseException):
            raise said
        return str(said)

    @property
    def to(self) -> list[str]:
        return [address for address, _, _ in self.sent]


class House:
    """A team with channels, its effects ledger, and the toolbox of its notifier."""

    def __init__(self, folder: Path, addresses: dict[str, str], send: Any = None, **channels: Any) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.ledger.migrate()
        self.effects = Effects(self.ledger, "line", self.clock)
        self.pauses: list[float] = []
        self.team = Team.model_validate({
            "team": "line", "routes": [{"needs": ["notify"]}], "channels": {"addresses": addresses} | channels,
            "agents": {"nina": {"role": "notifier", "can": ["notify"], "tools": [NOTIFY]}},
        })  # fmt: skip
        given: dict[str, Any] = {"pause": self.pauses.append} | ({"send": send} if send else {})
        self.tools = NotifyingTools(self.team, self.effects, **given)

    def use(self, *, token: int = 5, **arguments: Any) -> Outcome:
        """One call by the holder of `token`; every kill and retry has a higher one."""
        ticket = Ticket.model_validate({
            "id": "t1", "number": NUMBER, "team": "line", "title": "Production\n is down <@everyone>", "token": token,
            "steps": STEPS,
        })  # fmt: skip
        work = Work(agent="nina", ticket=ticket, token=token)
        box = Toolbox(work, self.team, self.effects, registry(self.tools), now=self.clock.now)
        return box.use(NOTIFY, {"ticket_id": NUMBER, "urgency": "critical"} | arguments)


ALL = {"slack": "https://hooks/s", "email": "mailto://ops@localhost", "pagerduty": "https://pager/p"}


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def house(tmp_path: Path, sender: Sender) -> Iterator[House]:
    house = House(tmp_path, ALL, sender)
    yield house
    house.ledger.close()


@pytest.mark.real
def test_a_critical_ticket_reaches_chat_mailbox_and_pager(hook: Hook, mailbox: Mailbox, tmp_path: Path) -> None:
    """TP-05, TP-06: through the real library to real servers; what a step found stands in the text, as text."""
    addresses = {
        "slack": f"{hook.address}/slack", "email": f"mailto://ops@localhost:{mailbox.port}",
        "pagerduty": f"{hook.address}/pager",
    }  # fmt: skip
    house = House(tmp_path, addresses, text="${classify.category}: ${classify.output.reasoning}")
    outcome = house.use(assigned_to="on-call")

    posts = dict(hook.posts.get(timeout=WAIT_S) for _ in range(2))
    to, mail = mailbox.mails.get(timeout=WAIT_S)
    assert outcome.result == {
        "notification_sent": True, "channels": ["slack", "email", "pagerduty"],
        "timestamp": datetime.fromisoformat(outcome.result["timestamp"]).isoformat(),
    }  # fmt: skip
    assert outcome.result["timestamp"].endswith("+00:00")
    assert set(posts) == {"/slack", "/pager"} and to == ["ops@localhost"]
    assert posts["/slack"]["title"] == f"[critical] line: {NUMBER} Production is down ‹@ everyone›"
    body = f"{NUMBER} | urgency critical | for on-call\ntechnical: production ‹b›is down‹/b› @ channel"
    assert posts["/pager"]["message"] == body == mail.get_content().replace("\r\n", "\n").strip()
    house.ledger.close()


@pytest.mark.parametrize(
    ("urgency", "channels"),
    [
        ("critical", ["slack", "email", "pagerduty"]), ("high", ["slack", "email", "pagerduty"]), ("medium", ["email"]),
        ("low", ["email"]),
    ],
)  # fmt: skip
def test_the_urgency_chooses_the_channels(house: House, sender: Sender, urgency: str, channels: list[str]) -> None:
    """TP-05: never Slack for a low one, as the source's code did; nobody named = the support team."""
    assert house.use(urgency=urgency).result["channels"] == channels
    assert sender.to == [ALL[channel] for channel in channels]
    assert f"| urgency {urgency} | for support-team" in sender.sent[0][2]


def test_which_channels_an_urgency_takes_is_data(tmp_path: Path, sender: Sender) -> None:
    """TP-05: `channels.by_urgency` of the team file."""
    house = House(tmp_path, ALL, sender, by_urgency={"critical": ["pagerduty"]})
    assert house.use().result["channels"] == ["pagerduty"]
    assert house.use(urgency="low", token=6).repeated, "one ticket is told of once in a life"
    house.ledger.close()


def test_a_channel_without_an_address_is_not_called_sent(tmp_path: Path, sender: Sender) -> None:
    """TP-05: only what a channel took stands in `channels`; with none of them, nothing was sent."""
    house = House(tmp_path, {"email": ALL["email"]}, sender)
    result = house.use().result
    assert (result["notification_sent"], result["channels"]) == (True, ["email"])
    assert result["not_sent"] == {"slack": "no address is configured", "pagerduty": "no address is configured"}
    house.ledger.close()


def test_with_no_channel_at_all_nothing_was_sent(tmp_path: Path, sender: Sender) -> None:
    """TP-05: and it says so."""
    house = House(tmp_path, {}, sender)
    result = house.use().result
    assert (result["notification_sent"], result["channels"], sender.sent) == (False, [], [])
    house.ledger.close()


def test_a_killed_and_retried_worker_tells_nobody_twice(house: House, sender: Sender) -> None:
    """TP-05, TP-07, EN-11: slack had it, email was on its way, the pager still waited when the process was killed."""
    sender.fails[ALL["email"]] = [Killed()]
    with pytest.raises(Killed):
        house.use(token=5)
    again = house.use(token=6)
    once_more = house.use(token=7)

    assert sender.to == [ALL["slack"], ALL["email"], ALL["pagerduty"]]
    assert again.result["channels"] == ["slack", "pagerduty"]
    assert "nobody knows whether it was sent" in again.result["not_sent"]["email"]
    assert (once_more.repeated, once_more.result) == (True, again.result)


def test_a_worker_killed_when_all_was_sent_sends_nothing_more(house: House, sender: Sender) -> None:
    """EN-11: between the last message and the report."""
    first = house.use(token=5)
    assert house.use(token=6).result == first.result and len(sender.sent) == 3


def test_a_channel_that_fails_is_asked_again_and_given_up_honestly(
    house: House, sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    """TP-05, I24: the second try reaches Slack; the pager stays silent, and why says nothing of its address."""
    caplog.set_level(logging.DEBUG)
    sender.fails[ALL["slack"]] = ["503", ""]
    sender.fails[ALL["pagerduty"]] = [f"no route to {ALL['pagerduty']}", ValueError(ALL["pagerduty"]), "still no"]
    result = house.use().result

    assert result["channels"] == ["slack", "email"] and result["not_sent"] == {"pagerduty": "still no"}
    assert house.pauses == [1.0, 1.0, 4.0]
    kept = [(effect.target, effect.status) for effect in house.effects.of("t1")]
    assert (f"{NUMBER} pagerduty", "free") in kept
    said = str(house.effects.of("t1")) + str(result) + caplog.text
    assert not any(address in said for address in ALL.values())


def test_nobody_is_told_about_another_ticket(house: House, sender: Sender) -> None:
    """TP-05: whatever a text makes a model ask for."""
    outcome = house.use(ticket_id="T-2026-999")
    assert outcome.status == "refused" and NUMBER in outcome.why
    assert house.use(urgency="apocalyptic").status == "refused" and not sender.sent


def test_a_text_that_needs_a_skipped_step_still_goes(tmp_path: Path, sender: Sender) -> None:
    """TP-06: a page is never lost to a template; the message says what is missing."""
    house = House(tmp_path, ALL, sender, text="${know.confidence} of 100", subject="${classify.category}")
    assert house.use().result["notification_sent"]
    assert "(${know.confidence}: no step 'know' is done so far; there are: classify)" in sender.sent[0][2]
    assert "Production is down" in sender.sent[0][1]
    house.ledger.close()
