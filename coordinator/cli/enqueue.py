"""Putting tickets in: one from the command line, or many from a JSONL file or standard input."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Run, command, safe

if TYPE_CHECKING:
    from shiftlead.queues.ticket import Draft

    from .doors import Door

__all__ = ["BATCH", "add"]

BATCH = 500  # tickets sent in one go; each is answered for itself


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(
        app, "enqueue", panel="Tickets",
        examples=[
            "shiftlead enqueue 'I was charged twice for order 4711' --customer 'Ada Berg' --type billing",
            "shiftlead enqueue tickets.jsonl",
            "cat tickets.jsonl | shiftlead enqueue - --json",
            "shiftlead enqueue issue.json --from github",
        ],
    )(enqueue)  # fmt: skip


def enqueue(
    run: Run,
    what: Annotated[
        str, typer.Argument(help="The ticket's text, a .jsonl file, or - for JSONL on stdin.", metavar="TEXT|FILE|-")
    ],
    type: Annotated[str | None, typer.Option(help="What kind of ticket, as code_review or billing.")] = None,
    title: Annotated[str | None, typer.Option(help="Title; default: the text's first line.")] = None,
    customer: Annotated[str | None, typer.Option(help="Whom it is about.")] = None,
    reporter: Annotated[str | None, typer.Option(help="Who says it.")] = None,
    priority: Annotated[str | None, typer.Option(help="urgent, high, normal, low; default: the team decides.")] = None,
    component: Annotated[str | None, typer.Option(help="Part of the product.")] = None,
    link: Annotated[list[str] | None, typer.Option(help="A link; may be repeated.")] = None,
    context: Annotated[str | None, typer.Option(help="Free facts, a JSON object.")] = None,
    to: Annotated[str | None, typer.Option(help="Only this agent may take it.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same call again stores nothing twice.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Store nothing if any line is bad.")] = False,
    channel: Annotated[
        str | None, typer.Option("--from", help="A file of another channel: github, notification, calendar.")
    ] = None,
) -> None:  # fmt: skip
    """Put tickets in. Each is acknowledged when it stands in the ledger.

    What somebody has open already - the same text by the same requester, or the same link - joins that ticket.

    A JSONL file has one ticket a line. A bad line is told as file:line and skipped, the others are stored; with
    --strict nothing is. The exit code is 2 if any line was bad. A line may carry a "key" for idempotency.
    """
    given = {
        "type": type, "title": title, "customer": customer, "reporter": reporter, "priority": priority,
        "component": component, "links": link, "assigned_to": to,
    }  # fmt: skip
    fields: dict[str, Any] = {name: value for name, value in given.items() if value}
    if context:
        fields["context"] = _object(context)
    if channel is not None:
        _from(run, channel, what, strict, [*fields, *(["key"] if key else [])])
    elif what == "-":
        _many(run, "-", key, strict, fields)
    elif what.endswith((".jsonl", ".ndjson")):
        _many(run, what, key, strict, fields)
    else:
        _refuse_file(what)
        _one(run, {"body": what, "source": "cli"} | fields, key)


def _from(run: Run, channel: str, name: str, strict: bool, beside: list[str]) -> None:
    """The messages of another channel say for themselves what they are, and have keys of their own."""
    from shiftlead.coordinator.inbound import Ignored
    from shiftlead.queues.errors import BadInput, ShiftleadError

    from .doors import open_door
    from .inbound import messages

    if beside:
        raise BadInput(f"With --from the message says it all: leave out {', '.join(beside)}. Nothing was stored.")
    tally = _Tally("<stdin>" if name == "-" else name)
    batch: list[tuple[int, Draft, str | None]] = []
    for number, found in messages(channel, name, max_bytes=run.settings.max_ticket_bytes):
        if isinstance(found, Ignored):
            tally.ignored.append(f"{number}: {found}")
        elif isinstance(found, Exception):
            tally.bad(number, str(found), found.exit_code if isinstance(found, ShiftleadError) else 1)
        else:
            batch.append((number, found.draft, found.key))
    if strict and tally.errors:
        _finish(run, tally, stored_none=True)
    with open_door(run) as door:
        for start in range(0, len(batch), BATCH):
            _send(door, batch[start : start + BATCH], tally)
    for error in () if run.as_json else tally.errors:
        print(safe(f"{tally.name}:{error['line']}: {error['error']}"), file=sys.stderr)
    _finish(run, tally)


def _refuse_file(what: str) -> None:
    """The name of a file is hardly the text of a ticket: a slip would store the name and lose what was meant.

    Raises:
        BadInput: there is such a file here, and it is no .jsonl.
    """
    from shiftlead.queues.errors import BadInput

    try:
        there = len(what) < 1000 and "\n" not in what and Path(what).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # not a path at all
        return
    if there:
        name = shlex.quote(what)
        raise BadInput(
            f"{what} is a file, and not a .jsonl one. Nothing was stored. One ticket a line: name it .jsonl, or send "
            f'it with `... enqueue - < {name}`. Its content as one ticket: `... enqueue "$(cat {name})"`.',
            field="body",
        )


def _one(run: Run, fields: dict[str, Any], key: str | None) -> None:
    from shiftlead.coordinator.hints import called
    from shiftlead.queues.errors import BadInput, ShiftleadError
    from shiftlead.queues.ticket import parse_draft

    from .doors import open_door

    if not fields["body"].strip():
        raise BadInput("The ticket has no text. Nothing was stored.", field="body")
    draft = parse_draft(fields, max_bytes=run.settings.max_ticket_bytes)
    with open_door(run) as door:
        [answer] = door.accept_many([(draft, key)])
    if isinstance(answer, ShiftleadError):
        raise answer
    ticket = answer.ticket
    follow = called(run.settings, "show", ticket.number)
    said = f"{ticket.number} is stored" if answer.created else f"{ticket.number} was stored before under this key"
    if answer.joined:
        said = f"joined {ticket.number} ({answer.why or 'the same matter'}), both requesters are kept"
    run.say(
        {"created": answer.created, "joined": answer.joined, "ticket": ticket.model_dump(mode="json")},
        f"✔ {said}. Follow it: {follow}",
    )


@dataclass
class _Tally:
    """What became of the lines."""

    name: str
    stored: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    known: int = 0
    ignored: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    worst: int = 0

    def bad(self, line: int, message: str, code: int) -> None:
        # The door speaks of one ticket; beside lines that were stored its "nothing" would mean the whole file.
        for nothing in ("Nothing of it was stored.", "Nothing was stored."):
            message = message.replace(nothing, "This line was not stored.")
        self.errors.append({"line": line, "error": message})
        self.worst = max(self.worst, code)


def _many(run: Run, name: str, key: str | None, strict: bool, defaults: dict[str, Any]) -> None:
    from .doors import open_door

    tally = _Tally("<stdin>" if name == "-" else name)
    told = 0

    def tell() -> None:
        nonlocal told
        for error in tally.errors[told:]:
            if not run.as_json:
                print(safe(f"{tally.name}:{error['line']}: {error['error']}"), file=sys.stderr)
        told = len(tally.errors)

    with _lines(name) as (lines, total):
        drafts = _drafts(run, lines, key, defaults, tally)
        if strict:
            whole = list(drafts)
            tell()
            if tally.errors:
                _finish(run, tally, stored_none=True)
            drafts = iter(whole)
        with open_door(run) as door, _progress(run, total) as advance:
            batch: list[tuple[int, Draft, str | None]] = []
            for item in drafts:
                batch.append(item)
                if len(batch) == BATCH:
                    _send(door, batch, tally)
                    advance(item[0])
                    tell()
                    batch = []
            if batch:
                _send(door, batch, tally)
                advance(batch[-1][0])
            tell()
    _finish(run, tally)


def _drafts(
    run: Run, lines: Iterator[bytes], key: str | None, defaults: dict[str, Any], tally: _Tally
) -> Iterator[tuple[int, Draft, str | None]]:
    """Line number, draft and idempotency key of every good line."""
    from shiftlead.queues.errors import BadInput
    from shiftlead.queues.ticket import parse_draft

    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            data = _object(raw)
            own = data.pop("key", None)
            if own is not None and not isinstance(own, str):
                raise BadInput("key: an idempotency key is a text.", field="key")
            draft = parse_draft(defaults | {"source": "cli"} | data, max_bytes=run.settings.max_ticket_bytes)
        except BadInput as error:
            tally.bad(number, str(error), 2)
            continue
        # One --key for a whole file: every line gets a key of its own, so the file may be sent again.
        yield number, draft, own or (f"{key}:{number}" if key else None)


def _send(door: Door, batch: list[tuple[int, Draft, str | None]], tally: _Tally) -> None:
    from shiftlead.queues.errors import ShiftleadError

    try:
        answers = door.accept_many([(draft, key) for _, draft, key in batch])
    except ShiftleadError as error:  # the whole batch, as while the queues are rebuilt: say it line by line and go on
        answers = [error] * len(batch)
    for (number, _, _), answer in zip(batch, answers, strict=True):
        if isinstance(answer, ShiftleadError):
            tally.bad(number, str(answer), answer.exit_code)
        elif answer.created:
            tally.stored.append(answer.ticket.number)
        elif answer.joined:
            tally.joined.append(answer.ticket.number)
        else:
            tally.known += 1


def _finish(run: Run, tally: _Tally, *, stored_none: bool = False) -> None:
    bad = len(tally.errors)
    parts = [f"{len(tally.stored):,} stored"]
    if tally.stored:
        parts[0] += f" ({tally.stored[0]} … {tally.stored[-1]})" if len(tally.stored) > 1 else f" ({tally.stored[0]})"
    parts += [f"{len(tally.joined):,} joined open tickets"] if tally.joined else []
    parts += [f"{tally.known:,} stored before"] if tally.known else []
    parts += [f"{len(tally.ignored):,} nobody's work ({tally.ignored[0]})"] if tally.ignored else []
    parts += (
        [
            f"{bad:,} bad"
            + (", so nothing was stored (--strict)" if stored_none else f" line{'s' * (bad != 1)} left out")
        ]
        if bad
        else []
    )
    mark = "✘" if not tally.stored and not tally.joined and not tally.known and bad else "✔"
    run.say(
        {
            "stored": len(tally.stored),
            "numbers": tally.stored,
            "joined": tally.joined,
            "known": tally.known,
            "ignored": tally.ignored,
            "errors": tally.errors,
        },
        f"{mark} {' · '.join(parts)}",
    )
    if bad:
        raise typer.Exit(tally.worst)


def _object(text: str | bytes) -> dict[str, Any]:
    from shiftlead.queues.errors import BadInput

    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Malformed JSON: {error}. Nothing of it was stored.") from None
    if not isinstance(data, dict):
        raise BadInput(f"A JSON object is expected, this is {type(data).__name__}. Nothing of it was stored.")
    return data


@contextmanager
def _lines(name: str) -> Iterator[tuple[Iterator[bytes], int | None]]:
    """The lines, and how many there are where that is known."""
    from shiftlead.queues.errors import BadInput

    if name == "-":
        yield iter(sys.stdin.buffer), None
        return
    path = Path(name).expanduser()
    try:
        with path.open("rb") as counted:
            total = sum(1 for _ in counted)
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {error.strerror}. Nothing was stored.") from None
    with file:
        yield iter(file), total


def _progress(run: Run, total: int | None) -> Any:
    """A bar on a terminal; nothing where nobody watches."""
    if run.as_json or not sys.stderr.isatty():
        return nullcontext(lambda _done: None)
    return _bar(total)


@contextmanager
def _bar(total: int | None) -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .output import console

    columns = (TextColumn("enqueue"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("enqueue", total=total)
        yield lambda done: progress.update(task, completed=done)
