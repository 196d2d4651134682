"""Drawing the steps of a ticket: what each returned, how surely, and why. A wrong step is seen here first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .output import local_time, plain

if TYPE_CHECKING:
    from shiftlead.queues.ticket import Ticket

__all__ = ["step_in_short", "steps_table"]

LONGEST = 300  # characters of one value


def steps_table(ticket: Ticket) -> Table | None:
    """One row a step, in the order they were done, then those of its flow that are still to come; None without any."""
    if not ticket.steps and ticket.flow is None:
        return None
    flow = ticket.flow
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", title_style="bold")
    table.title = f"Steps of {flow.name} v{flow.version}" if flow else "Steps"
    for name in ("step", "by", "sure", "at"):
        table.add_column(name, no_wrap=True)
    table.add_column("what it returned, and why", ratio=1, overflow="fold")
    for row in _rows(ticket):
        table.add_row(*(plain(cell) for cell in row))
    return table


def step_in_short(result: Any) -> str:
    """`category billing, urgency high`: the short values of a step's result on one line."""
    given = result if isinstance(result, dict) else {}
    short = {k: v for k, v in given.items() if isinstance(v, str | int | float) and len(str(v)) <= 40 and v != ""}
    return ", ".join(f"{name} {_shown(value)}" for name, value in short.items())


def _rows(ticket: Ticket) -> Iterator[tuple[str, str, str, str, str]]:
    for name, step in ticket.steps.items():
        done = step if isinstance(step, dict) else {}
        sure, at = done.get("confidence"), done.get("at")
        yield (
            name, str(done.get("agent") or ""), f"{sure:.2f}" if isinstance(sure, int | float) else "",
            local_time(at)[-8:] if isinstance(at, int | float) else "", _result(done.get("result")),
        )  # fmt: skip
    for name in ticket.flow.steps if ticket.flow else []:
        if name in ticket.steps:
            continue
        if not ticket.is_open and ticket.flow and ticket.flow.at == name:
            said = (ticket.result or {}).get("summary") or ticket.reason
            yield name, ticket.assigned_to or "", "", "", f"ended the ticket ({ticket.state}): {said}"
        else:
            now = ticket.is_open and ticket.flow is not None and ticket.flow.at == name
            yield name, "", "", "", "the ticket is here now" if now else "not reached"


def _result(result: Any) -> str:
    if not isinstance(result, dict):
        return _shown(result)
    return "\n".join(f"{name}: {_shown(value)}" for name, value in result.items() if value not in (None, "", [], {}))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    elif not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(value.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1].rstrip() + "…"
