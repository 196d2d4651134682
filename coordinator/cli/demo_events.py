"""What a demonstration shows, read from the ledger alone: events by name, and each agent's record.

Nothing here knows what the demonstration did. An event counts only where the lines of the ledger say that it happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from shiftlead.agents.cues import cut
from shiftlead.config.team import Team
from shiftlead.queues.ticket import Line

from .demo_more_events import MORE

__all__ = ["FIVE", "Event", "Record", "events_shown", "records"]

REPORTED = frozenset({"advance", "submit", "resolve", "send_back", "hand_off", "ask", "block", "defer", "fail"})
DONE = frozenset({"resolve", "submit", "fail"})
PASSED_ON = frozenset({"hand_off", "ask", "advance"})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that should be seen: whether it was, with which ticket, and in which words."""

    what: str
    number: str
    detail: str

    @property
    def ok(self) -> bool:
        return bool(self.number)


@dataclass(frozen=True, slots=True)
class Record:
    """What one agent did. `median_s` seconds from assignment to report; None without a report."""

    agent: str
    done: int
    handed_on: int
    median_s: float | None


FIVE = ("handed_over", "held", "escalated", "survived", "closed")


def events_shown(team: Team, lines: Sequence[Line], shows: Sequence[str] = FIVE, *, killed: str = "") -> list[Event]:
    """The events of those names, found or not. `lines`: the team's whole ledger in its order.

    `killed` is the ticket whose worker was killed, where one knows: it is named before others that were given back,
    if the ledger says the same of it.
    """
    stories = _stories(lines)
    ours: dict[str, tuple[str, Callable[[], Iterable[tuple[str, str]]]]] = {
        "handed_over": (
            "handed from support to engineering, back, and resolved by support",
            lambda: _handed_over(team, stories, lines),
        ),
        "held": ("held while the decision-maker was busy, and served afterwards", lambda: _held(team, stories)),
        "escalated": ("escalated because it took too long", lambda: _escalated(stories)),
        "survived": (
            "given back by a killed worker and finished by another process",
            lambda: sorted(_survived(stories), key=lambda found: found[0] != killed),
        ),
        "closed": (
            "nobody can do it: escalated, and closed with the reason by the decision-maker",
            lambda: _closed(team, stories),
        ),
    }
    shown = []
    for name in shows:
        if name in ours:
            what, find = ours[name]
            found = iter(find())
        else:
            what, finder = MORE[name]
            found = finder(stories)
        shown.append(Event(what, *next(found, ("", "not in the ledger"))))
    return shown


def records(team: Team, lines: Sequence[Line]) -> list[Record]:
    """Each agent's record, in the team's order."""
    done, passed = dict.fromkeys(team.agents, 0), dict.fromkeys(team.agents, 0)
    spans: dict[str, list[float]] = {name: [] for name in team.agents}
    for story in _stories(lines).values():
        since: dict[str, float] = {}
        for line in story:
            who = line.actor.partition(":")[2]
            if line.move == "assign" and line.agent:
                since[line.agent] = line.at
            if who not in done or line.move not in REPORTED:
                continue
            done[who] += line.move in DONE
            passed[who] += line.move in PASSED_ON
            if who in since:
                spans[who].append(line.at - since.pop(who))
    return [Record(a, done[a], passed[a], median(spans[a]) if spans[a] else None) for a in team.agents]


Stories = dict[str, list[Line]]
Found = Iterator[tuple[str, str]]


def _stories(lines: Sequence[Line]) -> Stories:
    stories: Stories = {}
    for line in lines:
        if line.ticket:
            stories.setdefault(line.ticket, []).append(line)
    return stories


def _handed_over(team: Team, stories: Stories, lines: Sequence[Line]) -> Found:
    # The ledger's order counts, not the times: two processes read their clocks a few milliseconds apart.
    place = {id(line): i for i, line in enumerate(lines)}
    by_number = {story[0].number: story for story in stories.values() if story[0].number}
    for story in stories.values():
        for i, line in enumerate(story):
            if line.move != "hand_off" or _role(team, line.actor) != "support":
                continue
            back = next((x for x in story[i:] if x.move == "resume"), None)
            end = next((x for x in story[i:] if x.move == "resolve" and _role(team, x.actor) == "support"), None)
            for number in line.detail.get("children", []):
                child = by_number.get(number, [])
                help_ = next((x for x in child if x.move == "resolve" and _role(team, x.actor) == "engineering"), None)
                if help_ and back and end and place[id(help_)] < place[id(back)] < place[id(end)]:
                    asked, helped = _name(line.actor), _name(help_.actor)
                    yield line.number, f"{asked} asked, {helped} answered as {number}, {_name(end.actor)} replied"


def _held(team: Team, stories: Stories) -> Found:
    for agent in team.decision_makers():
        for hold in stories.get(f"@{agent}", []):
            until = hold.detail.get("busy_until")
            if not isinstance(until, int | float) or until <= hold.at:
                continue
            given = [(x, story) for story in stories.values() for x in story if x.move == "assign" and x.agent == agent]
            if any(hold.at < line.at < until for line, _ in given):
                continue  # the hold did not hold
            for line, story in sorted(given, key=lambda pair: pair[0].at):
                before = [x for x in story if x.seq < line.seq]
                ready = next((x.at for x in reversed(before) if x.after == "ready" and x.before != "ready"), None)
                told = any(x.move == "held" for x in before)
                if told and ready is not None and hold.at <= ready < until <= line.at:
                    waited = f"waited {line.at - ready:.1f} s"
                    yield (
                        line.number,
                        f"{agent} was busy until {_clock(until)} ({hold.reason}); it {waited}, then got it",
                    )


def _escalated(stories: Stories) -> Found:
    for story in stories.values():
        for line in story:
            if line.move == "escalate":
                told = ", ".join(line.detail.get("told") or []) or line.detail.get("reassigned_to") or "the next"
                yield line.number, f"{told} heard of it {line.at - story[0].at:.0f} s after it came in"


def _survived(stories: Stories) -> Found:
    for story in stories.values():
        claims = [line for line in story if line.move == "claim"]
        finished = story[-1].after == "resolved"
        for first in claims:
            dead = str(first.detail.get("worker"))
            back = next(
                (x for x in story if x.seq > first.seq and x.move == "give_back" and not x.actor.startswith("agent:")),
                None,
            )
            if back is None or not finished:
                continue
            between = [
                x for x in story if first.seq < x.seq < back.seq and x.move != "escalate" and x.before != x.after
            ]
            again = next((c for c in claims if c.seq > back.seq and c.detail.get("worker") != dead), None)
            if again is not None and not between:
                other = again.detail.get("worker")
                yield first.number, f"process {_pid(dead)} died, process {_pid(str(other))} finished it"


def _closed(team: Team, stories: Stories) -> Found:
    deciders = team.decision_makers()
    for story in stories.values():
        needs = next((x.detail.get("needs") or [] for x in story if x.move == "triage"), [])
        if not needs or set(needs) <= set(team.capabilities):
            continue
        escalated = any(x.move == "escalate" for x in story)
        end = story[-1]
        if escalated and end.move == "fail" and _name(end.actor) in deciders and end.reason:
            yield end.number, f"{_name(end.actor)}: {cut(end.reason, 160)}"


def _role(team: Team, actor: str) -> str:
    spec = team.agents.get(_name(actor))
    return spec.role if spec else ""


def _name(actor: str) -> str:
    return actor.partition(":")[2]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def _pid(worker: str) -> str:
    """The process id in a worker's name, `node:pid:start`."""
    parts = worker.split(":")
    return parts[-2] if len(parts) >= 3 else worker
