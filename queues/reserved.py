"""Types only Shiftlead gives: whoever could write `approval`, in any spelling, could forge what opens a gate (I23)."""

from __future__ import annotations

import re

from shiftlead.config.team import Team

__all__ = ["RESERVED", "is_reserved", "plain_type"]

RESERVED = frozenset({"approval", "escalation", "brief"})
INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")


def plain_type(kind: str) -> str:
    """A type as it is compared: lower case, one `_` for blanks and hyphens, nothing invisible."""
    return re.sub(r"[\s_-]+", "_", INVISIBLE.sub("", kind).strip().casefold()).strip("_")


def is_reserved(kind: str, team: Team) -> bool:
    """Whether a sender or an agent may not say `kind`, however it is spelled and whatever the team takes it for."""
    spelled = {kind, plain_type(kind)}
    meant = spelled | {team.aliases[s] for s in spelled if s in team.aliases}
    return any(plain_type(s) in RESERVED for s in meant)
