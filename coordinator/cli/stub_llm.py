"""A model server without a model, for trying the `openai` brain and for tests: stub-llm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import Run, command

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Register the command of this file."""
    examples = [
        "shiftlead stub-llm --port 8150",
        "SHIFTLEAD_OPENAI_BASE_URL=http://127.0.0.1:8150/v1 shiftlead try iris_support 'Where is my card?'",
        "shiftlead stub-llm --script answers.jsonl --delay 1",
        "shiftlead stub-llm --seed 7   # half of the calls go wrong, the same ones each time",
    ]
    command(app, "stub-llm", panel="Single processes", examples=examples)(stub_llm)


def stub_llm(
    run: Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 0,
    script: Annotated[Path | None, typer.Option(help="Answers: a JSON list of steps, or one step a line.")] = None,
    delay: Annotated[float, typer.Option(min=0, max=3600, help="Seconds every answer takes.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Let half of the calls meet a fault, chosen by this number.")] = None,
) -> None:
    """Run a stub model server that speaks the chat completions protocol, until it is interrupted.

    Without a script it answers with sensible reports that say what they are.
    """
    from shiftlead.coordinator.stub_answers import Script, read_script
    from shiftlead.coordinator.stub_llm import StubLlm
    from shiftlead.queues.errors import BadInput, Unavailable

    try:
        steps = read_script(script) if script else []
    except (OSError, ValueError) as error:
        raise BadInput(f"{script} cannot be used as a script: {error}", field="script") from None
    stub = StubLlm(Script(steps, seed=seed), port=port, delay_s=delay)
    try:
        stub.start()
    except OSError as error:
        raise Unavailable(f"Port {port} cannot be used: {error.strerror}. Name another with --port.") from None
    try:
        run.say(
            {"url": stub.url, "port": stub.port, "steps": len(steps)},
            f"✔ a stub model answers at {stub.url} (counts: {stub.url.removesuffix('/v1')}/counts)",
            f"SHIFTLEAD_OPENAI_BASE_URL={stub.url} shiftlead up   # agents with `brain: openai` then ask it",
        )
        import sys

        sys.stdout.flush()
        stub.wait()
    finally:
        stub.stop()
