"""The lifecycle table: every state in one queue, reachable, not stuck; every pair legal or refused with what is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from shiftlead.queues.errors import IllegalMove
from shiftlead.queues.lifecycle import CLOSED, MOVES, OPEN, QUEUE_OF, Move, Queue, State, allows, legal_moves
from shiftlead.queues.moving import changed
from shiftlead.queues.report import REPORT
from shiftlead.queues.ticket import Ticket

NOW, EPOCH = 1_800_000_000.0, 1


def test_every_state_belongs_to_exactly_one_queue() -> None:
    """FO-08: three queues, and every state in one of them."""
    assert set(QUEUE_OF) == set(State)
    assert set(QUEUE_OF.values()) == set(Queue)


def test_every_state_can_be_reached_from_the_beginning() -> None:
    reached: set[State] = set()
    wave: set[State | None] = {None}
    while wave:
        entered = {s for before in wave for m in legal_moves(before) for s in MOVES[m].enters}
        wave = set(entered - reached)
        reached |= entered
    assert reached == set(State)


@pytest.mark.parametrize("state", sorted(OPEN))
def test_no_open_state_is_a_dead_end(state: State) -> None:
    """I11: from every open state there is a way to a completed one."""
    seen, wave = {state}, {state}
    while wave:
        wave = {s for before in wave for m in legal_moves(before) for s in MOVES[m].enters} - seen
        seen |= wave
    assert seen & CLOSED


@pytest.mark.parametrize("state", sorted(OPEN))
def test_somebody_other_than_an_agent_can_move_every_open_ticket(state: State) -> None:
    """I11: no open ticket depends on an agent alone."""
    assert any({"coordinator", "timer", "person"} & MOVES[m].by for m in legal_moves(state))


@pytest.mark.parametrize(("move", "state"), list(itertools.product(Move, State)))
def test_every_pair_is_legal_or_refused_with_what_is_possible(move: Move, state: State) -> None:
    ticket = Ticket(id="x", number="T-2026-001", team="t", state=state, version=3, token=1_000_001)
    row = MOVES[move]
    for kind in ("door", "coordinator", "timer", "agent", "person"):
        for after in State:
            legal = allows(move, kind, state, after)
            assert legal is False or (state in row.leaves and after in row.enters and kind in row.by)
            if legal:
                change = changed(ticket, move, f"{kind}:x", NOW, EPOCH, after)
                assert change.after.state is after
                assert change.after.version == 4
                assert (change.after.token > ticket.token) is (after is not state)
            else:
                with pytest.raises(IllegalMove) as refused:
                    changed(ticket, move, f"{kind}:x", NOW, EPOCH, after)
                assert all(m in str(refused.value) for m in legal_moves(state))


# Written by hand from the design, never derived from the table.
EXPECTED: list[tuple[str, str, str, str, str]] = [
    # who            move         before        after        what happened
    ("door:http", "accept", "", "new", "a system enqueued it"),
    ("agent:a", "accept", "", "new", "an agent handed it on"),
    ("coordinator", "triage", "new", "ready", "the rules found who is needed"),
    ("coordinator", "triage", "new", "scheduled", "not before a time"),
    ("coordinator", "triage", "new", "cancelled", "spam"),
    ("timer:wake", "wake", "scheduled", "ready", "its time has come"),
    ("coordinator", "assign", "ready", "assigned", "an agent is free"),
    ("agent:a", "claim", "assigned", "working", "the worker heard the ring"),
    ("agent:a", "give_back", "working", "ready", "a worker stops"),
    ("timer:claim", "give_back", "assigned", "ready", "nobody claimed it"),
    ("timer:lease", "give_back", "working", "ready", "the worker fell silent"),
    ("agent:a", "advance", "working", "ready", "StepDone"),
    ("agent:a", "submit", "working", "ready", "Resolved, review wanted"),
    ("agent:a", "resolve", "working", "resolved", "Resolved, or Reviewed and passed"),
    ("person:p", "answer", "ready", "resolved", "a person approves"),
    ("agent:a", "send_back", "working", "ready", "Reviewed and not passed"),
    ("agent:a", "give_back", "working", "ready", "a checker stops"),
    ("agent:a", "fail", "working", "failed", "Reviewed and not passed for the last time, and nobody decides"),
    ("timer:wait", "resolve", "waiting", "resolved", "a reply that passed at night leaves in the morning"),
    ("agent:a", "hand_off", "working", "waiting", "HandOff"),
    ("agent:a", "ask", "working", "waiting", "AskHuman, AskRequester"),
    ("agent:a", "block", "working", "waiting", "Blocked"),
    ("agent:a", "defer", "working", "scheduled", "Later, or Failed and retryable again"),
    ("coordinator", "resume", "waiting", "ready", "the children closed"),
    ("timer:wait", "resume", "waiting", "ready", "nobody answered"),
    ("timer:ladder", "escalate", "new", "new", "somebody is told"),
    ("timer:ladder", "escalate", "waiting", "waiting", "somebody is told"),
    ("timer:ladder", "escalate", "working", "ready", "somebody else gets it"),
    ("agent:a", "fail", "working", "failed", "Failed, not retryable"),
    ("timer:expire", "fail", "ready", "failed", "an approval expired"),
    ("coordinator", "fail", "working", "failed", "it crashed its worker three times"),
    ("person:p", "cancel", "working", "cancelled", "a person cancels"),
    ("person:p", "cancel", "new", "cancelled", "a person cancels"),
    ("coordinator", "recover", "working", "ready", "the queues were rebuilt"),
    ("coordinator", "recover", "assigned", "ready", "the queues were rebuilt"),
    ("person:p", "reopen", "resolved", "ready", "it was not done after all"),
    ("coordinator", "admit", "ready", "ready", "one of its customer's tickets was taken"),
    ("agent:a", "withhold", "working", "waiting", "Resolved, outside the action hours"),
    ("timer:wait", "resolve", "waiting", "resolved", "action hours have begun"),
    ("person:p", "edit", "working", "working", "a person sets a priority right"),
    ("door:http", "join", "waiting", "waiting", "the same was sent once more"),
    ("person:p", "reassign", "working", "ready", "a person gives it to somebody else"),
    ("person:p", "snooze", "assigned", "scheduled", "a person puts it off"),
    ("person:p", "merge", "ready", "cancelled", "a person says it is the same matter"),
]
NEVER: list[tuple[str, str, str, str]] = [
    ("agent:a", "resolve", "assigned", "resolved"),
    ("agent:a", "resolve", "ready", "resolved"),
    ("agent:a", "assign", "ready", "assigned"),
    ("agent:a", "cancel", "working", "cancelled"),
    ("coordinator", "resolve", "working", "resolved"),
    ("door:http", "claim", "assigned", "working"),
    ("timer:ladder", "escalate", "waiting", "ready"),
    ("timer:ladder", "escalate", "scheduled", "ready"),
    ("timer:ladder", "escalate", "resolved", "resolved"),
    ("person:p", "resolve", "resolved", "resolved"),
    ("agent:a", "give_back", "waiting", "ready"),
    ("agent:a", "reopen", "resolved", "ready"),
    ("agent:a", "resolve", "waiting", "resolved"),
    ("timer:wait", "resolve", "working", "resolved"),
    ("person:p", "edit", "working", "ready"),
    ("person:p", "edit", "resolved", "resolved"),
    ("agent:a", "reassign", "working", "ready"),
    ("agent:a", "snooze", "working", "scheduled"),
    ("door:http", "merge", "ready", "cancelled"),
    ("agent:a", "admit", "ready", "ready"),
    ("coordinator", "submit", "working", "ready"),
    ("timer:wait", "submit", "waiting", "ready"),
    ("agent:a", "submit", "ready", "ready"),
    ("agent:a", "send_back", "ready", "ready"),
    ("agent:a", "send_back", "working", "working"),
    ("coordinator", "send_back", "working", "ready"),
]


@pytest.mark.parametrize(("who", "move", "before", "after", "story"), EXPECTED, ids=lambda v: str(v)[:24])
def test_what_the_design_asks_for_is_legal(who: str, move: str, before: str, after: str, story: str) -> None:
    assert allows(Move(move), who.partition(":")[0], State(before) if before else None, State(after)), story


@pytest.mark.parametrize(("who", "move", "before", "after"), NEVER, ids=lambda v: str(v)[:24])
def test_what_must_never_be_is_refused(who: str, move: str, before: str, after: str) -> None:
    assert not allows(Move(move), who.partition(":")[0], State(before), State(after))


def test_every_move_of_the_table_is_in_the_handwritten_list() -> None:
    assert {move for _, move, *_ in EXPECTED} == {str(m) for m in Move}


def test_every_kind_of_report_is_in_the_handwritten_list() -> None:
    stories = " ".join(story for *_, story in EXPECTED)
    schema: dict[str, Any] = REPORT.json_schema()
    for kind in schema["$defs"]:
        if kind not in ("Finding", "FollowUp", "Packet", "Part"):
            assert kind in stories, kind
