"""From how much of a question a passage covers to the probability that it is the right answer (Platt's method).

    p = 1 / (1 + e^-(a + b * ln(covers + 0.05)))

The shipped curves were measured once, see CURVES. A team's own outcomes bend them: they are added to a few rows of the
shipped one, so that fifty rows from one corner of the scale do not decide about the other. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

__all__ = ["CURVES", "ENOUGH_ROWS", "Calibrated", "Curve", "calibrated", "fit"]

ENOUGH_ROWS = 50
PRIOR_ROWS = 20  # what the shipped curve counts for
STEPS = 50
BINS = 5


@dataclass(frozen=True, slots=True)
class Curve:
    a: float
    b: float

    def __call__(self, covers: float) -> float:
        return 1 / (1 + math.exp(-(self.a + self.b * _scaled(covers))))


# Measured on questions with known answers, labels of ours. Pages: 3,000 of Banking77 and 200 foreign ones of CLINC150
# against front_office's pages (Brier 0.195, ECE 0.020). Tickets: 2,003 and 200 against 8,000 answered ones, right where
# the intent is the same (Brier 0.156, ECE 0.020). An FAQ is read like a page.
CURVES: dict[str, Curve] = {"page": Curve(1.92, 1.22), "faq": Curve(1.92, 1.22), "ticket": Curve(1.85, 2.47)}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A curve and how it does: mean squared error (Brier) and mean error of the probability (ECE), before and after.

    `bins`: (from, to, rows, said, was right) for each fifth of the probabilities that were said after.
    """

    rows: int
    right: int
    curve: Curve
    brier_before: float
    brier: float
    ece_before: float
    ece: float
    bins: tuple[tuple[float, float, int, float, float], ...]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


Row = tuple[float, bool]


def calibrated(rows: Sequence[Row], shipped: Curve) -> Calibrated | None:
    """The curve these outcomes give; None where they are too few to say."""
    if len(rows) < ENOUGH_ROWS:
        return None
    curve = fit(rows, shipped)
    return Calibrated(
        len(rows), sum(right for _, right in rows), curve, _brier(rows, shipped), _brier(rows, curve),
        _ece(rows, shipped), _ece(rows, curve), tuple(_bins(rows, curve)),
    )  # fmt: skip


def fit(rows: Iterable[Row], prior: Curve) -> Curve:
    """The likeliest curve, by Newton's method. It never falls: covering more is never worse."""
    grid = [(i + 0.5) / 10 for i in range(10)]
    points = [(_scaled(covers), float(right), 1.0) for covers, right in rows]
    points += [(_scaled(covers), prior(covers), PRIOR_ROWS / len(grid)) for covers in grid]
    a, b = prior.a, prior.b
    for _ in range(STEPS):
        ga = gb = haa = hab = hbb = 0.0
        for x, y, weight in points:
            p = 1 / (1 + math.exp(-(a + b * x)))
            slope = weight * p * (1 - p)
            ga, gb = ga + weight * (y - p), gb + weight * (y - p) * x
            haa, hab, hbb = haa + slope, hab + slope * x, hbb + slope * x * x
        det = haa * hbb - hab * hab
        if det < 1e-12:
            break
        da, db = (hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det
        a, b = _bounded(a + da), _bounded(b + db)
        if abs(da) + abs(db) < 1e-9:
            break
    if b >= 0:
        return Curve(a, b)
    share = sum(y * w for _, y, w in points) / sum(w for *_, w in points)
    return Curve(math.log(share / (1 - share)), 0.0)


def _bounded(value: float) -> float:
    return max(-30.0, min(30.0, value))


def _scaled(covers: float) -> float:
    """Low shares lie closer together in what they cover than in what they mean: a logarithm draws them apart."""
    return math.log(covers + 0.05)


def _brier(rows: Sequence[Row], curve: Curve) -> float:
    return sum((curve(x) - right) ** 2 for x, right in rows) / len(rows)


def _ece(rows: Sequence[Row], curve: Curve) -> float:
    return sum(n * abs(said - was) for *_, n, said, was in _bins(rows, curve)) / len(rows)


def _bins(rows: Sequence[Row], curve: Curve) -> list[tuple[float, float, int, float, float]]:
    found = []
    for i in range(BINS):
        low, high = i / BINS, (i + 1) / BINS
        said = [
            (curve(x), right) for x, right in rows if low <= curve(x) < high or (i == BINS - 1 and curve(x) >= high)
        ]
        if said:
            n = len(said)
            found.append((low, high, n, sum(p for p, _ in said) / n, sum(r for _, r in said) / n))
    return found
