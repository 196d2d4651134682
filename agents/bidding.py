"""Agents say for themselves whether a question is theirs: a manager asks, each answers with a bid (SS-04).

    can_take(work) -> Bid | None      an optional method beside `handle`; None: nothing to say of its own
    a ticket of type `bid`            how it is asked. A child like any other, so its bounds, timers and story hold;
                                      whoever has no `can_take` but reads types - a program, a model, a person, an
                                      agent from outside - resolves it with the bid as JSON in `reply`
    nobody to say anything            the team's example sentences speak for the agent

A bid answers a part as well: an agent that was handed what is not its own disagrees with `take: false` and why, and
names in `instead` who it would be. It may, where the packet's state says `may_decline`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shiftlead.config.team import Team
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ticket import Ticket

from .agent import Agent, Report, Resolved, Work, as_report
from .knowledge import Knowledge
from .reading import examples_of, read

__all__ = ["BID", "Bid", "answer_work", "bid_in", "bid_of", "is_bid", "may_decline"]

BID = "bid"
LEAST_KNOWN = 0.45  # of the question that a page covers: below it a page is merely the nearest one
SECOND_HAND = 0.9  # a page that covers the words says less than sentences that were given as examples


class Bid(BaseModel):
    """Whether an agent would take a question, and why. `confidence` is of the answer, be it yes or no."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    take: bool
    why: Annotated[str, Field(max_length=2000)] = ""
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    instead: Annotated[str, Field(max_length=100, description="capability or agent it would be")] = ""

    def as_report(self) -> Resolved:
        """As it travels: JSON for whoever asked, a sentence for whoever reads the story."""
        word = "yes" if self.take else "no"
        instead = f"; rather {self.instead}" if self.instead else ""
        return Resolved(reply=self.model_dump_json(), summary=f"{word} ({self.confidence:.2f}): {self.why}{instead}")


def is_bid(ticket: Ticket) -> bool:
    """Whether an agent asks for a bid with it. What a sender calls `bid` is a ticket like any other."""
    return ticket.type == BID and ticket.parent is not None and ticket.asked_by is not None


def may_decline(work: Work) -> bool:
    """Whether whoever handed this on wants to hear a disagreement."""
    return work.packet is not None and work.packet.state.get("may_decline") is True


def bid_in(text: Any) -> Bid | None:
    """The bid a reply holds; None when it is no bid."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        return Bid.model_validate(json.loads(text))
    except (ValueError, RecursionError, ValidationError):
        return None


def answer_work(agent: Agent, work: Work, team: Team) -> Report:
    """The agent's report: its bid where one is asked for, else what its `handle` says.

    Raises:
        BadInput: what it returned is neither.
    """
    if not is_bid(work.ticket) or not hasattr(agent, "can_take"):
        return as_report(agent.handle(work))
    said = agent.can_take(work)
    if said is None:
        said = bid_of(work, team)
    try:
        bid = Bid.model_validate(said.model_dump() if isinstance(said, BaseModel) else said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise BadInput(f"can_take of {work.agent} must return a Bid: {where}: {first['msg']}.", field=where) from None
    return bid.as_report()


def bid_of(work: Work, team: Team | None, knowledge: Knowledge | None = None) -> Bid:
    """What the team's examples and the agent's pages say of the question. The same text gets the same bid."""
    own = set(team.agents[work.agent].can) if team and work.agent in team.agents else set()
    examples = examples_of(team) if team else None
    guess = examples.guess(read(work.ticket.title, work.ticket.body)) if examples else None
    if guess is not None and guess.sure:
        why = f"it sounds like {guess.capability} ({', '.join(guess.matched)})"
        if guess.capability in own:
            return Bid(take=True, why=why, confidence=_within(guess.confidence))
        return Bid(take=False, why=why, confidence=_within(guess.confidence), instead=guess.capability)
    hits = [hit for hit in knowledge.search(work.text) if hit.kind != "ticket"] if knowledge else []
    if hits and hits[0].covers >= LEAST_KNOWN:
        return Bid(take=True, why=f"{hits[0].source} covers it", confidence=_within(hits[0].covers * SECOND_HAND))
    near = [f"it might be {guess.capability} ({guess.confidence:.2f})"] if guess else []
    near += [f"the nearest page is {hits[0].source} ({hits[0].covers:.2f})"] if hits else []
    return Bid(take=False, why=_or("; ".join(near), "no example and no page is like it"), confidence=0.3)


def _within(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 3)


def _or(*texts: str) -> str:
    return next(text for text in texts if text)
