"""What a team knows: search it as its agents do, see what is indexed, let outcomes decide how sure an answer is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, ago, command, group

if TYPE_CHECKING:
    from shiftlead.agents.knowledge import Knowledge
    from shiftlead.queues.knowledge_index import KnowledgeIndex

__all__ = ["add"]

DAY_S = 86_400.0


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    known = group(app, "knowledge", "What a team knows: pages, FAQ and resolved tickets.", panel="Teams")
    asked = "shiftlead knowledge search 'my card has not come'"
    command(known, "search", examples=[asked, f"{asked} --agent iris_support --json"])(search)
    command(known, "status", examples=["shiftlead knowledge status --team front_office"])(status)
    command(known, "calibrate", examples=["shiftlead knowledge calibrate --days 90"])(calibrate)


def search(
    run: Run,
    question: Annotated[str, typer.Argument(help="What a customer would write.")],
    agent: Annotated[str, typer.Option(help="With the pages this agent knows; default: all of the team's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=50, help="At most so many.")] = 5,
) -> None:
    """Search as an agent does: what matched, where it is from, how likely it is the right answer."""
    with _opened(run, agent) as (knowledge, index):
        if index is not None:
            index.refresh(whole=True)
        hits = knowledge.search(question, limit)
        problems = dict(knowledge.problems)
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in ("sure", "score", "covers", "source", "matched"):
        table.add_column(head, justify="right" if head in ("sure", "score", "covers") else "left", overflow="fold")
    for hit in hits:
        figures = (f"{hit.confidence:.2f}", f"{hit.score:.2f}", f"{hit.covers:.2f}")
        table.add_row(*figures, f"{hit.kind}: {hit.source}", ", ".join(hit.matched))
    data = {
        "question": question, "hits": [asdict(hit) | {"source": hit.source} for hit in hits], "problems": problems,
    }  # fmt: skip
    run.say(data, table if hits else "Nothing that is known has a word of it.")
    _tell(run, problems)


def status(run: Run) -> None:
    """Tell what is indexed: pages, FAQs, tickets, when, and how confidence is calibrated."""
    with _opened(run, "") as (knowledge, index):
        if index is None:
            raise _no_ledger(run)
        knowledge.search("status")  # as every search, it takes over what has changed
        index.refresh(whole=True)
        found, curves, problems = index.status(), index.curves(), dict(knowledge.problems)
    own = {kind: int(c["rows"]) for kind, c in curves.items()}
    kept = ", ".join(f"{kind} on {n} outcomes" for kind, n in own.items()) or "as shipped"
    import time

    run.say(
        asdict(found) | {"calibrated": curves, "problems": problems},
        f"pages    {found.pages} ({found.sections} sections, {found.faqs} FAQ files)",
        f"tickets  {found.tickets} resolved ones teach something",
        f"indexed  {ago(time.time() - found.indexed_at)}, {found.behind} lines of the ledger to look at",
        f"sure     {kept}",
        f"kept in  {found.where}",
    )
    _tell(run, problems)


def calibrate(run: Run, days: Annotated[int, typer.Option(min=1, max=3650, help="Of so many days.")] = 90) -> None:
    """Let outcomes decide how sure an answer is: accepted ones, and those that were reopened or needed a person."""
    import time

    from shiftlead.agents.knowledge_curve import CURVES, ENOUGH_ROWS, calibrated
    from shiftlead.queues.knowledge_outcomes import outcomes

    now = time.time()
    with _opened(run, "") as (_, index):
        if index is None:
            raise _no_ledger(run)
        found = outcomes(index.ledger, index.team, since=now - days * DAY_S, now=now)
        data: dict[str, Any] = {}
        lines = []
        for kind, shipped in CURVES.items():
            rows = [(o.covers, o.right) for o in found if o.kind == kind]
            made = calibrated(rows, shipped)
            if made is None:
                lines.append(f"{kind:<7} {len(rows)} outcomes; from {ENOUGH_ROWS} on they count. It stays as it is.")
                continue
            data[kind] = made.as_json()
            lines.append(
                f"{kind:<7} {made.rows} outcomes, {made.right} right; error (Brier) {made.brier_before:.3f} -> "
                f"{made.brier:.3f}, off by {made.ece_before:.3f} -> {made.ece:.3f} on average"
            )
            lines += [
                f"        said {low:.1f} to {high:.1f}: {n} times, {told:.2f} on average, right {was:.2f}"
                for low, high, n, told, was in made.bins
            ]
        if data:
            index.keep_curves(index.curves() | data)
    run.say({"outcomes": len(found), "calibrated": data}, *lines)


@contextmanager
def _opened(run: Run, agent: str) -> Iterator[tuple[Knowledge, KnowledgeIndex | None]]:
    """The team's knowledge, or that of one agent, and its index where there is a ledger to read tickets from."""
    from shiftlead.agents.knowledge import Knowledge
    from shiftlead.queues.connect import Connections
    from shiftlead.queues.errors import BadInput, NotFound

    if run.settings.url:
        raise BadInput("Knowledge is searched where its pages are: on the machine with the data folder.")
    connections = Connections(run.settings)
    try:
        team = connections.team(run.team_names or None)
        if agent and agent not in team.agents:
            raise NotFound(f"Team {team.team!r} has no agent {agent!r}. It has: {', '.join(team.agents)}.")
        specs = [team.agents[agent]] if agent else list(team.agents.values())
        folders = list(dict.fromkeys(team.folder / page for spec in specs for page in spec.knowledge))
        index = connections.knowledge(team.team) if _has_ledger(connections) else None
        yield Knowledge(folders, index), index
    finally:
        connections.close()


def _has_ledger(connections: Any) -> bool:
    import sqlalchemy as sa

    engine = connections.ledger.engine
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file and not Path(file).exists():
        return False
    return bool(sa.inspect(engine).has_table("ledger_head"))


def _no_ledger(run: Run) -> Exception:
    from shiftlead.queues.errors import Unavailable

    return Unavailable(f"There is no ledger in {run.settings.data} yet. Start with: shiftlead up")


def _tell(run: Run, problems: dict[str, str]) -> None:
    for problem in problems.values():
        run.remark(f"not searched: {problem}")
