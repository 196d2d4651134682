"""The ledger and the keys: audit verify, keys create, keys revoke, keys list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command, group, local_time, plain

if TYPE_CHECKING:
    from shiftlead.queues.ledger import Ledger

__all__ = ["add"]

PANEL = "Ledger and keys"


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    audit = group(app, "audit", "Prove that the ledger is whole.", panel=PANEL)
    command(audit, "verify", examples=["shiftlead audit verify", "shiftlead audit verify --head 9f2c... --json"])(
        verify
    )
    keys = group(app, "keys", "API keys of the HTTP door. Only their hashes are kept.", panel=PANEL)
    command(
        keys, "create",
        examples=[
            "shiftlead keys create shop --scope enqueue --scope read",
            "shiftlead keys create iris --agent iris_support",
        ],
    )(create)  # fmt: skip
    command(keys, "revoke", examples=["shiftlead keys revoke shop"])(revoke)
    command(keys, "list", examples=["shiftlead keys list"])(list_keys)


def verify(
    run: Run,
    head: Annotated[
        str | None, typer.Option(help="A hash noted earlier: it must still be in the chain, so a cut tail is found.")
    ] = None,
) -> None:
    """Check the ledger's hash chain, every ticket's sequence and every move, of a running or a stopped Shiftlead."""
    from shiftlead.queues.ledger_verify import verify as check

    from .doors import stopped_ledger

    # Reading only, also beside a running writer: SQLite in WAL mode and PostgreSQL give one consistent reading.
    with stopped_ledger(run) as ledger:
        found = check(ledger, run.settings.team, head=head)
    problems = [asdict(p) for p in found.problems]
    data = {"ok": found.ok, "events": found.events, "tickets": found.tickets, "head": found.hash, "problems": problems}
    what = f"{found.events:,} lines about {found.tickets:,} tickets of {run.settings.team}"
    if not found.ok:
        from rich.text import Text

        lines = [f"✘ {f'line {p.seq}' if p.seq else 'ledger'} {p.ticket}: {p.kind}: {p.text}" for p in found.problems]
        run.say(data, *(Text(line) for line in lines), Text(f"✘ {found.found:,} problems in {what}"))
        raise typer.Exit(1)
    run.say(data, f"✔ {what} verified. Head: {found.hash}")


def create(
    run: Run,
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="enqueue, read, work, approve or admin; may be repeated.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="The key speaks for this agent only.")] = None,
) -> None:
    """Make a key and show it, once."""
    from shiftlead.config.team import load_team
    from shiftlead.coordinator.api.auth import create_key
    from shiftlead.queues.errors import NotFound

    from .doors import use_running_team

    use_running_team(run)
    team = load_team(run.settings.team, run.settings, overlay=run.settings.overlay)
    if agent and agent not in team.agents:
        raise NotFound(f"Team {team.team!r} has no agent {agent!r}. It has: {', '.join(team.agents)}.")
    scopes = scope or (["work", "read"] if agent else ["enqueue", "read"])
    with _ledger(run) as ledger:
        secret = create_key(ledger, team.team, name, scopes, agent)
    run.say(
        {"name": name, "team": team.team, "scopes": scopes, "agent": agent, "key": secret},
        f"✔ key {name} for {', '.join(scopes)}{' as ' + agent if agent else ''}. It is shown only now:", secret,
    )  # fmt: skip


def revoke(run: Run, name: Annotated[str, typer.Argument(help="Name or hash of the key.")]) -> None:
    """Revoke a key. It opens nothing any more within five seconds."""
    from shiftlead.queues.errors import NotFound

    with _ledger(run) as ledger:
        count = sum(ledger.revoke_key(team, name) for team in (run.settings.team, "*"))
    if not count:
        raise NotFound(f"There is no valid key {name!r}. See: shiftlead keys list")
    run.say({"revoked": count, "name": name}, f"✔ {count} key{'s' * (count != 1)} named {name} revoked")


def list_keys(run: Run) -> None:
    """List the keys, without their secrets."""
    from rich.table import Table

    with _ledger(run) as ledger:
        keys = [*ledger.keys("*"), *ledger.keys(run.settings.team)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "team", "scopes", "agent", "made", "state"):
        table.add_column(title, no_wrap=title != "scopes")
    rows: list[dict[str, Any]] = []
    for key in keys:
        state = f"✘ revoked {local_time(key.revoked_at)}" if key.revoked_at else "✔ valid"
        table.add_row(
            plain(key.name),
            plain(key.team),
            " ".join(key.scopes),
            plain(key.agent or "-"),
            local_time(key.created_at),
            state,
        )
        rows.append(
            {
                "name": key.name, "team": key.team, "scopes": list(key.scopes), "agent": key.agent,
                "created_at": key.created_at, "revoked_at": key.revoked_at, "hash": key.hash[:12],
            }
        )  # fmt: skip
    run.say({"keys": rows}, table)


@contextmanager
def _ledger(run: Run) -> Iterator[Ledger]:
    """The ledger, open for writing; its tables are made if this is the first use of the data folder."""
    from shiftlead.queues.ledger import Ledger

    from .doors import use_running_team

    use_running_team(run)
    run.settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = Ledger(run.settings.database_address)
    try:
        ledger.migrate()
        yield ledger
    finally:
        ledger.close()
