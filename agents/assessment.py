"""The coordinator's first pass over a matter (TA-06): its impact, how far it reaches, and what may have caused it.

From the ticket's text and the commits in question alone, so every sentence can be traced to one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shiftlead.queues.ticket import Ticket

from .causes import causes
from .cues import cut, defect_cue, evidence

__all__ = ["assess", "is_defect", "range_of", "touches"]

RANGE = re.compile(r"(?<![0-9a-f])([0-9a-f]{7,40})\.{2,3}([0-9a-f]{7,40})(?![0-9a-f])")
DEFECTS = {"bug", "defect", "incident", "ci_failure", "regression"}
RED = re.compile(
    r"\b(?:fail(?:s|ed|ing|ure)?|broke(?:n)?|red since|regress\w+|crash\w*|outage|is down|stopped working)\b", re.I
)
HARM = re.compile(r"\b(?:cannot|can't|can not|no longer|lost|losing|blocked|down|stuck|every|all)\b", re.I)


def is_defect(ticket: Ticket) -> bool:
    """Whether it is about software that does not do what it should."""
    text = f"{ticket.title}\n{ticket.body}"
    return ticket.type in DEFECTS or range_of(ticket) is not None or bool(defect_cue(text) or RED.search(text))


def range_of(ticket: Ticket) -> tuple[str, str] | None:
    """The range of commits the ticket names, in a link or in its text: the last good one, and the bad one."""
    for text in (*ticket.links, ticket.title, ticket.body):
        if found := RANGE.search(text):
            return found[1], found[2]
    return None


def assess(ticket: Ticket, commits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`impact`, `blast_radius`, `hypotheses` (the likeliest first) and `evidence`; `commits` as read_log gives them."""
    text = f"{ticket.title}\n{ticket.body}"
    where = ticket.component or "a part the report does not name"
    return {
        "impact": f"{ticket.priority} for {where}: {_harm(ticket)}",
        "blast_radius": _blast_radius(ticket, commits, where),
        "hypotheses": _hypotheses(ticket, text, commits),
        "evidence": evidence(text) or [cut(text, 300)],
    }


def touches(files: Iterable[str], component: str, text: str) -> list[str]:
    """Those of `files` that belong to the component, or that the text names."""
    parts = [part for part in re.split(r"[/\s.:]+", component.casefold()) if len(part) > 2]
    found = []
    for name in files:
        words = {word for word in re.split(r"[/._-]+", name.casefold()) if word}
        if name in text or (parts and parts[-1] in words):
            found.append(name)
    return found


def _harm(ticket: Ticket) -> str:
    sentences = re.split(r"\n+|(?<=[.!?])\s+", ticket.body or ticket.title)
    return cut(next((s for s in sentences if HARM.search(s)), ticket.title or ticket.body), 300)


def _blast_radius(ticket: Ticket, commits: Sequence[Mapping[str, Any]], where: str) -> str:
    files = list(dict.fromkeys(name for commit in commits for name in commit["files"]))
    said = [f"{where} and whatever calls it"]
    if files:
        shown = ", ".join(files[:6]) + (f" and {len(files) - 6} more" if len(files) > 6 else "")
        said.append(f"{len(commits)} commits in question changed {len(files)} files: {shown}")
    told = list(dict.fromkeys(who for who in (ticket.reporter, *(j.get("reporter", "") for j in ticket.joined)) if who))
    if told:
        said.append(f"seen by {', '.join(told[:5])}" + (f" and {len(told) - 5} more" if len(told) > 5 else ""))
    return "; ".join(said)


def _hypotheses(ticket: Ticket, text: str, commits: Sequence[Mapping[str, Any]]) -> list[str]:
    suspects = []
    for commit in commits:
        if near := touches(commit["files"], ticket.component, text):
            subject = cut(commit["subject"], 120)
            suspects.append(f"commit {commit['commit'][:12]} ({subject}) changed {', '.join(near[:3])}")
    suspects += [f"{cause.hypothesis} (seen: {', '.join(cause.seen)})" for cause in causes(text)[:3]]
    if not suspects and commits:
        suspects = [f"one of the last {len(commits)} commits changed the behaviour; none of them touches what is named"]
    return suspects[:6] or ["the report has no cue that points at a cause"]
