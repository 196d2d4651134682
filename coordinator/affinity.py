"""Who has just done something, and whether a ticket is about it: the one who deployed watches the deployment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shiftlead.queues.ticket import Ticket

from .availability import AgentFacts

__all__ = ["AffinityRule", "Event", "Recent"]

WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class AffinityRule:
    """A rule of the team file whose `when` is true for the ticket: who did `event` in the last `within_s` seconds."""

    event: str
    within_s: float


@dataclass(frozen=True, slots=True)
class Event:
    """`agent` did something at `at` (unix seconds); `ref` is the version or address it concerns, if any."""

    agent: str
    ref: str
    at: float


class Recent:
    """What agents did that one rule asks for, newest first."""

    def __init__(self, rule: AffinityRule, agents: Iterable[AgentFacts], now: float) -> None:
        found = [
            Event(agent.name, ref, at)
            for agent in agents
            for name, ref, at in agent.events
            if name == rule.event and now - at <= rule.within_s
        ]
        found.sort(key=lambda e: (-e.at, e.agent, e.ref))
        newest: dict[str, Event] = {}
        for event in found:
            newest.setdefault(event.agent, event)
        self.newest = list(newest.values())
        self._by_word: dict[str, list[Event]] = {}  # by the first word of ref: a ticket is compared with few of them
        for event in found:
            if word := WORD.search(event.ref.casefold()):
                self._by_word.setdefault(word[0], []).append(event)

    def for_ticket(self, ticket: Ticket) -> Iterator[tuple[Event, bool]]:
        """The newest event of each agent; first those the ticket is about (then True)."""
        seen: set[str] = set()
        if self._by_word:
            said = _said(ticket)
            near = [e for word in set(WORD.findall(said)) for e in self._by_word.get(word, ())]
            for event in sorted(near, key=lambda e: (-e.at, e.agent, e.ref)):
                if event.agent not in seen and _mentions(said, event.ref):
                    seen.add(event.agent)
                    yield event, True
        for event in self.newest:
            if event.agent not in seen:
                yield event, False


def _said(ticket: Ticket) -> str:
    """Where a ticket says what it is about: links, component, and every text in its context."""
    return "\n".join([*ticket.links, ticket.component, *_texts(ticket.context)]).casefold()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def _mentions(said: str, ref: str) -> bool:
    """Whether `ref` stands there as a whole: release 1.2 is not 11.2."""
    ref = ref.casefold()
    return ref in said and re.search(rf"(?<!\w){re.escape(ref)}(?!\w)", said) is not None
