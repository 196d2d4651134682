"""Read a ticket's text: what is prose, what is a log, and which capability it sounds like.

`Examples` is a small, honest scorer over the team's own example sentences: a word counts the more, the rarer it is
among all examples and the more it belongs to one capability. Cues count more, by their length. It tells what matched.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from shiftlead.config.rules import words
from shiftlead.config.team import Team

__all__ = ["Examples", "Guess", "Reading", "examples_of", "read", "shorten"]

MAX_CHARS = 20_000  # more of a text does not change what it is about
FLOOR = 0.56  # a guess below this confidence is not followed
ENOUGH = 2.0  # score at which the evidence counts half
FEATURE_WEIGHT = {
    "<stack trace>": 5.0,
    "<pull request>": 5.0,
    "<diff>": 5.0,
    "<code name>": 2.5,
    "<file path>": 2.0,
    "<version>": 1.0,
}

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
STOP = words(
    "a an and are as at be been but by can could did do does for from had has have he her his how i if in is it its "
    "just me my no not of on or our please she so some than that the their them then there they this to up us was we "
    "were what when where which who why will with would you your i'm i've it's don't any am about after before into "
    "need want like get got help hi hello thanks thank know tell there's also too very more out being"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A text taken apart. `prose` is without logs and code; `tokens` are its stems in order."""

    prose: str
    tokens: tuple[str, ...]
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class Guess:
    """What the examples say. `matched` are the cues and words that counted most."""

    capability: str
    confidence: float
    matched: tuple[str, ...]
    second: str = ""

    @property
    def sure(self) -> bool:
        return self.confidence >= FLOOR


def read(title: str, body: str) -> Reading:
    """Prose, stems and features of a ticket's text."""
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
    return Reading(prose, tuple(_stems(prose)), frozenset(features))


class Examples:
    """A team's example sentences, weighed."""

    def __init__(self, sentences: dict[str, list[str]], cues: dict[str, list[str]]) -> None:
        self._cues: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        self._features: list[tuple[str, str]] = []
        for capability, phrases in cues.items():
            for phrase in phrases:
                if phrase.startswith("<"):
                    self._features.append((phrase, capability))
                elif stems := tuple(_stems(phrase)):
                    self._cues.setdefault(stems, []).append((phrase, capability))
        self._longest = max((len(c) for c in self._cues), default=0)
        self._weights = _weights(sentences)

    def guess(self, reading: Reading) -> Guess | None:
        """The capability the text sounds like, or None when nothing at all matched."""
        scores: dict[str, float] = defaultdict(float)
        why: dict[str, dict[str, float]] = {}

        def add(capability: str, what: str, weight: float) -> None:
            scores[capability] += weight
            found = why.setdefault(capability, {})
            found[what] = found.get(what, 0.0) + weight

        tokens = reading.tokens
        for size in range(1, self._longest + 1):
            for stems in {tokens[i : i + size] for i in range(len(tokens) - size + 1)}:
                for phrase, capability in self._cues.get(stems, ()):
                    add(capability, phrase, 1.5 + 0.75 * (size - 1))
        for feature, capability in self._features:
            if feature in reading.features:
                add(capability, feature, FEATURE_WEIGHT.get(feature, 2.0))
        for term in dict.fromkeys(_terms(tokens)):
            for capability, weight in self._weights.get(term, {}).items():
                add(capability, term, weight)
        if not scores:
            return None
        ranked = sorted(scores.items(), key=lambda s: -s[1])[:2]
        best, top = ranked[0]
        second, next_score = ranked[1] if len(ranked) > 1 else ("", 0.0)
        confidence = top / (top + next_score) * (top / (top + ENOUGH)) ** 0.5
        matched = sorted(why[best], key=lambda w: -why[best][w])[:4]
        return Guess(best, round(confidence, 3), tuple(matched), second)


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


@lru_cache(maxsize=32)
def _examples(team: Team) -> Examples | None:
    sentences: dict[str, list[str]] = {}
    cues: dict[str, list[str]] = {}
    able = set(team.capabilities)
    for name, sounds in team.keywords.items():
        capability = name if name in able else team.capability_of_role(name)
        if capability:
            sentences.setdefault(capability, []).extend(sounds.sentences)
            cues.setdefault(capability, []).extend(sounds.cues)
    for spec in team.agents.values():
        sentences.setdefault(spec.can[0], []).extend(spec.examples)
    if not any(sentences.values()) and not any(cues.values()):
        return None
    return Examples(sentences, cues)


def _weights(sentences: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Term -> capability -> weight: rarity among all sentences times how much the term belongs to the capability."""
    total = sum(len(s) for s in sentences.values())
    seen: dict[str, Counter[str]] = {}
    for capability, examples in sentences.items():
        for sentence in examples:
            for term in set(_terms(_stems(sentence))):
                seen.setdefault(term, Counter())[capability] += 1
    weights: dict[str, dict[str, float]] = {}
    for term, counts in seen.items():
        rates = {c: n / len(sentences[c]) for c, n in counts.items()}
        rarity = math.log(1 + total / sum(counts.values())) / math.log(1 + total)
        size = 1.0 if " " in term else 0.8
        whole = sum(rates.values())
        weights[term] = {c: size * rarity * (rate / whole) ** 2 for c, rate in rates.items()}
    return weights


def _terms(stems: Iterable[str]) -> list[str]:
    """Single stems that mean something, and pairs of neighbours."""
    kept = [s for s in stems if s not in STOP and (len(s) > 1 or not s.isascii()) and not s.isdigit()]
    return [*kept, *(f"{a} {b}" for a, b in itertools.pairwise(kept))]


def _stems(text: str) -> list[str]:
    return [_stem(word.lower().replace("’", "'")) for word in WORD.findall(text)]


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    """A word without its commonest English endings."""
    if len(word) <= 3 or word in STOP:
        return word
    for ending, new in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + new
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
