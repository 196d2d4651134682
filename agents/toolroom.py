"""Where an agent's tools come from: built-in ones, and the functions of the team's own `tools.py`.

    send_escalation_notification        every team whose file gives it to an agent (notifying.py)
    <team folder>/data/billing.json     customers and orders to begin with: the team has the billing tools (billing.py)
    <team folder>/data/repository.yaml  a git repository to work on: the team has the tools of repository.py
    <team folder>/tools.py              functions marked with `tool`, or an object of such methods

Only a team whose file gives some agent a tool opens anything.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from shiftlead.config.rules import near
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.desk import Desk
from shiftlead.queues.effects import Effects
from shiftlead.queues.errors import BadInput, StaleToken
from shiftlead.queues.ledger import Ledger

from .agent import Work
from .billing import BillingTools
from .billing_tables import Billing
from .notifying import NOTIFY, NotifyingTools
from .repository import RepositoryTools
from .repository_config import REPOSITORY, read_repository
from .tool import ToolSpec, registry
from .tools import Toolbox, live_tools

__all__ = ["SEED", "Toolroom", "team_tools", "tool_names"]

SEED = Path("data") / "billing.json"


class Toolroom:
    """Hands out toolboxes to the agents of one desk. Safe to share between threads."""

    def __init__(self, desk: Desk, agents: Iterable[str] = ()) -> None:
        """`agents`: whose tools are looked for at once.

        Raises:
            BadInput: the team file gives one of them a tool that does not exist.
        """
        self.desk = desk
        self._lock = threading.Lock()
        self._tools: dict[str, ToolSpec] | None = None
        for agent in agents:
            if wanted := self._wanted(agent):
                _require(agent, wanted, self.tools)

    @property
    def tools(self) -> dict[str, ToolSpec]:
        """Every tool of the team, by name."""
        with self._lock:
            if self._tools is None:
                desk = self.desk
                effects = Effects(desk.ledger, desk.team.team, desk.clock) if isinstance(desk.ledger, Ledger) else None
                self._tools = team_tools(desk.team, desk.settings, now=desk.clock.now(), effects=effects)
            return self._tools

    def toolbox(self, work: Work) -> Toolbox | None:
        """What the agent of `work` may use; None when the team file gives it nothing, or there is no ledger. Whoever
        judges or revises a reply is told what was done, also where he may do nothing himself."""
        desk, ticket = self.desk, work.ticket
        wanted = self._wanted(work.agent)
        if not (wanted or ticket.review) or not isinstance(desk.ledger, Ledger):
            return None

        def holds() -> None:
            now = desk.find(ticket.id)
            if now.token != work.token:
                raise StaleToken(ticket.number, work.token, now.state, now.assigned_to)

        def note(text: str, detail: dict[str, Any]) -> None:
            effect = detail.get("effect", {})
            if "result" in effect and desk.find(ticket.id).token != work.token:  # cancelled, it may be erased by now
                detail = detail | {"effect": {k: v for k, v in effect.items() if k != "result"}}
            desk.note(ticket.id, text, actor=f"agent:{work.agent}", **detail)

        effects = Effects(desk.ledger, desk.team.team, desk.clock)
        tools = self.tools if wanted else {}
        return Toolbox(work, desk.team, effects, tools, now=desk.clock.now, holds=holds, note=note)

    def _wanted(self, agent: str) -> list[str]:
        spec = self.desk.team.agents.get(agent)
        return list(live_tools(spec.tools)) if spec else []


def team_tools(
    team: Team, settings: Settings, *, now: float, effects: Effects | None = None
) -> dict[str, ToolSpec]:  # fmt: skip
    """Every tool of the team. Its billing database is made from the team's data the first time; `now`: unix seconds.
    Without `effects` none can be called that needs them.

    Raises:
        BadInput: two tools have one name, or one cannot be made from its function.
    """
    sources: list[Any] = []
    if (team.folder / SEED).is_file():
        address = f"sqlite:///{settings.data / f'billing-{team.team}.db'}"
        sources.append(BillingTools(Billing.opened(address, team.folder / SEED, now=now)))
    if _notifies(team):
        sources.append(NotifyingTools(team, effects) if effects is not None else NotifyingTools)
    if (repository := read_repository(team)) is not None:
        sources.append(RepositoryTools(team, repository, settings))
    if (team.folder / "tools.py").is_file():
        sources.append(_module(team.folder / "tools.py"))
    try:
        return registry(*sources)
    except TypeError as error:
        raise BadInput(f"Team {team.team!r}: {error}.", field="tools") from None


def tool_names(team: Team) -> list[str]:
    """The names of every tool of the team. No database is opened; the team's own `tools.py` is loaded."""
    sources: list[Any] = [BillingTools] if (team.folder / SEED).is_file() else []
    sources += [NotifyingTools] if _notifies(team) else []
    sources += [RepositoryTools] if (team.folder / REPOSITORY).is_file() else []
    own = team.folder / "tools.py"
    return sorted(registry(*sources, *([_module(own)] if own.is_file() else [])))


def _notifies(team: Team) -> bool:
    return any(NOTIFY in live_tools(agent.tools) for agent in team.agents.values())


def _require(agent: str, wanted: list[str], tools: dict[str, ToolSpec]) -> None:
    for name in wanted:
        if name not in tools:
            hint = near(name, tools)
            rest = f"Did you mean {hint!r}?" if hint else f"There are: {', '.join(sorted(tools)) or 'none'}."
            raise BadInput(f"{agent}: there is no tool {name!r}. {rest}", field="tools")


def _module(path: Path) -> ModuleType:
    """The team's own code, under a name of its own; a changed file is another module."""
    digest = hashlib.sha256(f"{path.resolve()}:{path.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    name = f"_shiftlead_tools_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise BadInput(f"{path} cannot be loaded as a Python module.", field="tools")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the team's own code
    except BaseException:
        del sys.modules[name]
        raise
    return module
