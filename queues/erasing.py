"""Erase what completed tickets say, everywhere we keep it, so that the ledger still proves what happened (EN-15).

A ticket's words are also in the tickets made from it, in those it was made from, and in the one it was merged into: a
family is erased together. In this order, and each step may be repeated:

  1. one commit: a line `erase` with who and why, and documents without texts, in Redis and on their way to SQL
  2. wait until SQL has them: what is still on its way would bring texts back
  3. SQL: the texts of earlier lines, senders' keys, lines in quarantine, the knowledge index; then the database's own
     leftovers
  4. Redis: senders' keys, and its file of past commands; then the file of notices

A crash leaves the steps after it undone; the same command again does them. A rebuild reads SQL, so nothing comes back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
import structlog

from .desk import Desk
from .effects import Effects
from .erase_notices import erase_notices
from .errors import BadInput, NotFound, NotRecorded, Refused, Unavailable
from .knowledge_index import KnowledgeIndex
from .layout import digest_of
from .ledger import Ledger
from .ledger_erase import ERASE, clean, erase_texts, file_bytes, mentions
from .moving import line_of
from .spending import Spending
from .store import Change
from .ticket import Ticket, check_text

__all__ = ["KEPT", "NOT_REACHED", "TOMBSTONE", "Erased", "erase", "family_of", "tombstone"]

log = structlog.get_logger("shiftlead.erasing")

TOMBSTONE = "(erased)"
# Names, numbers, times and states: what the ledger's columns say anyway. A field that is not named here is a text.
KEPT = (
    "id", "number", "team", "team_version", "type", "category", "source", "priority", "given_priority", "needs",
    "requires_handoff", "named", "prefers", "excluded", "parent", "children", "awaits", "lineage", "hops", "asked_of",
    "asked_by", "round", "turns", "state", "assigned_to", "worker", "alone", "suspect", "version", "token", "life",
    "attempts", "last_op", "created_at", "updated_at", "due", "ready_at", "assigned_at", "closed_at", "not_before",
    "claim_by", "lease_until", "ladder", "ladder_at", "accept_by", "expires_at", "waits_until", "trace_id",
    "merged_into", "behind", "weight", "ladder_left", "withheld", "looks_left", "first_reply_at", "escalations",
    "aided", "brought_by", "failures", "flow",
)  # fmt: skip
NOT_REACHED = (
    "backups and copies of the data folder, logs, what was sent to people, agents, models and other systems, "
    "and disk blocks the file system has already freed"
)
MAX_FAMILY = 1_000
MAX_REASON = 500
VACUUM_UP_TO = 256 * 1024 * 1024  # bytes: about three seconds in which the ledger is not written
AOF_PATIENCE_S = 10.0
MENTIONS = 20


@dataclass(slots=True)
class Erased:
    """What was erased. `left` says what is still there and how it goes away; `mentions` names tickets outside the
    family that name one of it, as a daily brief does: they may quote it."""

    numbers: list[str]
    at: float
    lines: int = 0
    keys: int = 0
    quarantined: int = 0
    notices: int = 0
    left: list[str] = field(default_factory=list)
    mentions: list[str] = field(default_factory=list)
    not_reached: str = NOT_REACHED


def erase(
    desk: Desk, ticket_id: str, *, actor: str, reason: str, family: bool = True, vacuum: bool | None = None
) -> Erased:
    """Erase the texts of a completed ticket and, with `family`, of all tickets that may carry them. May be repeated.

    `vacuum` writes a SQLite file anew, without older versions of the texts; None = where that takes a moment only.

    Raises:
        Refused: no person asks, or a ticket of the family is open.
        NotRecorded: the ledger did not confirm the first step in time. Repeat the command.
    """
    ledger = desk.ledger
    if not isinstance(ledger, Ledger):
        raise Unavailable("There is no ledger to erase from.")
    _check(actor, reason)
    asked = desk.find(ticket_id)
    tickets = family_of(desk, asked) if family else [asked]
    _refuse_open(asked, tickets)
    ids, numbers = [t.id for t in tickets], [t.number for t in tickets]

    _commit(desk, ledger, tickets, actor, reason)

    at = desk.clock.now()
    done = Erased(sorted(numbers), at)
    in_sql = erase_texts(ledger.engine, desk.team.team, ids, at=at)
    done.lines, done.keys, done.quarantined = in_sql.lines, in_sql.keys, in_sql.quarantined
    Effects(ledger, desk.team.team, desk.clock).erase(ids, at=at)
    Spending(ledger, desk.team.team).erase(ids)
    _forget_lessons(desk, ledger, ids)
    whole = file_bytes(ledger.engine) <= VACUUM_UP_TO if vacuum is None else vacuum
    done.left += clean(ledger.engine, whole=whole)
    _forget_keys(desk, in_sql.digests)
    done.left += _rewrite_aof(desk.store.client)
    settings = desk.settings
    file = Path(settings.notices) if settings.notices else settings.data / "notices.jsonl"
    done.notices = erase_notices(file, set(numbers))
    done.mentions = mentions(ledger.engine, desk.team.team, numbers, ids, MENTIONS)
    if not family and (others := len(family_of(desk, asked)) - 1):
        done.left.append(f"what the {others} other tickets of its family say of it (erase with the family)")
    log.info("texts erased", tickets=len(ids), lines=done.lines, actor=actor)
    return done


def family_of(desk: Desk, ticket: Ticket) -> list[Ticket]:
    """The ticket first, then everything that may carry its words: ancestors, all their children, merged ones.

    Raises:
        Refused: more than 1,000.
    """
    found: dict[str, Ticket] = {}
    wave: list[str] = [ticket.id]
    while wave:
        following: list[str] = []
        for name in wave:
            try:
                t = desk.find(name)
            except NotFound:
                continue  # never recorded: there is nothing of it to erase
            if t.id in found:
                continue
            found[t.id] = t
            merged = [str(j["number"]) for j in t.joined if j.get("number")]
            following += [*t.lineage, *t.children, *merged, *([t.merged_into] if t.merged_into else [])]
        if len(found) > MAX_FAMILY:
            raise Refused(f"{ticket.number} belongs to more than {MAX_FAMILY:,} tickets. Erase them one by one.")
        wave = following
    return list(found.values())


def tombstone(ticket: Ticket, *, reason: str) -> Ticket:
    """The ticket without a text: who, when and what became of it stay."""
    kept = {name: getattr(ticket, name) for name in KEPT}
    result = {k: v for k, v in (ticket.result or {}).items() if k in ("kind", "decision")} or None
    # Which tickets were merged into it is no text, and finds them when an erasure that was cut off is repeated.
    joined = [{"number": j["number"]} for j in ticket.joined if j.get("number")]
    review = ticket.review.model_copy(update={"verdict": None}) if ticket.review else None
    return Ticket(**kept, title=TOMBSTONE, reason=reason, result=result, joined=joined, review=review)


# -- the steps --------------------------------------------------------------------------------------------------------


def _check(actor: str, reason: str) -> None:
    if not actor.startswith("person:"):
        raise Refused(f"Only a person erases texts, {actor} does not. Nothing was erased.")
    check_text(reason, "the reason")
    if not reason.strip() or len(reason) > MAX_REASON:
        raise BadInput(f"Say why, in at most {MAX_REASON} characters; it stays for ever. Nothing was erased.")


def _refuse_open(asked: Ticket, tickets: Sequence[Ticket]) -> None:
    open_ = [t for t in tickets if t.is_open]
    if not open_:
        return
    names = ", ".join(f"{t.number} ({t.state})" for t in open_[:5]) + (", ..." if len(open_) > 5 else "")
    first = f"shiftlead cancel {open_[0].number} --reason ..."
    which = "it is open" if open_ == [asked] else f"open tickets carry its words: {names}"
    raise Refused(f"{asked.number} cannot be erased yet: {which}. Cancel or finish first: {first}")


def _commit(desk: Desk, ledger: Ledger, tickets: Sequence[Ticket], actor: str, reason: str) -> None:
    """Say it in the ledger, with documents that have no texts, all or nothing; return when SQL has it."""
    epoch, now, keys = desk.store.epoch(), desk.clock.now(), desk.keys
    told = f"erased on {datetime.fromtimestamp(now, UTC):%Y-%m-%d} by {actor}: {reason.strip()}"
    numbers = sorted(t.number for t in tickets)
    changes = []
    for t in tickets:
        last = desk.history(t.id)[-1:]
        if last and last[0].move == ERASE:
            continue  # said already: an earlier call was broken off
        if not desk.store.client.exists(keys.ticket(t.id)) and (archived := ledger.ticket(desk.team.team, t.id)):
            desk.store.bring_back(epoch, *archived, now)
        after = tombstone(t, reason=told).changed(version=t.version + 1, updated_at=now)
        detail = {"family": numbers} if len(numbers) > 1 else {}
        line = line_of(after, ERASE, actor, now, t.state, reason=reason.strip(), detail=detail)
        changes.append(Change(t, after, line))
        if t.customer:  # who served this customer last stands under his digest
            desk.store.client.delete(keys.served(digest_of(t.customer)))
    wanted = desk._commit_one(tickets[0].number, changes)[-1] if changes else ""
    deadline = time.monotonic() + desk.settings.record_timeout_s
    if wanted and desk.recorded is not None:
        desk.recorded.wait(wanted, desk.settings.record_timeout_s, epoch)
    while any(desk.store.client.exists(keys.lines(t.id)) for t in tickets):
        if desk.recorded is None or time.monotonic() >= deadline:
            raise NotRecorded(tickets[0].number, desk.settings.record_timeout_s)
        time.sleep(0.01)


def _forget_lessons(desk: Desk, ledger: Ledger, ids: Sequence[str]) -> None:
    """What the tickets taught."""
    index = KnowledgeIndex(ledger, desk.team.team, desk.team.folder, desk.settings.data)
    try:
        index.forget(ids)
    finally:
        index.close()


def _forget_keys(desk: Desk, digests: Sequence[str]) -> None:
    """What a sender's key was; its digest still stands for the ticket."""
    client = desk.store.client
    for digest in digests:
        name = desk.keys.idem(digest)
        if entry := client.get(name):
            client.set(name, json.dumps(json.loads(entry) | {"key": ""}), xx=True, keepttl=True)


def _rewrite_aof(client: Any) -> list[str]:
    """Let Redis write its file of past commands anew: it has every document there ever was."""
    try:
        state = client.info("persistence")
        if not int(state.get("aof_enabled", 0)):
            snapshots = client.config_get("save").get("save", "")
            return ["Redis's snapshot file, until its next save (BGSAVE)"] if snapshots else []
        client.bgrewriteaof()
        deadline = time.monotonic() + AOF_PATIENCE_S
        while time.monotonic() < deadline:
            state = client.info("persistence")
            if not int(state["aof_rewrite_in_progress"]) and not int(state["aof_rewrite_scheduled"]):
                if state["aof_last_bgrewrite_status"] == "ok":
                    return []
                break
            time.sleep(0.02)
    except redis.RedisError as error:
        return [f"Redis's file of past commands: it would not write it anew ({error}); run BGREWRITEAOF there"]
    return ["Redis's file of past commands: it is not written anew yet; run BGREWRITEAOF there"]
