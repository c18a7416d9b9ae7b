"""Commands about what training gave: demo, evaluate, chat, export, credit, leaderboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from factory import demo
from factory.adapters import evaluation, exports, forgetting, kept, talk
from factory.base import people
from factory.base.errors import NotFound
from factory.commands.desk import Desk, file_at, fraction_told, say
from factory.credit import leaderboards, ledger, ranks
from factory.intake import datasets
from factory.terminal import table
from factory.training import device, models, recipes

WAIT_SECONDS = 60.0  # for who has the device; then its name is said


def demonstrate(desk: Desk, arguments: argparse.Namespace) -> int:
    """Walk the whole line on the sample dataset."""
    recipe = recipes.from_yaml(file_at(arguments.yaml).read_text(encoding="utf-8")) if arguments.yaml else demo.RECIPE
    shown = demo.walk(desk.db, desk.settings, recipe=recipe, person=desk.person, quiet=desk.json)
    say(desk, shown, demo.in_words(shown))
    return 0


def _adapter(desk: Desk, adapter_id: int | None) -> dict[str, Any]:
    if adapter_id is not None:
        return kept.get(desk.db, adapter_id)
    newest = kept.listing(desk.db, limit=1)
    if not newest:
        raise NotFound("No adapter is here yet; `train --dataset SLUG` makes one.")
    return newest[0]


def _share_told(desk: Desk) -> Callable[[float, str], None]:
    tell = fraction_told(quiet=desk.json)
    return lambda share, words: tell(words, share)


def evaluate(desk: Desk, arguments: argparse.Namespace) -> None:
    """Measure an adapter against its base on the held-out rows."""
    people.need(desk.person, "builder")
    adapter = _adapter(desk, arguments.adapter)
    with device.held(desk.settings, "evaluation", f"Adapter {adapter['id']} is being measured", wait_seconds=WAIT_SECONDS):
        found = evaluation.evaluate(desk.db, desk.settings, adapter["id"], progress=_share_told(desk))
    words = (
        f"Held-out loss of {adapter['name']}: base {found['base_loss']:.3f}, tuned {found['tuned_loss']:.3f} nats a token;"
        f" difference {found['difference']:+.3f} (95% interval {found['low']:+.3f} to {found['high']:+.3f})"
        f" on {found['row_count']} rows."
    )
    forgot = forgetting.find(desk.db, found["id"])
    say(desk, {**found, "forgetting": forgot}, f"{words}\n{forgetting.in_words(forgot)}")


def chat(desk: Desk, arguments: argparse.Namespace) -> None:
    """Talk to an adapter or a base model: one answer to what was typed, or a conversation until an empty line."""
    if arguments.serve:
        from factory.adapters.chat import serve

        return serve(desk.settings)
    model_name, adapter_id = arguments.base, None
    if model_name is None:
        adapter = _adapter(desk, arguments.adapter)
        adapter_id, model_name = adapter["id"], adapter["model_name"]
    models.get(desk.settings, model_name)
    said: list[dict[str, str]] = []
    prompt = " ".join(arguments.prompt)
    while prompt or not arguments.prompt:
        prompt = prompt or _next_prompt()
        if not prompt:
            return None
        said.append({"role": "user", "content": prompt})
        answer = _answer(desk, arguments, said, adapter_id=adapter_id, model_name=model_name)
        said.append({"role": "assistant", "content": answer})
        prompt = ""
        if arguments.prompt:
            break
    if desk.json:
        say(desk, {"adapter": adapter_id, "model": model_name, "messages": said})
    return None


def _next_prompt() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _answer(
    desk: Desk, arguments: argparse.Namespace, said: list[dict[str, str]], *, adapter_id: int | None, model_name: str
) -> str:
    pieces = []
    for piece in talk.stream(
        desk.settings, adapter_id=adapter_id, model_name=model_name, messages=said, max_tokens=arguments.max_tokens,
        temperature=arguments.temperature, seed=arguments.seed,
    ):  # fmt: skip
        pieces.append(piece)
        if not desk.json:
            print(piece, end="", flush=True)
    if not desk.json:
        print()
    return "".join(pieces)


def export(desk: Desk, arguments: argparse.Namespace) -> None:
    """Write an adapter as a PEFT folder (zip), loaded back and compared before it is called verified."""
    adapter = _adapter(desk, arguments.adapter)
    with device.held(desk.settings, "export", f"Adapter {adapter['id']} is being packed", wait_seconds=WAIT_SECONDS):
        made = exports.export_peft(desk.db, desk.settings, adapter["id"], person=desk.person)
    checked = "loaded back, the same greedy tokens" if made["verified"] else "NOT verified"
    say(desk, made, f"{made['path']} ({made['bytes']:,} bytes, {checked}), sha-256 {made['sha256']}")


def credit_show(desk: Desk, arguments: argparse.Namespace) -> None:
    """The balances and the newest entries of the ledger."""
    balances, entries = ledger.balances(desk.db), ledger.entries(desk.db, limit=20)
    columns = ["transaction_id", "kind", "person", "account", "credits", "adapter", "reason"]
    words = f"{table(balances, ['person', 'credits'])}\n\n{table(entries, columns)}" if entries else "Nothing was paid yet."
    say(desk, {"balances": balances, "entries": entries}, words)


def credit_statement(desk: Desk, arguments: argparse.Namespace) -> None:
    """What moved a person's account."""
    person = people.get(desk.db, arguments.name) if arguments.name else desk.person
    lines = ledger.statement(desk.db, person.id)
    columns = ["transaction_id", "kind", "credits", "balance", "adapter", "dataset", "version", "rows", "value", "error"]
    words = table(lines, columns) or f"Nothing has moved the account of {person.name}."
    say(desk, {"name": person.name, "lines": lines}, words)


def credit_receipt(desk: Desk, arguments: argparse.Namespace) -> None:
    """One payment and all it was computed from."""
    found = ledger.receipt(desk.db, arguments.id)
    lines = [f"{name:<16} {value}" for name, value in found.items() if name not in ("entries", "formula")]
    lines += [f"  {name:<16} {value}" for name, value in found["formula"].items()]
    say(desk, found, "\n".join([*lines, table(found["entries"], ["position", "account", "person", "micro_credits"])]))


def leaderboard(desk: Desk, arguments: argparse.Namespace) -> None:
    """Rank contributors, datasets or adapters; nothing of it is stored."""
    if arguments.why:
        return _why(desk, arguments)
    if arguments.of == "contributors":
        dataset_id = datasets.get(desk.db, arguments.dataset)["id"] if arguments.dataset else None
        found = leaderboards.contributors(desk.db, dataset_id=dataset_id)
        columns = ["rank", "person", "lower", "rate", "accepted", "decided", "refused", "credits"]
    elif arguments.of == "datasets":
        found = leaderboards.datasets(desk.db)
        columns = ["rank", "slug", "accepted", "decided", "people", "versions", "adapters", "gain_percent", "credits"]
    else:
        found = leaderboards.adapters(desk.db)
        columns = ["rank", "adapter", "slug", "version", "base", "gain_percent", "gain_low", "gain_high", "forgot_percent"]
        columns += ["minutes", "tokens", "energy_wh", "credits"]
    say(desk, found, table(found, columns) or "There is nothing to rank yet.")


def _why(desk: Desk, arguments: argparse.Namespace) -> None:
    dataset_id = datasets.get(desk.db, arguments.dataset)["id"] if arguments.dataset else None
    found = ranks.explained(desk.db, people.get(desk.db, arguments.why).id, dataset_id=dataset_id)
    ages = table(found["ages"], ["age", "accepted", "not_accepted", "each", "weight"])
    beside = table(found["beside"], ["rank", "person", "lower", "rate", "accepted", "decided"])
    parts = ["\n".join(found["sentences"]), ages, "\n".join(found["arithmetic"]), beside]
    say(desk, found, "\n\n".join(part for part in parts if part))
