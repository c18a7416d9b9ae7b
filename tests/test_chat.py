"""Asking base and adapter, in this process and in one of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import pytest
import torch
from sqlite_utils import Database

from factory.adapters import chat, kept, talk
from factory.base import store
from factory.base.errors import Conflict, Invalid, NotFound, Unavailable
from factory.base.settings import ROOT, Settings
from factory.training import device, models
from tests import trained

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SERVE = (
    sys.executable,
    "-c",
    "from factory.adapters import chat; from factory.base import settings; chat.serve(settings.load(), idle_seconds=60)",
)


@pytest.fixture
def past(db: Database, settings: Settings, tiny_model: Path) -> trained.Past:
    torch.set_num_threads(1)
    return trained.past(db, settings, tiny_model)


@pytest.fixture
def place(db: Database, settings: Settings, past: trained.Past) -> Path:
    return kept.folder(db, settings, past.adapter_id)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[Settings, trained.Past]]:
    """An installation with an adapter whose chat process starts at the first question and is stopped at the end."""
    settings = Settings(home=tmp_path_factory.mktemp("served"))
    with store.connect(settings) as db:
        past = trained.past(db, settings, tiny_model)
    yield settings, past
    talk.free(settings)


def ask(settings: Settings, adapter_id: int | None = None, **more: object) -> Iterator[str]:
    asked = {"messages": QUESTION, "max_tokens": 12, "model_name": "tiny", "command": SERVE, **more}
    return talk.stream(settings, adapter_id=adapter_id, **asked)  # type: ignore[arg-type]


def tuned(settings: Settings, place: Path, **more: object) -> str:
    return "".join(chat.stream(settings, "tiny", place, QUESTION, max_tokens=12, **more))  # type: ignore[arg-type]


def base(settings: Settings) -> str:
    return "".join(chat.stream(settings, "tiny", None, QUESTION, max_tokens=12))


def test_the_adapter_answers_otherwise_than_the_base_and_the_base_is_untouched_by_it(
    settings: Settings, place: Path
) -> None:
    before = base(settings)
    with_adapter = tuned(settings, place)
    assert with_adapter != before
    assert base(settings) == before
    assert tuned(settings, place) == with_adapter


def test_two_answers_drawn_in_turns_do_not_mix(settings: Settings, place: Path) -> None:
    alone = tuned(settings, place)
    chat._loaded.clear()
    of_base = chat.stream(settings, "tiny", None, QUESTION, max_tokens=12)
    first = next(of_base)  # the base begins before any adapter is on the model
    of_adapter = "".join(chat.stream(settings, "tiny", place, QUESTION, max_tokens=12))
    assert of_adapter == alone
    assert first + "".join(of_base) == base(settings)


def test_greedy_tokens_are_those_of_transformers_own_generation(settings: Settings, place: Path) -> None:
    from transformers import GenerationConfig

    model, tokenizer = models.load(settings, "tiny", adapter_folder=place)
    prompt = kept.prompt(tokenizer, QUESTION)
    greedy = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=tokenizer.eos_token_id, pad_token_id=0)
    ids = torch.tensor([prompt])
    expected = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)[0, len(prompt) :]
    assert chat.greedy_tokens(settings, "tiny", place, QUESTION, max_tokens=12) == expected.tolist()


def test_pieces_joined_are_the_whole_answer_and_no_piece_holds_half_a_character(settings: Settings, place: Path) -> None:
    pieces = list(chat.stream(settings, "tiny", place, QUESTION, max_tokens=60, temperature=2.0, seed=5))
    assert len(pieces) > 1
    assert not any(piece.endswith("\N{REPLACEMENT CHARACTER}") for piece in pieces[:-1])


def test_the_same_seed_says_the_same_and_another_seed_something_else(settings: Settings, place: Path) -> None:
    once = tuned(settings, place, temperature=1.0, seed=1)
    assert tuned(settings, place, temperature=1.0, seed=1) == once
    assert tuned(settings, place, temperature=1.0, seed=2) != once


def test_a_wish_to_stop_ends_the_answer_between_two_tokens(settings: Settings, past: trained.Past) -> None:
    asked: list[int] = []

    def enough() -> bool:
        asked.append(1)
        return len(asked) > 4

    pieces = list(chat.stream(settings, "tiny", None, QUESTION, max_tokens=100, should_stop=enough))
    assert len(asked) == 5
    assert len(pieces) <= 4


def test_the_system_prompt_of_the_training_stands_in_front_of_a_chat(settings: Settings, place: Path) -> None:
    sheet = kept.sheet(place) | {"system_prompt": "You are a pirate."}
    (place / kept.SHEET).write_text(kept._json(sheet))
    explicit = [{"role": "system", "content": "You are a pirate."}, *QUESTION]
    assert chat.greedy_tokens(settings, "tiny", place, QUESTION) == chat.greedy_tokens(settings, "tiny", place, explicit)
    (place / kept.SHEET).write_text(kept._json(sheet | {"system_prompt": ""}))
    assert chat.greedy_tokens(settings, "tiny", place, QUESTION) != chat.greedy_tokens(settings, "tiny", place, explicit)


def test_another_chat_template_than_that_of_the_training_is_refused(settings: Settings, place: Path) -> None:
    chat._loaded.clear()
    template = settings.models / "tiny" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    with pytest.raises(Invalid, match="another chat template"):
        tuned(settings, place)


def test_a_template_changed_while_the_model_is_in_memory_is_refused_until_it_is_back(
    settings: Settings, place: Path
) -> None:
    before = tuned(settings, place)
    template = settings.models / "tiny" / "chat_template.jinja"
    text = template.read_text()
    template.write_text(" " + text)
    with pytest.raises(Invalid, match="another chat template"):
        tuned(settings, place)
    assert chat.greedy_tokens(settings, "tiny", None, QUESTION), "the base itself may be asked with any template"
    template.write_text(text)
    assert tuned(settings, place) == before


def test_other_base_weights_than_those_of_the_training_are_refused(settings: Settings, place: Path) -> None:
    (place / kept.SHEET).write_text(kept._json(kept.sheet(place) | {"model_hash": "0" * 64}))
    with pytest.raises(Invalid, match="other weights"):
        tuned(settings, place)


@pytest.mark.parametrize(
    ("messages", "more", "words"),
    [
        ([], {}, "Ask something"),
        ([{"role": "assistant", "content": "Hi"}], {}, "take turns"),
        ([{"role": "user", "content": "  "}], {}, "empty"),
        ([{"role": "user"}], {}, "role and a content"),
        (QUESTION, {"max_tokens": 0}, "1 to 2048"),
        (QUESTION, {"temperature": float("nan")}, "temperature"),
        (QUESTION, {"seed": 2**70}, "seed"),
        ([{"role": "user", "content": "word " * 9000}], {}, "too long"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(
    settings: Settings, past: trained.Past, messages: list[dict[str, str]], more: dict[str, float], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        list(chat.stream(settings, "tiny", None, messages, **more))  # type: ignore[arg-type]


def test_more_adapters_than_fit_make_room_and_come_back(settings: Settings, place: Path) -> None:
    answer = tuned(settings, place)
    others = [Path(shutil.copytree(place, place.with_name(f"other{i}"))) for i in range(chat.ADAPTERS_AT_ONCE)]
    assert [tuned(settings, other) for other in others] == [answer] * len(others)
    assert len(chat._loaded[0].adapters) == chat.ADAPTERS_AT_ONCE
    assert place.name not in chat._loaded[0].adapters
    assert tuned(settings, place) == answer


def test_talking_never_imports_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from factory.adapters import talk; sys.exit('torch' in sys.modules)"],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0


def test_a_long_home_gets_a_short_address(tmp_path: Path) -> None:
    usual, long = Settings(home=Path("/a")), Settings(home=tmp_path / ("x" * 120))
    assert talk.address(usual) == "/a/chat.sock"
    assert len(talk.address(long)) < 100
    assert talk.address(long) == talk.address(long) != talk.address(Settings(home=tmp_path / ("y" * 120)))


def test_nobody_there_is_none_and_freeing_nothing_is_false(settings: Settings) -> None:
    assert talk.status(settings) is None
    assert talk.free(settings) is False


def test_a_process_that_cannot_start_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(Unavailable, match=r"ended at once; .*chat\.log"):
        list(ask(settings, command=[sys.executable, "-c", "1/0"]))


def test_the_chat_process_says_what_this_process_says(served: tuple[Settings, trained.Past]) -> None:
    settings, past = served
    with store.connect(settings) as db:
        place = kept.folder(db, settings, past.adapter_id)
    assert "".join(ask(settings)) == base(settings)
    assert "".join(ask(settings, past.adapter_id)) == tuned(settings, place)
    state = talk.status(settings)
    assert state is not None
    assert (state["state"], state["model_name"]) == ("idle", "tiny")
    assert state["pid"] != os.getpid()


def test_chat_holds_the_device_while_it_answers_and_answers_beside_a_run(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    alone = "".join(ask(settings))
    deadline = time.monotonic() + 10
    while device.holder(settings) is not None and time.monotonic() < deadline:
        time.sleep(0.02)  # it lets go a moment after its last word
    found = device.last(settings)
    assert found is not None
    assert (found.kind, found.until is not None) == (device.CHAT, True)
    assert device.quiet_in(settings) > 0
    assert (device.resident(settings) or {})["pid"] == (talk.status(settings) or {})["pid"]
    with device.held(settings, device.RUN, "Run 1 is training", run_id=1):
        assert "".join(ask(settings)) == alone
        assert (device.holder(settings) or found).run_id == 1


def test_what_the_chat_process_refuses_rises_here_as_the_same_error(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    with pytest.raises(NotFound, match="no adapter 99"):
        list(ask(settings, 99))
    with pytest.raises(NotFound, match="no base model 'absent'"):
        list(ask(settings, model_name="absent"))
    with pytest.raises(Invalid, match="Ask something"):
        list(ask(settings, messages=[]))


def test_several_who_ask_at_once_are_answered_one_after_the_other(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    answers: list[str] = []
    askers = [threading.Thread(target=lambda: answers.append("".join(ask(settings)))) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(60)
    assert answers == [base(settings)] * 4


def test_a_caller_who_leaves_stops_the_generation(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    pieces = ask(settings, max_tokens=2000, temperature=2.0)
    next(pieces)
    assert (talk.status(settings) or {})["state"] == "talking"
    pieces.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 5
    while (talk.status(settings) or {})["state"] != "idle" and time.monotonic() < until:
        time.sleep(0.02)
    assert (talk.status(settings) or {})["state"] == "idle"


def test_without_the_secret_key_nobody_is_answered(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    "".join(ask(settings))
    with pytest.raises(AuthenticationError):
        Client(talk.address(settings), family="AF_UNIX", authkey=b"guessed")
    assert talk.status(settings) is not None


@pytest.mark.slow
def test_freed_in_mid_answer_it_says_so_and_the_next_question_starts_it_again(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    pieces = ask(settings, max_tokens=2000, temperature=2.0)
    next(pieces)
    assert talk.free(settings) is True
    with pytest.raises(Conflict, match="freed"):
        list(pieces)
    assert talk.status(settings) is None
    assert "".join(ask(settings)) == base(settings)


@pytest.mark.slow
def test_a_killed_chat_process_is_one_sentence_and_the_next_question_starts_another(
    served: tuple[Settings, trained.Past],
) -> None:
    settings, _ = served
    pieces = ask(settings, max_tokens=2000, temperature=2.0)
    next(pieces)
    os.kill((talk.status(settings) or {})["pid"], signal.SIGKILL)
    with pytest.raises(Unavailable, match="ended before its answer"):
        list(pieces)
    assert "".join(ask(settings)) == base(settings)


def test_only_one_serves_and_it_leaves_by_itself_when_idle(served: tuple[Settings, trained.Past]) -> None:
    settings, _ = served
    talk.free(settings)
    until = time.monotonic() + 30
    first = threading.Thread(target=chat.serve, args=(settings,), kwargs={"idle_seconds": 0.6})
    first.start()
    while talk.status(settings) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert (talk.status(settings) or {})["pid"] == os.getpid()
    chat.serve(settings, idle_seconds=60)  # returns at once: the place is taken
    first.join(10)
    assert not first.is_alive()
    assert talk.status(settings) is None
    assert not Path(talk.address(settings)).exists()
