"""What people say about tickets: approve, deny, cancel, reply, reopen, note."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Run, command

__all__ = ["add"]

PANEL = "People"
TICKET = Annotated[str, typer.Argument(help="Number or id.", metavar="TICKET")]


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(app, "approve", panel=PANEL, examples=["shiftlead approve T-2026-031 --reason 'within policy'"])(approve)
    command(app, "deny", panel=PANEL, examples=["shiftlead deny T-2026-031 --reason 'over the limit'"])(deny)
    command(app, "cancel", panel=PANEL, examples=["shiftlead cancel T-2026-007 --reason 'sent twice'"])(cancel)
    command(app, "reply", panel=PANEL, examples=["shiftlead reply T-2026-007 'it is order 4711'"])(reply)
    command(app, "reopen", panel=PANEL, examples=["shiftlead reopen T-2026-007 --reason 'not fixed'"])(reopen)
    command(
        app,
        "note",
        panel=PANEL,
        examples=[
            "shiftlead note T-2026-007 'the customer called again'",
            "shiftlead note T-2026-009 'after the deployment' --signal error_rate=0.2",
        ],
    )(note)


def approve(run: Run, ticket: TICKET, reason: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """Say yes: to an approval ticket, or to the one approval a ticket waits for."""
    _answer(run, ticket, "approve", reason)


def deny(
    run: Run, ticket: TICKET, reason: Annotated[str, typer.Option(help="Why not; the asking agent reads it.")]
) -> None:
    """Say no: to an approval ticket, or to the one approval a ticket waits for."""
    _answer(run, ticket, "deny", reason)


def cancel(
    run: Run, ticket: TICKET, reason: Annotated[str, typer.Option(help="Why it is not needed any more.")]
) -> None:
    """Cancel a ticket and everything it waits for."""
    from .doors import open_door

    with open_door(run) as door:
        after = door.cancel(ticket, reason)
    run.say(after.model_dump(mode="json"), f"– {after.number} is {after.state}, with everything it waited for.")


def reply(run: Run, ticket: TICKET, text: Annotated[str, typer.Argument(help="The answer.")]) -> None:
    """Give the answer a ticket waits for: the requester's, or that of whoever it is blocked on."""
    from shiftlead.queues.ticket import check_text

    from .doors import open_door

    check_text(text, "the answer")
    with open_door(run) as door:
        after = door.reply(ticket, text)
    run.say(after.model_dump(mode="json"), f"✔ {after.number} goes on with the answer")


def reopen(
    run: Run, ticket: TICKET, reason: Annotated[str, typer.Option(help="What is not done yet; the agent reads it.")]
) -> None:
    """Open a completed ticket again: a new life, with its whole story."""
    from .doors import open_door

    with open_door(run) as door:
        after = door.reopen(ticket, reason)
    run.say(after.model_dump(mode="json"), f"○ {after.number} is {after.state} again")


def note(
    run: Run,
    ticket: TICKET,
    text: Annotated[str, typer.Argument(help="What to add to its story.")],
    signal: Annotated[
        list[str] | None, typer.Option(help="A measured value, as error_rate=0.2; may be repeated.")
    ] = None,
) -> None:
    """Add a line to a ticket's story. Whoever works on it next reads it."""
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.ticket import check_text

    from .doors import open_door

    check_text(text, "the note")
    if not text.strip():
        raise BadInput("The note is empty; nothing was written.", field="text")
    signals = dict(_signal(given) for given in signal or [])
    with open_door(run) as door:
        after = door.note(ticket, text, signals)
    run.say({"number": after.number, "note": text, "signals": signals}, f"✔ noted on {after.number}")


def _signal(given: str) -> tuple[str, float | str]:
    """`error_rate=0.2` as a name and a value; a value that is no number stays a text."""
    import math

    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.ticket import check_text

    name, equals, value = given.partition("=")
    check_text(given, "the signal")
    if not name.strip() or not equals or len(name) > 100 or len(value) > 500:
        raise BadInput(f"A signal is NAME=VALUE, as error_rate=0.2; this is {given[:60]!r}.", field="signal")
    try:
        number = float(value)
    except ValueError:
        return name.strip(), value
    return name.strip(), number if math.isfinite(number) else value


def _answer(run: Run, ticket: str, decision: str, reason: str) -> None:
    from .doors import open_door

    with open_door(run) as door:
        after = door.answer(ticket, decision, reason)
    word = "✔ approved" if decision == "approve" else "✘ denied"
    run.say(after.model_dump(mode="json"), f"{word}: {after.number}. The agent that asked goes on with it.")
