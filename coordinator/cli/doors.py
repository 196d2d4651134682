"""The way to the tickets: the data folder's socket, a running Shiftlead's HTTP door, or the ledger of a stopped one.

`open_door` for commands that act, `open_view` for those that only read: these also work on a stopped data folder.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .output import Run, not_running

if TYPE_CHECKING:
    from shiftlead.queues.agent_state import AgentState
    from shiftlead.queues.connect import Connections
    from shiftlead.queues.desk import Accepted, Desk
    from shiftlead.queues.errors import ShiftleadError
    from shiftlead.queues.ticket import Draft, Ticket
    from shiftlead.queues.views import View

__all__ = ["Door", "Looking", "local_desk", "me", "open_door", "open_view", "use_running_team"]


class Door(Protocol):
    """What a command may ask for, wherever the tickets are."""

    def accept_many(self, drafts: Sequence[tuple[Draft, str | None]]) -> list[Accepted | ShiftleadError]: ...
    def answer(self, ticket: str, decision: str, reason: str) -> Ticket: ...
    def cancel(self, ticket: str, reason: str) -> Ticket: ...
    def note(self, ticket: str, text: str, signals: dict[str, float | str]) -> Ticket: ...
    def reply(self, ticket: str, text: str) -> Ticket: ...
    def reopen(self, ticket: str, reason: str) -> Ticket: ...
    def inbox(self, who: str | None) -> list[dict[str, Any]]: ...
    def delegate(self, ticket: str, to: str, reason: str) -> Ticket: ...
    def edit(self, ticket: str, changes: dict[str, Any], reason: str) -> Ticket: ...
    def reassign(self, ticket: str, to: str | None, needs: list[str], reason: str) -> Ticket: ...
    def snooze(self, ticket: str, until: float, reason: str) -> Ticket: ...
    def merge(self, ticket: str, into: str, reason: str) -> Ticket: ...
    def hold(self, agent: str, reason: str, values: dict[str, Any]) -> AgentState: ...
    def event(self, agent: str, name: str, ref: str) -> AgentState: ...
    def outcome(self, ticket: str, feedback: dict[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Looking:
    """A view of the tickets, the time there, and whether anything runs."""

    view: View
    now: float
    running: bool
    desk: Desk | None = None
    why: Any = None  # HTTP: a function that asks the other side


@contextmanager
def open_door(run: Run) -> Iterator[Door]:
    """A door that can act.

    Raises:
        Unavailable: nothing runs on the data folder.
    """
    if run.settings.url:
        from .http import HttpDoor

        with HttpDoor(run.settings) as remote:
            yield remote
        return
    with local_desk(run) as desk:
        yield LocalDoor(desk)


@contextmanager
def open_view(run: Run) -> Iterator[Looking]:
    """A way to read. Says so on stderr when it reads the ledger of a stopped Shiftlead.

    Raises:
        Unavailable: nothing runs on the data folder, and it has no ledger either.
    """
    import time

    if run.settings.url:
        from .http import HttpDoor

        with HttpDoor(run.settings) as remote:
            yield Looking(remote, time.time(), True, why=remote.why)
        return
    with _connections(run) as connections:
        if connections is not None:
            from shiftlead.queues.views import LiveView

            desk = connections.desk()
            yield Looking(LiveView(desk), desk.clock.now(), True, desk)
            return
    with stopped_ledger(run) as ledger:
        from shiftlead.queues.views import StoppedView

        run.remark(f"Nothing runs on {run.settings.data}; this is what the ledger says.")
        yield Looking(StoppedView(ledger, run.settings.team), time.time(), False)


@contextmanager
def local_desk(run: Run) -> Iterator[Desk]:
    """The team's desk through the data folder.

    Raises:
        Unavailable: nothing runs on it.
    """
    from shiftlead.queues.errors import Refused, Unavailable

    if run.settings.url:
        raise Refused(
            "This command works on a data folder only, and SHIFTLEAD_URL names another machine. Run it there, or unset "
            "SHIFTLEAD_URL."
        )
    with _connections(run) as connections:
        if connections is None:
            raise Unavailable(not_running())
        yield connections.desk()


@contextmanager
def stopped_ledger(run: Run) -> Iterator[Any]:
    """The ledger, opened for reading only.

    Raises:
        Unavailable: the data folder has none.
    """
    from shiftlead.queues.errors import Unavailable
    from shiftlead.queues.ledger import Ledger

    use_running_team(run)
    if not run.settings.database_url and not (run.settings.data / "ledger.db").exists():
        raise Unavailable(not_running())
    ledger = Ledger(run.settings.database_address, read_only=True)
    try:
        yield ledger
    finally:
        ledger.close()


def use_running_team(run: Run) -> None:
    """Mean the team that runs here, where nobody named one and exactly one runs; says so on stderr, once."""
    from shiftlead.config.settings import get_settings
    from shiftlead.coordinator.supervisor import running_teams

    settings = run.settings
    if run.team_names or settings.url or "team" in settings.model_fields_set:
        return
    teams = running_teams(settings)
    if len(teams) == 1 and teams[0] != settings.team:
        run.remark(f"Team {teams[0]}: it is the one that runs on this data folder.")
        os.environ["SHIFTLEAD_TEAM"] = teams[0]
        get_settings.cache_clear()
        run.__dict__.pop("settings", None)  # read again, with the team


def me() -> str:
    """The actor of a person at this command line."""
    try:
        return f"person:{getpass.getuser()}"
    except (KeyError, OSError):  # a container without a user entry
        return "person:local"


class LocalDoor:
    """Acts as local admin through the data folder's socket; the file mode decides who may."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def accept_many(self, drafts: Sequence[tuple[Draft, str | None]]) -> list[Accepted | ShiftleadError]:
        return self.desk.accept_many(drafts, actor="door:cli")

    def answer(self, ticket: str, decision: str, reason: str) -> Ticket:
        return self.desk.answer(ticket, decision, actor=me(), reason=reason)

    def cancel(self, ticket: str, reason: str) -> Ticket:
        return self.desk.cancel(ticket, actor=me(), reason=reason)

    def note(self, ticket: str, text: str, signals: dict[str, float | str]) -> Ticket:
        detail: dict[str, Any] = {"signals": signals} if signals else {}
        return self.desk.note(ticket, text, actor=me(), **detail)

    def reply(self, ticket: str, text: str) -> Ticket:
        return self.desk.reply(ticket, text, actor=me())

    def reopen(self, ticket: str, reason: str) -> Ticket:
        return self.desk.reopen(ticket, actor=me(), reason=reason)

    def inbox(self, who: str | None) -> list[dict[str, Any]]:
        from shiftlead.coordinator.inbox import inbox

        return [item.as_dict() for item in inbox(self.desk, who)]

    def delegate(self, ticket: str, to: str, reason: str) -> Ticket:
        return self.desk.delegate(ticket, to, actor=me(), reason=reason)

    def edit(self, ticket: str, changes: dict[str, Any], reason: str) -> Ticket:
        return self.desk.edit(ticket, changes, actor=me(), reason=reason)

    def reassign(self, ticket: str, to: str | None, needs: list[str], reason: str) -> Ticket:
        return self.desk.reassign(ticket, to=to, needs=needs, actor=me(), reason=reason)

    def snooze(self, ticket: str, until: float, reason: str) -> Ticket:
        return self.desk.snooze(ticket, until, actor=me(), reason=reason)

    def merge(self, ticket: str, into: str, reason: str) -> Ticket:
        return self.desk.merge(ticket, into, actor=me(), reason=reason)

    def hold(self, agent: str, reason: str, values: dict[str, Any]) -> AgentState:
        return self.desk.set_agent(agent, actor=me(), reason=reason, **values)

    def event(self, agent: str, name: str, ref: str) -> AgentState:
        return self.desk.agent_event(agent, name, ref=ref, actor=me())

    def outcome(self, ticket: str, feedback: dict[str, Any]) -> dict[str, Any]:
        from shiftlead.queues.outcomes import Feedback, record_outcome

        said = record_outcome(self.desk, ticket, Feedback.model_validate(feedback), actor=me())
        return said.model_dump(mode="json")


@contextmanager
def _connections(run: Run) -> Iterator[Connections | None]:
    """Connections to a server that answers; None when none does."""
    import redis

    from shiftlead.queues.connect import Connections

    use_running_team(run)
    connections = Connections(run.settings)
    try:
        try:
            connections.client.ping()
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            alive = False
        else:
            alive = True
        yield connections if alive else None
    finally:
        connections.close()
