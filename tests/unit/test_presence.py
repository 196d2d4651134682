"""Who is there: it counts while it beats, and no longer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

from shiftlead.config.clock import ManualClock
from shiftlead.config.settings import Settings
from shiftlead.queues.keys import Keys
from shiftlead.queues.presence import Beater, Presence, WorkerInfo


@pytest.fixture
def presence(any_redis: Any, clock: ManualClock, settings: Settings) -> Presence:
    return Presence(any_redis, Keys("front_office"), clock, settings)


def info(started_at: float = 1.0, running: int = 0) -> WorkerInfo:
    return WorkerInfo(pid=7, host="h", node="n@h", started_at=started_at, slots=4, running=running)


def test_a_worker_that_beats_is_there_for_each_of_its_agents(presence: Presence) -> None:
    presence.beat(["iris_support", "felix_ceo"], "n@h:7:1", info(running=2))

    live = presence.live()

    assert set(live) == {"iris_support", "felix_ceo"}
    [worker] = live["iris_support"]
    assert (worker.worker, worker.pid, worker.slots, worker.running) == ("n@h:7:1", 7, 4, 2)


def test_a_worker_that_stops_beating_is_gone_when_its_time_is_over(
    presence: Presence, clock: ManualClock, settings: Settings
) -> None:
    presence.beat(["iris_support"], "n@h:7:1", info())

    clock.advance(settings.presence_ttl_s - 0.1)
    assert "iris_support" in presence.live()
    clock.advance(0.1)
    assert presence.live() == {}


def test_two_instances_of_one_agent_are_both_there_the_older_first(presence: Presence) -> None:
    presence.beat(["iris_support"], "n@h:8:2", info(started_at=2.0))
    presence.beat(["iris_support"], "n@h:7:1", info(started_at=1.0))

    assert [w.worker for w in presence.live()["iris_support"]] == ["n@h:7:1", "n@h:8:2"]


def test_leaving_takes_effect_at_once(presence: Presence) -> None:
    presence.beat(["iris_support"], "n@h:7:1", info())
    presence.leave(["iris_support"], "n@h:7:1")
    assert presence.live() == {}


def test_forgetting_a_dead_process_does_not_touch_one_whose_id_begins_alike(presence: Presence) -> None:
    presence.beat(["iris_support"], "n@h:7:1", info())
    presence.beat(["iris_support"], "n@h:71:1", info())

    assert presence.forget("n@h:7:") == 1

    assert [w.worker for w in presence.live()["iris_support"]] == ["n@h:71:1"]


def test_what_has_not_beaten_for_an_hour_is_cleaned_up(presence: Presence, clock: ManualClock, any_redis: Any) -> None:
    presence.beat(["iris_support"], "n@h:7:1", info())
    clock.advance(3700)

    presence.prune()

    assert any_redis.hgetall(Keys("front_office").workers) == {}


def test_the_beater_goes_on_when_a_beat_fails_and_leaves_when_it_stops() -> None:
    """A short absence of Redis must not take the worker's presence for ever."""
    beats: list[int] = []
    third, left = threading.Event(), threading.Event()

    class Flaky(Presence):
        def __init__(self) -> None:
            pass

        def prune(self) -> None:
            raise redis.ConnectionError("away")

        def beat(self, agents: Any, worker: str, info: WorkerInfo) -> None:
            beats.append(1)
            if len(beats) == 3:
                third.set()
            if len(beats) < 3:
                raise redis.ConnectionError("away")

        def leave(self, agents: Any, worker: str) -> None:
            left.set()

    beater = Beater(Flaky(), ["iris_support"], "n@h:7:1", info, ttl_s=0.03)
    beater.start()
    assert third.wait(5)
    beater.stop()
    assert left.is_set()
