"""The token view: every row of a dataset version as the model sees it, and whether it may be trained on like that.

Encoding takes the tokenizer, and that takes torch, so it happens once, in a process of its own (`python -m factory tokens`),
over all rows and without a maximum length; what it found lies in a small file. From that file any row is shown and every
number counted for any maximum length at once, by processes that stay light.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlite_utils import Database

from factory.base.errors import Invalid, NotFound, Unavailable
from factory.base.settings import Settings
from factory.intake import datasets, formats
from factory.training import encoding, gates, models
from factory.training.recipes import Recipe

FORMAT = 1
UNCUT = 2**31 - 1
VIEWS_KEPT = 20
PICKS = ("first", "longest", "random", "problem")
Progress = Callable[[int, int], None]  # rows done, of how many


@dataclass(frozen=True)
class Token:
    """One token of a row. `trained`: its loss counts; `special`: a sign of the template; `cut`: beyond the maximum."""

    text: str
    id: int
    trained: bool
    special: bool
    cut: bool


@dataclass(frozen=True)
class View:
    """All rows of a version as tokens, uncut. Row `i` has `tokens[starts[i]:starts[i + 1]]`, `trained` says which count.

    `answers` has a line for each trained answer that something can be said of: row, start, end, passes gate ends, passes
    gate prompt. `texts` shows each id that occurs; `refused` has the sentence for a row that the template refuses, `doubts`
    what else is odd in a row.
    """

    example_ids: np.ndarray
    starts: np.ndarray
    tokens: np.ndarray
    trained: np.ndarray
    answers: np.ndarray
    texts: dict[int, str]
    special: frozenset[int]
    refused: dict[int, str]
    doubts: dict[int, list[str]]

    @property
    def lengths(self) -> np.ndarray:
        """How many tokens each row has, uncut."""
        return np.diff(self.starts)


def key(db: Database, settings: Settings, *, version_id: int, recipe: Recipe) -> str:
    """What names a view: data, tokenizer, template and all of a recipe that changes tokens, save its maximum length.

    Raises NotFound.
    """
    model = models.get(settings, recipe.base_model)
    files = [Path(model["folder"]) / name for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")]
    signs = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    known = [FORMAT, datasets.version(db, version_id)["root"], model["hash"], signs, options(recipe)]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


def options(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe `encoding.encode` wants to know, the maximum length aside."""
    return {
        "system_prompt": recipe.system_prompt, "completions_only": recipe.completions_only,
        "mask_history": recipe.mask_history,
    }  # fmt: skip


def path_of(settings: Settings, name: str) -> Path:
    """Where the view of this key lies, once it is made."""
    return settings.home / "token-views" / f"{name}.npz"


def find(settings: Settings, name: str) -> View | None:
    """The view of this key, or None where none was made yet."""
    try:
        with np.load(path_of(settings, name), allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            arrays = {name: found[name] for name in ("example_ids", "starts", "tokens", "trained", "answers")}
    except (OSError, ValueError, KeyError):
        return None
    return View(
        **arrays,
        texts={int(number): text for number, text in about["texts"].items()},
        special=frozenset(about["special"]),
        refused={int(place): words for place, words in about["refused"].items()},
        doubts={int(place): words for place, words in about["doubts"].items()},
    )


def make(
    db: Database, settings: Settings, *, version_id: int, recipe: Recipe, progress: Progress = lambda done, of: None
) -> View:
    """The view of a version for a base model and a recipe: found, or made now. Imports the tokenizer, and so torch.

    Raises NotFound, Invalid where the model has no chat template, Unavailable when the disk is full.
    """
    name = key(db, settings, version_id=version_id, recipe=recipe)
    found = find(settings, name)
    if found is not None:
        return found
    rows = [(example_id, formats.messages(text)) for _, example_id, text in datasets.version_content(db, version_id)]
    progress(0, len(rows))
    tokenizer = models.load_tokenizer(settings, recipe.base_model)
    models.template_hash(tokenizer)  # or there is none, and nothing can be shown
    ends = gates.end_tokens(models.get(settings, recipe.base_model)["folder"], tokenizer)
    tokens: list[int] = []
    trained: list[bool] = []
    starts, answers = [0], []
    refused: dict[int, str] = {}
    doubts: dict[int, list[str]] = {}
    for place, (example_id, talk) in enumerate(rows):
        try:
            row = encoding.encode(tokenizer, talk, example_id=example_id, max_length=UNCUT, **options(recipe))
        except Invalid as problem:
            refused[place] = str(problem)
            starts.append(len(tokens))
            continue
        found_there = gates.answers(tokenizer, row, talk, ends=ends, system_prompt=recipe.system_prompt)
        answers += [(place, one.start, one.end, one.ends, one.prompt) for one in found_there]
        if odd := [words for words in encoding.problems(row, tokenizer, talk) if row.label_tokens]:
            doubts[place] = odd
        tokens += row.tokens
        trained += row.supervised
        starts.append(len(tokens))
        progress(place + 1, len(rows))
    view = View(
        np.array([example_id for example_id, _ in rows], dtype=np.int64),
        np.array(starts, dtype=np.int64),
        np.array(tokens, dtype=np.int32),
        np.array(trained, dtype=bool),
        np.array(answers, dtype=np.int64).reshape(-1, 5),
        texts(tokenizer, sorted(set(tokens))),
        encoding.special_tokens(tokenizer),
        refused,
        doubts,
    )
    _write(path_of(settings, name), view)
    return view


def _write(path: Path, view: View) -> None:
    about = {"texts": view.texts, "special": sorted(view.special), "refused": view.refused, "doubts": view.doubts}
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.savez(
                file, example_ids=view.example_ids, starts=view.starts, tokens=view.tokens, trained=view.trained,
                answers=view.answers, about=np.array(json.dumps(about)),
            )  # fmt: skip
        os.replace(draft, path)
        newest_first = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in newest_first[VIEWS_KEPT:]:
            for beside in path.parent.glob(f"{old.stem}.*"):
                beside.unlink(missing_ok=True)
    except OSError as problem:
        draft.unlink(missing_ok=True)
        raise Unavailable(
            f"The token view cannot be written ({problem.strerror}); free some space in {path.parent}."
        ) from problem


def texts(tokenizer: Any, ids: Sequence[int]) -> dict[int, str]:
    """How each token reads by itself; one that is part of a character is shown as its bytes, ⟨E2 82⟩."""
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    found = {}
    for number, piece in zip(ids, pieces, strict=True):
        text = tokenizer.decode([number], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if "\N{REPLACEMENT CHARACTER}" in text:
            text = _bytes_of(piece)
        elif piece.startswith("\N{LOWER ONE EIGHTH BLOCK}") and not text.startswith(" "):
            text = " " + text  # SentencePiece drops the space in front of a word that stands alone
        found[number] = text
    return found


def _bytes_of(piece: str) -> str:
    """The bytes behind a byte-level piece, whose letters stand for bytes (GPT-2's table); other pieces as they are.

    >>> _bytes_of("âĤ")
    '⟨E2 82⟩'
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in plain}
    table |= {chr(256 + place): byte for place, byte in enumerate(sorted(set(range(256)) - set(plain)))}
    if not all(letter in table for letter in piece):
        return piece
    return "⟨" + " ".join(f"{table[letter]:02X}" for letter in piece) + "⟩"


def row(view: View, place: int, *, max_length: int) -> list[Token]:
    """The tokens of the row at `place` (from 0). Raises NotFound."""
    if not 0 <= place < len(view.example_ids):
        raise NotFound(f"This version has {len(view.example_ids)} rows; there is no row {place + 1}.")
    part = slice(int(view.starts[place]), int(view.starts[place + 1]))
    return [
        Token(view.texts[number], number, trained and at < max_length, number in view.special, at >= max_length)
        for at, (number, trained) in enumerate(zip(view.tokens[part].tolist(), view.trained[part].tolist(), strict=True))
    ]


def failing(view: View, *, max_length: int) -> dict[str, list[int]]:
    """The places of the rows that fail each gate, and of those in doubt: learns, ends, prompt, refused, doubts."""
    inside = view.answers[view.answers[:, 1] < max_length]
    whole = inside[inside[:, 2] <= max_length]
    return {
        "learns": np.flatnonzero(_learnt(view, max_length) == 0).tolist(),
        "ends": sorted(set(whole[whole[:, 3] == 0, 0].tolist())),
        "prompt": sorted(set(inside[inside[:, 4] == 0, 0].tolist()) | set(view.refused)),
        "doubts": sorted(view.doubts),
    }


def _learnt(view: View, max_length: int) -> np.ndarray:
    """How many trained tokens of each row are left within the maximum length."""
    counted = np.concatenate([[0], np.cumsum(view.trained)])
    return np.asarray(counted[view.starts[:-1] + np.minimum(view.lengths, max_length)] - counted[view.starts[:-1]])


def summary(view: View, *, max_length: int, longest: int = 0) -> dict[str, Any]:
    """What a maximum length makes of all rows. `longest` is what the model itself can read, 0 where that is not known.

    Keys: rows, tokens and trained_tokens (after the cut), share, rows_cut, rows_with_nothing, p50, p95, recommended
    (max_length: p95 up to a multiple of 64), gates: a list of {gate, title, passed, rows (places), sentence, advice}.
    """
    lengths, learnt, found = view.lengths, _learnt(view, max_length), failing(view, max_length=max_length)
    kept = int(np.minimum(lengths, max_length).sum())
    p50, p95 = (int(np.percentile(lengths, q, method="higher")) if len(lengths) else 0 for q in (50, 95))
    recommended = max(64, 64 * -(-p95 // 64))
    return {
        "rows": len(lengths),
        "tokens": kept,
        "trained_tokens": int(learnt.sum()),
        "share": int(learnt.sum()) / kept if kept else 0.0,
        "rows_cut": int((lengths > max_length).sum()),
        "rows_with_nothing": len(found["learns"]),
        "p50": p50,
        "p95": p95,
        "recommended": min(recommended, longest) if longest else recommended,
        "gates": [
            {
                "gate": gate,
                "title": title,
                "passed": not found[gate],
                "rows": found[gate],
                "sentence": gates.SENTENCES[gate],
                "advice": gates.ADVICE[gate],
            }
            for gate, title in gates.GATES.items()
        ],
    }


def troubles(view: View, place: int, *, max_length: int) -> list[str]:
    """What is wrong with one row, a sentence each; none where all is well."""
    found = failing(view, max_length=max_length)
    words = [view.refused[place]] if place in view.refused else []
    words += [gates.SENTENCES[gate] for gate in gates.GATES if place in found[gate] and place not in view.refused]
    return words + view.doubts.get(place, [])


def pick(view: View, how: str, *, max_length: int, seed: int = 0, after: int = -1) -> int:
    """The place of a row: first, longest, random (by `seed`), or the next one with a problem after the place `after`.

    Raises NotFound where there is none, Invalid for another word.
    """
    if how not in PICKS:
        raise Invalid(f"Rows can be picked by {', '.join(PICKS)}; {how!r} is none of these.")
    if not len(view.example_ids):
        raise NotFound("This version has no rows; freeze one that has.")
    if how == "longest":
        return int(view.lengths.argmax())
    if how == "random":
        return random.Random(seed).randrange(len(view.example_ids))
    if how == "problem":
        wrong = sorted({place for places in failing(view, max_length=max_length).values() for place in places})
        if not wrong:
            raise NotFound("No row has a problem.")
        return next((place for place in wrong if place > after), wrong[0])
    return 0


def place_of(view: View, example_id: int) -> int:
    """The place of the row with this id. Raises NotFound."""
    found = np.flatnonzero(view.example_ids == example_id)
    if not len(found):
        raise NotFound(f"This version has no row {example_id}; its rows are listed on the dataset's page.")
    return int(found[0])


def visible(text: str) -> str:
    """A token's text with what cannot be seen written out: line ends as ⏎, tabs as ⇥, other such signs by their number.

    >>> visible("a\\n\u202eb")
    'a⏎\\n⟨202E⟩b'
    """
    named = {"\n": "⏎\n", "\t": "⇥\t"}
    return "".join(named.get(sign) or (sign if sign.isprintable() else f"⟨{ord(sign):04X}⟩") for sign in text)
