"""Read a ticket's text: what is prose, what is a log, and which capability it sounds like.

`Examples` are the team's own example sentences, learned by a classifier. A capability is chosen in two steps: first who
- agents with the same capabilities are one choice, and what the text says for any of them counts for all - and then
what for. The confidence is that of the first step. It tells what matched.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from shiftlead.config.team import Team

from .classifier import Classifier, Example
from .classifier_text import features_of

__all__ = ["Examples", "Guess", "Reading", "examples_of", "read", "rows_of", "sentences_of", "shorten", "who_can"]

MAX_CHARS = 20_000  # more of a text does not change what it is about
UNTOLD = 0.5  # of the confidence where no word of the text can be named for it, only pieces of words
CUE = 0.6  # what a cue counts beside a sentence

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
TRACE = re.compile(
    r"^\s*(?:at [\w.$<>]+\(|File \".*\", line \d|Traceback \(most|Caused by:|\.\.\. \d+ more|goroutine \d)"
    r"|\b[A-Z]\w*(?:Exception|Error)\b|\b\w{1,80}(?:\.\w{1,80}){2,12}(?:Exception|Error)"
    r"|segmentation fault|core dumped",
)
LOG = re.compile(
    r"^\s*(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\d\d:\d\d:\d\d|\[?(?:INFO|WARN(?:ING)?|ERROR|DEBUG|FATAL|TRACE)\]?[\s:]"
    r"|[$>]\s|[+-]{3} [ab]/|@@ |[{}();]+\s*$|<\?xml|</?\w+>)"
)
FENCE = re.compile(r"```.*?(?:```|\Z)|\{(code|noformat)[^}]{0,200}\}.*?(?:\{\1\}|\Z)", re.DOTALL)
# Every pattern here meets text of strangers: none may take more than a fixed number of steps for a character of it.
URL = re.compile(r"\b(?:https?|ftp|mailto)://?\S+|(?<![^\s@])[^\s@]{1,64}@[^\s@]{1,255}\.\w+")
CODE = re.compile(
    r"\b[a-z][a-z0-9]*_[a-z0-9_]+\b|\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b|\b[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+\b"
    r"|\b[a-z]{2,}[A-Z]\w*\b|\b\w+\(\)|(?<!\w)--[a-z][\w-]+|\b[a-z]\w*(?:\.[a-z]\w*){2,}\b|(?<!\w)#[a-z]+[A-Z]\w*"
)
BRANDS = re.compile(
    r"(?i)paypal|mastercard|youtube|iphone|applepay|googlepay|revolut|whatsapp|ebay|tiktok|linkedin|moneygram"
)
PATH = re.compile(
    r"(?<![\w/])/(?:[\w.-]+/)+[\w.-]+|(?<![\w-])-*\w[\w-]*\.(?:java|py|xml|js|ts|go|rs|c|cc|cpp|h|ya?ml|json|sh|log|conf|jar|so|class|md|html|css|sql|properties)\b"
)
VERSION = re.compile(r"(?<![\w.$€£])v?\d{1,9}\.\d{1,9}\.\d{1,9}(?![\w.]*\.\d)")
PULL = re.compile(r"/pull/\d+|/merge_requests/\d+|\bPR ?#?\d+|\b(?:pull|merge) request\b", re.IGNORECASE)
DIFF = re.compile(r"^(?:diff --git |@@ -\d)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """A text taken apart. `prose` is title and body without logs and code."""

    title: str
    prose: str
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class Guess:
    """What the examples say: the capability, how surely somebody who can do it is meant, and the words that said so."""

    capability: str
    confidence: float
    matched: tuple[str, ...]
    second: str = ""
    floor: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether the team follows it."""
        return self.confidence >= self.floor


def read(title: str, body: str) -> Reading:
    """Prose and features of a ticket's text."""
    text = f"{title}\n{body}"[:MAX_CHARS]
    features = set()
    plain = URL.sub(" ", text)
    if any(TRACE.search(line) for line in plain.splitlines()):
        features.add("<stack trace>")
    if CODE.search(BRANDS.sub(" ", plain)):
        features.add("<code name>")
    if PATH.search(plain):
        features.add("<file path>")
    if VERSION.search(plain):
        features.add("<version>")
    if PULL.search(text):
        features.add("<pull request>")
    if DIFF.search(text):
        features.add("<diff>")
    lines = FENCE.sub("\n", text).splitlines()
    prose = "\n".join(line for line in lines if not LOG.search(line) and not re.match(r"\s*at [\w.$<>]+\(", line))
    prose = URL.sub(" ", prose)
    return Reading(title, prose, frozenset(features))


class Examples:
    """A team's example sentences, learned. `rows` are those of `rows_of(team)`, or some of them."""

    def __init__(self, team: Team, rows: Sequence[Example]) -> None:
        self._classifier = Classifier.learn(rows)
        self._floor = team.triage.floor
        self._group = {label: who_can(team, label) for label in self._classifier.labels}

    def guess(self, reading: Reading) -> Guess | None:
        """The capability the text sounds like, or None when nothing in it was ever seen."""
        return self.guess_features(features_of(reading.prose, reading.features))

    def guess_features(self, features: Sequence[str]) -> Guess | None:
        """As `guess`, of features that were read before."""
        chances = self._classifier.chances(features)
        if chances is None:
            return None
        groups: dict[tuple[str, ...], float] = defaultdict(float)
        for label, chance in chances.items():
            groups[self._group[label]] += chance
        best = max(groups, key=groups.__getitem__)
        ranked = sorted(chances, key=lambda label: -chances[label])
        capability = next(label for label in ranked if self._group[label] == best)
        second = next((label for label in ranked if self._group[label] != best), "")
        matched = self._classifier.matched(features, capability, second)
        confidence = groups[best] if matched else groups[best] * UNTOLD
        return Guess(capability, round(confidence, 3), matched, second, self._floor)


def examples_of(team: Team) -> Examples | None:
    """The team's examples; None when it has none."""
    return _examples(team)


def shorten(text: str, limit: int = 140) -> str:
    """The first sentence that says something, at most `limit` characters."""
    for piece in re.split(r"(?<=[.!?])\s+|\n+", text):
        if len(WORD.findall(piece)) >= 3 and not re.fullmatch(
            r"(?i)(hi|hello|dear|good (morning|day|evening))\b.{0,30}", piece.strip()
        ):
            return _cut(piece, limit)
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    return (head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head).rstrip(" ,;:") + "…"


def who_can(team: Team, capability: str) -> tuple[str, ...]:
    """The agents who can; the capability itself where there are none. Those who only stand in do not count."""
    return tuple(team.agents_for([capability])) or (capability,)


def rows_of(team: Team) -> list[Example]:
    """What the team teaches, as examples: sentences, and cues that count less."""
    rows = []
    for capability, text, is_cue in _taught(team):
        if is_cue and text.startswith("<"):
            rows.append(Example([text], capability, CUE))
        else:
            seen = read("", text).features
            rows.append(Example(features_of(text, seen), capability, CUE if is_cue else 1.0))
    return rows


def sentences_of(team: Team) -> dict[str, list[str]]:
    """The team's example sentences by capability, in the file's order; cues only where a capability has no sentence."""
    sentences: dict[str, list[str]] = {}
    cues: dict[str, list[str]] = {}
    for capability, text, is_cue in _taught(team):
        if not text.startswith("<"):
            (cues if is_cue else sentences).setdefault(capability, []).append(text)
    return cues | sentences


def _taught(team: Team) -> Iterator[tuple[str, str, bool]]:
    """Capability, text, and whether it is a cue. A role's name means its first capability."""
    able = set(team.capabilities)
    for name, sounds in team.keywords.items():
        capability = name if name in able else team.capability_of_role(name)
        if capability:
            yield from ((capability, cue, True) for cue in sounds.cues)
            yield from ((capability, sentence, False) for sentence in sounds.sentences)
    for spec in team.agents.values():
        yield from ((spec.can[0], sentence, False) for sentence in spec.examples)


@lru_cache(maxsize=32)
def _examples(team: Team) -> Examples | None:
    rows = rows_of(team)
    return Examples(team, rows) if rows else None
