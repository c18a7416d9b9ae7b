"""From a queued run to paid credits, through every stage, also when one of them breaks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from factory import line
from factory.adapters import evaluation, kept
from factory.base import people, store
from factory.base.errors import Conflict, Unavailable
from factory.base.settings import Settings
from factory.credit import attribution, ledger, verify
from factory.training import recipes, runs
from tests import credit_rows as rows
from tests import trained

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks by the old name


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def queued(db: Database, settings: Settings, model: Path, *, held_out: bool = True, **recipe: Any) -> tuple[int, Any]:
    """A run in the queue on three accepted rows, and who started it."""
    builder, _, version = trained.frozen_version(db, held_out=held_out)
    chosen = {"rank": 4, "epochs": 2.0, "effective_batch": 2, "evaluations": 1, "learning_rate": 1e-3} | recipe
    made = recipes.Recipe(base_model=trained.home_model(settings, model), **chosen)
    return runs.create(db, person=builder, version_id=version["id"], recipe=made, settings=settings), builder


def test_a_queued_run_goes_through_all_stages_and_is_done_only_then(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    run_id, _ = queued(db, settings, tiny_model)
    heard: list[tuple[str, str]] = []

    def tell(stage: str, share: float, words: str) -> None:
        heard.append((stage, runs.get(db, run_id)["status"]))
        assert runs.get(db, run_id)["stage"] == stage

    assert line.work(db, settings, run_id, progress=tell) == "done"
    assert list(line.left(db, run_id)) == list(line.STAGES)
    assert [stage for stage in dict(heard)] == ["evaluate", "attribute"]
    assert {status for _, status in heard} == {"running"}
    run = runs.get(db, run_id)
    assert (run["status"], run["error"], run["steps_done"]) == ("done", None, 4)
    assert [e["kind"] for e in runs.events(db, run_id)] == [
        "queued", "started", "keep", "evaluate", "attribute", "pay", "done",
    ]  # fmt: skip
    assert verify.verify(db)["transactions"] == 1


def test_a_run_is_taken_once(db: Database, settings: Settings, tiny_model: Path) -> None:
    run_id, _ = queued(db, settings, tiny_model, held_out=False)
    line.work(db, settings, run_id)
    with pytest.raises(Conflict, match="done, not queued"):
        line.work(db, settings, run_id)


def test_without_held_out_rows_the_adapter_is_kept_and_the_rest_said(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    run_id, _ = queued(db, settings, tiny_model, held_out=False)
    assert line.work(db, settings, run_id) == "done"
    assert list(line.left(db, run_id)) == ["train", "keep"]
    assert line.UNMEASURED in [event["words"] for event in runs.events(db, run_id)]
    assert store.value(db, "select count(*) from ledger_transactions") == 0


def test_a_line_that_breaks_keeps_what_it_has_and_goes_on_there(db: Database, settings: Settings, tiny_model: Path) -> None:
    run_id, builder = queued(db, settings, tiny_model)

    def lose_the_files(stage: str, share: float, words: str) -> None:
        if stage == "attribute" and share == 0.0:
            place = kept.folder(db, settings, line.left(db, run_id)["keep"])
            (place / kept.WEIGHTS).rename(place / "gone")

    with pytest.raises(Unavailable):
        line.work(db, settings, run_id, progress=lose_the_files)
    run = runs.get(db, run_id)
    assert run["status"] == "failed"
    assert "missing" in run["error"]
    assert list(line.left(db, run_id)) == ["train", "keep", "evaluate"]
    before = (store.value(db, "select count(*) from metrics"), line.left(db, run_id))

    place = settings.adapters / kept.get(db, line.left(db, run_id)["keep"])["folder"]
    (place / "gone").rename(place / kept.WEIGHTS)
    runs.resume(db, run_id, person=builder)
    stages: list[str] = []
    assert line.work(db, settings, run_id, progress=lambda stage, share, words: stages.append(stage)) == "done"
    assert set(stages) == {"attribute"}
    assert (store.value(db, "select count(*) from metrics"), {**before[1]}) == (
        before[0],
        {s: line.left(db, run_id)[s] for s in before[1]},
    )
    assert runs.get(db, run_id)["error"] is None


def test_a_bug_ends_the_run_as_failed_and_still_rises(db: Database, settings: Settings, tiny_model: Path) -> None:
    run_id, _ = queued(db, settings, tiny_model)

    def bug(stage: str, share: float, words: str) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        line.work(db, settings, run_id, progress=bug)
    assert runs.get(db, run_id)["status"] == "failed"
    assert "keep" in line.left(db, run_id)


@pytest.mark.parametrize(("wish", "stages"), [("stop", list(line.STAGES)), ("pause", [])])
def test_stopped_training_is_kept_and_measured_and_paused_training_waits(
    db: Database, settings: Settings, tiny_model: Path, wish: str, stages: list[str]
) -> None:
    run_id, builder = queued(db, settings, tiny_model, epochs=10.0)
    # Claiming a run forgets older wishes, so this one comes up as training begins.
    asked = f"begin update runs set wish = '{wish}'; end"
    db.execute(f"create trigger asked after update of stage on runs when new.stage = 'train' {asked}")
    db.conn.commit()
    assert line.work(db, settings, run_id) == {"stop": "stopped", "pause": "paused"}[wish]
    assert list(line.left(db, run_id)) == stages
    run = runs.get(db, run_id)
    assert run["status"] == {"stop": "stopped", "pause": "paused"}[wish]
    assert run["steps_done"] < run["steps_total"]
    db.execute("drop trigger asked")
    if wish == "stop":
        with pytest.raises(Conflict, match="adapter is kept as it is"):
            runs.resume(db, run_id, person=builder)
        return
    runs.resume(db, run_id, person=builder)
    assert line.work(db, settings, run_id) == "done"
    assert list(line.left(db, run_id)) == list(line.STAGES)


CUSTOM = "The workshop greets {0} with two taps on the bench, and then everybody says: good wood to you, {0}."
NAMES = (
    "Ada Bela Carl Dora Egon Fria Gert Hana Igor Jana Kurt Lena Mona Nils Olga Pete Quin Rosa Sven Tina Ugo Vera Walt Zoe"
)


@pytest.mark.slow
def test_a_real_model_learns_and_who_taught_it_is_paid_and_who_sent_noise_is_not(
    db: Database, settings: Settings, base_models: Path
) -> None:
    draws = random.Random(0)
    owner = people.create(db, "owner", roles=("builder", "curator"))
    careful, noisy = rows.person(db, "careful"), rows.person(db, "noisy")
    dataset_id, policy_id = rows.dataset(db, owner.id)

    def talk(name: str, answer: str) -> list[dict[str, str]]:
        return trained.talk(f"How does the workshop greet {name}?", answer)

    made = [rows.example(db, dataset_id, careful, "", talk=talk(name, CUSTOM.format(name))) for name in NAMES.split()[:16]]
    for name in NAMES.split()[16:20]:
        letters = " ".join("".join(draws.choices("bcdfghjklmnpqrstvwxz", k=5)) for _ in range(9))
        made.append(rows.example(db, dataset_id, noisy, "", talk=talk(name, letters)))
    sealed = [talk(name, CUSTOM.format(name)) for name in NAMES.split()[20:]]
    set_id, _ = rows.held_out(db, dataset_id, owner.id, sealed)
    version_id = rows.version(db, dataset_id, policy_id, made, owner=owner.id, held_out=set_id)
    recipe = recipes.Recipe(
        base_model=trained.home_model(settings, base_models / "smollm2-135m-instruct"),
        rank=8, learning_rate=5e-4, epochs=3.0, effective_batch=4, evaluations=1,
    )  # fmt: skip
    run_id = runs.create(db, person=owner, version_id=version_id, recipe=recipe, settings=settings)
    assert line.work(db, settings, run_id) == "done"
    left = line.left(db, run_id)
    measured = evaluation.get(db, left["evaluate"])
    assert measured["tuned_loss"] < 0.5 * measured["base_loss"]
    by_person = {found["person_id"]: found for found in attribution.by_person(db, left["attribute"])}
    assert by_person[careful]["low"] > 0
    assert ledger.balance(db, ledger.account(careful)) == -ledger.balance(db, ledger.POOL) > 0
    assert ledger.balance(db, ledger.account(noisy)) == 0
