"""The same agent outside of Shiftlead, over HTTP: next, heartbeat, note, report. Any host, and any language can do it.

    SHIFTLEAD_URL=http://127.0.0.1:8140 SHIFTLEAD_KEY=... python outside.py olga_outside

Tools are with the worker, so out here there are none: what needs one is handed over, or asked for with AskHuman.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

from brain import support

from shiftlead.agents.agent import Failed, Report, Work

URL, KEY = os.environ.get("SHIFTLEAD_URL", "http://127.0.0.1:8140"), os.environ.get("SHIFTLEAD_KEY", "")
BEAT_S = 10.0


def call(path: str, body: dict[str, Any]) -> Any:
    """POST; None when there is nothing (204)."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/v1/{path}", json.dumps(body).encode(), headers)  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read()) if answer.status == 200 else None


def work_on(work: Work) -> None:
    """One ticket: signs of life while the agent thinks, a note, then its report."""
    held = {"token": work.token}
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            call(f"tickets/{work.ticket.number}/heartbeat", held)

    threading.Thread(target=beat, daemon=True).start()
    try:
        report: Report = support(work)
    except Exception as error:
        report = Failed(error=f"{type(error).__name__}: {error}"[:500], retryable=True)
    finally:
        done.set()
    call(f"tickets/{work.ticket.number}/note", held | {"text": f"the SDK's agent says {report.kind}"})
    call(f"tickets/{work.ticket.number}/report", held | {"report": report.model_dump(mode="json")})


def main(agent: str) -> None:
    while True:
        try:
            found = call(f"agents/{agent}/next?wait_s=20", {})
            if found is not None:
                work_on(Work.model_validate(found))
        except urllib.error.HTTPError as error:  # 409: the ticket was taken away; 401, 403: the key
            print(f"{error.code}: {error.read().decode()[:500]}", file=sys.stderr)
            if error.code in (401, 403):
                raise SystemExit(1) from None


if __name__ == "__main__":
    main(sys.argv[1])
