"""A no, and what it is a no to (EN-10, I23). Pure.

A no is bound to the action and its target, not to the exact arguments, for this life of the ticket, and for every part
that is handed on from it or came back to it:

    the same wish again          refused; the words it is wished with (`reason`, `why`, ...) make no other wish of it
    another wish, same target    wants a yes, also where no gate is closed (agents/tools.py): a smaller refund after a
                                 no is legitimate, and is for somebody to say; whoever said no is asked, but for a
                                 closed gate that names somebody itself
    another target               as if nobody had said no

A person lifts it: by a yes to what is asked next, or by reopening the ticket, whose answers are then those of a life
before. What expired or was cancelled was denied by nobody. An approval's hash stays that of the exact arguments: a yes
is to nothing but what was asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

__all__ = ["denials", "last_no", "same_wish"]

WORDS = frozenset({"reason", "why", "note", "comment", "explanation"})  # arguments that say why, not what
KEPT = ("type", "number", "agent", "state", "decision", "action", "arguments")


def denials(answers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What somebody said no to among `answers`, oldest first; also to a part of the ticket that has come back."""
    found: list[dict[str, Any]] = []
    for answer in answers:
        found += answer.get("denied") or []
        if answer.get("decision") == "deny" and answer.get("state") == "resolved" and answer.get("action"):
            found.append({k: answer[k] for k in KEPT if k in answer})
    return found


def same_wish(
    action: str, arguments: Mapping[str, Any], no: Mapping[str, Any], *, moving: Collection[str] = ()
) -> bool:
    """Whether that is what `no` was said to. `moving`: facts that change with the time alone."""
    beside = WORDS | set(moving)
    return no.get("action") == action and _what(arguments, beside) == _what(no.get("arguments"), beside)


def last_no(action: str, nos: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The newest no to `action`, whatever its target."""
    return next((no for no in reversed(list(nos)) if no.get("action") == action), None)


def _what(arguments: Any, beside: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in arguments.items() if k not in beside} if isinstance(arguments, Mapping) else {}
