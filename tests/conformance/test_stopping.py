"""A program that works as an agent is stopped at the worst moment (I19)."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from shiftlead.coordinator.cli.work import _Puller, _Stop
from shiftlead.queues.desk import Desk
from shiftlead.queues.lifecycle import State
from tests.desks import an_assigned_ticket


def test_a_signal_just_after_the_claim_gives_the_ticket_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = an_assigned_ticket(desk)
    claim_next = desk.claim_next

    def claim_and_be_stopped(agent: str, worker: str) -> Any:
        claimed = claim_next(agent, worker)
        signal.raise_signal(signal.SIGTERM)
        return claimed

    monkeypatch.setattr(desk, "claim_next", claim_and_be_stopped)
    stop = _Stop()
    run: Any = SimpleNamespace(remark=lambda text: None, say=lambda *_: None)
    brain: Any = SimpleNamespace(handle=lambda work: pytest.fail("it was stopped before the program ran"))
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            _Puller(run, desk, "iris_support", brain, stop).pull(once=True)
    finally:
        signal.signal(signal.SIGTERM, before)

    after = desk.find(ticket.id)
    assert (after.state, after.assigned_to) == (State.READY, None)
    assert [line.move for line in desk.history(ticket.id)][-2:] == ["claim", "give_back"]


def test_a_signal_while_nothing_is_in_hand_ends_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "claim_next", lambda *_: signal.raise_signal(signal.SIGTERM))
    run: Any = SimpleNamespace(remark=lambda text: None, say=lambda *_: None)
    stop = _Stop()
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            _Puller(run, desk, "iris_support", run, stop).pull(once=False)
    finally:
        signal.signal(signal.SIGTERM, before)
