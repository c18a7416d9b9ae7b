"""The sample dataset: real rows from the installed documentation, sorted by the real checks and reviews."""

from __future__ import annotations

import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlite_utils import Database

from factory.base import people, store
from factory.base.settings import Settings
from factory.intake import datasets, demo_reviewers, documentation, formats, policy, sample, similarity
from factory.intake.demo_reviewers import Verdict
from factory.intake.documentation import Entry


@pytest.fixture
def filled(db: Database, settings: Settings) -> dict:
    return sample.fill(db, settings)


def by_name(summary: dict) -> dict[str, dict]:
    return {person["name"]: person for person in summary["by_person"]}


# ---------------------------------------------------------------- what is asked


def test_every_entry_is_what_the_installed_python_says_of_itself() -> None:
    entries = {entry.name: entry for entry in documentation.entries()}
    assert len(entries) > 800
    import shutil

    assert entries["shutil.copy"].summary == inspect.getdoc(shutil.copy).split(".")[0].replace("\n", " ") + "."
    assert entries["shutil.copy"].signature == str(inspect.signature(shutil.copy))
    assert entries["str.strip"].kind == "method"
    assert not any("0x" in entry.signature or " at " in entry.signature for entry in entries.values())


def test_documentation_of_this_machine_only_is_left_out() -> None:
    assert not [entry.name for entry in documentation.entries() if sys.prefix in entry.call or sys.base_prefix in entry.call]


def test_the_rows_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from factory.intake import sample; print(hash(repr([w() for _, w in sample.CONTRIBUTORS.values()]) and 1),"
    code += " __import__('hashlib').sha256(repr([w() for _, w in sample.CONTRIBUTORS.values()]).encode()).hexdigest())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_held_out_questions_are_about_other_objects_than_the_rows() -> None:
    good, sealed = sample.questions()
    assert len(sealed) == sample.HELD_OUT_ROWS == 48
    assert not {question.entry.name for question in good} & {question.entry.name for question in sealed}
    assert {question.kind for question in sealed} <= {question.kind for question in good}
    assert len({question.kind for question in sealed}) >= 4


def test_no_two_good_rows_are_near_duplicates_for_the_checks() -> None:
    limit = policy.Policy().near_duplicate_jaccard
    features = [similarity.features(formats.canonical(question.messages)) for question in sum(sample.questions(), ())]
    assert not any(similarity.resemblance(a, b) >= limit for a, b in itertools.combinations(features, 2))


def test_answers_are_short_finished_and_name_their_object() -> None:
    for question in sum(sample.questions(), ()):
        assert question.answer.endswith((".", "!", "?"))
        assert question.entry.short in question.answer
        assert 4 <= len(question.answer.split()) <= 60
        assert not re.search(r"\s\s|\n", question.asked + question.answer)


# ---------------------------------------------------------------- how it is judged


def test_a_reviewer_sees_the_words_and_nothing_else() -> None:
    assert set(inspect.signature(demo_reviewers.judge).parameters) == {"messages", "reviewer"}
    imported = re.findall(r"^(?:from|import) (\S+)", inspect.getsource(demo_reviewers), re.MULTILINE)
    assert not [name for name in imported if name.startswith("factory") and "sample" in name]


@pytest.mark.parametrize("measure", [demo_reviewers.by_vocabulary, demo_reviewers.by_coverage, demo_reviewers.by_order])
def test_each_measure_accepts_what_the_documentation_says_and_refuses_another_functions_answer(
    measure: Callable[[str, str, Entry], Verdict],
) -> None:
    entries = {entry.name: entry for entry in documentation.entries()}
    entry, other = entries["shutil.copytree"], entries["math.gcd" if "math.gcd" in entries else "math.lcm"]
    asked, answer = documentation.question(entry, "does")
    assert measure(asked, answer, entry)[0] == "accept"
    assert measure(asked, answer[:-12], entry)[0] == "return"
    assert measure(asked, f"`{other.name}` {other.summary}", entry)[0] == "reject"


@pytest.mark.parametrize("measure", [demo_reviewers.by_coverage, demo_reviewers.by_order])
def test_a_call_that_is_not_the_real_one_is_rejected(
    measure: Callable[[str, str, Entry], Verdict],
) -> None:
    entry = next(entry for entry in documentation.entries() if entry.name == "heapq.heappush")
    asked, answer = documentation.question(entry, "call")
    assert measure(asked, answer, entry)[0] == "accept"
    assert measure(asked, answer.replace(entry.signature, "(item, heap, key)"), entry)[0] == "reject"


def test_a_member_is_judged_by_its_own_documentation_when_the_question_names_its_class() -> None:
    found = demo_reviewers.subject("Which method of `collections.Counter` adds?", "That is `collections.Counter.update`.")
    assert found is not None
    assert found.name == "collections.Counter.update"


def test_reviewers_slip_about_one_time_in_fifty() -> None:
    rows = [question.messages for question in sample.questions()[0]]
    for reviewer in demo_reviewers.REVIEWERS:
        wrong = sum(demo_reviewers.judge(row, reviewer=reviewer)[0] != "accept" for row in rows)
        assert 0 < wrong < 0.08 * len(rows)


# ---------------------------------------------------------------- the filled workshop


def test_the_checks_and_reviews_sort_the_contributors(filled: dict) -> None:
    people_ = by_name(filled)
    assert people_["demo-cara"]["accepted"] >= 0.95 * people_["demo-cara"]["sent"]
    assert 0.55 < people_["demo-paul"]["accepted"] / people_["demo-paul"]["sent"] < 0.8
    assert people_["demo-nell"]["accepted"] <= 0.03 * people_["demo-nell"]["sent"]
    assert people_["demo-kit"]["refused"] >= 0.95 * sample.COPIED_ROWS
    assert filled["refusals"]["near_duplicate"] > filled["refusals"]["exact_duplicate"] > 0
    assert 320 <= filled["rows"] <= 380
    assert filled["held_out"] == 48


def test_the_copiers_accepted_rows_are_not_copies(filled: dict, db: Database) -> None:
    own = {formats.canonical(row) for row in sample.copier()[: sample.COPIERS_OWN_ROWS]}
    accepted = {
        row["content"]
        for row in store.rows(
            db,
            "select e.content from example_states s join examples e on e.id = s.example_id"
            " join people p on p.id = s.person_id where p.name = 'demo-kit' and s.state = 'accepted'",
        )
    }
    assert accepted <= own


def test_every_decision_rests_on_two_agreeing_verdicts_of_demo_reviewers(filled: dict, db: Database) -> None:
    reviewers = {people.get(db, name).id for name in demo_reviewers.REVIEWERS}
    for decision in store.rows(db, "select example_id, decision, verdict_ids from decisions"):
        verdicts = store.rows(
            db, "select reviewer_id from verdicts where id in (select value from json_each(?))", decision["verdict_ids"]
        )
        asked = store.value(db, "select count(*) from verdicts where example_id = ?", decision["example_id"])
        # Where each of the three says something else, the most probable stands.
        assert len({verdict["reviewer_id"] for verdict in verdicts} & reviewers) == 2 or asked == 3


def test_everybody_invented_is_labelled_so(filled: dict, db: Database) -> None:
    for name in (*sample.CONTRIBUTORS, *demo_reviewers.REVIEWERS):
        person = people.get(db, name)
        assert person.is_demo
        assert person.display_name.endswith("(demo)")
        assert not person.may("builder")
    assert datasets.get(db, sample.SLUG)["is_demo"]


def test_filling_again_changes_nothing(filled: dict, db: Database, settings: Settings) -> None:
    tables = ("people", "submissions", "examples", "verdicts", "decisions", "dataset_versions", "held_out_sets")
    before = [store.value(db, f"select count(*) from {table}") for table in tables]
    assert sample.fill(db, settings) == filled
    assert [store.value(db, f"select count(*) from {table}") for table in tables] == before


@pytest.mark.parametrize("stage", ["contribute", "review", "freeze"])
def test_an_interrupted_filling_is_completed_to_the_same_version(
    stage: str, db: Database, settings: Settings, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    def interrupt(told: str, done: int, total: int) -> None:
        if told == stage and (stage == "freeze" or 0 < done < total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.fill(db, settings, progress=interrupt)
    completed = sample.fill(db, settings)
    whole = Settings(home=tmp_path / "other")
    with store.connect(whole) as other:
        assert sample.fill(other, whole)["root"] == completed["root"]


def test_the_frozen_version_verifies(db: Database, settings: Settings) -> None:
    sample.fill(db, settings)
    (version,) = datasets.versions(db, datasets.get(db, sample.SLUG)["id"])
    datasets.verify_version(db, version["id"])
