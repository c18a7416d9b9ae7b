"""Every page, for every role, through Streamlit's own AppTest on a workshop that really worked: no page is a bug."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from factory import line
from factory.base import people, store
from factory.base.people import ROLES, Person
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, datasets, held, reviews
from factory.intake.policy import Policy
from factory.sign_in import COOKIE
from factory.training import recipes, runs

PAGES = [
    "home",
    "datasets",
    "contribute",
    "review",
    "reviewers",
    "train",
    "search",
    "runs",
    "adapters",
    "leaderboard",
    "credits",
    "account",
    "sanctions",
    "admin",
]
NEEDS = {
    "contribute": "contributor",
    "review": "reviewer",
    "reviewers": "curator",
    "train": "builder",
    "search": "builder",
    "admin": "admin",
}
FACTS = ["chain", "tyre", "brake", "saddle", "pedal", "spoke", "light", "bell", "fork", "hub", "rim", "gear"]
HOSTILE = "<script>alert(1)</script> **bold** [link](https://evil.example) $x$ :red[no]"


@dataclass(frozen=True)
class Workshop:
    """An installation with a frozen dataset, a finished run with its adapter, and one person for each role."""

    settings: Settings
    dataset_id: int
    run_id: int
    adapter_id: int


def question(part: str, what: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"How do I {what} the {part} of my old bicycle?"},
        {
            "role": "assistant",
            "content": f"To {what} the {part}, clean the {part} with a dry cloth first, then look for wear and tear.",
        },
    ]


@pytest.fixture(scope="module")
def workshop(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    import torch

    torch.set_num_threads(1)
    settings = Settings(home=tmp_path_factory.mktemp("pages") / "home")
    before = os.environ.get("FACTORY_HOME")
    os.environ["FACTORY_HOME"] = str(settings.home)
    settings.models.mkdir(parents=True)
    with store.connect(settings) as db:
        person = {role: people.create(db, f"one-{role}", roles=(role,)) for role in ROLES}
        second = people.create(db, "two-reviewer", roles=("reviewer",))
        dataset = datasets.create(
            db, slug="bicycles", title="Bicycles " + HOSTILE, purpose="Repair help.",
            guidelines="Be kind and exact. " + HOSTILE,
            licence="CC0-1.0", owner=person["curator"], policy=Policy(near_duplicate_jaccard=1.0, held_out_jaccard=1.0),
        )  # fmt: skip
        held_out = [question(part, "repaint") for part in FACTS[:4]]
        datasets.seal_held_out(db, dataset["id"], person=person["curator"], rows=held_out)
        offered = [question(part, "mend") for part in FACTS]
        offered[0][1]["content"] += " " + HOSTILE
        submitted = contributions.submit(
            db, dataset["id"], person=person["contributor"], rows=offered, source="form", licence="CC0-1.0", attested=True
        )
        for example_id in submitted.example_ids[:10]:
            for reviewer in (person["reviewer"], second):
                reviews.decide(db, example_id, reviewer=reviewer, decision="accept")
        for reviewer in (person["reviewer"], second):
            reviews.decide(
                db, submitted.example_ids[10], reviewer=reviewer, decision="return", reason="unclear", note=HOSTILE
            )
        version = datasets.freeze(db, dataset["id"], person=person["curator"])
        model = fetch_tiny(settings, tiny_model)
        recipe = recipes.Recipe(base_model=model, rank=4, epochs=1, effective_batch=4, evaluations=1)
        run_id = runs.create(
            db, person=person["builder"], version_id=version["id"], recipe=recipe, name=HOSTILE, settings=settings
        )
        line.work(db, settings, run_id)
        assert runs.get(db, run_id)["status"] == "done", runs.get(db, run_id)["error"]
        adapter = kept_of(db, run_id)
    yield Workshop(settings, dataset["id"], run_id, adapter)
    if before is None:
        del os.environ["FACTORY_HOME"]
    else:
        os.environ["FACTORY_HOME"] = before


def fetch_tiny(settings: Settings, folder: Path) -> str:
    from factory.training import models

    return str(models.fetch(settings, str(folder))["name"])


def kept_of(db: object, run_id: int) -> int:
    from factory.adapters import kept

    found = kept.find_by_run(db, run_id)  # type: ignore[arg-type]
    assert found is not None
    return int(found["id"])


def visit(workshop: Workshop, role: str | None, page: str, **parameters: str) -> AppTest:
    """A page as somebody with one role sees it; None is a guest."""
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    if role:
        with store.connect(workshop.settings) as db:
            test.session_state[COOKIE] = people.issue_session(db, workshop.settings, person_of(db, role))
    test.run()
    test.switch_page(f"{page}.py")
    for key, value in parameters.items():
        test.query_params[key] = value
    return test.run()


def person_of(db: object, role: str) -> Person:
    return people.get(db, f"one-{role}")  # type: ignore[arg-type]


@pytest.mark.parametrize("role", list(ROLES))
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_its_content_or_says_which_role_is_missing(workshop: Workshop, page: str, role: str) -> None:
    needed = NEEDS.get(page)
    if page in ("review", "reviewers", "admin") and role not in (needed, "admin"):
        with pytest.raises(ValueError, match="Could not find a navigation page"):  # it is not even in the menu
            visit(workshop, role, page)
        return
    shown = visit(workshop, role, page)
    assert not shown.exception
    refused = any("needs the role" in error.value for error in shown.error)
    assert refused == (needed is not None and role not in (needed, "admin"))


def test_a_guest_is_asked_to_sign_in_and_sees_nothing_else(workshop: Workshop) -> None:
    shown = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30).run()
    assert [title.value for title in shown.title] == ["Sign in to go on"]
    assert not shown.metric
    assert not shown.exception


def test_a_forged_cookie_is_a_guest(workshop: Workshop) -> None:
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    test.session_state[COOKIE] = "WzEsMF0.forged"
    assert [title.value for title in test.run().title] == ["Sign in to go on"]


@pytest.mark.parametrize("part", ["Rows", "Versions", "Statistics", "Guidelines"])
def test_a_dataset_shows_each_of_its_parts(workshop: Workshop, part: str) -> None:
    shown = visit(workshop, "curator", "datasets", dataset="bicycles", part=part)
    assert not shown.exception
    assert not shown.error


def test_a_curator_seals_held_out_rows_from_a_file(workshop: Workshop) -> None:
    with store.connect(workshop.settings) as db:
        dataset = datasets.create(
            db, slug="unsealed", title="Unsealed", purpose="To be sealed.", guidelines="Any.", licence="CC0-1.0",
            owner=person_of(db, "curator"),
        )  # fmt: skip
    shown = visit(workshop, "curator", "datasets", dataset="unsealed", part="Versions")
    rows = "question,answer\nHow loud is a bell?,A bell is as loud as the metal it is made of allows.\n"
    shown = shown.file_uploader(key="held-out").upload("rows.csv", rows.encode(), "text/csv").run()
    shown = next(b for b in shown.button if b.label == "Seal these rows").click().run()
    assert not shown.exception
    assert not shown.error
    with store.connect(workshop.settings) as db:
        sealed = datasets.held_out(db, dataset["id"])
    assert sealed
    assert sealed["row_count"] == 1


@pytest.mark.parametrize(
    ("said", "model", "errors"), [("base_model: tiny-llama\n", "tiny-llama", 0), ("base_model: nowhere\n", "", 1)]
)
def test_a_loaded_recipe_brings_its_base_model_or_says_that_it_is_not_here(
    workshop: Workshop, said: str, model: str, errors: int
) -> None:
    shown = visit(workshop, "builder", "train")
    before = shown.selectbox(key="model").value
    shown = shown.text_area(key="yaml-in").set_value(f"{said}rank: 8\n").run()
    shown = next(b for b in shown.button if b.label == "Use it").click().run()
    assert not shown.exception
    assert len(shown.error) == errors
    assert shown.selectbox(key="model").value == (model or before)


def test_a_link_to_a_dataset_opens_that_dataset(workshop: Workshop) -> None:
    with store.connect(workshop.settings) as db:
        slugs = [dataset["slug"] for dataset in datasets.everything(db)]
    assert slugs
    for slug in slugs:
        assert visit(workshop, "contributor", "contribute", dataset=slug).selectbox(key="dataset").value == slug


def test_a_link_to_a_version_trains_on_that_version(workshop: Workshop) -> None:
    with store.connect(workshop.settings) as db:
        ids = [str(version["id"]) for version in datasets.versions(db)]
    for wanted in ids:
        assert visit(workshop, "builder", "train", version=wanted).selectbox(key="version").value == wanted


def test_freezing_without_anything_new_is_refused_in_words(workshop: Workshop) -> None:
    shown = visit(workshop, "curator", "datasets", dataset="bicycles", part="Versions")
    button = next(b for b in shown.button if "Freeze" in b.label)
    shown = button.click().run()
    assert not shown.exception
    assert len(shown.error) == 1


@pytest.mark.parametrize("part", ["Result", "Credit", "Card", "Export"])
def test_an_adapter_shows_each_of_its_parts(workshop: Workshop, part: str) -> None:
    shown = visit(workshop, "builder", "adapters", adapter=str(workshop.adapter_id), part=part)
    assert not shown.exception
    assert not shown.error


def test_a_finished_run_is_reachable_by_its_url(workshop: Workshop) -> None:
    shown = visit(workshop, "contributor", "runs", run=str(workshop.run_id))
    assert not shown.exception
    assert not shown.error


def test_runs_are_compared_by_a_link_and_too_few_of_them_say_so(workshop: Workshop) -> None:
    with store.connect(workshop.settings) as db:
        version_id = runs.get(db, workshop.run_id)["version_id"]
        recipe = dataclasses.replace(runs.get(db, workshop.run_id)["recipe"], rank=8)
        builder = person_of(db, "builder")
        other = runs.create(
            db, person=builder, version_id=version_id, recipe=recipe, settings=workshop.settings, name=HOSTILE
        )
        runs.cancel(db, other, person=builder)
    shown = visit(workshop, "contributor", "runs", compare=f"{workshop.run_id},{other}")
    assert not shown.exception
    assert not shown.error
    assert [header.value for header in shown.header] == ["2 runs side by side"]
    table, differs = (element.value for element in shown.dataframe)
    assert list(table["Rank"]) == ["4", "8"]
    assert list(differs.index) == ["Rank"]
    alone = visit(workshop, "contributor", "runs", compare=f"{workshop.run_id},x")
    assert not alone.exception
    assert [error.value for error in alone.error] == ["Choose from 2 to 50 different runs to compare; these are 1."]


@pytest.mark.parametrize("board", ["Contributors", "Datasets", "Adapters"])
def test_each_leaderboard_is_drawn(workshop: Workshop, board: str) -> None:
    shown = visit(workshop, "contributor", "leaderboard", tab=board)
    assert not shown.exception
    assert not shown.error
    assert shown.dataframe


def test_the_public_ledger_verifies_on_a_click(workshop: Workshop) -> None:
    shown = visit(workshop, "contributor", "credits", part="Public ledger")
    shown = next(b for b in shown.button if "Verify" in b.label).click().run()
    assert not shown.exception
    assert shown.success


def test_an_unknown_run_and_adapter_say_so(workshop: Workshop) -> None:
    for page, key in (("runs", "run"), ("adapters", "adapter")):
        shown = visit(workshop, "builder", page, **{key: "999999"})
        assert not shown.exception
        assert len(shown.error) == 1


def test_words_from_people_are_never_markup(workshop: Workshop) -> None:
    pages = [
        ("datasets", {"dataset": "bicycles"}),
        ("runs", {"run": str(workshop.run_id)}),
        ("contribute", {}),
        ("home", {}),
    ]
    for page, parameters in pages:
        shown = visit(workshop, "contributor", page, **parameters)
        assert not shown.exception
        for element in [*shown.markdown, *shown.caption, *shown.header, *shown.subheader]:
            assert "<script>" not in element.value
            assert "[link](" not in element.value


def test_a_form_contribution_is_judged_first_and_counts_only_when_submitted(workshop: Workshop) -> None:
    shown = visit(workshop, "contributor", "contribute")
    with store.connect(workshop.settings) as db:
        before = contributions.counts(db, person_of(db, "contributor"))
    shown.text_area(key="question").input("How do I carry a bicycle up a narrow staircase?")
    shown = (
        shown.text_area(key="answer")
        .input("Put the top tube on your shoulder and keep the front wheel turned outwards.")
        .run()
    )
    assert any("1 good" in element.value for element in shown.markdown)
    with store.connect(workshop.settings) as db:
        assert contributions.counts(db, person_of(db, "contributor")) == before
    shown = shown.checkbox[0].check().run()
    shown = next(b for b in shown.button if b.label.startswith("Submit 1")).click().run()
    assert not shown.exception
    with store.connect(workshop.settings) as db:
        after = contributions.counts(db, person_of(db, "contributor"))
    assert after["waiting"] == before.get("waiting", 0) + 1


def test_a_review_by_button_records_a_verdict_and_shows_the_next(workshop: Workshop) -> None:
    shown = visit(workshop, "reviewer", "review")
    assert not shown.exception
    with store.connect(workshop.settings) as db:
        before = reviews.record_of(db, person_of(db, "reviewer"))["verdicts"]
    shown = shown.button(key="accept").click().run()
    assert not shown.exception
    with store.connect(workshop.settings) as db:
        reviewer = person_of(db, "reviewer")
        assert reviews.record_of(db, reviewer)["verdicts"] == before  # for a moment it can be taken back
        assert held.let_go(db, reviewer=reviewer) + reviews.record_of(db, reviewer)["verdicts"] - before == 2


def test_a_rejection_asks_for_its_reason_and_can_be_taken_back(workshop: Workshop) -> None:
    with store.connect(workshop.settings) as db:
        author = person_of(db, "contributor")
        rows = [question("basket", "hang")]
        contributions.submit(
            db, workshop.dataset_id, person=author, rows=rows, source="form", licence="CC0-1.0", attested=True
        )
    shown = visit(workshop, "reviewer", "review")
    shown = shown.button(key="reject").click().run()
    assert not shown.exception
    assert not [button for button in shown.button if button.key == "accept"]
    shown = shown.button(key="because-wrong").click().run()
    assert not shown.exception
    with store.connect(workshop.settings) as db:
        on_hold = held.on_hold(db, person_of(db, "reviewer"))
    assert on_hold is not None
    assert on_hold["decision"] == "reject"
    shown = shown.button(key="undo").click().run()
    assert not shown.exception
    with store.connect(workshop.settings) as db:
        assert held.on_hold(db, person_of(db, "reviewer")) is None
    assert shown.button(key="accept")


def test_the_card_follows_the_sliders_and_starts_a_run(workshop: Workshop) -> None:
    shown = visit(workshop, "builder", "train")
    assert not shown.exception
    before = next(m.value for m in shown.metric if m.label == "Disk")
    shown = shown.select_slider(key="knob-rank").set_value(256).run()
    assert next(m.value for m in shown.metric if m.label == "Disk") != before
    shown = next(b for b in shown.button if b.label == "Start the training").click().run()
    assert not shown.exception
    with store.connect(workshop.settings) as db:
        newest = runs.listing(db, limit=1)[0]
        assert newest["status"] == "queued"
        assert newest["recipe"].rank == 256
        runs.cancel(db, newest["id"], person=person_of(db, "builder"))


def test_every_knob_is_on_the_page_at_everything(workshop: Workshop) -> None:
    shown = visit(workshop, "builder", "train")
    shown.segmented_control(key="shown").set_value("everything")
    shown = shown.toggle(key="knob-alpha_linked").set_value(False).run() if shown.toggle else shown.run()
    keys = {element.key for element in shown.main if getattr(element, "key", None)}
    keys = {str(key).split("-without-")[0].split("-idle-")[0] for key in keys}
    assert {f"knob-{knob.name}" for knob in recipes.knobs()} - keys == {"knob-base_model"}


def test_values_of_a_browser_that_has_not_seen_the_preset_yet_cannot_undo_it(workshop: Workshop) -> None:
    shown = visit(workshop, "builder", "train")
    stale = shown._tree.get_widget_states()  # all that the browser shows before it hears of the click
    values = [state for state in stale.widgets if not state.HasField("trigger_value")]  # of buttons it tells clicks only
    stale = type(stale)(widgets=values)
    shown = shown.button(key="preset-quick try").click().run()
    shown = shown._run(stale)
    assert not shown.exception
    shown = next(b for b in shown.button if b.label == "Start the training").click().run()
    with store.connect(workshop.settings) as db:
        newest = runs.listing(db, limit=1)[0]
        assert newest["recipe"] == replace(recipes.PRESETS["quick try"], base_model=newest["model_name"])
        runs.cancel(db, newest["id"], person=person_of(db, "builder"))


@pytest.mark.parametrize("part", ["Curves", "Answers", "Recipe and data", "Predicted and measured", "What happened"])
@pytest.mark.parametrize("along", ["step", "epoch", "tokens", "time"])
def test_every_part_of_a_runs_page_and_every_axis_is_reached_by_its_address(
    workshop: Workshop, part: str, along: str
) -> None:
    if part != "Curves" and along != "step":
        return
    test = visit(workshop, "builder", "runs", run=str(workshop.run_id), part=part, along=along, smoothing="0.9", log="true")
    assert not test.exception
    words = " ".join(each.value for each in [*test.markdown, *test.caption])
    assert HOSTILE not in words
    if part == "Answers":
        assert "Asked" in words
    if part == "Curves":
        assert test.slider(key="smoothing").value == 0.9
        assert test.toggle(key="log").value is True


def test_matrices_can_be_chosen_by_name_although_none_is_named_at_first(workshop: Workshop) -> None:
    shown = visit(workshop, "builder", "train")
    shown = shown.segmented_control(key="shown").set_value("advanced").run()
    assert shown.text_input(key="knob-target_modules-idle-").disabled
    shown = shown.selectbox(key="knob-targets").set_value("chosen").run()
    assert any("No matrix is named" in error.value for error in shown.error)
    shown = shown.text_input(key="knob-target_modules").set_value("q_proj, v_proj").run()
    assert not shown.error
    assert not shown.exception
    assert any("in 4 of 14 matrices" in caption.value for caption in shown.caption)
