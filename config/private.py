"""Folders and log files nobody but their owner reads: the data folder has tickets, keys and logs in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_private", "private_folder"]


def private_folder(folder: Path) -> Path:
    """The folder, made with its parents where it is missing. One of ours that others can read is closed to them.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        with contextlib.suppress(PermissionError):  # somebody else's folder, as a mounted volume: his to close
            folder.chmod(0o700)
    return folder


def open_private(path: Path, *, empty: bool = False) -> BinaryIO:
    """A log file to append to, readable by its owner alone. `empty` begins it anew."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if empty else 0), 0o600)
    with contextlib.suppress(PermissionError):
        os.fchmod(number, 0o600)  # one that stood there already
    return os.fdopen(number, "ab")
