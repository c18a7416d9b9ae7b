"""Whose examples made the adapter better: every training row's influence on the held-out loss, summed by person.

The method is `damped_fisher`, version 1. At the weights the run ended with, take each training row's gradient g_i (of its
summed loss, over the LoRA parameters only) and each held-out row's gradient h_j. Had row i weighed a little more in
training, the held-out row's loss would have changed by minus

    tau_ij = 1/n · h_jᵀ (GᵀG/n + λI)⁻¹ g_i          G: the n training gradients as rows; positive = it lowered the loss

The curvature is the Fisher matrix of the rows themselves, kept from exploding by λ, a tenth of its mean eigenvalue (as in
DataInf, arXiv 2310.00902, and LoGra, arXiv 2405.13954). LoRA is small, so the inverse is taken exactly, in the n × n dual.
Gradients of more than 65,536 numbers are first folded by a count-sketch, which keeps inner products.

Nothing here imports torch before gradients are asked for: pages read the results.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from factory.adapters import evaluation, kept
from factory.base import store
from factory.base.errors import Invalid, NotFound
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.intake.merkle import merkle_root
from factory.training import encoding, mixture, models, runs

METHOD, VERSION = "damped_fisher", 1
DAMPING = 0.1  # of the mean eigenvalue
WINSOR = 0.99  # longer gradients than this quantile are shortened to it: outliers buy credit otherwise (arXiv 2409.05657)
EXACT_UP_TO = 65_536  # numbers a gradient may have and still be used as it is
BUCKETS, BUCKETS_FOR_MANY, MANY = 32_768, 4_096, 4_096  # of the sketch; the smaller one from so many rows on

Matrix = NDArray[np.float64]
Progress = Callable[[float, str], None]


def influence(training: NDArray[Any], held_out: NDArray[Any], lambda_: float) -> Matrix:
    """tau of the module's formula, [training rows, held-out rows], from gradients [rows, P]; solved exactly.

    A row without gradient gets exactly zero; nobody can gain by being counted in another order or under another name.

    >>> influence(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), np.array([[3.0, 0.0]]), 1.0).round(6).tolist()
    [[0.75], [0.0], [0.0]]
    """
    rows = len(training)
    g, h = training.astype(np.float64), held_out.astype(np.float64)
    if not g.any():
        return np.zeros((rows, len(h)))
    if rows > g.shape[1]:  # the same numbers from the smaller of the two systems
        fisher = g.T @ g / rows
        fisher[np.diag_indices(len(fisher))] += lambda_
        return np.asarray(g @ np.linalg.solve(fisher, h.T) / rows)
    kernel = g @ g.T / rows
    kernel[np.diag_indices(rows)] += lambda_
    return np.linalg.solve(kernel, g @ h.T) / rows


def damping(training: NDArray[Any], share: float = DAMPING) -> float:
    """λ: `share` of the mean of the Fisher matrix's n eigenvalues that can differ from zero.

    >>> damping(np.array([[2.0, 0.0], [0.0, 4.0]]), 0.1)
    0.5
    """
    squares = np.einsum("ij,ij->i", training, training, dtype=np.float64)
    return float(share * squares.sum() / len(training) ** 2)


def winsorise(gradients: NDArray[Any], quantile: float = WINSOR) -> NDArray[Any]:
    """The same gradients, none longer than that quantile of the lengths that are not zero."""
    lengths = np.linalg.norm(gradients, axis=1)
    if not lengths.any():
        return gradients
    limit = np.quantile(lengths[lengths > 0], quantile)
    return gradients * np.minimum(1.0, limit / np.maximum(lengths, np.finfo(np.float32).tiny))[:, None].astype(
        gradients.dtype
    )


def per_token(influences: Matrix, tokens: NDArray[Any]) -> tuple[Matrix, Matrix]:
    """Mean influence per held-out label token and its standard error over held-out rows, for each line of `influences`.

    `influences` is [lines, held-out rows], `tokens` the label tokens of those rows. Rows weigh by their tokens (a ratio
    estimator). A single held-out row says nothing about the spread: its error is the value itself, so nobody is paid on it.
    """
    total = float(tokens.sum())
    if total <= 0:
        raise Invalid("The held-out set has no token to measure on; seal one whose rows end with an answer.")
    values = influences.sum(axis=1) / total
    measured = tokens > 0
    count = int(measured.sum())
    if count < 2:
        return values, np.abs(values)
    rest = influences[:, measured] - values[:, None] * tokens[measured]
    return values, np.sqrt(count / (count - 1) * (rest**2).sum(axis=1)) / total


def by_payee(influences: Matrix, tokens: NDArray[Any], payees: Sequence[int]) -> list[dict[str, Any]]:
    """Rows summed by whom they are owed to: person_id, rows, value, error, by id.

    The error is that of the sum, from the held-out rows; it is not a sum of errors.
    """
    names = sorted(set(payees))
    member = np.array([[payee == name for payee in payees] for name in names], dtype=np.float64)
    values, errors = per_token(member @ influences, tokens)
    return [
        {"person_id": name, "rows": int(member[at].sum()), "value": float(values[at]), "error": float(errors[at])}
        for at, name in enumerate(names)
    ]


def attribute(db: Database, settings: Settings, adapter_id: int, *, progress: Progress | None = None) -> int:
    """Measure every training row of an adapter against its held-out set; returns the attribution's id.

    The same adapter and method give the same attribution, measured once. Raises NotFound, Conflict and Invalid in words:
    no evaluation yet, no held-out set, files missing.
    """
    from factory.credit import gradients

    known = find(db, adapter_id)
    if known is not None:
        return int(known["id"])
    tell = progress or _silent
    began = time.monotonic()
    adapter, measured = kept.get(db, adapter_id), evaluation.latest(db, adapter_id)
    if measured is None:
        raise Invalid(f"Adapter {adapter_id} was not evaluated yet, so there is no gain to divide; evaluate it first.")
    version = datasets.version(db, adapter["version_id"])
    tell(0.0, "loading the model")
    model, examples, training, held_out = _encoded(db, settings, adapter, version)
    count = len(training) + len(held_out)
    parameters = gradients.parameters(model)
    buckets = parameters if parameters <= EXACT_UP_TO else BUCKETS if count <= MANY else BUCKETS_FOR_MANY
    folded = gradients.of_rows(
        model, [*training, *held_out], buckets=buckets, progress=lambda share: tell(0.05 + 0.85 * share, "reading gradients")
    )
    tell(0.95, "solving")
    g = winsorise(folded[: len(training)])
    lambda_ = damping(g)
    influences = influence(g, folded[len(training) :], lambda_)
    tokens = np.array([row.label_tokens for row in held_out], dtype=np.float64)
    payees = owners(db, examples)
    told = {
        "damping": lambda_, "damping_share": DAMPING, "winsor": WINSOR, "parameters": parameters,
        "buckets": folded.shape[1], "sketch_seed": gradients.SEED, "rows": len(training), "held_out_rows": len(held_out),
        "held_out_tokens": int(tokens.sum()), "seed": runs.get(db, adapter["run_id"])["recipe"].seed,
    }  # fmt: skip
    record = {
        "adapter_id": adapter_id, "evaluation_id": measured["id"], "method": METHOD, "method_version": VERSION,
        "settings": json.dumps(told, sort_keys=True), "seconds": time.monotonic() - began, "at": store.now(),
    }  # fmt: skip
    values, errors = per_token(influences, tokens)
    attribution_id = write(
        db,
        record,
        [
            {"example_id": example, "person_id": payees[example], "value": float(value), "error": float(error)}
            for example, value, error in zip(examples, values, errors, strict=True)
        ],
        by_payee(influences, tokens, [payees[example] for example in examples]),
    )
    tell(1.0, "done")
    return attribution_id


def _silent(fraction: float, words: str) -> None:
    return None


def _encoded(
    db: Database, settings: Settings, adapter: dict[str, Any], version: dict[str, Any]
) -> tuple[Any, list[int], list[encoding.EncodedRow], list[encoding.EncodedRow]]:
    """The model with its adapter, the ids of the training examples, their rows, and the held-out rows, as they were used."""
    if version["held_out_set_id"] is None:
        raise Invalid(
            f"Version {version['number']} of {version['slug']} was frozen without a held-out set, so nothing can be"
            " attributed; seal one, freeze a version and train on that."
        )
    import torch

    from factory.credit import gradients

    recipe = runs.get(db, adapter["run_id"])["recipe"]
    place = kept.folder(db, settings, adapter["id"])
    sheet = kept.sheet(place)
    model, tokenizer = models.load(settings, adapter["model_name"], adapter_folder=place)
    base = models.get(settings, adapter["model_name"])
    kept.need_fit(sheet, model_hash=base["hash"], template_hash=models.template_hash(tokenizer))
    if model.dtype == torch.float32 and not gradients.has_dora(model):  # in fewer bits the sum would be another model
        model.merge_adapter()
    rows = mixture.material(db, mixture.of_run(db, adapter["run_id"]), recipe).rows
    training = [
        encoding.encode(
            tokenizer, formats.messages(row.content), example_id=row.example_id, system_prompt=recipe.system_prompt,
            max_length=recipe.max_length, completions_only=recipe.completions_only, mask_history=recipe.mask_history,
        )
        for row in rows
    ]  # fmt: skip
    held_out = [
        encoding.encode(
            tokenizer, formats.messages(content), example_id=position, system_prompt=sheet["system_prompt"],
            max_length=evaluation.LONGEST_ROW,
        )
        for position, content in enumerate(datasets.held_out_content(db, version["held_out_set_id"]))
    ]  # fmt: skip
    return model, [row.example_id for row in rows], training, held_out


def owners(db: Database, examples: Sequence[int]) -> dict[int, int]:
    """To whom each example's value is owed: of near-duplicates, to the author of the one that was accepted first."""
    return {
        found["id"]: found["person_id"]
        for found in store.rows(
            db,
            "select e.id, coalesce((select f.person_id from examples f join decisions d on d.example_id = f.id"
            " where f.cluster_id = e.cluster_id and d.decision = 'accepted' order by d.id limit 1), e.person_id)"
            " as person_id from examples e where e.id in (select value from json_each(?))",
            json.dumps(list(examples)),
        )
    }


def write(db: Database, record: dict[str, Any], rows: list[dict[str, Any]], sums: list[dict[str, Any]]) -> int:
    """Write one attribution whole, its rows with their hashes and root; returns its id, or that of the one already there."""
    with store.writing(db):
        known = find(db, record["adapter_id"])  # another process may have measured it meanwhile
        if known is not None:
            return int(known["id"])
        ordered = [{**row, "hash": row_hash(**row)} for row in sorted(rows, key=lambda row: row["example_id"])]
        root = merkle_root([row["hash"] for row in ordered])
        attribution_id = store.insert(db, "attributions", {**record, "rows_root": root})
        for row in ordered:
            store.insert(db, "attribution_rows", {"attribution_id": attribution_id, **row})
        for line in sums:
            store.insert(db, "attribution_people", {"attribution_id": attribution_id, **line})
    return attribution_id


def row_hash(*, example_id: int, person_id: int, value: float, error: float) -> str:
    """The sha-256 (hex) that an attribution row carries, so that a changed one is found by name."""
    return hashlib.sha256(json.dumps([example_id, person_id, value, error]).encode()).hexdigest()


def find(db: Database, adapter_id: int) -> dict[str, Any] | None:
    """The attribution of an adapter by this version of the method, as `get` gives it, or None."""
    found = store.value(
        db,
        "select id from attributions where adapter_id = ? and method = ? and method_version = ?",
        adapter_id,
        METHOD,
        VERSION,
    )
    return None if found is None else get(db, found)


def get(db: Database, attribution_id: int) -> dict[str, Any]:
    """One attribution: its columns, `settings` as a dict. Raises NotFound."""
    found = store.row(db, "select * from attributions where id = ?", attribution_id)
    if found is None:
        raise NotFound(f"There is no attribution {attribution_id}; an adapter's page shows its own.")
    return {**found, "settings": json.loads(found["settings"])}


def by_person(db: Database, attribution_id: int) -> list[dict[str, Any]]:
    """What each person's rows did, most first.

    Keys: person_id, person, is_demo, rows, value and error (nats per held-out label token), low and high (95%).
    """
    return store.rows(
        db,
        "select m.person_id, p.display_name as person, p.is_demo, m.rows, m.value, m.error,"
        " m.value - 1.96 * m.error as low, m.value + 1.96 * m.error as high"
        " from attribution_people m join people p on p.id = m.person_id where m.attribution_id = ?"
        " order by m.value desc, m.person_id",
        attribution_id,
    )


def by_example(
    db: Database, attribution_id: int, *, person_id: int | None = None, limit: int = 200, offset: int = 0
) -> list[dict[str, Any]]:
    """What each example did, most first: example_id, person_id (the payee), author_id, content, value, error."""
    return store.rows(
        db,
        "select r.example_id, r.person_id, e.person_id as author_id, e.content, r.value, r.error"
        " from attribution_rows r join examples e on e.id = r.example_id"
        " where r.attribution_id = :attribution and (:person is null or r.person_id = :person)"
        " order by r.value desc, r.example_id limit :limit offset :offset",
        attribution=attribution_id,
        person=person_id,
        limit=limit,
        offset=offset,
    )


def explain(method: str = METHOD) -> list[str]:
    """Which method this is, what it can tell and how far to trust it, in sentences for the credits page. Raises NotFound."""
    if method != METHOD:
        raise NotFound(f"There is no attribution method {method!r}; this version measures with {METHOD}.")
    return [
        "Method: damped Fisher influence, version 1. It asks of each training row: had it weighed a little more, by how much"
        " would the loss on the sealed held-out set have fallen? It looks at the gradients of the finished adapter.",
        "A value is in nats per held-out label token. Above zero the rows helped, below zero they hurt. Only differences"
        " within one adapter mean something: the values are a first-order estimate and need not add up to the whole gain.",
        "A person's value is the sum over their rows, so splitting an account changes no sum. Near-duplicates belong to"
        " whoever had the first one accepted. Gradients longer than the 99th percentile are shortened to it.",
        "The error is the standard error over held-out rows. Whoever is not at least 1.64 errors above zero is paid nothing"
        " for this adapter; a value below zero is never a debt.",
        "How far to trust it: it looks at one run with one seed and at its last checkpoint only, so the luck of that run is"
        " not in the error bar. It cannot see what a row did early in training and a later row repeated.",
        "On a small artificial test world this method predicted the effect of leaving 5% of rows out with a rank correlation"
        " of 0.67 to 0.84, and of leaving one contributor out with 0.81 to 0.98. Those are a toy's figures; on real text it"
        " is unproven here. Use it to see who clearly helped, not to tell neighbours apart.",
        "Known gaps: somebody with two accounts could keep poor rows in one and good rows in the other; and since chance is"
        " tested for each account, rows that do nothing drew 2% of the pool in a simulation when spread over 16 accounts,"
        " 0.1% in one. Review, not arithmetic, is what stops such rows.",
    ]
