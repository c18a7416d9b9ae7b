"""Recipes with a name to start from: those the program brings, and those this installation kept. Alone writes `presets`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, Invalid, NotFound
from factory.base.people import Person
from factory.training import recipes
from factory.training.recipes import Recipe

LONGEST_NAME = 40


def listing(db: Database) -> list[dict[str, Any]]:
    """Every preset: name, recipe (a Recipe), words (where it comes from), built_in; the program's own first."""
    own: list[dict[str, Any]] = [
        {"name": name, "recipe": recipe, "words": "Comes with the program.", "built_in": True}
        for name, recipe in recipes.PRESETS.items()
    ]
    known = {field.name for field in dataclasses.fields(Recipe)}
    for found in store.rows(db, "select name, recipe, words from presets order by at, name"):
        settings = {name: value for name, value in json.loads(found["recipe"]).items() if name in known}
        own.append({**found, "recipe": Recipe(**settings), "built_in": False})
    return own


def by_name(db: Database) -> dict[str, Recipe]:
    """Every preset's recipe by its name, the program's own first."""
    return {preset["name"]: preset["recipe"] for preset in listing(db)}


def get(db: Database, name: str) -> Recipe:
    """The recipe of a preset. Raises NotFound with the names there are."""
    known = by_name(db)
    if name not in known:
        raise NotFound(f"There is no preset {name!r}; the presets are {', '.join(known)}.")
    return known[name]


def with_changes(db: Database, name: str | None, changes: dict[str, Any]) -> Recipe:
    """A preset (None: the defaults) with some settings changed. Raises NotFound, Invalid with every problem."""
    start = recipes.to_dict(get(db, name)) if name else {}
    if start.get("alpha_linked") and "alpha" not in changes:
        del start["alpha"]  # it follows the rank
    return recipes.from_dict(start | changes)


def keep(db: Database, name: str, recipe: Recipe, *, person: Person, words: str = "") -> str:
    """Keep a recipe under a name for everybody here; returns the name as it was kept. Needs the role builder.

    Raises NotAllowed, Invalid (the name, or the recipe), Conflict when the name is taken.
    """
    people.need(person, "builder")
    name = " ".join(name.split())
    problems = recipes.problems(recipe)
    if not name or len(name) > LONGEST_NAME or name.startswith("-"):
        problems = [f"A preset's name has 1 to {LONGEST_NAME} characters and does not begin with a dash.", *problems]
    if problems:
        raise Invalid(problems)
    with store.writing(db):
        if name in by_name(db):
            raise Conflict(f"There is a preset {name!r} already; choose another name, or delete that one first.")
        record = {"name": name, "recipe": json.dumps(recipes.to_dict(recipe), sort_keys=True), "words": words}
        store.insert(db, "presets", {**record, "person_id": person.id, "at": store.now()})
    return name


def delete(db: Database, name: str, *, person: Person) -> None:
    """Forget a preset that this installation kept; runs that began with it stay as they are. Needs the role builder.

    Raises NotAllowed, NotFound, Conflict for one that comes with the program.
    """
    people.need(person, "builder")
    get(db, name)
    if name in recipes.PRESETS:
        raise Conflict(f"The preset {name!r} comes with the program, so it stays.")
    with store.writing(db):
        db.execute("delete from presets where name = ?", [name])
