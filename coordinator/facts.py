"""Gather what the pure steps decide on: the agents as they are now, the tickets that could be given out, and what a
choice wants to know of each. A few round trips, whatever the number of tickets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from shiftlead.queues.desk import Desk
from shiftlead.queues.layout import counts_for_customer, digest_of
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Ticket

from .affinity import AffinityRule
from .assignment import Context
from .availability import AgentFacts
from .triage import rule_facts

__all__ = ["agent_facts", "candidates", "contexts"]

LOOK_AHEAD = 32  # tickets beyond the free slots that are looked at: some at the head may exclude whoever is free
JUST_S = 1.0  # between reading the loads and reading who has what
TOLD = 8  # of those nobody can take now, so many are looked at, to say whom they wait for


def agent_facts(
    desk: Desk, presence: Presence, now: float, *, idle: Mapping[str, float] | None = None
) -> dict[str, AgentFacts]:
    """Every agent of the team. `idle`: since when each has had nothing to do, where that is known."""
    team, keys = desk.team, desk.keys
    names = list(team.agents)
    pipe = desk.store.client.pipeline(transaction=False)
    for name in names:
        pipe.zcard(keys.assigned(name))
        pipe.zcard(keys.working(name))
        pipe.hvals(keys.heavy(name))
    pipe.hgetall(keys.run)
    pipe.hgetall(keys.meetings)
    *counts, run, meetings = pipe.execute()
    states = desk.store.agent_states(names)
    live = presence.live()
    facts = {}
    for i, (name, spec) in enumerate(team.agents.items()):
        state = states[name]
        off_until = None
        if spec.hours is not None and not spec.hours.is_open(now, team.days_off):
            off_until = spec.hours.next_open(now, team.days_off)
        meeting = json.loads(meetings.get(name, "{}"))
        facts[name] = AgentFacts(
            name=name,
            can=frozenset(spec.can),
            capacity=spec.capacity,
            load=counts[3 * i] + counts[3 * i + 1] + sum(map(int, counts[3 * i + 2])),
            present=spec.human or bool(live.get(name)),
            paused=state.paused,
            draining=state.draining,
            busy_until=state.busy_until,
            reason=state.reason,
            off_until=off_until,
            idle_since=(idle or {}).get(name, now),
            weights=spec.weights,
            stands_in_for=frozenset(spec.stands_in_for),
            run=int(run.get(name, 0)),
            events=tuple((e.name, e.ref, e.at) for e in state.events),
            meeting_until=meeting.get("until"),
            meeting=meeting.get("about", ""),
            problem=meeting.get("problem", ""),
        )
    return facts


def candidates(
    desk: Desk, agents: dict[str, AgentFacts], now: float, *, deeper: int = 1, skip: int = 0
) -> tuple[list[Ticket], bool]:
    """The heads of every ready set: as many as could be given out, and `deeper` times a few more.

    With `skip` also as many from that place on.

    True beside them: there are more behind one of the heads, and somebody who could take them has a free slot.
    """
    store, keys = desk.store, desk.keys
    groups = sorted(store.client.smembers(keys.groups))
    pipe = store.client.pipeline(transaction=False)
    wanted = []
    for lane_and_group in groups:
        there = able(lane_and_group, agents)
        free = sum(max(0, a.capacity - a.load) for a in there if not a.away(now, mine=True))
        # Nobody has a slot: only those are looked at that a stated time keeps waiting, for their story, and as many as
        # somebody may stand in for. The first due are the first that may be stood in for: nobody looks behind them.
        nobody = all(a.away(now) for a in there)
        count = free + LOOK_AHEAD * deeper if free else TOLD if there and nobody else 0
        if nobody and (spare := _spare(lane_and_group, agents, now)):
            count = max(count, spare + LOOK_AHEAD)
        wanted.append((count, free))
        if count:
            pipe.zrange(keys(f"ready:{lane_and_group}"), 0, count - 1)
            beyond = max(skip, count)
            pipe.zrange(keys(f"ready:{lane_and_group}"), beyond, beyond + (count if skip else 0) - 1)
    found = iter(pipe.execute())
    ids: list[str] = []
    more = False
    for count, free in wanted:
        head, behind = (next(found), next(found)) if count else ([], [])
        more |= bool(free) and len(behind if skip else head) == count
        ids += head + behind
    _, tickets = store.read(ids) if ids else (0, [])
    return [t for t in tickets if t is not None], more


def able(lane_and_group: str, agents: dict[str, AgentFacts]) -> list[AgentFacts]:
    """Who could take a ticket of this ready set, free or not."""
    group = lane_and_group.partition(":")[2]
    if group == "?":
        return []
    if group.startswith("@"):
        return [agents[group[1:]]] if group[1:] in agents else []
    needs = frozenset(group.split("+")) - {""}
    return [a for a in agents.values() if needs <= a.can]


def _spare(lane_and_group: str, agents: dict[str, AgentFacts], now: float) -> int:
    """Free slots of those who stand in for who could take a ticket of this ready set."""
    group = lane_and_group.partition(":")[2]
    if group == "?" or group.startswith("@"):
        return 0
    needs = frozenset(group.split("+")) - {""}
    helpers = [a for a in agents.values() if a.stands_in_for and not needs <= a.can]
    return sum(
        max(0, a.capacity - a.load) for a in helpers if needs <= a.can | a.stands_in_for and not a.away(now, mine=True)
    )


def contexts(desk: Desk, tickets: Sequence[Ticket], now: float) -> dict[str, Context]:
    """What a choice wants to know of each ticket: who has its customer's matter, who served him last, what goes by it.

    One round trip, for all customers together.
    """
    known: dict[str, Context] = {}
    customers = list({digest_of(t.customer) for t in tickets if counts_for_customer(t)})
    pipe = desk.store.client.pipeline(transaction=False)
    for customer in customers:
        pipe.hgetall(desk.keys.customer(customer))
        pipe.get(desk.keys.served(customer))
    found = iter(pipe.execute())
    cards = {customer: (next(found), next(found)) for customer in customers}
    for ticket in tickets:
        conversation, last = None, None
        if counts_for_customer(ticket):
            conversation, last = _talk(ticket, *cards[digest_of(ticket.customer)], now)
        affinity = _affinity(desk, ticket, now)
        if conversation or last or affinity:
            known[ticket.id] = Context(conversation, last, affinity)
    return known


def _talk(
    ticket: Ticket, cards: Mapping[str, str], served: str | None, now: float
) -> tuple[str | None, tuple[str, float] | None]:
    """Who has another open ticket of the customer about the same matter, and who closed one last."""
    last = None
    if served:
        agent, _, at = served.partition("|")
        last = (agent, float(at))
    held: list[tuple[str, str]] = []
    for ticket_id, card in cards.items():
        if ticket_id != ticket.id:
            _, agent, group = card.split("|", 2)
            if group == ticket.group:
                held.append((ticket_id, agent))
    if not held and last is not None and last[1] > now - JUST_S:
        held.append(("", last[0]))  # answered while we looked: who counts as full is free already
    if any(agent == ticket.prefers for _, agent in held):
        return ticket.prefers, last
    return (min(held)[1] if held else None), last  # ids are uuid7: the oldest conversation counts


def _affinity(desk: Desk, ticket: Ticket, now: float) -> tuple[AffinityRule, ...]:
    rules = desk.team.affinity
    if not rules:
        return ()
    facts = rule_facts(ticket, now=now)
    return tuple(
        AffinityRule(rule.event, rule.within_s)
        for rule in rules
        if rule.when is None or rule.when.evaluate(facts).value
    )
