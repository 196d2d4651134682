"""The manager, offline: reads what is asked, gives each part to a specialist, and writes one reply from what they say.

What it does next follows from the ticket alone: its text, and the answers that came back so far.

    nothing asked yet    each matter the text sounds like goes to who can; when it sounds like nothing, colleagues bid
    bids came back       the surest yes gets it; nobody: the first of its `hands_off_to` by default, and it says so
    parts came back      whoever failed or declined is followed by the next; then one reply, or a decision-maker
    they contradict      the clearly surer one stands; else a decision is asked for, once

It ends: a colleague is asked a question once, a question goes to three of them at most, and a decision-maker is asked
once. The bounds of queues/handing_on.py hold whatever else goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shiftlead.config.team import Team
from shiftlead.queues.knowledge_words import words

from .agent import AskRequester, HandOff, Packet, Part, Report, Resolved, Work
from .bidding import BID, Bid
from .cues import cut
from .manager_floor import MOST_PARTS, Floor, Matter, who
from .one_reply import Conflict, Piece, bare, conflicts, one_reply

__all__ = ["NOBODY", "answer"]

MOST_TRIES = 3  # colleagues that are asked the same question
CLEARLY = 0.2  # by so much surer one must be, so that its word stands against the other's
NOBODY = "nobody is surely right for it"
SIGNED = "Your team"


def answer(work: Work, team: Team | None) -> Report:
    """The report for one ticket."""
    floor = Floor(work, team)
    if floor.matters:
        return _after_parts(floor)
    if floor.bids:
        return _after_bids(floor)
    return _first(floor)


# -- giving out -------------------------------------------------------------------------------------------------------


def _first(floor: Floor) -> Report:
    topics = floor.topics()
    if topics:
        named = [(t, " or ".join(c.name for c in floor.can(t.capability))) for t in topics]
        parts = [_part(floor, t.text, needs=t.capability, why=t.why) for t in topics]
        return HandOff(parts=parts, why="; ".join(f"{names}: {t.why}" for t, names in named))
    if not words(floor.text) and not floor.asked_back:
        return AskRequester(question="Thank you for writing. What is it about, and what would you like us to do?")
    asked = list(floor.colleagues)[:MOST_PARTS]
    if len(asked) < 2:
        return _by_default(floor)
    bid = Part(type=BID, title="Is this yours?", question=floor.text, packet=_packet(floor))
    bids = [bid.model_copy(update={"to": name}) for name in asked]
    return HandOff(parts=bids, why=f"it surely sounds like nobody's, so {', '.join(asked)} are asked for a bid")


def _after_bids(floor: Floor) -> Report:
    takers = floor.takers()
    if not takers:
        return _by_default(floor)
    name, bid = takers[0]
    others = "".join(f"; {n} would take it, too ({b.confidence:.2f})" for n, b in takers[1:])
    why = f"{name} bids highest ({bid.confidence:.2f}): {bid.why}{others}"
    return HandOff(parts=[_part(floor, floor.text, to=name, why=why)], why=why)


def _by_default(floor: Floor) -> Report:
    if not floor.default:
        noted = f"Nobody of us can answer this yet; it is noted as {floor.work.ticket.number}."
        return Resolved(reply=_letter(floor, [], after=[noted]), summary="nobody can take it (offline brain)",
                        requires_escalation=True, reason=NOBODY)  # fmt: skip
    why = f"{NOBODY}, so {floor.default} gets it by default"
    return HandOff(parts=[_part(floor, floor.text, to=floor.default, why=why, last=True)], why=why)


def _part(floor: Floor, question: str, *, why: str, needs: str = "", to: str = "", last: bool = False) -> Part:
    """One matter for one colleague. `last`: nobody stands behind it, so it may not decline."""
    issue = needs or (floor.colleagues[to].can[0] if to in floor.colleagues else "")
    packet = _packet(floor, why=why, issue=issue, may_decline=not last, question=question)
    return Part(
        to=to or None, needs=[needs] if needs else [], title=cut(question, 80), question=question, packet=packet
    )  # fmt: skip


def _packet(floor: Floor, *, why: str = "", issue: str = "", may_decline: bool = False, question: str = "") -> Packet:
    """The part's text, an instruction where there are other parts, and what is known as structured state (SS-08)."""
    ticket = floor.work.ticket
    alone = question in ("", floor.text)
    state: dict[str, Any] = {
        "customer": ticket.customer, "issue_type": issue, "earlier": floor.earlier(), "may_decline": may_decline,
        "by": "offline brain",
    }  # fmt: skip
    return Packet(
        task_id=ticket.number, source=ticket.source, urgency=ticket.priority,
        state=state | ({"notice": why} if NOBODY in why else {}),
        impact_summary=f"{ticket.customer or 'A customer'} asks: {cut(floor.text, 200)}",
        hypotheses=[why] if why else [],
        evidence_snippets=[cut(question or floor.text, 1000)],
        next_questions=[] if alone else ["Answer this part only; your colleagues have the others."],
        from_agent=floor.work.agent,
    )  # fmt: skip


# -- putting together -------------------------------------------------------------------------------------------------


def _after_parts(floor: Floor) -> Report:
    open_ = [m for m in floor.matters if not m.settled]
    again = [(m, floor.next_for(m)) for m in open_ if len(m.tried) < MOST_TRIES]
    again = [(m, name) for m, name in again if name]
    if again:
        parts = [_again(floor, m, name) for m, name in again]
        return HandOff(parts=parts, why="; ".join(f"{m.problem}, so {name} is asked" for m, name in again))
    pieces = [_piece(m) for m in floor.matters if m.settled]
    if open_ and floor.decision is None:
        return _unsettled(floor, open_, pieces)
    conflict = next(iter(conflicts(pieces)), None)
    if conflict is None:
        return _resolved(floor, pieces, open_)
    surer = _surer(floor, conflict)
    if surer is not None:
        other = conflict.second if surer is conflict.first else conflict.first
        pieces = [p for p in pieces if p is not other]
        return _resolved(floor, pieces, open_, conflict, note=f"{surer.source} was clearly surer, so its word stands")
    if floor.decision is None and "decision" in floor.work.team_can:
        return _ask_decision(floor, conflict)
    return _resolved(floor, pieces, open_, conflict)


def _again(floor: Floor, matter: Matter, name: str) -> Part:
    last = len(matter.tried) + 1 >= MOST_TRIES or name == floor.default
    return _part(floor, matter.question, to=name, why=matter.problem, last=last)


def _unsettled(floor: Floor, open_: Sequence[Matter], pieces: Sequence[Piece]) -> Resolved:
    """Nobody is left to ask: a decision-maker sees it before the reply goes out."""
    return Resolved(
        reply=_letter(floor, pieces, after=[_sorry(m) for m in open_]),
        summary=f"{len(open_)} of {len(floor.matters)} part(s) could not be settled (offline brain)",
        evidence=_evidence(floor, None), requires_escalation=True,
        reason="; ".join(f"{cut(m.question, 200)}: {m.problem}" for m in open_),
    )  # fmt: skip


def _ask_decision(floor: Floor, conflict: Conflict) -> HandOff:
    why = f"{conflict.first.source} and {conflict.second.source} contradict each other, and neither is clearly surer"
    return HandOff(needs=["decision"], type="decision", title="Which of the two is right?", question=str(conflict),
                   packet=_packet(floor, why=why, issue="conflict"), why=why)  # fmt: skip


def _resolved(
    floor: Floor, pieces: Sequence[Piece], open_: Sequence[Matter], conflict: Conflict | None = None, note: str = ""
) -> Resolved:
    """The one reply. What was not settled, and what contradicts, is said in it."""
    after = [_sorry(m) for m in open_]
    if conflict is not None and floor.decision is not None:
        note = f"decided in {floor.decision.get('number')}"
        after.append(f"On one point we did not agree at first. This was decided: {_verdict(floor.decision)}")
    elif conflict is not None and not note:
        note = "two colleagues contradict each other, and nobody decides here"
        after.append(f"On one point our colleagues do not agree, and we tell you so: {conflict}")
    elif floor.decision is not None:
        after.append(f"A decision-maker has read it ({floor.decision.get('number')}).")
    default = _by_default_was(floor)
    before = f"We were not sure who should answer this, so {default} looked at it first." if default else ""
    people = ", ".join(dict.fromkeys(p.agent or p.number for p in pieces)) or "nobody"
    summary = f"one reply from {people}" + (f"; {NOBODY}, so {default} answered by default" if default else "")
    return Resolved(
        reply=_letter(floor, pieces, before=before, after=after),
        summary=f"{summary}{'; ' + note if note else ''} (offline brain)", evidence=_evidence(floor, conflict),
    )  # fmt: skip


def _letter(floor: Floor, pieces: Sequence[Piece], *, before: str = "", after: Sequence[str] = ()) -> str:
    name = floor.work.ticket.customer or floor.work.ticket.reporter
    hello = f"Hello{' ' + name if name and '@' not in name else ''},"
    return one_reply(pieces, hello=hello, before=before, after=after, sign=SIGNED)


def _evidence(floor: Floor, conflict: Conflict | None) -> list[str]:
    """Who said what, each part with its ticket, and what was tried before."""
    told = [f"bid of {name}: {_told(bid)}" for name, bid in floor.bids.items()]
    for matter in floor.matters:
        for tried in (Matter(matter.question, [a]) for a in matter.tried):
            text = bare(str(tried.last["reply"])) if tried.settled else tried.problem
            told.append(f"{who(tried.last)} ({tried.last.get('number')}): {cut(text, 600)}")
    return [*told, *([f"they contradict each other: {conflict}"] if conflict else [])]


def _surer(floor: Floor, conflict: Conflict) -> Piece | None:
    first, second = (floor.bids.get(p.agent) for p in (conflict.first, conflict.second))
    if first is None or second is None or abs(first.confidence - second.confidence) < CLEARLY:
        return None
    return conflict.first if first.confidence > second.confidence else conflict.second


def _by_default_was(floor: Floor) -> str:
    """Who answered by default; "" when somebody was right for it."""
    return "" if floor.takers() or floor.topics() else floor.default


def _piece(matter: Matter) -> Piece:
    about = " and ".join(matter.last.get("needs") or [who(matter.last)]).replace("_", " ").capitalize()
    number, agent = str(matter.last.get("number", "")), str(matter.last.get("agent", ""))
    return Piece(about, number, agent, str(matter.last["reply"]))


def _sorry(matter: Matter) -> str:
    return f"On “{cut(matter.question, 120)}” we have no answer yet; somebody who decides has it now."


def _verdict(decision: dict[str, Any]) -> str:
    text = str(decision.get("reply") or decision.get("summary") or decision.get("error") or "no answer")
    return re.split(r"(?<=[.!?])\s", cut(text, 400), maxsplit=1)[0]


def _told(bid: Bid | None) -> str:
    return bid.as_report().summary if bid is not None else "no clear word"
