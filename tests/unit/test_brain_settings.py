"""From an agent of a team file to its brain: model, temperature, prompts and pages are configuration (TP-06, SS-01)."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftlead.agents.brain_check import brain_problems
from shiftlead.agents.brains import brain_of
from shiftlead.agents.llm import OpenAIBrain
from shiftlead.agents.offline import OfflineBrain
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team
from shiftlead.queues.errors import BadInput

WITH_MODEL = Settings(openai_base_url="http://127.0.0.1:1/v1", openai_model="the-setting", openai_temperature=0.2)
AGENTS = """
  triage: {role: triage, can: [route], brain: openai, temperature: 0.3}
  sales: {role: sales, can: [sell], brain: openai, temperature: 0.7, model: small-1, knowledge: [prices, terms.md]}
  support: {role: support, can: [help], brain: openai, prompts: {a: roles/support.md, b: roles/support.b.md}}
  offline: {role: support, can: [help], knowledge: [prices]}
"""


def a_team(folder: Path, agents: str = AGENTS) -> Team:
    for page in ("roles/support.md", "roles/support.b.md", "prices/plans.md", "terms.md"):
        (folder / page).parent.mkdir(exist_ok=True, parents=True)
        (folder / page).write_text(f"# {page}\n\nA plan for families costs nine a month: {page}.")
    lines = f"team: shop\nagents:{agents}routes: [{{needs: [help]}}]\n"
    (folder / "team.yaml").write_text(lines)
    return load_team(folder / "team.yaml", WITH_MODEL)


def test_each_agent_thinks_with_its_own_model_as_freely_as_its_team_file_says(tmp_path: Path) -> None:
    team = a_team(tmp_path)
    made = {name: brain_of(team, name, WITH_MODEL) for name in ("triage", "sales", "support")}
    settings = {name: brain.settings for name, brain in made.items() if isinstance(brain, OpenAIBrain)}
    models = {name: (s.openai_model, s.openai_temperature) for name, s in settings.items()}
    assert models == {"triage": ("the-setting", 0.3), "sales": ("small-1", 0.7), "support": ("the-setting", 0.2)}


def test_an_agent_knows_the_pages_its_team_file_names_and_no_others(tmp_path: Path) -> None:
    team = a_team(tmp_path)
    offline, sales = brain_of(team, "offline", WITH_MODEL), brain_of(team, "sales", WITH_MODEL)
    assert isinstance(offline, OfflineBrain) and isinstance(sales, OpenAIBrain)
    assert {hit.page for hit in offline.knowledge.search("a plan for families")} == {"plans.md"}
    assert {hit.page for hit in sales.knowledge.search("a plan for families")} == {"plans.md", "terms.md"}


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ("prompts: {a: roles/none.md}", "prompts"),
        ("prompts: {a: ../secrets.md}", "prompts"),
        ("knowledge: [nowhere]", "knowledge"),
        ("knowledge: [/etc]", "knowledge"),
    ],
)
def test_a_page_that_is_not_there_is_found_before_a_ticket_needs_it(tmp_path: Path, wrong: str, key: str) -> None:
    """And its place in the team file is named; a page outside of the team's folder is none of the team's."""
    team = a_team(tmp_path, f"\n  ann: {{role: support, can: [help],\n    {wrong}}}\n")
    with pytest.raises(BadInput) as raised:
        brain_of(team, "ann", WITH_MODEL)
    assert raised.value.field == key
    [problem] = brain_problems(team, WITH_MODEL)
    assert (problem.file.name, problem.line) == ("team.yaml", 4) and key in problem.message
