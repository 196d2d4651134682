"""The team's numbers on the command line: stats, a brief, the track record of an agent.

They read a running Shiftlead, the ledger of a stopped one, or with SHIFTLEAD_URL another machine's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, ago, command, local_time, plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from shiftlead.config.team import Team
    from shiftlead.coordinator.brief import Brief
    from shiftlead.queues.desk import Desk
    from shiftlead.queues.ledger import Ledger
    from shiftlead.queues.statistics import Arrivals, Span, Stats
    from shiftlead.queues.track_record import Track

__all__ = ["RECORD_EXAMPLES", "SINCE", "At", "add", "far", "number_table", "numbers_at", "record_command"]

PANEL = "Numbers"
RECORD_EXAMPLES = ["shiftlead agents record iris_support", "shiftlead agents record iris_support --since 30d --json"]
DASH = "-"
BARS = " ▁▂▃▄▅▆▇█"
SINCE = typer.Option(help="How long back: 24h, 7d, 30m.")


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(app, "stats", panel=PANEL, examples=["shiftlead stats", "shiftlead stats --since 7d --json"])(stats)
    command(
        app, "brief", panel=PANEL,
        examples=["shiftlead brief --for felix_ceo", "shiftlead brief --for felix_ceo --since 3d --json"],
    )(show_brief)  # fmt: skip


def stats(run: Run, since: Annotated[str, SINCE] = "24h") -> None:
    """Show the team's numbers: how much, how fast, how much without a person, and where the load is."""
    from shiftlead.queues.statistics import Stats, back_s, statistics

    back = back_s(since)
    with numbers_at(run) as at:
        if at is None:
            made = Stats.model_validate(far(run, "stats", since))
        else:
            made = statistics(at.ledger, at.team, since=at.now - back, until=at.now, now=at.now)
    run.say(made.model_dump(mode="json"), *_stats_parts(made))


def show_brief(
    run: Run,
    who: Annotated[str, typer.Option("--for", help="An agent or a person of the team.")],
    since: Annotated[str, SINCE] = "24h",
) -> None:
    """Show a brief: what happened, what waits for you, what is late, what was decided."""
    from shiftlead.coordinator.brief import Brief, brief, known_name
    from shiftlead.queues.statistics import back_s

    back = back_s(since)
    with numbers_at(run) as at:
        if at is None:
            made = Brief.model_validate(far(run, "brief", who, since))
        else:
            known_name(at.team, who)
            made = brief(at.ledger, at.team, who, since=at.now - back, now=at.now, why=_why(at))
    run.say(made.model_dump(mode="json"), *_brief_parts(made))


def record_command(
    run: Run,
    agent: Annotated[str, typer.Argument(help="An agent of the team.", metavar="AGENT")],
    since: Annotated[str, SINCE] = "7d",
) -> None:
    """Show an agent's track record: what it did with its tickets, by type, and its last ten."""
    from shiftlead.coordinator.brief import known_name
    from shiftlead.queues.statistics import back_s
    from shiftlead.queues.track_record import Track, record

    back = back_s(since)
    with numbers_at(run) as at:
        if at is None:
            made = Track.model_validate(far(run, "record", agent, since))
        else:
            known_name(at.team, agent, people=False)
            made = record(at.ledger, at.team, agent, at.now - back)
    run.say(made.model_dump(mode="json"), *_record_parts(made))


@dataclass(frozen=True)
class At:
    """Where the numbers are read."""

    ledger: Ledger
    team: Team
    now: float
    desk: Desk | None


@contextmanager
def numbers_at(run: Run) -> Iterator[At | None]:
    """The ledger to read; None where another machine has it.

    Raises:
        Unavailable: the data folder has none.
    """
    if run.settings.url:
        yield None
        return
    from shiftlead.config.team import load_team

    from .doors import open_view

    with open_view(run) as looking:
        desk = looking.desk
        # An installation that stopped has no overlay any more; its names and capacities are the file's.
        team = desk.team if desk is not None else load_team(run.settings.team, run.settings)
        source: Any = looking.view if desk is None else desk
        if desk is None:
            _require_tables(source.ledger)
        yield At(source.ledger, team, looking.now, desk)


def _require_tables(ledger: Ledger) -> None:
    """A stopped ledger is read as it is; one of an older version lacks tables.

    Raises:
        Unavailable: it must be upgraded first.
    """
    import sqlalchemy as sa

    from shiftlead.queues.errors import Unavailable

    if not sa.inspect(ledger.engine).has_table("outcome"):
        raise Unavailable("This ledger was written by an older Shiftlead. Starting it upgrades it: shiftlead up")


def far(run: Run, what: str, *arguments: str) -> dict[str, Any]:
    from .http import HttpDoor

    with HttpDoor(run.settings) as remote:
        answer: dict[str, Any] = getattr(remote, what)(*arguments)
        return answer


def _why(at: At) -> Any:
    """How `brief` learns why a ticket is where it is; None when nothing runs."""
    if at.desk is None:
        return None
    from shiftlead.coordinator.why import explain

    desk = at.desk
    return lambda ticket: explain(desk, ticket, now=at.now).text


def _stats_parts(s: Stats) -> list[RenderableType]:
    head = f"Team {s.team}, {local_time(s.since)} to {local_time(s.until)}"
    table = number_table("number", "value", "reference")
    for name, value, reference in _kpis(s):
        table.add_row(plain(name), plain(value), plain(reference))
    ages = number_table("open", "n", "oldest", "p95", right=(1, 2, 3))
    for name, age in [*s.age_by_queue.items(), *((f"  {state}", age) for state, age in s.age_by_state.items())]:
        ages.add_row(plain(name), str(age.n), ago(age.oldest_s) if age.n else DASH, ago(age.p95_s) if age.n else DASH)
    agents = number_table("agent", "completed", "working", "of its time", "waiting", right=(1, 2, 3, 4))
    for name, load in s.agents.items():
        agents.add_row(plain(name), str(load.completed), ago(load.working_s), f"{load.share:.0%}", str(load.waiting))
    total = sum(s.in_state_s.values())
    shares = " · ".join(f"{state} {seconds / total:.0%}" for state, seconds in s.in_state_s.items() if seconds)
    return [head, table, "", ages, "", agents, "", f"Time in state: {shares or DASH}", "", *_plot(s.arrivals)]


def _kpis(s: Stats) -> list[tuple[str, str, str]]:
    """Each number beside the one a comparable team reported."""
    done = " · ".join(f"{n} {state}" for state, n in s.completed.items())
    a = s.approvals
    rows = [
        ("tickets in", f"{s.arrived} (and {s.handed_on} handed on)", ""),
        ("completed", done, ""),
        ("without a person", f"{_part(s.unaided_share)} ({s.unaided})", "73%"),
        ("first reply", _span(s.first_reply), "mean 1m 47s"),
        ("resolution", _span(s.resolution), ""),
        ("answered in time", f"{_part(s.sla.share)} of {s.sla.of}", ""),
    ]
    rows += [(f"  {p}", f"{_part(h.share)} of {h.of}", "") for p, h in s.sla_by_priority.items() if h.of]
    return [
        *rows,
        ("escalation steps", str(s.escalations), ""),
        ("opened again", str(s.reopened), ""),
        ("handoffs", str(s.handoffs), ""),
        ("approvals", f"{a.asked} asked · {a.yes} yes · {a.no} no · {a.expired} expired", ""),
        ("satisfaction", DASH if s.csat is None else f"{s.csat:.1f} of 5 ({s.csat_of} said)", "4.2 of 5"),
        ("answers accepted", f"{_part(s.accepted.share)} of {s.accepted.of}", ""),
        ("cost per ticket", DASH if s.cost_per_ticket is None else f"{s.cost_per_ticket:.4f}", "$0.34"),
        ("cost of models", _spent(s), ""),
    ]


def _spent(s: Stats) -> str:
    unpriced = f" · {s.unpriced} calls without a price are not in it" if s.unpriced else ""
    return f"{s.cost:.4f} · {s.tokens:,} tokens{unpriced}"


def _plot(arrivals: list[Arrivals]) -> list[str]:
    """One line a local day: a bar for each hour from 0 to 23, the highest for the busiest hour of all."""
    most = max((a.count for a in arrivals), default=0)
    days: dict[str, dict[int, int]] = {}
    for a in arrivals:
        local = datetime.fromtimestamp(a.at).astimezone()
        hours = days.setdefault(f"{local:%a %Y-%m-%d}", {})
        hours[local.hour] = hours.get(local.hour, 0) + a.count
    lines = [f"Arrivals per hour, the tallest bar is {most}", f"{'':14}  0     6     12    18     total"]
    for day, hours in days.items():
        bars = "".join(_bar(hours.get(hour), most) for hour in range(24))
        busiest = max(hours, key=lambda hour: hours[hour])
        peak = f", most from {busiest:02}:00 ({hours[busiest]})" if hours[busiest] else ""
        lines.append(f"{day:14}  {bars}  {sum(hours.values())}{peak}")
    return lines


def _bar(count: int | None, most: int) -> str:
    """A bar of 1 to 8 eighths; a dot for an hour without arrivals, a space for one outside the span."""
    if count is None:
        return " "
    return BARS[max(1, round(8 * count / most))] if count else "·"


def _brief_parts(made: Brief) -> list[RenderableType]:
    from shiftlead.coordinator.brief import HEADINGS, counts_of

    parts: list[RenderableType] = [
        f"Brief for {made.who}, team {made.team}, {local_time(made.since)} to {local_time(made.now)}"
    ]
    for number, (heading, lists) in enumerate(HEADINGS.items(), 1):
        parts += ["", f"{number}. {heading}"]
        counts = counts_of(made.numbers) if number == 1 and made.numbers is not None else []
        if counts:
            table = number_table("", "", header=False)
            for name, words in counts:
                table.add_row(plain(name), plain(words))
            parts.append(table)
        told = [(title, getattr(made, name)) for name, title in lists if getattr(made, name).total]
        for title, section in told:
            parts += ["", f"{title} ({section.total})"]
            table = number_table("number", "ticket", "who", "age", "what", right=(3,), header=False)
            for item in section.items:
                age = ago(made.now - item.at)
                table.add_row(plain(item.number), plain(item.title), plain(item.who), age, plain(item.note))
            parts.append(table)
            if section.total > len(section.items):
                parts.append(f"and {section.total - len(section.items)} more")
        if not told and not counts:
            parts.append("Nothing.")
    return parts


def _record_parts(t: Track) -> list[RenderableType]:
    head = f"{t.agent}, team {t.team}, since {local_time(t.since)}"
    types = number_table(
        "type", "tickets", "completed", "failed", "on", "back", "crashed", "reopened", "escalated", "sent back",
        "mean time", "done well", right=range(1, 12),
    )  # fmt: skip
    for r in t.by_type.values():
        counts = (r.tickets, r.completed, r.failed, r.handed_on, r.handed_back, r.crashed, r.reopened, r.escalated)
        mean = DASH if r.mean_s is None else ago(r.mean_s)
        types.add_row(plain(r.type), *map(str, counts), str(r.sent_back), mean, _part(r.good))
    total = (
        f"{t.completed} completed · {t.failed} failed · {t.handed_on} handed on · {t.handed_back} handed back · "
        f"{t.crashed} crashed · {t.reopened} opened again · {t.escalated} escalated · {t.sent_back} sent back"
    )
    stars = DASH if t.csat is None else f"{t.csat:.1f} of 5 ({t.rated} said)"
    said = f"people said: {t.accepted} accepted · {t.rejected} not · {t.stepped_in} stepped in · satisfaction {stars}"
    took = f"{t.runs} runs · {t.tokens:,} tokens · cost {t.cost:.4f}"
    judged = f"best at: {t.best or DASH} · worst at: {t.worst or DASH}"
    last = number_table("last", "type", "title", "outcome", "in hand", "when", right=(4,))
    for h in t.last:
        when = local_time(h.at)
        last.add_row(plain(h.number), plain(h.type), plain(h.title), plain(h.outcome), ago(h.working_s), when)
    return [head, total, said, took, judged, "", types, "", last] if t.by_type else [head, "It had no tickets."]


def number_table(*columns: str, right: Any = (), header: bool = True) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index in right else "left", no_wrap=index == 0, overflow="fold")
    return table


def _span(span: Span) -> str:
    if span.mean_s is None or span.p50_s is None or span.p95_s is None:
        return DASH
    return f"mean {ago(span.mean_s)} · half within {ago(span.p50_s)} · 95% within {ago(span.p95_s)}"


def _part(share: float | None) -> str:
    return DASH if share is None else f"{share:.0%}"
