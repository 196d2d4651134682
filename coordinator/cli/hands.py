"""People's hands on open tickets: edit, reassign, snooze, merge, delegate; and the inbox of what waits for people."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .agents import in_zone, moment
from .output import Run, command, in_time, plain

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["add"]

PANEL = "People"
TICKET = Annotated[str, typer.Argument(help="Number or id.", metavar="TICKET")]
WHY = Annotated[str, typer.Option(help="Why; it stands in the ticket's story.")]
MOST_SHOWN = 120  # characters of a value
MOST_OTHERS = 12  # arguments that are no terms
MARKS = {"approval": "?", "question": "…", "blocked": "▣", "ticket": "○"}


def add(app: typer.Typer) -> None:
    """Register the commands of this file."""
    command(app, "inbox", panel=PANEL, examples=["shiftlead inbox", "shiftlead inbox --for felix_ceo"])(show_inbox)
    command(app, "delegate", panel=PANEL, examples=["shiftlead delegate T-2026-031 --to on_call"])(delegate)
    command(
        app, "edit", panel=PANEL,
        examples=["shiftlead edit T-2026-007 --priority urgent --reason 'the shop is down'",
                  "shiftlead edit T-2026-007 --needs billing,decision"],
    )(edit)  # fmt: skip
    command(
        app, "reassign", panel=PANEL,
        examples=["shiftlead reassign T-2026-007 --to devin_engineering --reason 'he knows the job'"],
    )(reassign)  # fmt: skip
    command(app, "snooze", panel=PANEL, examples=["shiftlead snooze T-2026-007 --until +2h"])(snooze)
    command(app, "merge", panel=PANEL, examples=["shiftlead merge T-2026-008 --into T-2026-007"])(merge)


def show_inbox(
    run: Run,
    who: Annotated[str | None, typer.Option("--for", help="An agent or person; default: everybody.")] = None,
) -> None:
    """Show what waits for people: approvals, questions, tickets of people, blocked work; the most pressing first."""
    from .doors import open_door

    with open_door(run) as door:
        items = door.inbox(who)
    if not items:
        run.say([], f"✔ nothing waits for {who or 'anybody'}")
        return
    run.say(items, _table(items), _how(items))


def delegate(
    run: Run, ticket: TICKET, to: Annotated[str, typer.Option(help="Who decides instead.")], reason: WHY = ""
) -> None:
    """Let somebody else decide an approval."""
    from .doors import open_door

    with open_door(run) as door:
        after = door.delegate(ticket, to, reason)
    run.say(after.model_dump(mode="json"), f"✔ {to} decides {after.number} now")


def edit(
    run: Run,
    ticket: TICKET,
    title: Annotated[str | None, typer.Option(help="Title.")] = None,
    body: Annotated[str | None, typer.Option(help="Text.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Type.")] = None,
    priority: Annotated[str | None, typer.Option(help="urgent, high, normal or low; moves the due time.")] = None,
    needs: Annotated[str | None, typer.Option(help="Capabilities, separated by commas.")] = None,
    customer: Annotated[str | None, typer.Option(help="Customer.")] = None,
    component: Annotated[str | None, typer.Option(help="Component.")] = None,
    link: Annotated[list[str] | None, typer.Option(help="All its links; may be given several times.")] = None,
    reason: WHY = "",
) -> None:
    """Set right what an open ticket says."""
    from .doors import open_door

    given: dict[str, Any] = {
        "title": title, "body": body, "type": kind, "priority": priority, "customer": customer, "component": component,
        "needs": None if needs is None else [n.strip() for n in needs.split(",") if n.strip()], "links": link or None,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    with open_door(run) as door:
        after = door.edit(ticket, changes, reason)
    run.say(after.model_dump(mode="json"), f"✔ {after.number}: {', '.join(changes)} set")


def reassign(
    run: Run,
    ticket: TICKET,
    to: Annotated[str | None, typer.Option(help="The agent that should take it.")] = None,
    needs: Annotated[str | None, typer.Option(help="Or what it needs: capabilities, separated by commas.")] = None,
    reason: WHY = "",
) -> None:
    """Give a ticket to somebody else. Whoever held it is told to stop."""
    from .doors import open_door

    wanted = [n.strip() for n in (needs or "").split(",") if n.strip()]
    with open_door(run) as door:
        after = door.reassign(ticket, to, wanted, reason)
    run.say(after.model_dump(mode="json"), f"✔ {after.number} goes to {to or ' + '.join(wanted)} ({after.state})")


def snooze(
    run: Run,
    ticket: TICKET,
    until: Annotated[str, typer.Option(help="HH:MM (local time), an ISO moment, or +30m.")],
    reason: WHY = "",
) -> None:
    """Put a ticket off until a stated time. Its escalation clock goes on."""
    from .doors import open_door

    at = moment(until, time.time())
    with open_door(run) as door:
        after = door.snooze(ticket, at, reason)
    run.say(after.model_dump(mode="json"), f"✔ {after.number} is put off until {in_zone(at)}")


def merge(
    run: Run,
    ticket: TICKET,
    into: Annotated[str, typer.Option(help="The ticket that stays.")],
    reason: WHY = "",
) -> None:
    """Say that a ticket is the same matter as another: it is closed, its text, links and requester live on there."""
    from .doors import open_door

    with open_door(run) as door:
        after = door.merge(ticket, into, reason)
    run.say(after.model_dump(mode="json"), f"✔ merged into {after.number}; {len(after.joined)} joined it so far")


def _table(items: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    now = time.time()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "ticket", "asks", "who asks", "until"):
        table.add_column(name, overflow="fold", no_wrap=name in ("", "ticket", "until"))
    for item in items:
        text = "\n".join(dict.fromkeys(line for line in _lines(item) if line))
        until = in_time(item["until"], now) if item["until"] else "-"
        mark = f"{MARKS.get(item['kind'], ' ')} {item['kind']}"
        table.add_row(mark, item["number"], plain(text), plain(item["asked_by"]), until)
    return table


def _lines(item: dict[str, Any]) -> list[str]:
    """What is asked, the terms a yes confirms, then the rest. Each part is one line: what somebody wrote must not look
    like a term."""
    arguments, terms = item["arguments"], item["terms"]
    asked = _line(item["action"] or item["title"])
    rest = sorted((name for name in arguments if name not in terms), key=lambda name: name != "title")
    others = [f"{_line(name)[:40]}={_value(arguments[name])}" for name in rest]
    more = f" and {len(others) - MOST_OTHERS} more" if len(others) > MOST_OTHERS else ""
    given = {_line(item["title"]), _line(item["asks"])} - {asked, ""}
    return [
        asked + (f" ({_line(item['reason'])})" if item.get("reason") else ""),
        *(f"confirms {_line(t)}: {_value(arguments.get(t))}" for t in terms if t not in item["missing"]),
        f"missing: {', '.join(map(_line, item['missing']))}" if item["missing"] else "",
        f"with {', '.join(others[:MOST_OTHERS])}{more}" if others else "",
        f"for: {_quoted(item['title'])}" if _line(item["title"]) in given else "",
        f"says: {_quoted(item['asks'], 300)}" if _line(item["asks"]) in given else "",
    ]


def _value(value: Any) -> str:
    """A value as one line of JSON, at most 120 characters."""
    text = _line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def _quoted(text: str, most: int = MOST_SHOWN) -> str:
    text = _line(text)
    return json.dumps(text if len(text) <= most else f"{text[: most - 1]}…", ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _how(items: list[dict[str, Any]]) -> str:
    first = items[0]
    return f"{len(items)} waiting. The first: {first['answer_with']}"
