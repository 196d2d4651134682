"""Which other tickets may be about the same: a suggestion for whoever works on one. Nothing is ever joined by it.

Other tickets' words are ranked like knowledge pages (BM25); the same link comes first, because it is no likeness but an
equality that could not join by itself: the types differ, the other is completed, or there was no room left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from shiftlead.agents.knowledge_rank import corpus_of
from shiftlead.agents.knowledge_rank import rank as by_words
from shiftlead.queues.desk import Desk
from shiftlead.queues.joining import marks_of_links
from shiftlead.queues.knowledge_passage import Found, Passage, stems_of
from shiftlead.queues.knowledge_words import words
from shiftlead.queues.lifecycle import Queue
from shiftlead.queues.reserved import RESERVED
from shiftlead.queues.ticket import Ticket

__all__ = ["NEWEST", "Similar", "newest", "rank", "read_few", "similar"]

NEWEST = 2_000  # tickets looked at
CHUNK = 500
CHUNK_BYTES = 500_000  # of documents read at once; a larger one is read alone
MOST_TEXT = 2_000  # characters of a body that are compared
LEAST = 0.12  # share of the ticket's own words the other must cover, weighed by how rare they are
MOST_WORDS = 5
MOST_LINKS, LONGEST_LINK = 20, 500  # of each other ticket: two thousand of them with a hundred long ones take seconds
# What is kept of each other ticket while the next is read, besides the beginning of its text and those links: two
# thousand whole ones may be a gigabyte.
KEPT = ("id", "number", "team", "type", "title", "state", "parent", "assigned_to", "named", "prefers")


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
    """The team's newest tickets in Redis, open ones and those completed lately, cut to what they are compared by."""
    pipe = desk.store.client.pipeline(transaction=False)
    for queue in Queue:
        pipe.zrange(desk.keys.queue(queue), 0, most - 1, desc=True, withscores=True)
    placed = sorted((row for rows in pipe.execute() for row in rows), key=lambda row: -row[1])[:most]
    return [_cut(t) for t in read_few(desk, [ticket_id for ticket_id, _ in placed])]


def read_few(desk: Desk, ids: Sequence[str]) -> Iterator[Ticket]:
    """The tickets that Redis has, in order; never more of them at once than half a megabyte, or one."""
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        pipe = desk.store.client.pipeline(transaction=False)
        for ticket_id in chunk:
            pipe.hstrlen(desk.keys.ticket(ticket_id), "doc")
        few: list[str] = []
        size = 0
        for ticket_id, length in zip(chunk, pipe.execute(), strict=True):
            if few and size + length > CHUNK_BYTES:
                yield from _read(desk, few)
                few, size = [], 0
            few.append(ticket_id)
            size += length
        yield from _read(desk, few)


def _read(desk: Desk, ids: list[str]) -> Iterator[Ticket]:
    _, tickets = desk.store.read(ids)
    return (t for t in tickets if t is not None)


def _cut(ticket: Ticket) -> Ticket:
    return Ticket.model_construct(
        **{name: getattr(ticket, name) for name in KEPT}, body=ticket.body[:MOST_TEXT],
        links=[link for link in ticket.links[:MOST_LINKS] if len(link) <= LONGEST_LINK],
    )  # fmt: skip


def rank(ticket: Ticket, others: Iterable[Ticket], *, limit: int = 5) -> list[Similar]:
    """Those of `others` that are like `ticket`, best first. Parts of somebody's work are not other matters."""
    known = {t.id: t for t in others if t.id != ticket.id and t.parent is None and t.type not in RESERVED}
    for ancestor in ticket.lineage:
        known.pop(ancestor, None)
    text = f"{ticket.title} {ticket.body[:MOST_TEXT]}"
    asked = set(words(text))
    passages = [_passage(t, asked) for t in known.values()]
    corpus = corpus_of(passages)
    length = sum(p.length for p in passages)
    alike = {
        r.passage.source: r
        for r in by_words(text, Found(tuple(passages), corpus.seen, corpus.parts, length))
        if len(r.matched) > 1 and r.covers >= LEAST
    }
    links = _links(ticket)
    ranked: list[tuple[bool, float, Similar]] = []
    for ticket_id, other in known.items():
        found = alike.get(ticket_id)
        shared = bool(links) and not links.isdisjoint(_links(other))
        if not shared and found is None:
            continue
        score = found.score if found is not None else 0.0
        telling = sorted(found.matched, key=lambda w: -corpus.worth(w))[:MOST_WORDS] if found is not None else []
        why = [*(["same link"] if shared else []), *telling]
        ranked.append((shared, score, Similar(other.number, score, other.title, str(other.state), why)))
    ranked.sort(key=lambda r: (not r[0], -r[1], r[2].number))
    return [found for _, _, found in ranked[:limit]]


def _passage(ticket: Ticket, asked: set[str]) -> Passage:
    """A ticket as a passage of which only the words that are asked for are kept."""
    whole = stems_of(ticket.title, ticket.body[:MOST_TEXT])
    return Passage("ticket", ticket.id, "", "", tuple(word for word in whole if word in asked), len(whole))


def _links(ticket: Ticket) -> set[str]:
    return set(marks_of_links(link for link in ticket.links[:MOST_LINKS] if len(link) <= LONGEST_LINK))
