"""What a classifier sees of a text: words, neighbours, pieces of words, and what the words mean in any language.

    features_of("I cann't log-in", ("<version>",)) -> ["w:log", "g:log", ..., "p:log in", "k:login", "<version>"]

Pieces of words forgive typing errors and join the forms of one word; concepts (concepts.txt) join languages. Chinese
and Japanese, which put nothing between words, are read by characters and pairs of them. A feature's first letter says
what it is; `<...>` are features the caller saw.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

from shiftlead.config.rules import words

__all__ = ["MAX_WORDS", "features_of", "fold", "says_little", "stem", "words_of"]

MAX_WORDS = 160  # of a text that are read: what comes later does not change what it is about
LONGEST = 24  # letters of a word that are cut to pieces
CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
WORD = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+")
SHORT_FORMS = [
    (re.compile(pattern), full)
    for pattern, full in (
        (r"\b(?:cannot|can'?t|cann't)\b", "can not"), (r"\bwon'?t\b", "will not"), (r"n't\b", " not"),
        (r"\b(do|does|did|is|was|has|have|would|could|should)nt\b", r"\1 not"), (r"'re\b", " are"),
        (r"'ve\b", " have"), (r"'ll\b", " will"), (r"'d\b", " would"), (r"\bi'?m\b", "i am"),
        (r"\b(it|that|there|what|where|how|who)'s\b", r"\1 is"),
    )
]  # fmt: skip
LITTLE = words(
    "a an and are as at be been but by can could did do does for from had has have he her him his how i if in "
    "into is it its just me more my no not of on one or our out she so some than that the their them then there "
    "they this to too up us very was we were what when where which who why will with would you your all any about "
    "after also am before being der die das ein eine und ist ich sie wir zu von mit auf fur nicht le la les un "
    "une des et est je vous nous pour pas de du en sur el los las una y es que por para con no se lo al il di che "
    "e non per o os um uma do da na em ao het een van ik dat niet te is и в не на я что с по как это мы у 的 了 我 是 "
    "は が を に の で "
)
ENDINGS = (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""))


class Word(NamedTuple):
    """A word's stem, its pieces, and the concepts it means by itself."""

    stem: str
    pieces: dict[str, None]
    concepts: tuple[str, ...]


class Concepts(NamedTuple):
    """The file of concepts: whole words by stem, beginnings of words, and phrases by the key of their first word."""

    stems: dict[str, tuple[str, ...]]
    beginnings: dict[str, tuple[str, ...]]
    phrases: dict[str, list[tuple[tuple[str, ...], str]]]
    inside: dict[str, str]


def features_of(text: str, seen: Iterable[str] = ()) -> list[str]:
    """The features of a text, each once, in its order; those the caller `seen` beside it come last."""
    found: dict[str, None] = {}
    words = [_word(token) for token in words_of(text)[:MAX_WORDS] if not _is_number(token)]
    stems = [word.stem for word in words]
    for word in words:
        found[f"w:{word.stem}"] = None
        found.update(word.pieces)
    edged = ["^", *stems, "$"]
    found.update((f"p:{a} {b}", None) for a, b in pairwise(edged))
    found.update((f"s:{a} {b}", None) for a, b in zip(stems, stems[2:], strict=False))
    meant = _meant(words, stems)
    found.update((f"k:{name}", None) for name in meant)
    found.update((f"q:{min(a, b)} {max(a, b)}", None) for a, b in pairwise(meant) if a != b)
    return [*found, *sorted(seen)]


def says_little(shown: str) -> bool:
    """Whether a stem, or a pair of them, is made of words that stand in every text."""
    return all(part in _little() for part in shown.split())


@cache
def _little() -> frozenset[str]:
    return frozenset(map(stem, LITTLE))


def words_of(text: str) -> list[str]:
    """The words, folded; short forms written out."""
    text = fold(text)
    if "'" in text or "nt" in text or "cannot" in text or "im" in text:
        for pattern, full in SHORT_FORMS:
            text = pattern.sub(full, text)
    return WORD.findall(text)


def fold(text: str) -> str:
    """Small letters without accents, straight apostrophes."""
    text = text.lower()
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(FOLDED)


class _Folded(dict[int, str]):
    """A letter to itself without its accents, found once. Cyrillic and kana keep their marks: they are no accents."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        if code < 0x0370 or 0x1E00 <= code < 0x2000:
            letter = "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
        self[code] = letter
        return letter


FOLDED = _Folded({ord("’"): "'", ord("ß"): "ss", ord("ё"): "е", ord("ø"): "o", ord("ł"): "l", ord("æ"): "ae"})


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A folded word without its commonest English endings."""
    if len(word) <= 3:
        return word
    for ending, new in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + new
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@lru_cache(maxsize=50_000)
def _word(token: str) -> Word:
    known = _concepts()
    if "\u3040" <= token[0] <= "\ud7af":
        inside = [
            known.inside[p] for n in range(1, 8) for i in range(len(token)) if (p := token[i : i + n]) in known.inside
        ]
        pieces = [f"g:{token[i : i + n]}" for n in (1, 2) for i in range(len(token) - n + 1)]
        return Word(token, dict.fromkeys(pieces), tuple(dict.fromkeys(inside)))
    edged = f" {token[:LONGEST]} "
    pieces = [f"g:{edged[i : i + n]}" for n in (3, 4) for i in range(len(edged) - n + 1)]
    root = stem(token)
    meant = [
        *known.stems.get(root, ()),
        *(c for n in range(2, len(token) + 1) for c in known.beginnings.get(token[:n], ())),
    ]
    return Word(root, dict.fromkeys(pieces), tuple(dict.fromkeys(meant)))


def _is_number(token: str) -> bool:
    """Numbers say nothing: of an order, of a house. Three digits may be a code that does: 404, 500."""
    return any(c.isdigit() for c in token) and not (len(token) == 3 and token.isdigit())


def _meant(words: list[Word], stems: list[str]) -> list[str]:
    """The concepts of the text in its order."""
    phrases = _concepts().phrases
    meant: list[str] = []
    for at, word in enumerate(words):
        meant += word.concepts
        for rest, name in phrases.get(word.stem, ()):
            after = stems[at + 1 : at + 1 + len(rest)]
            if len(after) == len(rest) and all(map(_fits, rest, after)):
                meant.append(name)
    return meant


def _fits(wanted: str, given: str) -> bool:
    return given.startswith(wanted[:-1]) if wanted.endswith("*") else given == wanted


@cache
def _concepts() -> Concepts:
    stems: dict[str, tuple[str, ...]] = {}
    beginnings: dict[str, tuple[str, ...]] = {}
    phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    inside: dict[str, str] = {}
    for line in files(__package__).joinpath("concepts.txt").read_text("utf-8").splitlines():
        name, colon, said = line.partition(":")
        if line.startswith("#") or not colon:
            continue
        for form in said.split():
            parts = [p for p in re.split(r"[_-]", fold(form)) if p]
            if "\u3040" <= parts[0][0] <= "\ud7af":
                inside["".join(parts).rstrip("*")] = name
            elif len(parts) > 1:
                key, *rest = (p if p.endswith("*") else stem(p) for p in parts)
                phrases.setdefault(key.rstrip("*"), []).append((tuple(rest), name))
            elif parts[0].endswith("*"):
                beginnings[parts[0][:-1]] = (*beginnings.get(parts[0][:-1], ()), name)
            else:
                root = stem(parts[0])
                stems[root] = (*stems.get(root, ()), name)
    return Concepts(stems, beginnings, phrases, inside)
