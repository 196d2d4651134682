"""How the agents of a dry run behave: how long they work, and what they answer. A seeded model, no brain is run.

Everything is a function of the seed, the ticket's place among the tickets sent, and how often it was worked on: what
one agent does never changes another's luck, so two teams can be compared on the same week.

A model file (YAML) changes the assumptions; each table is read by type, then capability, then role, then `default`:

    minutes: {bug: 45, billing: 4, default: 10}      median of the time a ticket is worked on
    spread: 0.6                                      of the lognormal; 0 = always the median
    hand_off: {customer_issue: {share: 0.1, needs: [bug]}}
    approval: {billing: {share: 0.05, action: process_refund, arguments: {amount: 620.0}}}
    ask_requester: {customer_issue: 0.05}
    fails: {default: 0.0}
    reply_minutes: 60                                median until a requester answers
    answer_minutes: 20                               median until a person answers an approval
    deny: 0.1                                        share of approvals that are refused
    send_back: 0.1                                   share of replies a checker sends back, in teams that have a check
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shiftlead.config.marks import MarkedError, read_marked
from shiftlead.config.rules import near
from shiftlead.config.team import Team
from shiftlead.queues import approvals, moves
from shiftlead.queues.committing import Decide
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import ShiftleadError
from shiftlead.queues.flow_steps import simulated
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskHuman, AskRequester, Failed, HandOff, Report, Resolved, Reviewed
from shiftlead.queues.reports import changes_for
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket

__all__ = [
    "ApprovalModel", "Behaviour", "HandOffModel", "Model", "claim_many", "minutes_option", "read_model",
    "report_many",
]  # fmt: skip

ROLE_MINUTES = {"support": 6.0, "engineering": 30.0, "decision-maker": 10.0}
OTHER_MINUTES = 10.0
APPROVAL_MINUTES = 3.0
Share = Annotated[float, Field(ge=0, le=1)]
Minutes = Annotated[float, Field(gt=0, le=100_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HandOffModel(_Strict):
    """A part goes to somebody else: whoever can `needs`, or the agent `to`."""

    share: Share
    needs: list[str] = []
    to: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.needs) == bool(self.to):
            raise ValueError("a hand_off names either needs or to")
        return self


class ApprovalModel(_Strict):
    """An action that needs a yes; the team's gates say whose."""

    share: Share
    action: str = "an action"
    arguments: dict[str, Any] = {}


class Model(_Strict):
    """What a dry run assumes. Tables are read by type, capability, role, then `default`."""

    minutes: dict[str, Minutes] = {}
    spread: Annotated[float, Field(ge=0, le=3)] = 0.6
    hand_off: dict[str, HandOffModel] = {}
    approval: dict[str, ApprovalModel] = {}
    ask_requester: dict[str, Share] = {"default": 0.02}
    fails: dict[str, Share] = {}
    reply_minutes: Minutes = 60.0
    answer_minutes: Minutes = 20.0
    deny: Share = 0.1
    send_back: Share = 0.1


def read_model(file: Path, team: Team) -> Model:
    """The model of a YAML file.

    Raises:
        ValueError: it is none; names file, line, column, and a near match.
    """
    try:
        marked = read_marked(file)
    except MarkedError as error:
        raise ValueError(f"{error.mark.file}:{error.mark.line}:{error.mark.column}: {error}") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}.") from None
    try:
        model = Model.model_validate(marked.data if marked.data is not None else {})
    except ValidationError as error:
        first = error.errors()[0]
        at = tuple(p for p in first["loc"] if p != "[key]")
        mark = marked.place(at, key=first["type"] == "extra_forbidden")
        what = f"{'.'.join(map(str, at))}: {first['msg']}"
        if first["type"] == "extra_forbidden":
            hint = near(str(at[-1]), Model.model_fields)
            what = f"unknown key {at[-1]!r}" + (f"; did you mean {hint!r}?" if hint else "")
        raise ValueError(f"{mark.file}:{mark.line}:{mark.column}: {what}") from None
    for name, part in model.hand_off.items():
        mark = marked.place(("hand_off", name))
        if part.to and part.to not in team.agents:
            raise ValueError(f"{mark.file}:{mark.line}:{mark.column}: {_unknown('agent', part.to, team.agents)}")
        for need in part.needs:
            if need not in team.capabilities:
                known = team.capabilities
                raise ValueError(f"{mark.file}:{mark.line}:{mark.column}: {_unknown('capability', need, known)}")
    return model


def claim_many(desk: Desk, given: Sequence[Ticket], worker: str, epoch: int) -> list[Ticket | ShiftleadError]:
    """What Desk.claim does, for tickets that were just given out: one round trip for all of them."""

    def decide(ticket: Ticket, epoch: int) -> list[Change] | None:
        if ticket.state is not State.ASSIGNED:
            return None
        now = desk.clock.now()
        lease = None if desk.team.agents[ticket.assigned_to or ""].human else now + desk.settings.lease_s
        return [moves.claim(ticket, worker, alone=ticket.suspect, lease_until=lease, now=now, epoch=epoch)]

    return desk.apply_many([(t.id, decide) for t in given], read=(epoch, given))


def report_many(desk: Desk, done: Sequence[tuple[Ticket, str, Report]], epoch: int) -> list[Ticket | ShiftleadError]:
    """What Desk.report does, for tickets as they were claimed: one round trip, and two for one that changed since."""

    def decide_for(held: Ticket, agent: str, report: Report) -> Decide:
        def decide(ticket: Ticket, epoch: int) -> Sequence[Change] | None:
            desk._check_holder(ticket, agent, held.token)
            approvals.check(ticket, report, human=desk.team.agents[agent].human, now=desk.clock.now())
            return changes_for(ticket, report, desk._asked(ticket, epoch, held.token))

        return decide

    if not done:
        return []
    steps = [(held.id, decide_for(held, agent, report)) for held, agent, report in done]
    return desk.apply_many(steps, read=(epoch, [held for held, _, _ in done]))


def minutes_option(text: str, team: Team) -> dict[str, float]:
    """`bug=30,billing=4` as a table.

    Raises:
        ValueError: not of that form, or no minutes.
    """
    found: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or not 0 < found[name.strip()] <= 100_000:
            raise ValueError(f"--minutes: {part!r} is not name=minutes, as bug=30,billing=4")
    return found


class Behaviour:
    """What the agents and the people of one run do.

    `places`: id of a ticket -> its place among those that were sent; `own_minutes`: id -> minutes it took in the past.
    """

    def __init__(self, team: Team, model: Model, seed: int) -> None:
        self.team, self.model, self.seed = team, model, seed
        self.places: dict[str, int] = {}
        self.own_minutes: dict[str, float] = {}

    def service_s(self, ticket: Ticket, agent: str) -> float:
        """Seconds `agent` works on the ticket this time; at least one."""
        own = self.own_minutes.get(ticket.id)
        if own is not None:
            return max(1.0, own * 60.0 if ticket.turns == 0 else own * 15.0)
        return self._lognormal(self._minutes(ticket, agent), ticket, "service")

    def report(self, ticket: Ticket, agent: str) -> Report:
        """What it answers then. Only the first look at a ticket hands on or asks: what came back is resolved,
        and a ticket of a pipeline at its last step."""
        if ticket.type == "approval":
            denied = self._dice(ticket, "deny").random() < self.model.deny
            return Resolved(decision="deny" if denied else "approve", reply="simulated")
        if ticket.in_review:
            bad = self._dice(ticket, "review").random() < self.model.send_back
            return Reviewed(passed=not bad, failed_checks=["simulated"] if bad else [])
        first = ticket.turns == 0 and ticket.parent is None and not ticket.answers
        asked = self._asks(ticket, agent) if first else None
        return asked or simulated(ticket) or Resolved(reply="simulated", summary="simulated")

    def reply_s(self, ticket: Ticket) -> float:
        """Seconds until the requester answers."""
        return self._lognormal(self.model.reply_minutes, ticket, "reply")

    def answer_s(self, ticket: Ticket) -> float:
        """Seconds until the person who was asked decides an approval."""
        return self._lognormal(self.model.answer_minutes, ticket, "answer")

    def decision(self, ticket: Ticket) -> str:
        """approve or deny."""
        return "deny" if self._dice(ticket, "deny").random() < self.model.deny else "approve"

    def assumed(self) -> dict[str, float]:
        """Median minutes by agent, as they are assumed where no type or capability says otherwise."""
        return {name: self._minutes(None, name) for name in self.team.agents}

    def _asks(self, ticket: Ticket, agent: str) -> Report | None:
        dice = self._dice(ticket, "asks")
        names = self._names(ticket, agent)
        if dice.random() < _first(self.model.fails, names, 0.0):
            return Failed(error="simulated failure", retryable=False)
        hand_off = _first(self.model.hand_off, names, None) or self._usual(agent)
        if hand_off is not None and dice.random() < hand_off.share and hand_off.to != agent:
            return HandOff(needs=hand_off.needs, to=hand_off.to, title=ticket.title, question="simulated question")
        approval = _first(self.model.approval, names, None)
        if approval is not None and dice.random() < approval.share:
            return AskHuman(action=approval.action, arguments=approval.arguments, why="simulated")
        if dice.random() < _first(self.model.ask_requester, names, 0.0):
            return AskRequester(question="simulated question")
        return None

    def _usual(self, agent: str) -> HandOffModel | None:
        """Without a table, one ticket in twenty goes on to the first of those the agent usually asks."""
        if self.model.hand_off:
            return None
        for name in self.team.agents[agent].hands_off_to:
            if name in self.team.agents:
                return HandOffModel(share=0.05, to=name)
            if name in self.team.capabilities:
                return HandOffModel(share=0.05, needs=[name])
        return None

    def _minutes(self, ticket: Ticket | None, agent: str) -> float:
        known = _first(self.model.minutes, self._names(ticket, agent), None)
        if known is not None:
            return float(known)
        if ticket is not None and ticket.type == "approval":
            return APPROVAL_MINUTES
        return ROLE_MINUTES.get(self.team.agents[agent].role, OTHER_MINUTES)

    def _names(self, ticket: Ticket | None, agent: str) -> list[str]:
        own = [ticket.type, *ticket.needs] if ticket is not None else []
        return [*own, self.team.agents[agent].role, "default"]

    def _lognormal(self, median_minutes: float, ticket: Ticket, what: str) -> float:
        return max(1.0, 60.0 * median_minutes * self._dice(ticket, what).lognormvariate(0.0, self.model.spread))

    def _dice(self, ticket: Ticket, what: str) -> random.Random:
        place = self.places.get((ticket.lineage or [ticket.id])[-1], -1)
        seed = f"{self.seed}|{place}|{ticket.hops}|{ticket.type}|{ticket.life}|{ticket.turns}|{what}"
        return random.Random(seed)  # noqa: S311 - nothing here is a secret


def _first(table: Mapping[str, Any], names: Iterable[str], otherwise: Any) -> Any:
    return next((table[name] for name in names if name in table), otherwise)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    hint = near(name, list(known))
    rest = f"; did you mean {hint!r}?" if hint else f" (it has {', '.join(known)})"
    return f"the team has no {what} {name!r}{rest}"
