"""The agents of a team: who is free, and holds and pauses."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import numbers
from .output import Run, command, group, plain

if TYPE_CHECKING:
    from .doors import Door

__all__ = ["add", "in_zone", "moment"]

AGENT = Annotated[str, typer.Argument(help="An agent of the team.", metavar="AGENT")]


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    agents = group(app, "agents", "See the team's agents; pause one, or hold one while it is busy.", panel="People")
    command(agents, "list", examples=["shiftlead agents list"])(list_agents)
    command(agents, "pause", examples=["shiftlead agents pause devin_engineering --reason 'release week'"])(pause)
    command(agents, "drain", examples=["shiftlead agents drain devin_engineering --reason 'new release'"])(drain)
    command(
        agents, "event",
        examples=["shiftlead agents event devin_engineering deployed --ref https://ci.example/deploys/4711"],
    )(event)  # fmt: skip
    command(agents, "record", examples=numbers.RECORD_EXAMPLES)(numbers.record_command)
    command(agents, "resume", examples=["shiftlead agents resume devin_engineering"])(resume)
    command(
        agents, "busy",
        examples=[
            "shiftlead agents busy felix_ceo --until 17:30 --reason 'strategy session'",
            "shiftlead agents busy felix_ceo --until +30m",
        ],
    )(busy)  # fmt: skip


def list_agents(run: Run) -> None:
    """List the agents: what they can, how loaded they are, and whether they can take a ticket now."""
    from rich.table import Table

    from shiftlead.coordinator.facts import agent_facts
    from shiftlead.queues.presence import Presence

    from .doors import local_desk

    with local_desk(run) as desk:
        now = desk.clock.now()
        presence = Presence(desk.store.client, desk.keys, desk.clock, desk.settings)
        live = presence.live()
        facts = agent_facts(desk, presence, now)
        team = desk.team
    rows: list[dict[str, Any]] = []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("agent", "role", "can", "load", "workers", "now"):
        table.add_column(
            name, no_wrap=name not in ("can", "now"), justify="right" if name in ("load", "workers") else "left"
        )
    for name, spec in team.agents.items():
        f = facts[name]
        obstacle = f.obstacle(now)
        workers = [w.worker for w in live.get(name, [])]
        rows.append(
            {
                "agent": name, "role": spec.role, "can": spec.can, "capacity": f.capacity, "load": f.load,
                "workers": workers,
                "free": not obstacle, "obstacle": obstacle, "paused": f.paused, "busy_until": f.busy_until,
                "reason": f.reason, "human": spec.human, "brain": spec.brain,
            }
        )  # fmt: skip
        # anybody may have written the reason: one line, no markup
        state = plain(f"✘ {' '.join(obstacle.removeprefix(name + ' ').split())}" if obstacle else "✔ free")
        count = "person" if spec.human else str(len(workers))
        table.add_row(plain(name), plain(spec.role), plain(", ".join(spec.can)), f"{f.load}/{f.capacity}", count, state)
    run.say({"team": team.team, "agents": rows}, table)


def pause(run: Run, agent: AGENT, reason: Annotated[str, typer.Option(help="Why; `why` tells it.")] = "") -> None:
    """Give an agent no more tickets until `resume`. What it has it finishes."""
    _set(run, agent, reason, "is paused; what it has it finishes", paused=True)


def resume(run: Run, agent: AGENT, reason: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """End a pause, a drain or a hold."""
    _set(run, agent, reason, "takes tickets again", paused=False, draining=False, busy_until=None)


def drain(run: Run, agent: AGENT, reason: Annotated[str, typer.Option(help="Why; `why` tells it.")] = "") -> None:
    """Let an agent run empty: it goes on with what it has and what comes back to it, and gets nothing new."""
    _set(run, agent, reason, "is draining: it finishes what it has and gets nothing new", draining=True)


def event(
    run: Run,
    agent: AGENT,
    name: Annotated[str, typer.Argument(help="What it has just done, as deployed.", metavar="EVENT")],
    ref: Annotated[str, typer.Option(help="What it concerns: a version, an address.")] = "",
) -> None:
    """Say what an agent has just done. Tickets that go by such events (`affinity` in team.yaml) go to it."""
    from .doors import open_door

    _text(agent=agent, event=name, ref=ref)
    with open_door(run) as door:
        _known(door, agent)
        after = door.event(agent, name, ref)
    run.say(after.model_dump(mode="json"), f"✔ {agent} has just {name}{f' ({ref})' if ref else ''}")


def busy(
    run: Run,
    agent: AGENT,
    until: Annotated[str, typer.Option(help="HH:MM (local time), an ISO moment, or +30m.")],
    reason: Annotated[str, typer.Option(help="What keeps it busy.")] = "",
) -> None:
    """Hold an agent until a stated time: its tickets wait, and are served then."""
    at = moment(until, time.time())
    _set(run, agent, reason, f"is busy until {in_zone(at)}; its tickets wait until then", busy_until=at)


def moment(text: str, now: float) -> float:
    """Unix seconds of `17:30` (the next one, local time), `2026-11-21T17:30+01:00` or `+30m`.

    Raises:
        BadInput: it is none of these, or it is past, or more than ten years away.
    """
    from shiftlead.config.duration import TEN_YEARS_S, duration_s
    from shiftlead.queues.errors import BadInput

    given = text.strip()
    try:
        if given.startswith("+"):
            return now + duration_s(given[1:])
        if re.fullmatch(r"\d{1,2}:\d{2}", given):
            hour, minute = map(int, given.split(":"))
            local = datetime.fromtimestamp(now).astimezone()
            at = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (at if at > local else at + timedelta(days=1)).timestamp()
        at = datetime.fromisoformat(given)
        stamp = (at if at.tzinfo else at.astimezone()).timestamp()
    except (ValueError, OverflowError, OSError):  # the last two: a year for which there is no local time
        raise BadInput(f"{text!r} is not a time. Write 17:30, 2026-11-21T17:30+01:00 or +30m.", field="until") from None
    if stamp <= now:
        raise BadInput(f"{text!r} is past. Nothing was changed.", field="until")
    if stamp > now + TEN_YEARS_S:
        raise BadInput(f"{text!r} is more than ten years away. Nothing was changed.", field="until")
    return stamp


def in_zone(at: float) -> str:
    """A moment with weekday, date and time zone: `05:00` may have meant another day or another clock."""
    local = datetime.fromtimestamp(at).astimezone()
    offset = local.strftime("%z")
    return f"{local:%a %Y-%m-%d %H:%M:%S} {local.tzname()} (UTC{offset[:3]}:{offset[3:5]})"


def _set(run: Run, agent: str, reason: str, what: str, **values: Any) -> None:
    from .doors import open_door

    _text(agent=agent, reason=reason)
    with open_door(run) as door:
        _known(door, agent)
        after = door.hold(agent, reason, values)
    because = f" ({reason})" if reason else ""
    run.say(after.model_dump(mode="json"), f"✔ {agent} {what}{because}.")


def _text(**given: str) -> None:
    """Refuse what cannot be sent or kept.

    Raises:
        BadInput: bytes that are no text, as a command line may carry them.
    """
    from shiftlead.queues.ticket import check_text

    for name, text in given.items():
        check_text(text, f"the {name}")


def _known(door: Door, agent: str) -> None:
    """Refuse an agent the team does not have, with the name that was meant. Over HTTP the other side does.

    Raises:
        NotFound: there is none of this name.
    """
    from shiftlead.config.rules import near
    from shiftlead.queues.errors import NotFound

    from .doors import LocalDoor

    if isinstance(door, LocalDoor) and agent not in (agents := door.desk.team.agents):
        hint = near(agent[:100], agents)
        rest = f"Did you mean {hint!r}?" if hint else f"It has: {', '.join(sorted(agents))}."
        raise NotFound(f"Team {door.desk.team.team!r} has no agent {agent[:100]!r}. {rest}")
