"""What models cost, and how the answers were judged: cost, outcome, outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import numbers
from .output import Run, command, local_time, plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from shiftlead.queues.comparison import Comparison, Share
    from shiftlead.queues.spending import Cost, Costs, TicketCost
    from shiftlead.queues.ticket import Ticket

    from .doors import Looking

__all__ = ["add", "ticket_cost", "ticket_cost_table"]

PANEL = "Numbers"
COLUMNS = ("runs", "calls", "tokens in", "tokens out", "cost")


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app,
        "cost",
        panel=PANEL,
        examples=["shiftlead cost --by agent", "shiftlead cost --by prompt --since 30d --json"],
    )(cost)
    command(
        app, "outcome", panel="People",
        examples=["shiftlead outcome T-2026-007 --accepted --csat 5",
                  "shiftlead outcome T-2026-007 --no-accepted --escalated --comment 'it was another order'"],
    )(outcome)  # fmt: skip
    command(
        app, "outcomes", panel=PANEL,
        examples=["shiftlead outcomes --by prompt --since 30d", "shiftlead outcomes --by agent --json"],
    )(outcomes)  # fmt: skip


def cost(
    run: Run,
    by: Annotated[str, typer.Option(help="step, ticket, agent, day (UTC), model or prompt.")] = "day",
    since: Annotated[str, numbers.SINCE] = "7d",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many rows.")] = 50,
) -> None:
    """Show what models cost: runs, calls, tokens and money. Offline brains are runs without tokens."""
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.spending import BY, Costs, Spending
    from shiftlead.queues.statistics import back_s

    wanted = next((known for known in BY if known == by), None)
    if wanted is None:
        raise BadInput(f"--by is {', '.join(BY)}, not {by!r}.", field="by")
    back = back_s(since)
    with numbers.numbers_at(run) as at:
        if at is None:
            made = Costs.model_validate(numbers.far(run, "cost", by, since, str(limit)))
        else:
            made = Spending(at.ledger, at.team.team).report(wanted, since=at.now - back, limit=limit)
    run.say(made.model_dump(mode="json"), *_cost_parts(made))


def outcome(
    run: Run,
    ticket: Annotated[str, typer.Argument(help="Number, id or trace id.", metavar="TICKET")],
    accepted: Annotated[bool | None, typer.Option("--accepted/--no-accepted", help="Was it what was wanted?")] = None,
    escalated: Annotated[
        bool | None, typer.Option("--escalated/--no-escalated", help="Had somebody to step in?")
    ] = None,
    csat: Annotated[int | None, typer.Option(min=1, max=5, help="How satisfied: 1 not at all, 5 very.")] = None,
    comment: Annotated[str, typer.Option(help="In their words; erased with the ticket's texts.")] = "",
) -> None:
    """Say what became of a completed ticket. The last word on each of its lives counts; the same again is no more."""
    from .doors import open_door

    given = {"accepted": accepted, "escalated": escalated, "csat": csat, "comment": comment}
    with open_door(run) as door:
        said = door.outcome(ticket, {name: value for name, value in given.items() if value not in (None, "")})
    words = ", ".join(f"{k} {v}" for k, v in said.items() if k in ("accepted", "escalated", "csat") and v is not None)
    run.say(said, f"✔ {said['number']}: {words or 'noted'}")


def outcomes(
    run: Run,
    by: Annotated[str, typer.Option(help="prompt or agent.")] = "prompt",
    since: Annotated[str, numbers.SINCE] = "30d",
) -> None:
    """Compare how the answers of prompt versions, or of agents, were judged - and whether that tells anything."""
    from shiftlead.queues.comparison import Comparison, compare
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.statistics import back_s

    if by not in ("prompt", "agent"):
        raise BadInput(f"--by is prompt or agent, not {by!r}.", field="by")
    back = back_s(since)
    with numbers.numbers_at(run) as at:
        if at is None:
            made = Comparison.model_validate(numbers.far(run, "outcomes", by, since))
        else:
            wanted: Any = by
            made = compare(at.ledger, at.team.team, by=wanted, since=at.now - back)
    run.say(made.model_dump(mode="json"), *_comparison_parts(made))


def ticket_cost(looking: Looking, ticket: Ticket) -> TicketCost | None:
    """What the ticket took so far; None where that cannot be read."""
    from shiftlead.queues.ledger import Ledger
    from shiftlead.queues.spending import Spending, TicketCost

    view: Any = looking.view
    if looking.why is not None:
        return TicketCost.model_validate(view.ticket_cost(ticket.id))
    ledger = looking.desk.ledger if looking.desk is not None else getattr(view, "ledger", None)
    if not isinstance(ledger, Ledger):
        return None
    if ledger.read_only:  # stopped: it is read as it is, perhaps as an older version left it
        import sqlalchemy as sa

        if not sa.inspect(ledger.engine).has_table("spending"):
            return None
    return Spending(ledger, ticket.team).of_ticket(ticket.id, ticket.number)


def ticket_cost_table(made: TicketCost) -> Table | None:
    """One line a step, and the sum. What a prompt left out of the history is on the ticket."""
    if not made.steps:
        return None
    table = numbers.number_table("step", "report", "prompt", "model", *COLUMNS[1:], right=range(4, 8))
    table.title, table.title_justify, table.title_style = "Cost", "left", "bold"
    for s in made.steps:
        models = ", ".join(s.models) or "no model"
        left_out = f" ({s.condensed} lines condensed, {s.left_out} left out)" if s.condensed or s.left_out else ""
        one = f"{s.agent}, life {s.life}" if s.life > 1 else s.agent
        tokens = (f"{s.input_tokens:,}", f"{s.output_tokens:,}")
        table.add_row(plain(one), plain(s.report or "-"), plain(f"{s.prompt or '-'}{left_out}"), plain(models),
                      str(s.calls), *tokens, _money(s.cost / 1e9, s.unpriced, s.calls))  # fmt: skip
    t = made.total
    if len(made.steps) > 1:
        tokens = (f"{t.input_tokens:,}", f"{t.output_tokens:,}")
        table.add_row("sum", "", "", "", str(t.calls), *tokens, _money(t.cost, t.unpriced, t.calls), style="bold")
    return table


def _cost_parts(made: Costs) -> list[RenderableType]:
    head = f"Team {made.team}, by {made.by}, since {local_time(made.since)}; money as in SHIFTLEAD_OPENAI_PRICES"
    table = numbers.number_table(made.by, *COLUMNS, right=range(1, 6))
    for row in made.costs:
        table.add_row(plain(row.key), *_cells(row))
    table.add_row("total", *_cells(made.total), style="bold")
    notes = []
    if made.total.unpriced:
        notes.append(f"{made.total.unpriced} calls have no price: what they cost is not in here (+ ?).")
    if made.total.estimated:
        notes.append(f"{made.total.estimated} calls are counted by an estimate: the server did not say.")
    return [head, table, *notes] if made.total.runs else [head, "Nobody took a step."]


def _cells(row: Cost) -> tuple[str, ...]:
    counts = (row.runs, row.calls, row.input_tokens, row.output_tokens)
    return (*(f"{n:,}" for n in counts), _money(row.cost, row.unpriced, row.calls))


def _money(cost: float, unpriced: int, calls: int) -> str:
    if not calls:
        return "-"
    return "?" if unpriced == calls else f"{cost:.4f}{' + ?' if unpriced else ''}"


def _comparison_parts(made: Comparison) -> list[RenderableType]:
    head = f"By {made.by}, since {local_time(made.since)}. In brackets: 95% interval (Wilson)."
    table = numbers.number_table(
        made.by, "variant", "tickets", "accepted", "escalated", "satisfaction", "reviews failed", "cost",
        right=(2, 6, 7),
    )  # fmt: skip
    for v in made.versions:
        csat = "-" if v.csat is None else f"{v.csat:.1f} of {v.csat_of}"
        money = "-" if not v.cost and not v.unpriced else _money(v.cost, v.unpriced, v.runs)
        table.add_row(plain(v.key), plain(v.variant or "-"), str(v.tickets), _share(v.accepted), _share(v.escalated),
                      csat, str(v.reviews_failed), money)  # fmt: skip
    return [head, table, *made.verdicts] if made.versions else [head, "Nobody took a step."]


def _share(share: Share) -> str:
    if not share.of or share.low is None or share.high is None:
        return "-"
    return f"{share.hit / share.of:.0%} of {share.of} ({share.low:.0%} to {share.high:.0%})"
