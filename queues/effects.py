"""The effects ledger: what an agent does to the outside stands in SQL before it is done, and is done once (EN-11).

The key of an effect is (team, ticket, life, tool, target object), not its arguments: a second refund of one order is
the same effect, whatever the amount. Every attempt at it hands the same `Intent.key` to the outside.

    state     what is known                                           who may begin it
    begun     an attempt began and has not said how it ended          a later holder of the ticket, where repeating is
                                                                      safe (`idempotent`); otherwise it becomes unknown
    free      it was not done, or repeating it is safe                the holder
    done      it is done, and how it ended stands here                nobody, never again
    unknown   nobody here can say whether it was done                 only a person's word: `again_by`, or `settle`

An attempt is as dead as its fencing token: whoever holds the ticket now has a higher one. What the outside cannot
repeat safely is done at most once by us and may end as unknown; that is said, and a person looks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from shiftlead.config.clock import Clock

from .errors import BadInput, StaleToken, Unavailable
from .ledger import Ledger
from .ledger_database import upsert
from .ledger_tables import METADATA
from .ticket import check_text

__all__ = ["MAX_RESULT", "MAX_TARGET", "Effects", "Intent"]

EFFECT = METADATA.tables["effect"]
MAX_TARGET = 300  # characters
MAX_RESULT = 65_536  # characters of JSON
Status = Literal["new", "running", "free", "done", "unknown"]


@dataclass(frozen=True, slots=True)
class Intent:
    """One effect as it stands. `new`: the caller, and nobody else, does it now; `running`: this holder began it."""

    team: str
    ticket_id: str
    life: int
    tool: str
    target: str
    status: Status
    attempt: int
    token: int
    agent: str
    approval: str
    arguments: dict[str, Any]
    result: Any
    why: str
    begun_at: float
    ended_at: float | None

    @property
    def key(self) -> str:
        """What the outside recognises a repetition by: the same for every attempt at this effect."""
        named = json.dumps([self.team, self.ticket_id, self.life, self.tool, self.target])
        return hashlib.sha256(named.encode()).hexdigest()[:40]


class Effects:
    """The effects of one team. Safe to share between threads and processes: SQL decides who was first."""

    def __init__(self, ledger: Ledger, team: str, clock: Clock) -> None:
        self.team, self.clock = team, clock
        self._engine = ledger.engine

    def begin(
        self, ticket: str, life: int, tool: str, target: str, arguments: dict[str, Any], token: int, agent: str, *,
        idempotent: bool = False, approval: str = "", again_by: str = "",
    ) -> Intent:  # fmt: skip
        """Write down that the holder of `token` is about to do it. Only the caller who gets `new` may do it.

        `idempotent`: repeating with the same key is safe. `approval`: id of the approval ticket that allows it.
        `again_by`: the person who looked and says that an unknown effect did not happen.

        Raises:
            StaleToken: a later holder has begun it.
            BadInput: a target that cannot be a key.
            Unavailable: SQL did not answer; nothing may be done.
        """
        _check(target)
        place = {"team": self.team, "ticket_id": ticket, "life": life, "tool": tool, "target": target}
        given = json.dumps(arguments, sort_keys=True)
        fresh = {
            "state": "begun", "token": token, "agent": agent, "approval": approval, "arguments": given, "result": "",
            "why": again_by and f"begun again by the word of {again_by}", "begun_at": self.clock.now(),
            "ended_at": None,
        }  # fmt: skip
        try:
            with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
                insert = upsert(self._engine, EFFECT).values(**place, **fresh, attempt=1).on_conflict_do_nothing()
                # RETURNING, because a driver need not count the rows of such an insert.
                if connection.execute(insert.returning(EFFECT.c.attempt)).first() is not None:
                    return _intent(self._row(connection, place), "new")
                row = self._row(connection, place, lock=True)
                if row.state == "done":
                    return _intent(row)
                if row.token > token:
                    raise StaleToken(ticket, token, "held by somebody else", row.agent)
                if row.state == "begun" and row.token == token:
                    return _intent(row, "running")
                if row.state == "unknown" and not again_by:
                    return _intent(row)
                if row.state == "begun" and not idempotent:
                    why = f"{row.agent} began it and its attempt ended before it could say how it went"
                    self._set(connection, row, state="unknown", why=why, token=token)
                    return _intent(self._row(connection, place))
                self._set(connection, row, **fresh, attempt=row.attempt + 1)
                return _intent(self._row(connection, place), "new")
        except OperationalError as error:
            raise Unavailable(f"{ticket}: {tool} was not begun: the ledger does not answer. Retry.") from error

    def finish(self, intent: Intent, result: Any) -> Intent:
        """It is done, with this result (JSON). Whoever did it knows, so this ends an unknown effect as well."""
        text = json.dumps(result)
        if len(text) > MAX_RESULT:
            text = json.dumps({"too_long": text[:1000]})
        return self._end(intent, ("begun", "unknown"), state="done", result=text, why="")

    def unknown(self, intent: Intent, why: str) -> Intent:
        """Nobody can say whether it was done: a person looks."""
        return self._end(intent, ("begun",), attempt=intent.attempt, state="unknown", why=why)

    def free(self, intent: Intent, why: str) -> Intent:
        """It was refused before anything was done, or broke off and may be repeated safely: it may be begun again."""
        return self._end(intent, ("begun",), attempt=intent.attempt, state="free", why=why)

    def settle(self, ticket: str, life: int, tool: str, target: str, *, by: str, reason: str) -> Intent | None:
        """A person's word on an unknown effect: it is over, and not to be done (again). None: there is none."""
        found = self.find(ticket, life, tool, target)
        if found is None:
            return None
        said = json.dumps({"settled_by": by, "reason": reason})
        return self._end(found, ("unknown",), state="done", result=said, why=f"settled by {by}")

    # -- reading ------------------------------------------------------------------------------------------------

    def find(self, ticket: str, life: int, tool: str, target: str) -> Intent | None:
        """The effect of that key, if anybody began it."""
        found = self._read(EFFECT.c.ticket_id == ticket, EFFECT.c.life == life, EFFECT.c.tool == tool,
                           EFFECT.c.target == target)  # fmt: skip
        return found[0] if found else None

    def of(self, ticket_id: str) -> list[Intent]:
        """Every effect of a ticket, of all its lives, the first begun first."""
        return self._read(EFFECT.c.ticket_id == ticket_id)

    def all_unknown(self) -> list[Intent]:
        """What a person has to look at, the oldest first."""
        return self._read(EFFECT.c.state == "unknown")

    def erase(self, ticket_ids: Sequence[str], *, at: float) -> int:
        """Erase arguments and results of those tickets' effects; how many. That and when they were done stands."""
        text = {"arguments": "", "result": "", "why": f"erased at {at:.0f}"}
        chosen = EFFECT.c.ticket_id.in_(list(ticket_ids))
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            update = EFFECT.update().where(EFFECT.c.team == self.team, chosen, EFFECT.c.arguments != "")
            return connection.execute(update.values(**text)).rowcount

    # -- helpers ------------------------------------------------------------------------------------------------

    def _end(self, intent: Intent, states: Sequence[str], *, attempt: int | None = None, **values: Any) -> Intent:
        """Where it still stands in one of `states`; the row as it stands afterwards in any case."""
        place = {c: getattr(intent, c) for c in ("team", "ticket_id", "life", "tool", "target")}
        set_ = _clean(values)
        if "result" in set_:  # of one that was erased while it ran no text comes back
            set_["result"] = sa.case((EFFECT.c.arguments == "", ""), else_=set_["result"])
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            update = EFFECT.update().where(*_is(place), EFFECT.c.state.in_(states))
            if attempt is not None:
                update = update.where(EFFECT.c.attempt == attempt)
            connection.execute(update.values(**set_, ended_at=self.clock.now()))
            return _intent(self._row(connection, place))

    def _set(self, connection: sa.Connection, row: Any, **values: Any) -> None:
        place = {c: getattr(row, c) for c in ("team", "ticket_id", "life", "tool", "target")}
        connection.execute(EFFECT.update().where(*_is(place)).values(**_clean(values)))

    def _row(self, connection: sa.Connection, place: dict[str, Any], *, lock: bool = False) -> Any:
        query = EFFECT.select().where(*_is(place))
        return connection.execute(query.with_for_update() if lock else query).one()

    def _read(self, *where: Any) -> list[Intent]:
        query = EFFECT.select().where(EFFECT.c.team == self.team, *where)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(EFFECT.c.begun_at, EFFECT.c.tool, EFFECT.c.target)).all()
        return [_intent(row) for row in rows]


def _is(place: dict[str, Any]) -> list[Any]:
    return [EFFECT.c[name] == value for name, value in place.items()]


def _intent(row: Any, status: Status | None = None) -> Intent:
    stands: Status = "running" if row.state == "begun" else row.state
    return Intent(
        team=row.team, ticket_id=row.ticket_id, life=row.life, tool=row.tool, target=row.target,
        status=status or stands, attempt=row.attempt, token=row.token, agent=row.agent, approval=row.approval,
        arguments=json.loads(row.arguments or "{}"), result=json.loads(row.result) if row.result else None,
        why=row.why, begun_at=row.begun_at, ended_at=row.ended_at,
    )  # fmt: skip


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    """A reason may come out of any exception; SQL must be able to hold it."""
    why = str(values.get("why", "")).encode("utf-8", "replace").decode().replace("\0", "")[:2000]
    return values | {"why": why} if "why" in values else values


def _check(target: str) -> None:
    check_text(target, "the target of an effect")
    if not target.strip() or len(target) > MAX_TARGET:
        raise BadInput(f"The target of an effect has 1 to {MAX_TARGET} characters, not {len(target)}.", field="target")
