"""The engine of CEL, without the command line that its package imports with it.

That command line brings a terminal toolkit: half a second of computing in every process that starts, for nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["compile_rule"]

_THERE = "cel.cli" in sys.modules
if not _THERE:
    sys.modules["cel.cli"] = ModuleType("cel.cli")

import cel  # noqa: E402

if not _THERE:
    del sys.modules["cel.cli"]  # whoever wants it gets the real one

compile_rule = cel.compile
