"""What a ticket says is shown on the terminal and never obeyed by it."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console, Group

from shiftlead.coordinator.cli.output import Run, console, safe
from shiftlead.coordinator.cli.story import head, replies, ticket_table, timeline
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line, Ticket

NASTY = "\x1b]0;owned\x07 \x1b[2J \x9b31m \u202egnp [red]loud[/] [/] \r\x7f"
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e", "\r", "\x7f")


def nasty_ticket() -> Ticket:
    return Ticket(
        id="t", number="T-2027-001", team="x", title=NASTY, body=f"body\n\tof {NASTY}", type=NASTY, reporter=NASTY,
        reason=NASTY, answers=[{"agent": NASTY, "reply": NASTY}], result={"kind": "resolved", "reply": NASTY},
    )  # fmt: skip


def test_everything_about_a_ticket_is_drawn_without_what_a_terminal_obeys() -> None:
    """I24: titles, bodies, names, reasons, actors; and square brackets are no markup."""
    ticket = nasty_ticket()
    line = Line(ticket="t", move="accept", actor=f"door:{NASTY}", at=1.0, after="new", reason=NASTY)
    out = StringIO()
    Console(file=out, width=400).print(
        Group(ticket_table([ticket], 2.0, lambda t: NASTY), head(ticket, 2.0), timeline([line], 2.0), *replies(ticket))
    )
    shown = out.getvalue()
    assert [c for c in OBEYED if c in shown] == []
    assert shown.count("␛]0;owned␇ ␛[2J \\u009B31m \\u202Egnp [red]loud[/] [/]") >= 9


def test_a_line_of_an_answer_is_cleaned_too_and_json_stays_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """I24."""
    Run(as_json=False).say(None, NASTY)
    Run(as_json=False).remark(NASTY)
    said = capsys.readouterr()
    assert [c for c in OBEYED if c in said.out + said.err] == []
    assert "[red]loud[/] [/]" in said.out and "[red]loud[/] [/]" in said.err

    Run(as_json=True).say({"title": NASTY})
    out = capsys.readouterr().out
    assert [c for c in OBEYED if c in out] == []
    assert json.loads(out) == {"title": NASTY}


def test_what_people_write_stays_as_it_is() -> None:
    assert safe("Grüße,\n\tΔ → 你好 🙂") == "Grüße,\n\tΔ → 你好 🙂"


@pytest.mark.parametrize("columns", ["80", "60", "160"])
def test_a_ticket_can_be_named_from_the_list_in_any_window(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """The number and the state are never cut; the title gives way."""
    monkeypatch.setenv("COLUMNS", columns)
    tickets = [
        Ticket(id=str(n), number=f"T-2026-{n:03d}", team="t", title="a very long title " * 10, state=State.WAITING,
               assigned_to="devin_engineering", type="production_change")
        for n in range(1, 4)
    ]  # fmt: skip
    out = console()
    with out.capture() as shown:
        out.print(ticket_table(tickets, 100.0, lambda t: t.assigned_to or ""))
    for ticket in tickets:
        line = next(line for line in shown.get().splitlines() if ticket.number in line)
        assert "waiting" in line
        assert len(line) <= int(columns)
