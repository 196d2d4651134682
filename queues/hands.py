"""What people do at the desk: decide, answer, set right, put off, give away, merge, cancel, open again.

Every call has an actor and a reason, and stands in the ticket's story. What is acknowledged stands in SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from shiftlead.config.rules import near

from . import approvals, moves
from .agent_hands import AgentHands
from .errors import BadInput, NotFound, Refused
from .handing_on import wakes
from .lifecycle import State
from .report import Resolved
from .reserved import is_reserved
from .store import Change
from .ticket import Draft, Ticket, check_text

__all__ = ["EDITABLE", "Hands"]

EDITABLE = (
    "title", "body", "type", "category", "priority", "needs", "customer", "reporter", "component", "links", "summary",
    "requires_handoff",
)  # fmt: skip
YEAR_S = 366 * 86_400.0


class Hands(AgentHands):
    """People's calls about tickets."""

    # -- decide -------------------------------------------------------------------------------------------------

    def answer(self, ticket_id: str, decision: str, *, actor: str, reason: str) -> Ticket:
        """Approve or deny an approval ticket, or the one approval a ticket waits for.

        Raises:
            Refused: there is nothing to approve, it has expired, or what a yes must confirm is missing.
        """
        ticket = self._approval(ticket_id)
        if actor.partition(":")[2] == ticket.asked_by:
            raise Refused(f"{ticket.number} was asked for by {ticket.asked_by}, who may not answer it.")
        report = Resolved(decision="approve" if decision == "approve" else "deny", reply=reason, reason=reason)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            if t.is_open and t.expires_at is not None and t.expires_at <= self.clock.now():
                raise Refused(f"{t.number} has expired: it can no longer be approved or denied. Ask again.")
            if report.decision == "approve":
                approvals.refuse_unless_complete(t)
            return [moves.answer(t, report, actor=actor, now=self.clock.now(), epoch=epoch)]

        return self._apply(ticket.id, decide)

    def delegate(self, ticket_id: str, to: str, *, actor: str, reason: str) -> Ticket:
        """Somebody else decides an approval. Its expiry stays.

        Raises:
            NotFound: nobody is called `to`.
            Refused: `to` asked for it, or cannot approve, or the gate wants a person.
        """
        ticket = self._approval(ticket_id)
        self._known(to)
        if to == ticket.asked_by or to in ticket.excluded:
            raise Refused(f"{ticket.number} was asked for by {to}, who may not answer it. Nothing was changed.")
        if "approval" not in self.team.can(to):
            able = ", ".join(n for n in (*self.team.agents, *self.team.people) if "approval" in self.team.can(n))
            raise Refused(f"{to} cannot approve (nobody gave it `approval`). Who can: {able or 'nobody'}.")
        if ticket.context.get("human") and to in self.team.agents and not self.team.agents[to].human:
            raise Refused(f"{ticket.number} wants a person's word (its gate says human), and {to} is a program.")

        def decide(t: Ticket, epoch: int) -> list[Change]:
            now = self.clock.now()
            return [moves.reassign(t, to=to, needs=[], actor=actor, reason=reason, now=now, epoch=epoch)]

        return self._apply(ticket.id, decide)

    def reply(self, ticket_id: str, text: str, *, actor: str) -> Ticket:
        """What the requester, or whoever it is blocked on, answered: the ticket goes on with it.

        Raises:
            Refused: it waits for nobody's answer, or the agent that asked answers itself.
        """
        ticket = self.find(ticket_id)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            if t.state is not State.WAITING or t.awaits or t.withheld:
                raise Refused(
                    f"{t.number} is {t.state} and waits for no answer. "
                    f"To add to its story: shiftlead note {t.number} TEXT"
                )
            if not wakes(actor, t):
                raise Refused(f"{t.number} waits for somebody else's answer, not for {t.prefers}'s own.")
            said = {"type": "reply", "agent": actor, "state": "resolved", "reply": text, "question": t.waits_for}
            return [moves.resume(t, [said], actor=actor, reason=f"{actor} answered", now=self.clock.now(), epoch=epoch)]

        return self._apply(ticket.id, decide)

    # -- set right ----------------------------------------------------------------------------------------------

    def edit(self, ticket_id: str, changes: dict[str, Any], *, actor: str, reason: str) -> Ticket:
        """Set right what an open ticket says. A new priority moves its due time; its ladder's clock goes on.

        Raises:
            BadInput: an unknown or ill-typed field (named), or nothing to change.
        """
        values = _checked(changes)
        ticket = self.find(ticket_id)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            new = {k: v for k, v in values.items() if getattr(t, k) != v}
            if not new:
                raise BadInput(f"{t.number} says so already. Nothing was changed.")
            if t.type == "approval":
                raise Refused(
                    f"{t.number} is an approval: what is asked stands as it is. Deny it, and say what to ask."
                )
            if "type" in new and is_reserved(new["type"], self.team):
                raise BadInput(f"{new['type']!r} tickets are made by Shiftlead itself.", field="type")
            after: dict[str, Any] = {}
            if "priority" in new:
                after["due"] = t.created_at + self.team.target_s(new["priority"])
            if "needs" in new:
                after["named"] = None
            change = moves.edit(t, new, actor=actor, reason=reason, now=self.clock.now(), epoch=epoch, **after)
            self._bounded(change.after)
            return [change]

        return self._apply(ticket.id, decide)

    def reassign(
        self, ticket_id: str, *, to: str | None = None, needs: Sequence[str] = (), actor: str, reason: str
    ) -> Ticket:
        """Give a ticket to somebody else: the agent `to`, or whoever can `needs`. Whoever held it is told to stop.

        Raises:
            NotFound: no such agent.
            Refused: it is with `to` already, or `to` may not take it; somebody it waits for must answer first.
        """
        if bool(to) == bool(needs):
            raise BadInput("Say either who should take it, or what it needs; not both and not none.", field="to")
        if to is not None and to not in self.team.agents:
            if to in self.team.people:
                raise Refused(f"{to} pulls no tickets: a person of the team who is told things. Make it an agent.")
            self._known(to)
        ticket = self.find(ticket_id)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            if t.type == "approval":
                raise Refused(f"{t.number} is an approval. Let somebody else decide it: shiftlead delegate {t.number}")
            if t.withheld:
                raise Refused(f"{t.number} is done; its result leaves when action hours begin. Nothing was changed.")
            if to is not None and to in t.excluded:
                raise Refused(f"{to} may not take {t.number}: it wrote what is to be judged, or asked for it.")
            if to is not None and to in (t.assigned_to, t.named):
                raise Refused(f"{t.number} is {to}'s already. Nothing was changed.")
            if needs and not self.team.agents_for(list(needs)):
                known = ", ".join(self.team.capabilities)
                raise Refused(f"Nobody on the team can {' + '.join(needs)}. What somebody can: {known}.")
            now = self.clock.now()
            if t.state is State.WAITING and to is not None:  # it goes on there when what it waits for has come
                values = {"prefers": to, "named": to}
                return [moves.edit(t, values, actor=actor, reason=reason, now=now, epoch=epoch)]
            change = moves.reassign(t, to=to, needs=needs, actor=actor, reason=reason, now=now, epoch=epoch)
            return [change]

        return self._apply(ticket.id, decide)

    def snooze(self, ticket_id: str, until: float, *, actor: str, reason: str) -> Ticket:
        """Put a ticket off until `until` (unix seconds). Its ladder's clock goes on.

        Raises:
            BadInput: `until` is past or more than a year away.
        """
        ticket = self.find(ticket_id)
        now = self.clock.now()
        if not now < until <= now + YEAR_S:
            raise BadInput(f"{ticket.number} can be put off to a moment within a year, not before now.", field="until")

        def decide(t: Ticket, epoch: int) -> list[Change]:
            at = self.clock.now()
            return [moves.snooze(t, until=until, actor=actor, reason=reason, now=at, epoch=epoch)]

        return self._apply(ticket.id, decide)

    def merge(self, ticket_id: str, into: str, *, actor: str, reason: str) -> Ticket:
        """Say that a ticket is the same matter as another open one: it lives on there, with its text and links.

        Returns the ticket it was merged into.

        Raises:
            Refused: they are one ticket, one is closed, or another ticket waits for it.
        """
        gone, stays = self.find(ticket_id), self.find(into)
        if gone.id == stays.id:
            raise Refused(f"{gone.number} cannot be merged into itself.")
        if is_reserved(stays.type, self.team) or is_reserved(gone.type, self.team):
            raise Refused(f"{stays.number} and {gone.number}: what Shiftlead itself asks is not merged with anything.")
        if gone.parent is not None:
            raise Refused(f"{gone.number} is a part of another ticket, which waits for its answer. Merge that one.")
        if gone.id in stays.lineage:
            raise Refused(f"{stays.number} is a part of {gone.number}: merge it the other way round, or cancel it.")

        def decide(t: Ticket, epoch: int) -> list[Change]:
            _, [other] = self.store.read([gone.id])
            if other is None or not other.is_open:
                raise Refused(f"{gone.number} is closed already. Nothing was merged.")
            if not t.is_open:
                raise Refused(f"{t.number} is closed: reopen it first. Nothing was merged.")
            now = self.clock.now()
            entry = {
                "source": other.source, "reporter": other.reporter, "customer": other.customer,
                "at": other.created_at, "title": other.title, "number": other.number,
            }  # fmt: skip
            joined = moves.join(
                t, entry, links=other.links, marks=other.marks, text=other.body, actor=actor,
                reason=f"{other.number} was merged into it", now=now, epoch=epoch,
            )  # fmt: skip
            self._bounded(joined.after)
            parts = [
                moves.cancel(x, reason=f"{other.number} was merged into {t.number}", actor=actor, now=now, epoch=epoch)
                for x in self._family(other)[1:]
            ]
            return [joined, moves.merge(other, t, actor=actor, reason=reason, now=now, epoch=epoch), *parts]

        return self._apply(stays.id, decide)

    # -- end and begin again ------------------------------------------------------------------------------------

    def cancel(self, ticket_id: str, *, actor: str, reason: str) -> Ticket:
        """Cancel the ticket and everything it waits for, in one commit."""
        ticket = self.find(ticket_id)

        def decide(t: Ticket, epoch: int) -> list[Change]:
            now = self.clock.now()
            return [moves.cancel(x, reason=reason, actor=actor, now=now, epoch=epoch) for x in self._family(t)]

        return self._apply(ticket.id, decide)

    def reopen(self, ticket_id: str, *, actor: str, reason: str) -> Ticket:
        """A completed ticket was not done after all: a new life, ready again, with its whole story.

        Raises:
            IllegalMove: it is open.
        """

        def decide(t: Ticket, epoch: int) -> list[Change]:
            now = self.clock.now()
            due = now + self.team.target_s(t.priority)
            owners = self.store.client.hmget(self.keys.mark, t.marks) if t.marks else []
            marks = [m for m, owner in zip(t.marks, owners, strict=True) if owner in (None, t.id)]
            return [
                moves.reopen(
                    t, reason=reason, actor=actor, now=now, epoch=epoch, due=due, ladder_at=self._first_step(t, now),
                    marks=marks,
                )
            ]  # fmt: skip

        ticket = self.find(ticket_id)
        if self.ledger is not None and not self.store.client.exists(self.keys.ticket(ticket.id)):
            archived = self.ledger.ticket(self.team.team, ticket.id)
            if archived is not None:
                self.store.bring_back(self.store.epoch(), *archived, self.clock.now())
        return self._apply(ticket.id, decide)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _first_step(self, ticket: Ticket, now: float) -> float:
        """When the first step of its ladder is due, in a life that begins now."""
        facts = {"ticket": ticket.model_dump(mode="json"), "customer": {"id": ticket.customer}, "now": now}
        ladder = self.team.ladder_for(facts | {"steps": ticket.steps})
        if ladder is None:
            return now + self.settings.escalation_s
        after_s = ladder.ladder[0].after_s
        return ladder.hours.add(now, after_s, self.team.days_off) if ladder.hours else now + after_s

    def _approval(self, ticket_id: str) -> Ticket:
        """The approval of that number, or the one approval the ticket waits for."""
        ticket = self.find(ticket_id)
        if ticket.type == "approval":
            return ticket
        _, children = self.store.read(ticket.awaits)
        pending = [c for c in children if c is not None and c.type == "approval" and c.is_open]
        if not pending:
            raise Refused(
                f"{ticket.number} is {ticket.state} and waits for no approval. See: shiftlead show {ticket.number}"
            )
        return pending[0]

    def _family(self, ticket: Ticket) -> list[Ticket]:
        """The ticket, and every open one that works for it."""
        # What is withheld has not left: neither have the follow-ups that came with it.
        family, wave = [ticket], [*ticket.awaits, *(ticket.children if ticket.withheld else [])]
        seen = {ticket.id}
        while wave:
            _, children = self.store.read(wave)
            # A ticket it is only blocked on is somebody else's matter.
            live = [c for c in children if c is not None and c.is_open and c.id not in seen and ticket.id in c.lineage]
            seen |= {c.id for c in live}
            family += live
            wave = [x for c in live for x in c.awaits]
        return family

    def _known(self, name: str) -> None:
        everybody = [*self.team.agents, *self.team.people]
        if name in everybody:
            return
        hint = near(name, everybody)
        rest = f"Did you mean {hint!r}?" if hint else f"It has: {', '.join(sorted(everybody))}."
        raise NotFound(f"Team {self.team.team!r} has nobody called {name!r}. {rest}")

    def _bounded(self, ticket: Ticket) -> None:
        if len(ticket.model_dump_json()) > 8 * self.settings.max_ticket_bytes:
            raise BadInput(f"{ticket.number} would become too large to carry. Put material behind a link.")


def _checked(changes: dict[str, Any]) -> dict[str, Any]:
    """The changes as a ticket can hold them."""
    if not changes:
        raise BadInput(f"Say what should change. What can: {', '.join(EDITABLE)}.")
    for name in changes:
        if name not in EDITABLE:
            hint = near(name, EDITABLE)
            rest = f"Did you mean {hint!r}?" if hint else f"What can: {', '.join(EDITABLE)}."
            raise BadInput(f"{name!r} cannot be edited. {rest} Nothing was changed.", field=name)
    check_text(changes)
    own = {k: v for k, v in changes.items() if k in ("category", "summary")}
    for name, text in own.items():
        if not isinstance(text, str) or len(text) > 2_000:
            raise BadInput(f"{name} is a text of at most 2,000 characters. Nothing was changed.", field=name)
    try:
        draft = Draft.model_validate({k: v for k, v in changes.items() if k not in own})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"])
        raise BadInput(f"{field}: {first['msg']}. Nothing was changed.", field=field) from None
    values = {k: v for k, v in draft.model_dump(include=set(changes)).items() if k in changes} | own
    if values.get("priority", "normal") is None:
        raise BadInput("A priority is urgent, high, normal or low. Nothing was changed.", field="priority")
    return values
