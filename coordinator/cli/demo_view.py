"""What one sees of the demonstration: a live picture on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shiftlead.coordinator.assignment import AgentFacts
from shiftlead.queues.ticket import Line

from .demo_events import Record
from .output import plain, safe

__all__ = ["Board", "Snapshot", "summary_table"]

EVERY_S = 3.0  # between two plain lines
BAR = 40
COLOURS = {"intake": "yellow", "active": "cyan", "completed": "green"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of the demonstration. `elapsed_s` since the first ticket; `total` tickets will be enqueued."""

    elapsed_s: float
    total: int
    enqueued: int
    counts: dict[str, int]
    agents: Sequence[AgentFacts]
    events: Sequence[Line]
    now: float
    doing: str


class Board:
    """Shows snapshots. A context manager: the picture goes away at the end."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self._live = (
            Live(console=console, transient=True, auto_refresh=False) if console.is_terminal and not quiet else None
        )
        self._told = float("-inf")
        self._doing = ""

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.console.print(safe(text), markup=False, soft_wrap=True)
            if self._live is None:
                sys.stdout.flush()

    def show(self, moment: Snapshot) -> None:
        """Show how it stands."""
        if self._live is not None:
            self._live.update(_picture(moment), refresh=True)
            return
        due = time.monotonic() - self._told >= EVERY_S
        if due or moment.doing != self._doing:
            self._told, self._doing = time.monotonic(), moment.doing
            c = moment.counts
            queues = " · ".join(f"{name} {c.get(name, 0)}" for name in COLOURS)
            self.say(f"  {moment.elapsed_s:4.0f} s  {queues}  ({moment.doing})")


def summary_table(track: Sequence[Record]) -> Table:
    """Agent, done, handed on, median seconds from assignment to report."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("agent", no_wrap=True)
    for name in ("done", "handed on", "median assign to report"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in track:
        median = "-" if one.median_s is None else f"{one.median_s:.2f} s"
        table.add_row(plain(one.agent), str(one.done), str(one.handed_on), median)
    return table


def _picture(moment: Snapshot) -> Group:
    head = plain(f"{moment.elapsed_s:4.0f} s   {moment.enqueued} of {moment.total} tickets enqueued   {moment.doing}")
    bars = Table.grid(padding=(0, 2))
    whole = max(moment.total, sum(moment.counts.values()), 1)
    for name, colour in COLOURS.items():
        count = moment.counts.get(name, 0)
        full = round(BAR * count / whole)
        bars.add_row(
            Text(name), Text("█" * full, style=colour).append("·" * (BAR - full), style="dim"), Text(f"{count:4d}")
        )
    agents = Table.grid(padding=(0, 2))
    for agent in moment.agents:
        obstacle = agent.obstacle(moment.now).removeprefix(f"{agent.name} ")
        load = "■" * agent.load + "□" * max(0, agent.capacity - agent.load)
        agents.add_row(
            plain(agent.name),
            Text(load, style="cyan"),
            plain(f"✘ {obstacle}" if obstacle else "✔ free", "" if obstacle else "green"),
        )
    story = Table.grid(padding=(0, 2))
    for line in moment.events:
        ago_s = max(0.0, moment.now - line.at)
        story.add_row(
            Text(f"{ago_s:4.1f} s ago", style="dim"),
            plain(line.number or line.ticket),
            plain(line.move),
            plain(line.actor),
            Text(safe(" ".join(line.reason.split())[:70]), style="dim", overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return Group(head, Text(), bars, Text(), agents, Text(), story)
