"""`shiftlead team init acme`: a team of your own, two files, ready to run and to change."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["FIRST_AGENT", "init_team"]

FIRST_AGENT = "ada_support"  # the first of TEAM below
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")

TEAM = """\
# Team {name}. After a change: shiftlead team check {name}   (it loads agents.py too)
team: {name}
description: Support, engineering and a decision-maker.
version: 1

agents:   # name: what it is, what it can do, how many tickets at a time, what answers
  ada_support:
    role: support
    can: [customer_issue, billing]
    capacity: 4
    brain: python:agents:support   # `support` in agents.py beside this file; or offline, exec:command, outside
    # hours: Mon-Fri 08:00-18:00 Europe/Berlin
    hands_off_to: [linus_engineering, grace_decisions]
  linus_engineering:
    role: engineering
    can: [bug, code_review]
    capacity: 2
    brain: python:agents:engineering
  grace_decisions:
    role: decision-maker
    can: [decision, approval]
    brain: python:agents:decisions

people:   # are told things and may decide
  on_call: {{notify: "mailto://oncall@localhost", can: [decision, approval]}}

aliases: {{customer_complaint: customer_issue, pull_request: code_review, bug_report: bug}}

routes:   # first match wins; fields of the ticket: type, title, body, customer, priority, context, ...
  - when: ticket.type == "code_review"
    needs: [code_review]
  - when: ticket.type == "decision"
    needs: [decision]
  - needs: [customer_issue]   # the catch-all is required

keywords:   # how tickets without a clear type sound; add your own sentences
  customer_issue:
    cues: [my order, my account, cannot log in, delivery]
    sentences: ["Where is my order?", "I cannot log in to my account"]
  billing:
    cues: [refund, invoice, charged]
    sentences: ["I was charged twice", "Please send me an invoice"]
  bug:
    cues: [<stack trace>, <code name>, exception, fails with, reproduce]
    sentences: ["The service throws an exception when the basket is empty", "The build fails after the upgrade"]
  code_review:
    cues: [<pull request>, <diff>, review my branch]
    sentences: ["Please review the pull request before the merge"]
  decision:
    cues: [please approve, budget, exception to]
    sentences: ["Please approve the budget for two servers", "Should we make an exception to the policy?"]

escalations:   # counted from the moment the ticket was opened
  - ladder: [{{after: 30m, notify: grace_decisions}}, {{after: 2h, notify: on_call}}]

gates:   # actions that need a yes first; a rule that cannot be evaluated asks too
  - when: action.name == "process_refund" && action.amount > 500.0
    approver: grace_decisions
    expires: 4h
"""

AGENTS = '''\
"""The agents of team {name}. Each gets `work` (work.ticket, .text, .history, .answers) and returns one report.

A text is an answer that resolves the ticket. Other reports: AskRequester, AskHuman, Blocked, Later, Failed.
"""

from shiftlead.agents.agent import HandOff, Resolved


def support(work):
    """Answer, or let engineering look first: its answer comes back here."""
    if "error" in work.text.lower() and not work.answers:
        return HandOff(needs=["bug"], question=work.text[:500])  # change: when is it engineering's?
    return Resolved(reply=f"Thank you, we have looked into: {{work.ticket.title}}", summary="answered")


def engineering(work):
    """Say what was found. Whoever asked gets it, and tells the customer."""
    finding = f"Looked at {{work.ticket.title!r}}: no error in the logs of the last hour."  # change: really look
    return Resolved(reply=finding, summary=finding, evidence=["logs of the last hour"])


def decisions(work):
    """Decide. For an approval the answer is approve or deny; a person can always answer instead."""
    small = work.ticket.context.get("amount", 0) <= 1000  # change: your rule
    return Resolved(reply="Yes." if small else "No.", summary="decided", decision="approve" if small else "deny")
'''


def init_team(name: str, folder: Path) -> list[Path]:
    """Write `folder`/`name`/team.yaml and agents.py, and say which files were written.

    Raises:
        ValueError: the name cannot be a team's.
        FileExistsError: there is such a folder already; nothing in it was touched.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a team's name: small letters, digits and _ only, a letter first, at most 41 of them."
        )
    home = folder / name
    try:
        home.mkdir(parents=True)
    except FileExistsError:
        raise FileExistsError(f"{home} exists already; nothing was written. Choose another name or move it.") from None
    files = {home / "team.yaml": TEAM.format(name=name), home / "agents.py": AGENTS.format(name=name)}
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    return list(files)
