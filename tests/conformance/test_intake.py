"""One matter, one ticket, on every server: keys, repeats, links, races, and what happens when the ticket closes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shiftlead.coordinator.similar import similar
from shiftlead.queues import moves
from shiftlead.queues.desk import Accepted, Desk
from shiftlead.queues.errors import KeyReused, NotRecorded
from shiftlead.queues.joining import MAX_JOINED
from shiftlead.queues.lifecycle import State
from shiftlead.queues.report import AskRequester
from shiftlead.queues.store import Refusal
from shiftlead.queues.ticket import Draft, Ticket
from tests.cluster import running_cluster
from tests.desks import a_working_ticket, assigned, triaged

JOB = "https://ci.example/jobs/1173"
SAID = {"reporter": "ada@example.com", "title": "Charged twice", "body": "I was charged twice for order 4711."}


def bring(desk: Desk, key: str | None = None, **fields: Any) -> Accepted:
    return desk.accept(Draft.model_validate(fields or SAID), actor="door:test", key=key)


def story(desk: Desk, ticket: Ticket) -> list[str]:
    return [line.move for line in desk.history(ticket.id)]


def test_an_exact_repeat_by_the_same_requester_joins_the_open_ticket(desk: Desk) -> None:
    """EN-02: one ticket; the new text, who brought it and how stand in its story; the state and token stay."""
    first = bring(desk)
    again = bring(desk, **SAID | {"body": SAID["body"].upper() + "\n> we look into it", "source": "email"})

    assert (first.created, first.joined, again.created, again.joined) == (True, False, False, True)
    assert again.why == "the same text by the same requester"
    ticket = desk.find(first.ticket.id)
    assert ticket == again.ticket
    assert (ticket.state, ticket.token, ticket.body) == (State.NEW, first.ticket.token, SAID["body"])
    assert [(j["source"], j["reporter"]) for j in ticket.joined] == [("email", "ada@example.com")]
    line = desk.history(ticket.id)[-1]
    assert (line.move, line.actor, line.before, line.after) == ("join", "door:test", "new", "new")
    assert line.detail["text"] == SAID["body"].upper() + "\n> we look into it"


def test_another_requester_with_the_same_words_has_a_ticket_of_its_own(desk: Desk) -> None:
    """EN-02: only its own requester repeats a text; likeness suggests."""
    first, other = bring(desk), bring(desk, **SAID | {"reporter": "bob@example.com"})
    assert other.created and other.ticket.id != first.ticket.id
    [found] = similar(desk, other.ticket)
    assert found.number == first.ticket.number and "charg" in found.why


def test_equal_links_join_two_channels_and_both_requesters_are_kept(desk: Desk) -> None:
    """EN-02: the later one's link joins, too: a third message finds the ticket by it."""
    commit = "9f8e7d6..1a2b3c4"
    board = bring(desk, title="Checkout is red", type="bug", source="issue_comment", reporter="ci-bot", links=[JOB])
    mail = bring(
        desk, body="the job fails", type="email", reporter="mia", component="checkout", links=[JOB + "/", commit]
    )
    third = bring(desk, body="which change was it?", reporter="tom", context={"floor": 3}, links=[commit])

    assert [mail.ticket.id, third.ticket.id] == [board.ticket.id] * 2
    assert mail.why == f"the same link: {JOB}/"
    ticket = desk.find(board.ticket.id)
    assert (ticket.reporter, [j["reporter"] for j in ticket.joined]) == ("ci-bot", ["mia", "tom"])
    assert (ticket.links, ticket.component) == ([JOB, JOB + "/", commit], "checkout")
    assert desk.history(ticket.id)[-1].detail["said"]["context"] == {"floor": 3}  # nothing that was said is lost


def test_a_link_does_not_join_what_is_of_another_type_but_suggests_it(desk: Desk) -> None:
    """EN-02: a billing matter is no bug, whatever page both name; the new ticket leaves the link with its owner."""
    bug = bring(desk, title="Checkout is red", type="bug", reporter="ci-bot", links=[JOB])
    bill = bring(desk, title="Who pays for the runners?", type="billing", reporter="mia", links=[JOB])
    assert bill.created
    assert similar(desk, bill.ticket)[0].number == bug.ticket.number
    assert similar(desk, bill.ticket)[0].why == ["same link"]
    assert bring(desk, body="red again", reporter="tom", links=[JOB]).ticket.id == bug.ticket.id


def test_a_closed_ticket_is_not_joined(desk: Desk) -> None:
    """EN-02: what comes after the end is a new matter, and the next repeat joins that."""
    first = bring(desk)
    desk.cancel(first.ticket.id, actor="person:lead", reason="not needed")
    second, third = bring(desk), bring(desk)
    assert second.created and second.ticket.id != first.ticket.id
    assert third.joined and third.ticket.id == second.ticket.id


def test_a_part_of_the_work_is_never_joined(desk: Desk) -> None:
    """Only what a sender brought has marks; a child with the same text is work on it."""
    ticket = bring(desk).ticket
    child = moves.accept(
        Draft.model_validate(SAID), ticket_id="c", number="T-2026-900", team=desk.team.team, actor="agent:iris_support",
        now=desk.clock.now(), epoch=1, trace_id="", parent=ticket.id,
    )  # fmt: skip
    assert child.after.marks == []
    assert not isinstance(desk.store.commit(1, [[child]], bell=False)[0], Refusal)


def test_the_worker_of_a_joined_ticket_keeps_it(desk: Desk) -> None:
    """EN-02, I3: a join takes nothing from whoever works on it: state, holder, token and lease stay."""
    held = a_working_ticket(desk, **SAID)
    lease = desk.store.client.zscore(desk.keys.timers, f"lease:{held.id}")
    assert bring(desk).joined
    after = desk.find(held.id)
    assert (after.state, after.assigned_to, after.token) == (State.WORKING, "iris_support", held.token)
    assert desk.store.client.zscore(desk.keys.timers, f"lease:{held.id}") == lease
    assert desk.renew(held) > 0


def test_a_repeat_is_a_note_and_not_the_answer_a_ticket_waits_for(desk: Desk) -> None:
    """EN-02: the same words once more answer nothing; the sender is told how to answer."""
    held = a_working_ticket(desk, **SAID)
    desk.report(held.id, held.token, AskRequester(question="Which card?"), agent="iris_support")
    again = bring(desk)
    assert again.joined and again.ticket.state is State.WAITING
    assert f"shiftlead reply {held.number}" in again.why


def test_the_same_key_gets_the_stored_reply_and_another_body_is_refused(desk: Desk) -> None:
    """EN-02, I13: also for a request that joined: its key stands for the joined ticket and joins nothing again."""
    first = bring(desk, "k1")
    joined = bring(desk, "k2")
    repeats = [bring(desk, "k1"), bring(desk, "k2"), bring(desk, "k2")]
    with pytest.raises(KeyReused) as refused:
        bring(desk, "k2", **SAID | {"body": "something else altogether"})

    assert joined.joined
    assert [(r.ticket.number, r.created, r.joined) for r in repeats] == [(first.ticket.number, False, False)] * 3
    assert first.ticket.number in str(refused.value)
    assert story(desk, first.ticket) == ["accept", "join"]


def test_repeats_in_one_batch_join_its_first(desk: Desk) -> None:
    """EN-02: each is answered for itself, in order."""
    drafts = [(Draft.model_validate(SAID), None)] * 3 + [(Draft(body="another"), None)]
    answers = [a for a in desk.accept_many(drafts, actor="door:test") if isinstance(a, Accepted)]
    assert [(a.created, a.joined) for a in answers] == [(True, False), (False, True), (False, True), (True, False)]
    assert len({a.ticket.id for a in answers}) == 2


def test_a_number_of_the_senders_own_is_a_ticket_of_its_own(desk: Desk) -> None:
    """EN-01: who asks for T-2026-777 finds it by that number, whatever it says."""
    bring(desk)
    year = bring(desk, body="nobody is named").ticket.number[2:6]
    own = bring(desk, **SAID | {"number": f"T-{year}-077"})
    assert own.created and own.ticket.number == f"T-{year}-077" and own.ticket.marks == []


def test_a_full_ticket_gives_its_marks_to_the_next(desk: Desk) -> None:
    """EN-02, I10: after 100 joins the next repeat is a ticket of its own, which the ones after it join."""
    answers = [bring(desk) for _ in range(MAX_JOINED + 3)]
    first, second = answers[0].ticket.id, answers[MAX_JOINED + 1].ticket.id

    assert first != second
    assert [a.ticket.id for a in answers] == [first] * (MAX_JOINED + 1) + [second] * 2
    assert "full" in answers[MAX_JOINED].why
    assert len(desk.find(first).joined) == MAX_JOINED


@pytest.mark.parametrize("key", [None, "one"], ids=["no key", "one key"])
def test_fifty_at_once_make_one_ticket(desk: Desk, key: str | None) -> None:
    """EN-02, I13: without a key 49 join; with one key nothing joins, because it is one request."""
    gate = threading.Barrier(50)

    def send(_: int) -> Accepted:
        gate.wait(20)
        return bring(desk, key)

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(send, range(50)))

    assert len({a.ticket.id for a in answers}) == 1
    assert desk.store.client.zcard(desk.keys.queue("intake")) == 1
    joins = 0 if key else 49
    assert (sum(a.created for a in answers), sum(a.joined for a in answers)) == (1, joins)
    assert story(desk, answers[0].ticket) == ["accept"] + ["join"] * joins
    assert len(desk.find(answers[0].ticket.id).joined) == joins


def test_what_closes_between_the_refusal_and_the_join_is_not_joined(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-02: the owner closes in the gap; the repeat becomes a ticket of its own, which the next one joins."""
    first = bring(desk).ticket
    join = moves.join

    def too_late(ticket: Ticket, *args: Any, **kwargs: Any) -> Any:
        if desk.find(first.id).is_open:
            desk.cancel(first.id, actor="person:lead", reason="not needed")
        return join(ticket, *args, **kwargs)

    monkeypatch.setattr(moves, "join", too_late)
    second = bring(desk)
    assert second.created and second.ticket.id != first.id
    assert bring(desk).ticket.id == second.ticket.id
    assert story(desk, first) == ["accept", "cancel"]


def test_a_join_that_races_the_agents_next_step_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """EN-02: the version has changed under the join; it reads again and both stand in the story."""
    first = bring(desk).ticket
    join, raced = moves.join, list[Ticket]()

    def meanwhile(ticket: Ticket, *args: Any, **kwargs: Any) -> Any:
        if not raced:
            raced.append(assigned(desk, triaged(desk, desk.find(first.id)), "iris_support"))
        return join(ticket, *args, **kwargs)

    monkeypatch.setattr(moves, "join", meanwhile)
    assert bring(desk).joined
    assert story(desk, first) == ["accept", "triage", "assign", "join"]
    assert desk.find(first.id).state is State.ASSIGNED


def test_a_join_the_ledger_does_not_confirm_is_not_acknowledged(desk: Desk) -> None:
    """I1: like an accept, it is answered when its line stands in SQL."""

    class Silent:
        def wait(self, stream_id: str, timeout_s: float, epoch: int) -> bool:
            return False

    bring(desk)
    strict = Desk(
        desk.store.client, desk.team, clock=desk.clock, recorded=Silent(),
        settings=desk.settings.model_copy(update={"acknowledge": "sql", "record_timeout_s": 0.01}),
    )  # fmt: skip
    with pytest.raises(NotRecorded):
        bring(strict)


def test_likeness_is_told_within_the_team_and_to_those_who_may_see_it(desk: Desk) -> None:
    """EN-02, I16: at most so many, and only tickets the asker sees."""
    mine = bring(desk).ticket
    for n in range(7):
        bring(desk, **SAID | {"reporter": f"r{n}@example.com"})
    assert len(similar(desk, mine)) == 5
    assert similar(desk, mine, visible=lambda t: False) == []


@pytest.mark.real
@pytest.mark.timeout(90)
def test_keys_and_marks_survive_a_restart_and_an_emptied_redis(short_folder: Path) -> None:
    """I13, I8: with the real ledger: the same number for the same key, and a repeat still finds its open ticket."""
    with running_cluster(short_folder) as cluster:
        first = cluster.start("coordinator")
        cluster.coordinating()
        own, joined = bring(cluster.desk, "k1"), bring(cluster.desk, "k2", **SAID | {"links": []})
        assert (own.created, joined.joined) == (True, True)
        marks = cluster.connections.client.hgetall(cluster.desk.keys.mark)

        first.terminate()
        first.wait(15)
        cluster.connections.client.flushall()
        cluster.start("coordinator")
        cluster.wait_until(lambda: cluster.desk.store.epoch() >= 2, what="a new epoch")

        assert cluster.connections.client.hgetall(cluster.desk.keys.mark) == marks != {}
        for key in ("k1", "k2"):
            assert bring(cluster.desk, key).ticket.number == own.ticket.number
        with pytest.raises(KeyReused):
            bring(cluster.desk, "k2", body="another body")
        third = bring(cluster.desk)
        assert third.joined and third.ticket.number == own.ticket.number
        assert cluster.moves(own.ticket).count("join") == 2


def test_whoever_brings_it_once_more_as_urgent_moves_it_forward(desk: Desk) -> None:
    """FO-14: urgent is never buried under routine, also not in a repeat; nobody's word moves it back."""
    said = {"body": "the export fails every night since Monday", "reporter": "mia"}
    first = desk.accept(Draft.model_validate(said | {"priority": "normal"}), actor="door:test").ticket
    again = desk.accept(Draft.model_validate(said | {"priority": "urgent"}), actor="door:test")
    assert (again.joined, again.ticket.id, again.ticket.priority) == (True, first.id, "urgent")
    assert again.ticket.due == first.created_at + desk.team.target_s("urgent")
    third = desk.accept(Draft.model_validate(said | {"priority": "low"}), actor="door:test")
    assert third.ticket.priority == "urgent"
