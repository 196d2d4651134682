"""The wheel holds everything the installed product needs, not only its Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("coordinator", "agents", "queues", "config")
NOT_SHIPPED = {"__pycache__"}


def setuptools_major() -> int:
    try:
        return int(version("setuptools").split(".")[0])
    except PackageNotFoundError:
        return 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built from a copy of the sources, without any network."""
    if setuptools_major() < 77:
        pytest.skip(f"building needs setuptools 77 or newer, here is {setuptools_major() or 'none'}")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in (*FOLDERS, "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
        else:
            shutil.copy(ROOT / name, source / name)
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", str(source)]
    argv += ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(built)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=built)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = built.glob("shiftlead-*.whl")
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_every_file_of_the_four_folders_is_in_the_wheel(wheel: list[str]) -> None:
    """What works from a checkout works from an installation."""
    ours = {
        f"shiftlead/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not NOT_SHIPPED & set(path.parts)
    }
    assert ours
    assert ours - set(wheel) == set(), "not in the wheel"
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert packed - ours == set(), "in the wheel, but not ours"


@pytest.mark.parametrize(
    "needed",
    [
        "queues/lua/commit.lua",
        "queues/migrations/env.py",
        "queues/migrations/versions/0001_first.py",
        "queues/migrations/versions/0002_effects.py",
        "queues/migrations/versions/0004_spending.py",
        "config/teams/front_office/team.yaml",
        "config/teams/front_office/SOUL.md",
        "config/demo/front_office/tickets.jsonl",
        "config/demo/front_office/overlay.yaml",
        "config/flowerconfig.py",
        *(f"{folder}/py.typed" for folder in FOLDERS),
    ],
)
def test_what_is_read_at_run_time_is_in_the_wheel(wheel: list[str], needed: str) -> None:
    assert f"shiftlead/{needed}" in wheel


@pytest.mark.parametrize(
    ("folder", "ending"),
    [
        ("queues/lua", ".lua"),
        ("config/teams/front_office/knowledge", ".md"),
        ("config/teams/front_office/roles", ".md"),
        ("coordinator/flower/templates", ".html"),
    ],
)
def test_no_kind_of_material_was_left_out(wheel: list[str], folder: str, ending: str) -> None:
    assert [name for name in wheel if name.startswith(f"shiftlead/{folder}/") and name.endswith(ending)]


def test_nothing_of_the_tests_and_no_bare_top_level_name_is_installed(wheel: list[str]) -> None:
    """`agents` alone is another distribution's import name."""
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"shiftlead"}
    assert not [name for name in wheel if "/tests/" in name or name.endswith(".pyc")]
