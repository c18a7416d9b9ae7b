"""The shape of the house, kept by reading the code: import order, one writer a table, light pages, short tails."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from factory.base import schema

ROOT = Path(__file__).parents[1]
ORDER = [
    "base", "intake", "training", "adapters", "credit", "line", "terminal sign_in charts",
    "run_charts charts_search review_charts charts_map",
    "api demo checkup", "commands", "__main__ pages", "app reference",
]  # fmt: skip
ROOMS = {  # inside a room, a module imports only from those named before it
    "base": "errors settings schema store attempts links passwords people",
    "intake": "merkle licences policy documentation credentials national personal languages phrases token_lengths"
    " provenance packing decoding records json_rows native sandbox tables transcripts columns containers formats"
    " documents proposals turns meaning sanctions reports checks similarity meanings triggers fit"
    " standing allowances judging"
    " contributions drafts sending opening consensus reviewers conflicts deals scrutiny differences gold reviews held"
    " appeals deadlines timeline"
    " demo_reviewers browsing datasets rules closing proofs publishing importing topics maps mapping sample",
    "training": "trackers knobs recipe schedules places advice possible prompts recipe_yaml recipes sources models"
    " packing machine kernels compiled attention lora decoder fastpath mixture encoding gates circumstances estimate"
    " fitting observed forecast"
    " starts failures checkpoints adapter loop energy device curves run_rows runs queue samples gauges reading"
    " beside watch rehearsal preflight presets spaces proposals plans searches reports worker tokens tokenising",
    "adapters": "kept forgetting evaluation comparison reproduction talk chat try_it withdrawn cards exports",
    "credit": "gradients attribution book freezes ledger leaderboards ranks bounties rewards needs rounds verify",
    "api": "caller limit shapes drafts queue routes versions tokens comparing review seen launch reproductions searching"
    " withdrawing needing conduct holding own policies talking appealing reviewing worth",
    "commands": "words house_words reviewing_words desk reviewing drafts"
    " people rows versions training queue launch tokens reproducing comparing seen"
    " search results house withdrawing needing conduct holding own policies",
}
HEAVY = {"torch", "transformers", "peft", "bitsandbytes"}
MAY_BE_HEAVY = {
    *(f"factory.training.{name}" for name in ("kernels", "attention", "lora", "decoder", "fastpath", "adapter", "loop")),
    "factory.training.compiled",
    "factory.training.rehearsal",
    "factory.adapters.chat",
    "factory.credit.gradients",
}
WRITES = re.compile(r"\b(?:insert(?: or \w+)? into|delete from|update) (\w+)\b", re.IGNORECASE)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = sorted([*ROOT.glob("factory/**/*.py"), *ROOT.glob("pages/**/*.py"), ROOT / "app.py"])
MODULES = {name_of(path): ast.parse(path.read_text()) for path in PATHS}


def imports(tree: ast.AST, *, top_only: bool = False) -> Iterator[str]:
    """Dotted names a module imports, also inside functions; `from factory.base import store` is factory.base.store."""
    for node in tree.body if top_only and isinstance(tree, ast.Module) else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in whole)


def level(name: str) -> int:
    part = name.split(".")[1] if name.startswith("factory.") else name.split(".")[0]
    places = [at for at, group in enumerate(ORDER) if part in group.split()]
    assert places, f"{name} has no place in the order yet"
    return places[0]


def test_modules_import_only_from_their_left() -> None:
    wrong = []
    for module, tree in MODULES.items():
        for used in imports(tree):
            if module == "factory" or used == "factory" or not used.startswith(("factory.", "pages.")):
                continue
            here, there = module.split("."), used.split(".")
            if here[:2] == there[:2] and here[0] == "factory":
                order = ROOMS.get(here[1], "").split()
                inside = len(here) > 2 and len(there) > 2 and order.index(here[2]) <= order.index(there[2])
                wrong += [f"{module} imports {used}, which comes later in its room"] if inside else []
            elif here[0] == there[0] == "pages":
                continue
            elif level(used) >= level(module):
                wrong.append(f"{module} imports {used}, which stands to its right")
    assert not wrong, "\n".join(wrong)


def test_every_module_of_a_room_has_its_place_in_the_order() -> None:
    for room, order in ROOMS.items():
        assert {path.stem for path in ROOT.glob(f"factory/{room}/*.py")} - {"__init__"} == set(order.split()), room


def test_streamlit_stays_out_of_the_factory_and_torch_out_of_everything_that_must_start_fast() -> None:
    for module, tree in MODULES.items():
        found = {name.split(".")[0] for name in imports(tree)}
        assert not (module.startswith("factory") and "streamlit" in found), module
        top = {name.split(".")[0] for name in imports(tree, top_only=True)}
        assert module in MAY_BE_HEAVY or not top & HEAVY, f"{module} imports {top & HEAVY} at its top"


def test_what_pages_import_loads_nothing_heavy() -> None:
    used = sorted(
        {
            name
            for module, tree in MODULES.items()
            if module.startswith("pages")
            for name in imports(tree)
            if name.startswith("factory.")
        }
    )
    code = f"import sys, {', '.join(used)}\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, ""), ended.stdout + ended.stderr


def test_every_table_has_one_writer() -> None:
    script = "".join(schema.scripts())
    tables = set(re.findall(r"^create table (\w+)", script, re.MULTILINE))
    writers: dict[str, set[str]] = defaultdict(set)
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for table in WRITES.findall(node.value):
                    writers[table].add(module)
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "store.insert"
                and isinstance(node.args[1], ast.Constant)
            ):
                writers[str(node.args[1].value)].add(module)
    for body in re.findall(r"^create trigger .*? begin (.*) end", script, re.MULTILINE):
        for table in WRITES.findall(body):
            writers[table].add("a trigger")
    shared = {table: sorted(who) for table, who in writers.items() if table in tables and len(who) > 1}
    assert not shared
    assert tables <= set(writers), f"nobody writes {tables - set(writers)}"


def test_except_exception_stands_once() -> None:
    broad = [
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or "Exception" in ast.unparse(node.type).split("."))
    ]
    assert len(broad) <= 1, broad


def test_tails_are_short() -> None:
    long = []
    for path in PATHS:
        module, lines = name_of(path), path.read_text().count("\n")
        limit = 120 if module.startswith("pages") else 400
        long += [f"{module} has {lines} lines, the limit is {limit}"] if lines > limit else []
        for node in ast.walk(MODULES[module]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{module}.{node.name} has {length} lines, the limit is 60"] if length > 60 else []
    assert not long, "\n".join(long)
