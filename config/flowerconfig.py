"""Flower's own configuration file: what the managers' view shows. Option names are Flower's.

Used by `shiftlead flower`; a plain `celery flower --conf=...` may use it too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["format_task", "max_tasks", "purge_offline_workers", "read_only", "tasks_columns"]

read_only = True
tasks_columns = "name,args,state,received,runtime,worker"
max_tasks = 20_000
purge_offline_workers = 3600  # seconds

SHOWN = 120


def format_task(task: Any) -> Any:
    """One line of arguments, and of a ticket's text none of it."""
    if task.name == "shiftlead.enqueue":
        task.args, task.kwargs = "(a ticket)", "{}"
    for field in ("args", "kwargs", "result"):
        value = getattr(task, field, None)
        if isinstance(value, str) and len(value) > SHOWN:
            setattr(task, field, value[:SHOWN] + "...")
    return task
