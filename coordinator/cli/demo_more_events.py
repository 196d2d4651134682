"""What the demonstrations of the other teams show, each found in the ledger's lines alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shiftlead.queues.ticket import Line

__all__ = ["MORE"]

Stories = Mapping[str, Sequence[Line]]
Found = Iterator[tuple[str, str]]


def _acted(stories: Stories) -> Found:
    for story in stories.values():
        for line, effect in _effects(story):
            if not effect.get("why", "").startswith("it had been done before"):
                yield line.number, f"{line.actor.partition(':')[2]} did {effect['tool']} on {effect['target']}, once"


def _approved(stories: Stories) -> Found:
    for story in stories.values():
        for asked in (x for x in story if x.move == "ask" and x.detail.get("action")):
            action = asked.detail["action"]
            done = [x.seq for x, effect in _effects(story) if effect["tool"] == action]
            after = [a for x in story if x.seq > asked.seq for a in _answers(x)]
            yes = next((a for a in after if a.get("decision") == "approve"), None)
            if yes and done and min(done) > asked.seq:
                who = f"{yes.get('agent')} said yes ({yes.get('number')})"
                yield asked.number, f"{action}: {who}, then it was done"


def _confirmed(stories: Stories) -> Found:
    for story in stories.values():
        for asked in (x for x in story if x.move == "ask" and x.detail.get("action")):
            for line in (x for x in story if x.seq > asked.seq):
                for answer in _answers(line):
                    if answer.get("decision") == "approve" and answer.get("aided"):
                        yield asked.number, f"{asked.detail['action']}: a person said yes ({answer.get('number')})"


def _checked(stories: Stories) -> Found:
    for story in stories.values():
        for sent in (x for x in story if x.move == "submit"):
            passed = next((x for x in story if x.seq > sent.seq and x.move in ("resolve", "withhold")), None)
            if passed and passed.actor != sent.actor:
                yield sent.number, f"{_name(sent)} wrote it, {_name(passed)} looked at it, then it left"


def _revised(stories: Stories) -> Found:
    for story in stories.values():
        for back in (x for x in story if x.move == "send_back"):
            if story[-1].after == "resolved":
                failed = ", ".join(back.detail.get("failed_checks") or [])
                yield back.number, f"{_name(back)} sent it back ({failed}); revised, looked at again, resolved"


def _piped(stories: Stories) -> Found:
    for story in stories.values():
        steps = [x.detail.get("step", "") for x in story if x.move == "advance"]
        if len(steps) >= 2 and story[-1].after == "resolved":
            yield story[-1].number, " >> ".join([*steps, "resolved"])


def _notified(stories: Stories) -> Found:
    for story in stories.values():
        for line in story:
            result = line.detail.get("result") if line.move == "advance" else None
            if isinstance(result, dict) and "notification_sent" in result:
                sent = ", ".join(result.get("channels") or [])
                needs = ", ".join(line.detail.get("needs") or [])
                told = f"told people over {sent}" if sent else "said that no channel has an address here"
                yield line.number, f"{_name(line)} {told}, and gave it to {needs}"


def _consolidated(stories: Stories) -> Found:
    for story in stories.values():
        for asked in (x for x in story if x.move == "hand_off" and len(_parts(x)) > 1):
            end = next((x for x in story if x.seq > asked.seq and x.move == "resolve" and x.actor == asked.actor), None)
            if end is not None:
                parts = ", ".join(asked.detail["children"])
                yield asked.number, f"{_name(asked)} asked {parts} and wrote one reply"


def _parts(line: Line) -> Sequence[dict[str, Any]]:
    """What was asked of several; a round of bids asks nothing yet."""
    return [part for part in line.detail.get("parts") or [] if part.get("type") != "bid"]


def _nobodys(stories: Stories) -> Found:
    for story in stories.values():
        for line in story:
            if line.move == "triage" and line.after == "cancelled":
                yield line.number, line.reason[:120]


def _promised(stories: Stories) -> Found:
    for story in stories.values():
        first = story[0]
        if first.move == "accept" and first.detail.get("type") in ("promise", "watch"):
            yield first.number, f"{first.detail['type']}: {str(first.detail.get('title', ''))[:80]}"


def _joined(stories: Stories) -> Found:
    for story in stories.values():
        by = {str((x.detail.get("joined") or {}).get("source")) for x in story if x.move == "join"}
        if by:
            yield story[0].number, f"{story[0].detail.get('source')} and {', '.join(sorted(by))} told of one matter"


def _proposed(stories: Stories) -> Found:
    for story in stories.values():
        for line, effect in _effects(story):
            if effect["tool"] == "open_pull_request":
                yield line.number, f"{effect['target']}, with what was run before and after"


MORE: dict[str, tuple[str, Callable[[Stories], Found]]] = {
    "acted": ("an agent acted with a tool, and the effect was done once", _acted),
    "approved": ("an action waited for a yes, and was done only after it", _approved),
    "confirmed": ("a person confirmed what is to be done before it began", _confirmed),
    "checked": ("a reply was looked at by somebody else before it left", _checked),
    "revised": ("a reply failed its check, was revised, and checked again", _revised),
    "piped": ("went through its flow, step by step", _piped),
    "notified": ("brought to people, saying which channels of its urgency were told", _notified),
    "consolidated": ("several specialists answered, and one reply was written", _consolidated),
    "nobodys_work": ("nobody's work: cancelled with the reason, and nobody was answered", _nobodys),
    "joined": ("channels told of the same, and it became one task", _joined),
    "proposed": ("a change was proposed with evidence, on a branch of its own", _proposed),
    "followed_up": ("something stays to be done, as a ticket of its own with a timer", _promised),
}


def _effects(story: Sequence[Line]) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Tools that did something, with the line that says so."""
    for line in story:
        effect = line.detail.get("effect")
        if isinstance(effect, dict) and effect.get("outcome") == "done" and effect.get("target"):
            yield line, effect


def _answers(line: Line) -> Sequence[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = line.detail.get("answers") or [] if line.move == "resume" else []
    return found


def _name(line: Line) -> str:
    return line.actor.partition(":")[2]
