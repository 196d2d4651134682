"""`shiftlead try`: an agent's brain on one ticket in memory. Nothing is stored and no server is needed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command, plain

if TYPE_CHECKING:
    from shiftlead.agents.agent import Work

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Register the command of this file."""
    command(
        app, "try", panel="Agents",
        examples=[
            "shiftlead try iris_support 'I was charged twice for order 4711'",
            """shiftlead try --team acme greeter 'hello' --context '{"tier": "basic"}' --steps earlier.json --json""",
        ],
    )(try_agent)  # fmt: skip


def try_agent(
    run: Run,
    agent: Annotated[str, typer.Argument(help="An agent of the team.")],
    text: Annotated[str, typer.Argument(help="The ticket's text.")],
    type: Annotated[str | None, typer.Option(help="Type of the ticket; default: what the agent can first.")] = None,
    customer: Annotated[str, typer.Option(help="Whom it is about.")] = "",
    context: Annotated[str | None, typer.Option(help="Free facts, a JSON object.")] = None,
    steps: Annotated[Path | None, typer.Option(help="JSON file with the results of earlier steps, by name.")] = None,
) -> None:
    """Run an agent's brain on one ticket, here and now. Nothing is stored and no server is needed."""
    from shiftlead.agents.agent import as_report
    from shiftlead.agents.brain_check import load_brain
    from shiftlead.config.team import load_team
    from shiftlead.queues.errors import BadInput, NotFound

    from .doors import use_running_team

    use_running_team(run)
    team = load_team(run.settings.team, run.settings, overlay=run.settings.overlay)
    if agent not in team.agents:
        raise NotFound(f"Team {team.team!r} has no agent {agent!r}. It has: {', '.join(team.agents)}.")
    spec = team.agents[agent]
    if spec.human or spec.brain == "outside":
        raise BadInput(f"{agent} is a person or an agent from outside: there is no brain to run.", field="agent")
    brain = load_brain(team, agent, run.settings)
    made = _work_in_memory(
        team, agent, text, type or spec.can[0], customer, _object(context, "--context") if context else {},
        _file_object(steps) if steps else {},
    )  # fmt: skip
    started = time.monotonic()
    try:
        report = as_report(brain.handle(made))
    except BadInput:
        raise
    except Exception as error:
        if os.environ.get("SHIFTLEAD_DEBUG"):
            raise
        raise RuntimeError(
            f"{agent}'s brain ({spec.brain}) raised {_type_name(error)}: {error}{_place(error)}"
        ) from error
    took_s = time.monotonic() - started
    from rich.panel import Panel

    from .story import report_parts

    title, body = report_parts(report.model_dump())
    below = f"{spec.brain}, {took_s * 1000:.0f} ms, nothing stored"
    run.say(
        report.model_dump(mode="json"),
        Panel(plain(body), title=plain(f"{agent}: {title}"), title_align="left", subtitle=plain(below)),
    )  # fmt: skip


def _work_in_memory(
    team: Any, agent: str, text: str, type: str, customer: str, context: dict[str, Any], steps: dict[str, Any]
) -> Work:
    """A Work as the worker would build it, for a ticket that exists nowhere."""
    from shiftlead.agents.agent import Work
    from shiftlead.agents.work import colleagues_of
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.flow_steps import begin
    from shiftlead.queues.lifecycle import State
    from shiftlead.queues.ticket import Line, Ticket, check_text

    check_text(text, "the text")
    if not text.strip():
        raise BadInput("The ticket has no text.", field="text")
    spec, now = team.agents[agent], time.time()
    first = next(line.strip() for line in text.splitlines() if line.strip())
    need = type if type in spec.can else spec.can[0]
    flow = next((begin(f).model_copy(update={"at": need}) for f in team.flows if need in f.steps), None)
    number = f"T-{time.gmtime(now).tm_year}-000"
    ticket = Ticket(
        id="try", number=number, team=team.team, team_version=team.version, type=type, title=first[:140], body=text,
        source="try", customer=customer, context=context, needs=[need],
        steps=steps, flow=flow,
        state=State.WORKING, assigned_to=agent, worker="try", token=1, created_at=now, updated_at=now,
        due=now, assigned_at=now, trace_id="try",
    )  # fmt: skip
    line = Line(ticket="try", number=number, seq=1, move="accept", actor="door:try", at=now, after="new")
    return Work(
        agent=agent, role=spec.role, ticket=ticket, token=1, history=[line], steps=steps, team_can=team.capabilities,
        colleagues=colleagues_of(team, agent), deadline=now + 900, trace_id="try",
    )  # fmt: skip


def _object(text: str, what: str) -> dict[str, Any]:
    from shiftlead.queues.errors import BadInput

    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what}: malformed JSON: {error}.") from None
    if not isinstance(data, dict):
        raise BadInput(f"{what}: a JSON object is expected, this is {_type_name(data)}.")
    return data


def _file_object(path: Path) -> dict[str, Any]:
    from shiftlead.queues.errors import BadInput

    try:
        return _object(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}.") from None


def _type_name(value: Any) -> str:
    """The name of its class."""
    return type(value).__name__


def _place(error: BaseException) -> str:
    """Where in the user's file it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last is not None else ""
