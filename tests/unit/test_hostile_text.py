"""Text made to keep a program busy: every rule that reads a ticket takes a time in proportion to its length."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shiftlead.agents.agent import Work
from shiftlead.agents.offline import OfflineBrain
from shiftlead.agents.reading import read
from shiftlead.config.settings import Settings
from shiftlead.config.team import Team, load_team
from shiftlead.coordinator.triage import triage
from shiftlead.queues.ticket import Ticket

NOW = 1_800_000_000.0
CHARACTERS = 20_000
CPU_S = 0.25  # reading one text, on a slow machine with company
UNITS = ["@", "a.", "1.", "a-", "<", "(", '"', " ", "\n", "at ", "aA1_", "a", "@a", "100 ", "{code", "http://"]
BEGINNINGS = {
    "an order number far away": "refund my order" + " " * CHARACTERS,
    "quotation marks": "I lost " + "'" * CHARACTERS,
    "a version that goes on": "1.1." + "1" * CHARACTERS + ".1",
    "one long address": "http://" + "a" * CHARACTERS,
}
TEXTS = {repr(unit): unit * (CHARACTERS // len(unit)) for unit in UNITS} | BEGINNINGS


@pytest.fixture(scope="module")
def team() -> Team:
    return load_team("front_office", Settings(teams=[]))


def ticket_of(text: str) -> Ticket:
    return Ticket(id="t", number="T-2027-001", team="front_office", created_at=NOW, title="Hello", body=text + "!")


@pytest.mark.parametrize("name", TEXTS)
def test_triage_reads_any_text_in_a_moment(team: Team, name: str) -> None:
    """EN-03: one hostile ticket must not keep the coordinator from the others."""
    ticket = ticket_of(TEXTS[name])
    triage(ticket_of("warm up"), team, now=NOW)
    began = time.process_time()
    triage(ticket, team, now=NOW)
    assert time.process_time() - began < CPU_S


@pytest.mark.parametrize("role", ["support", "engineering", "decision-maker", "somebody else"])
@pytest.mark.parametrize("name", TEXTS)
def test_every_offline_brain_reads_any_text_in_a_moment(tmp_path: Path, name: str, role: str) -> None:
    """FO-06: the brain's process has other tickets too."""
    (tmp_path / "cards.md").write_text("# Cards\n## Activate a card\nOpen the app and press Activate.\n")
    brain = OfflineBrain(role, tmp_path)
    work = Work(agent="a", role=role, ticket=ticket_of(TEXTS[name]), token=1)
    brain.handle(work.model_copy(update={"ticket": ticket_of("warm up")}))
    began = time.process_time()
    brain.handle(work)
    assert time.process_time() - began < CPU_S


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("write to ann@example.com", ""),
        ("a@b@example.com wrote", ""),
        ("fails in java.util.concurrent.fooException", "<stack trace>"),
        ("see --build-tool.py", "<file path>"),
        ("since 3.10.2", "<version>"),
        ("call my_function", "<code name>"),
    ],
)
def test_what_the_bounded_patterns_find_is_what_they_found(text: str, feature: str) -> None:
    """EN-03."""
    reading = read("", text)
    assert (feature in reading.features) if feature else ("example" not in reading.prose)
