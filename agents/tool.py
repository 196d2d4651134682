"""A typed Python function as a tool.

    @tool(target="order_id", irreversible=True, idempotent=True, limits={"amount": Field(gt=0, le=5000)})
    def process_refund(call: Call, order_id: str, amount: float) -> dict[str, Any]:
        "Give money back. The first paragraph is what a model is told."

The argument model, its JSON schema and its checks come from the signature: strict types, no unknown names, limits.
Without `target` it only reads. `idempotent`: its outside recognises `call.key`, so that repeating it is safe. `facts`
says what gates judge: computed from a database and the arguments, never from a text. A function that raises ToolRefused
or Busy says that nothing was done; after any other exception it may have been.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from shiftlead.queues.effects import MAX_RESULT
from shiftlead.queues.errors import BadInput
from shiftlead.queues.ticket import Ticket, check_text

from .tools_api import ToolRefused

__all__ = ["Call", "Facts", "Money", "Registry", "ToolSpec", "registry", "tool"]

F = TypeVar("F", bound=Callable[..., Any])
MARK = "__shiftlead_tool__"
MAX_TEXT = 2_000
CUSTOMER_FACTS = "customer_facts"  # among the arguments of an approval; no tool has one of that name


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool knows of the call beside its arguments. Nothing here comes out of a text.

    `key` is the same for every attempt at the same effect; "" when the tool only reads, and for facts before the first
    attempt. `now`: unix seconds, UTC. `judged`: the facts its gates passed, for a tool to see that they still hold.
    `ancestors`: the tickets it was handed on from, its parent first: what somebody said yes to stands there.
    """

    ticket: Ticket
    agent: str
    now: float
    key: str = ""
    ancestors: tuple[Ticket, ...] = ()
    judged: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a gate judges: `action.<name>` and `customer.<name>`. `moving` ones change with the time alone."""

    action: dict[str, Any]
    customer: dict[str, Any] = field(default_factory=dict)
    moving: frozenset[str] = frozenset()

    @property
    def asked(self) -> dict[str, Any]:
        """What a yes is asked for: the action, and what gates judge of the customer beside it. Whoever decides who is
        asked sees what the toolbox saw."""
        more = {k: v for k, v in self.customer.items() if k != "id" and (k not in self.action or self.action[k] != v)}
        return self.action | ({CUSTOMER_FACTS: more} if more else {})


@dataclass(frozen=True, slots=True)
class _Declared:
    target: str
    irreversible: bool
    idempotent: bool
    facts: str | Callable[..., Facts] | None
    limits: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool that can be called."""

    name: str
    description: str
    model: type[BaseModel]
    parameters: dict[str, Any]
    target: str
    irreversible: bool
    idempotent: bool
    function: Callable[..., Any]
    judged: Callable[..., Facts] | None

    @property
    def reads(self) -> bool:
        """It changes nothing."""
        return not self.target

    def arguments(self, given: Mapping[str, Any]) -> BaseModel:
        """The arguments, checked.

        Raises:
            ToolRefused: one is missing, unknown, of the wrong type or beyond its limit; says which.
        """
        try:
            check_text(dict(given), "arguments")
            return self.model.model_validate_json(json.dumps(dict(given), allow_nan=False))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()[:5])
            raise ToolRefused(f"{self.name} was not called: {wrong}.") from None
        except (BadInput, TypeError, ValueError, RecursionError) as error:
            raise ToolRefused(f"{self.name} was not called: {error}") from None

    def target_of(self, arguments: BaseModel) -> str:
        """The object it is about."""
        return str(getattr(arguments, self.target))

    def target_in(self, answer: Mapping[str, Any]) -> str | None:
        """The object an approval of this tool was asked for; None where its arguments cannot be read."""
        asked = answer.get("arguments")
        given = asked.items() if isinstance(asked, Mapping) else ()
        try:
            return self.target_of(self.arguments({k: v for k, v in given if k in self.model.model_fields}))
        except ToolRefused:
            return None

    def facts(self, call: Call, arguments: BaseModel) -> Facts:
        """What a gate judges.

        Raises:
            ToolRefused: there is no such object, or it is not this customer's.
        """
        plain = arguments.model_dump(mode="json", exclude_none=True)
        found = self.judged(call, arguments) if self.judged is not None else Facts({})
        return Facts(plain | found.action, found.customer, found.moving)

    def run(self, call: Call, arguments: BaseModel) -> Any:
        """Do it; the result as JSON that can be kept. Nothing is raised for an odd result: it is done by then."""
        given = {name: getattr(arguments, name) for name in type(arguments).model_fields}
        result = self.function(call, **given)
        try:
            text = json.dumps(result, ensure_ascii=False, allow_nan=False, default=str)
        except (TypeError, ValueError, RecursionError):
            text = json.dumps(str(result)[:MAX_TEXT], ensure_ascii=False)
        if len(text) > MAX_RESULT:
            text = json.dumps({"too_long": text[:MAX_TEXT]}, ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace").decode())


Registry = Mapping[str, ToolSpec]


def tool(
    *, target: str = "", irreversible: bool = False, idempotent: bool = False,
    facts: str | Callable[..., Facts] | None = None, limits: Mapping[str, FieldInfo] | None = None,
) -> Callable[[F], F]:  # fmt: skip
    """Mark a function or method as a tool; see the head of this file. `facts`: a function, or a method's name.

    Raises:
        TypeError: `target` or a limit names no argument, or it cannot be undone and has no target.
    """

    def mark(function: F) -> F:
        names = set(inspect.signature(function).parameters) - {"self", "call"}
        for name in {*([target] if target else []), *(limits or {})}:
            if name not in names:
                raise TypeError(f"tool {function.__name__}: there is no argument {name!r}; it has {sorted(names)}")
        if CUSTOMER_FACTS in names:
            raise TypeError(f"tool {function.__name__}: {CUSTOMER_FACTS!r} is what approvals call the customer's facts")
        if irreversible and not target:
            raise TypeError(f"tool {function.__name__} cannot be undone, so it must say on which target it works")
        setattr(function, MARK, _Declared(target, irreversible, idempotent, facts, limits or {}))
        return function

    return mark


def registry(*sources: Any) -> dict[str, ToolSpec]:
    """The tools among `sources`, by name: marked functions, and objects or modules that have some.

    Raises:
        TypeError: two tools of one name.
    """
    found: dict[str, ToolSpec] = {}
    for source in sources:
        own = [source] if hasattr(source, MARK) else [getattr(source, name) for name in sorted(vars_of(source))]
        for function in own:
            declared = getattr(function, MARK, None)
            if not isinstance(declared, _Declared):
                continue
            spec = _spec(function, declared, source)
            if spec.name in found:
                raise TypeError(f"there are two tools {spec.name!r}")
            found[spec.name] = spec
    return found


def vars_of(source: Any) -> Sequence[str]:
    """Names of what an object or module has, without its private parts."""
    return [name for name in dir(source) if not name.startswith("_")]


def _spec(function: Callable[..., Any], declared: _Declared, owner: Any) -> ToolSpec:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "call"):
            continue
        hint = hints.get(name, str)
        if name in declared.limits:
            hint = Annotated[hint, declared.limits[name]]
        fields[name] = (hint, ... if parameter.default is inspect.Parameter.empty else parameter.default)
    name = function.__name__
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, str_max_length=MAX_TEXT)
    model = create_model(f"{name}_arguments", __config__=strict, **fields)
    schema = model.model_json_schema()
    schema.pop("title", None)
    judged = getattr(owner, declared.facts) if isinstance(declared.facts, str) else declared.facts
    about = inspect.cleandoc(function.__doc__ or name).split("\n\n")[0].replace("\n", " ")
    return ToolSpec(
        name, about, model, schema | {"properties": schema.get("properties", {})}, declared.target,
        declared.irreversible, declared.idempotent, function, judged,
    )  # fmt: skip


def _whole_cents(value: float) -> float:
    if abs(value * 100 - round(value * 100)) > 1e-6:
        raise ValueError("an amount of money has at most two decimals")
    return round(value, 2)


Money = Annotated[float, Field(gt=0, le=1_000_000), AfterValidator(_whole_cents)]
