"""Bring your own agents, as the README tells it: from a clone to a ticket that the user's own function resolved."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster import clean_environment, free_port, processes_of

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
SECTION = "Bring your own agents"
OURS = "We found the second charge for order 1234 and sent it back today, says Mia's own function."
OWN_SUPPORT = f"\n\ndef support(work):\n    return {OURS!r}\n"


class Clone:
    """A clone of the repository, and what its README says about own agents."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        ports = {"SHIFTLEAD_PORT": str(free_port()), "SHIFTLEAD_FLOWER_PORT": str(free_port())}
        self.env = clean_environment() | {"SHIFTLEAD_HOME": str(home)} | ports
        section = re.split(r"^## ", (folder / "README.md").read_text(), flags=re.MULTILINE)
        [self.text] = [part for part in section if part.startswith(SECTION)]

    def commands(self) -> list[str]:
        """The section's shell commands in their order, with the year of today's numbers."""
        blocks = re.findall(r"^```sh\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL)
        year = datetime.now(UTC).year
        return [re.sub(r"T-\d{4}-", f"T-{year}-", line) for block in blocks for line in block.splitlines() if line]

    def command(self, verb: str) -> str:
        """The section's one command of that name, as it stands there."""
        [found] = [c for c in self.commands() if c.startswith(f".venv/bin/shiftlead {verb}")]
        return found

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def clone(short_folder: Path) -> Iterator[Clone]:
    """`git clone`, and the environment that runs this test in the place of the one `make` would install."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    script = Path(sys.executable).parent / "shiftlead"
    if not script.exists():
        pytest.skip(f"there is no shiftlead beside {sys.executable}")
    folder = short_folder / "shiftlead"
    argv = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)]
    subprocess.run(argv, check=True, capture_output=True)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "shiftlead").symlink_to(script)
    made = Clone(folder, short_folder / "home")
    try:
        yield made
    finally:
        if processes_of(made.home):
            subprocess.run(
                [str(script), "down"], env=made.env, cwd=folder, capture_output=True, check=False, timeout=90
            )


@pytest.mark.timeout(300)
def test_from_a_clone_to_a_ticket_resolved_by_the_users_own_function(clone: Clone) -> None:
    """The README's commands as they stand there, in their order; nothing else is needed, nothing is left running."""
    verbs = [command.split()[1] for command in clone.commands()]
    assert verbs == ["team", "try", "up", "enqueue", "list", "show", "down"]

    began = time.monotonic()
    said = clone.run(clone.command("team init"))
    agents = clone.folder / "teams" / "acme" / "agents.py"
    assert "teams/acme" in said and agents.exists() and (agents.parent / "team.yaml").exists()
    assert "nothing stored" in clone.run(clone.command("try"))

    agents.write_text(agents.read_text() + OWN_SUPPORT)
    assert OURS.split()[-1] in clone.run(clone.command("try"))
    assert not clone.home.exists() or not list(clone.home.glob("ledger*")), "trying stores nothing"

    clone.run(clone.command("up"))
    stored = clone.run(clone.command("enqueue"))
    number = re.findall(r"T-\d{4}-\d{3}", stored)[0]
    assert number in clone.command("show"), "the README shows the first ticket of a new folder"
    assert number in clone.run(clone.command("list"))
    ticket = _resolved(clone, number)
    assert ticket["result"]["reply"] == OURS
    assert OURS in clone.run(clone.command("show") + " --json")
    assert "ada_support" in clone.run(clone.command("show"))

    assert processes_of(clone.home)
    assert "stopped" in clone.run(clone.command("down"))
    # A child that ends by its parent's end does so a moment later.
    deadline = time.monotonic() + 5
    while left := processes_of(clone.home):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    print(f"from the clone to the resolved ticket and down again: {time.monotonic() - began:.1f} s")


def test_the_function_the_readme_shows_works_as_it_stands(clone: Clone) -> None:
    """It answers by itself, and hands a crash to engineering."""
    clone.run(clone.command("team init"))
    agents = clone.folder / "teams" / "acme" / "agents.py"
    [shown] = re.findall(r"^```python\n(.*?)^```", clone.text, re.MULTILINE | re.DOTALL)
    agents.write_text(f"{agents.read_text()}\n\n{shown}")

    answer = json.loads(clone.run(clone.command("try") + " --json"))
    assert (answer["kind"], answer["reply"]) == ("resolved", "Thank you for writing! We are on it.")
    crash = json.loads(clone.run(".venv/bin/shiftlead try ada_support 'a crash at start' --team acme --json"))
    assert (crash["kind"], crash["needs"]) == ("hand_off", ["bug"])
    assert "can be used" in clone.run(".venv/bin/shiftlead team check acme")


def _resolved(clone: Clone, number: str) -> dict[str, dict[str, str]]:
    """Ask `show` until the ticket is completed."""
    deadline = time.monotonic() + 30
    while True:
        shown = json.loads(clone.run(f".venv/bin/shiftlead show {number} --team acme --json"))
        ticket: dict[str, dict[str, str]] = shown["ticket"]
        if str(ticket["state"]) == "resolved":
            return ticket
        assert time.monotonic() < deadline, shown
