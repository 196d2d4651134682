"""The house is as its papers say: folders, lengths, settings, public names, locks, and nothing of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import lru_cache
from pathlib import Path

import pytest

from shiftlead.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("coordinator", "agents", "queues", "config")
TOP = {
    "pyproject.toml", "README.md", *FOLDERS, "tests", "Procfile", "Makefile", "LICENSE", "CHANGELOG.md",
    "CONTRIBUTING.md", "docs", ".ci", ".gitignore", "requirements.lock",
}  # fmt: skip
LONGEST = 350
LOCKS = ("requirements.lock", "tests/requirements.lock")

# Put together here, so that this file does not find itself.
OF_ONE_MACHINE = re.compile("|".join(("/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/(main|shared)", "/opt/" + "pypi")))
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
REGISTRY = re.compile(r"https?://[^\s\"')]*(?:py" + r"pi|python" + r"hosted)")


@lru_cache
def files(*, tracked_only: bool = False) -> tuple[Path, ...]:
    """The files of the project, without what git ignores."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    which = [] if tracked_only else ["--others", "--exclude-standard"]
    argv = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z", "--cached", *which]
    names = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(sorted(path for name in set(names) if name and (path := ROOT / name).is_file()))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code() -> list[Path]:
    """Our Python in the four folders."""
    return [p for p in files() if p.suffix == ".py" and name_of(p).split("/")[0] in FOLDERS]


def test_the_top_level_holds_what_a_person_expects_and_nothing_else() -> None:
    found = {name_of(path).split("/")[0] for path in files(tracked_only=True)}
    assert found - TOP == set()
    assert [name for name in (*FOLDERS, "pyproject.toml", "README.md", "Procfile") if not (ROOT / name).exists()] == []


def test_a_file_is_read_in_one_sitting() -> None:
    lengths = {
        name_of(path): len(path.read_text().splitlines())
        for path in files()
        if path.suffix in (".py", ".lua") and name_of(path).split("/")[0] in FOLDERS and "/teams/" not in name_of(path)
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_the_readme_lists_every_setting_and_no_other() -> None:
    """A table row per setting, its name first: | `SHIFTLEAD_HOME` | ..."""
    rows = re.findall(r"^\|\s*`(SHIFTLEAD_[A-Z_]+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    settings = {f"SHIFTLEAD_{name.upper()}" for name in Settings.model_fields}
    assert settings - set(rows) == set(), "not in README.md"
    assert set(rows) - settings == set(), "in README.md, but there is no such setting"
    assert len(rows) == len(set(rows)), "twice in README.md"


def test_every_setting_says_in_a_sentence_what_it_is() -> None:
    bare = [name for name, field in Settings.model_fields.items() if len((field.description or "").split()) < 3]
    assert bare == []


def test_every_script_for_the_server_is_used_and_every_used_one_is_there() -> None:
    scripts = {path.name for path in files() if path.suffix == ".lua"}
    python = "\n".join(path.read_text() for path in code() if name_of(path).startswith("queues/"))
    named = set(re.findall(r"([a-z_]+\.lua)\b", python))
    assert scripts
    assert scripts - named == set(), "no Python file names it"
    assert named - scripts == set(), "there is no such file"


def test_every_module_writes_down_what_is_public() -> None:
    """`__all__` is there, and every name in it exists."""
    missing, wrong = [], []
    for path in code():
        if path.name.startswith("_") or {"teams", "demo", "migrations"} & set(path.parts):
            continue
        tree = ast.parse(path.read_text())
        public = next((n.value for n in tree.body if isinstance(n, ast.Assign) and _names(n) == {"__all__"}), None)
        if public is None:
            missing.append(name_of(path))
            continue
        known = set().union(*(_names(node) for node in ast.walk(tree)))
        wrong += [f"{name_of(path)}: {name}" for name in ast.literal_eval(public) if name not in known]
    assert missing == []
    assert wrong == []


def test_nothing_of_one_machine_and_nothing_unfinished_is_in_any_file() -> None:
    found = []
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), 1):
            for pattern in (OF_ONE_MACHINE, UNFINISHED, REGISTRY):
                if hit := pattern.search(line):
                    found.append(f"{name_of(path)}:{number}: {hit.group()}")
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_and_hashes_everything_and_names_no_address(lock: str) -> None:
    pins = _pins(lock)
    assert pins
    assert [name for name, text in pins.items() if "--hash=sha256:" not in text] == []
    assert re.findall(r"://|^\s*-[^-]|^--", (ROOT / lock).read_text(), re.MULTILINE) == []


def test_the_locks_hold_what_the_project_asks_for_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, tests = (set(_pins(lock)) for lock in LOCKS)
    asked = {_plain(d) for d in [*project["project"]["dependencies"], *project["build-system"]["requires"]]}
    assert asked - runtime == set()
    assert {_plain(d) for d in project["project"]["optional-dependencies"]["test"]} - tests - runtime == set()
    assert runtime & tests == set()


def test_the_procfile_starts_every_process_of_an_installation() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert list(lines) == ["redis", "coordinator", "agents", "intake", "web", "flower"]
    assert all(command.startswith("shiftlead ") for command in lines.values())


def _names(node: ast.AST) -> set[str]:
    """The names a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    if isinstance(node, ast.AnnAssign):
        return {node.target.id} if isinstance(node.target, ast.Name) else set()
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    return set()


def _pins(lock: str) -> dict[str, str]:
    """Package name to its whole entry."""
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    return {_plain(entry.split("==")[0]): entry for entry in entries if not entry.startswith("#")}


def _plain(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()
