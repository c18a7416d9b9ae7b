"""Sanctions: by somebody uninvolved, for a while, for everybody to see, appealed to somebody else, and enforced."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.intake import appeals, contributions, datasets, gold, reports, reviews, sanctions
from factory.intake.policy import Policy

WORDS = "Forty rows of random letters within one hour."


@dataclass(frozen=True)
class House:
    """A dataset with one row of eve's, judged by rex; two curators, an admin and somebody who only reads."""

    dataset_id: int
    example_id: int
    eve: Person
    rex: Person
    cara: Person
    carl: Person
    adam: Person
    guest: Person


def row(word: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {word}?"}, {"role": "assistant", "content": f"{word} is a word, really."}]


def offer(db: Database, house: House | int, person: Person, word: str) -> int:
    dataset_id = house if isinstance(house, int) else house.dataset_id
    made = contributions.submit(
        db, dataset_id, person=person, rows=[row(word)], source="form", licence="CC0-1.0", attested=True
    )
    return made.example_ids[0]


@pytest.fixture
def house(db: Database) -> House:
    cara, carl = (people.create(db, name, roles=("curator", "reviewer", "contributor")) for name in ("cara", "carl"))
    eve = people.create(db, "eve", display_name="Eve", roles=("contributor", "reviewer"))
    rex = people.create(db, "rex", roles=("reviewer", "contributor"))
    adam, guest = people.create(db, "adam", roles=("admin",)), people.create(db, "guest", roles=())
    rules = Policy(quorum=1, confidence=0.34, near_duplicate_jaccard=1.0)
    made = datasets.create(db, slug="w", title="W", purpose="p", guidelines="g", licence="CC0-1.0", owner=cara, policy=rules)
    example_id = offer(db, made["id"], eve, "alpha")
    reviews.decide(db, example_id, reviewer=rex, decision="accept")
    return House(made["id"], example_id, eve, rex, cara, carl, adam, guest)


def imposed(db: Database, house: House, kind: str = "no_submitting", *, by: Person | None = None, days: float = 7) -> int:
    by = by or (house.adam if kind == "paused" else house.cara)
    return sanctions.impose(db, "eve", by=by, kind=kind, reason="spam", words=WORDS, days=days, examples=[house.example_id])


def past(db: Database, person_id: int, by_id: int, kind: str, *, starts: float, ends: float) -> int:
    """A sanction as it would have been written earlier: from `starts` to `ends`, in days from now."""
    day, now = sanctions.DAY_SECONDS, store.now()
    record = {"person_id": person_id, "kind": kind, "reason": "spam", "words": WORDS, "evidence": '{"examples": []}'}
    with store.writing(db):
        more = {"by_id": by_id, "starts_at": now + starts * day, "ends_at": now + ends * day}
        return store.insert(db, "sanctions", {**record, **more})


def test_who_may_not_submit_is_refused_with_reason_end_and_next_step_and_may_still_review(
    db: Database, house: House
) -> None:
    waiting = offer(db, house, house.rex, "beta")
    number = imposed(db, house)
    for refused in (
        lambda: offer(db, house, house.eve, "gamma"),
        lambda: contributions.revise(db, house.example_id, person=house.eve, messages=row("delta")),
    ):
        with pytest.raises(NotAllowed, match=rf"may not submit .* until .*Many rows .*number {number}.*appeal"):
            refused()
    assert reviews.decide(db, waiting, reviewer=house.eve, decision="accept") == "accepted"


def test_who_may_not_review_gives_no_verdict_and_answers_nothing_but_may_submit(db: Database, house: House) -> None:
    waiting = offer(db, house, house.rex, "beta")
    imposed(db, house, "no_reviewing")
    for refused in (
        lambda: reviews.queue(db, house.dataset_id, reviewer=house.eve),
        lambda: reviews.decide(db, waiting, reviewer=house.eve, decision="accept"),
        lambda: appeals.answer_appeal(db, 1, reviewer=house.eve, answer="upheld", words="no"),
        lambda: gold.answer(db, 1, reviewer=house.eve, answer="upheld", words="no"),
    ):
        with pytest.raises(NotAllowed, match="may not review"):
            refused()
    assert offer(db, house, house.eve, "gamma")


def test_a_paused_account_has_no_role_until_it_ends_but_takes_its_own_back_and_appeals(db: Database, house: House) -> None:
    number = imposed(db, house, "paused")
    eve = people.get(db, "eve")
    assert eve.roles == frozenset()
    with pytest.raises(NotAllowed, match=rf"paused until .* \(number {number}\)"):
        people.need(eve, "contributor")
    for person in (eve, house.eve):  # also with the roles that somebody remembers
        with pytest.raises(NotAllowed, match="paused until"):
            offer(db, house, person, "gamma")
        with pytest.raises(NotAllowed, match="paused until"):
            appeals.appeal(db, house.example_id, person=person, words="please")
        with pytest.raises(NotAllowed, match="paused until"):
            reports.report(db, by=person, reason="spam", words="him", who="rex")
    contributions.withdraw(db, house.example_id, person=eve, reason="mine")
    sanctions.appeal(db, number, person=eve, words="Those rows were not mine at all.")
    sanctions.answer(db, number, by=house.carl, answer="overturned", words="Another account sent them.")
    assert people.get(db, "eve").roles == {"contributor", "reviewer"}


def test_a_warning_takes_nothing_away_and_is_shown_at_once(db: Database, house: House) -> None:
    number = imposed(db, house, "warning")
    assert offer(db, house, house.eve, "gamma")
    (told,) = sanctions.notices(db, house.eve)
    assert told["id"] == number
    assert "warned" in told["sentence"]
    assert "appeal" in told["sentence"]
    seen = store.rows(db, "select * from sanction_receipts")
    sanctions.notices(db, house.eve)
    assert store.rows(db, "select * from sanction_receipts") == seen
    assert len(seen) == 1
    assert sanctions.notices(db, house.rex) == []


def test_it_ends_by_itself_at_its_date_and_stays_in_the_log(db: Database, house: House) -> None:
    past(db, house.eve.id, house.cara.id, "no_submitting", starts=-8, ends=-1)
    past(db, house.eve.id, house.adam.id, "paused", starts=-8, ends=-0.01)
    assert offer(db, house, people.get(db, "eve"), "gamma")
    assert sanctions.notices(db, house.eve) == []
    assert [one["state"] for one in sanctions.log(db)] == ["over", "over"]


def test_nobody_decides_about_themselves_or_while_involved(db: Database, house: House) -> None:
    with pytest.raises(NotAllowed, match="yourself"):
        sanctions.impose(db, "cara", by=house.cara, kind="warning", reason="spam", words=WORDS, days=1)
    judged = offer(db, house, house.eve, "beta")
    reviews.decide(db, judged, reviewer=house.carl, decision="reject", reason="noise")
    with pytest.raises(NotAllowed, match="judged example"):
        sanctions.impose(db, "eve", by=house.carl, kind="warning", reason="spam", words=WORDS, days=1, examples=[judged])
    own = offer(db, house, house.cara, "omega")
    reviews.decide(db, own, reviewer=house.eve, decision="reject", reason="noise")
    with pytest.raises(NotAllowed, match="wrote example"):
        sanctions.impose(db, "eve", by=house.cara, kind="warning", reason="careless", words=WORDS, days=1, examples=[own])
    reported = reports.report(db, by=house.carl, reason="spam", words="look", example_id=house.example_id)
    with pytest.raises(NotAllowed, match="reported it yourself"):
        reports.act(db, reported, by=house.carl, kind="warning", reason="spam", words=WORDS, days=1)


def test_roles_are_needed_and_only_admins_pause_or_sanction_an_admin(db: Database, house: House) -> None:
    for by, who, kind in ((house.rex, "eve", "warning"), (house.cara, "eve", "paused"), (house.cara, "adam", "warning")):
        with pytest.raises(NotAllowed, match="needs the role"):
            sanctions.impose(db, who, by=by, kind=kind, reason="spam", words=WORDS, days=1)
    other = people.create(db, "alma", roles=("admin",))
    assert sanctions.impose(db, "adam", by=other, kind="paused", reason="abuse", words=WORDS, days=1)
    assert people.maintainer(db).name == "alma"


def test_everything_that_is_missing_is_said_at_once(db: Database, house: House) -> None:
    with pytest.raises(Invalid) as refused:
        sanctions.impose(db, "eve", by=house.cara, kind="ban", reason="because", words="bad", days=999, examples=[404])
    assert len(refused.value.problems) == 5
    with pytest.raises(Invalid, match="e-mail"):
        sanctions.impose(db, "eve", by=house.cara, kind="warning", reason="spam", words=WORDS + " eve@evil.org", days=1)
    imposed(db, house)
    with pytest.raises(Conflict, match="already"):
        imposed(db, house, by=house.carl)
    with pytest.raises(NotFound):
        sanctions.impose(db, "nobody", by=house.cara, kind="warning", reason="spam", words=WORDS, days=1)


def test_an_appeal_goes_to_somebody_else_and_an_overturn_lifts_and_is_shown(db: Database, house: House) -> None:
    number = imposed(db, house)
    with pytest.raises(NotAllowed, match="Only the person"):
        sanctions.appeal(db, number, person=house.rex, words="Let her go, please.")
    sanctions.appeal(db, number, person=house.eve, words="Letters were the exercise.")
    with pytest.raises(Conflict, match="one appeal"):
        sanctions.appeal(db, number, person=house.eve, words="Once more, please.")
    assert sanctions.open_appeals(db, by=house.cara) == []
    with pytest.raises(NotAllowed, match="somebody else answers"):
        sanctions.answer(db, number, by=house.cara, answer="upheld", words="I stay with it.")
    assert [one["id"] for one in sanctions.open_appeals(db, by=house.carl)] == [number]
    sanctions.answer(db, number, by=house.carl, answer="overturned", words="The guidelines asked for letters.")
    assert offer(db, house, house.eve, "gamma")
    shown = sanctions.get(db, number)
    assert (shown["state"], shown["answered_by_name"], shown["by_name"]) == ("overturned", "carl", "cara")
    with pytest.raises(Conflict):
        sanctions.answer(db, number, by=house.adam, answer="upheld", words="It is too late for this.")


def test_an_upheld_appeal_leaves_it_until_its_end_and_says_so(db: Database, house: House) -> None:
    number = imposed(db, house)
    sanctions.appeal(db, number, person=house.eve, words="Letters were the exercise.")
    assert "or it lifts this" in sanctions.notices(db, house.eve)[0]["sentence"]
    sanctions.answer(db, number, by=house.adam, answer="upheld", words="They were not asked for.")
    with pytest.raises(NotAllowed, match="the answer to your appeal"):
        offer(db, house, house.eve, "gamma")


def test_an_appeal_that_nobody_answers_lifts_it_by_itself(db: Database, house: House) -> None:
    number = past(db, house.eve.id, house.cara.id, "no_submitting", starts=-9, ends=30)
    now = store.now()
    with store.writing(db):
        record = {"sanction_id": number, "words": "Please look again.", "at": now - 8 * 86400, "answer_by": now - 86400}
        store.insert(db, "sanction_appeals", record)
    assert offer(db, house, house.eve, "gamma")
    assert sanctions.get(db, number)["outcome"].startswith("lifted, as nobody answered")


def test_it_can_be_lifted_early_for_a_reason_but_not_by_the_person(db: Database, house: House) -> None:
    number = sanctions.impose(db, "carl", by=house.cara, kind="no_submitting", reason="spam", words=WORDS, days=5)
    with pytest.raises(NotAllowed, match="yourself"):
        sanctions.lift(db, number, by=house.carl, words="I am sure it was wrong.")
    sanctions.lift(db, number, by=house.cara, words="I took him for somebody else.")
    assert offer(db, house, house.carl, "gamma")
    assert sanctions.get(db, number)["lift_words"] == "I took him for somebody else."
    with pytest.raises(Conflict):
        sanctions.lift(db, number, by=house.cara, words="And once more, to be sure.")


def test_the_log_has_evidence_with_findings_and_no_reporter(db: Database, house: House) -> None:
    reported = reports.report(db, by=house.rex, reason="spam", words="look at this", who="eve")
    reports.act(db, reported, by=house.cara, kind="warning", reason="spam", words=WORDS, days=3, examples=[house.example_id])
    (one,) = sanctions.log(db)
    assert one["evidence"]["examples"] == [house.example_id]
    assert "rex" not in json.dumps({key: value for key, value in one.items() if key != "report_id"})


@pytest.mark.parametrize("table", ["sanctions", "sanction_appeals", "sanction_answers", "sanction_lifts", "reports"])
def test_rows_are_only_ever_added(db: Database, house: House, table: str) -> None:
    number = imposed(db, house)
    sanctions.appeal(db, number, person=house.eve, words="Letters were the exercise.")
    sanctions.answer(db, number, by=house.carl, answer="upheld", words="They were not asked for.")
    sanctions.lift(db, number, by=house.cara, words="It has done its work by now.")
    reports.report(db, by=house.guest, reason="spam", words="him", who="rex")
    assert store.value(db, f"select count(*) from {table}") == 1
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(f"delete from {table}")


def test_anybody_reports_a_row_or_a_person_ten_a_day_and_reads_the_answer(db: Database, house: House) -> None:
    hidden = offer(db, house, house.rex, "beta")
    with pytest.raises(NotFound, match="that you can see"):
        reports.report(db, by=house.guest, reason="spam", words="look", example_id=hidden)
    first = reports.report(db, by=house.guest, reason="spam", words="look", example_id=house.example_id)
    with pytest.raises(Conflict, match="already"):
        reports.report(db, by=house.guest, reason="spam", words="look", example_id=house.example_id)
    with pytest.raises(NotAllowed, match="your own"):
        reports.report(db, by=house.eve, reason="spam", words="look", example_id=house.example_id)
    with pytest.raises(Invalid):
        reports.report(db, by=house.guest, reason="dislike", words="")
    for number in range(reports.DAILY - 1):
        people.create(db, f"person{number}")
        reports.report(db, by=house.guest, reason="abuse", words="rude", who=f"person{number}")
    with pytest.raises(Conflict, match="tomorrow"):
        reports.report(db, by=house.guest, reason="abuse", words="rude", who="rex")
    assert reports.queue(db, by=house.cara)[0]["report_id"] == first
    with pytest.raises(NotAllowed):
        reports.queue(db, by=house.guest)
    reports.dismiss(db, first, by=house.cara, words="It is a fine row.")
    assert reports.mine(db, house.guest)[-1]["answer_words"] == "It is a fine row."
    with pytest.raises(NotFound, match="open report"):
        reports.dismiss(db, first, by=house.cara, words="Again.")


def test_one_sanction_answers_all_reports_about_the_same(db: Database, house: House) -> None:
    for by in (house.guest, house.carl, house.adam):
        reports.report(db, by=by, reason="spam", words="look", example_id=house.example_id)
    assert reports.queue(db, by=house.rex if house.rex.may("curator") else house.cara)[0]["name"] == "eve"
    made = reports.act(db, 1, by=house.cara, kind="no_submitting", reason="spam", words=WORDS, days=2)
    assert reports.queue(db, by=house.cara) == []
    assert f"Sanction {made}" in reports.mine(db, house.adam)[0]["answer_words"]
    assert sanctions.get(db, made)["report_id"] == 1
