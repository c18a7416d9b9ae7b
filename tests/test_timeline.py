"""The story of an example: both sides read the same, in order, and nobody in it has a name."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import appeals, contributions, datasets, reviewers, reviews, timeline
from factory.intake.policy import Policy
from tests.test_gold import House, house, offer, rows

__all__ = ["house"]


@pytest.fixture
def calm(db: Database, house: House) -> House:
    datasets.set_policy(db, house.dataset_id, Policy(gold_share=0), person=house.owner)
    return house


def judged(db: Database, example_id: int, by: tuple[Person, ...], decision: str, note: str = "") -> None:
    for judge in by:
        reviews.decide(db, example_id, reviewer=judge, decision=decision, reason="incomplete", note=note)


def test_returned_mended_refused_appealed_and_accepted_is_one_story_without_names(db: Database, calm: House) -> None:
    first = offer(db, calm, 1)[0]
    judged(db, first, calm.judges[:2], "return", "Say why.")
    mended = rows(1)[0]
    mended[1]["content"] += " It is so because it was counted."
    second = contributions.revise(db, first, person=calm.author, messages=mended)
    beside = timeline.beside(db, second, reviewer=calm.judges[2])
    assert beside is not None
    assert (beside["kind"], beside["example_id"], len(beside["notes"])) == ("former", first, 1)
    judged(db, second, calm.judges[1:3], "reject")
    appeal = appeals.appeal(db, second, person=calm.author, words="Now it says why.")
    appeals.answer_appeal(db, appeal, reviewer=calm.judges[3], answer="overturned", words="It does.")
    for reader in (calm.author, calm.judges[0], calm.judges[4]):
        told = timeline.of(db, second, person=reader)
        assert told[:1] + told[4:5] == [one for one in told if one["kind"] in ("offered", "mended")]
        assert [one["kind"] for one in told] == [
            *("offered", "verdict", "verdict", "decided", "mended", "verdict", "verdict"),
            *("decided", "appealed", "decided", "answered"),
        ] or [one["kind"] for one in told][-2:] == ["answered", "decided"]
        words = json.dumps(told)
        assert not any(name in words for name in ("judge0", "judge1", "judge2", "judge3", "ada"))
        assert timeline.of(db, first, person=reader) == told
    letters = [one["who"] for one in timeline.of(db, second, person=calm.author) if one["kind"] == "verdict"]
    assert letters == ["reviewer A", "reviewer B", "reviewer B", "reviewer C"]
    own = [one["who"] for one in timeline.of(db, second, person=calm.judges[1]) if one["kind"] == "verdict"]
    assert own == ["reviewer A", "you", "you", "reviewer C"]


def test_whoever_may_still_judge_does_not_hear_what_others_said(db: Database, calm: House) -> None:
    first = offer(db, calm, 1)[0]
    judged(db, first, calm.judges[:1], "reject")
    kinds = {
        reader.name: [one["kind"] for one in timeline.of(db, first, person=reader)]
        for reader in (calm.judges[0], calm.judges[1], calm.author)
    }
    assert kinds == {
        "judge0": ["offered", "verdict", "due"], "judge1": ["offered", "due"], "ada": ["offered", "verdict", "due"]
    }  # fmt: skip
    assert contributions.show(db, first, person=calm.judges[1])["verdicts"] == []
    assert len(contributions.show(db, first, person=calm.author)["verdicts"]) == 1
    with pytest.raises(NotAllowed):
        timeline.of(db, first, person=people.create(db, "stranger"))
    with pytest.raises(NotFound):
        timeline.of(db, 999, person=calm.author)


def test_a_reviewer_reads_what_became_of_what_they_judged(db: Database, calm: House) -> None:
    first, second = offer(db, calm, 2)
    judged(db, first, calm.judges[:2], "reject")
    judged(db, second, calm.judges[:1], "accept")
    found = timeline.judged_by(db, calm.judges[0])
    assert [(one["example_id"], one["decision"], one["state"]) for one in found] == [
        (second, "accept", "waiting"), (first, "reject", "rejected")
    ]  # fmt: skip


def test_an_upheld_appeal_speaks_for_those_who_decided_and_an_overturned_one_against(db: Database, calm: House) -> None:
    first, second = offer(db, calm, 2)
    for example_id, answer in ((first, "upheld"), (second, "overturned")):
        judged(db, example_id, calm.judges[:2], "reject")
        before = reviewers.accuracy(db, calm.judges[0].id).weight
        appeal = appeals.appeal(db, example_id, person=calm.author, words="It is right.")
        appeals.answer_appeal(db, appeal, reviewer=calm.judges[3], answer=answer, words="I looked.")
        after = reviewers.accuracy(db, calm.judges[0].id)
        assert (after.weight > before) == (answer == "upheld")
    assert (after.appeals_seen, after.appeals_right) == (2, 1)


def test_a_weight_over_time_begins_at_one_and_ends_where_a_decision_weighs(db: Database, calm: House) -> None:
    for example_id in offer(db, calm, 6):
        judged(db, example_id, calm.judges[:2], "accept")
    points = reviewers.over_time(db, calm.judges[0].id)
    assert (points[0]["reviews"], round(points[0]["weight"], 6)) == (0, 1)
    assert points[-1]["weight"] == reviewers.accuracy(db, calm.judges[0].id).weight
    assert points[-1]["reviews"] == 6
    curator = people.create(db, "curator2", roles=("curator",))
    board = reviewers.board(db, person=curator)
    assert {one["name"]: one["verdicts"] for one in board} == {"judge0": 6, "judge1": 6}
    with pytest.raises(NotAllowed):
        reviewers.board(db, person=calm.author)


def test_every_door_tells_the_story_appeals_and_answers(
    db: Database, calm: House, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastapi.testclient import TestClient

    from factory.__main__ import main
    from factory.api import application

    first = offer(db, calm, 1)[0]
    judged(db, first, calm.judges[:2], "reject")

    def run(*words: object, who: str) -> tuple[int, str]:
        code = main([*map(str, words), "--as", who])
        return code, capsys.readouterr().out

    assert run("appeal", first, "--words", "It is right.", who="ada")[0] == 0
    assert "appealed" in run("history", first, who="ada")[1]
    assert "It is right." in run("appeals", who="judge3")[1]
    client: Callable[[Person], TestClient] = lambda person: TestClient(  # noqa: E731
        application(settings), headers={"Authorization": f"Bearer {people.issue_token(db, person, 't')}"}
    )
    judge = client(calm.judges[3])
    waiting = judge.get("/datasets/a/appeals").json()
    assert [one["example_id"] for one in waiting] == [first]
    answered = judge.post(f"/review/appeals/{waiting[0]['appeal_id']}", json={"answer": "overturned", "words": "So it is."})
    assert answered.json()["state"] == "accepted"
    assert [one["kind"] for one in judge.get(f"/examples/{first}/history").json()].count("verdict") == 2
    second = offer(db, calm, 1, start=50)[0]
    held = judge.post(f"/examples/{second}/verdict/hold", json={"decision": "accept"}).json()
    assert held["on_hold"]
    assert judge.delete("/review/hold").json() == {"example_id": second}
    assert run("review", second, "--decision", "accept", "--hold", who="judge3")[0] == 0
    assert run("review", "--undo", who="judge3")[0] == 0
    assert store.value(db, "select count(*) from held_verdicts") == 0
    assert judge.get("/review/judged").json() == []
    assert judge.get(f"/examples/{second}/beside").status_code == 200
    assert judge.get("/reviewers").status_code == 403
    owner = client(calm.owner)
    assert {one["name"] for one in owner.get("/reviewers").json()} == {"judge0", "judge1"}
    assert owner.get("/reviewers/judge0").json()["over_time"]
    assert owner.get("/reviewers/ties").json() == []
    assert owner.post("/reviewers/ties/7/lift", json={"words": "None."}).status_code == 404
    assert judge.get("/review/ties").json() == []
    for words in (("reviewers", "list"), ("reviewers", "show", "judge0"), ("reviewers", "ties")):
        assert run(*words, who="owner")[0] == 0


@pytest.mark.parametrize("share_of_good", [0.5, 0.8])
def test_whoever_accepts_everything_weighs_less_than_a_third_within_fifty_reviews(share_of_good: float) -> None:
    evidence = []
    for place in range(50):  # one in ten is gold, as often good as not; the others are settled with others
        gold = place % 10 == 0
        good = place % 20 == 0 if gold else place % 10 < 10 * share_of_good
        evidence.append({
            "said": "accept", "truth": "accept" if good else "reject", "weight": 1.0 if gold else 0.5,
            "kind": "gold" if gold else "peers",
        })  # fmt: skip
    lazy = reviewers.weigh(evidence)
    careful = reviewers.weigh([{**one, "said": one["truth"]} for one in evidence])
    assert lazy.weight < (0.1 if share_of_good < 0.8 else 0.3)
    assert careful.weight > 1.1
