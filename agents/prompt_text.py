"""Somebody else's text on its way into a prompt: fenced, without secrets, without a model's control words, cut to size.

Whatever came from outside - a ticket, a note, an answer, a tool's output, a page - stands between two lines that carry
a random boundary made for this prompt alone. Who wrote the text could not know the boundary, so the text cannot end
its own fence and speak as somebody else.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator

from shiftlead.config.log import redacted

__all__ = ["estimate_tokens", "fenced", "fit", "harmless", "new_boundary"]

# What chat templates of common models turn into a change of speaker, if it reaches them as it is.
CONTROL = re.compile(
    r"<\|(?=[^|<>]{1,40}\|>)|<(?=/?(?:start|end)_of_turn>)|<(?=</?SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\])"
    r"|<(?=/?(?:s|tool_call|tool_response|think|thinking|function_calls)>)",
    re.IGNORECASE,
)
# Unseen by a person who reads the ticket, obeyed or stumbled over by a machine: controls, turned writing, tag letters.
HIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
    r"|[\U000e0000-\U000e007f]"
)
PIECE = 2000  # characters that are looked through for secrets together, so that the time grows with the length only
HEAD = 0.7  # of a text that is cut, from its beginning; the rest is its end, where replies and stack traces say why


def new_boundary(texts: Iterable[str]) -> str:
    """A word that stands in none of the texts."""
    texts = list(texts)
    while True:
        word = secrets.token_hex(8)
        if not any(word in text for text in texts):
            return word


def fenced(boundary: str, label: str, text: str) -> str:
    """The text between its two lines. `label` is ours."""
    return f"<<{boundary} begins: {label}>>\n{text}\n<<{boundary} ends>>"


def harmless(text: str) -> str:
    """The text without keys and passwords, control words and what nobody sees."""
    text = HIDDEN.sub("", text.replace("\r\n", "\n"))
    text = CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return "".join(str(redacted(None, "", {"text": piece})["text"]) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most PIECE characters, cut between lines where there are any."""
    at = 0
    while at < len(text):
        end = at + PIECE
        if end < len(text) and (line := text.rfind("\n", at, end)) > at:
            end = line + 1
        yield text[at:end]
        at = end


def fit(text: str, tokens: int, *, where: str) -> str:
    """At most about `tokens` of the text: its beginning and its end, and in between how much is left out."""
    size = estimate_tokens(text)
    if size <= tokens:
        return text
    room = max(0, int(len(text) * tokens / size) - 100)
    head = int(room * HEAD)
    tail = room - head
    left_out = len(text) - head - tail
    note = f"\n[... {left_out:,} characters are left out here; the whole text is {where} ...]\n"
    return text[:head] + note + (text[-tail:] if tail else "")


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: a quarter of its UTF-8 bytes, at least.

    Bytes and not characters, since a Chinese or Cyrillic character costs a model more than a Latin one. No tokenizer
    is asked: the usual one fetches its tables from the network, and every model has its own.
    """
    return -(-len(text.encode("utf-8", "replace")) // 4)
