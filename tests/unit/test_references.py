"""References to what earlier steps found, in texts of the team file."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftlead.config.references import UnknownReference, fill, references
from shiftlead.config.settings import Settings
from shiftlead.config.team import TeamError, load_team

TICKET = {"number": "T-2026-001", "title": "${classify.category}", "context": {"plan": "gold"}}
STEPS = {"classify": {"result": {"category": "billing", "sure": True, "signs": ["invoice", "charged"]}, "at": 1.0}}


def test_any_earlier_step_and_the_ticket_can_be_named() -> None:
    """TP-06: as Shiftlead writes it and as workflow engines do; what was put in is not looked at again."""
    text = "${ticket.number} ${classify.category}/${classify.output.category} ${classify.sure} ${classify.signs} {} $5"
    shown = "T-2026-001 billing/billing yes invoice; charged {} $5"
    assert fill(text, ticket=TICKET, steps=STEPS) == shown
    assert fill("${ticket.title}|${ticket.context.plan}", ticket=TICKET, steps=STEPS) == "${classify.category}|gold"
    assert fill("${ticket.title}", ticket=TICKET, steps=STEPS, show=lambda value: value.upper()) == (
        "${CLASSIFY.CATEGORY}"
    )
    assert references(text)[1] == ("classify.category", ["classify", "category"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${clasify.category}", "no step 'clasify' is done so far; did you mean 'classify'?"),
        ("${know.confidence}", "no step 'know' is done so far; there are: classify"),
        ("${classify.categry}", "it has no 'categry'; did you mean 'category'?"),
        ("${classify.category.deep}", "it has no 'deep'"),
        ("${ticket.titel}", "a ticket has no field 'titel'; did you mean 'title'?"),
        ("${category}", "a reference looks like ${classify.category}"),
        ("${__class__.x}", "a reference looks like"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(text: str, said: str) -> None:
    """TP-06: with the name that was meant."""
    with pytest.raises(UnknownReference) as unknown:
        fill(text, ticket=TICKET, steps=STEPS)
    assert said in str(unknown.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${clasify.category}", "no flow has a step 'clasify'; did you mean 'classify'"),
        ("${classify.mod}", "classify has no 'mod'; did you mean 'mood'"),
        ("${ticket.bdy}", "did you mean 'body'"),
        ("${classify}", "a reference looks like"),
    ],
)
def test_a_wrong_reference_is_found_when_the_team_is_checked(tmp_path: Path, text: str, said: str) -> None:
    """TP-06: before anybody has to be told anything."""
    yaml = f"""
team: line
agents: {{clara: {{role: classifier, can: [classify]}}}}
routes: [{{needs: [classify]}}]
flows: [{{name: f, steps: [classify], results: {{classify: {{mood: text}}}}}}]
channels: {{text: "${{classify.mood}} {text}"}}
"""
    (tmp_path / "team.yaml").write_text(yaml)
    with pytest.raises(TeamError) as wrong:
        load_team(tmp_path, Settings(home=tmp_path))
    assert said in str(wrong.value)
    (tmp_path / "team.yaml").write_text(yaml.replace(text, "${ticket.title}"))
    assert load_team(tmp_path, Settings(home=tmp_path)).channels.text.startswith("${classify.mood}")
