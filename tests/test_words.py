"""The examples in the docstrings of what pages say hold: pytest does not collect the pages' own."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from pages import words
from pages.parts import compared, evidence


@pytest.mark.parametrize("module", [words, compared, evidence])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed
