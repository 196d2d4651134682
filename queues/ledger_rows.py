"""From an entry of the ledger stream to rows of SQL. Pure: no Redis, no SQL, no clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .ledger import Head
from .ledger_chain import chain_hash, payload_hash
from .lifecycle import QUEUE_OF, State

__all__ = ["Entry", "Rows", "parse", "rows_of"]

INT_MAX = 2**63 - 1


@dataclass(slots=True)
class Entry:
    """One line: `raw` as it came (e, t, s, m, d, i), and read. `bad` says why it cannot become rows."""

    stream_id: str
    raw: list[str]
    ticket_id: str = ""
    seq: int = 0
    line: str = ""
    doc: str = ""
    idempotency: str = ""
    number: str = ""
    move: str = ""
    before: str | None = None
    after: str | None = None
    actor: str = ""
    at: float = 0.0
    life: int = 1
    payload: str = ""
    bad: str = ""


@dataclass(slots=True)
class Rows:
    """The rows of a run of lines, and where they leave the head."""

    head: Head
    events: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tickets: list[dict[str, Any]] = field(default_factory=list)
    agents: list[dict[str, Any]] = field(default_factory=list)
    idempotency: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)


def parse(stream_id: str, raw: list[str], epoch: int) -> Entry:
    """Read an entry; one that is not a line comes back with `bad` set, it is never an exception."""
    entry = Entry(stream_id, raw)
    try:
        _, entry.ticket_id, seq, entry.line, entry.doc, entry.idempotency = raw
        # The first line of each epoch belongs to no ticket; the epoch numbers those lines.
        entry.seq = int(seq) if entry.ticket_id else epoch
        entry.payload = payload_hash(entry.line)
        line = json.loads(entry.line)
        entry.number, entry.move, entry.actor = line.get("number") or "", line["move"], line["actor"]
        entry.before, entry.after = line.get("before"), line.get("after")
        entry.at, entry.life = float(line["at"]), int(line.get("life", 1))
        texts = (entry.number, entry.move, entry.actor, entry.before or "", entry.after or "")
        if set(map(type, texts)) != {str}:
            raise ValueError("number, move, actor, before and after must be text")
        if not (math.isfinite(entry.at) and 0 < entry.seq <= INT_MAX and 0 <= entry.life < 2**31):
            raise ValueError("at, life or the number of the line is out of range")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        entry.bad = f"{type(error).__name__}: {error}"
    return entry


def rows_of(head: Head, entries: Iterable[Entry]) -> Rows:
    """The rows of `entries` when they follow `head`. Of a ticket's documents only the last one becomes a row.

    Raises:
        ValueError, KeyError, TypeError: one of the entries cannot become rows.
    """
    team, epoch, seq, previous, cursor = head.team, head.epoch, head.seq, head.hash, head.cursor
    rows = Rows(head)
    last_docs: dict[str, Entry] = {}
    for e in entries:
        if e.bad:
            raise ValueError(e.bad)
        seq, cursor = seq + 1, e.stream_id
        previous = chain_hash(
            previous, seq, epoch, cursor, e.ticket_id, e.seq, e.number, e.move, e.before, e.after, e.actor, e.at,
            e.life, e.payload,
        )  # fmt: skip
        rows.events.append({
            "team": team, "seq": seq, "ticket_id": e.ticket_id, "ticket_seq": e.seq, "number": e.number,
            "move": e.move, "before": e.before, "after": e.after, "actor": e.actor, "at": e.at, "life": e.life,
            "payload_hash": e.payload, "hash": previous, "stream_id": cursor, "epoch": epoch,
        })  # fmt: skip
        rows.bodies.append({"team": team, "seq": seq, "text": e.line})
        if e.doc:
            last_docs[e.ticket_id] = e
        if e.idempotency:
            key = json.loads(e.idempotency)
            rows.idempotency.append({
                "team": team, "digest": key["digest"], "key": key["key"], "body": key["body"],
                "ticket_id": e.ticket_id, "number": e.number, "at": e.at,
            })  # fmt: skip
        if e.move == "outcome":
            rows.outcomes.append(_outcome(team, seq, e))
    for ticket_id, e in last_docs.items():
        if ticket_id.startswith("@"):
            rows.agents.append({"team": team, "agent": ticket_id[1:], "seq": e.seq, "doc": e.doc})
        elif ticket_id:
            rows.tickets.append(_snapshot(team, e))
    # Every writer takes the rows in one order, so two of them cannot wait for each other.
    rows.tickets.sort(key=lambda row: str(row["id"]))
    rows.head = Head(team, epoch, seq, previous, cursor)
    return rows


def _outcome(team: str, seq: int, e: Entry) -> dict[str, Any]:
    said = json.loads(e.line)["detail"]
    return {
        "team": team, "ticket_id": e.ticket_id, "life": e.life, "seq": seq, "trace_id": said["trace_id"],
        "accepted": said["accepted"], "escalated": said["escalated"], "csat": said["csat"], "actor": e.actor,
        "at": e.at,
    }  # fmt: skip


def _snapshot(team: str, e: Entry) -> dict[str, Any]:
    doc = json.loads(e.doc)
    closed_at = doc.get("closed_at")
    return {
        "team": team, "id": e.ticket_id, "number": doc["number"], "state": doc["state"],
        "queue": str(QUEUE_OF[State(doc["state"])]), "priority": doc["priority"], "type": doc["type"],
        "customer": doc["customer"], "assigned_to": doc["assigned_to"], "parent": doc["parent"],
        "created_at": float(doc["created_at"]), "updated_at": float(doc["updated_at"]),
        "closed_at": None if closed_at is None else float(closed_at), "seq": e.seq, "doc": e.doc,
    }  # fmt: skip
