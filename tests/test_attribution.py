"""The maths of attribution on synthetic gradients, per-row gradients against autograd, and who is owed what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlite_utils import Database

from factory.adapters import evaluation
from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.credit import attribution, gradients, ledger, verify
from factory.training.encoding import EncodedRow
from tests import credit_rows as rows
from tests import trained

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks by the old name
DRAWS = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def fresh_draws() -> None:
    DRAWS.bit_generator.state = np.random.default_rng(0).bit_generator.state


def planted(people: int = 5, each: int = 16, held_out: int = 40, width: int = 300) -> tuple[Any, Any, list[int]]:
    """Gradients of people who each push along a direction that held-out rows share more or less, with noise."""
    directions = DRAWS.normal(size=(people, width))
    use = np.linspace(1.0, 0.0, people)  # the last one's direction is of no use
    target = (use[:, None] * directions).sum(axis=0)
    training = np.concatenate([d + 0.3 * DRAWS.normal(size=(each, width)) for d in directions])
    return training, target + 2.0 * DRAWS.normal(size=(held_out, width)), [p for p in range(people) for _ in range(each)]


def spearman(a: Any, b: Any) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(a.ravel())), np.argsort(np.argsort(b.ravel())))[0, 1])


def test_the_dual_equals_the_dense_inverse() -> None:
    g, h = DRAWS.normal(size=(30, 80)), DRAWS.normal(size=(7, 80))
    lambda_ = attribution.damping(g)
    dense = h @ np.linalg.inv(g.T @ g / 30 + lambda_ * np.eye(80)) @ g.T / 30
    assert np.abs(attribution.influence(g, h, lambda_) - dense.T).max() <= 1e-4 * np.abs(dense).max()


def test_a_row_that_pulled_the_held_out_loss_down_has_a_positive_value() -> None:
    # One parameter, loss (w - y)²/2 at w = 0: rows with y = 1 pull where the held-out row with y = 1 wants it.
    g, h = np.array([[-1.0], [-1.0], [1.0]]), np.array([[-1.0]])
    values = attribution.influence(g, h, 0.1)[:, 0]
    assert values[0] > 0 > values[2]


def test_a_sketch_keeps_the_order_of_influences() -> None:
    base, mix = DRAWS.normal(size=(20, 60_000)), DRAWS.normal(size=(90, 20))
    g = mix[:60] @ base + 0.5 * DRAWS.normal(size=(60, 60_000))
    h = mix[60:] @ base + 0.5 * DRAWS.normal(size=(30, 60_000))
    folded = gradients.sketch(np.concatenate([g, h]), 32_768)
    lambda_ = attribution.damping(g)
    exact, approximate = attribution.influence(g, h, lambda_), attribution.influence(folded[:60], folded[60:], lambda_)
    assert spearman(exact, approximate) >= 0.97


def test_a_sketch_that_is_wide_enough_changes_nothing() -> None:
    g = DRAWS.normal(size=(3, 100))
    assert np.array_equal(gradients.sketch(g, 100), g)


def test_inner_products_of_sketches_are_right_on_average() -> None:
    a, b = DRAWS.normal(size=(2, 5000)) + 1.0
    found = [float(np.prod(gradients.sketch(np.stack([a, b]), 256, seed), axis=0).sum()) for seed in range(200)]
    standard_error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - a @ b) < 4 * standard_error
    assert np.std(found) < 2 * np.linalg.norm(a) * np.linalg.norm(b) / 256**0.5


def test_identical_rows_have_equal_values_and_a_null_row_exactly_zero() -> None:
    g, h, _ = planted()
    g[3] = g[17]
    g[20] = 0.0
    values = attribution.influence(g, h, attribution.damping(g))
    assert np.abs(values[3] - values[17]).max() <= 1e-6 * np.abs(values).max()
    assert not values[20].any()


def test_without_any_gradient_nobody_has_influence() -> None:
    zero = np.zeros((4, 5))
    assert not attribution.influence(attribution.winsorise(zero), np.ones((2, 5)), attribution.damping(zero)).any()


def test_outlier_rows_are_shortened_and_the_others_left_alone() -> None:
    g = DRAWS.normal(size=(200, 50))
    g[5] *= 100
    short = attribution.winsorise(g)
    lengths = np.linalg.norm(g, axis=1)
    assert np.linalg.norm(short[5]) == pytest.approx(np.quantile(lengths, 0.99))
    assert np.array_equal(short[lengths < np.quantile(lengths, 0.98)], g[lengths < np.quantile(lengths, 0.98)])


def test_values_of_people_are_sums_and_errors_come_from_held_out_rows() -> None:
    influences, tokens = DRAWS.normal(size=(6, 9)) + 1, DRAWS.integers(1, 9, 9).astype(float)
    values, _ = attribution.per_token(influences, tokens)
    one, two = attribution.by_payee(influences, tokens, [1, 1, 2, 2, 2, 1])
    assert one["value"] == pytest.approx(values[[0, 1, 5]].sum())
    assert (one["rows"], two["rows"]) == (3, 3)
    # The error is what resampling held-out rows shows.
    mine = influences[[0, 1, 5]].sum(axis=0)
    picks = DRAWS.integers(0, 9, size=(20_000, 9))
    spread = np.std(mine[picks].sum(axis=1) / tokens[picks].sum(axis=1))
    assert one["error"] == pytest.approx(spread, rel=0.25)


def test_one_held_out_row_pays_nobody_and_none_is_refused() -> None:
    (only,) = attribution.by_payee(np.array([[3.0]]), np.array([4.0]), [1])
    assert only["value"] == 0.75
    assert ledger.shares({1: only["value"]}, {1: only["error"]}, 100) == {1: 0}
    with pytest.raises(Invalid):
        attribution.per_token(np.zeros((2, 2)), np.zeros(2))


def payouts(influences: Any, tokens: Any, payees: list[int], pool: int = 10**9) -> dict[int, int]:
    sums = attribution.by_payee(influences, tokens, payees)
    return ledger.shares({s["person_id"]: s["value"] for s in sums}, {s["person_id"]: s["error"] for s in sums}, pool)


def test_renaming_people_changes_no_payment() -> None:
    g, h, payees = planted()
    influences, tokens = attribution.influence(g, h, attribution.damping(g)), np.full(40, 10.0)
    before = payouts(influences, tokens, payees)
    after = payouts(influences, tokens, [900 - 7 * p for p in payees])
    assert all(abs(after[900 - 7 * p] - before[p]) <= 1 for p in before)


def split_in(payees: list[int], person: int, accounts: int) -> list[int]:
    """The same rows with one person's spread over accounts 1000, 1001, …"""
    mine = [at for at, payee in enumerate(payees) if payee == person]
    return [1000 + mine.index(at) % accounts if payee == person else payee for at, payee in enumerate(payees)]


@pytest.mark.parametrize("accounts", [2, 4, 16])
def test_splitting_an_account_moves_no_value_and_on_average_earns_nothing(accounts: int) -> None:
    kept: dict[int, list[tuple[int, int]]] = {person: [] for person in range(5)}
    for _ in range(20):
        g, h, payees = planted()
        influences, tokens = attribution.influence(g, h, attribution.damping(g)), np.full(40, 10.0)
        before = payouts(influences, tokens, payees)
        for person, pairs in kept.items():
            split = split_in(payees, person, accounts)
            parts = [s["value"] for s in attribution.by_payee(influences, tokens, split) if s["person_id"] >= 1000]
            (whole,) = [s["value"] for s in attribution.by_payee(influences, tokens, payees) if s["person_id"] == person]
            assert sum(parts) == pytest.approx(whole, rel=1e-6)
            after = payouts(influences, tokens, split)
            pairs.append((before[person], sum(amount for payee, amount in after.items() if payee >= 1000)))
    for person in range(4):
        whole_sum, split_sum = (sum(side) for side in zip(*kept[person], strict=True))
        assert split_sum <= 1.02 * whole_sum
    # Whose rows do nothing has more draws of luck with more accounts, and still next to nothing of the pool.
    assert sum(after for _, after in kept[4]) <= 0.03 * 20 * 10**9


def test_of_near_duplicates_the_first_accepted_author_is_owed(db: Database) -> None:
    ana, bob = rows.person(db, "ana"), rows.person(db, "bob")
    dataset_id, _ = rows.dataset(db, ana)
    first = rows.example(db, dataset_id, ana, "the original", decision="rejected")
    second = rows.example(db, dataset_id, bob, "the original!", cluster=first)
    third = rows.example(db, dataset_id, ana, "the Original", cluster=first)
    alone = rows.example(db, dataset_id, ana, "something else")
    assert attribution.owners(db, [second, third, alone]) == {second: bob, third: bob, alone: ana}


def test_an_attribution_is_written_whole_and_once(db: Database) -> None:
    ana, bob = rows.person(db, "ana"), rows.person(db, "bob")
    dataset_id, policy_id = rows.dataset(db, ana)
    made = [rows.example(db, dataset_id, who, f"answer {who}") for who in (ana, bob)]
    adapter_id, evaluation_id = rows.adapter(db, rows.version(db, dataset_id, policy_id, made, owner=ana), ana)
    figures = [(made[0], ana, 0.25, 0.1), (made[1], bob, -0.5, 0.1)]
    attribution_id = rows.attributed(db, adapter_id, evaluation_id, figures)
    assert rows.attributed(db, adapter_id, evaluation_id, figures[:1]) == attribution_id
    first, last = attribution.by_person(db, attribution_id)
    assert (first["person"], first["value"], first["rows"], last["person"]) == ("ana", 0.25, 1, "bob")
    assert first["low"] < first["value"] < first["high"]
    assert [row["example_id"] for row in attribution.by_example(db, attribution_id, person_id=bob)] == [made[1]]
    found = attribution.find(db, adapter_id)
    assert found is not None
    assert found["id"] == attribution_id
    with pytest.raises(NotFound):
        attribution.get(db, 99)


def test_the_method_is_explained_and_another_is_not_found() -> None:
    words = " ".join(attribution.explain())
    assert "one seed" in words
    assert "toy" in words
    with pytest.raises(NotFound):
        attribution.explain("astrology")


@pytest.fixture(scope="module")
def lora(tiny_model: Path) -> Any:
    """The tiny model with a LoRA adapter whose B is not zero, frozen, in eval mode."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.requires_grad_(False).eval()


def encoded(lengths: tuple[int, ...] = (9, 23, 5, 14, 14)) -> list[EncodedRow]:
    made = [
        EncodedRow(
            n,
            tuple(int(t) for t in DRAWS.integers(10, 49_000, length)),
            tuple(at >= length // 3 and at > 0 for at in range(length)),
        )
        for n, length in enumerate(lengths)
    ]
    made[4] = EncodedRow(4, made[3].tokens, made[3].supervised)  # a copy
    made.append(EncodedRow(5, made[0].tokens, (False,) * len(made[0].tokens)))  # nothing is trained on
    return made


def by_autograd(model: Any, row: EncodedRow) -> Any:
    """The plain way: one backward, all LoRA parameters in the model's order."""
    import torch

    parameters = [p for name, p in model.named_parameters() if "lora_" in name]
    for parameter in parameters:
        parameter.requires_grad_(True)
        parameter.grad = None
    logits = model(input_ids=torch.tensor([row.tokens])).logits[0].float()
    places = [at for at in range(1, len(row.tokens)) if row.supervised[at]]
    loss = torch.nn.functional.cross_entropy(
        logits[[at - 1 for at in places]], torch.tensor([row.tokens[at] for at in places]), reduction="sum"
    )
    loss.backward()
    flat = np.concatenate([p.grad.flatten().numpy() for p in parameters])
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
    return flat


@pytest.mark.parametrize("merged", [False, True])
def test_gradients_of_many_rows_at_once_are_those_of_autograd_one_by_one(lora: Any, merged: bool) -> None:
    made = encoded()
    expected = [by_autograd(lora, row) for row in made[:4]]
    if merged:
        lora.merge_adapter()
    try:
        found = gradients.of_rows(lora, made, buckets=gradients.parameters(lora))
    finally:
        if merged:
            lora.unmerge_adapter()
    for row, reference in zip(found, expected, strict=False):
        assert np.linalg.norm(row - reference) <= 1e-5 * np.linalg.norm(reference)
    assert np.linalg.norm(found[3] - found[4]) <= 1e-6 * np.linalg.norm(found[3])
    assert not found[5].any()


def test_folded_gradients_are_the_sketch_of_the_whole_ones(lora: Any) -> None:
    made, heard = encoded(), []
    whole = gradients.of_rows(lora, made, buckets=gradients.parameters(lora))
    folded = gradients.of_rows(lora, made, buckets=512, progress=heard.append)
    assert folded.shape == (6, 512)
    assert np.abs(folded - gradients.sketch(whole, 512)).max() <= 1e-4 * np.abs(folded).max()
    assert heard[-1] == pytest.approx(5 / 6)


def test_a_model_without_lora_layers_is_refused_in_words(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    with pytest.raises(Invalid, match="no plain LoRA layers"):
        gradients.parameters(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32))


def test_an_adapter_is_attributed_from_its_files_and_paid_or_held(
    db: Database, settings: Settings, tiny_model: Path
) -> None:
    past = trained.past(db, settings, tiny_model)
    with pytest.raises(Invalid, match="not evaluated yet"):
        attribution.attribute(db, settings, past.adapter_id)
    evaluation.evaluate(db, settings, past.adapter_id)
    heard: list[tuple[float, str]] = []
    attribution_id = attribution.attribute(
        db, settings, past.adapter_id, progress=lambda share, words: heard.append((share, words))
    )
    assert attribution.attribute(db, settings, past.adapter_id) == attribution_id
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)
    assert heard[-1] == (1.0, "done")
    found = attribution.get(db, attribution_id)
    assert (found["settings"]["rows"], found["settings"]["held_out_rows"], found["settings"]["seed"]) == (3, 3, 42)
    by_person = attribution.by_person(db, attribution_id)
    assert sorted(line["rows"] for line in by_person) == [1, 2]
    assert sum(line["value"] for line in by_person) == pytest.approx(
        sum(r["value"] for r in attribution.by_example(db, attribution_id))
    )
    ledger.pay(db, attribution_id)
    assert verify.verify(db)["attribution_rows"] == 3


def test_without_held_out_rows_attribution_says_what_to_do(db: Database, settings: Settings, tiny_model: Path) -> None:
    past = trained.past(db, settings, tiny_model, held_out=False)
    rows.evaluated(db, past.adapter_id)
    with pytest.raises(Invalid, match="seal one"):
        attribution.attribute(db, settings, past.adapter_id)
