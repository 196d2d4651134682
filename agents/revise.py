"""Revise a reply that a checker sent back (SD-08), without a model: what was found wrong is taken out or added.

    tone_appropriate    rude words go, shouting is said quietly, templates are left out, a greeting by name is put in
    policy_compliant    the sentence that promises too much goes
    no_hallucinations   the sentence without a source goes
    complete            the order is named, and what has no answer gets an honest one: we do not know it yet

The same rules look that the offline checker has, so what it would find again is set right, whoever sent it back. What
only a person saw, and the rules do not see, cannot be set right here: the reply comes back as it was, and after its
rounds a decision-maker has it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from .agent import Blocked, Report, Resolved, Work
from .checker import CHECKS, draft_of, look
from .checker_case import CUSTOMER_NAME, Case, case_of, sentences
from .checker_complete import orders_in
from .checker_tone import SHOUTED, UNKIND, manner_of
from .cues import cut
from .knowledge import Knowledge
from .one_reply import GREETING, bare

__all__ = ["is_revision", "revised"]

SIGNED = "Your support team"
SORRY = "We are sorry for the trouble, and thank you for telling us."
NOT_ANSWERED = "not answered: "


def is_revision(work: Work) -> bool:
    """Whether the ticket has a reply that was sent back. A step of a pipeline knows itself what that means."""
    ticket = work.ticket
    return bool(ticket.checks) and not ticket.in_review and ticket.flow is None and draft_of(work) is not None


def revised(work: Work, knowledge: Knowledge) -> Report:
    """The reply that was sent back, with what was wrong set right."""
    draft = draft_of(work) or Resolved()
    case = case_of(work, draft, knowledge)
    found = look(case)
    set_right = [f"{name}: {f.why}" for name in CHECKS for f in found[name].flaws]
    if not set_right and work.role == "decision-maker":
        return _word_of_a_person(work, draft)
    body = _without(bare(draft.reply), {f.sentence for looked in found.values() for f in looked.flaws if f.sentence})
    body = SHOUTED.sub(lambda match: _quietly(match[0]), body)
    again = look(replace(case, draft=draft.model_copy(update={"reply": body})), ("complete",))["complete"]
    missing = [f.why for f in again.flaws]
    unkind = any(f.why.startswith(UNKIND) for f in found["tone_appropriate"].flaws)
    parts = [SORRY if unkind else "", *_orders(case, body), body, *_open(missing, body)]
    text = "\n\n".join(part for part in parts if part)
    text = _shortened(text, manner_of(case.tier).words)
    reply = f"{_hello(case)}\n\n{text}\n\n{SIGNED}"
    named = ", ".join(work.ticket.checks)
    return draft.model_copy(
        update={
            "reply": reply,
            "summary": cut(f"revised after {named}: {draft.summary}", 400).removesuffix(" (offline brain)")
            + " (offline brain)",
            "evidence": [*draft.evidence[:50], *(cut(text, 480) for text in set_right[:20])],
        }
    )


def _word_of_a_person(work: Work, draft: Resolved) -> Report:
    """Somebody saw what no rule sees, and a program decides nothing about that: a person writes the reply."""
    said = [a for a in work.answers if a.get("type") == "reply" and str(a.get("agent")).startswith("person:")]
    if said:
        return draft.model_copy(
            update={"reply": str(said[-1].get("reply")), "summary": f"written by {said[-1]['agent']}"}
        )
    failed = ", ".join(work.ticket.checks)
    return Blocked(owner="a person", action=f"its reply failed {failed}, and no rule sees why: write the reply")


def _without(text: str, wrong: Collection[str]) -> str:
    """The text without these sentences. A paragraph that held nothing else goes with them."""
    kept = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = []
        for line in paragraph.splitlines():
            if line.strip() in wrong:
                continue
            for sentence in sentences(line):
                if sentence in wrong:
                    line = line.replace(sentence, "")
            if any(c.isalnum() for c in line):
                lines.append(re.sub(r"[ \t]{2,}", " ", line).strip())
        kept += ["\n".join(lines)] if lines else []
    return "\n\n".join(kept)


def _quietly(shouted: str) -> str:
    return "!" if shouted.startswith("!") else shouted.capitalize()


def _hello(case: Case) -> str:
    """The draft's own greeting where it is fit for the customer, else one by name, else a plain one."""
    own = GREETING.match(case.draft.reply.strip() + "\n")
    flaws = [f.sentence for f in look(case, ("tone_appropriate",))["tone_appropriate"].flaws]
    name = _first_name(case)
    if own is not None and own[0].strip() not in flaws and not (manner_of(case.tier).by_name and name):
        return own[0].strip()
    return f"Hello {name}," if name else "Hello,"


def _first_name(case: Case) -> str:
    told = re.search(rf"{CUSTOMER_NAME}(\w+)", case.sources.get("tool", ""), re.M)
    if told:
        return told[1].capitalize()
    customer = re.search(r"^(\w*?)(?:_|$)", next(iter(sorted(case.names)), ""))
    return customer[1].capitalize() if customer else ""


def _orders(case: Case, body: str) -> list[str]:
    """A line about each order of the request that the text does not name."""
    unnamed = [order for order in orders_in(case) if order not in body.upper()]
    return [f"This is about order {', '.join(unnamed)}."] if unnamed else []


def _open(missing: Iterable[str], body: str) -> list[str]:
    """An honest word on what has no answer."""
    asked = [why.removeprefix(NOT_ANSWERED) for why in missing if why.startswith(NOT_ANSWERED)]
    if not body.strip() or any(why == "it says nothing" for why in missing):
        return ["We have your request. We do not have a confirmed answer to it yet, and we do not want to guess."]
    if not asked:
        return []
    listed = "\n".join(f"- {cut(question, 200)}" for question in asked)
    return [f"We do not have a confirmed answer to this yet:\n{listed}"]


def _shortened(text: str, most: int) -> str:
    """At most so many words, cut at a paragraph's or sentence's end."""
    if len(text.split()) <= most:
        return text
    kept: list[str] = []
    left = most
    for paragraph in text.split("\n\n"):
        said: list[str] = []
        for sentence in sentences(paragraph):
            left -= len(sentence.split())
            if left < 0:
                return "\n\n".join([*kept, *([" ".join(said)] if said else [])])
            said.append(sentence)
        kept.append(paragraph)
    return "\n\n".join(kept)
