"""The figures of a dry run: waiting, routes, escalations, load, queue, the worst tickets, and what would help."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from .simulation_record import HOUR_S, Dry, Story

__all__ = ["PRIORITIES", "figures", "load_of_the_week", "queue_curve", "worst"]

PRIORITIES = ("urgent", "high", "normal", "low")
WORST = 10
WEEK_H = 168


def figures(dry: Dry) -> dict[str, Any]:
    """Everything the report shows, as plain data. Times are seconds, shares are 0 to 1."""
    record, mine = dry.record, [s for s in dry.record.stories.values() if s.parent is None]
    open_ = [s for s in mine if s.is_open]
    return {
        "team": dry.team.team,
        "from": dry.start,
        "to": dry.end,
        "seed": dry.seed,
        "absent": list(dry.absent),
        "tickets": {
            "sent": record.sent, "accepted": len(mine), "joined": record.joined, "refused": len(record.refused),
            "handed_on": len(record.stories) - len(mine),
            **Counter(s.state for s in mine if not s.is_open),
            "open": len(open_), "waiting_at_end": sum(s.started_at is None for s in open_),
        },
        "refused": record.refused[:20],
        "waiting": {p: _waits([s for s in mine if s.priority == p], dry, p) for p in PRIORITIES},
        "routes": _routes(mine, dry),
        "escalations": _escalations(dry),
        "agents": {name: _agent(name, dry) for name in dry.team.agents},
        "queue": {"most": max(n for _, n in record.queue), "curve": queue_curve(dry, 88)},
        "bottleneck": _bottleneck(dry),
        "worst": [_told(s, dry) for s in worst(dry)],
        "complaints": dict(dry.complaints.most_common(20)),
    }  # fmt: skip


def worst(dry: Dry, count: int = WORST) -> list[Story]:
    """The tickets that waited longest beyond what their priority promises."""
    mine = [s for s in dry.record.stories.values() if s.parent is None and s.state != "cancelled"]

    def late(story: Story) -> float:
        return story.wait_s(dry.end) - dry.team.target_s(story.priority)

    return sorted(mine, key=lambda s: (-late(s), s.number))[:count]


def load_of_the_week(dry: Dry) -> dict[str, list[float | None]]:
    """For each agent the share of its slots that was taken in each hour of the week (Monday 00:00 UTC first).

    None: off duty, and nothing in hand. Weeks lie on top of each other, on average.
    """
    first, last = int(dry.start // HOUR_S), max(int(dry.start // HOUR_S), math.ceil(dry.end / HOUR_S) - 1)
    rows: dict[str, list[float | None]] = {}
    for name, spec in dry.team.agents.items():
        taken: defaultdict[int, list[float]] = defaultdict(list)
        for hour in range(first, last + 1):
            share = dry.record.load_s.get((name, hour), 0.0) / (HOUR_S * spec.capacity)
            middle = (hour + 0.5) * HOUR_S
            on = spec.hours is None or spec.hours.is_open(middle, dry.team.days_off)
            if on or share > 0:
                taken[(hour + 72) % WEEK_H].append(min(1.0, share))  # the first of January 1970 was a Thursday
        rows[name] = [sum(taken[h]) / len(taken[h]) if h in taken else None for h in range(WEEK_H)]
    return rows


def queue_curve(dry: Dry, columns: int) -> list[int]:
    """The most that waited in each of so many equal parts of the time."""
    changes, span = dry.record.queue, max(1.0, dry.end - dry.start)
    most, now, at = [0] * columns, 0, 0
    for column in range(columns):
        most[column] = now
        until = dry.start + span * (column + 1) / columns
        while at < len(changes) and changes[at][0] < until:
            now = changes[at][1]
            most[column] = max(most[column], now)
            at += 1
    return most


def _waits(stories: Sequence[Story], dry: Dry, priority: str) -> dict[str, Any]:
    counted = [s for s in stories if s.state != "cancelled"]
    waits = sorted(s.wait_s(dry.end) for s in counted)
    answers = sorted((s.first_reply_at or s.closed_at or dry.end) - s.created_at for s in counted)
    target = dry.team.target_s(priority)
    return {
        "tickets": len(counted), "target_s": target, "p50_s": _part(waits, 0.5), "p95_s": _part(waits, 0.95),
        "max_s": waits[-1] if waits else 0.0, "begun_in_time": _share(waits, target),
        "answer_p50_s": _part(answers, 0.5), "answer_p95_s": _part(answers, 0.95),
        "answered_in_time": _share(answers, target),
    }  # fmt: skip


def _routes(mine: Sequence[Story], dry: Dry) -> list[dict[str, Any]]:
    found: defaultdict[tuple[str, str], list[Story]] = defaultdict(list)
    for story in mine:
        found[story.rule or "-", "+".join(story.needs) or "-"].append(story)
    rows = []
    for (rule, needs), stories in found.items():
        waits = sorted(s.wait_s(dry.end) for s in stories if s.state != "cancelled")
        to = Counter(s.first_agent for s in stories if s.first_agent)
        rows.append(
            {
                "rule": rule, "needs": needs, "tickets": len(stories), "share": len(stories) / len(mine),
                "p95_s": _part(waits, 0.95), "to": dict(to.most_common()),
                "never_given": sum(not s.first_agent for s in stories),
            }
        )  # fmt: skip
    return sorted(rows, key=lambda r: (-int(r["tickets"]), str(r["rule"])))


def _escalations(dry: Dry) -> list[dict[str, Any]]:
    found: Counter[tuple[str, int, str, str]] = Counter()
    for e in dry.record.escalations:
        did = "given to" if e.to else "told"
        for target in [e.to] if e.to else e.told or ("(widened)",):
            found[e.kind, e.step if e.kind == "ladder" else 0, did, str(target)] += 1
    return [
        {"kind": kind, "step": step, "did": did, "target": target, "times": times}
        for (kind, step, did, target), times in sorted(found.items())
    ]


def _agent(name: str, dry: Dry) -> dict[str, Any]:
    spec, record = dry.team.agents[name], dry.record
    taken = sum(s for (who, _), s in record.load_s.items() if who == name)
    open_s = dry.end - dry.start
    if spec.hours is not None:
        open_s = spec.hours.open_seconds(dry.start, dry.end, dry.team.days_off)
    slots = open_s * spec.capacity
    # Whoever goes home with work in hand carries it on the next day: the slot is taken, but not in the hours.
    within = sum(
        s for (who, hour), s in record.load_s.items() if who == name
        and (spec.hours is None or spec.hours.is_open((hour + 0.5) * HOUR_S, dry.team.days_off))
    )  # fmt: skip
    return {
        "capacity": spec.capacity, "open_s": open_s, "taken_slot_s": taken,
        "tickets": sum(c[name] for c in record.given.values()), "idle": max(0.0, 1 - within / slots) if slots else 0.0,
    }  # fmt: skip


def _bottleneck(dry: Dry) -> dict[str, Any] | None:
    """The queue that was longest, and what one more slot there would have to take."""
    record = dry.record
    if not record.queue_s:
        return None
    group = max(record.queue_s, key=lambda g: (record.queue_s[g], g))
    most, at = record.longest.get(group, (0, dry.start))
    able = [group[1:]] if group.startswith("@") else dry.team.agents_for([n for n in group.split("+") if n])
    return {
        "needs": group, "most": most, "most_at": at, "average": record.queue_s[group] / max(1.0, dry.end - dry.start),
        "who_can": able, "idle": {name: _agent(name, dry)["idle"] for name in able if name in dry.team.agents},
        "at_the_most": [n for n in able if n in dry.team.agents and _works(n, at, dry)],
    }  # fmt: skip


def _works(name: str, at: float, dry: Dry) -> bool:
    hours = dry.team.agents[name].hours
    return hours is None or hours.is_open(at, dry.team.days_off)


def _told(story: Story, dry: Dry) -> dict[str, Any]:
    return {
        "number": story.number, "name": story.name, "title": story.title, "priority": story.priority,
        "needs": "+".join(story.needs), "state": story.state, "wait_s": story.wait_s(dry.end),
        "target_s": dry.team.target_s(story.priority), "agent": story.first_agent, "escalations": story.escalations,
        "created_at": story.created_at, "why": story.why or _why(story), "why_at": story.why_at or None,
    }  # fmt: skip


def _why(story: Story) -> str:
    """Its own story, where nobody had asked while it waited."""
    told = next((r for _, move, _, r in story.moves if move == "held" and r), "")
    given = next((f"it went to {a}: {r}" for _, move, a, r in story.moves if move == "assign"), "")
    if given and story.ready_s >= 60:
        given = f"{story.ready_s / 60:,.0f} min in the queue of {story.group or '+'.join(story.needs)}; then {given}"
    return told or given or (story.moves[-1][3] if story.moves else "")


def _part(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, max(0, math.ceil(share * len(values)) - 1))] if values else 0.0


def _share(values: Sequence[float], target: float) -> float | None:
    return sum(v <= target for v in values) / len(values) if values else None
