"""From a brain setting in a team file to an Agent.

    offline                    software of ours: rules, policies, knowledge search; needs no key
    openai                     a model behind an OpenAI-compatible address; offline where none is configured
    python:module:function     a function of yours: <team folder>/<module>.py, else an importable module
    exec:command               a program of yours: Work as JSON on stdin, one Report as JSON on stdout

A python brain's exceptions are not caught here: the worker decides what a crash means for the ticket. A program's
faults cannot crash the worker, so they come back as Failed with the end of what it wrote to stderr.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from shiftlead.config.rules import near
from shiftlead.config.settings import Settings
from shiftlead.config.team import AgentSpec, Team
from shiftlead.queues.errors import BadInput

from .agent import Agent, Failed, Report, Work, as_report
from .budget import money_is_limited
from .knowledge import Knowledge, Shelf
from .meter import Metered, cost_of
from .offline import OfflineBrain
from .offline_instead import OfflineInstead
from .program import MAX_OUTPUT, Program, shared_environment
from .tools_api import ToolsFor

__all__ = ["ExecBrain", "PythonBrain", "brain_for", "brain_of"]

BRAINS = "offline, openai, python:module:function, exec:command"
# A program of the team gets its Work and nothing that opens the house, whatever the house has in its environment.
SHARED = ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SHIFTLEAD_TEAM", "SHIFTLEAD_PACE_S")


def brain_of(
    team: Team, agent: str, settings: Settings, *, now: Callable[[], float] = time.time, tools: ToolsFor | None = None,
    metered: Callable[[Metered], None] | None = None, shelf: Shelf | None = None,
) -> Agent:  # fmt: skip
    """The brain of one agent as its team file has it: which brain, which model, how freely, which prompts and pages.
    With `shelf`, the index of the team's knowledge, it also knows what resolved tickets teach.

    Raises:
        BadInput: it cannot be loaded, or a page it names is not there; `field` is the key of the team file.
    """
    spec = team.agents[agent]
    for page in spec.prompts.values():
        _within(team.folder, page, "prompts", must_be_file=True)
    known = Knowledge([_within(team.folder, page, "knowledge") for page in spec.knowledge], shelf)
    own = _own(spec, settings)
    if spec.brain == "openai" and own.openai_configured and money_is_limited(team, agent):
        _require_prices(own)
    return brain_for(
        spec.brain, role=spec.role, folder=team.folder, settings=own, now=now, tools=tools, prompts=spec.prompts,
        knowledge=known, metered=metered, team=team,
    )  # fmt: skip


def _own(spec: AgentSpec, settings: Settings) -> Settings:
    """The settings with what this agent has of its own."""
    own = {"openai_model": spec.model, "openai_temperature": spec.temperature}
    return settings.model_copy(update={name: value for name, value in own.items() if value is not None})


def _require_prices(settings: Settings) -> None:
    """A call whose cost nobody knows cannot be held to a budget of money.

    Raises:
        BadInput: a model has no price.
    """
    for model in (settings.openai_model, settings.openai_fallback_model):
        if model and cost_of(settings.openai_prices, model, 0, 0) is None:
            raise BadInput(
                f"Money is limited by the team's budgets, and the model {model!r} has no price. Set "
                f'SHIFTLEAD_OPENAI_PRICES=\'{{"{model}": {{"input": 0.4, "output": 1.6}}}}\' (per million tokens).',
                field="brain",
            )


def _within(folder: Path, page: str, field: str, *, must_be_file: bool = False) -> Path:
    """The page or folder of that name in the team's folder. `knowledge` itself may be missing: a team need not have it.

    Raises:
        BadInput: it leads out of the team's folder, or is not there.
    """
    path = (folder / page).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadInput(f"{field}: {page!r} leads out of the team's folder.", field=field)
    if not (path.is_file() if must_be_file else path.exists() or page == "knowledge"):
        raise BadInput(f"{field}: there is no {page!r} in {folder}.", field=field)
    return path


def brain_for(
    spec_brain: str, *, role: str, folder: Path, settings: Settings, now: Callable[[], float] = time.time,
    tools: ToolsFor | None = None, prompts: Mapping[str, str] | None = None, knowledge: Knowledge | None = None,
    metered: Callable[[Metered], None] | None = None, team: Team | None = None,
) -> Agent:  # fmt: skip
    """The Agent a team file's `brain` means. `folder` is the team's folder, where its code and knowledge live; `now` is
    the clock that deadlines are counted on, unix seconds. `tools`, `prompts` and `metered` are for a model: see llm.py.

    Raises:
        BadInput: no such brain, or its module, function or program is not there; says what was looked for and where.
    """
    kind, _, rest = spec_brain.strip().partition(":")
    knowledge = knowledge or Knowledge(folder / "knowledge")
    if kind == "offline" and not rest:
        return OfflineBrain(role, knowledge, team)
    if kind == "openai" and not rest:
        if not settings.openai_configured:
            return OfflineInstead(OfflineBrain(role, knowledge, team))
        from .llm import OpenAIBrain  # only then: importing the SDK takes half a second

        return OpenAIBrain(
            role, folder, settings, now=now, tools=tools, prompts=prompts, knowledge=knowledge, metered=metered
        )
    if kind == "python" and rest:
        return PythonBrain(rest, folder)
    if kind == "exec" and rest.strip():
        return ExecBrain(rest, folder, limit_s=settings.run_deadline_s, now=now)
    raise BadInput(f"There is no brain {spec_brain!r}. Brains: {BRAINS}.", field="brain")


class PythonBrain:
    """Calls a function that takes Work, or the `handle` of an object, and reads its answer as a Report."""

    def __init__(self, target: str, folder: Path) -> None:
        module_name, _, name = target.partition(":")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module_name) or not name.isidentifier():
            raise BadInput(f"The brain 'python:{target}' is not of the form python:module:function.", field="brain")
        module = _load(module_name, folder)
        found = getattr(module, name, None)
        if found is None:
            offers = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
            hint = near(name, offers)
            meant = f" Did you mean {hint!r}?" if hint else ""
            raise BadInput(
                f"{module.__file__} has no {name!r} for the brain 'python:{target}'.{meant} "
                f"It has: {', '.join(offers) or 'nothing'}.",
                field="brain",
            )
        if inspect.isclass(found) and hasattr(found, "handle"):
            found = found()
        handle = getattr(found, "handle", found)
        if not callable(handle):
            raise BadInput(f"'python:{target}' is neither a function nor an object with .handle(work).", field="brain")
        if inspect.iscoroutinefunction(handle):
            raise BadInput(
                f"'python:{target}' is an async function; agents run on threads, so make it a plain one.", field="brain"
            )
        self._handle: Callable[[Work], Any] = handle
        self._can_take: Callable[[Work], Any] | None = getattr(found, "can_take", None)

    def handle(self, work: Work) -> Report:
        """Whatever the function raises goes through.

        Raises:
            BadInput: what it returned is not a Report.
        """
        return as_report(self._handle(work))

    def can_take(self, work: Work) -> Any:
        """What its object says; None where it has no `can_take`."""
        return self._can_take(work) if self._can_take else None


class ExecBrain:
    """Runs a program once for each ticket, in the team's folder, in a process group of its own, without a shell."""

    def __init__(self, command: str, folder: Path, *, limit_s: float, now: Callable[[], float] = time.time) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as error:
            raise BadInput(f"The brain 'exec:{command}' cannot be split into words: {error}.", field="brain") from None
        program = self._argv[0] if self._argv else ""
        there = (folder / program).is_file() if "/" in program else shutil.which(program)
        if not there:
            where = f"in {folder}" if "/" in program else "on the PATH"
            raise BadInput(f"The program {program!r} of the brain 'exec:{command}' is not {where}.", field="brain")
        self._folder, self._limit_s, self._now = folder, limit_s, now

    def handle(self, work: Work) -> Report:
        """Never raises for what the program does. A time-out, exit code or missing program is retryable; an answer
        that is no Report is not, because the same program would give it again."""
        limit_s = max(0.0, work.deadline - self._now()) if work.deadline else self._limit_s
        program = " ".join(self._argv)[:200]
        try:
            data = work.model_dump_json().encode()
            run = Program(self._argv, self._folder, env=shared_environment(SHARED), limit_s=limit_s, data=data)
        except OSError as error:
            return Failed(error=f"{program!r} could not be started: {error}.", retryable=True)
        said = f" stderr ends: {run.stderr}" if run.stderr else " It wrote nothing to stderr."
        if run.timed_out:
            text = f"{program!r} gave no report within {limit_s:.1f} s; its process group was killed.{said}"
            return Failed(error=text, retryable=True)
        if run.too_much:
            return Failed(error=f"{program!r} wrote more than {MAX_OUTPUT:,} bytes and was killed.{said}")
        if run.code != 0:
            how = f"was ended by signal {-run.code}" if run.code < 0 else f"exited with code {run.code}"
            return Failed(error=f"{program!r} {how}.{said}", retryable=True)
        try:
            return _read_report(run.stdout)
        except BadInput as error:
            return Failed(error=f"{program!r} exited with code 0, but {error}{said}")


def _read_report(stdout: bytes) -> Report:
    try:
        value = json.loads(stdout.decode("utf-8"))
    except (ValueError, RecursionError):
        shown = stdout[:200].decode("utf-8", "replace").replace("\0", "")
        raise BadInput(
            f"its output is not JSON. A program must print one Report as JSON, plain text is not a report; it "
            f"printed: {shown!r}."
        ) from None
    if not isinstance(value, dict):
        raise BadInput(f"its output is a JSON {type(value).__name__}, not an object that is one Report.")
    return as_report(value)


def _load(name: str, folder: Path) -> ModuleType:
    path = (folder / Path(*name.split("."))).with_suffix(".py").resolve()
    if not path.is_file():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise  # the module is there, something it imports is not
            raise BadInput(f"There is no {path}, and no module {name!r} to import.", field="brain") from None
    # A name of its own: two teams may both have an agents.py, and neither must hide an installed package.
    stamp = f"{path}:{path.stat().st_mtime_ns}"
    private = f"_shiftlead_brain_{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if private in sys.modules:
        return sys.modules[private]
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} cannot be loaded as a Python module.", field="brain")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module
    try:
        # Compiled here and not by the loader: its byte code is kept by whole seconds and size, so a quick edit would
        # not be seen, and it would write into the team's folder.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the team's own code
    except BaseException:
        del sys.modules[private]
        raise
    return module
