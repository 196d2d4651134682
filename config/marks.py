"""Read YAML and remember where everything stood, so that an error can say file, line and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Mark", "Marked", "MarkedError", "merge", "read_marked"]

At = tuple[str | int, ...]
MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # aliases can make a small file enormous


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; lines and columns count from 1."""

    file: Path
    line: int = 1
    column: int = 1
    block: bool = False  # a `|` or `>` text: its first line comes after the mark


class MarkedError(ValueError):
    """The file is not YAML we take."""

    def __init__(self, message: str, mark: Mark) -> None:
        super().__init__(message)
        self.mark = mark


@dataclass
class Marked:
    """Plain data, and the place of every value and key in it by path: ("agents", "iris_support", "can", 0)."""

    data: Any
    values: dict[At, Mark] = field(default_factory=dict)
    keys: dict[At, Mark] = field(default_factory=dict)

    def place(self, at: At, *, key: bool = False) -> Mark:
        """The nearest place known for `at`: itself, else what holds it."""
        if key and at in self.keys:
            return self.keys[at]
        while at and at not in self.values:
            at = at[:-1]
        return self.values[at]


def read_marked(file: Path) -> Marked:
    """The file's content with its places.

    Raises:
        MarkedError: not YAML, not UTF-8, a key twice, a key that is no text, a tag, too large, or too deep.
        OSError: the file cannot be read.
    """
    try:
        loader = yaml.SafeLoader(_text(file))
        node = loader.get_single_node()
    except RecursionError:
        raise MarkedError("the file is nested too deeply", Mark(file)) from None
    except UnicodeDecodeError as error:
        raise MarkedError(f"the file is not UTF-8 (byte {error.start})", Mark(file)) from None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = Mark(file, at.line + 1, at.column + 1) if at else Mark(file)
        raise MarkedError(f"this is not YAML: {error.problem or error.context}", where) from None
    except yaml.YAMLError as error:
        raise MarkedError(f"this is not YAML: {error}", Mark(file)) from None
    marked = Marked(None)
    marked.values[()] = Mark(file)
    if node is not None:
        marked.data = _Reader(file, loader, marked).value(node, ())
    return marked


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise MarkedError(f"the file is larger than {MAX_BYTES:,} bytes", Mark(file))
    return raw.decode("utf-8")


class _Reader:
    def __init__(self, file: Path, loader: yaml.SafeLoader, out: Marked) -> None:
        self._file, self._loader, self._out, self._nodes = file, loader, out, 0

    def value(self, node: yaml.Node, at: At) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(at) > 30:
            raise MarkedError("the file is nested or repeated too much (aliases?)", self._mark(node))
        if at:
            self._out.values[at] = self._mark(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*at, index)) for index, child in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or error
            raise MarkedError(f"this value cannot be used: {problem}", self._mark(node)) from None

    def _mapping(self, node: yaml.MappingNode, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                raise MarkedError("a key must be a plain word", self._mark(key_node))
            if key in found:
                raise MarkedError(f"the key {key!r} stands here twice", self._mark(key_node))
            self._out.keys[(*at, key)] = self._mark(key_node)
            found[key] = self.value(value_node, (*at, key))
        return found

    def _mark(self, node: yaml.Node) -> Mark:
        start, style = node.start_mark, getattr(node, "style", None)
        return Mark(self._file, start.line + 1, start.column + (2 if style in ("'", '"') else 1), style in ("|", ">"))


def merge(base: Marked, over: Marked, at: At = ()) -> Marked:
    """`over` laid on `base`: mappings merge key by key, everything else replaces. Places follow the values."""
    if isinstance(base.data, dict) and isinstance(over.data, dict):
        out = Marked(dict(base.data), dict(base.values), dict(base.keys))
        for key, value in over.data.items():
            here: At = (*at, key)
            out.keys[here] = over.keys[here]
            if isinstance(out.data.get(key), dict) and isinstance(value, dict):
                inner = merge(Marked(out.data[key], out.values, out.keys), Marked(value, over.values, over.keys), here)
                out.data[key], out.values, out.keys = inner.data, inner.values, inner.keys
            else:
                out.data[key] = value
                _replace(out, over, here)
        return out
    return over


def _replace(out: Marked, over: Marked, at: At) -> None:
    size = len(at)
    for mine, theirs in ((out.values, over.values), (out.keys, over.keys)):
        for path in [p for p in mine if p[:size] == at and (mine is out.values or len(p) > size)]:
            del mine[path]
        mine.update({p: mark for p, mark in theirs.items() if p[:size] == at})
