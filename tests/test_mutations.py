"""A slice of the mutated files that `python -m benchmarks.mutations` tries by the thousand."""

from __future__ import annotations

import pytest

from benchmarks import mutations


@pytest.mark.parametrize("name", [name for name in mutations.seeds() if name not in ("xlsx", "pdf", "zip")])
def test_a_mutated_file_gives_rows_or_one_sentence_and_loses_nothing(name: str) -> None:
    found = mutations.run(name, 12, 7, None)
    assert (found["files"], found["failures"], found.get("lost", 0), found["hangs"]) == (12, [], 0, 0)


@pytest.mark.parametrize("name", ["xlsx", "pdf", "zip"])
def test_what_is_read_in_a_process_of_its_own_is_no_less_safe(name: str) -> None:
    found = mutations.run(name, 3, 7, None)
    assert (found["failures"], found["hangs"]) == ([], 0)
