"""`${classify.category}`: the place in a text of the team file where the result of an earlier step is put (TP-06).

    ${classify.category}          the field `category` of what the step `classify` found
    ${classify.output.category}   the same, as workflow engines spell it
    ${ticket.title}               a field of the ticket

What is put in is data: whoever fills a text says how a value is shown, and nothing in it is looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .rules import TICKET_FIELDS, near

__all__ = ["UnknownReference", "fill", "read", "references"]

REFERENCE = re.compile(r"\$\{([^{}]*)\}")
PATH = re.compile(r"[A-Za-z][\w-]*(?:\.[A-Za-z_][\w-]*)+")


class UnknownReference(ValueError):
    """There is nothing of that name; says what there is. `hint` is the name that was probably meant, or ""."""

    def __init__(self, reference: str, what: str, word: str, known: list[str]) -> None:
        self.reference, self.hint = reference, near(word, known)
        rest = f"did you mean {self.hint!r}?" if self.hint else f"there are: {', '.join(sorted(known)) or 'none'}"
        super().__init__(f"${{{reference}}}: {what}; {rest}")


def references(text: str) -> list[tuple[str, list[str]]]:
    """Every reference in the text: as written between the braces, and the first name with the names below it.

    Raises:
        UnknownReference: one is no path like step.field.
    """
    return [(inside, _path(inside)) for inside in REFERENCE.findall(text)]


def read(reference: str, *, ticket: Mapping[str, Any], steps: Mapping[str, Any]) -> Any:
    """The value of `classify.category`. `steps` are the ticket's, as results by name.

    Raises:
        UnknownReference: no such ticket field, no such step so far, or the step's result has no such field.
    """
    first, *below = _path(reference)
    if first == "ticket":
        if below[0] not in TICKET_FIELDS:
            raise UnknownReference(reference, f"a ticket has no field {below[0]!r}", below[0], list(TICKET_FIELDS))
        value: Any = ticket
    elif first in steps:
        value = steps[first].get("result") if isinstance(steps[first], Mapping) else None
    else:
        raise UnknownReference(reference, f"no step {first!r} is done so far", first, list(steps))
    for name in below:
        if not isinstance(value, Mapping) or name not in value:
            known = [str(key) for key in value] if isinstance(value, Mapping) else []
            raise UnknownReference(reference, f"it has no {name!r}", name, known)
        value = value[name]
    return value


def fill(
    text: str, *, ticket: Mapping[str, Any], steps: Mapping[str, Any], show: Callable[[str], str] = str
) -> str:  # fmt: skip
    """The text with every reference replaced by its value as `show` shows it; a list is joined with "; ".

    Raises:
        UnknownReference: see `read`.
    """
    return REFERENCE.sub(lambda found: show(_shown(read(found[1], ticket=ticket, steps=steps))), text)


def _path(inside: str) -> list[str]:
    if not PATH.fullmatch(inside):
        raise UnknownReference(inside, "a reference looks like ${classify.category} or ${ticket.title}", "", [])
    first, *below = inside.split(".")
    return [first, *(below[1:] if below[0] == "output" and len(below) > 1 else below)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
