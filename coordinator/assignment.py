"""Choose the agent for a ready ticket.

Facts in, a decision out: no clock, no Redis, no model. The cycle gathers the facts and asks the desk to make the move;
`order.py` says which ticket chooses first.

First rule that matches wins:
  1. the agent it is named for (handed to by name, escalated to): that one or nobody
  2. the agent that has another open ticket of the same customer about the same matter now: never two answers. The
     ticket waits while that agent is only full, and goes on when it is kept away for a stated reason. An urgent ticket
     waits for nobody
  3. the agent it prefers (whoever asked for what came back, whoever held it before), if free
  4. the free agent that has just done what the team file ties such tickets to ("has deployed"): first one whose event
     this ticket is about, then the newest
  5. who served this customer last, within 30 days, if free
  6. a free agent with every capability it needs: the best fit, then the least loaded, then the longest idle
  7. a free agent that stands in for those who can, while all of those are away (standing_in.py)
  8. nobody: the ticket stays ready, the reasons say who could and why not now, and its escalation timer runs
Rules 3 to 5 are wishes: when one cannot be met now, the next rule decides, and the reasons say so.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shiftlead.queues.ticket import TRIES, Ticket

from .affinity import AffinityRule, Recent
from .availability import AgentFacts
from .standing_in import absence_of

__all__ = ["AffinityRule", "AgentFacts", "Choice", "Context", "Roster", "choose", "in_order"]

REMEMBERED_S = 30 * 86_400.0  # how long "served this customer last" counts
NAMED_AT_MOST = 8  # agents whose obstacle is told one by one

_Place = tuple[int, float, float, str]  # other capabilities, load, idle since, name: the first is the best fit


@dataclass(frozen=True, slots=True)
class Context:
    """What a choice wants to know beside ticket and agents.

    `conversation`: who has another open ticket of this customer about the same matter now. `last`: who closed a ticket
    of this customer last, and when (unix seconds). `affinity`: the rules that match, in the order of the team file.
    """

    conversation: str | None = None
    last: tuple[str, float] | None = None
    affinity: Sequence[AffinityRule] = ()


NOTHING_KNOWN = Context()


@dataclass(frozen=True, slots=True)
class Choice:
    """`agent` is None when nobody can take it now; then `blockers` names who could, and `reasons` says why not."""

    agent: str | None
    reasons: list[str]
    blockers: list[str] = field(default_factory=list)


def choose(
    ticket: Ticket,
    agents: Mapping[str, AgentFacts],
    now: float,
    *,
    conversation: str | None = None,
    last: tuple[str, float] | None = None,
    affinity: Sequence[AffinityRule] = (),
) -> Choice:
    """The agent for `ticket`, or who stands in the way. The three keywords are explained at `Context`."""
    return Roster(agents, now).choose(ticket, Context(conversation, last, affinity))


def in_order(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Urgent tickets first, by due time; then the rest by due time; what came first breaks a tie."""
    return sorted(tickets, key=lambda t: (t.priority != "urgent", t.due, t.created_at, t.number, t.id))


class Roster:
    """The agents at one moment, and the slots that are given out of it. Works on copies of the facts.

    Slots are only taken here, never freed, so a heap for each set of needs finds the best agent for the next of many
    tickets without looking at every agent again.
    """

    def __init__(self, agents: Mapping[str, AgentFacts], now: float) -> None:
        self.now = now
        self.agents = {name: replace(agents[name]) for name in sorted(agents)}
        self._away = {name: agent.away(now) for name, agent in self.agents.items()}
        self._by_needs: dict[frozenset[str], list[AgentFacts]] = {}
        self._heaps: dict[frozenset[str], list[_Place]] = {}
        self._stand_ins: dict[frozenset[str], list[AgentFacts]] = {}
        self._obstacles: dict[tuple[frozenset[str], frozenset[str]], tuple[list[str], list[str]]] = {}
        self._spent: set[frozenset[str]] = set()  # needs for which nobody has slots to keep
        self._recent: dict[AffinityRule, Recent] = {}

    def choose(self, ticket: Ticket, context: Context = NOTHING_KNOWN) -> Choice:
        """The agent for `ticket` as slots are now, or who stands in the way."""
        notes: list[str] = []
        return self._find(ticket, context, notes) or self._nobody(ticket, notes)

    def find(self, ticket: Ticket, context: Context = NOTHING_KNOWN) -> Choice | None:
        """The same, only when there is an agent: who stands in the way is not worked out."""
        choice = self._find(ticket, context, [])
        return choice if choice and choice.agent else None

    def only(self, ticket: Ticket, context: Context = NOTHING_KNOWN) -> str | None:
        """The one agent that may take it, whoever else is free: it is named, or has the customer's matter."""
        who = ticket.named or context.conversation
        if not who or ticket.named:
            return who
        if self._bar(who, ticket) or (ticket.priority == "urgent" and self._full(who, ticket)):
            return None
        return who

    def may_take(self, name: str, ticket: Ticket, context: Context = NOTHING_KNOWN) -> bool:
        """Whether `name` may get it, its slots aside. Wishes (rules 3 to 5) forbid nothing."""
        only = self.only(ticket, context)
        if only is not None:
            return only == name and not self._bar(name, ticket, able=not ticket.named)
        return not self._bar(name, ticket)

    def give(self, ticket: Ticket, name: str) -> None:
        """The ticket takes its slots of `name`, and counts for its run of urgent ones."""
        agent = self.agents[name]
        agent.load += agent.weight(ticket.needs)
        agent.run = agent.run + 1 if ticket.priority == "urgent" else 0
        self._obstacles.clear()

    def keep(self, ticket: Ticket, name: str) -> None:
        """The free slots of `name` are kept for a ticket that takes more of them."""
        self.agents[name].keeps_for = ticket.number

    def saver(self, ticket: Ticket, context: Context = NOTHING_KNOWN) -> str | None:
        """The agent whose free slots should be kept for a ticket that fits nowhere: the fewest are missing there."""
        only, needs = self.only(ticket, context), frozenset(ticket.needs)
        if only is None and needs in self._spent:
            return None
        able = self._able(needs) if only is None else [a for a in self.agents.values() if a.name == only]
        open_ = [
            (agent.load + weight - agent.capacity, agent.name)
            for agent, weight in ((a, a.weight(needs)) for a in able)
            if 1 < weight <= agent.capacity and agent.load < agent.capacity and not agent.keeps_for
        ]
        if not open_ and only is None:
            self._spent.add(needs)
        parts = [(missing, name) for missing, name in open_ if missing > 0 and self.may_take(name, ticket, context)]
        return min(parts)[1] if parts else None

    def _find(self, ticket: Ticket, context: Context, notes: list[str]) -> Choice | None:
        """Rules 1 to 7. `notes` gets the wishes that could not be met."""
        if ticket.named:
            return self._named(ticket, ticket.named)
        who = context.conversation
        if who is not None:
            known = f"{who} has another ticket of this customer about the same"
            bar, full = self._bar(who, ticket), self._full(who, ticket)
            if not bar and not full:
                return self._chosen(who, notes, known)
            if not bar and ticket.priority != "urgent":
                return Choice(None, [f"{known}, and one of us answers: {full}"], [who])
            notes.append(f"{known}, but {bar or full}")
        if ticket.prefers and ticket.prefers != who:
            problem = self._bar(ticket.prefers, ticket) or self._full(ticket.prefers, ticket)
            if not problem:
                return self._chosen(ticket.prefers, notes, f"{ticket.prefers} knows the story and is free")
            notes.append(f"{ticket.prefers} knows the story, but {problem}")
        if context.affinity and (choice := self._by_event(ticket, context.affinity, notes)):
            return choice
        if context.last is not None and context.last[0] not in (who, ticket.prefers):
            name, closed_at = context.last
            there = self.agents.get(name)
            if self.now - closed_at <= REMEMBERED_S and there is not None and there.can.issuperset(ticket.needs):
                served = f"{name} served this customer last, {_ago(self.now - closed_at)} ago"
                problem = self._bar(name, ticket) or self._full(name, ticket)
                if not problem:
                    return self._chosen(name, notes, f"{served}, and is free")
                notes.append(f"{served}, but {problem}")
        return self._by_fit(ticket, notes) or self._by_standing_in(ticket, notes)

    def _named(self, ticket: Ticket, name: str) -> Choice:
        if name in ticket.excluded:
            return Choice(None, [f"it is named for {name}, who may not take it: a person must answer"])
        if name not in self.agents:
            return Choice(None, [f"it waits for {name}, who pulls no tickets: a person must answer"])
        obstacle = self._bar(name, ticket, able=False) or self._full(name, ticket)
        if obstacle:
            return Choice(None, [f"it is named for {name}: {obstacle}"], [name])
        return self._chosen(name, [], f"it is named for {name}")

    def _by_event(self, ticket: Ticket, rules: Sequence[AffinityRule], notes: list[str]) -> Choice | None:
        for rule in rules:
            if rule not in self._recent:
                self._recent[rule] = Recent(rule, self.agents.values(), self.now)
            told = False
            for event, about in self._recent[rule].for_ticket(ticket):
                agent = self.agents[event.agent]
                if told and agent.load >= agent.capacity:
                    continue
                if not agent.can.issuperset(ticket.needs) or agent.name in ticket.excluded:
                    continue
                what = f"{agent.name} has {rule.event}{f' {event.ref}' if event.ref else ''} "
                what += f"{_ago(self.now - event.at)} ago{', which this ticket is about' if about else ''}"
                problem = self._bar(agent.name, ticket) or self._full(agent.name, ticket)
                if not problem:
                    return self._chosen(agent.name, notes, what)
                if not told:
                    notes.append(f"{what}, but {problem}")
                    told = True
        return None

    def _by_fit(self, ticket: Ticket, notes: list[str]) -> Choice | None:
        needs = frozenset(ticket.needs)
        heap = self._heap(needs)
        seen: list[_Place] = []
        found: list[_Place] = []
        while heap and len(found) < 2:
            place = heapq.heappop(heap)
            agent = self.agents[place[3]]
            if agent.full(agent.weight(needs)):
                continue  # for good: nobody frees a slot here
            if (now_at := _place(agent, needs)) != place:
                heapq.heappush(heap, now_at)
                continue
            seen.append(place)
            if agent.name not in ticket.excluded and agent.name not in ticket.worn_out:
                found.append(place)
        for place in seen:
            heapq.heappush(heap, place)
        if not found:
            return None
        best = self.agents[found[0][3]]
        can = " + ".join(sorted(needs)) or "take anything"
        reasons = [f"{best.name} can {can} and is free ({best.load} of {best.capacity} slots taken)"]
        if len(found) > 1:
            reasons.append(f"{_better(found[0], found[1])} than {found[1][3]}, the next best")
        return self._chosen(best.name, notes, *reasons)

    def _by_standing_in(self, ticket: Ticket, notes: list[str]) -> Choice | None:
        needs = frozenset(ticket.needs)
        if not (there := self.stand_ins(needs)) or not (absence := absence_of(self._able(needs), ticket, self.now)):
            return None
        if not absence.long:
            notes.append(absence.words)
            return None
        kept = {a.name: self._bar(a.name, ticket, able=False) or self._full(a.name, ticket) for a in there}
        free = [a for a in there if not kept[a.name]]
        if not free:
            notes += list(kept.values())[:NAMED_AT_MOST]
            return None
        best = min(free, key=lambda a: _place(a, needs))
        return self._chosen(best.name, notes, f"{best.name} stands in: {absence.words}")

    def _nobody(self, ticket: Ticket, notes: list[str]) -> Choice:
        """Rule 8. The same for every ticket with the same needs while no slot is taken."""
        needs, excluded = frozenset(ticket.needs), frozenset(ticket.excluded) | ticket.worn_out
        found = self._obstacles.get((needs, excluded))
        if found is None or any(self.agents[name].keeps_for == ticket.number for name in found[1]):
            able = [a for a in self._able(needs) if a.name not in excluded]
            told = [self._bar(a.name, ticket) or self._full(a.name, ticket) for a in able[:NAMED_AT_MOST]]
            if len(able) > NAMED_AT_MOST:
                told.append(f"{len(able) - NAMED_AT_MOST} more who can are not free")
            if not able:
                others = "nobody else" if self._able(needs) else "nobody"
                told = [f"{others} on the team can {' + '.join(sorted(needs)) or 'take it'}"]
            found = told, [a.name for a in able]
            if not any(a.keeps_for == ticket.number for a in able):
                self._obstacles[needs, excluded] = found
        return Choice(None, [*notes, *found[0]], list(found[1]))

    def _chosen(self, name: str, notes: Sequence[str], *reasons: str) -> Choice:
        problem = self.agents[name].problem
        return Choice(name, [*notes, *reasons, *([f"{name}: {problem}"] if problem else [])])

    def _bar(self, name: str, ticket: Ticket, *, able: bool = True) -> str:
        """Why `name` may not take it, its slots aside: a stated reason."""
        agent = self.agents.get(name)
        if agent is None:
            return f"{name} pulls no tickets on this team"
        if name in ticket.excluded:
            return f"{name} may not take it"
        if name in ticket.worn_out and name != ticket.named:
            return f"{name} has failed it {TRIES} times"
        if able and not agent.can.issuperset(ticket.needs):
            return f"{name} cannot {' + '.join(sorted(set(ticket.needs) - agent.can))}"
        return agent.away(self.now, mine=True) if name in (ticket.named, ticket.prefers) else self._away[name]

    def _full(self, name: str, ticket: Ticket) -> str:
        agent = self.agents.get(name)
        return agent.full(agent.weight(ticket.needs), ticket.number) if agent else ""

    def _able(self, needs: frozenset[str]) -> list[AgentFacts]:
        able = self._by_needs.get(needs)
        if able is None:
            able = self._by_needs[needs] = [a for a in self.agents.values() if needs <= a.can]
        return able

    def stand_ins(self, needs: frozenset[str]) -> list[AgentFacts]:
        """Who can do some of these needs only while nobody else does."""
        there = self._stand_ins.get(needs)
        if there is None:
            helpers = [a for a in self.agents.values() if a.stands_in_for]
            there = self._stand_ins[needs] = [
                a for a in helpers if not needs <= a.can and needs <= a.can | a.stands_in_for
            ]
        return there

    def _heap(self, needs: frozenset[str]) -> list[_Place]:
        heap = self._heaps.get(needs)
        if heap is None:
            free = [a for a in self._able(needs) if not self._away[a.name] and a.load < a.capacity]
            heap = self._heaps[needs] = [_place(a, needs) for a in free]
            heapq.heapify(heap)
        return heap


def _place(agent: AgentFacts, needs: frozenset[str]) -> _Place:
    return len(agent.can) - len(needs), agent.load / agent.capacity, agent.idle_since, agent.name


def _better(first: _Place, second: _Place) -> str:
    words = ("a better fit", "less loaded", "longer idle", "earlier by name")
    return next(word for word, a, b in zip(words, first, second, strict=True) if a != b)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
