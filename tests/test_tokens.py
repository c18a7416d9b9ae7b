"""The token view shows what training trains on, for any maximum length at once, and says which rows are amiss."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database
from streamlit.testing.v1 import AppTest

from factory import api
from factory.__main__ import main
from factory.base import people
from factory.base.errors import Invalid, NotAllowed, NotFound
from factory.base.settings import ROOT, Settings
from factory.intake import datasets, formats
from factory.sign_in import COOKIE
from factory.training import encoding, models, tokenising, tokens
from factory.training.recipes import Recipe
from tests import trained
from tests.test_gates import ENDLESS

RECIPE = Recipe(base_model="tiny", max_length=64)
HOSTILE = "<script>alert(1)</script>\u202e & <|im_end|>"


@dataclasses.dataclass(frozen=True)
class House:
    """A builder and a frozen version on the tiny model."""

    builder: people.Person
    ada: people.Person
    version_id: int


@pytest.fixture
def house(db: Database, settings: Settings, tiny_model: Path) -> House:
    trained.home_model(settings, tiny_model)
    builder, ada, version = trained.frozen_version(db)
    return House(builder, ada, version["id"])


def made(db: Database, settings: Settings, house: House, recipe: Recipe = RECIPE) -> tokens.View:
    return tokens.make(db, settings, version_id=house.version_id, recipe=recipe)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} seconds")


def test_the_view_is_what_the_trainer_encodes_for_every_maximum_length(
    db: Database, settings: Settings, house: House
) -> None:
    recipe = dataclasses.replace(RECIPE, system_prompt="Be brief.")
    view = made(db, settings, house, recipe)
    tokenizer = models.load_tokenizer(settings, "tiny")
    for place, (_, example_id, text) in enumerate(datasets.version_content(db, house.version_id)):
        for most in (8, 30, 64, 4096):
            row = encoding.encode(
                tokenizer, formats.messages(text), example_id=example_id, max_length=most, system_prompt="Be brief."
            )
            shown = [token for token in tokens.row(view, place, max_length=most) if not token.cut]
            assert tuple(token.id for token in shown) == row.tokens
            assert tuple(token.trained for token in shown) == row.supervised
            assert (place in tokens.failing(view, max_length=most)["learns"]) == (row.label_tokens == 0)
    assert tokens.place_of(view, int(view.example_ids[1])) == 1


def test_the_sums_follow_the_maximum_length(db: Database, settings: Settings, house: House) -> None:
    view = made(db, settings, house)
    whole, short = (tokens.summary(view, max_length=most) for most in (4096, 45))
    assert whole["tokens"] == int(view.lengths.sum())
    assert whole["trained_tokens"] == int(view.trained.sum())
    assert (whole["rows_cut"], whole["rows_with_nothing"]) == (0, 0)
    assert whole["recommended"] % 64 == 0
    assert whole["recommended"] >= whole["p95"] >= whole["p50"]
    assert short["rows_cut"] == 3
    assert short["trained_tokens"] < whole["trained_tokens"]
    assert all(gate["passed"] for gate in whole["gates"])
    assert [gate["passed"] for gate in tokens.summary(view, max_length=20)["gates"]] == [False, True, True]
    assert tokens.summary(view, max_length=20, longest=32)["recommended"] == 32


def test_rows_are_picked_by_length_by_chance_and_by_their_problems(db: Database, settings: Settings, house: House) -> None:
    view = made(db, settings, house)
    assert tokens.pick(view, "first", max_length=64) == 0
    assert tokens.pick(view, "longest", max_length=64) == int(np.argmax(view.lengths))
    drawn = {tokens.pick(view, "random", max_length=64, seed=seed) for seed in range(20)}
    assert drawn == {0, 1, 2}
    assert [tokens.pick(view, "problem", max_length=20, after=place) for place in (-1, 0, 1, 2)] == [0, 1, 2, 0]
    assert tokens.troubles(view, 0, max_length=20) == ["Nothing in this row would be trained on."]
    with pytest.raises(NotFound):
        tokens.pick(view, "problem", max_length=4096)
    with pytest.raises(NotFound):
        tokens.row(view, 3, max_length=64)
    with pytest.raises(Invalid):
        tokens.pick(view, "nicest", max_length=64)
    with pytest.raises(NotFound):
        tokens.place_of(view, 10**9)


def test_a_view_is_made_once_and_anew_for_other_tokens_only(db: Database, settings: Settings, house: House) -> None:
    def key(**changes: Any) -> str:
        return tokens.key(db, settings, version_id=house.version_id, recipe=dataclasses.replace(RECIPE, **changes))

    before = key()
    assert key(max_length=128, rank=64, seed=1) == before
    others = [key(system_prompt="Hello."), key(completions_only=False), key(mask_history=True)]
    assert len({before, *others}) == 4
    template = settings.models / "tiny" / "chat_template.jinja"
    template.write_text(" " + template.read_text())
    assert key() != before
    with pytest.raises(NotFound):
        key(base_model="other")


def test_every_row_that_fails_a_gate_is_named(db: Database, settings: Settings, house: House) -> None:
    (settings.models / "tiny" / "chat_template.jinja").write_text(ENDLESS)
    view = made(db, settings, house)
    assert tokens.failing(view, max_length=4096)["ends"] == [0, 1, 2]
    assert "stop" in tokens.troubles(view, 2, max_length=4096)[0]
    (settings.models / "tiny" / "chat_template.jinja").write_text("{{ raise_exception('not like this') }}")
    refused = made(db, settings, house)
    assert tokens.failing(refused, max_length=4096)["prompt"] == [0, 1, 2]
    assert "not like this" in tokens.troubles(refused, 0, max_length=4096)[0]
    assert tokens.row(refused, 0, max_length=64) == []


def test_half_a_character_is_shown_as_its_bytes_and_hidden_signs_by_their_number(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids = tokenizer.encode("a 🦔\u202e", add_special_tokens=False)
    found = tokens.texts(tokenizer, sorted(set(ids)))
    read = "".join(found[number] for number in ids)
    assert read.startswith("a")
    assert "⟨F0 9F" in read.replace("⟨ ", "⟨") or "F0" in read
    assert "\N{REPLACEMENT CHARACTER}" not in read
    assert tokens.visible("\u202e") == "⟨202E⟩"


def test_the_command_shows_a_row_and_fails_where_a_gate_does(
    db: Database, settings: Settings, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tokens", "--dataset", "questions", "--base-model", "tiny", "--as", "builder"]
    assert main([*words, "--pick", "longest"]) == 0
    shown = capsys.readouterr().out
    assert "[ Paris]" in shown or "[Paris]" in shown or "[ Mercury]" in shown or "[Mercury]" in shown
    assert "passed  Every row has something to learn" in shown
    assert main([*words, "--max-length", "64", "--system-prompt", "word " * 80, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["rows_with_nothing"] == 3
    assert found["row"]["tokens"][-1]["cut"]
    assert main([*words[:-1], "ada"]) == 1
    assert "role" in capsys.readouterr().err


def test_the_route_answers_the_same_and_only_builders(db: Database, settings: Settings, house: House) -> None:
    view = made(db, settings, house)
    asked = {"dataset": "questions", "recipe": {"base_model": "tiny", "max_length": 64}, "pick": "longest"}
    for person, status in ((house.builder, 200), (house.ada, 403)):
        token = people.issue_token(db, person, "tests")
        with TestClient(api.application(settings), headers={"Authorization": f"Bearer {token}"}) as client:
            answer = client.post("/tokens", json=asked)
        assert answer.status_code == status, answer.text
        if status == 200:
            found = answer.json()
            assert found["tokens"] == tokens.summary(view, max_length=64)["tokens"]
            assert [gate["passed"] for gate in found["gates"]] == [True, True, True]
            assert len(found["row"]["tokens"]) == int(view.lengths.max())


@pytest.mark.slow
def test_a_page_makes_it_in_a_process_of_its_own_that_can_be_stopped(db: Database, settings: Settings, house: House) -> None:
    asked = {"version_id": house.version_id, "recipe": RECIPE, "person": house.builder}
    with pytest.raises(NotAllowed):
        tokenising.begin(db, settings, **{**asked, "person": house.ada})
    name = tokenising.begin(db, settings, **asked)
    assert tokenising.look(settings, name).state == "running"
    assert tokenising.begin(db, settings, **asked) == name
    tokenising.stop(settings, name)
    until(lambda: tokenising.look(settings, name).state == "failed")
    assert tokens.find(settings, name) is None
    view = tokenising.made(db, settings, **asked)
    assert tokenising.look(settings, name) == tokenising.Making("ready")
    assert len(view.example_ids) == 3


@pytest.mark.slow
def test_what_the_process_refuses_is_said_to_whom_asked(db: Database, settings: Settings, house: House) -> None:
    (settings.models / "tiny" / "chat_template.jinja").unlink()
    with pytest.raises(Invalid, match="no chat template"):
        tokenising.made(db, settings, version_id=house.version_id, recipe=RECIPE, person=house.builder)


def test_looking_at_tokens_never_imports_torch() -> None:
    code = "import sys; from factory.training import tokens, tokenising; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_the_wizard_shows_rows_in_colour_and_hostile_words_as_words(db: Database, settings: Settings, house: House) -> None:
    made(db, settings, house, dataclasses.replace(Recipe(), base_model="tiny"))
    test = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=30)
    test.session_state[COOKIE] = people.issue_session(db, settings, house.builder)
    test.run().switch_page("train.py")
    test.session_state["tokens"] = True
    test.run()
    assert not test.exception
    assert any('<span class="trained"' in block.value for block in test.get("html"))
    assert "Row 1, 1 of 3" in "".join(caption.value for caption in test.caption)
    next(button for button in test.button if button.label.startswith("Take a maximum length")).click().run()
    assert not test.exception
    assert test.session_state["recipe"].max_length == 64
    next(button for button in test.button if button.label == "Next").click().run()
    assert "2 of 3" in "".join(caption.value for caption in test.caption)


def test_no_word_of_a_token_is_ever_markup() -> None:
    from pages.parts.tokens import coloured

    shown = coloured([tokens.Token(HOSTILE, 5, True, False, False)])
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "\u202e" not in shown
    assert 'class="trained"' in shown
