"""The vectors of texts: what says the same is near, what is about something else is far, and nothing is fetched for it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from factory.intake import meaning

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
SAID_OTHERWISE = {
    "How do I undo the last commit but keep my changes?": "take back my most recent commit without losing the edits",
    "What is the difference between git fetch and git pull?": "git pull versus git fetch",
    "How do I delete a branch here and on the server?": "remove a local branch and the remote one too",
    "How do I squash my last three commits into one?": "combine the three newest commits to a single commit",
    "How do I copy a file from a server to my laptop?": "download one file from a remote machine to this computer",
    "My ssh session freezes when I do nothing for a while.": "an idle ssh connection hangs",
    "Is it safe to copy my private key to another laptop?": "may a private key be put on a second computer",
    "How do I mount a folder of a server on my machine?": "mounting a remote directory locally",
    "How do I pretty-print a JSON file in the terminal?": "show json nicely indented on the command line",
    "How do I run a single test with pytest?": "make pytest execute only one test",
    "How do I turn warnings into errors in Python?": "let a python warning raise an exception",
    "How do I unpack a zip file when there is no unzip program?": "extract a zip archive without having unzip",
}


def questions() -> list[str]:
    git = [json.loads(line)["messages"] for line in (SAMPLES / "messages.jsonl").read_text().splitlines()]
    ssh = json.loads((SAMPLES / "sharegpt.json").read_text())
    python = pq.read_table(SAMPLES / "question_answer.parquet").column("question").to_pylist()
    return [said[-2]["content"] for said in git] + [row["conversations"][0]["value"] for row in ssh] + python


def test_a_question_said_otherwise_is_among_the_nearest_and_mostly_first() -> None:
    bank = questions()
    likeness = meaning.vectors(list(SAID_OTHERWISE.values())) @ meaning.vectors(bank).T
    rank = {
        meant: int((row > row[bank.index(meant)]).sum()) + 1 for meant, row in zip(SAID_OTHERWISE, likeness, strict=True)
    }
    assert max(rank.values()) <= 7, rank  # a tenth of the bank of 73
    assert sum(place == 1 for place in rank.values()) >= 9, rank


def test_vectors_have_length_one_and_nothing_said_has_none() -> None:
    some = meaning.vectors(["How do I make a tag?", "", "naïve café — 日本語 🙂", "x" * 50_000])
    assert (some.shape, some.dtype) == ((4, meaning.DIMENSIONS), np.float32)
    assert np.allclose(np.linalg.norm(some, axis=1), [1, 0, 1, 1], atol=1e-5)
    assert meaning.vectors([]).shape == (0, meaning.DIMENSIONS)


def test_a_text_has_the_same_vector_alone_and_among_many() -> None:
    bank = questions()
    assert np.array_equal(meaning.vectors(bank * 10)[-1], meaning.vectors(bank[-1:])[0])


def test_the_stored_version_is_that_of_the_installed_package() -> None:
    assert meaning.VERSION.startswith(version("wordllama") + "/")


def test_no_line_of_the_package_runs_and_nothing_can_be_downloaded() -> None:
    code = (
        "import socket, sys\nsocket.socket = None\nfrom factory.intake import meaning\nmeaning.vectors(['a'])\n"
        "print('wordllama' in sys.modules or 'requests' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "False"), ended.stderr
