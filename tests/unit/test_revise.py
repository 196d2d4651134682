"""What a checker sent back is set right, and passes when it is looked at again (SD-08)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiftlead.agents.agent import Blocked, Report, Resolved, Work
from shiftlead.agents.knowledge import Knowledge
from shiftlead.agents.offline import OfflineBrain
from shiftlead.agents.prompt import Parts, build_prompt
from tests.unit.test_checker import BAD, GOLD, NOW, ORDER, PAGES, some_work, verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    (made / "shop.md").write_text(PAGES)
    return made


def sent_back(work: Work, folder: Path, *, role: str = "support", checks: list[str] | None = None) -> Work:
    """The same ticket in its author's hands, after the checker has said no."""
    found = verdict(work, Knowledge(folder))
    review = work.ticket.review
    assert review is not None
    closed = review.model_copy(update={"open": False, "verdict": {"notes": found.notes, "by": "quinn"}})
    ticket = work.ticket.changed(
        review=closed, checks=checks or found.failed_checks, round=1, needs=["billing"], step=""
    )
    return work.model_copy(update={"ticket": ticket, "agent": "ann", "role": role})


def revised(work: Work, folder: Path) -> Report:
    return OfflineBrain(work.role, folder).handle(work)


def looked_at_again(work: Work, reply: Report, folder: Path) -> list[str]:
    assert isinstance(reply, Resolved)
    review = work.ticket.review
    assert review is not None
    open_ = review.model_copy(update={"open": True})
    again = work.model_copy(update={"ticket": work.ticket.changed(result=reply.model_dump(), review=open_)})
    return verdict(again, Knowledge(folder)).failed_checks


@pytest.mark.parametrize(("check", "reply", "more"), BAD, ids=[f"{b[0][:4]} {b[1][:40]}" for b in BAD])
def test_a_revised_reply_passes_the_same_checks(folder: Path, check: str, reply: str, more: dict[str, Any]) -> None:
    """SD-08: one round is enough for what rules can see, and the number of the summary says who wrote it."""
    work = sent_back(some_work(reply, **more), folder)
    new = revised(work, folder)
    assert isinstance(new, Resolved)
    assert looked_at_again(work, new, folder) == [], new.reply
    assert "revised after" in new.summary and "(offline brain)" in new.summary and check in " ".join(new.evidence)


def test_only_what_was_wrong_is_taken_out(folder: Path) -> None:
    """SD-08: the rest of the author's words stays."""
    reply = "Hello,\n\nOrder #W4689314 was delivered. You get $13.37 more. The refund takes 5 to 7 business days."
    new = revised(sent_back(some_work(reply, tools=(ORDER,)), folder), folder)
    assert isinstance(new, Resolved)
    assert "13.37" not in new.reply and "was delivered. The refund takes 5 to 7 business days." in new.reply


def test_what_has_no_answer_is_said_not_to_have_one(folder: Path) -> None:
    """SD-08: honest, never a guess."""
    request = "When does my refund for order #W4689314 come? Can I change my delivery address?"
    new = revised(sent_back(some_work("It takes 5 to 7 business days.", request), folder), folder)
    assert isinstance(new, Resolved)
    assert "order W4689314" in new.reply and "It takes 5 to 7 business days." in new.reply
    assert "do not have a confirmed answer to this yet:" in new.reply
    assert "- Can I change my delivery address?" in new.reply


def test_a_gold_customer_is_greeted_by_name_afterwards(folder: Path) -> None:
    """SD-07: tier-aware."""
    new = revised(sent_back(some_work("The refund of order #W4689314 waits.", tools=(GOLD,)), folder), folder)
    assert isinstance(new, Resolved) and new.reply.startswith("Hello Sofia,\n\n")


def test_what_only_a_person_saw_goes_to_a_person(folder: Path) -> None:
    """I10: a program that decides does not wave through what no rule sees."""
    fine = some_work("The refund of order #W4689314 takes 5 to 7 business days.")
    work = sent_back(fine, folder, role="decision-maker", checks=["off_brand"])
    asked = revised(work, folder)
    assert isinstance(asked, Blocked) and asked.owner == "a person" and "off_brand" in asked.action
    said = {"type": "reply", "agent": "person:mara", "state": "resolved", "reply": "It is on its way, Sofia."}
    after = revised(work.model_copy(update={"answers": [said]}), folder)
    assert isinstance(after, Resolved) and after.reply == "It is on its way, Sofia."


def test_a_model_is_shown_what_failed_why_and_the_reply(folder: Path) -> None:
    """SD-08: as material, with the facts of what was done."""
    done = {
        "type": "effect",
        "tool": "process_refund",
        "target": "#W4689314",
        "status": "done",
        "result": {"amount": 5},
    }
    work = sent_back(some_work("Your refund for order #W4689314 is $13.37.", answers=(done,)), folder)
    shown = build_prompt(work, Parts("soul", "role"), kinds=("resolved",), context_tokens=16_000, now=NOW).user
    assert "checks that failed: no_hallucinations" in shown and "13.37 is in no source" in shown
    assert "Your refund for order #W4689314 is $13.37." in shown and "process_refund" in shown
