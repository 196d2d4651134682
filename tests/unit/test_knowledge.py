"""The knowledge search finds the right page, and knows when it does not (FO-15, TP-03)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shiftlead.agents.knowledge import Knowledge, words
from shiftlead.agents.offline_support import CONFIDENT

PAGES = {
    "cards.md": """# Cards
## Card delivery and tracking
A new card arrives within 5 to 7 working days. A card in the post cannot be tracked.
## Activate a card
Open the app, choose the card and press Activate.
## Lost or stolen card
Freeze the card in the app at once, then order a replacement.
## PIN blocked or changed
Unblock or change the PIN at any cash machine under PIN services.
""",
    "money.md": """# Money
## Exchange rate
We use the interbank rate of the moment and add nothing on weekdays.
## Top-up failed or reverted
A top-up is reverted when the bank that sent it says no; the money is back in two days.
## Cash machine withdrawal declined
A withdrawal is declined when the daily limit is reached.
```
## not a heading
```
""",
    "account.md": """# Account
## Verify your identity
Send a photo of your passport. The law asks us to know our customers.
## Passcode forgotten
Press Forgot passcode on the first screen.
## Close the account
Empty the account, then choose Close account in the settings.
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("question", "section"),
    [
        ("Can I track my card while it is in the process of delivery?", "Card delivery and tracking"),
        ("How do I activate my card?", "Activate a card"),
        ("I need to report a stolen card", "Lost or stolen card"),
        ("Help me unblock my PIN", "PIN blocked or changed"),
        ("Can I change my PIN at any cash machines?", "PIN blocked or changed"),
        ("What exchange rates do you use?", "Exchange rate"),
        ("Why was my top-up reverted?", "Top-up failed or reverted"),
        ("My cash withdrawal was declined", "Cash machine withdrawal declined"),
        ("How do I verify my identity?", "Verify your identity"),
        ("I forgot my passcode. Now what?", "Passcode forgotten"),
    ],
)
def test_a_question_of_ours_finds_its_section(folder: Path, question: str, section: str) -> None:
    best = Knowledge(folder).search(question)[0]
    assert best.section.endswith(section), str(best)
    assert best.confidence >= CONFIDENT, str(best)


@pytest.mark.parametrize(
    "question",
    ["Which wine goes with grilled salmon and lemon?", "Please translate a poem about the sea and a card game"],
)
def test_a_foreign_question_gets_low_confidence(folder: Path, question: str) -> None:
    assert all(hit.confidence < 0.3 for hit in Knowledge(folder).search(question))


def test_one_everyday_word_is_not_an_answer(folder: Path) -> None:
    hits = Knowledge(folder).search("card")
    assert hits and hits[0].confidence < Knowledge(folder).search("lost or stolen card")[0].confidence


def test_a_hit_says_what_matched_and_what_did_not(folder: Path) -> None:
    hit = Knowledge(folder).search("stolen card in Peru")[0]
    assert {"stolen", "card"} <= set(hit.matched)
    assert hit.missing == ("peru",)
    assert "matched" in str(hit) and "cards.md / Cards > Lost or stolen card" in str(hit)


def test_a_heading_in_a_code_fence_is_text(folder: Path) -> None:
    assert all("not a heading" not in h.section for h in Knowledge(folder).search("not a heading withdrawal", 9))


def test_a_changed_page_is_read_again(folder: Path) -> None:
    knowledge = Knowledge(folder)
    assert knowledge.search("umbrella") == []
    (folder / "cards.md").write_text("# Umbrella\nWe sell no umbrella.\n")
    os.utime(folder / "cards.md", ns=(1, 1))
    assert knowledge.search("umbrella")[0].page == "cards.md"


def test_no_folder_and_no_words_find_nothing(tmp_path: Path) -> None:
    assert Knowledge(tmp_path / "none").search("card") == []
    assert words("How do I ...?") == []
