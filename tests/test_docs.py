"""The docs cannot lie: generated pages are fresh, the README's tree is the folder, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from factory import reference
from factory.base.settings import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", list(reference.PAGES))
def test_a_generated_page_says_what_the_program_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.PAGES[name](), "run `make docs`"


def test_the_readmes_tree_names_every_top_level_file_of_the_package_and_nothing_else() -> None:
    tree = README.split("## The tree")[1].split("## ")[0]
    named = set(re.findall(r"^ {6}([a-z_]+(?:\.py|/))", tree, re.MULTILINE))
    there = {path.name if path.is_file() else path.name + "/" for path in (ROOT / "factory").iterdir()}
    there = {name for name in there if name.endswith((".py", "/")) and not name.startswith("__")}
    assert named == there
    for name in re.findall(r"^ {4}([a-zA-Z_.]+/?) ", tree, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_readmes_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"\bmake ([a-z]+)", README))
    assert commands >= {"run", "test", "demo"}
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), command


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_decision_says_what_was_decided_and_why() -> None:
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert "**Decided.**" in text, page.name
        assert "**Why.**" in text, page.name


def test_nothing_of_one_machine_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    home = re.compile(r"/(?:root|Users/[A-Za-z]+|work)/[a-z]")
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".yaml", "") and path.is_file():
            found = home.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found or name == "tests/test_docs.py", f"{name}: {found and found.group()}"
