"""Starting and stopping: everything at once (up, down), or one process, as a Procfile or another host needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command

if TYPE_CHECKING:
    from shiftlead.config.settings import Settings
    from shiftlead.config.team import Team
    from shiftlead.coordinator.supervisor import Supervisor

__all__ = ["add", "flower_login"]

PANEL = "Start and stop"
ONE = "Single processes"


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app,
        "up",
        panel=PANEL,
        examples=["shiftlead up", "shiftlead up --detach --home ./data", "shiftlead up --team front_office,acme"],
    )(up)
    command(app, "down", panel=PANEL, examples=["shiftlead down"])(down)
    command(app, "coordinator", panel=ONE, examples=["shiftlead coordinator --team front_office"])(coordinator)
    command(
        app,
        "worker",
        panel=ONE,
        examples=["shiftlead worker --agent iris_support", "shiftlead worker --role support", "shiftlead worker --all"],
    )(worker)
    command(app, "intake", panel=ONE, examples=["shiftlead intake"])(intake)
    command(app, "web", panel=ONE, examples=["SHIFTLEAD_PORT=8200 shiftlead web"])(web)
    command(app, "flower", panel=ONE, examples=["SHIFTLEAD_FLOWER_PORT=8201 shiftlead flower"])(flower)
    command(app, "redis", panel=ONE, examples=["shiftlead redis --home ./data"])(redis)  # fmt: skip


def up(
    run: Run,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on in the background when everything is ready.")
    ] = False,
    without_web: Annotated[bool, typer.Option("--no-web", help="Without the HTTP door.")] = False,
    without_flower: Annotated[bool, typer.Option("--no-flower", help="Without Flower.")] = False,
) -> None:
    """Start everything on one data folder: server, coordinator, a worker per agent, intake, HTTP door, Flower.

    What dies is started again. Ctrl-C (or `shiftlead down`) stops all of it in reverse; work in hand is finished or
    given back first.
    """
    from shiftlead.agents.brain_check import require_brains
    from shiftlead.coordinator import supervisor
    from shiftlead.coordinator.hints import called

    settings = run.settings
    supervisor.refuse_second(settings)
    teams = _teams(run)
    require_brains(teams, settings, apart=True)
    names = ",".join(run.teams)
    key_before = (settings.data / "admin_key").exists()
    say = _sayer(run)
    if detach:
        argv = [*supervisor.COMMAND, "up", "--team", names]
        argv += ["--no-web"] * without_web + ["--no-flower"] * without_flower
        pid = supervisor.start_detached(settings, argv)
        _addresses(run, not key_before, web=not without_web, flower=not without_flower, pid=pid)
        return
    say(f"Starting Shiftlead on {settings.data} for {', '.join(t.team for t in teams)}")

    def ready(_: Supervisor) -> None:
        # What is no terminal is a log: `up --detach` writes this one, and says the key itself.
        _addresses(run, not key_before and sys.stdout.isatty(), web=not without_web, flower=not without_flower)

    code = supervisor.up(settings, teams, web=not without_web, flower=not without_flower, on_ready=ready, say=say)
    say(f"Stopped. Nothing is lost: start again with `{called(settings, 'up', team=names)}`.")
    raise typer.Exit(code)


def down(run: Run) -> None:
    """Stop the Shiftlead that runs on this data folder, and wait until it is gone."""
    from shiftlead.coordinator.hints import called
    from shiftlead.coordinator.supervisor import running_teams, stop_running

    teams = running_teams(run.settings)
    pid = stop_running(run.settings)
    if pid is None:
        run.say({"stopped": None}, f"Nothing runs on {run.settings.data}.")
        return
    again = called(run.settings, "up", team=",".join(teams) or True)
    run.say(
        {"stopped": pid},
        f"✔ stopped (process {pid}). The tickets are in {run.settings.data}. Start again: {again}",
    )


def coordinator(run: Run) -> None:
    """Run the coordinator. A second one stands by and takes over when the first is gone."""
    _prepare(run, "coordinator")
    from shiftlead.coordinator.loop import run_coordinator

    raise typer.Exit(run_coordinator(run.settings, run.teams))


def worker(
    run: Run,
    agent: Annotated[list[str] | None, typer.Option(help="An agent to work for; may be repeated.")] = None,
    role: Annotated[str, typer.Option(help="Every agent of this role.")] = "",
    everybody: Annotated[bool, typer.Option("--all", help="Every agent of the team that has a brain.")] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Tickets at a time; default: the agents' capacity.")
    ] = None,
) -> None:
    """Run a worker process for one agent, for a role, or for all agents of the team."""
    from shiftlead.queues.errors import BadInput

    if sum((bool(agent), bool(role), everybody)) != 1:
        raise BadInput("Say for whom to work: --agent NAME, --role ROLE or --all.", field="agent")
    from shiftlead.agents.__main__ import keep_worker
    from shiftlead.agents.brain_check import require_brains
    from shiftlead.agents.worker import agents_for
    from shiftlead.config.team import load_team
    from shiftlead.coordinator.supervisor import running

    team = load_team(run.teams[0], run.settings, overlay=run.settings.overlay)
    names = agents_for(team, agent or [], role=role) if agent or role else []
    if running(run.settings) != os.getppid():  # `up` has looked already
        require_brains([team], run.settings, names, apart=True)
    _prepare(run, "worker")
    raise typer.Exit(keep_worker(run.settings, team, names, concurrency))


def intake(run: Run) -> None:
    """Run the intake worker: it takes tickets sent as the Celery task shiftlead.enqueue."""
    _prepare(run, "intake")
    from shiftlead.queues.intake import run_intake

    raise typer.Exit(run_intake(run.settings, _teams(run)))


def web(run: Run) -> None:
    """Run the HTTP door; its description is at /openapi.json."""
    _prepare(run, "web")
    from shiftlead.coordinator.api.app import run_web

    raise typer.Exit(run_web(run.settings, run.teams))


def flower(run: Run) -> None:
    """Run Flower with the Tickets tab."""
    _prepare(run, "flower")
    from shiftlead.coordinator.flower import run_flower

    raise typer.Exit(run_flower(run.settings, _teams(run)))


def redis(run: Run) -> None:
    """Run the embedded server (Valkey) on the data folder."""
    from shiftlead.config.log import set_up_logging
    from shiftlead.coordinator.embedded import EmbeddedServer

    set_up_logging(run.settings, process="redis", json=run.as_json or None)
    raise typer.Exit(EmbeddedServer(run.settings).run())


def _prepare(run: Run, process: str) -> None:
    """Logging, and a server that answers."""
    from shiftlead.config.log import set_up_logging
    from shiftlead.coordinator.embedded import wait_for_redis

    set_up_logging(run.settings, process=process, json=run.as_json or None)
    wait_for_redis(run.settings)


def _teams(run: Run) -> list[Team]:
    from shiftlead.config.team import load_team

    return [load_team(name, run.settings, overlay=run.settings.overlay) for name in run.teams]


def _sayer(run: Run) -> Callable[[str], None]:
    def say(text: str) -> None:
        if run.as_json:
            import json

            print(json.dumps({"event": text}, ensure_ascii=False), flush=True)
        else:
            print(text, flush=True)

    return say


def flower_login(settings: Settings) -> str:
    """Where the login of Flower stands; its user, never its password."""
    if settings.flower_auth:
        user, _, _ = settings.flower_auth.partition(":")
        return f"login {user}, the password is the one in SHIFTLEAD_FLOWER_AUTH"
    file = settings.data / "flower_auth"
    user = file.read_text().partition(":")[0] if file.exists() else "shiftlead"
    return f"login {user}, the password is in {file} (user:password)"


def _addresses(run: Run, with_key: bool, *, web: bool, flower: bool, pid: int | None = None) -> None:
    """Where everything is. `with_key`: and the admin key, which has just been made."""
    from shiftlead.coordinator.hints import called

    s = run.settings
    data: dict[str, Any] = {"ready": True, "data": str(s.data)}
    lines = ["", f"✔ Shiftlead is up. Data folder: {s.data}"]
    if web:
        data["http"] = f"http://{s.host}:{s.port}"
        lines.append(f"  HTTP    {data['http']}/openapi.json")
    if flower:
        data["flower"] = f"http://{s.host}:{s.flower_port}"
        login = flower_login(s)
        data["flower_login"] = login
        lines.append(f"  Flower  {data['flower']}, {login}")
    key = s.data / "admin_key"
    if key.exists():
        data["admin_key_file"] = str(key)
        if not with_key:
            lines.append(f"  Admin   the key is in {key}")
        else:
            data["admin_key"] = key.read_text().strip()
            lines.append(f"  Admin key, shown once here and kept in {key}: {data['admin_key']}")
    if pid is not None:
        data["pid"] = pid
    down_ = called(s, "down", team=False)
    stop = f"{down_} (process {pid})" if pid is not None else f"Ctrl-C, or {down_}"
    first = called(s, "enqueue", "My order 4711 is late", team=run.teams[0])
    lines += [f"  Enqueue {first}"]
    lines += [f"  Logs    {s.data / 'logs'}", f"  Stop    {stop}", ""]
    run.say(data, *lines)
