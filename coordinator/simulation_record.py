"""What happened in a dry run, taken from the ledger's own lines: each ticket's story in numbers, and the team's.

The stream is read as the coordinator's ledger writer would read it, so nothing is measured that was not written down.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shiftlead.config.team import Team
from shiftlead.queues.lifecycle import HELD, OPEN, State

from .simulated_agents import Model

__all__ = ["HOUR_S", "Dry", "Entry", "Escalation", "Record", "Story", "rule_of"]

HOUR_S = 3600.0
OPEN_STATES = frozenset(map(str, OPEN))
HELD_STATES = frozenset(map(str, HELD))
READY = str(State.READY)


@dataclass(slots=True)
class Story:
    """One ticket. Times are unix seconds; `ready_s` is the time it stood in a queue, waiting for somebody."""

    id: str
    number: str
    created_at: float
    name: str = ""
    type: str = ""
    title: str = ""
    priority: str = "normal"
    needs: tuple[str, ...] = ()
    group: str = ""
    rule: str = ""
    parent: str | None = None
    state: str = "new"
    since: float = 0.0
    due: float = 0.0
    started_at: float | None = None
    first_reply_at: float | None = None
    closed_at: float | None = None
    ready_s: float = 0.0
    working_s: float = 0.0
    waiting_s: float = 0.0
    agent: str | None = None
    first_agent: str = ""
    weight: int = 1
    ladder_at: float | None = None
    escalations: int = 0
    assignments: int = 0
    why: str = ""
    why_at: float = 0.0
    moves: list[tuple[float, str, str, str]] = field(default_factory=list)  # at, move, agent, reason

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    def wait_s(self, now: float) -> float:
        """Seconds until somebody began to work on it; until `now` where nobody has."""
        end = self.started_at if self.started_at is not None else self.closed_at
        return (now if end is None else end) - self.created_at


@dataclass(frozen=True, slots=True)
class Escalation:
    """One step of a ladder as it was taken: `due` is the moment it was armed for."""

    at: float
    due: float | None
    ticket: str
    priority: str
    step: int
    told: tuple[str, ...]
    to: str | None
    kind: str  # ladder, accept, expire


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the stream, read."""

    line: dict[str, Any]
    doc: dict[str, Any] | None
    text: str  # the document as it is stored; "" for a note


class Record:
    """Everything the report needs. Feed it the stream's lines in their order."""

    def __init__(self, team: Team, start: float) -> None:
        self.team, self.start = team, start
        self.stories: dict[str, Story] = {}
        self.open: dict[str, Story] = {}
        self.escalations: list[Escalation] = []
        self.refused: list[str] = []
        self.joined = 0
        self.sent = 0
        self.ready: Counter[str] = Counter()  # group -> tickets waiting for somebody
        self.states: Counter[str] = Counter()
        self.load: Counter[str] = Counter()  # agent -> slots taken
        self.load_s: defaultdict[tuple[str, int], float] = defaultdict(float)  # (agent, hour) -> slot seconds
        self.given: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # (rule, needs) -> agent
        self.queue: list[tuple[float, int]] = [(start, 0)]  # moment, tickets waiting for somebody
        self.longest: dict[str, tuple[int, float]] = {}  # group -> the most that waited, and when
        self.queue_s: defaultdict[str, float] = defaultdict(float)  # group -> ticket seconds in the queue
        self.over: list[str] = []  # moments an agent had more than its capacity
        self.lines = 0
        self.listeners: list[Callable[[Entry], None]] = []
        self._load_since: dict[str, float] = {}

    def take(self, fields: dict[str, str]) -> Entry:
        """The next entry of the stream."""
        line, text = json.loads(fields["m"]), fields.get("d") or ""
        entry = Entry(line, json.loads(text) if text else None, text)
        self.lines += 1
        if not line["ticket"] or line["ticket"].startswith("@"):
            return entry
        self._take(entry)
        for listener in self.listeners:
            listener(entry)
        return entry

    def end(self, now: float) -> None:
        """Count what is open until now."""
        for story in self.stories.values():
            if story.is_open:
                self._stayed(story, now)
                story.since = now
        for agent in list(self._load_since):
            self._loaded(agent, 0, now)

    def _take(self, entry: Entry) -> None:
        line, doc = entry.line, entry.doc
        at, move = float(line["at"]), line["move"]
        story = self.stories.get(line["ticket"])
        if story is None:
            story = self.stories[line["ticket"]] = Story(line["ticket"], line["number"], at, since=at)
            self.states["new"] += 1
        story.moves.append((at, move, line.get("agent") or "", line.get("reason") or ""))
        if doc is None:
            return
        if move == "escalate":
            self._escalated(story, line, at)
        before, after = story.state, str(doc["state"])
        was_group, was_agent, was_weight = story.group, story.agent, story.weight
        if before != after or move in ("reassign", "escalate"):
            self._stayed(story, at)
            story.since = at
        self._read(story, doc)
        if move == "triage" and not story.rule:
            story.rule = rule_of(line.get("reason") or "")
        if before != after:
            self.states[before] -= 1
            self.states[after] += 1
        if story.is_open:
            self.open[story.id] = story
        else:
            self.open.pop(story.id, None)
        self._queued(was_group if before == READY else None, story.group if after == READY else None, at)
        if before in HELD_STATES and was_agent and (after not in HELD_STATES or story.agent != was_agent):
            self._loaded(was_agent, -was_weight, at)
        if after in HELD_STATES and story.agent and (before not in HELD_STATES or story.agent != was_agent):
            self._loaded(story.agent, story.weight, at)
        if move == "assign" and story.agent:
            story.assignments += 1
            story.first_agent = story.first_agent or story.agent
            if story.assignments == 1:
                self.given[story.rule, "+".join(story.needs)][story.agent] += 1
        elif move == "claim" and story.started_at is None:
            story.started_at = at

    def _read(self, story: Story, doc: dict[str, Any]) -> None:
        story.state, story.type, story.priority = str(doc["state"]), doc["type"], doc["priority"]
        story.title, story.parent, story.due = doc["title"], doc["parent"], doc["due"]
        story.needs = tuple(sorted(doc["needs"]))
        story.group = f"@{doc['named']}" if doc["named"] else "+".join(story.needs)
        story.agent, story.weight = doc["assigned_to"], int(doc.get("weight") or 1)
        story.ladder_at, story.closed_at = doc["ladder_at"], doc["closed_at"]
        story.escalations, story.first_reply_at = int(doc.get("escalations") or 0), doc.get("first_reply_at")

    def _escalated(self, story: Story, line: dict[str, Any], at: float) -> None:
        kind = line["actor"].partition(":")[2]
        detail = line.get("detail") or {}
        due = story.ladder_at if kind == "ladder" else None
        step = int(detail.get("step") or 0)
        self.escalations.append(
            Escalation(
                at, due, story.number, story.priority, step, tuple(detail.get("told") or ()),
                detail.get("reassigned_to"), kind,
            )
        )  # fmt: skip

    def _stayed(self, story: Story, now: float) -> None:
        seconds = max(0.0, now - story.since)
        if story.state == READY:
            story.ready_s += seconds
            self.queue_s[story.group] += seconds
        elif story.state == "working":
            story.working_s += seconds
        elif story.state in ("waiting", "scheduled"):
            story.waiting_s += seconds

    def _queued(self, left: str | None, entered: str | None, at: float) -> None:
        if left == entered:
            return
        if left is not None:
            self.ready[left] -= 1
        if entered is not None:
            self.ready[entered] += 1
            if self.ready[entered] > self.longest.get(entered, (0, 0.0))[0]:
                self.longest[entered] = (self.ready[entered], at)
        total = self.queue[-1][1] + (entered is not None) - (left is not None)
        if self.queue[-1][0] == at:
            self.queue[-1] = (at, total)
        else:
            self.queue.append((at, total))

    def _loaded(self, agent: str, slots: int, at: float) -> None:
        """Add the slot seconds since the last change, hour by hour."""
        since, load = self._load_since.get(agent, at), self.load[agent]
        while load and since < at:
            hour = int(since // HOUR_S)
            until = min(at, (hour + 1) * HOUR_S)
            self.load_s[agent, hour] += load * (until - since)
            since = until
        self._load_since[agent] = at
        self.load[agent] += slots
        spec = self.team.agents.get(agent)
        if spec is not None and self.load[agent] > spec.capacity:
            self.over.append(f"{agent} had {self.load[agent]} of {spec.capacity} slots taken at {at:.0f}")


@dataclass
class Dry:
    """The result: the record, when it began and ended, what the engine complained of."""

    team: Team
    record: Record
    start: float
    end: float
    instants: int = 0
    cycles: int = 0
    complaints: Counter[str] = field(default_factory=Counter)
    model: Model = field(default_factory=Model)
    absent: tuple[str, ...] = ()
    seed: int = 0


RULES = (
    (re.compile(r"catch-all"), "catch-all"),
    (re.compile(r"\b(route \d+): "), ""),
    (re.compile(r"examples: sounds like"), "examples"),
    (re.compile(r"asked for: "), "asked for"),
    (re.compile(r"^type: |; type: "), "type"),
    (re.compile(r"gate"), "gate"),
)


def rule_of(reason: str) -> str:
    """Which rule of triage sent it there, from its own words: route 3, examples, type, catch-all."""
    for pattern, name in RULES:
        if found := pattern.search(reason):
            return name or found[1]
    return "nobody's work" if reason else "-"
