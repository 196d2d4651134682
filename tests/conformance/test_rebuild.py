"""After any history, FLUSHALL and a rebuild give every family of keys as it was, and the ledger verifies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shiftlead.config.settings import Settings
from shiftlead.config.team import Team
from shiftlead.queues.layout import cards
from shiftlead.queues.ledger_verify import verify
from shiftlead.queues.rebuild import rebuild
from tests.conftest import REAL
from tests.histories import History

ACTS = 90
SEEDS = (*range(2000, 2012), *range(3000, 3012))
CASES = [
    *(("fakeredis", seed) for seed in SEEDS),
    *(pytest.param(server, seed, marks=pytest.mark.real) for server in REAL for seed in SEEDS[::8]),
]
AS_IT_WAS = pytest.mark.parametrize(("any_redis", "seed"), CASES, indirect=["any_redis"])

# What a rebuild does not give back as it was, by family (queues/keys.py).
NOT_COMPARED = {
    "lines": "only what is not in SQL yet",
    "ledger": "lines on their way to SQL",
    "recorded": "how far SQL has come",
    "idem": "asked of SQL when it is not here",
    "meta": "the epoch is a new one",
    "bell": "rung when there is something to do",
    "wake": "every waiting ticket looks at its children once more",
    "run": "begins anew",
    "refused": "counts that are not in SQL yet",
    "leader": "about a process",
    "presence": "about processes",
    "workers": "about processes",
    "meetings": "read from the calendars",
    "counter": "a number may be drawn for a ticket that is then refused; compared with the numbers given out",
}
IN_NO_ORDER = ("p", "t", "c", "f")  # of a ticket's hash: lists of names


@pytest.fixture
def history(any_redis: Any, seed: int, team: Team, settings: Settings) -> Iterator[History]:
    """A random history, all of it in SQL."""
    told = History(any_redis, team, settings, seed)
    told.tell(ACTS)
    yield told
    told.close()


@AS_IT_WAS
def test_a_rebuild_gives_every_family_as_it_was(history: History) -> None:
    """I7, I8: the ledger of a random history verifies, and Redis built from it is the Redis that was lost."""
    before, numbers = _families(history), {t.number for t in history.tickets()}
    problems = [*_of_the_ledger(history), *_of_the_marks(history, before)]

    history.client.flushall()
    rebuild(history.desk.store, history.ledger, now=history.clock.now(), why="emptied")

    after = _families(history)
    problems += [*_of_the_marks(history, after), *_of_the_counters(history, numbers)]
    _leave_out_what_had_retired(before, after)
    _leave_out_who_served_no_more(history, before, after)
    problems += _differences(before, after)
    assert not problems, _told(history, problems)


# -- what is looked at ------------------------------------------------------------------------------------------------


def _families(history: History) -> dict[str, Any]:
    """Every key that a rebuild must give back, by its name without the tag."""
    client, tag = history.client, f"{history.desk.keys.tag}:"
    read = {
        "zset": lambda key: dict(client.zrange(key, 0, -1, withscores=True)),
        "hash": client.hgetall,
        "set": client.smembers,
        "string": client.get,
    }
    names = [key.removeprefix(tag) for key in client.scan_iter(match=f"{tag}*")]
    compared = [name for name in names if name.partition(":")[0] not in NOT_COMPARED]
    found = {name: read[client.type(tag + name)](tag + name) for name in compared}
    for name, fields in found.items():
        if name.startswith("ticket:"):
            fields |= {key: sorted(fields.get(key, "").split("\n")) for key in IN_NO_ORDER}
    # The names of sets that have emptied stay until the next sweep.
    for name, prefix in (("groups", "ready:"), ("behinds", "behind:")):
        if there := {member for member in found.pop(name, ()) if prefix + member in found}:
            found[name] = there
    return found


def _of_the_ledger(history: History) -> list[str]:
    """I7: what `shiftlead audit verify` would say."""
    return [f"verify: {p.kind}: {p.text}" for p in verify(history.ledger, history.team.team).problems]


def _of_the_marks(history: History, found: dict[str, Any]) -> list[str]:
    """Each mark of an open ticket is found, and leads to an open ticket that has it."""
    open_ = {t.id: t for t in history.tickets() if t.is_open}
    owners: dict[str, str] = found.get("mark", {})
    missing = [f"{t.number} is not found by its mark {m}" for t in open_.values() for m in t.marks if m not in owners]
    stale = [
        f"the mark {mark} leads to {owner}, which is not open or has it no more"
        for mark, owner in owners.items()
        if owner not in open_ or mark not in open_[owner].marks
    ]
    return missing + stale


def _of_the_counters(history: History, numbers: set[str]) -> list[str]:
    """No number that was given out is given out again."""
    problems = []
    for number in numbers:
        _, year, count = number.split("-")
        last = int(history.client.get(history.desk.keys.counter(int(year))) or 0)
        if last < int(count):
            problems.append(f"{number} would be given out again: the counter of {year} stands at {last}")
    return problems


# -- what differs, and may --------------------------------------------------------------------------------------------


def _leave_out_what_had_retired(before: dict[str, Any], after: dict[str, Any]) -> None:
    """A rebuild brings completed tickets back that had left Redis; the next retention takes them away again."""
    extra = {name for name in after.keys() - before.keys() if name.startswith("ticket:")}
    retired = {name.removeprefix("ticket:") for name in extra if after[name]["p"] == ["queue:completed"]}
    for ticket_id in retired:
        del after[f"ticket:{ticket_id}"]
        after["queue:completed"].pop(ticket_id, None)
    if "numbers" in after:
        after["numbers"] = {number: owner for number, owner in after["numbers"].items() if owner not in retired}
    for name in ("queue:completed", "numbers"):
        if after.get(name) == {}:
            del after[name]


def _leave_out_who_served_no_more(history: History, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Who served a customer last is rebuilt from resolved tickets: one reopened since, or erased, says it no more."""
    resolved = [t for t, _ in history.ledger.recent_completed(history.team.team, 1_000, state="resolved")]
    said = {(name, value) for t in resolved for name, field, value in cards(t) if field == "last"}
    served = {name for name in before.keys() | after.keys() if name.startswith("served:")}
    for name in served:
        unsaid = name in before and (name, before[name]) not in said
        erased = name not in before and history.desk.keys(name) in history.forgotten
        if unsaid or erased:
            before.pop(name, None)
            after.pop(name, None)


# -- what is told -----------------------------------------------------------------------------------------------------


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Field by field, what a key was and what it is."""
    problems = []
    for name in sorted(before.keys() | after.keys()):
        was, is_ = before.get(name), after.get(name)
        if isinstance(was, dict) and isinstance(is_, dict):
            fields = sorted(field for field in was.keys() | is_.keys() if was.get(field) != is_.get(field))
            problems += [f"{name} {field}: was {was.get(field)!r}, is {is_.get(field)!r}" for field in fields]
        elif was != is_:
            problems.append(f"{name}: was {was!r}, is {is_!r}")
    return problems


def _told(history: History, problems: list[str]) -> str:
    return "\n".join([f"seed {history.seed}:", *problems, "", "the story:", *history.story])
