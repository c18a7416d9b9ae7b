"""The command line: help at once, exit codes, JSON, and every power that needs no model."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from factory import __main__ as commands
from factory.base import people
from factory.base.settings import ROOT, Settings
from factory.intake import sample
from factory.training import recipes

Ran = tuple[int, str, str]
Run = Callable[..., Ran]


@pytest.fixture
def run(settings: Settings, db: Database, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type a command in a fresh installation: exit code, stdout, stderr."""

    def typed(*words: object) -> Ran:
        capsys.readouterr()
        try:
            code = commands.main([str(word) for word in words])
        except SystemExit as ended:
            code = int(str(ended.code or 0))
        out, err = capsys.readouterr()
        return code, out, err

    return typed


@pytest.fixture
def capitals(run: Run, tmp_path: Path) -> Path:
    """A dataset named capitals, and a file with four rows for it: two good, one too short, one broken."""
    code, _, err = run(
        "datasets", "create", "capitals", "--title", "Capitals", "--purpose", "Capitals of countries.",
        "--guidelines", "One a row.", "--licence", "CC0-1.0",
    )  # fmt: skip
    assert code == 0, err
    file = tmp_path / "capitals.jsonl"
    good = [("France", "Paris"), ("Peru", "Lima")]
    rows = [{"question": f"Which city is the capital of {c}?", "answer": f"{t} is the capital of {c}."} for c, t in good]
    file.write_text("\n".join([*map(json.dumps, rows), json.dumps({"question": "Why?", "answer": "So."}), "{broken"]) + "\n")
    return file


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for child in group.choices.values():
            yield from leaves(child)
    if not groups:
        yield parser


def test_help_comes_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from factory.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'streamlit', 'sqlite_utils', 'fastapi', 'rich', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.rstrip().endswith("[]")


def test_listing_and_looking_import_neither_torch_nor_pandas_which_can_still_be_had() -> None:
    code = "import sys\nfor n in ('house', 'people', 'rows', 'training', 'results'): __import__('factory.commands.' + n)\n"
    code += "print(*(n in sys.modules for n in ('torch', 'streamlit', 'pandas', 'sqlite_utils')))\n"
    code += "import pandas; print(bool(pandas.DataFrame))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False", "False", "True", "True"]


def test_every_command_has_a_function_that_says_what_it_does_and_takes_json_and_as() -> None:
    found = list(leaves(commands.parser()))
    assert len(found) > 40
    for leaf in found:
        does = leaf.get_default("does")
        assert commands.command(does).__doc__, does
        assert {"--json", "--as"} <= set(leaf._option_string_actions)


def test_every_function_of_the_commands_is_reached() -> None:
    named = {leaf.get_default("does") for leaf in leaves(commands.parser())}
    for module in ("house", "people", "rows", "training", "search", "results"):
        text = (ROOT / "factory" / "commands" / f"{module}.py").read_text()
        for function in re.findall(r"^def (\w+)\(desk: Desk, arguments: argparse.Namespace\)", text, re.MULTILINE):
            if not function.startswith("_"):
                assert f"{module}:{function}" in named


def test_the_work_of_the_worker_is_not_in_the_help() -> None:
    text = commands.parser(with_knobs=False).format_help()
    assert re.search(r"^    worker ", text, re.MULTILINE)
    assert not re.search(r"^    work ", text, re.MULTILINE)


def test_train_has_an_option_for_every_knob_of_a_recipe() -> None:
    train = next(leaf for leaf in leaves(commands.parser()) if leaf.get_default("does") == "training:train")
    options = set(train._option_string_actions)
    assert {"--" + knob.name.replace("_", "-") for knob in recipes.knobs()} <= options


@pytest.mark.parametrize("words", [[], ["nonsense"], ["people"], ["people", "add"], ["train"], ["runs", "show", "x"]])
def test_what_is_wrongly_typed_exits_with_2(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert "usage:" in err


@pytest.mark.parametrize(
    "words",
    [
        ["datasets", "show", "nowhere"],
        ["check", "missing.jsonl", "--dataset", "nowhere"],
        ["runs", "show", "7"],
        ["train", "--dataset", "nowhere"],
        ["people", "roles", "nobody", "builder"],
        ["people", "list", "--as", "nobody"],
        ["models", "show", "nothing"],
        ["export"],
        ["chat", "hello"],
        ["credit", "receipt", "9"],
    ],
)
def test_a_refusal_exits_with_1_and_one_sentence_on_stderr(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert code == 1
    assert out == ""
    assert err.strip().endswith(".")
    assert len(err.strip().splitlines()) == 1
    code, out, _ = run(*words, "--json")
    assert code == 1
    assert json.loads(out)["error"]
    assert json.loads(out)["status"] in (403, 404, 422)


def test_json_is_all_that_stdout_holds(run: Run, capitals: Path) -> None:
    for words in (
        ["people", "list"], ["datasets", "list"], ["datasets", "show", "capitals"], ["datasets", "versions", "capitals"],
        ["check", capitals, "--dataset", "capitals"], ["review", "--dataset", "capitals"], ["runs", "list"],
        ["models", "list"], ["credit", "show"], ["credit", "statement"], ["leaderboard", "contributors"],
        ["leaderboard", "datasets"], ["leaderboard", "adapters"], ["people", "link"], ["people", "token"], ["verify"],
        ["sample"],
    ):  # fmt: skip
        code, out, err = run(*words, "--json")
        assert code == 0, (words, err)
        json.loads(out)


# ---------------------------------------------------------------- people


def test_an_account_is_opened_given_roles_and_signed_in(run: Run, db: Database) -> None:
    assert run("people", "add", "ada", "--role", "reviewer", "--display-name", "Ada")[0] == 0
    assert people.get(db, "ada").roles == {"reviewer"}
    assert run("people", "roles", "ada", "builder", "contributor")[0] == 0
    assert people.get(db, "ada").roles == {"builder", "contributor"}
    _, out, _ = run("people", "link", "ada", "--json")
    token = json.loads(out)["link"].partition("/sign-in/link?token=")[2]
    assert people.use_link(db, token).name == "ada"


def test_a_password_comes_from_a_file_or_a_pipe_and_never_as_an_argument(
    run: Run, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("people", "add", "ada")
    secret = tmp_path / "secret"
    secret.write_text("three random words\n")
    assert run("people", "password", "ada", "--password-file", secret)[0] == 0
    assert people.authenticate(db, "ada", "three random words", address="here").name == "ada"
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    assert run("people", "password", "ada", "--password-file", "-")[0] == 1


def test_as_says_who_acts_and_their_roles_count(run: Run, capitals: Path) -> None:
    run("people", "add", "ada")
    assert run("datasets", "freeze", "capitals", "--as", "ada")[0] == 1
    assert run("people", "add", "bob", "--as", "ada")[0] == 1
    assert run("people", "link", "maintainer", "--as", "ada")[0] == 1
    assert run("people", "token", "--as", "ada")[0] == 0


# ---------------------------------------------------------------- from a file to a version


def test_check_names_each_bad_row_and_writes_nothing(run: Run, capitals: Path) -> None:
    code, out, _ = run("check", capitals, "--dataset", "capitals")
    assert code == 0
    assert "     3  refused" in out
    assert "     4  refused" in out
    assert "2 of 4 rows are good" in out
    assert json.loads(run("datasets", "show", "capitals", "--json")[1])["waiting"] == 0


def test_check_of_a_file_without_a_good_row_exits_with_1(run: Run, capitals: Path) -> None:
    capitals.write_text(json.dumps({"question": "Why?", "answer": "So."}))
    assert run("check", capitals, "--dataset", "capitals")[0] == 1


def test_submit_review_freeze_and_export_from_the_terminal(run: Run, capitals: Path, tmp_path: Path) -> None:
    for name in ("ada", "bob"):
        run("people", "add", name, "--role", "reviewer")
    assert run("submit", capitals, "--dataset", "capitals")[0] == 1  # nobody said that the rows may be given
    code, out, _ = run("submit", capitals, "--dataset", "capitals", "--mine-to-give", "--json")
    assert code == 0
    assert json.loads(out)["waiting"] == 2
    for name in ("ada", "bob"):
        queue = json.loads(run("review", "--dataset", "capitals", "--as", name, "--json")[1])["queue"]
        assert run("review", queue[0]["example_id"], "--decision", "reject", "--as", name)[0] == 1  # without a reason
        for row in queue:
            assert "maintainer" not in json.dumps(row)
            assert run("review", row["example_id"], "--decision", "accept", "--as", name)[0] == 0
    code, out, _ = run("datasets", "freeze", "capitals", "--note", "first")
    assert "capitals@1" in out
    written = tmp_path / "out.jsonl"
    assert run("datasets", "export", "capitals@1", "--to", written)[0] == 0
    assert len(written.read_text().splitlines()) == 2
    assert run("datasets", "export", "capitals")[1] == written.read_text()
    assert run("datasets", "export", "capitals@2", "--to", written)[0] == 1
    assert run("datasets", "freeze", "capitals")[0] == 1  # nothing changed since


def test_seal_refuses_a_file_with_broken_rows_as_a_whole(run: Run, capitals: Path) -> None:
    assert run("datasets", "seal", "capitals", capitals)[0] == 1
    capitals.write_text(json.dumps({"question": "Which city is the seat of Japan?", "answer": "Tokyo is the seat now."}))
    assert "1 held-out rows" in run("datasets", "seal", "capitals", capitals)[1]


# ---------------------------------------------------------------- recipes


def test_a_recipe_out_of_range_lists_all_its_problems(run: Run, settings: Settings) -> None:
    run("sample")
    code, _, err = run(
        "train",
        "--dataset",
        sample.SLUG,
        "--rank",
        "7",
        "--learning-rate",
        "5",
        "--epochs",
        "many",
        "--detach",
    )
    assert code == 1
    assert len(err.strip().splitlines()) == 3


def test_knobs_are_put_on_top_of_a_preset_or_a_file_and_alpha_follows_the_rank(tmp_path: Path, db: Database) -> None:
    from factory.commands import training

    def typed(*words: str) -> recipes.Recipe:
        return training.recipe_typed(db, commands.parser().parse_args(["train", "--dataset", "x", *words]))

    assert typed("--preset", "low memory", "--rank", "32").alpha == 64
    assert typed("--preset", "low memory").method == "qlora"
    file = tmp_path / "mine.yaml"
    file.write_text(recipes.to_yaml(recipes.Recipe(seed=7)))
    assert typed("--recipe", str(file), "--learning-rate", "5e-4") == recipes.Recipe(seed=7, learning_rate=5e-4)
    assert typed("--alpha-linked", "false", "--alpha", "8").alpha == 8


# ---------------------------------------------------------------- the house


def test_serve_says_in_one_sentence_that_the_port_is_taken(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run("serve", "--port", port, "--no-browser", "--no-sample")
    assert code == 1
    assert out == ""
    assert str(port) in err
    assert len(err.strip().splitlines()) == 1


def test_doctor_says_what_to_do_and_exits_with_1_only_when_something_is_wrong(run: Run, db: Database) -> None:
    code, out, _ = run("doctor", "--json")
    found = {finding["about"]: finding for finding in json.loads(out)}
    assert {"python", "disk", "memory", "torch", "bitsandbytes", "base model", "database", "worker"} <= found.keys()
    assert code == int(any(finding["state"] == "bad" for finding in found.values()))
    assert found["database"]["state"] == "good"
    assert "models fetch" in found["base model"]["sentence"]


def test_a_reader_that_closes_the_pipe_early_is_no_error(settings: Settings) -> None:
    done = subprocess.run(
        f"{sys.executable} -m factory datasets list --json | true", shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
