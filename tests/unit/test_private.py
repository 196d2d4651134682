"""The data folder and its logs are for their owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

from shiftlead.config.private import open_private, private_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_closed_to_others_also_when_it_stood_there(tmp_path: Path) -> None:
    """I24."""
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    assert mode(private_folder(there)) == 0o700
    assert mode(private_folder(tmp_path / "a" / "new")) == 0o700


def test_a_log_is_closed_to_others_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    """I24."""
    log = tmp_path / "web.log"
    log.write_text("before\n")
    log.chmod(0o644)
    with open_private(log) as opened:
        opened.write(b"after\n")
    assert (mode(log), log.read_text()) == (0o600, "before\nafter\n")
    with open_private(log, empty=True):
        pass
    assert log.read_text() == ""
