"""The dry run: what is assumed, what is read, and that it is the coordinator's own engine that decides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team
from shiftlead.config.team_file import AgentSpec, Check
from shiftlead.coordinator import facts
from shiftlead.coordinator.cli import simulate
from shiftlead.coordinator.simulated_agents import Behaviour, Model, minutes_option, read_model
from shiftlead.coordinator.simulated_past import Arrival, read_past
from shiftlead.coordinator.simulation import Simulation
from shiftlead.coordinator.simulation_figures import figures
from shiftlead.coordinator.simulation_picture import picture
from shiftlead.coordinator.simulation_record import Dry
from shiftlead.coordinator.simulation_report import parts
from shiftlead.coordinator.simulation_room import private_server
from shiftlead.queues.errors import BadInput
from shiftlead.queues.presence import Presence
from shiftlead.queues.ticket import Draft
from tests.fixtures.week.tickets import FOLDER, MODEL, MONDAY, the_week

BASIC = Model(spread=0.0, ask_requester={})


class Always(Simulation):
    """A run that skips no cycle."""

    def _anything_to_do(self) -> bool:
        return True


@pytest.fixture
def team(settings: Settings) -> Team:
    return load_team(FOLDER, settings)


@pytest.fixture
def server(settings: Settings) -> Iterator[Any]:
    with private_server(settings, "fake") as found:
        yield found


def run(
    settings: Settings, team: Team, arrivals: list[Arrival], kind: type[Simulation] = Simulation, **options: Any
) -> Dry:
    with private_server(settings, "fake") as (client, dry_settings):
        return kind(client, team, dry_settings, arrivals, **options).run()


def some(*drafts: dict[str, Any], at: float = MONDAY + 10 * 3600) -> list[Arrival]:
    return [Arrival(at + n, Draft.model_validate({"body": f"case {n}"} | d)) for n, d in enumerate(drafts)]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(settings: Settings, team: Team) -> None:
    arrivals = the_week(25)
    one, same, other = (
        figures(run(settings, team, arrivals, behaviour=Behaviour(team, MODEL, seed))) for seed in (1, 1, 2)
    )
    assert one == same
    assert one["waiting"] != other["waiting"] or one["agents"] != other["agents"]


def test_no_cycle_is_left_out_that_would_have_changed_anything(settings: Settings, team: Team) -> None:
    """With a cycle at every event everything happens at the same moment to the same agent."""
    arrivals = the_week(25)
    left_out, always = (
        run(settings, team, arrivals, kind, behaviour=Behaviour(team, MODEL, 3)) for kind in (Simulation, Always)
    )
    assert figures(left_out) == figures(always)
    assert left_out.cycles < always.cycles


def test_what_is_known_of_the_agents_is_what_the_coordinator_would_find(
    settings: Settings, team: Team, server: Any
) -> None:
    """EN-04: the kept facts equal those the cycle gathers, every simulated hour, field by field."""
    client, dry_settings = server
    simulation = Simulation(client, team, dry_settings, the_week(40), behaviour=Behaviour(team, MODEL, 3))
    looks = []

    def compare(sim: Simulation) -> None:
        now = sim.clock.now()
        real = facts.agent_facts(sim.desk, Presence(client, sim.keys, sim.clock, dry_settings), now)
        known = sim.facts.agents(now)
        # The word of the calendars reaches Redis with the next sweep; the dry run asks the calendar itself.
        aside = {"idle_since", "meeting_until", "meeting", "problem"}
        for name in team.agents:
            mine, theirs = ({k: v for k, v in asdict(f[name]).items() if k not in aside} for f in (known, real))
            assert mine == theirs
        looks.append(sum(f.load for f in known.values()))

    simulation.on_look = compare
    simulation.run()
    assert len(looks) > 100
    assert max(looks) > 0


def test_work_that_is_begun_in_the_evening_is_done_the_next_morning(settings: Settings, team: Team) -> None:
    """Within hours: fifty minutes begun at 16:30 in a day that ends at 17:00."""
    behaviour = Behaviour(team, BASIC.model_copy(update={"minutes": {"billing": 50.0}}), 0)
    arrivals = some({"needs": ["billing"], "assigned_to": "bea_billing"}, at=MONDAY + 16.5 * 3600)
    [story] = run(settings, team, arrivals, behaviour=behaviour).record.stories.values()
    assert story.closed_at == pytest.approx(MONDAY + 86_400 + 8 * 3600 + 20 * 60, abs=2)


def test_a_person_answers_an_approval_and_the_ticket_goes_on(settings: Settings, team: Team) -> None:
    """EN-10: the gate's approver is off duty until it expires; then the person on call decides."""
    approval = {"default": {"share": 1.0, "action": "process_refund", "arguments": {"amount": 620.0}}}
    behaviour = Behaviour(team, Model.model_validate({"spread": 0, "ask_requester": {}, "approval": approval}), 0)
    arrivals = some({"type": "billing"}, at=MONDAY + 20 * 3600)
    dry = run(settings, team, arrivals, behaviour=behaviour)
    child = next(s for s in dry.record.stories.values() if s.type == "approval")
    assert [e.kind for e in dry.record.escalations if e.ticket == child.number][-1:] == ["expire"]
    assert child.moves[-1][1] == "answer"
    assert all(not s.is_open for s in dry.record.stories.values())


def test_replies_are_looked_at_and_some_are_sent_back(settings: Settings) -> None:
    """SD-08: a dry run of a team with a check plays the whole loop."""
    team = load_team("front_office", settings)
    checker = AgentSpec(role="checker", can=["quality_check"], capacity=4)
    team = team.model_copy(update={"agents": team.agents | {"quinn": checker}, "check": Check(rounds=2)})
    behaviour = Behaviour(team, Model(spread=0.0, ask_requester={}, send_back=0.5), 7)
    arrivals = some(*({"type": "customer_issue", "customer": f"c{n}"} for n in range(8)))
    dry = run(settings, team, arrivals, behaviour=behaviour)
    moves = [move for story in dry.record.stories.values() for _, move, *_ in story.moves]
    assert figures(dry)["tickets"]["resolved"] == 8
    assert moves.count("submit") > 8 and moves.count("send_back") >= moves.count("submit") - 8 > 0


def test_whoever_is_left_out_gets_nothing(settings: Settings, team: Team) -> None:
    arrivals = some(*[{"type": "billing"}] * 8)
    dry = run(settings, team, arrivals, absent=["iris_support"])
    assert "iris_support" not in {s.first_agent for s in dry.record.stories.values()}
    with pytest.raises(BadInput, match="no agent 'iris'"):
        run(settings, team, arrivals, absent=["iris"])


def test_nobody_is_told_anything_and_no_other_server_is_used(settings: Settings, team: Team) -> None:
    """Whatever the environment names, a dry run stays in its folder, and the folder is gone afterwards."""
    elsewhere = settings.model_copy(update={"redis_url": "redis://example.invalid:1/0", "database_url": "sqlite:///x"})
    with private_server(elsewhere, "fake") as (client, dry):
        folder = dry.data
        Simulation(client, team, dry, some(*[{"priority": "urgent", "type": "zzz", "needs": ["nobody"]}] * 3)).run()
        assert list(folder.iterdir()) == []
        assert dry.redis_url == dry.database_url == ""
    assert not folder.exists()


def test_until_stops_the_clock_and_says_what_is_open(settings: Settings, team: Team) -> None:
    dry = run(settings, team, the_week(40), until=MONDAY + 12 * 3600)
    assert dry.end == MONDAY + 12 * 3600
    found = figures(dry)["tickets"]
    assert found["sent"] < 41
    assert found["accepted"] == found.get("resolved", 0) + found.get("failed", 0) + found["open"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "past.jsonl:2: malformed JSON in column"),
        ("[1]", "past.jsonl:2: a ticket is a JSON object"),
        ('{"body": "x", "at": "yesterday"}', "past.jsonl:2: 'yesterday' is no moment"),
        ('{"body": "x", "at": 1e12}', "past.jsonl:2: .* 1970 and 2100"),
        ('{"body": "x"}', "past.jsonl:2: the ticket has no time"),
        ('{"body": "x", "at": 1, "after_s": 2}', "past.jsonl:2: says both at and after_s"),
        ('{"body": "x", "at": 1, "minutes": -3}', "past.jsonl:2: minutes: -3"),
        ('{"body": "x", "at": 1, "colour": "red"}', "past.jsonl:2: .*unknown field 'colour'"),
        ('{"type": "approval", "at": 1}', "past.jsonl:2: 'approval' tickets"),
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "past.jsonl"
    file.write_text('{"body": "fine", "at": "2026-03-30T09:00:00+02:00"}\n' + line + "\n")
    with pytest.raises(BadInput, match=said):
        read_past(file, max_bytes=10_000)


def test_a_file_without_times_is_spread_evenly_or_by_a_rate(tmp_path: Path) -> None:
    """Seeded: the same moments each time."""
    file = tmp_path / "past.jsonl"
    file.write_text('{"body": "x", "ticket_id": "T-2025-001"}\n' * 200)
    days = [a.at for a in read_past(file, max_bytes=10_000, start=MONDAY, days=2, seed=4)]
    rate = [a.at for a in read_past(file, max_bytes=10_000, start=MONDAY, rate=100, seed=4)]
    assert days == [a.at for a in read_past(file, max_bytes=10_000, start=MONDAY, days=2, seed=4)]
    assert days == sorted(days)
    assert days[0] >= MONDAY and days[-1] < MONDAY + 2 * 86_400
    assert 1.5 * 3600 < rate[-1] - MONDAY < 2.6 * 3600


def test_a_model_is_refused_with_its_place_and_a_near_match(tmp_path: Path, team: Team) -> None:
    file = tmp_path / "model.yaml"
    for text, said in (
        ("minuets: {bug: 3}", "model.yaml:1:1: unknown key 'minuets'; did you mean 'minutes'"),
        ("spread: 1\nminutes: {bug: -1}", "model.yaml:2:16: minutes.bug"),
        ("hand_off: {billing: {share: 0.1, needs: [bugg]}}", "model.yaml:1:.*did you mean 'bug'"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_model(file, team)
    assert minutes_option("bug=30, billing=4", team) == {"bug": 30.0, "billing": 4.0}
    with pytest.raises(ValueError, match="name=minutes"):
        minutes_option("bug=soon", team)


def test_the_report_fits_a_hundred_columns_and_the_picture_is_one_harmless_file(settings: Settings, team: Team) -> None:
    drafts = [{"type": "billing", "title": "<script>alert(1)</script>\x1b[31m"}] * 12 + [{"type": "bug"}] * 3
    dry = run(settings, team, some(*drafts), behaviour=Behaviour(team, MODEL, 1))
    shown = Console(width=160, no_color=True)
    with shown.capture() as captured:
        for part in parts(dry):
            shown.print(part, markup=False)
    text = captured.get()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "\x1b[31m" not in text
    for word in ("Waiting", "Routes", "Escalations", "Load", "Queue", "What would help"):
        assert word in text
    drawn = picture(dry)
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert "<script" not in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_the_command_answers_in_json_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    app = typer.Typer()
    simulate.add(app)
    app.callback()(lambda: None)
    file = tmp_path / "past.jsonl"
    file.write_text('{"body": "where is my card", "after_s": 5}\n{"type": "bug", "after_s": 9, "minutes": 7}\n')
    base = ["simulate", "--team", "front_office", "--file", str(file), "--server", "fake", "--home", str(tmp_path)]
    done = CliRunner().invoke(app, [*base, "--json", "--svg", str(tmp_path / "week.svg")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tickets"]["sent"] == 2
    assert (tmp_path / "week.svg").read_text().startswith("<svg")
    for wrong in (["--days", "1", "--rate", "3"], ["--minutes", "bug"], ["--until", "2001-01-01"], ["--server", "x"]):
        refused = CliRunner().invoke(app, [*base, *wrong])
        assert refused.exit_code == 2, refused.output
    file.write_text("{nonsense\n")
    refused = CliRunner().invoke(app, base)
    assert refused.exit_code == 2
    assert "past.jsonl:1:" in refused.stderr
