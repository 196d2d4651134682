"""No log of a running Shiftlead has a ticket's text or the admin key in it (I24)."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

from celery import Celery

from shiftlead.config.redis_client import broker_url_for
from shiftlead.config.settings import Settings

CANARY = "canary-7e1f"
TEAM = """\
team: {name}
version: 1
agents:
  bee: {{role: support, can: [customer_issue], brain: offline}}
routes:
  - needs: [customer_issue]
"""


def test_the_logs_hold_neither_a_ticket_nor_the_key(short_folder: Path) -> None:
    """EN-01, I24, SD-11: through real Celery, with a refusal and a message of no use; two teams, the key shown once."""
    data = short_folder / "data"
    data.mkdir(mode=0o755)
    for name in ("att", "oth"):
        (short_folder / "teams" / name).mkdir(parents=True)
        (short_folder / "teams" / name / "team.yaml").write_text(TEAM.format(name=name))
    env = {k: v for k, v in os.environ.items() if not k.startswith("SHIFTLEAD_")}
    env |= {"SHIFTLEAD_HOME": str(data), "SHIFTLEAD_PORT": str(_free_port()), "SHIFTLEAD_LOG_LEVEL": "INFO"}

    def run(*arguments: str) -> str:
        argv = [sys.executable, "-P", "-m", "shiftlead.coordinator", *arguments]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, cwd=short_folder, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        key = json.loads(run("up", "--detach", "--no-flower", "--team", "att,oth", "--json"))["admin_key"]
        url = broker_url_for(Settings(home=data).redis_address)
        client = Celery("somebody_else", broker=url, backend=url, set_as_current=False)

        def send(draft: object, name: str = "shiftlead.enqueue") -> object:
            return client.send_task(name, args=[draft], queue="shiftlead.intake", shadow=f"shadow {CANARY}")

        send({"title": CANARY}, "shiftlead.enqeue")
        numbers = [send({"title": CANARY, "body": CANARY, "team": t}).get(timeout=20) for t in ("att", "oth")]  # type: ignore[attr-defined]
        refused = send(CANARY)
        refused.get(timeout=20, propagate=False)  # type: ignore[attr-defined]
        client.close()
        assert all(n.startswith("T-") for n in numbers)
    finally:
        run("down")

    logs = {p.name: p.read_text() for p in (data / "logs").iterdir()}
    assert {"intake.log", "web.log", "up.log", "redis.log"} <= set(logs)
    assert [name for name, text in logs.items() if CANARY in _beside_previews(text)] == []
    assert [name for name, text in logs.items() if key in text] == []
    assert {stat.S_IMODE(p.stat().st_mode) for p in (data / "logs").iterdir()} == {0o600}
    assert [stat.S_IMODE(p.stat().st_mode) for p in (data, data / "logs")] == [0o700, 0o700]


def _beside_previews(log: str) -> str:
    """The log without the first words of a message, which an attempt's first line holds and is meant to (SD-11)."""
    kept = []
    for line in log.splitlines():
        if '"event": "attempt"' in line:
            told = json.loads(line)
            assert len(told.pop("message_preview", "")) <= 100
            line = json.dumps(told)
        kept.append(line)
    return "\n".join(kept)


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port
