"""Steps that many tests share: a ticket brought to a state through the real desk."""

from __future__ import annotations

from typing import Any

from shiftlead.queues import moves
from shiftlead.queues.desk import Desk
from shiftlead.queues.errors import ShiftleadError
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Draft, Ticket


def a_new_ticket(desk: Desk, **fields: Any) -> Ticket:
    return desk.accept(Draft.model_validate({"body": "I was charged twice"} | fields), actor="door:test").ticket


def triaged(desk: Desk, ticket: Ticket, *, needs: tuple[str, ...] = ("billing",), **values: Any) -> Ticket:
    def decide(t: Ticket, epoch: int) -> list[Any]:
        decided = {"needs": list(needs), "due": t.created_at + 60} | values
        return [
            moves.triage(
                t,
                state=State.READY,
                reasons=["test"],
                actor="coordinator",
                now=desk.clock.now(),
                epoch=epoch,
                **decided,
            )
        ]

    return _one(desk, ticket, decide)


def assigned(desk: Desk, ticket: Ticket, agent: str) -> Ticket:
    capacity = desk.team.agents[agent].capacity

    def decide(t: Ticket, epoch: int) -> list[Any]:
        now = desk.clock.now()
        return [moves.assign(t, agent, reasons=["test"], capacity=capacity, claim_by=now + 10, now=now, epoch=epoch)]

    return _one(desk, ticket, decide)


def an_assigned_ticket(desk: Desk, agent: str = "iris_support", **fields: Any) -> Ticket:
    return assigned(desk, triaged(desk, a_new_ticket(desk, **fields)), agent)


def a_working_ticket(desk: Desk, agent: str = "iris_support", worker: str = "w1", **fields: Any) -> Ticket:
    return desk.claim(an_assigned_ticket(desk, agent, **fields).id, agent, worker)


def _one(desk: Desk, ticket: Ticket, decide: Any) -> Ticket:
    [outcome] = desk.apply_many([(ticket.id, decide)])
    if isinstance(outcome, ShiftleadError):
        raise outcome
    return outcome


def where(desk: Desk, ticket_id: str) -> list[str]:
    """Every sorted set of the team the ticket stands in."""
    client, found = desk.store.client, []
    for key in client.scan_iter(match=f"{desk.keys.tag}:*"):
        if client.type(key) == "zset" and client.zscore(key, ticket_id) is not None:
            found.append(key.removeprefix(f"{desk.keys.tag}:"))
    return sorted(found)
