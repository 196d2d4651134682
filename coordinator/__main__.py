"""The command line: `shiftlead ...`, or `python -m shiftlead.coordinator ...`. Each group of commands is one file."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer

from .cli import (
    agents,
    audit,
    cost,
    demo,
    enqueue,
    hands,
    housekeeping,
    knowledge,
    numbers,
    people,
    run,
    signals,
    similar,
    simulate,
    stub_llm,
    teams,
    tickets,
    triage,
    try_agent,
    work,
)
from .cli.output import EXIT_CODES

__all__ = ["app", "main"]

app = typer.Typer(
    name="shiftlead",
    help="Shiftlead: the shift lead for teams of agents, AI and human. Tickets in, the right agent, nothing lost.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PARTS = (
    run, demo, enqueue, tickets, signals, similar, people, hands, agents, numbers, cost, try_agent, work, teams,
    triage, knowledge, audit, housekeeping, simulate, stub_llm,
)  # fmt: skip
for part in PARTS:
    part.add(app)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context, version: bool = typer.Option(False, "--version", help="Show the version.", is_eager=True)
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"shiftlead {installed('shiftlead')}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit(2)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    if "--json" not in given:
        return app(given, prog_name="shiftlead")
    try:
        code = app(given, prog_name="shiftlead", standalone_mode=False)
    except Exception as error:  # a mistake in the arguments, in JSON like every other error
        if os.environ.get("SHIFTLEAD_DEBUG") or not hasattr(error, "format_message"):
            raise
        code = int(getattr(error, "exit_code", 2))
        print(json.dumps({"error": error.format_message(), "exit_code": code}, ensure_ascii=False), file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
