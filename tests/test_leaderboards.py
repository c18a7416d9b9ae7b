"""Who ranks where, and why: by what is proven, never by volume, and only against the same held-out rows."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from factory.base import store
from factory.base.errors import NotFound
from factory.credit import leaderboards, ledger
from factory.intake import standing
from tests import credit_rows as rows

DAY = 24 * 3600.0


def contribute(
    db: Database, dataset_id: int, name: str, accepted: int, decided: int, *, refused: int = 0, at: float | None = None
) -> int:
    """A person with so many accepted of decided examples; the id."""
    who = rows.person(db, name)
    at = at or store.now() - 10
    for n in range(decided):
        good = n < accepted
        rows.example(
            db,
            dataset_id,
            who,
            f"{name} {n}",
            at=at,
            decision="accepted" if good else "rejected",
            reason=None if good else "wrong",
        )
    for n in range(refused):
        one = rows.example(db, dataset_id, who, f"{name} refused {n}", at=at, refused=True)
        store.insert(
            db,
            "findings",
            {
                "example_id": one,
                "code": "too_short",
                "refuses": 1,
                "rule_version": 1,
                "evidence": "{}",
                "sentence": "Too short.",
            },
        )
    return who


@pytest.fixture
def dataset_id(db: Database) -> int:
    return rows.dataset(db, rows.person(db, "owner"))[0]


def test_contributors_rank_by_what_is_proven_and_provisional_ones_stand_below(db: Database, dataset_id: int) -> None:
    for name, accepted, decided in (
        ("flooder", 30, 100),
        ("one-shot", 1, 1),
        ("careful", 18, 20),
        ("steady", 80, 100),
        ("spammer", 0, 50),
    ):
        contribute(db, dataset_id, name, accepted, decided)
    board = leaderboards.contributors(db, dataset_id=dataset_id)
    assert [record["name"] for record in board] == ["steady", "careful", "flooder", "spammer", "one-shot"]
    assert [record["rank"] for record in board] == [1, 2, 3, 4, 5]
    assert board[-1]["provisional"]
    assert board[1]["lower"] == pytest.approx(standing.wilson_lower(18, 20), abs=1e-6)
    assert (board[1]["accepted"], board[1]["decided"], board[1]["submitted"], board[1]["credits"]) == (18, 20, 20, 0)


def test_credits_break_ties_and_never_buy_a_rank(db: Database, dataset_id: int) -> None:
    first, second, third = (contribute(db, dataset_id, name, n, 12) for name, n in (("ann", 10), ("ben", 10), ("cat", 12)))
    made = [r["id"] for r in store.rows(db, "select id from examples where person_id in (?, ?) order by id", first, second)]
    adapter_id, evaluation_id = rows.adapter(db, rows.version(db, dataset_id, 1, made, owner=first), first)
    ledger.pay(
        db, rows.attributed(db, adapter_id, evaluation_id, [(made[-1], second, 0.2, 0.01), (made[0], first, 0.1, 0.01)])
    )
    board = leaderboards.contributors(db)
    assert [record["person_id"] for record in board] == [third, second, first]
    assert board[1]["credits"] == pytest.approx(2 * board[2]["credits"], rel=1e-5)
    assert leaderboards.credits_by_person(db, dataset_id=dataset_id) == leaderboards.credits_by_person(db)
    assert leaderboards.credits_by_person(db, dataset_id=dataset_id + 1) == {}


def test_since_lists_who_was_active_and_keeps_their_rank(db: Database, dataset_id: int) -> None:
    contribute(db, dataset_id, "early", 20, 20, at=store.now() - 30 * DAY)
    late = contribute(db, dataset_id, "late", 10, 20)
    (only,) = leaderboards.contributors(db, dataset_id=dataset_id, since=store.now() - DAY)
    assert (only["person_id"], only["rank"], only["submitted"]) == (late, 2, 20)


def test_adapters_are_ranked_only_on_the_same_held_out_rows(db: Database, dataset_id: int) -> None:
    owner = contribute(db, dataset_id, "ann", 2, 2)
    version_id = rows.version(db, dataset_id, 1, [1, 2], owner=owner)
    measured = {"seconds": 120.0, "tokens_per_second": 150.0, "memory_bytes": 10**9}
    good, _ = rows.adapter(db, version_id, owner, tuned=1.5, root="a" * 64, measured=measured)
    weak, _ = rows.adapter(db, version_id, owner, tuned=1.9, root="a" * 64, spread=0.2)
    other, _ = rows.adapter(db, version_id, owner, base=4.0, tuned=3.9, root="b" * 64)
    board = leaderboards.adapters(db)
    assert [(record["adapter_id"], record["rank"]) for record in board] == [(good, 1), (weak, 2), (other, 1)]
    best = board[0]
    assert (best["gain_percent"], best["gain_low"], best["gain_high"]) == pytest.approx((25.0, 22.5, 27.5))
    assert (best["minutes"], best["tokens_per_second"], best["memory_bytes"]) == (2.0, 150.0, 10**9)
    assert (best["method"], best["lora_rank"], best["learning_rate"], best["base"]) == ("lora", 8, 2e-4, "tiny")
    assert [bool(record["certain"]) for record in board] == [True, False, True]
    assert [record["adapter_id"] for record in leaderboards.adapters(db, held_out_root="b" * 64)] == [other]
    assert [(r["held_out_root"][0], r["adapters"]) for r in leaderboards.held_out_roots(db)] == [("a", 2), ("b", 1)]


def test_datasets_are_ordered_by_what_their_best_adapter_surely_gained(db: Database, dataset_id: int) -> None:
    owner = contribute(db, dataset_id, "ann", 2, 3, refused=1)
    empty, _ = rows.dataset(db, owner, slug="empty")
    version_id = rows.version(db, dataset_id, 1, [1, 2], owner=owner)
    rows.adapter(db, version_id, owner, tuned=1.7, spread=0.4)
    best, _ = rows.adapter(db, version_id, owner, tuned=1.8)
    first, last = leaderboards.datasets(db)
    assert (first["best_adapter_id"], first["adapters"], first["accepted"], first["refused"], first["submitted"]) == (
        best,
        2,
        2,
        1,
        4,
    )
    assert first["acceptance"] == pytest.approx(2 / 3)
    assert (last["dataset_id"], last["rank"], last["acceptance"], last["gain_percent"]) == (empty, 2, None, None)


def test_why_says_what_would_move_one_up_and_it_is_true(db: Database, dataset_id: int) -> None:
    me = contribute(db, dataset_id, "mia", 10, 14, refused=3)
    contribute(db, dataset_id, "above", 40, 50)
    told = leaderboards.why(db, me, dataset_id=dataset_id)
    assert (told["rank"], told["of"], told["next_person"], told["refusals"][0]["count"]) == (2, 2, "above", 3)
    words = " ".join(told["sentences"])
    assert f"The next {told['needed']} examples, all accepted, would pass above" in words
    assert "The answer is wrong. (4 times)" in words
    for n in range(told["needed"] - 1):
        rows.example(db, dataset_id, me, f"more {n}", at=store.now())
    assert leaderboards.why(db, me, dataset_id=dataset_id)["rank"] == 2
    rows.example(db, dataset_id, me, "the last one", at=store.now())
    assert leaderboards.why(db, me, dataset_id=dataset_id)["rank"] == 1


def test_why_speaks_to_newcomers_and_refuses_strangers(db: Database, dataset_id: int) -> None:
    newcomer = rows.person(db, "new")
    assert leaderboards.why(db, newcomer)["rank"] is None
    rows.example(db, dataset_id, newcomer, "first", decision=None)
    told = leaderboards.why(db, newcomer)
    assert told["provisional"]
    assert "10 to go" in " ".join(told["sentences"])
    with pytest.raises(NotFound):
        leaderboards.why(db, 999)


def test_the_ranks_over_time_end_with_todays_board(db: Database, dataset_id: int) -> None:
    now = store.now()
    contribute(db, dataset_id, "early", 15, 20, at=now - 20 * DAY)
    contribute(db, dataset_id, "late", 20, 20, at=now)
    told = leaderboards.rank_over_time(db, dataset_id, points=5)
    moments = sorted({line["at"] for line in told})
    assert len(moments) == 5
    assert [line["person"] for line in told if line["at"] == moments[0]] == ["early"]
    assert [line["person"] for line in told if line["at"] == moments[-1]] == ["late", "early"]
    today = {record["person"]: record["lower"] for record in leaderboards.contributors(db)}
    assert {line["person"]: line["lower"] for line in told if line["at"] == moments[-1]} == pytest.approx(today, abs=1e-6)
    assert leaderboards.rank_over_time(db, dataset_id + 1) == []


@pytest.mark.slow
def test_a_board_over_a_hundred_thousand_verdicts_takes_a_bounded_number_of_steps(db: Database, dataset_id: int) -> None:
    people_count, examples = 200, 50_000
    ids = [rows.person(db, f"person-{n}") for n in range(people_count)]
    submission = rows.example(db, dataset_id, ids[0], "the first")
    with store.writing(db):
        db.conn.executemany(
            "insert into examples (id, submission_id, dataset_id, person_id, position, content, content_hash, bytes,"
            " cluster_id, refused_by_checks, created_at) values (?, ?, ?, ?, 0, '{}', ?, 2, ?, 0, ?)",
            [(n, submission, dataset_id, ids[n % people_count], str(n), n, 1e9 + n) for n in range(2, examples + 2)],
        )
        db.conn.executemany(
            "insert into verdicts (example_id, reviewer_id, decision, at) values (?, ?, 'accept', ?)",
            [(n, ids[(n + k) % people_count], 1e9 + n) for n in range(2, examples + 2) for k in (1, 2)],
        )
        db.conn.executemany(
            "insert into decisions (example_id, decision, \"by\", verdict_ids, at) values (?, ?, 'review', '[]', ?)",
            [(n, "accepted" if n % 7 else "rejected", 1e9 + 300 * n) for n in range(2, examples + 2)],
        )
    assert store.value(db, "select count(*) from verdicts") == 100_000
    for ask in (
        lambda: leaderboards.contributors(db, dataset_id=dataset_id),
        lambda: leaderboards.datasets(db),
        lambda: leaderboards.why(db, ids[5], dataset_id=dataset_id),
        lambda: leaderboards.rank_over_time(db, dataset_id),
    ):
        steps = 0

        def counted() -> int:
            nonlocal steps
            steps += 1
            return 0

        db.conn.set_progress_handler(counted, 10_000)
        ask()
        db.conn.set_progress_handler(None, 0)
        print(steps)
        assert steps < 2_000  # of ten thousand instructions of SQLite each: what an idle machine does in 300 ms


def test_a_sentence_says_why_other_adapters_do_not_stand_on_a_board(db: Database, dataset_id: int) -> None:
    owner = contribute(db, dataset_id, "ann", 2, 2)
    version_id = rows.version(db, dataset_id, 1, [1, 2], owner=owner)
    for root in ("a", "b", "c", "c"):
        rows.adapter(db, version_id, owner, root=root * 64)
    says = "Adapters that are not here: 3 measured on 2 other held-out sets, whose losses say nothing about losses here."
    assert leaderboards.not_ranked(db, "a" * 64) == says
    run_id = store.value(db, "select max(run_id) from adapters")
    columns = (
        "name, person_id, status, recipe, version_id, version_root, model_name, model_hash, manifest, estimate, folder,"
    )
    columns += " queue_order, queued_at"
    db.execute(f"insert into runs ({columns}) select {columns} from runs where id = ?", [run_id])
    db.execute(
        "insert into adapters (run_id, name, folder, sha256, template_hash, step, bytes, kept_at)"
        " values (?, 'unmeasured', 'f', 's', 't', 1, 1, 1.0)",
        [run_id + 1],
    )
    assert leaderboards.not_ranked(db, "a" * 64).endswith("here; 1 never measured.")


def test_the_board_tells_what_was_forgotten_and_what_the_training_took(db: Database, dataset_id: int) -> None:
    owner = contribute(db, dataset_id, "ann", 2, 2)
    version_id = rows.version(db, dataset_id, 1, [1, 2], owner=owner)
    measured = {"tokens": 4096, "energy_joules": 7200.0, "energy_from": "a counter"}
    _, evaluation_id = rows.adapter(db, version_id, owner, measured=measured)
    rows.adapter(db, version_id, owner, tuned=1.9)
    figures = {"base_loss": 3.0, "tuned_loss": 3.15, "difference": 0.15, "low": 0.03, "high": 0.3}
    store.insert(
        db, "forgetting", {"evaluation_id": evaluation_id, "text_hash": "t", "chunk_count": 3, "tokens": 9, **figures}
    )
    first, second = leaderboards.adapters(db)
    assert (first["tokens"], first["energy_wh"], first["energy_from"]) == (4096, 2.0, "a counter")
    assert [first[f"forgot_{key}"] for key in ("percent", "low", "high")] == pytest.approx([5.0, 1.0, 10.0])
    assert [second[key] for key in ("tokens", "energy_wh", "energy_from", "forgot_percent")] == [None] * 4
