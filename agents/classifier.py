"""A text classifier that learns from example sentences: softmax regression over words, pieces of words and concepts.

    classifier = Classifier.learn([("Where is my parcel?", "support"), ("The build fails", "engineering"), ...])
    classifier.guess("my parcel has not come")  ->  Guess(label="support", confidence=0.93, matched=("parcel", ...))

Plain Python and small: a feature keeps one list of numbers, a number a label, so that the scores of a text are the
column sums of its features' lists. Every feature counts once in a text, weighed by its rarity, and the sum is divided
by the text's length (cosine). Learning is stochastic gradient descent with a margin; labels that are already told
apart are not touched, so most updates are sparse. The confidence is calibrated: sentences that were held out say by
how much the scores are to be flattened, so that of guesses at 0.8 about four in five are right.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from .classifier_text import features_of, says_little

__all__ = ["Classifier", "Example", "Guess"]

# What a feature of each kind weighs beside its rarity; tried out on 77 intents with 10 and with 120 examples each.
KINDS = {"w": 1.0, "p": 0.7, "s": 0.5, "g": 0.6, "k": 1.4, "q": 0.6, "<": 3.0}
SCALE = 4.0  # of a score, before the exponential
STRANGE = 4.0  # what a word that was never seen weighs, beside a rare one
SHOWN = "wpk<"  # kinds that can be told to a person
MARGIN = 3.0  # by which the right label must lead while learning
TOUCHED = 0.02  # share of an error below which a label is left alone
ROUNDS = 6  # over all examples
MANY = 2_000  # examples: from then on a feature must be seen often enough to be worth its place
SEEN = {
    "few": dict.fromkeys("wgk<", 1) | dict.fromkeys("psq", 2),
    "many": dict.fromkeys("wgk<", 2) | dict.fromkeys("psq", 3),
}
PARTS = 3  # one of them is held out to calibrate
Progress = Callable[[float], None]  # is told the share that is done


class Example(NamedTuple):
    """One example: the features of its text, its label, and how much it counts."""

    features: Sequence[str]
    label: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Guess:
    """What a text sounds like. `matched` are the words that counted most, `second` the next best label."""

    label: str
    confidence: float
    matched: tuple[str, ...]
    second: str = ""


class Classifier:
    """Learned once, then only read: safe to share between threads."""

    def __init__(self, labels: Sequence[str], known: dict[str, int], squares: list[float], rarest: float) -> None:
        self.labels = list(labels)
        self.temperature = 1.0
        self._known, self._squares = known, squares  # feature -> its place; its weight squared
        self._strange = {"w": STRANGE * rarest**2, "g": (KINDS["g"] * rarest) ** 2}
        self._table = [[0.0] * len(labels) for _ in squares]

    @classmethod
    def learn(
        cls, examples: Iterable[tuple[str, str]] | Iterable[Example], *, calibrate: bool = True,
        progress: Progress | None = None,
    ) -> Classifier:  # fmt: skip
        """A classifier of these (text, label) pairs. A label's own name is one more example of it."""
        rows = [e if isinstance(e, Example) else Example(features_of(e[0]), e[1]) for e in examples]
        rows += [Example(features_of(label.replace("_", " ")), label) for label in dict.fromkeys(r.label for r in rows)]
        made = _learned(rows, progress)
        if calibrate:
            made.temperature = _temperature(rows)
        return made

    def guess(self, text: str, seen: Iterable[str] = ()) -> Guess | None:
        """The likeliest label; None when nothing in the text was ever seen."""
        features = features_of(text, seen)
        chances = self.chances(features)
        if chances is None:
            return None
        best, *others = sorted(chances, key=lambda label: -chances[label])
        second = others[0] if others else ""
        return Guess(best, round(chances[best], 3), self.matched(features, best, second), second)

    def chances(self, features: Sequence[str]) -> dict[str, float] | None:
        """How likely each label is, by features that were read before; together 1."""
        places, length = self._places(features)
        if not places:
            return None
        flat = SCALE / self.temperature
        return dict(zip(self.labels, softmax([s * flat for s in self._scores(places, length)]), strict=True))

    def matched(self, features: Sequence[str], label: str, other: str = "") -> tuple[str, ...]:
        """The words, at most four, that speak most for `label` and against `other`."""
        best, second = self.labels.index(label), self.labels.index(other) if other else None
        counted: dict[str, float] = {}
        for feature in features:
            if feature[0] in SHOWN and (place := self._known.get(feature)) is not None:
                row = self._table[place]
                lead = row[best] - (row[second] if second is not None else 0.0)
                shown = feature if feature[0] == "<" else feature[2:]
                if lead > 0 and "^" not in shown and "$" not in shown and not says_little(shown):
                    counted[shown] = max(lead, counted.get(shown, 0.0))
        return tuple(sorted(counted, key=lambda word: -counted[word])[:4])

    def label_of(self, text: str) -> str:
        """Only the likeliest label; "" when nothing in the text was ever seen."""
        places, length = self._places(features_of(text))
        if not places:
            return ""
        scores = self._scores(places, length)
        return self.labels[max(range(len(scores)), key=scores.__getitem__)]

    def _places(self, features: Sequence[str]) -> tuple[list[int], float]:
        """Where the known features stand, and 1 / length of the text, which unknown ones make longer."""
        known, squares = self._known, self._squares
        places = []
        strange = 0.0
        for feature in features:
            if (place := known.get(feature)) is not None:
                places.append(place)
            elif feature[0] in "wg":
                strange += self._strange[feature[0]]
        return places, 1 / math.sqrt(sum([squares[p] for p in places]) + strange) if places else 1.0

    def _scores(self, places: list[int], length: float) -> list[float]:
        if len(places) == 1:
            return [x * length for x in self._table[places[0]]]
        return [total * length for total in map(sum, zip(*itemgetter(*places)(self._table), strict=True))]


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares that sum to one."""
    top = max(scores)
    grown = [math.exp(s - top) for s in scores]
    whole = sum(grown)
    return [g / whole for g in grown]


def _learned(rows: Sequence[Example], progress: Progress | None = None) -> Classifier:
    seen = Counter(feature for row in rows for feature in row.features)
    least = SEEN["many" if len(rows) >= MANY else "few"]
    known: dict[str, int] = {}
    squares: list[float] = []
    for feature, count in seen.items():
        if count >= least[feature[0]]:
            known[feature] = len(squares)
            squares.append((KINDS[feature[0]] * _rarity(len(rows), count)) ** 2)
    labels = list(dict.fromkeys(row.label for row in rows))
    made = Classifier(labels, known, squares, _rarity(len(rows), 1))
    _descend(made, rows, progress)
    return made


@dataclass(slots=True)
class _Row:
    """One example while it is learned."""

    places: list[int]
    length: float
    label: int
    weight: float
    quiet: int = 0
    rests: int = 0


def _rarity(texts: int, seen: int) -> float:
    return 1 + math.log((1 + texts) / (1 + seen))


def _descend(made: Classifier, rows: Sequence[Example], progress: Progress | None) -> None:
    """Round after round over the examples in random order, with ever smaller steps."""
    label_at = {label: i for i, label in enumerate(made.labels)}
    table, squares = made._table, made._squares
    ready = [_Row(*made._places(row.features), label_at[row.label], row.weight) for row in rows]
    ready = [row for row in ready if row.places]
    dice = random.Random(7)  # noqa: S311 - the same examples always make the same classifier
    for turn in range(ROUNDS):
        dice.shuffle(ready)
        rate = 1 - turn / ROUNDS
        for number, row in enumerate(ready):
            if progress is not None and number % 200 == 0:
                progress((turn + number / len(ready)) / ROUNDS)
            if row.rests:
                row.rests -= 1
                continue
            scores = [s * SCALE for s in made._scores(row.places, row.length)]
            scores[row.label] -= MARGIN
            errors = [-chance for chance in softmax(scores)]
            errors[row.label] += 1.0
            if errors[row.label] < TOUCHED:  # told apart already: it rests for as many rounds as this happened
                row.quiet += 1
                row.rests = row.quiet
                continue
            row.quiet = 0
            push = rate * row.length * row.weight
            for label, error in enumerate(errors):
                if error > TOUCHED or error < -TOUCHED:
                    step = push * error
                    for place in row.places:
                        table[place][label] += step * squares[place]
    if progress is not None:
        progress(1.0)


def _temperature(rows: Sequence[Example]) -> float:
    """By how much scores are to be divided, from one part of the examples that the others had to tell apart."""
    place: Counter[str] = Counter()
    parts: tuple[list[Example], list[Example]] = ([], [])
    for row in rows:  # every third one of every label
        parts[place[row.label] % PARTS == PARTS - 1].append(row)
        place[row.label] += 1
    others, part = parts
    if not part or len(place) < 2:
        return 1.0
    made = _learned(others)
    held = []
    for row in part:
        places, length = made._places(row.features)
        if places:
            held.append(([s * SCALE for s in made._scores(places, length)], made.labels.index(row.label)))
    return min((t / 20 for t in range(20, 81)), key=lambda t: _surprise(held, t)) if held else 1.0


def _surprise(held: Sequence[tuple[list[float], int]], temperature: float) -> float:
    return -sum(math.log(max(1e-9, softmax([s / temperature for s in scores])[right])) for scores, right in held)
