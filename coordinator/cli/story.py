"""Drawing tickets for the terminal: tables, timelines, trees. States carry a symbol, so colour is never needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from shiftlead.queues.lifecycle import State

from .output import ago, console, in_time, local_time, plain
from .steps_view import step_in_short

if TYPE_CHECKING:
    from shiftlead.queues.ticket import Line, Ticket
    from shiftlead.queues.views import Node

__all__ = ["family_json", "family_tree", "head", "replies", "report_parts", "state_text", "ticket_table", "timeline"]

SYMBOLS = {
    State.NEW: ("✚", "cyan"), State.SCHEDULED: ("◷", "blue"), State.READY: ("○", "yellow"),
    State.ASSIGNED: ("◔", "yellow"), State.WORKING: ("●", "green"), State.WAITING: ("◌", "magenta"),
    State.RESOLVED: ("✔", "green"), State.FAILED: ("✘", "red"), State.CANCELLED: ("–", "dim"),
}  # fmt: skip

WIDE = 110  # columns; below that a table does without what is only nice to see


def state_text(state: State) -> Text:
    """The state in words, with its symbol."""
    symbol, style = SYMBOLS[state]
    return Text(f"{symbol} {state}", style=style)


def ticket_table(tickets: Iterable[Ticket], now: float, who: Callable[[Ticket], str]) -> Table:
    """One row per ticket."""
    rows = list(tickets)
    table = Table(box=None, pad_edge=False, header_style="bold")
    # What names a ticket is never cut: the title gives way first, and a narrow window does without the rest.
    table.add_column("state", no_wrap=True, min_width=11)
    table.add_column("number", no_wrap=True, min_width=max((len(t.number) for t in rows), default=10))
    wide = console().width >= WIDE
    if wide:
        table.add_column("priority", no_wrap=True, min_width=8)
        table.add_column("type", no_wrap=True, max_width=18)
    agents = min(18, max((len(who(t)) for t in rows), default=5))
    title = console().width - 11 - 10 - agents - 8 - 2 * 4 if not wide else None
    table.add_column("title", ratio=1 if wide else None, no_wrap=True, overflow="ellipsis", width=title, min_width=12)
    table.add_column("agent", no_wrap=True, min_width=agents, overflow="ellipsis")
    table.add_column("age", justify="right", no_wrap=True, min_width=4)
    if wide:
        table.add_column("escalates", justify="right", no_wrap=True, min_width=9)
    for t in rows:
        urgent = "bold red" if t.priority == "urgent" else ""
        middle = [plain(t.priority, urgent), plain(t.type)] if wide else []
        last = [in_time(t.ladder_at, now) if t.is_open else "-"] if wide else []
        table.add_row(
            state_text(t.state), plain(t.number), *middle, plain(one_line(t.title)), plain(who(t)),
            ago(now - t.created_at), *last,
        )  # fmt: skip
    return table


def head(ticket: Ticket, now: float) -> Panel:
    """What the ticket is and where it stands."""
    t = ticket
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    holder = f", {'with' if t.is_open else 'by'} {t.assigned_to}" if t.assigned_to else ""
    category = f" · {t.category}" if t.category and t.category != t.type else ""
    came = f"{local_time(t.created_at)} ({in_time(t.created_at, now)})"
    rows: list[tuple[str, Any]] = [
        ("state", Text.assemble(state_text(t.state), plain(f"  in {t.queue}{holder}"))),
        ("type", f"{t.type}{category}   priority {t.priority}   needs {', '.join(t.needs) or '-'}"),
        ("from", f"{_from(t)} by {t.source}, {came}"),
    ]  # fmt: skip
    rows += _asked(t)
    if t.waits_for and t.is_open:
        rows.append(("waits for", f"{t.waits_for}{', until ' + local_time(t.waits_until) if t.waits_until else ''}"))
    if t.is_open:
        rows.append(("due", f"{local_time(t.due)} ({in_time(t.due, now)}); escalates {in_time(t.ladder_at, now)}"))
    if t.reason:
        rows.append(("reason", t.reason))
    counts = {k: v for k, v in t.attempts.model_dump().items() if v}
    if counts:
        rows.append(("came back", ", ".join(f"{k} {v}" for k, v in counts.items())))
    if t.joined:
        who = [" ".join(str(j.get(k) or "") for k in ("number", "source", "reporter", "customer")) for j in t.joined]
        rows.append(("joined by", "\n".join(" ".join(one.split()) for one in who[:10])))
    if t.links:
        rows.append(("links", "\n".join(t.links)))
    for name, value in rows:
        facts.add_row(name, value if isinstance(value, Text) else plain(value))
    if t.body and t.body.strip() != t.title.strip():
        facts.add_row("", "")
        facts.add_row("body", plain(cut(t.body, 1200)))
    return Panel(facts, title=plain(f"{t.number}  {one_line(t.title)[:100]}"), title_align="left")


def _from(t: Ticket) -> str:
    return " for ".join(dict.fromkeys(who for who in (t.reporter, t.customer) if who)) or "-"


def _asked(t: Ticket) -> list[tuple[str, Any]]:
    """What a yes to an approval means, word for word."""
    arguments = t.context.get("arguments")
    if t.type != "approval" or not isinstance(arguments, dict):
        return []
    said = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items()]
    terms = ", ".join(str(term) for term in t.context.get("confirms") or [])
    rows: list[tuple[str, Any]] = [("action", str(t.context.get("action") or "-")), ("with", "\n".join(said) or "-")]
    return [*rows, ("a yes confirms", terms)] if terms else rows


def timeline(lines: Sequence[Line], now: float) -> Table:
    """The ledger's lines: absolute time, time since the line before, what, who, why."""
    if console().width < WIDE:
        return _narrow_timeline(lines, now)
    table = Table(
        box=None, pad_edge=False, header_style="bold", title="Story", title_justify="left", title_style="bold"
    )
    for name in ("time", "after", "move", "by", "state"):
        table.add_column(name, no_wrap=True, justify="right" if name == "after" else "left")
    table.add_column("what", ratio=1, overflow="fold")
    before: float | None = None
    for line in lines:
        after = "" if before is None else f"+{_fine(line.at - before)}"
        state = state_text(State(line.after)) if line.after and line.before != line.after else Text("")
        table.add_row(local_time(line.at), after, plain(line.move), plain(line.actor), state, plain(_what(line)))
        before = line.at
    if lines:
        table.caption = f"{len(lines)} lines, the last {ago(now - lines[-1].at)} ago"
        table.caption_justify = "left"
    return table


def _narrow_timeline(lines: Sequence[Line], now: float) -> Table:
    """The same story in a narrow window: time, move and state in one row, what and who below it."""
    table = Table.grid(padding=(0, 1))
    table.title, table.title_justify, table.title_style = "Story", "left", "bold"
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        moved = state_text(State(line.after)) if line.after and line.before != line.after else Text("")
        table.add_row(local_time(line.at)[-8:], Text.assemble(plain(f"{line.move}  "), moved, plain(f"  {line.actor}")))
        if what := _what(line):
            table.add_row("", plain(cut(what, 300)))
    if lines:
        table.caption = f"{len(lines)} lines, the last {ago(now - lines[-1].at)} ago"
        table.caption_justify = "left"
    return table


def family_tree(node: Node, current: str) -> Tree:
    """Who was handed what."""
    root = Tree(_node_text(node, current))
    _grow(root, node, current)
    return root


def family_json(node: Node) -> dict[str, Any]:
    """The family as JSON."""
    t = node.ticket
    return {
        "number": t.number, "state": str(t.state), "type": t.type, "title": t.title, "asked_by": t.asked_by,
        "children": [family_json(c) for c in node.children],
    }  # fmt: skip


def replies(ticket: Ticket) -> list[Any]:
    """What children brought back, and the ticket's own result."""
    parts: list[Any] = []
    for answer in ticket.answers:
        text = str(answer.get("reply") or answer.get("summary") or answer.get("error") or answer.get("decision") or "")
        who = f"{answer.get('agent') or 'somebody'} ({answer.get('number') or answer.get('ticket') or 'a child'})"
        parts.append(Panel(plain(cut(text, 2000)), title=plain(f"answer of {who}"), title_align="left"))
    if ticket.result:
        title, body = report_parts(ticket.result)
        parts.append(Panel(plain(body), title=plain(title), title_align="left"))
    return parts


def report_parts(report: dict[str, Any]) -> tuple[str, str]:
    """A title and a text for one Report given as JSON."""
    kind = str(report.get("kind", "report"))
    lines: list[str] = []
    if text := report.get("reply") or report.get("question") or report.get("error") or report.get("why"):
        lines.append(str(text))
    for name, value in report.items():
        if name in ("kind", "reply", "question", "error", "why") or value in (None, "", [], {}, False):
            continue
        if isinstance(value, list):
            lines += ["", f"{name}:", *(f"  - {item}" for item in value)]
        elif isinstance(value, dict):
            lines += ["", f"{name}:", *(f"  {k}: {_flat(v)}" for k, v in value.items() if v not in (None, "", [], {}))]
        else:
            lines += ["", f"{name}: {value}"]
    return kind, "\n".join(lines).strip()


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def cut(text: str, length: int) -> str:
    """The beginning of a long text."""
    return text if len(text) <= length else f"{text[:length].rstrip()} … ({len(text):,} characters)"


def _flat(value: Any) -> str:
    return "; ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def _fine(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 60 else ago(seconds)


def _what(line: Line) -> str:
    d = line.detail
    parts = [line.reason] if line.reason else []
    if line.move == "claim" and d.get("worker"):
        parts.append(f"worker {d['worker']}")
    elif line.move == "assign" and line.agent:
        parts.insert(0, f"to {line.agent}")
    elif line.move in ("hand_off", "ask"):
        wanted = d.get("to") or ", ".join(d.get("needs") or []) or d.get("action") or ""
        parts.insert(0, f"{wanted} as {', '.join(d.get('children') or ['-'])}")
        if question := d.get("question"):
            parts.append(str(question))
    elif line.move == "escalate":
        told = ", ".join(d.get("told") or [])
        parts += [f"told {told}"] if told else []
        parts += [f"given to {d['reassigned_to']}"] if d.get("reassigned_to") else []
    elif line.move == "block":
        parts.append(f"{d.get('owner')}: {d.get('action')}")
    elif line.move == "accept":
        parts.append(str(d.get("title") or ""))
    elif line.move == "resolve" and not parts:
        parts.append(str(d.get("summary") or d.get("reply") or ""))
    elif line.move == "edit":
        parts.insert(0, ", ".join(f"{k}: {v}" for k, v in (d.get("changed") or {}).items()))
    elif line.move == "join":
        who = d.get("joined") or {}
        parts.append(" ".join(str(who.get(k) or "") for k in ("source", "reporter", "customer")).strip())
        parts.append(str(d.get("text") or ""))
    elif line.move == "advance":
        parts.insert(0, f"{d.get('step', '')}: {step_in_short(d.get('result'))}".strip(": "))
    elif line.move in ("withhold", "submit"):
        parts.append(str(d.get("summary") or ""))
    elif line.move == "send_back":
        parts.append(str(d.get("notes") or ""))
    if line.move in ("resolve", "withhold") and d.get("review"):
        parts.insert(0, f"passed the review of {d['review'].get('by')}")
    elif line.move == "note" and d.get("signals"):
        parts.append(", ".join(f"{k}={v}" for k, v in d["signals"].items()))
    elif line.move == "outcome":
        said = ", ".join(f"{k} {d[k]}" for k in ("accepted", "escalated", "csat") if d.get(k) is not None)
        parts.insert(0, said)
    if not parts and d.get("erased_at"):
        parts.append("(erased)")
    return cut(one_line("; ".join(p for p in parts if p)), 300)


def _node_text(node: Node, current: str) -> Text:
    t = node.ticket
    style = "bold" if t.id == current else ""
    asked = f"  asked by {t.asked_by}" if t.asked_by else ""
    here = "  ◂" if t.id == current else ""
    return Text.assemble(
        state_text(t.state), plain(f"  {t.number} {t.type}: {one_line(t.title)[:80]}{asked}{here}", style)
    )


def _grow(tree: Tree, node: Node, current: str) -> None:
    for child in node.children:
        _grow(tree.add(_node_text(child, current)), child, current)
