"""Put together what an agent gets: its ticket and the whole story behind it. The same for every door."""

from __future__ import annotations

from shiftlead.config.team import Team
from shiftlead.queues.desk import Desk
from shiftlead.queues.earlier import earlier_tickets
from shiftlead.queues.errors import NotFound
from shiftlead.queues.ledger import Ledger
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line, Ticket

from .agent import Colleague, Earlier, Work

__all__ = ["build_work", "colleagues_of", "run_deadline"]

MOST_EARLIER = 5  # tickets of the customer that go along
SHORT = 300  # characters of a title or an outcome of theirs


def build_work(desk: Desk, ticket: Ticket, team: Team) -> Work:
    """The `Work` of the agent that holds `ticket`.

    Its history is that of the first ancestor, then of the next, ... then its own: whole and in that order (I14).

    Raises:
        redis.RedisError, sqlalchemy.exc.SQLAlchemyError: the story could not be read; the agent has nothing then.
    """
    agent = ticket.assigned_to or ""
    spec = team.agents.get(agent)
    ancestors = _ancestors(desk, ticket)
    history: list[Line] = []
    for one in [*reversed(ancestors), ticket]:
        history += desk.history(one.id)
    return Work(
        earlier=_earlier(desk, ticket),
        agent=agent,
        role=spec.role if spec else "",
        ticket=ticket,
        token=ticket.token,
        history=history,
        packet=ticket.packet,
        steps=ticket.steps,
        answers=ticket.answers,
        ancestors=ancestors,
        team_can=team.capabilities,
        colleagues=colleagues_of(team, agent),
        deadline=run_deadline(desk, ticket, team),
        trace_id=ticket.trace_id,
    )


def colleagues_of(team: Team, agent: str) -> list[Colleague]:
    """The other agents of the team, in the file's order."""
    others = ((name, spec) for name, spec in team.agents.items() if name != agent)
    return [Colleague(name=name, role=spec.role, can=list(spec.can), human=spec.human) for name, spec in others]


def run_deadline(desk: Desk, ticket: Ticket, team: Team) -> float:
    """Until when the holder may renew its lease, unix seconds: counted from the assignment, which no move postpones."""
    limit = team.limits.run_deadline_s or desk.settings.run_deadline_s
    return (ticket.assigned_at or desk.clock.now()) + limit


def _earlier(desk: Desk, ticket: Ticket) -> list[Earlier]:
    """What the customer brought before (SD-10): the last few of this team, in short, none of this matter's own."""
    if not ticket.customer or not isinstance(desk.ledger, Ledger):
        return []
    own = [ticket.id, *ticket.lineage]
    return [_in_short(t) for t in earlier_tickets(desk.ledger, ticket.team, ticket.customer, MOST_EARLIER, but=own)]


def _in_short(ticket: Ticket) -> Earlier:
    """What was not said to the customer is no outcome: a reply somebody is to look at, or that was withdrawn."""
    result = (ticket.result if ticket.state in (State.RESOLVED, State.FAILED) else None) or {}
    said = next((str(result[k]) for k in ("summary", "reply", "error") if result.get(k)), ticket.reason)
    return Earlier(
        number=ticket.number, at=ticket.created_at, state=str(ticket.state), category=ticket.category,
        title=ticket.title[:SHORT], agent=ticket.assigned_to or "", outcome=said[:SHORT],
    )  # fmt: skip


def _ancestors(desk: Desk, ticket: Ticket) -> list[Ticket]:
    """Parent, grandparent, ... One that neither Redis nor SQL has is left out."""
    if not ticket.lineage:
        return []
    _, read = desk.store.read(ticket.lineage)
    found = []
    for ticket_id, there in zip(ticket.lineage, read, strict=True):
        try:
            found.append(there or desk.find(ticket_id))
        except NotFound:
            continue
    return found
