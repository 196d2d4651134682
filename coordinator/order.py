"""The order of a cycle: which ready ticket chooses its agent first, and when routine goes before urgent.

Urgent tickets come first, by due time, then the others, by due time. Of five assignments of an agent at most four are
urgent ones while others wait: after four urgent ones in a row it gets the oldest-due other ticket it may take, wished
for or not (a wish is rule 3 to 5 of `assignment.py`). When there is none, urgent goes on.

The bound. Take a ticket of one slot that is not urgent, and let it be the k-th in due order of the others that wait
for the agents who may take it; later arrivals are due later. However many urgent tickets keep coming, none of these
agents is given 5k tickets without this one being among them; all n of them together are given at most 5k + 4(n - 1).
May take it: has every capability, is not excluded, and the ticket waits for no other agent (by name, or because that
one has the customer's matter).

An urgent ticket is passed by another one only at an agent that has just had four urgent ones in a row.

A ticket of more slots than are free anywhere has one agent's free slots kept for it; else lighter ones would pass it
for ever. Two ready tickets of one customer about one matter go to one agent: the second finds the first one's choice.

Pure, and the same for the same facts in whatever order they come. Cost: each ticket and each change of an agent's load
once through a heap; an agent that is owed a turn walks over the others once in a cycle.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shiftlead.queues.layout import counts_for_customer
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Ticket

from .assignment import NOTHING_KNOWN, Choice, Context, Roster, in_order
from .availability import AgentFacts

__all__ = ["Plan", "URGENT_IN_A_ROW", "plan"]

URGENT_IN_A_ROW = 4  # then one of the others


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the ready tickets, in the order it should be done.

    `agents` is what is left of them afterwards: `load`, `run`, and `keeps_for`.
    """

    assignments: list[tuple[Ticket, Choice]]
    unassigned: list[tuple[Ticket, Choice]]
    agents: dict[str, AgentFacts]

    def choice_for(self, ticket_id: str) -> Choice | None:
        """What was decided about one of the tickets."""
        return next((c for t, c in [*self.assignments, *self.unassigned] if t.id == ticket_id), None)


def plan(
    tickets: Iterable[Ticket],
    agents: Mapping[str, AgentFacts],
    now: float,
    *,
    context: Mapping[str, Context] | None = None,
) -> Plan:
    """Who gets which ready ticket now. `context`: ticket id -> what its choice wants to know. Changes no argument."""
    return _Planner(tickets, agents, now, context or {}).made()


class _Planner:
    def __init__(
        self,
        tickets: Iterable[Ticket],
        agents: Mapping[str, AgentFacts],
        now: float,
        context: Mapping[str, Context],
    ) -> None:
        self.roster = Roster(agents, now)
        self.context = context
        ready = in_order(t for t in tickets if t.state is State.READY)
        self.urgent = [t for t in ready if t.priority == "urgent"]
        self.others = [t for t in ready if t.priority != "urgent"]
        self.turns = _Turns(self.others, self.roster)
        self.talks: dict[tuple[str, str], str] = {}  # (customer, matter) -> who got a ticket of it in this plan
        self.given: list[tuple[Ticket, Choice]] = []
        self.waits: list[tuple[Ticket, Context]] = []
        self.done: set[str] = set()  # ids that were given out
        self.kept: set[str] = set()  # ids that have an agent's free slots kept for them

    def made(self) -> Plan:
        for ticket in self.urgent:
            self._place(ticket)
        for ticket in self.others:
            if ticket.id not in self.done:
                self._place(ticket)
        # What stands in the way is told when all is given out, as it is then.
        unassigned = [(ticket, self.roster.choose(ticket, known)) for ticket, known in self.waits]
        return Plan(self.given, unassigned, self.roster.agents)

    def _place(self, ticket: Ticket) -> None:
        while True:
            known = self._known(ticket)
            choice = self.roster.find(ticket, known)
            if choice is None or choice.agent is None:
                self._wait(ticket, known)
                return
            # An agent that owes the others a turn takes one of them, and the urgent ticket looks again.
            if ticket.priority != "urgent" or not self._turn_of_another(choice.agent):
                self._give(ticket, choice)
                return

    def _turn_of_another(self, name: str) -> bool:
        agent = self.roster.agents[name]
        if agent.run < URGENT_IN_A_ROW:
            return False
        ticket = self.turns.oldest(name, lambda t: self._may_take(name, t))
        if ticket is None:
            return False
        if agent.full(agent.weight(ticket.needs), ticket.number):
            self._keep(ticket, name)
            return True
        reason = (
            f"{name} has had {agent.run} urgent tickets in a row: it is the turn of the others, and this is the "
            f"first due ({agent.load} of {agent.capacity} slots taken)"
        )
        self._give(ticket, Choice(name, [f"it is named for {name}", reason] if ticket.named else [reason]))
        return True

    def _may_take(self, name: str, ticket: Ticket) -> bool:
        if ticket.id in self.done or ticket.id in self.kept:
            return False
        return self.roster.may_take(name, ticket, self._known(ticket))

    def _give(self, ticket: Ticket, choice: Choice) -> None:
        assert choice.agent is not None
        self.roster.give(ticket, choice.agent)
        self.given.append((ticket, choice))
        self.done.add(ticket.id)
        if matter := _matter(ticket):
            self.talks[matter] = choice.agent

    def _wait(self, ticket: Ticket, known: Context) -> None:
        self.waits.append((ticket, known))
        if ticket.id not in self.kept and (name := self.roster.saver(ticket, known)) is not None:
            self._keep(ticket, name)

    def _keep(self, ticket: Ticket, name: str) -> None:
        self.roster.keep(ticket, name)
        self.kept.add(ticket.id)

    def _known(self, ticket: Ticket) -> Context:
        known = self.context.get(ticket.id, NOTHING_KNOWN)
        matter = _matter(ticket)
        if matter is None or (who := self.talks.get(matter)) is None or who == known.conversation:
            return known
        return replace(known, conversation=who)


class _Turns:
    """The oldest-due other ticket for an agent: one list for each name and set of needs, walked over once by each."""

    def __init__(self, others: Sequence[Ticket], roster: Roster) -> None:
        self.roster = roster
        self.named: dict[str, list[tuple[int, Ticket]]] = {}
        self.needing: dict[frozenset[str], list[tuple[int, Ticket]]] = {}
        for rank, ticket in enumerate(others):
            if ticket.named:
                self.named.setdefault(ticket.named, []).append((rank, ticket))
            else:
                self.needing.setdefault(frozenset(ticket.needs), []).append((rank, ticket))
        # For each agent: (rank of the head, where it stands in its list, which list), lists by their number.
        self._heads: dict[str, list[tuple[int, int, int]]] = {}
        self._lists: dict[str, list[list[tuple[int, Ticket]]]] = {}

    def oldest(self, name: str, may_take: Callable[[Ticket], bool]) -> Ticket | None:
        """The first in due order that `name` may take. What it may not take is not looked at again."""
        if name not in self._heads:
            self._begin(name)
        heads, lists = self._heads[name], self._lists[name]
        while heads:
            _, at, which = heads[0]
            ticket = lists[which][at][1]
            if may_take(ticket):
                return ticket
            if at + 1 < len(lists[which]):
                heapq.heapreplace(heads, (lists[which][at + 1][0], at + 1, which))
            else:
                heapq.heappop(heads)
        return None

    def _begin(self, name: str) -> None:
        can = self.roster.agents[name].can
        lists = [self.named[name]] if name in self.named else []
        lists += [found for needs, found in self.needing.items() if needs <= can]
        self._lists[name] = lists
        self._heads[name] = [(found[0][0], 0, which) for which, found in enumerate(lists)]
        heapq.heapify(self._heads[name])


def _matter(ticket: Ticket) -> tuple[str, str] | None:
    """Which tickets have to go to one agent: of one customer, with the same needs."""
    return (ticket.customer.strip().casefold(), ticket.group) if counts_for_customer(ticket) else None
