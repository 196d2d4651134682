"""Engineering, offline: order what a report says into suspicions, evidence, steps and gaps. It runs no code.

A change in production is never made on its own say: it asks first, and goes on only after a yes.
"""

from __future__ import annotations

import re

from .agent import AskHuman, Report, Resolved, Work
from .causes import causes
from .cues import Answer, answers_of, cut, evidence, said
from .knowledge import Knowledge

__all__ = ["answer"]

VERBS = r"deploy|redeploy|roll ?back|migrate|drop|purge|delete|truncate|restart|hot-?fix|fail ?over"
CHANGE_TYPES = {"deployment", "rollback", "migration", "production_change"}
CHANGE = re.compile(
    rf"^[ \t]{{0,8}}(?:please\s+)?(?:{VERBS})\b.{{0,200}}\b(?:prod|production|live)\b|"
    rf"\b(?:{VERBS})\b[^.\n]{{0,60}}\b(?:to|in|from|on)\s+(?:the\s+)?(?:prod|production|live)\b",
    re.I | re.M,
)
IRREVERSIBLE = re.compile(r"\b(?:drop|purge|delete|truncate|wipe)\b", re.I)
WAY_BACK = re.compile(r"\b(?:roll ?back|revert|backup|restore)\b", re.I)
UNSURE = "This was written by rules from the text of the report; no code was run."


def answer(work: Work, knowledge: Knowledge) -> Report:
    """The report for one ticket."""
    kinds = {work.ticket.type, *work.ticket.needs}
    if work.ticket.type in CHANGE_TYPES or CHANGE.search(work.text):
        return _production_change(work)
    if "code_review" in kinds:
        return _checklist(work, "Review checklist", REVIEW)
    if kinds & {"monitoring", "post_deployment", "post_deployment_monitoring"}:
        return _checklist(work, "Watch list", WATCH)
    return _bug(work, knowledge)


def _production_change(work: Work) -> Report:
    answers = [a for a in answers_of(work) if a.decision or a.failed]
    if not answers:
        sentences = re.split(r"\n+|(?<=[.!?])\s+", work.text)
        rollback = next((x for x in sentences if WAY_BACK.search(x)), "")
        return AskHuman(
            action="production_change",
            arguments={
                "change": cut(said(work), 500),
                "target": "production",
                "irreversible": bool(IRREVERSIBLE.search(work.text)),
                "rollback": cut(rollback, 300),
            },
            why=f"A change in production needs a yes before it starts. Asked for: {cut(said(work), 400)}",
        )
    last = answers[-1]
    if last.decision == "approve":
        reply = (
            f"Approved in {last.number}: {cut(last.text, 300).rstrip('.')}.\n\nPlan:\n1. announce the window\n2. "
            f"take the backup or note "
            "the version to go back to\n3. make the change\n4. check the signals for 30 minutes, go "
            "back if errors rise"
        )
    else:
        reply = f"Not done: {last.number} says no. {cut(last.text, 600)}"
    return Resolved(
        reply=reply, summary=f"production change: {last.decision or 'refused'} (offline brain)", evidence=[_proof(last)]
    )


def _bug(work: Work, knowledge: Knowledge) -> Resolved:
    text = _story(work)
    ranked = causes(text)
    proof = evidence(text) or [cut(text, 300)]
    steps, gaps = _reproduction(text), _gaps(text)
    hits = [hit for hit in knowledge.search(text) if hit.kind != "ticket"]
    lines = ["Likely causes, the likeliest first:"]
    lines += [f"{n}. {c.hypothesis} (seen: {', '.join(c.seen)})" for n, c in enumerate(ranked[:4], 1)] or [
        "none: the text has no cue that points at one"
    ]
    lines += ["", "Evidence in the report:", *(f"- {line}" for line in proof)]
    lines += ["", "To reproduce, as far as the report says:", *(f"- {s}" for s in steps or ["it does not say how"])]
    lines += ["", "Next:", *(f"- {c.check}" for c in ranked[:3])]
    lines += [f"- ask the reporter for {gap}" for gap in gaps[:3]]
    if hits and hits[0].confidence >= 0.65:
        lines.append(f"- see {hits[0].source}")
    lines += ["", f"Not known: {', '.join(gaps) or 'nothing obvious is missing from the report'}. {UNSURE}"]
    lines += [f"\nFrom {a.number}: {cut(a.text, 500)}" for a in answers_of(work)]
    likely = ranked[0].plain if ranked else "its cause is not clear from the report"
    missing = f" It would help to know {gaps[0]}." if gaps else ""
    return Resolved(
        reply="\n".join(lines),
        summary=f"It looks like a defect on our side: {likely}. This is a first reading of the "
        f"report, not yet proven."
        f"{missing} (offline brain)",
        evidence=proof,
    )


def _story(work: Work) -> str:
    """The text, and when handed on, what the packet and the first ticket say."""
    parts = [work.text]
    if work.packet:
        parts += [s for s in work.packet.evidence_snippets if s not in work.text]
    parts += [f"{a.title}\n{a.body}" for a in work.ancestors[-1:] if a.body and a.body not in work.text]
    return "\n".join(parts)


def _reproduction(text: str) -> list[str]:
    cue = re.compile(
        r"^\s*(?:\d{1,3}[.)]|[*-])\s+\S|\bsteps?\b|\breproduc\w+|^\s*\$ |\bhadoop fs\b|\bmvn \w|\b(?:when|"
        r"after|while|if) (?:i|we|you|the|an?)\b",
        re.I,
    )
    pieces = re.split(r"\n+|(?<=[.!?])\s+(?=[A-Z])", text)
    return list(dict.fromkeys(cut(p, 250) for p in pieces if cue.search(p)))[:5]


def _gaps(text: str) -> list[str]:
    asked = (
        (r"\b\d+\.\d+(?:\.\d+)?\b|branch-\d|trunk|JDK ?\d", "the version it happens in"),
        (r"\bat \w{1,80}(?:\.\w{1,80}){2,12}|Traceback|stack ?trace|Caused by", "the stack trace"),
        (r"\bsteps?\b|reproduc\w+|\bwhen (?:i|we|you)\b|hadoop fs|mvn ", "how to reproduce it"),
        (r"always|sometimes|every time|randomly|intermittent|once|often", "how often it happens"),
    )
    return [what for pattern, what in asked if not re.search(pattern, text, re.I)]


def _checklist(work: Work, title: str, items: tuple[tuple[str, str], ...]) -> Resolved:
    text = _story(work)
    hit = [line for pattern, line in items if pattern and re.search(pattern, text, re.I)]
    always = [line for pattern, line in items if not pattern]
    body = "\n".join(f"- {line}" for line in [*hit, *always])
    return Resolved(
        reply=f"{title} for: {cut(work.ticket.title or text, 200)}\n{body}\n\n{UNSURE} It approves nothing.",
        summary=f"{title.lower()}, {len(hit)} point(s) from the text, {len(always)} that always hold (offline brain)",
        evidence=evidence(text),
    )


REVIEW = (
    (
        r"\bsql\b|query|migration|schema",
        "queries: bound parameters, an index for the new access, a way down for the migration",
    ),
    (r"auth|login|token|password|secret", "identity: who may call it, no secret in code or log"),
    (r"thread|async|lock|concurren|parallel", "concurrency: what is shared, what happens when two run at once"),
    (r"timeout|retry|http|api\b|client", "calls outside: time limit, retries that do no harm twice"),
    (r"parse|json|xml|input|upload", "input: refuse what is malformed, bound its size"),
    (r"payment|refund|amount|price", "money: rounding, limits, a record of who did what"),
    ("", "a test that fails without the change"),
    ("", "errors say what happened and what to do"),
    ("", "nothing in the diff that the title does not announce"),
)
WATCH = (
    (r"latenc|slow|performance", "latency: p50 and p99 against the hour before"),
    (r"database|sql|migration", "database: locks, slow queries, replication lag"),
    (r"memory|leak", "memory of each process over an hour"),
    (r"payment|checkout|refund", "payments: success rate and value per minute"),
    ("", "error rate against the hour before the deployment; go back if it doubles"),
    ("", "age of the oldest waiting item in each queue"),
    ("", "new kinds of log lines since the deployment"),
)  # fmt: skip


def _proof(item: Answer) -> str:
    return f"{item.number}{' (' + item.agent + ')' if item.agent else ''}: {item.decision} {cut(item.text, 300)}"
