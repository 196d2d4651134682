"""The words a text is found by: lower case, without accents, lightly stemmed. The same for pages, tickets, questions.

English is stemmed. Other languages are taken word by word; scripts that write no spaces (Chinese, Japanese, Thai and
their like) in pairs of characters, so that a question in them finds a page in them.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["CASE", "STOP", "is_of_the_case", "words"]

LONGEST = 40  # characters: what is longer is no word, but a key or an attachment
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
WORD = re.compile(r"[^\W_]+(?:'s)?")


def words(text: str) -> list[str]:
    """The informative words of a text, in order."""
    plain = _plain(text).replace("’", "'").replace("can't", "cannot").replace("n't", " not")
    found: list[str] = []
    for word in WORD.findall(plain):
        word = word.removesuffix("'s")
        if UNSPACED.search(word):
            found += _pairs(word)
        elif word not in STOP and 1 < len(word) <= LONGEST:
            found.append(_stem(word))
    return found


def is_of_the_case(word: str) -> bool:
    """Whether it is a number, an id, or a word that only introduces one or says when: every ticket has such words, and
    they say nothing about its subject."""
    return word in CASE or any(c.isdigit() for c in word)


def _plain(text: str) -> str:
    lower = text.lower()
    if lower.isascii():
        return lower
    apart = unicodedata.normalize("NFKD", lower)
    bare = "".join(
        c for c in apart if not (unicodedata.combining(c) and c < "\u0590")
    )  # Latin, Greek, Cyrillic accents
    return unicodedata.normalize("NFC", bare)


def _pairs(word: str) -> list[str]:
    found: list[str] = []
    at = 0
    for run in UNSPACED.finditer(word):
        if (before := word[at : run.start()]) and 1 < len(before) <= LONGEST:
            found.append(_stem(before))
        chars = run.group()
        found += [chars[i : i + 2] for i in range(max(1, len(chars) - 1))]
        at = run.end()
    if 1 < len(word[at:]) <= LONGEST:
        found.append(_stem(word[at:]))
    return found


def _stem(word: str) -> str:
    """Enough to bring card and cards, activate and activating together; not a dictionary."""
    for ending, put in (("ies", "y"), ("sses", "ss"), ("ations", "at"), ("ation", "at"), ("ing", ""), ("ed", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + put
            if put == "" and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    else:
        if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
            word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after again all also am an and any anyone anything are as ask at be because been before
        being but by can cannot come could did do does doing done don down else even ever for from get gets
        getting give go goes going gone got had happen happened happening happens has have having he hello
        help her here hey hi him his how i if im in into is it its ive just keep know let like ll look make
        many may maybe me might more most much must my myself need needed needs no not now of off ok okay on
        once one only or other our out over own please possible put re report really said same say says see
        seem seems she should since so some someone something still such sure take tell than thank thanks that
        the their them then there these they thing things think this those though to too try trying up us use
        used using ve very want wanted wants was way we well went were what when where whether which while who
        whom whose why will wish with won wondering would yes yet you your yours""",
    )
)

# Stemmed, as `words` gives them. Greetings and please are in STOP already.
CASE = frozenset(
    re.findall(
        r"\w+",
        """account customer date dear id madam morning number order ref referenc sir ticket today tomorrow tonight
        yesterday monday tuesday wednesday thursday friday saturday sunday january february march april june july
        august september october november december""",
    )
)
