"""The clock: it follows the server, survives its silence, and an hour's jump costs nobody a ticket (I9)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftlead.config.clock import JUMP_S, REFRESH_S, ServerClock
from shiftlead.config.scaffold import init_team
from shiftlead.config.settings import Settings
from shiftlead.coordinator.loop import Coordinator
from shiftlead.queues import moves
from shiftlead.queues.connect import Connections
from shiftlead.queues.desk import Desk
from shiftlead.queues.lifecycle import State
from shiftlead.queues.ticket import Line, Ticket
from tests.desks import a_new_ticket, an_assigned_ticket

HOUR = 3600.0


class World:
    """A server's time and the machine's monotonic clock; they run together, and only the first can be set."""

    def __init__(self) -> None:
        self.mono, self.base, self.asked, self.error = 50.0, 1_800_000_000.0, 0, None  # type: ignore[var-annotated]

    def server_time(self) -> float:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.base + self.mono

    def pass_time(self, seconds: float) -> None:
        self.mono += seconds

    def set_server_clock(self, seconds: float) -> None:
        self.base += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("shiftlead.config.clock.time", SimpleNamespace(monotonic=lambda: made.mono))
    return made


def test_between_two_measurements_only_the_monotonic_clock_counts(world: World) -> None:
    clock = ServerClock(world.server_time)
    assert clock.now() == world.base + 50.0
    world.set_server_clock(HOUR)
    world.pass_time(REFRESH_S)
    assert clock.now() == world.base - HOUR + world.mono
    assert world.asked == 1


def test_the_offset_is_measured_again_after_ten_seconds(world: World) -> None:
    clock = ServerClock(world.server_time)
    clock.now()
    world.set_server_clock(2.0)
    world.pass_time(REFRESH_S + 0.1)
    assert clock.now() == world.base + world.mono
    assert world.asked == 2


def test_the_answers_way_back_is_half_of_the_round_trip(world: World) -> None:
    def slow() -> float:
        world.pass_time(0.2)
        told = world.server_time()
        world.pass_time(0.2)
        return told

    clock = ServerClock(slow)
    assert clock.now() == pytest.approx(world.base + world.mono)


def test_a_server_that_does_not_answer_leaves_the_offset_standing_and_is_asked_a_second_later(world: World) -> None:
    clock = ServerClock(world.server_time)
    clock.now()
    world.error = ConnectionError("gone")
    world.pass_time(REFRESH_S + 0.1)
    assert clock.now() == world.base + world.mono
    assert world.asked == 2
    world.pass_time(0.5)
    clock.now()
    assert world.asked == 2, "not at every call"
    world.error = None
    world.set_server_clock(1.0)
    world.pass_time(0.6)
    assert clock.now() == world.base + world.mono
    assert world.asked == 3


def test_without_a_first_measurement_there_is_no_time(world: World) -> None:
    """Better an error than deadlines in this machine's own time."""
    world.error = ConnectionError("gone")
    clock = ServerClock(world.server_time)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="gone"):
            clock.now()
    world.error = None
    assert clock.now() == world.base + world.mono


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(JUMP_S - 0.1, []), (-JUMP_S + 0.1, []), (HOUR, [HOUR]), (-HOUR, [-HOUR])],
)
def test_a_jump_is_told_once_and_a_drift_is_not(world: World, seconds: float, told: list[float]) -> None:
    heard: list[float] = []
    clock = ServerClock(world.server_time, on_jump=heard.append)
    clock.now()
    assert heard == [], "the first measurement is no jump"
    world.set_server_clock(seconds)
    for _ in range(3):
        world.pass_time(REFRESH_S + 0.1)
        clock.now()
    assert heard == pytest.approx(told)


class Shift:
    """Coordinators without their processes: the test is the loop, and the time is moved by hand."""

    def __init__(self, world: World, client: Any, folder: Path, **values: Any) -> None:
        self.world, self.client = world, client
        self.settings = Settings.model_validate({"home": folder, "acknowledge": "redis"} | values)
        self.opened: list[Connections] = []
        self.leading: list[Coordinator] = []

    def connections(self) -> Connections:
        made = Connections(self.settings, _client=self.client, _clock=ServerClock(self.world.server_time))
        made.ledger.migrate()
        self.opened.append(made)
        return made

    def coordinator(self, connections: Connections, team: str = "front_office", *, leads: bool = True) -> Coordinator:
        made = Coordinator(connections, team, lambda rings: None)
        if leads:
            made.leadership.start()
            self.leading.append(made)
            assert made.leadership.wait(10)
            made.store.open_epoch(1, Line(ticket="", move="epoch", actor="coordinator", at=made.clock.now()))
        made.clock.now()
        return made

    def turn(self, *coordinators: Coordinator) -> None:
        """One look at everything that is due, by each."""
        for each in coordinators:
            for _ in range(10):
                if not each.work.run(each.clock.now(), assign=False):
                    break

    def close(self) -> None:
        for coordinator in self.leading:
            coordinator.leadership.stop()
        for each in self.opened:
            each.close()


@pytest.fixture
def shift(world: World, any_redis: Any, short_folder: Path) -> Iterator[Shift]:
    made = Shift(world, any_redis, short_folder)
    yield made
    made.close()


def a_held_ticket(desk: Desk, agent: str, worker: str) -> Ticket:
    return desk.claim(an_assigned_ticket(desk, agent).id, agent, worker)


def a_scheduled_ticket(desk: Desk, in_s: float) -> Ticket:
    at = desk.clock.now() + in_s

    def decide(ticket: Ticket, epoch: int) -> list[Any]:
        now = desk.clock.now()
        return [
            moves.triage(
                ticket, state=State.SCHEDULED, reasons=["test"], actor="coordinator", now=now, epoch=epoch,
                needs=["billing"], due=at + 60, not_before=at,
            )
        ]  # fmt: skip

    [made] = desk.apply_many([(a_new_ticket(desk).id, decide)])
    assert isinstance(made, Ticket)
    return made


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_clock_set_by_an_hour_takes_nobodys_ticket_and_freezes_no_timer(
    shift: Shift, world: World, jump: float
) -> None:
    """I9: live leases and claim deadlines stand, a dead worker's lease still ends, timers go on firing."""
    coordinator = shift.coordinator(shift.connections())
    desk, lease = coordinator.desk, shift.settings.lease_s
    living, dead = a_held_ticket(desk, "iris_support", "w1"), a_held_ticket(desk, "iris_support", "w2")
    unclaimed = an_assigned_ticket(desk, "iris_support")
    early = a_scheduled_ticket(desk, 60.0)

    world.set_server_clock(jump)
    world.pass_time(REFRESH_S - 1.0)  # all is well until the clock is looked at again
    desk.renew(living)
    world.pass_time(1.1)
    shift.turn(coordinator)
    assert [desk.find(t.id).state for t in (living, dead, unclaimed)] == [State.WORKING, State.WORKING, State.ASSIGNED]
    if jump > 0:
        assert desk.find(early.id).state is State.READY, "late, never early, and not frozen"

    late = a_scheduled_ticket(desk, 30.0)
    desk.claim(unclaimed.id, "iris_support", "w1")
    for _ in range(10):
        world.pass_time(lease / 3)
        desk.renew(living)
        desk.renew(desk.find(unclaimed.id))
        shift.turn(coordinator)
    assert desk.find(living.id).token == living.token, "the one who renews keeps it"
    assert desk.find(living.id).state is desk.find(unclaimed.id).state is State.WORKING
    assert desk.find(dead.id).state is State.READY, "a dead worker's ticket comes back all the same"
    assert desk.find(late.id).state is State.READY, "a timer armed after the jump fires"
    [back] = [line for line in desk.history(dead.id) if line.move == "give_back"]
    assert back.actor == "timer:lease"


@pytest.mark.parametrize("lease_s", [30.0, 5.0])
def test_a_worker_that_looks_at_its_clock_later_than_the_coordinator_keeps_its_ticket(
    shift: Shift, world: World, lease_s: float
) -> None:
    """I9: for up to ten seconds it renews with the old time; its lease is not judged by that."""
    shift.settings = shift.settings.model_copy(update={"lease_s": lease_s})
    coordinator = shift.coordinator(shift.connections())
    world.pass_time(REFRESH_S - 1.0)
    desk = shift.connections().desk("front_office")
    desk.clock.now()  # this one measures nine seconds after the coordinator did
    held = a_held_ticket(desk, "iris_support", "w1")

    world.set_server_clock(HOUR)
    for step in range(60):
        world.pass_time(0.5)
        if step % max(1, int(lease_s / 3 / 0.5)) == 0:
            desk.renew(held)
        shift.turn(coordinator)
        assert desk.find(held.id).state is State.WORKING, f"taken away {step * 0.5} s after the jump"


def test_one_process_with_two_teams_re_bases_the_leases_of_both(shift: Shift, world: World) -> None:
    """I9: `shiftlead coordinator --team front_office,acme` has one clock."""
    init_team("acme", shift.settings.data / "teams")
    shift.settings = shift.settings.model_copy(update={"teams": [shift.settings.data / "teams"]})
    connections = shift.connections()
    both = [shift.coordinator(connections, "front_office"), shift.coordinator(connections, "acme")]
    held = [
        a_held_ticket(coordinator.desk, agent, "w1")
        for coordinator, agent in zip(both, ("iris_support", "ada_support"), strict=True)
    ]

    world.set_server_clock(HOUR)
    world.pass_time(REFRESH_S + 0.1)
    shift.turn(*both)

    states = [each.desk.find(t.id).state for each, t in zip(both, held, strict=True)]
    assert states == [State.WORKING, State.WORKING]


def test_two_coordinators_that_both_saw_the_jump_re_base_the_leases_once(shift: Shift, world: World) -> None:
    """I9, I5, I15: a dead worker's ticket comes back in two leases, not in an hour."""
    leads = shift.coordinator(shift.connections())
    stands_by = shift.coordinator(shift.connections(), leads=False)  # it led before, so it knows the old time
    dead = a_held_ticket(leads.desk, "iris_support", "w2")

    world.set_server_clock(HOUR)
    world.pass_time(REFRESH_S + 0.1)
    stands_by.clock.now()
    shift.turn(leads)
    for _ in range(8):
        world.pass_time(shift.settings.lease_s / 3)
        stands_by.clock.now()
        shift.turn(leads)
    assert leads.desk.find(dead.id).state is State.READY
