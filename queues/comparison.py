"""How the answers of prompt versions, or of agents, were judged, side by side, and whether that tells anything (TP-10).

An outcome counts for every version that took a step for its ticket, or for a part of it, in the life it is said of; a
failed review only for whoever had written the result. Shares come with their 95% Wilson interval. Two versions are
compared by the difference of their accepted shares with Newcombe's interval of 1998 (method 10, from two Wilson
intervals); with fewer than 30 judged tickets each, nothing is said but that these are too few.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import sqrt
from typing import Literal

import sqlalchemy as sa
from pydantic import BaseModel, Field

from .ledger import EVENT, Ledger
from .ledger_tables import METADATA
from .lifecycle import Move
from .outcomes import Outcomes, Said, ticket_of
from .spending import BILLION, day_of

__all__ = ["ENOUGH", "Comparison", "Share", "Version", "compare", "difference", "wilson"]

SPENDING = METADATA.tables["spending"]
ENOUGH = 30  # judged tickets of each version
Z = 1.959964  # 95%
PART = 500
Versus = Literal["prompt", "agent"]


class Share(BaseModel):
    """So many of so many, and between which shares the truth lies, 95 times of 100."""

    hit: int = 0
    of: int = 0
    low: float | None = None
    high: float | None = None


class Version(BaseModel):
    """One version of an agent's prompt, or one agent. `variant` is the prompt's name in the team file."""

    key: str
    agent: str
    variant: str = ""
    prompt: str = ""
    runs: int = 0
    tickets: int = Field(0, description="matters it took a step for")
    accepted: Share = Field(default_factory=Share)
    escalated: Share = Field(default_factory=Share)
    csat: float | None = None
    csat_of: int = 0
    reviews_failed: int = 0
    cost: float = 0.0
    unpriced: int = 0


class Comparison(BaseModel):
    """All of them since then, and what may be said about each two of one agent."""

    by: str
    since: float
    versions: list[Version]
    verdicts: list[str]


def compare(ledger: Ledger, team: str, *, by: Versus = "prompt", since: float = 0.0) -> Comparison:
    """Steps that began since then (unix seconds), and what was said of their tickets up to now."""
    groups = _groups(ledger, team, by, since)
    traces = {trace for group in groups.values() for *_, trace in group.steps}
    said = _Said(Outcomes(ledger, team).of_traces(traces))
    failed = _failed_reviews(ledger, team, {ticket for g in groups.values() for ticket, _ in g.authored})
    versions = [_version(key, group, said, failed) for key, group in groups.items()]
    versions.sort(key=lambda v: (v.agent, -v.tickets, v.key))
    return Comparison(by=by, since=since, versions=versions, verdicts=list(_verdicts(versions, by)))


def wilson(hit: int, of: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927); from 0 to 1 of nothing."""
    if not of:
        return 0.0, 1.0
    p, z2 = hit / of, Z * Z
    middle, half = p + z2 / (2 * of), Z * sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z2 / of)), min(1.0, (middle + half) / (1 + z2 / of))


def difference(hit: int, of: int, hit2: int, of2: int) -> tuple[float, float]:
    """The 95% interval of the first share less the second."""
    p, q = hit / of, hit2 / of2
    (low, high), (low2, high2) = wilson(hit, of), wilson(hit2, of2)
    return p - q - sqrt((p - low) ** 2 + (high2 - q) ** 2), p - q + sqrt((high - p) ** 2 + (q - low2) ** 2)


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """The steps of one version: (ticket, life, trace), and the lives whose result it wrote."""

    agent: str
    variant: str = ""
    prompt: str = ""
    runs: int = 0
    cost: int = 0
    unpriced: int = 0
    steps: set[tuple[str, int, str]] = field(default_factory=set)
    authored: set[tuple[str, int]] = field(default_factory=set)


class _Said:
    """Finds what was said of a step's ticket: of itself, else of the first ticket of its line."""

    def __init__(self, outcomes: Iterable[Said]) -> None:
        self._exact = {(o.ticket_id, o.life): o for o in outcomes}
        self._last: dict[str, Said] = {}
        for outcome in sorted(self._exact.values(), key=lambda o: o.life):
            self._last[outcome.ticket_id] = outcome

    def of(self, ticket_id: str, life: int, trace: str) -> Said | None:
        first = ticket_of(trace)
        exact = self._exact.get((ticket_id, life))
        return exact if exact is not None or ticket_id == first else self._last.get(first)


def _groups(ledger: Ledger, team: str, by: Versus, since: float) -> dict[str, _Group]:
    c = SPENDING.c
    columns = (c.agent, c.variant, c.prompt, c.ticket_id, c.life, c.trace_id, c.report, c.cost, c.unpriced)
    query = sa.select(*columns).where(c.team == team, c.began_at >= since)
    query = query.where(c.day >= day_of(since)) if since > 0 else query
    groups: dict[str, _Group] = {}
    with ledger.engine.connect() as connection:
        for row in connection.execute(query, execution_options={"yield_per": 1000}):
            key = row.agent if by == "agent" else f"{row.agent}: {row.prompt or 'no model'}"
            names = {} if by == "agent" else {"variant": row.variant, "prompt": row.prompt}
            group = groups.setdefault(key, _Group(row.agent, **names))
            group.runs += 1
            group.cost += row.cost
            group.unpriced += row.unpriced
            group.steps.add((row.ticket_id, row.life, row.trace_id))
            if row.report == "resolved":
                group.authored.add((row.ticket_id, row.life))
    return groups


def _failed_reviews(ledger: Ledger, team: str, tickets: Iterable[str]) -> Counter[tuple[str, int]]:
    """How often a review sent each life of these tickets back."""
    e, asked, found = EVENT.c, sorted(tickets), Counter[tuple[str, int]]()
    query = sa.select(e.ticket_id, e.life, sa.func.count()).where(e.team == team, e.move == Move.SEND_BACK)
    with ledger.engine.connect() as connection:
        for start in range(0, len(asked), PART):
            part = query.where(e.ticket_id.in_(asked[start : start + PART])).group_by(e.ticket_id, e.life)
            found.update({(ticket_id, life): count for ticket_id, life, count in connection.execute(part)})
    return found


# -- telling ----------------------------------------------------------------------------------------------------------


def _version(key: str, group: _Group, said: _Said, failed: Counter[tuple[str, int]]) -> Version:
    heard = {(o.ticket_id, o.life): o for step in group.steps if (o := said.of(*step)) is not None}
    stars = [o.csat for o in heard.values() if o.csat is not None]
    return Version(
        key=key, agent=group.agent, variant=group.variant, prompt=group.prompt, runs=group.runs,
        tickets=len({trace or ticket for ticket, _, trace in group.steps}),
        accepted=_share([o.accepted for o in heard.values()]), escalated=_share([o.escalated for o in heard.values()]),
        csat=sum(stars) / len(stars) if stars else None, csat_of=len(stars),
        reviews_failed=sum(failed[life] for life in group.authored), cost=group.cost / BILLION,
        unpriced=group.unpriced,
    )  # fmt: skip


def _share(values: Sequence[bool | None]) -> Share:
    judged = [v for v in values if v is not None]
    low, high = wilson(sum(judged), len(judged)) if judged else (None, None)
    return Share(hit=sum(judged), of=len(judged), low=low, high=high)


def _verdicts(versions: Sequence[Version], by: Versus) -> Iterator[str]:
    """One sentence for each two versions of one agent's prompt, or each two agents, that were judged at all."""
    rivals: defaultdict[str, list[Version]] = defaultdict(list)
    for version in versions:
        if version.accepted.of and (by == "agent" or version.prompt):
            rivals["" if by == "agent" else version.agent].append(version)
    for group in rivals.values():
        for one, other in combinations(group, 2):
            yield _verdict(one, other)


def _verdict(one: Version, other: Version) -> str:
    a, b = one.accepted, other.accepted
    told = f"{one.key} {a.hit / a.of:.0%} of {a.of}, {other.key} {b.hit / b.of:.0%} of {b.of}"
    if min(a.of, b.of) < ENOUGH:
        return f"too few to tell (accepted: {told}; at least {ENOUGH} judged tickets of each are needed)"
    low, high = difference(a.hit, a.of, b.hit, b.of)
    between = f"accepted: {told}; difference {100 * low:+.0f} to {100 * high:+.0f} points, 95%, Newcombe"
    if low <= 0 <= high:
        return f"no difference shown ({between})"
    return f"{(one if low > 0 else other).key} is accepted more often ({between})"
