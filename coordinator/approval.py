"""Decide who may approve an action.

First rule that matches wins:
  1. the approver of the first gate, then of the first review rule, that says yes - or cannot be evaluated: a doubtful
     gate is a closed gate
  2. the approver the asking agent named, if that one can `approval`
  3. whoever can `approval`
Never the agent that asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shiftlead.config.gates import Closed, closed_gate
from shiftlead.config.team import Gate, Team
from shiftlead.queues.ticket import Ticket

from .triage import rule_facts

__all__ = ["Approver", "approver_for"]


@dataclass(frozen=True, slots=True)
class Approver:
    """`named` or, where it is None, anybody who has `needs`. `expires_s`: seconds until the approval is void.

    `terms` are the gate's: see queues/approvals.py.
    """

    named: str | None
    needs: list[str]
    expires_s: float | None
    reasons: list[str]
    terms: dict[str, Any] = field(default_factory=dict)


def approver_for(ticket: Ticket, team: Team, *, now: float) -> Approver:
    """Who decides this approval ticket."""
    asker = ticket.asked_by
    arguments = ticket.context.get("arguments")
    given = arguments if isinstance(arguments, dict) else {}
    # The action's own name comes last: an argument called `name` must not pass for it.
    facts = rule_facts(
        ticket, now=now, action=given | {"name": ticket.context.get("action")}, customer=_customer(given)
    )  # fmt: skip
    if (closed := closed_gate(team, facts)) is not None:
        return _of_gate(closed, asker, team)
    wanted = ticket.named
    if wanted and wanted != asker and "approval" in team.can(wanted):
        return Approver(wanted, [], None, [f"no gate asks for anybody; {asker} asked {wanted}"])
    return Approver(None, ["approval"], None, ["no gate names an approver; anybody who can `approval` decides"])


def _of_gate(closed: Closed, asker: str | None, team: Team) -> Approver:
    gate, who = closed.gate, _who(closed.gate, team)
    why = f"{closed.name} asks for {gate.approver}"
    if closed.problem:
        why = f"{closed.name} could not be evaluated ({closed.problem}), so it is closed: {gate.approver} decides"
    why += f" ({gate.reason})" if gate.reason else ""
    terms = {
        closed.kind: closed.number, "reason": gate.reason, "human": gate.human, "confirms": list(gate.confirms),
        "then": gate.then if gate.then != asker else None, "expires_s": gate.expires_s,
    }  # fmt: skip
    if who == asker:
        return Approver(None, ["approval"], gate.expires_s, [f"{why}, who asks itself: somebody else decides"], terms)
    return Approver(who, [], gate.expires_s, [why], terms)


def _customer(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the action's facts say of the customer: where a tool does it, they are the database's, or it is not done
    (agents/approved_actions.py)."""
    more = arguments.get("customer_facts")
    tier = {"tier": arguments["tier"]} if isinstance(arguments.get("tier"), str) else {}
    return tier | (more if isinstance(more, dict) else {})


def _who(gate: Gate, team: Team) -> str:
    """The gate's approver; where only a person may say yes and the approver is a program, the first person who can."""
    spec = team.agents.get(gate.approver)
    if gate.human and spec is not None and not spec.human:
        return next((name for name, person in team.people.items() if "approval" in person.can), gate.approver)
    return gate.approver
