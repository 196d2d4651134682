"""The knowledge index on every database we support (TP-03, FO-15, EN-15)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from shiftlead.agents.knowledge import Hit, Knowledge
from shiftlead.agents.knowledge_pages import find_files
from shiftlead.config.settings import Settings
from shiftlead.config.team import load_team
from shiftlead.queues import knowledge_index, knowledge_tables
from shiftlead.queues.erasing import ERASE, tombstone
from shiftlead.queues.knowledge_index import KnowledgeIndex
from shiftlead.queues.moving import line_of
from shiftlead.queues.outcomes import Feedback, record_outcome
from shiftlead.queues.report import Resolved
from shiftlead.queues.store import Change
from shiftlead.queues.ticket import Ticket
from tests.conformance.test_effects import SERVERS, a_database
from tests.telling import Told

TEAM = """
team: {name}
agents:
  ann: {{role: support, can: [help]}}
  bob: {{role: support, can: [fees], knowledge: [fees, knowledge/cards.md]}}
routes: [{{needs: [help]}}]
"""
CARDS = """# Cards
## Lost or stolen card
Freeze the card in the app at once.
## Card delivery
A new card arrives within 5 to 7 working days.
"""
FAQ = """
- question:
  - Do you deliver to islands?
  - Is there a delivery overseas?
  answer: To every island with a post office, at no extra cost.
"""


class Shop:
    """A team with pages, a ledger and an index."""

    def __init__(self, folder: Path, url: str) -> None:
        self.settings = Settings(home=folder / "data", database_url=url, acknowledge="redis")
        self.folder = folder / "shop"
        (self.folder / "knowledge").mkdir(parents=True)
        (self.folder / "fees").mkdir()
        (self.folder / "team.yaml").write_text(TEAM.format(name="shop"))
        (self.folder / "knowledge" / "cards.md").write_text(CARDS)
        (self.folder / "knowledge" / "faq.yaml").write_text(FAQ)
        (self.folder / "fees" / "fees.md").write_text("# Fees\n## Wire fee\nA wire costs 3.\n")
        client = fakeredis.FakeRedis(decode_responses=True, server=fakeredis.FakeServer(version=(7, 0)))
        self.told = Told(client, load_team(self.folder / "team.yaml", self.settings), self.settings)
        self.index = self.another_index()
        self.knowledge = Knowledge([self.folder / "knowledge"], self.index)

    def another_index(self, team: str = "shop") -> KnowledgeIndex:
        return KnowledgeIndex(self.told.ledger, team, self.folder, self.settings.data)

    def answered(self, title: str, reply: str, **fields: Any) -> Ticket:
        """A ticket of a customer that ann answered."""
        ticket = self.told.begun(self.told.comes(title, **({"customer": "mia garcia"} | fields)), "ann")
        return self.told.says(ticket, Resolved(reply=reply, summary="told"))

    def search(self, text: str, limit: int = 5) -> list[Hit]:
        self.told.recorded()
        self.index.refresh(whole=True)
        return self.knowledge.search(text, limit)

    def close(self) -> None:
        self.index.close()
        self.told.ledger.close()


@pytest.fixture(params=SERVERS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with a_database(request.param, tmp_path) as url:
        made = Shop(tmp_path, url)
        yield made
        made.close()


def test_pages_questions_and_tickets_are_found_with_where_they_are_from(shop: Shop) -> None:
    """TP-03: KB articles, past tickets and FAQs."""
    ticket = shop.answered("Umbrella broken by wind", "We send a new umbrella; keep the broken one.")
    assert shop.search("my card was stolen")[0].source == "cards.md / Cards > Lost or stolen card"
    faq = shop.search("is there a delivery overseas")[0]
    assert (faq.kind, faq.source) == ("faq", "faq.yaml / Do you deliver to islands?")
    past = shop.search("the wind broke my umbrella")[0]
    assert (past.kind, past.source, past.section) == ("ticket", ticket.number, "Umbrella broken by wind")
    assert past.text == "We send a new umbrella; keep the broken one."
    assert all(0 < hit.confidence < 1 and hit.covers > 0.3 for hit in (faq, past))
    status = shop.index.status()
    assert (status.pages, status.faqs, status.sections, status.tickets, status.behind) == (1, 1, 3, 1, 0)


def test_with_and_without_an_index_the_same_page_is_the_best(shop: Shop) -> None:
    """The databases name candidates, we rank them: one order everywhere."""
    alone = Knowledge([shop.folder / "knowledge"])
    for question in ("lost card", "when does my new card arrive", "deliver to an island", "freeze", "working days"):
        with_index = shop.search(question)
        assert [(h.source, h.score, h.covers) for h in alone.search(question, 5)] == [
            (h.source, h.score, h.covers) for h in with_index
        ]


def test_a_page_that_changes_is_indexed_anew_and_one_that_goes_is_forgotten(shop: Shop) -> None:
    assert shop.search("tortoise") == []
    page = shop.folder / "knowledge" / "pets.md"
    page.write_text("# Pets\nA tortoise needs no card.")
    assert shop.search("tortoise")[0].page == "pets.md"
    page.write_text("# Pets\nA parrot needs no card.")
    assert shop.search("tortoise") == [] and shop.search("parrot")[0].page == "pets.md"
    page.unlink()
    assert shop.search("parrot") == []
    assert shop.index.status().pages == 1


def test_an_unchanged_page_is_not_indexed_again(shop: Shop) -> None:
    """By its content, so that a second process, or another machine, has nothing to do."""
    shop.search("card")
    (shop.folder / "knowledge" / "cards.md").touch()
    cut: list[str] = []
    marks = {f"knowledge/{file.page}": file.mark for file in find_files([shop.folder / "knowledge"])}
    assert shop.another_index().keep_files(marks, lambda source: cut.append(source) or []) == 0 and cut == []


def test_an_agent_finds_only_what_its_team_file_gives_it(shop: Shop) -> None:
    """FO-15: knowledge of an agent's own; and never another team's."""
    shop.answered("Umbrella broken by wind", "We send a new umbrella.")
    shop.search("card")
    bob = Knowledge([shop.folder / "fees", shop.folder / "knowledge" / "cards.md"], shop.another_index())
    assert bob.search("wire fee")[0].page == "fees.md" and bob.search("stolen card")[0].page == "cards.md"
    assert shop.search("wire fee") == [] and all(h.kind == "ticket" for h in bob.search("deliver to an island"))
    other = shop.another_index("rival")
    assert other.refresh(whole=True) == 0
    assert other.find(["umbrella", "card"], ["knowledge/cards.md"]) == (
        knowledge_index.Found(),
        knowledge_index.Found(),
    )
    other.close()


def test_a_ticket_that_is_reopened_teaches_nothing_until_it_is_answered_again(shop: Shop) -> None:
    ticket = shop.answered("Umbrella broken by wind", "Buy another umbrella.")
    assert shop.search("umbrella wind")[0].text == "Buy another umbrella."
    shop.told.desk.reopen(ticket.id, actor="person:lead", reason="that was rude")
    assert shop.search("umbrella wind") == []
    shop.told.says(shop.told.begun(ticket, "ann"), Resolved(reply="We send a new umbrella.", summary="told"))
    assert [h.text for h in shop.search("umbrella wind")] == ["We send a new umbrella."]


def test_an_answer_that_was_not_accepted_teaches_nothing(shop: Shop) -> None:
    """What became of it comes later than the answer."""
    ticket = shop.answered("Umbrella broken by wind", "Buy another umbrella.")
    assert shop.search("umbrella wind") != []
    shop.told.recorded()
    record_outcome(shop.told.desk, ticket.trace_id, Feedback(accepted=False), actor="person:ann")
    assert shop.search("umbrella wind") == []
    record_outcome(shop.told.desk, ticket.trace_id, Feedback(accepted=True), actor="person:ann")
    assert shop.search("umbrella wind") != []


def test_an_erased_ticket_leaves_the_index_and_its_files(shop: Shop) -> None:
    """EN-15: byte for byte; what was erased does not come back with the next look at the ledger."""
    for n in range(8):
        shop.answered(f"Zeppelin {n} lost its ballast", f"Fill the zeppelin with sand, says zeppelinist {n}.")
    kept = shop.answered("Umbrella broken by wind", "We send a new umbrella.")
    assert shop.search("zeppelin ballast")[0].kind == "ticket"
    for number in [t.number for t in shop.told.ledger.tickets("shop", limit=100) if t.id != kept.id]:
        changed = shop.told.ledger.ticket("shop", number)
        assert changed is not None
        _erased(shop, changed[0])
    shop.index.forget([t.id for t in shop.told.ledger.tickets("shop", limit=100) if t.id != kept.id])
    assert shop.search("zeppelin ballast sand") == [] and shop.search("umbrella")[0].source == kept.number
    assert shop.index.status().tickets == 1
    left = [p.name for p in (shop.settings.data / "knowledge").glob("*") if b"zeppelin" in p.read_bytes().lower()]
    assert left == []


def _erased(shop: Shop, ticket: Ticket) -> None:
    """The line and the document of an erasure; erasing.py itself is test_erasure.py's."""
    now = shop.told.clock.now()
    after = tombstone(ticket, reason="asked").changed(version=ticket.version + 1)
    line = line_of(after, ERASE, "person:ann", now, ticket.state, reason="asked")
    shop.told.desk._commit_one(ticket.number, [Change(ticket, after, line)])


def test_two_processes_that_index_at_once_count_nothing_twice(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_index, "CHUNK", 3)
    for n in range(9):
        shop.answered(f"Umbrella {n} broken", f"Wind number {n} breaks umbrellas.", customer=f"c{n}")
    shop.told.recorded()
    indexes = [shop.another_index() for _ in range(3)]
    threads = [threading.Thread(target=index.refresh, kwargs={"whole": True}) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = shop.index.find(["umbrella"], [])[1]
    assert (found.parts, found.seen["umbrella"], len(found.passages)) == (9, 9, 9)
    for index in indexes:
        index.close()


def test_only_the_newest_tickets_stay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_index, "MOST_TICKETS", 4)
    for n in range(6):
        shop.answered(f"Umbrella {n} broken", "We send a new umbrella.", customer=f"c{n}")
    shop.search("umbrella")
    found = shop.index.find(["umbrella"], [])[1]
    assert (found.parts, found.seen["umbrella"]) == (4, 4)


def test_an_index_of_another_form_is_made_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is derived: no migration, no loss."""
    shop.answered("Umbrella broken by wind", "We send a new umbrella.")
    shop.search("umbrella")
    for module in (knowledge_index, knowledge_tables):
        monkeypatch.setattr(module, "FORM", 99)
    newer = shop.another_index()
    knowledge = Knowledge([shop.folder / "knowledge"], newer)
    newer.refresh(whole=True)
    assert {h.kind for q in ("umbrella", "stolen card") for h in knowledge.search(q)} == {"ticket", "page"}
    newer.close()


def test_a_search_goes_on_without_an_index_that_does_not_answer(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a locked database costs past tickets, never the pages."""
    from sqlalchemy.exc import OperationalError

    def broken(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("disk full"))

    monkeypatch.setattr(shop.index, "find", broken)
    assert shop.knowledge.search("my card was stolen")[0].page == "cards.md"


OTHER_LANGUAGES = {
    "de.md": ("# Karte\nDie neue Karte kommt mit der Post in fünf Tagen.", "Wann kommt meine neue Karte?"),
    "ja.md": ("# カード\n新しいカードは五日以内に届きます。", "カードはいつ届きますか"),
    "ru.md": ("# Карта\nНовая карта приходит по почте за пять дней.", "когда приходит новая карта"),
    "fr.md": ("# Carte\nLa carte volée est bloquée dans l'application.", "ma carte a été volee"),
    "ar.md": ("# بطاقة\nتصل البطاقة الجديدة خلال خمسة أيام.", "البطاقة الجديدة"),
}


def test_other_languages_are_found_by_their_words(shop: Shop) -> None:
    for name, (page, _) in OTHER_LANGUAGES.items():
        (shop.folder / "knowledge" / name).write_text(page)
    found = {question: shop.search(question)[0].page for _, question in OTHER_LANGUAGES.values()}
    assert found == {question: name for name, (_, question) in OTHER_LANGUAGES.items()}


def test_a_question_is_no_query(shop: Shop) -> None:
    """Operators of either database are words, or nothing."""
    for text in (
        '" OR 1=1 --',
        "stems:x",
        "NEAR(a b)",
        "'; DROP TABLE event; --",
        "a* -b ^c",
        "\0",
        "%s %(team)s",
        "$1",
    ):
        shop.search(f"{text} stolen card")
    assert shop.search("stolen card")[0].page == "cards.md"
