"""Reading tickets from Redis and committing changes, in pipelines. Which change is right is the desk's business."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import redis

from .agent_state import AgentState
from .errors import IntakeFull, Rebuilding
from .keys import Keys
from .layout import KEEP, SERVED_S, cards, layout, marks_of
from .lifecycle import State
from .ticket import Line, Ticket

__all__ = ["Change", "Idempotency", "Refusal", "Store"]


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A sender's key, its digest, and the digest of the request it stood for."""

    key: str
    digest: str
    body: str


@dataclass(frozen=True, slots=True)
class Change:
    """One ticket's part of a commit: what was read, what shall be, and the line that tells it."""

    before: Ticket | None
    after: Ticket
    line: Line
    held: int | None = None  # the token the caller must hold
    capacity: int | None = None  # slots of after.assigned_to, checked where the change takes one
    idempotency: Idempotency | None = None
    note: bool = False  # only a line, the ticket stays as it is
    armed: tuple[str, float] | None = None  # a timer that must still be armed for that moment


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the server refused a commit: epoch, exists, gone, version, token, slots, number, key, mark or timer."""

    why: str
    index: int
    there: str


class Store:
    """One team's tickets in Redis."""

    def __init__(
        self, client: redis.Redis, keys: Keys, served: Callable[[Sequence[str]], bool] = lambda needs: True
    ) -> None:
        """`served` tells whether somebody on the team can do all of these."""
        self._served = served
        # redis-py types every answer bytes | str; with decode_responses it is str, which only Any can say.
        self.client: Any = client
        self.keys = keys
        lua = files("shiftlead.queues") / "lua"
        self._commit = client.register_script((lua / "commit.lua").read_text())
        self._renew = client.register_script((lua / "renew.lua").read_text())
        self._numbers = client.register_script((lua / "numbers.lua").read_text())
        self._disarm = client.register_script((lua / "disarm.lua").read_text())
        self._bring_back = client.register_script((lua / "bring_back.lua").read_text())
        self._forget = client.register_script((lua / "forget_groups.lua").read_text())
        self._open_epoch = client.register_script((lua / "open_epoch.lua").read_text())

    def epoch(self, *, intake: bool = False) -> int:
        """The team's epoch. With `intake`, only while the intake is open.

        Raises:
            Rebuilding: there is none: Redis is empty, or its queues are being rebuilt.
            IntakeFull: the ledger is too far behind to take more in.
        """
        epoch, closed = self.client.hmget(self.keys.meta, "epoch", "closed")
        if epoch is None:
            raise Rebuilding(self.keys.team)
        if intake and closed:
            raise IntakeFull(
                f"The intake of team {self.keys.team!r} is closed for a moment: {closed}. Nothing was stored; retry."
            )
        return int(epoch)

    def read(self, ids: Sequence[str]) -> tuple[int, list[Ticket | None]]:
        """The epoch, and the tickets in the order asked for, None where Redis has none. One round trip."""
        pipe = self.client.pipeline(transaction=False)
        pipe.hget(self.keys.meta, "epoch")
        for ticket_id in ids:
            pipe.hget(self.keys.ticket(ticket_id), "doc")
        epoch, *docs = pipe.execute()
        if epoch is None:
            raise Rebuilding(self.keys.team)
        return int(epoch), [Ticket.model_validate_json(d) if d else None for d in docs]

    def commit(self, epoch: int, batches: Sequence[Sequence[Change]], *, bell: bool) -> list[list[str] | Refusal]:
        """Write each batch, whole or not at all. One round trip for all of them.

        Returns for each batch the stream ids of its lines, or why it was refused.
        """
        args = [_arguments(epoch, changes, bell, self._served) for changes in batches]
        replies = self._run(self._commit, args)
        return [r[1:] if r[0] == "ok" else Refusal(r[0], int(r[1]) - 1, r[2]) for r in replies]

    def renew(self, epoch: int, ticket_id: str, token: int, until: float) -> bool:
        """Move the end of a lease. False: the caller does not hold the ticket any more.

        Raises:
            Rebuilding: the epoch is not the caller's.
        """
        [reply] = self._run(self._renew, [[epoch, ticket_id, token, repr(until)]])
        if reply[0] == "epoch":
            raise Rebuilding(self.keys.team)
        return bool(reply[0] == "ok")

    def numbers(self, epoch: int, year: int, count: int) -> int:
        """The first of `count` new ticket numbers.

        Raises:
            Rebuilding: the epoch is not the caller's, so the counter may not be the one to trust.
        """
        [reply] = self._run(self._numbers, [[epoch, year, count]])
        if reply[0] == "epoch":
            raise Rebuilding(self.keys.team)
        return int(reply[1])

    def disarm(self, member: str, at: float, again_at: float | None) -> None:
        """See lua/disarm.lua."""
        self._run(self._disarm, [[member, repr(at), "" if again_at is None else repr(again_at)]])

    def bring_back(self, epoch: int, ticket: Ticket, seq: int, now: float) -> None:
        """Put a completed ticket that left Redis back, with the number of its last line in SQL.

        It stands there as of `now`, so that retention leaves it for whoever asked for it.
        """
        args = [epoch, ticket.id, ticket.model_dump_json(), ticket.version, ticket.token, seq]
        self._run(self._bring_back, [[*args, repr(now), ticket.number]])

    def forget_groups(self, groups: Sequence[str]) -> None:
        """Take the names of empty ready sets away; one that has filled meanwhile keeps its name."""
        self._run(self._forget, [["groups", "ready:", *groups]])

    def forget_behinds(self, names: Sequence[str]) -> None:
        """The same for customers nothing of whom stands behind any more."""
        self._run(self._forget, [["behinds", "behind:", *names]])

    def places(self, ticket: Ticket) -> list[tuple[str, float]]:
        """The sorted sets the ticket stands in, with its score."""
        return layout(ticket, served=self._served)[0]

    def agent_states(self, agents: Sequence[str]) -> dict[str, AgentState]:
        """What is known of each agent; a fresh state for one nobody ever touched."""
        pipe = self.client.pipeline(transaction=False)
        for agent in agents:
            pipe.hget(self.keys.ticket(f"@{agent}"), "doc")
        docs = pipe.execute()
        return {
            a: AgentState.model_validate_json(d) if d else AgentState(agent=a)
            for a, d in zip(agents, docs, strict=True)
        }

    def commit_agent(self, epoch: int, state: AgentState, line: Line) -> list[str] | Refusal:
        """Write an agent's state, version-checked like a ticket."""
        args = [
            epoch, "1", 1, line.ticket, state.version - 1, "", state.version, 0, state.model_dump_json(),
            line.model_dump_json(exclude={"seq"}), "", "", "", "", 0, "", 1, "", "", "", 0, 0, 0, 0,
        ]  # fmt: skip
        [reply] = self._run(self._commit, [args])
        return reply[1:] if reply[0] == "ok" else Refusal(reply[0], 0, reply[2])

    def close_epoch(self, epoch: int) -> None:
        """Refuse commits until `open_epoch(epoch)`: the first step of a rebuild. Whoever comes last rebuilds."""
        pipe = self.client.pipeline(transaction=True)
        pipe.hset(self.keys.meta, "rebuilding", str(epoch))
        pipe.hdel(self.keys.meta, "epoch", "closed")
        pipe.execute()

    def open_epoch(self, epoch: int, line: Line) -> str:
        """Let commits in again, under `epoch`. The last step of a rebuild.

        Raises:
            Rebuilding: somebody else has begun a rebuild since.
        """
        [stream_id] = self._run(self._open_epoch, [[epoch, line.model_dump_json(exclude={"seq"})]])
        if not stream_id:
            raise Rebuilding(self.keys.team)
        return str(stream_id)

    def restore(
        self, epoch: int, tickets: Sequence[tuple[Ticket, int]], states: Sequence[tuple[AgentState, int]]
    ) -> None:
        """Put tickets and agents' states back as SQL has them, with the number of their last line.

        Raises:
            Rebuilding: somebody else has begun a rebuild since, or Redis was emptied once more.
        """
        pipe = self.client.pipeline(transaction=True)
        pipe.watch(self.keys.meta)
        if pipe.hget(self.keys.meta, "rebuilding") != str(epoch):
            pipe.reset()
            raise Rebuilding(self.keys.team)
        pipe.multi()
        for state, seq in states:
            mapping: dict[str, Any] = {
                "doc": state.model_dump_json(),
                "v": state.version,
                "k": 0,
                "s": seq,
                "p": "",
                "t": "",
            }
            pipe.hset(self.keys.ticket(f"@{state.agent}"), mapping=mapping)
        groups: set[str] = set()
        for ticket, seq in tickets:
            places, timers = layout(ticket, served=self._served)
            for place, score in places:
                pipe.zadd(self.keys(place), {ticket.id: score})
                if place.startswith("ready:"):
                    groups.add(place[6:])
                elif place.startswith("behind:"):
                    pipe.sadd(self.keys.behinds, place[7:])
            known, marks = cards(ticket), marks_of(ticket)
            for name, field, value in known:
                # The newest completed come first: the first word on who served a customer last is the right one.
                if field == ticket.id:
                    pipe.hset(self.keys(name), field, value)
                else:
                    pipe.set(self.keys(name), value, nx=True, ex=SERVED_S)
            for mark in marks:
                pipe.hsetnx(self.keys.mark, mark, ticket.id)
            if timers:
                pipe.zadd(self.keys.timers, {f"{kind}:{ticket.id}": float(at) for kind, at in timers})
            pipe.hset(
                self.keys.ticket(ticket.id),
                mapping={
                    "doc": ticket.model_dump_json(),
                    "v": ticket.version,
                    "k": ticket.token,
                    "s": seq,
                    "p": "\n".join(p for p, _ in places),
                    "t": "\n".join(k for k, _ in timers),
                    "c": "\n".join(name for name, field, _ in known if field == ticket.id),
                    "f": "\n".join(marks),
                },
            )
            pipe.hset(self.keys.numbers, ticket.number, ticket.id)
            # Waiting parents look at their children once more: the child may have closed in the lost epoch.
            if ticket.state is State.WAITING:
                pipe.sadd(self.keys.wake, ticket.id)
        if groups:
            pipe.sadd(self.keys.groups, *groups)
        try:
            pipe.execute()
        except redis.WatchError:
            raise Rebuilding(self.keys.team) from None

    def _run(self, script: Any, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """EVALSHA in one pipeline; load the script first where the server has forgotten it."""
        for attempt in (0, 1):
            pipe = self.client.pipeline(transaction=False)
            for args in calls:
                pipe.evalsha(script.sha, 1, self.keys.tag, *args)
            replies: list[Any] = pipe.execute(raise_on_error=False)
            missing = [r for r in replies if isinstance(r, redis.exceptions.NoScriptError)]
            if not missing:
                break
            # None or all are missing in practice; where a flush fell in between, only the unwritten calls go again.
            self.client.script_load(script.script)
            if attempt == 0 and len(missing) < len(replies):
                again = self._run(script, [c for c, r in zip(calls, replies, strict=True) if r in missing])
                return [again.pop(0) if r in missing else r for r in replies]
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


def _arguments(epoch: int, changes: Sequence[Change], bell: bool, served: Callable[[Sequence[str]], bool]) -> list[Any]:
    args: list[Any] = [epoch, "1" if bell else "0", len(changes)]
    for c in changes:
        before, after = c.before, c.after
        renewed = before is not None and before.state is after.state and before.token == after.token
        places, timers = ([], []) if c.note else layout(after, keep_lease=renewed, served=served)
        takes_slot = c.capacity is not None and not c.note
        known, marks = ([], []) if c.note else (cards(after), marks_of(after))
        closed_child = not c.note and after.parent and not after.is_open and (before is None or before.is_open)
        key = c.idempotency
        args += [
            after.id,
            "" if c.note else (before.version if before else 0),
            "" if c.held is None else c.held,
            after.version,
            after.token,
            "" if c.note else after.model_dump_json(),
            c.line.model_dump_json(exclude={"seq"}),
            json.dumps(
                {"key": key.key, "digest": key.digest, "body": key.body, "ticket": after.id, "number": after.number}
            )
            if key
            else "",
            key.digest if key else "",
            "" if before else after.number,
            after.assigned_to if takes_slot else "",
            c.capacity if takes_slot else 0,
            after.parent if closed_child else "",
            after.weight,
            after.lane if takes_slot else "",
            c.armed[0] if c.armed else "",
            repr(c.armed[1]) if c.armed else "",
            len(places),
            *(x for place, score in places for x in (place, repr(score))),
            len(timers),
            *(x for kind, at in timers for x in (kind, at if at == KEEP else repr(float(at)))),
            len(known),
            *(x for card in known for x in card),
            len(marks),
            *marks,
        ]
    return args
