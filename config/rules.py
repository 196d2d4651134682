"""A `when` of a team file: one CEL expression, compiled once, over the names ticket, action, customer, steps, now.

Evaluating never raises. A missing or ill-typed value makes the verdict neither yes nor no (`value` is None) and says
why: a gate then closes, a route then does not match.

Numbers: CEL compares 500 with 500.0 as one expects, so facts go in as they are. Only arithmetic wants equal types:
write `double(action.amount) * 2.0`, which is right for both.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .expressions import compile_rule

__all__ = ["NAMES", "TICKET_FIELDS", "Rule", "RuleError", "Verdict", "near", "words"]


def words(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


NAMES = ("ticket", "action", "customer", "steps", "now")
# What a rule may say after `ticket.`: the fields of queues/ticket.py (a test compares).
TICKET_FIELDS = words(
    "id number team team_version type category title body source reporter customer urgency priority summary component "
    "links context needs requires_handoff named prefers excluded parent children lineage hops asked_by packet answers "
    "asked_of turns failures step steps round checks review state assigned_to worker alone suspect version token life "
    "attempts last_op created_at "
    "updated_at due ready_at assigned_at closed_at not_before claim_by lease_until ladder ladder_at accept_by "
    "expires_at awaits given_priority waits_for waits_until result reason trace_id brought_by marks joined "
    "flow merged_into behind weight ladder_left withheld looks_left first_reply_at escalations aided"
)
FUNCTIONS = words(
    "size contains startsWith endsWith matches int uint double string bytes type dyn duration timestamp getFullYear "
    "getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds getMilliseconds"
)
TYPES = words("int uint double string bytes bool list map")
MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
FIELD = re.compile(r"(?<![\w.])(\w+)\s*(?:\.\s*([A-Za-z_]\w*)(?!\s*[\w(])|\[\s*[\"']([^\"']*)[\"']\s*\])")
STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")


class RuleError(ValueError):
    """The expression cannot be a rule. `line` and `column` count from 1 inside its text."""

    def __init__(self, message: str, *, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.column, self.hint = line, column, hint


@dataclass(frozen=True, slots=True)
class Verdict:
    """`value` is None when the rule could not be evaluated; `problem` then says why."""

    value: bool | None
    problem: str = ""


class Rule:
    """A compiled condition.

    Raises:
        RuleError: it does not compile, or uses a name, function or ticket field that does not exist.
    """

    __slots__ = ("_names", "_program", "_wanted", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._program = compile_rule(source)
        except ValueError as error:
            raise _syntax_error(str(error)) from None
        self._check_names()
        self._names = [n for n in self._program.variables() if n in NAMES]
        self._wanted = self._whole_or_fields()

    def __repr__(self) -> str:
        return f"Rule({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    def evaluate(self, facts: dict[str, Any]) -> Verdict:
        """Yes, no, or why neither. Safe from several threads at once."""
        try:
            value = self._program.execute(self._needed(facts))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in the compiled evaluator is no Exception, and closes a gate as well
            return Verdict(None, _reason(error))
        if isinstance(value, bool):
            return Verdict(value)
        return Verdict(None, f"the rule answers {type(value).__name__}, not yes or no")

    def fields(self, name: str) -> list[str]:
        """Fields of `name` that the rule reads, as `amount` of `action.amount`."""
        return list(dict.fromkeys(f for n, f, _ in self._reads() if n == name))

    @property
    def names(self) -> frozenset[str]:
        """The facts it reads, of NAMES."""
        return frozenset(self._names)

    def try_samples(self, ticket: dict[str, Any]) -> str:
        """Why the rule can never be evaluated, whatever the values: "" if it can.

        `ticket` holds one plausible value for every field; the other facts are tried as numbers, texts and yes/no.
        """
        fields = [(n, f) for n in ("action", "customer", "steps") for f in self.fields(n)]
        context = [f for n, f in _deep_reads(self.source) if n == "context"]
        free = [*fields, *(("context", f) for f in context)]
        problem = ""
        for values in itertools.islice(itertools.product((7.0, "text", True, {}, ["a"]), repeat=len(free)), 4000):
            facts: dict[str, Any] = {"ticket": dict(ticket), "action": {}, "customer": {}, "steps": {}, "now": 1.8e9}
            facts["ticket"]["context"] = {}
            for (name, field), value in zip(free, values, strict=True):
                holder = facts["ticket"]["context"] if name == "context" else facts[name]
                holder[field] = value
            verdict = self.evaluate(facts)
            if verdict.value is not None or verdict.problem.startswith("no "):
                return ""
            problem = problem or verdict.problem
        return problem

    def _whole_or_fields(self) -> frozenset[str] | None:
        """The ticket fields the rule reads; None when it uses the ticket as a whole."""
        blank = STRING.sub(lambda m: " " * len(m[0]), self.source)
        fields = [f for n, f, _ in self._reads() if n == "ticket"]
        return frozenset(fields) if len(fields) == len(re.findall(r"(?<![\w.])ticket\b", blank)) else None

    def _needed(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Only what the rule reads: handing a whole ticket to the evaluator costs ten times the evaluation."""
        needed = {n: facts[n] for n in self._names if n in facts}
        ticket = needed.get("ticket")
        if self._wanted is not None and isinstance(ticket, dict):
            needed["ticket"] = {f: ticket[f] for f in self._wanted if f in ticket}
        return needed

    def _reads(self) -> Iterator[tuple[str, str, int]]:
        blank = STRING.sub(lambda m: " " * len(m[0]), self.source)
        for match in FIELD.finditer(blank):
            if match[2]:
                yield match[1], match[2], match.start(2)
        for match in FIELD.finditer(self.source):
            if match[3] is not None and blank[match.start(1)] != " ":
                yield match[1], match[3], match.start(3)

    def _check_names(self) -> None:
        own = set(MACRO.findall(self.source))
        for name in self._program.variables():
            if name not in NAMES and name not in own and name not in TYPES:
                self._refuse(name, "name", NAMES)
        for name in self._program.functions():
            if re.match(r"[A-Za-z]", name) and name not in FUNCTIONS:
                self._refuse(name, "function", FUNCTIONS)
        for name, field, at in self._reads():
            if name == "ticket" and field not in TICKET_FIELDS:
                self._refuse(field, "ticket field", TICKET_FIELDS, at)

    def _refuse(self, found: str, what: str, known: Iterable[str], at: int | None = None) -> None:
        if at is None:
            match = re.search(rf"(?<![\w.]){re.escape(found)}\b|\b{re.escape(found)}\b", self.source)
            at = match.start() if match else 0
        hint = near(found, known)
        rest = f"did you mean {hint!r}?" if hint else f"known: {', '.join(sorted(known))}"
        before = self.source[:at]
        raise RuleError(
            f"unknown {what} {found!r}; {rest}",
            line=before.count("\n") + 1,
            column=at - (before.rfind("\n") + 1) + 1,
            hint=hint,
        )


def near(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`, or ""."""
    found = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def _deep_reads(source: str) -> list[tuple[str, str]]:
    return [("context", f) for f in dict.fromkeys(re.findall(r"ticket\s*\.\s*context\s*\.\s*([A-Za-z_]\w*)", source))]


def _syntax_error(text: str) -> RuleError:
    found = re.search(r"<input>:(\d+):(\d+): (.*)", text)
    if found is None:
        return RuleError(f"this is not CEL: {text.splitlines()[0]}")
    what = re.sub(r" expecting \{.*", "", found[3])
    return RuleError(f"this is not CEL: {what}", line=int(found[1]), column=int(found[2]))


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no such key: {error.args[0] if error.args else '?'}"
    text = str(error).split(". ")[0].rstrip(".")
    if text.startswith("Undefined variable or function"):
        return f"no fact named {text.split(':', 1)[-1].strip()}"
    if text.startswith("No such overload"):
        return "values of these types cannot be compared"
    return f"{type(error).__name__}: {text}"
