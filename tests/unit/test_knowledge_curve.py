"""Confidence is a probability, bent by what became of earlier answers (TP-03)."""

from __future__ import annotations

import math
import random

from shiftlead.agents.knowledge_curve import CURVES, ENOUGH_ROWS, Curve, calibrated, fit

PAGE = CURVES["page"]


def drawn(curve: Curve, n: int, seed: int = 1) -> list[tuple[float, bool]]:
    """Outcomes of a team where `curve` is the truth."""
    dice = random.Random(seed)
    return [(x, dice.random() < curve(x)) for x in (dice.random() for _ in range(n))]


def test_fewer_than_fifty_outcomes_change_nothing() -> None:
    assert calibrated(drawn(PAGE, ENOUGH_ROWS - 1), PAGE) is None


def test_a_teams_outcomes_bend_the_curve_towards_what_happened() -> None:
    """Pages that are out of date: what looked like 80 percent is right every other time."""
    truth = Curve(0.0, 1.0)
    made = calibrated(drawn(truth, 400), PAGE)
    assert made is not None and made.brier < made.brier_before and made.ece < made.ece_before
    assert all(abs(made.curve(x) - truth(x)) < 0.1 for x in (0.2, 0.5, 0.9))
    assert sum(n for _, _, n, _, _ in made.bins) == made.rows == 400


def test_fifty_rows_of_one_corner_do_not_decide_about_the_other() -> None:
    curve = fit([(0.95, True)] * 50, PAGE)
    assert abs(curve(0.1) - PAGE(0.1)) < 0.15 and curve(0.95) > PAGE(0.95)


def test_covering_more_is_never_worse() -> None:
    """Whatever the outcomes say; and all right or all wrong is no division by zero."""
    against = [(x / 100, x < 50) for x in range(100)]
    for rows in (against, [(0.5, True)] * 200, [(0.5, False)] * 200, [(0.0, False)] * 60, [(1.0, True)] * 60):
        curve = fit(rows, PAGE)
        told = [curve(x / 20) for x in range(21)]
        assert told == sorted(told) and all(math.isfinite(p) and 0 < p < 1 for p in told)
