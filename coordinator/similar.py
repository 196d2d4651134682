"""Which other tickets may be about the same: a suggestion for whoever works on one. Nothing is ever joined by it.

Other tickets' words are ranked like knowledge pages (BM25); the same link comes first, because it is no likeness but an
equality that could not join by itself: the types differ, the other is completed, or there was no room left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shiftlead.agents.knowledge import Index, hit, section_of, words, worth_of
from shiftlead.queues.desk import Desk
from shiftlead.queues.joining import marks_of_links
from shiftlead.queues.lifecycle import Queue
from shiftlead.queues.reserved import RESERVED
from shiftlead.queues.ticket import Ticket

__all__ = ["NEWEST", "Similar", "newest", "rank", "similar"]

NEWEST = 2_000  # tickets looked at
CHUNK = 500
MOST_TEXT = 2_000  # characters of a body that are compared
LEAST = 0.12  # share of the ticket's own words the other must cover, weighed by how rare they are
MOST_WORDS = 5
MOST_LINKS, LONGEST_LINK = 20, 500  # of each other ticket: two thousand of them with a hundred long ones take seconds


@dataclass(frozen=True, slots=True)
class Similar:
    """Another ticket, and why it is named here. A higher score is more alike; scores of two tickets cannot be
    compared."""

    number: str
    score: float
    title: str
    state: str
    why: list[str]


def similar(
    desk: Desk, ticket: Ticket, *, limit: int = 5, visible: Callable[[Ticket], bool] = lambda other: True
) -> list[Similar]:
    """The tickets of the team most like `ticket`, best first, out of the newest 2,000 that are `visible`."""
    return rank(ticket, filter(visible, newest(desk)), limit=limit)


def newest(desk: Desk, most: int = NEWEST) -> list[Ticket]:
    """The team's newest tickets in Redis: open ones and those completed lately."""
    pipe = desk.store.client.pipeline(transaction=False)
    for queue in Queue:
        pipe.zrange(desk.keys.queue(queue), 0, most - 1, desc=True, withscores=True)
    placed = sorted((row for rows in pipe.execute() for row in rows), key=lambda row: -row[1])[:most]
    found: list[Ticket] = []
    for start in range(0, len(placed), CHUNK):
        _, tickets = desk.store.read([ticket_id for ticket_id, _ in placed[start : start + CHUNK]])
        found += [t for t in tickets if t is not None]
    return found


def rank(ticket: Ticket, others: Iterable[Ticket], *, limit: int = 5) -> list[Similar]:
    """Those of `others` that are like `ticket`, best first. Parts of somebody's work are not other matters."""
    known = {t.id: t for t in others if t.id != ticket.id and t.parent is None and t.type not in RESERVED}
    for ancestor in ticket.lineage:
        known.pop(ancestor, None)
    sections = tuple(section_of(t.id, t.title, t.body[:MOST_TEXT]) for t in known.values())
    found_in = Counter(word for section in sections for word in section.counts)
    mean = sum(s.length for s in sections) / len(sections) if sections else 1.0
    index = Index((), sections, dict(found_in), mean or 1.0)
    asked = Counter(words(f"{ticket.title} {ticket.body[:MOST_TEXT]}"))
    worth = {word: worth_of(index, word) for word in asked}
    links = _links(ticket)
    ranked: list[tuple[bool, float, Similar]] = []
    for section in sections:
        other, found = known[section.page], hit(index, section, asked, worth)
        shared = bool(links) and not links.isdisjoint(_links(other))
        alike = found is not None and len(found.matched) > 1 and found.confidence >= LEAST
        if not shared and not alike:
            continue
        score = found.score if found is not None else 0.0
        telling = sorted(found.matched, key=lambda w: -worth[w])[:MOST_WORDS] if found is not None else []
        why = [*(["same link"] if shared else []), *telling]
        ranked.append((shared, score, Similar(other.number, score, other.title, str(other.state), why)))
    ranked.sort(key=lambda r: (not r[0], -r[1], r[2].number))
    return [found for _, _, found in ranked[:limit]]


def _links(ticket: Ticket) -> set[str]:
    return set(marks_of_links(link for link in ticket.links[:MOST_LINKS] if len(link) <= LONGEST_LINK))
