"""The walk-through notebook: its cells run one after the other, and print what stands below them (TP-11).

Jupyter is not needed. The cells run in a process of their own, because they start a server and threads. After a change
that changes what they print:  python tests/stories/test_walkthrough.py write
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "walkthrough.ipynb"
# What differs from day to day: the year of a number, the time of a step.
OF_TODAY = [(re.compile(r"T-\d{4}-"), "T-YYYY-"), (re.compile(r"(?<!\d)\d\d:\d\d:\d\d"), "HH:MM:SS"),
            (re.compile(r"\d{4}-\d\d-\d\dT"), "DATE")]  # fmt: skip


@pytest.mark.real
@pytest.mark.timeout(120)
def test_the_walkthrough_runs_cell_by_cell_and_prints_what_it_shows() -> None:
    """TP-11: real calls, offline; each code cell has its output in the file."""
    ran = subprocess.run([sys.executable, __file__, "run"], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr[-3000:]
    printed = json.loads(ran.stdout)
    shown = [_shown(cell) for cell in _code(_read())]
    assert len(printed) == len(shown) > 10
    for number, (now, before) in enumerate(zip(printed, shown, strict=True), 1):
        assert _timeless(now) == _timeless(before), f"code cell {number}"
    assert all(text.strip() for text in shown), "every code cell shows something"


def test_the_walkthrough_tells_of_the_four_sample_tickets() -> None:
    """TP-11: login trouble, production down, charged twice, password reset; each cell has words before it."""
    cells = _read()["cells"]
    text = "".join("".join(cell["source"]) for cell in cells)
    for title in ("Login trouble", "Production is down", "Charged twice", "Password reset"):
        assert f'"{title}"' in text
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds[0] == "markdown" and ("code", "code") not in itertools.pairwise(kinds)


def _read() -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
    return notebook


def _code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _shown(cell: dict[str, Any]) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"])


def _timeless(text: str) -> str:
    for pattern, word in OF_TODAY:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _run(cells: list[dict[str, Any]]) -> list[str]:
    """What each cell prints; all share one namespace, as in a notebook."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for number, cell in enumerate(cells, 1):
        paper = io.StringIO()
        with contextlib.redirect_stdout(paper):
            exec(compile("".join(cell["source"]), f"<code cell {number}>", "exec"), names)
        printed.append(paper.getvalue())
    return printed


def _write(notebook: dict[str, Any]) -> None:
    """Put what the cells print below them."""
    cells = _code(notebook)
    for number, (cell, text) in enumerate(zip(cells, _run(cells), strict=True), 1):
        lines = [line.rstrip() + "\n" for line in text.splitlines()]
        cell["execution_count"] = number
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}]
    NOTEBOOK.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        _write(_read())
    else:
        print(json.dumps(_run(_code(_read()))))
