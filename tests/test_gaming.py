"""The simulated workshop is one that can be repeated, and tells the program nothing that it could not know."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks import gaming, gaming_table, gaming_texts
from benchmarks.gaming_texts import Texts
from benchmarks.gaming_world import DAY, START, Member, World
from factory.base import store

MEMBERS = (
    ("ann", "expert", {"good": 1.0}, 4.0, 0),
    ("spam", "flooder", {"junk": 1.0}, 4.0, 0),
    ("rue", "reviewer", {}, 0.0, 20),
    ("rob", "reviewer", {}, 0.0, 20),
    ("lee", "lazy", {}, 0.0, 20),
)


def live(folder: Path, name: str, days: int = 3) -> dict[str, Any]:
    members = [Member(who, role, rows, 0, kinds, reviews) for who, role, kinds, rows, reviews in MEMBERS]
    db = gaming.opened(folder, name, 1)
    try:
        world = World(db, 1, members, Texts(random.Random("texts"), []))
        world.run(days)
        with store.clock(lambda: world.moment):
            moments = store.row(db, "select min(created_at) as first, max(created_at) as last from examples")
            return {"rows": gaming.outcomes(world, days), "tops": gaming.tops(world), "moments": moments}
    finally:
        db.close()


def test_the_same_seed_lives_the_same_days_on_the_simulated_clock(tmp_path: Path) -> None:
    first = live(tmp_path, "first")
    assert live(tmp_path, "second") == first
    assert START < first["moments"]["first"] < START + DAY
    assert START + 2 * DAY < first["moments"]["last"] < START + 3 * DAY
    assert first["rows"]["accepted_by"]["expert good"] >= 6
    assert first["rows"]["tried_by"]["flooder junk"] >= 6


def test_claims_fail_where_the_figures_are_bad() -> None:
    board = {"experts_in_top": 1.0, "honest_in_top": 1.0}
    rows = {"accepted_spam": 0.0, "wrongly_refused": 0.0, "repaired_of_refused": 1.0, "longest_wait_days": 3.0}
    rows["deadline_days"] = 14.0
    poor = {"judged": 60, "at_50": 0.2}
    found = {
        "tops": {"standing": board, "count": {**board, "honest_in_top": 0.9}, "rate": {**board, "experts_in_top": 0.5}},
        "outcomes": rows, "weights": {"lazy": poor, "reviewer-00": {"judged": 60, "at_50": 1.1}},
        "splitting": {"worst": 1.0},
    }  # fmt: skip
    assert all(gaming.claims(found).values())
    assert gaming.claims(found).keys() == gaming_table.SAID.keys()
    found["tops"]["standing"] = {"experts_in_top": 0.5, "honest_in_top": 0.9}
    rows |= {"accepted_spam": 0.1, "wrongly_refused": 0.1, "repaired_of_refused": 0.5, "longest_wait_days": 20.0}
    poor["at_50"], found["splitting"]["worst"] = 1.0, 1.1
    assert not any(gaming.claims(found).values())


def test_who_is_equal_by_the_rule_of_a_control_is_not_ordered_by_the_rule_that_it_is_held_against(tmp_path: Path) -> None:
    members = [Member(f"ann-{n}", "expert", 2.0, 0, {"good": 1.0}) for n in range(12)]
    members += [Member("rue", "reviewer", reviews=40), Member("rob", "reviewer", reviews=40)]
    db = gaming.opened(tmp_path, "equals", 1)
    try:
        world = World(db, 1, members, Texts(random.Random("texts"), []))
        world.run(2)
        with store.clock(lambda: world.moment):
            orders = {by: [member.name for member in gaming.ranked(world, by)] for by in ("standing", "rate")}
    finally:
        db.close()
    assert sorted(orders["rate"]) == sorted(orders["standing"])
    assert orders["rate"] != orders["standing"]


def test_real_rows_are_read_and_what_checks_would_refuse_is_left_out(tmp_path: Path) -> None:
    good = {"instruction": "What does a dog say?", "output": "A dog barks, and it does so rather often at night."}
    mail = {"question": "Whom do I ask about it?", "answer": "You write to jane.doe@somewhere.org and wait for a reply."}
    (tmp_path / "rows.json").write_text(gaming.json.dumps([good, mail]))
    assert gaming_texts.read(tmp_path) == [(good["instruction"], good["output"])]
    assert gaming_texts.read(None) == []


def test_the_tables_say_what_was_found() -> None:
    board = {"experts_in_top": 1.0, "best_attacker": 12}
    rows = {"rows": 5_999, "verdicts": 16_363, "accepted_spam": 0.006, "wrongly_refused": 0.004, "refused_and_over": 6}
    rows |= {"repaired_of_refused": 5 / 6, "longest_wait_days": 2.2, "median_wait_days": 0.4}
    gains = {"worst": 0.98, "0.5": {"2": 0.9}, "0.9": {"2": 0.98, "16": 0.7}}
    seed = {"seed": 1, "outcomes": rows, "splitting": gains, "claims": dict.fromkeys(gaming_table.SAID, True)}
    seed["tops"] = {rule: dict(board) for rule in gaming_table.RULES}
    seed["weights"] = {f"{role}-0": {"judged": 60, "at_50": 0.5, "at_end": 0.4} for role in gaming_table.ROLES}
    other = {**seed, "seed": 2, "claims": {**seed["claims"], "accepted_spam": False}}
    page = gaming_table.page({"seeds": [seed, other], "days": 90, "careful": False})
    assert "| of these at least 80% are repaired by appeal | 83% over all; 2 of 2 |" in page
    assert "| 90% | 2 | 0.980 | 0.980 |\n| 90% | 16 | 0.700 | 0.700 |\n| 50% | 2 | 0.900 | 0.900 |" in page
    assert "| of what was accepted at most 1% is spam | 1 of 2 |" in page
    assert "| nobody honest waits longer than the deadline | 2 of 2 |" in page
    assert "| 1 | 5,999 | 16,363 | 0.60% | 0.40% | 5 of 6 | 2.2 days | 0.4 | 0.980 |" in page
