"""Housekeeping: erase what completed tickets say, and look at what was refused."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command, local_time, plain

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["add"]

PANEL = "Ledger and keys"


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app, "erase", panel=PANEL,
        examples=[
            "shiftlead erase T-2026-007 --reason 'the customer asked for it'",
            "shiftlead erase T-2026-007 --reason 'the customer asked for it' --yes --json",
        ],
    )(erase)  # fmt: skip
    command(app, "refusals", panel=PANEL, examples=["shiftlead refusals", "shiftlead refusals --days 30 --json"])(
        refusals
    )


def erase(
    run: Run,
    ticket: Annotated[str, typer.Argument(help="Number or id of a completed ticket.", metavar="TICKET")],
    reason: Annotated[str, typer.Option(help="Why. It stays in the ledger for ever, so name no one in it.")],
    family: Annotated[
        bool,
        typer.Option(
            "--family/--only", help="Also the tickets that carry its words: its parts, what it is a part of, merged."
        ),
    ] = True,
    vacuum: Annotated[
        bool | None,
        typer.Option(help="Write the SQLite ledger anew, without older copies. Default: where it is under 256 MB."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase the texts of a completed ticket for ever. That it was, when, who did what and why it was erased, stays.

    The audit still verifies. Erased are the texts in the ledger, in Redis and its file, in the file of notices, and
    the keys its sender used. Repeat the command if it was broken off.

    NOT reached: backups and copies of the data folder, logs, what was sent to people, agents, models and other systems
    (webhooks, e-mail), files of notices on other machines, the disk blocks a file system has already freed, and on
    PostgreSQL dead rows until its vacuum, its write-ahead log and replicas.
    """
    if run.settings.url:
        from .http import HttpDoor

        _sure(run, yes, f"the texts of {ticket}{' and of its family' if family else ''}")
        with HttpDoor(run.settings) as remote:
            done = remote.erase(ticket, reason, family=family, vacuum=vacuum)
    else:
        from shiftlead.queues.erasing import erase as erase_texts
        from shiftlead.queues.erasing import family_of

        from .doors import local_desk, me

        with local_desk(run) as desk:
            found = desk.find(ticket)
            others = [t.number for t in family_of(desk, found)[1:]] if family else []
            _sure(run, yes, f"the texts of {found.number}" + (f" and of {_named(others)}" if others else ""))
            done = asdict(erase_texts(desk, found.id, actor=me(), reason=reason, family=family, vacuum=vacuum))
    run.say(done, *_told(done))


def refusals(
    run: Run, days: Annotated[int, typer.Option(min=1, max=366, help="So many days back, today included (UTC).")] = 7
) -> None:
    """Show how often something was refused, by reason and day: bad keys, stale tokens, too large, intake full, ..."""
    rows = _rows(run, days)
    if not rows:
        run.say({"refusals": []}, f"✔ nothing was refused in {days} day{'s' * (days != 1)}")
        return
    run.say({"refusals": rows}, _table(rows))


def _sure(run: Run, yes: bool, what: str) -> None:
    from shiftlead.queues.errors import BadInput

    if yes:
        return
    if run.as_json or not sys.stdin.isatty():
        raise BadInput(f"This erases {what} for ever. Say --yes if that is meant. Nothing was erased.")
    typer.confirm(f"Erase {what} for ever?", abort=True)


def _told(done: dict[str, Any]) -> list[Any]:
    what = f"{done['lines']} lines, {done['keys']} keys, {done['notices']} notices"
    parts: list[Any] = [plain(f"✔ {_named(done['numbers'])} erased at {local_time(done['at'])}: {what}")]
    if done["quarantined"]:
        parts.append(plain(f"  and {done['quarantined']} lines in quarantine"))
    parts += [plain(f"! still there: {what}", "yellow") for what in done["left"]]
    if done["mentions"]:
        parts.append(plain(f"! named in, and perhaps quoted by: {', '.join(done['mentions'])}", "yellow"))
    parts.append(plain(f"  not reached: {done['not_reached']}", "dim"))
    return parts


def _named(numbers: list[str]) -> str:
    if len(numbers) <= 5:
        return ", ".join(numbers)
    return f"{', '.join(numbers[:5])} and {len(numbers) - 5} more"


def _rows(run: Run, days: int) -> list[dict[str, Any]]:
    if run.settings.url:
        from .http import HttpDoor

        with HttpDoor(run.settings) as remote:
            return remote.refusals(days)
    import redis

    from shiftlead.config.redis_client import make_client
    from shiftlead.queues.refusals import recent_refusals

    from .doors import stopped_ledger

    with stopped_ledger(run) as ledger:
        client: Any = make_client(run.settings.redis_address, run.settings)
        try:
            try:
                found = recent_refusals(ledger, run.settings.team, days, client=client)
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):  # nothing runs: SQL has the rest
                found = recent_refusals(ledger, run.settings.team, days)
        finally:
            client.close()
    order = sorted(found, key=lambda at: (at[0], at[1]), reverse=True)
    return [{"day": day, "reason": reason, "count": found[day, reason]} for day, reason in order]


def _table(rows: list[dict[str, Any]]) -> Table:
    """Reasons down, days across where they fit, the newest first."""
    from rich.table import Table

    from .output import console

    days = sorted({row["day"] for row in rows}, reverse=True)
    shown = days[: max(1, (console().width - 30) // 12)]
    counts = {(row["reason"], row["day"]): int(row["count"]) for row in rows}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("reason", no_wrap=True)
    for title in ("all", *shown):
        table.add_column(title, justify="right", no_wrap=True)
    sums = {reason: sum(n for (r, _), n in counts.items() if r == reason) for reason, _ in counts}
    for reason in sorted(sums, key=lambda r: (-sums[r], r)):
        cells = [f"{counts[reason, day]:,}" if (reason, day) in counts else "-" for day in shown]
        table.add_row(plain(reason), f"{sums[reason]:,}", *cells)
    return table
