"""Team files: what is accepted, and how exactly a mistake is named."""

from __future__ import annotations

import ast
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from shiftlead.config.calendar import Hours
from shiftlead.config.duration import duration_s
from shiftlead.config.scaffold import init_team
from shiftlead.config.settings import Settings
from shiftlead.config.team import TeamError, TeamNotFound, check_team, list_teams, load_team, team_schema

# DESIGN.md, section 7, as it stands.
DESIGN = """\
team: front_office
version: 1
priorities: {urgent: 5m, high: 30m, normal: 4h, low: 24h}   # target for the first useful answer
agents:
  iris_support:
    role: support
    can: [customer_issue, billing]
    capacity: 4
    brain: offline
    hours: Mon-Fri 08:00-18:00 Europe/Berlin
  devin_engineering: {role: engineering, can: [code_review, bug, monitoring], capacity: 2}
  felix_ceo: {role: decision-maker, can: [decision, approval], capacity: 1}
people:
  on_call: {notify: "mailto://oncall@localhost", can: [decision, approval]}
routes:
  - when: ticket.type == "code_review"
    needs: [code_review]
  - when: ticket.category == "decision"
    needs: [decision]
  - needs: [customer_issue]   # the catch-all is required
escalations:
  - when: ticket.priority in ["urgent", "high"]
    ladder: [{after: 30m, notify: felix_ceo}, {after: 45m, reassign: felix_ceo}, {after: 2h, notify: on_call}]
gates:
  - when: action.name == "process_refund" && (action.amount > 500.0 || \
(customer.tier == "basic" && action.amount > 100.0) || action.days_since_purchase > 30)
    approver: felix_ceo
    expires: 4h
"""
SETTINGS = Settings()


def write(folder: Path, text: str, name: str = "team.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_the_file_of_the_design_is_accepted_as_it_stands(tmp_path: Path) -> None:
    """EN-03, FO-02."""
    file = write(tmp_path, DESIGN)
    assert check_team(file, SETTINGS) == []
    team = load_team(file, SETTINGS)
    assert team.agents_for(["billing"]) == ["iris_support"]
    assert team.decision_makers() == ["felix_ceo"]
    assert (team.target_s("urgent"), team.target_s("low")) == (300, 86400)
    assert [s.after_s for s in team.escalations[0].ladder] == [1800, 2700, 7200]
    assert team.gates[0].expires_s == 14400


def test_the_shipped_teams_have_no_problem() -> None:
    for name in list_teams(Settings(teams=[])):
        assert check_team(name, SETTINGS) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "near", "severity"),
    [
        ("capacity: 4", "capcity: 4", 8, 5, "capacity", "error"),
        ("urgent: 5m", "urgnt: 5m", 3, 14, "urgent", "error"),
        ("ticket.type ==", "tickt.type ==", 16, 11, "ticket", "error"),
        ("ticket.category", "ticket.categry", 18, 18, "category", "error"),
        ("45m", "soon", 23, 55, "", "error"),
        ("notify: on_call", "notify: oncall", 23, 102, "on_call", "error"),
        ("approver: felix_ceo", "approver: felix", 26, 15, "felix_ceo", "error"),
        ("45m", "15m", 23, 55, "", "error"),
        ("500.0 ||", "500.0 || ||", 25, 72, "", "error"),
        ('in ["urgent", "high"]', "> 3", 22, 11, "", "error"),
        ("needs: [decision]", "needs: [decisoin]", 19, 13, "decision", "warning"),
        ("Europe/Berlin", "Europe/Brelin", 10, 12, "", "error"),
    ],
)
def test_a_mistake_is_named_with_line_column_and_near_match(
    tmp_path: Path, old: str, new: str, line: int, column: int, near: str, severity: str
) -> None:
    """Design, section 7: unknown key, rule that does not compile, target nobody answers, unroutable."""
    problems = check_team(write(tmp_path, DESIGN.replace(old, new)), SETTINGS)
    first = next(p for p in problems if (p.line, p.column) == (line, column))
    assert (first.near, first.severity) == (near, severity), problems


def test_a_team_without_a_catch_all_is_refused(tmp_path: Path) -> None:
    """EN-03: a catch-all is required at load."""
    file = write(tmp_path, DESIGN.replace("  - needs: [customer_issue]   # the catch-all is required\n", ""))
    with pytest.raises(TeamError, match=r"team\.yaml:15:1: error: the catch-all is missing"):
        load_team(file, SETTINGS)


def test_an_agent_that_nothing_leads_to_is_a_warning(tmp_path: Path) -> None:
    extra = "  eve_lonely: {role: other, can: [poetry]}\npeople:"
    problems = check_team(write(tmp_path, DESIGN.replace("people:", extra)), SETTINGS)
    assert [(p.severity, p.line) for p in problems] == [("warning", 13)]
    assert "eve_lonely" in problems[0].message


@pytest.mark.parametrize(
    "text", ["", "- a", "team: [", "team: a\nteam: b", "a: &x {b: *x}", "team: !!python/object:os {}"]
)
def test_what_is_no_team_is_a_problem_and_not_a_crash(tmp_path: Path, text: str) -> None:
    problems = check_team(write(tmp_path, text), SETTINGS)
    assert problems
    assert all(p.severity == "error" for p in problems)


@pytest.mark.parametrize(
    ("can", "says"),
    [
        ("[quality_check]", ""),
        ("[quality_check, billing]", "only ada can 'quality_check', and nobody looks at a reply of its own"),
        ("[billing]", "nobody can 'quality_check', so no reply would ever leave"),
    ],
)
def test_a_check_needs_somebody_else_to_look(tmp_path: Path, can: str, says: str) -> None:
    """SD-07: never its author; one who does nothing but check writes no reply."""
    text = f"team: shop\nagents:\n  ben: {{role: a, can: [billing]}}\n  ada: {{role: b, can: {can}}}\n"
    problems = check_team(write(tmp_path, text + "routes: [{needs: [billing]}]\ncheck: {}\n"), SETTINGS)
    assert [p.message for p in problems] == ([says] if says else [])


def test_an_overlay_replaces_only_what_it_says(tmp_path: Path) -> None:
    over = write(tmp_path, "agents: {iris_support: {capacity: 9}}\nescalations: []\n", "over.yaml")
    team = load_team(write(tmp_path, DESIGN), SETTINGS, overlay=over)
    assert team.agents["iris_support"].capacity == 9
    assert team.agents["iris_support"].role == "support"
    assert team.escalations == []


def test_a_mistake_in_an_overlay_names_the_overlay(tmp_path: Path) -> None:
    over = write(tmp_path, "agents:\n  iris_support: {capcity: 9}\n", "over.yaml")
    problem = check_team(write(tmp_path, DESIGN), SETTINGS, overlay=over)[0]
    assert (problem.file, problem.line, problem.near) == (over, 2, "capacity")


def test_without_a_ladder_of_its_own_the_decision_maker_is_told_after_half_an_hour(tmp_path: Path) -> None:
    """FO-12."""
    ladder = load_team(write(tmp_path, DESIGN), SETTINGS).ladder_for({"ticket": {"priority": "low"}})
    assert ladder is not None
    assert [(s.after_s, s.notify) for s in ladder.ladder] == [(1800, "felix_ceo")]


def test_a_team_is_found_by_name_and_an_unknown_one_has_a_near_match(tmp_path: Path) -> None:
    init_team("front_ofice", tmp_path)
    settings = Settings(teams=[tmp_path])
    assert load_team("front_ofice", settings).folder == tmp_path / "front_ofice"
    with pytest.raises(TeamNotFound, match="Did you mean 'front_office'"):
        load_team("front_offise", settings)


def test_a_scaffolded_team_has_no_problem_and_three_functions(tmp_path: Path) -> None:
    files = init_team("acme", tmp_path)
    assert check_team(files[0], SETTINGS) == []
    functions = [n.name for n in ast.parse(files[1].read_text()).body if isinstance(n, ast.FunctionDef)]
    assert functions == ["support", "engineering", "decisions"]
    with pytest.raises(FileExistsError):
        init_team("acme", tmp_path)
    for bad in ("", "Acme", "../x", "1a", "a" * 42):
        with pytest.raises(ValueError, match="team's name"):
            init_team(bad, tmp_path)


def test_the_schema_speaks_the_files_language() -> None:
    text = str(team_schema())
    assert "'after'" in text
    assert "after_s" not in text


def test_working_hours_follow_summer_time() -> None:
    """EN-04: working hours with time zones."""
    hours, berlin = Hours("Mon-Fri 08:00-18:00 Europe/Berlin"), ZoneInfo("Europe/Berlin")

    def at(*parts: int) -> float:
        return datetime(*parts, tzinfo=berlin).timestamp()  # type: ignore[misc,arg-type]

    assert hours.is_open(at(2026, 3, 27, 8))
    assert not hours.is_open(at(2026, 3, 27, 18))
    # the clock goes forward in that weekend: 61 hours on the wall are 60 hours
    assert hours.next_open(at(2026, 3, 27, 19)) == at(2026, 3, 30, 8)
    assert hours.next_open(at(2026, 3, 27, 19)) - at(2026, 3, 27, 19) == 60 * 3600
    assert hours.next_open(at(2026, 3, 27, 9)) == at(2026, 3, 27, 9)
    # 02:30 does not exist on that Sunday: the hours open when the gap ends
    assert Hours("Sun 02:30-05:00 Europe/Berlin").next_open(at(2026, 3, 29, 0)) == at(2026, 3, 29, 3)
    night = Hours("Fri 22:00-06:00 UTC")
    assert night.is_open(datetime(2026, 3, 28, 5, 59, tzinfo=ZoneInfo("UTC")).timestamp())
    assert not night.is_open(datetime(2026, 3, 27, 5, 59, tzinfo=ZoneInfo("UTC")).timestamp())


@pytest.mark.parametrize(("text", "seconds"), [("30_minutes", 1800), ("5m", 300), ("2 days", 172800), (90, 90)])
def test_times_are_read_as_people_write_them(text: str | int, seconds: float) -> None:
    """FO-01."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize(("text", "says"), [("a: " + "[" * 20_000, "too deep"), ("#" * 1_000_001, "larger than")])
def test_a_file_that_would_exhaust_us_is_a_problem_and_no_crash(tmp_path: Path, text: str, says: str) -> None:
    """I17."""
    [problem] = check_team(write(tmp_path, text), SETTINGS)
    assert says in problem.message and problem.severity == "error"


def test_a_misspelt_limit_of_a_budget_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    """EN-12: a budget that is not read would limit nothing."""
    file = tmp_path / "team.yaml"
    file.write_text(
        "team: shop\nagents:\n  ann: {role: support, can: [help], budget: {tokns: 5}}\n"
        "routes: [{needs: [help]}]\nbudgets:\n  ticket: {mony: 1.5}\n"
    )
    problems = {(p.line, p.near) for p in check_team(file, Settings())}
    assert problems == {(3, "tokens"), (6, "money")}
