"""Gather what the pure steps decide on: the agents as they are now, and the tickets that could be given out."""

from __future__ import annotations

from shiftlead.queues.desk import Desk
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Ticket

from .assignment import AgentFacts

__all__ = ["agent_facts", "candidates"]

LOOK_AHEAD = 16  # tickets beyond the free slots that are looked at: some at the head may exclude whoever is free


def agent_facts(desk: Desk, presence: Presence, now: float) -> dict[str, AgentFacts]:
    """Every agent of the team. Two round trips, whatever the number of tickets."""
    team, keys = desk.team, desk.keys
    names = list(team.agents)
    pipe = desk.store.client.pipeline(transaction=False)
    for name in names:
        pipe.zcard(keys.assigned(name))
        pipe.zcard(keys.working(name))
    counts = pipe.execute()
    states = desk.store.agent_states(names)
    live = presence.live()
    facts = {}
    for i, (name, spec) in enumerate(team.agents.items()):
        state = states[name]
        off_until = None
        if spec.hours is not None and not spec.hours.is_open(now):
            off_until = spec.hours.next_open(now)
        facts[name] = AgentFacts(
            name=name,
            can=frozenset(spec.can),
            capacity=spec.capacity,
            load=counts[2 * i] + counts[2 * i + 1],
            present=spec.human or bool(live.get(name)),
            paused=state.paused,
            busy_until=state.busy_until,
            reason=state.reason,
            off_until=off_until,
        )
    return facts


def candidates(desk: Desk, agents: dict[str, AgentFacts], now: float) -> list[Ticket]:
    """The heads of every ready set: as many as could be given out, and a few more, however long the queue."""
    store, keys = desk.store, desk.keys
    groups = sorted(store.client.smembers(keys.groups))
    pipe = store.client.pipeline(transaction=False)
    for lane_and_group in groups:
        free = sum(a.capacity - a.load for a in able(lane_and_group, agents) if not a.obstacle(now))
        pipe.zrange(keys(f"ready:{lane_and_group}"), 0, free + LOOK_AHEAD - 1)
    ids = [ticket_id for found in pipe.execute() for ticket_id in found]
    _, tickets = store.read(ids) if ids else (0, [])
    return [t for t in tickets if t is not None]


def able(lane_and_group: str, agents: dict[str, AgentFacts]) -> list[AgentFacts]:
    """Who could take a ticket of this ready set, free or not."""
    group = lane_and_group.partition(":")[2]
    if group == "?":
        return []
    if group.startswith("@"):
        return [agents[group[1:]]] if group[1:] in agents else []
    needs = frozenset(group.split("+")) - {""}
    return [a for a in agents.values() if needs <= a.can]
