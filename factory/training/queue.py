"""The queue: its order, what holds it up, and runs made from earlier runs: a clone, an extension, another try.

Who comes first: the higher priority, then the place in the order. People move their own runs among the places these hold,
so that nobody is passed over by somebody else's wish; an admin moves any.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.errors import Conflict, Invalid
from factory.base.people import Person
from factory.base.settings import Settings
from factory.training import checkpoints, device, estimate, mixture, recipes, run_rows, runs
from factory.training.device import Holder
from factory.training.recipes import Recipe

MOVES = ("up", "down", "top", "bottom")
YIELD_SECONDS = 60.0  # a run that made way waits so long at least
IDLE_CHAT_SECONDS = 60.0  # a chat process that was quiet so long gives its memory up for a run that needs it


def waiting(db: Database) -> list[dict[str, Any]]:
    """The queued runs in the order in which they will be started."""
    return runs.listing(db, status="queued", limit=1000)


def put_in_order(db: Database, run_ids: Sequence[int], *, person: Person) -> None:
    """Give one's queued runs this order, in the places that they hold now; those not named follow behind the named ones.

    Raises NotAllowed for somebody else's run unless one is an admin, Conflict for a run that is not queued.
    """
    with store.writing(db):
        for run_id in run_ids:
            run = runs.own(db, run_id, person)
            if run["status"] != "queued":
                raise Conflict(f"Run {run_id} is {run['status']}, not queued, so it has no place to move to.")
        if len(set(run_ids)) < len(run_ids):
            raise Invalid("A run stands twice in this order; name each one once.")
        line = waiting(db)
        mine = [run["id"] for run in line if run["person_id"] == person.id or person.may("admin")]
        wanted = iter([*run_ids, *(run_id for run_id in mine if run_id not in run_ids)])
        ordered = [next(wanted) if run["id"] in mine else run["id"] for run in line]
        for place, (run_id, before) in enumerate(zip(ordered, line, strict=True)):
            # small numbers, so that whoever joins later stands behind; the priority belongs to the place
            run_rows.change(db, run_id, ("queued",), {"queue_order": float(place), "priority": before["priority"]})


def move(db: Database, run_id: int, where: str, *, person: Person) -> None:
    """Move one's queued run up, down, to the top or to the bottom of one's own; see `put_in_order`.

    At the top it also no longer waits for a moment to come. Raises Invalid for another word.
    """
    if where not in MOVES:
        raise Invalid(f"A run cannot be moved {where!r}; choose one of {', '.join(MOVES)}.")
    with store.writing(db):
        runs.own(db, run_id, person)
        mine = [run["id"] for run in waiting(db) if run["person_id"] == person.id or person.may("admin")]
        if run_id not in mine:
            raise Conflict(f"Run {run_id} is {runs.get(db, run_id)['status']}, not queued, so it has no place to move to.")
        at = mine.index(run_id)
        mine.remove(run_id)
        mine.insert({"up": max(0, at - 1), "down": at + 1, "top": 0, "bottom": len(mine)}[where], run_id)
        put_in_order(db, mine, person=person)
        if where == "top":
            run_rows.change(db, run_id, ("queued",), {"not_before": None})


def clone(db: Database, settings: Settings, run_id: int, *, person: Person, changes: dict[str, Any], name: str = "") -> int:
    """Queue a run on the same data with the recipe of another and these settings changed; its id.

    Raises what `runs.create` raises, and Invalid for a setting that there is not.
    """
    parent = runs.get(db, run_id)
    recipe = changed(parent["recipe"], changes)
    told = (_shown(setting, there, here) for setting, there, here in compared(recipe, parent["recipe"]))
    name = name or _name(parent["name"], ", ".join(told))
    return runs.create(
        db,
        person=person,
        version_id=parent["version_id"],
        recipe=recipe,
        settings=settings,
        name=name,
        parent_run_id=run_id,
        **mixture.again(db, run_id),
    )


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe with some settings changed; alpha follows where it is linked. Raises Invalid with every problem.

    >>> changed(Recipe(), {"rank": 32}).alpha
    64
    """
    settings = recipes.to_dict(recipe) | changes
    if settings["alpha_linked"] is True and "alpha" not in changes:
        del settings["alpha"]
    return recipes.from_dict(settings)


def compared(recipe: Recipe, parent: Recipe) -> list[tuple[str, Any, Any]]:
    """What one recipe changed since another: (setting, there, here); an alpha that only follows the rank is left out.

    >>> compared(Recipe(rank=8), Recipe())
    [('rank', 16, 8)]
    """
    found = recipes.differences(recipe, parent)
    follows = recipe.alpha_linked and parent.alpha_linked
    return [(name, there, here) for name, (there, here) in found.items() if not (name == "alpha" and follows)]


def _shown(name: str, there: Any, here: Any) -> str:
    return f"{name.replace('_', ' ')} {here:g}" if isinstance(here, float) else f"{name.replace('_', ' ')} {here}"


def _name(parent: str, words: str) -> str:
    """A name of at most 80 characters: the parent's without what it had behind a semicolon, and what is new.

    >>> _name("haiku v1; rank 8", "rank 32")
    'haiku v1; rank 32'
    """
    words = words[:60] or "again"
    return f"{parent.partition(';')[0].strip()[: 78 - len(words)]}; {words}"


def difference(db: Database, run: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What a run's recipe changed since its parent's: (setting, there, here); empty where there is no parent."""
    parent = runs.find(db, run["parent_run_id"]) if run["parent_run_id"] else None
    return compared(run["recipe"], parent["recipe"]) if parent else []


def extended(db: Database, settings: Settings, run_id: int, *, epochs: float = 1.0) -> tuple[Recipe, int, str]:
    """The recipe of a run that goes on for so many epochs more, the step it begins after, and what the rate will do.

    Raises Invalid for no epochs, Conflict where the run is not over or has no checkpoint.
    """
    run = runs.get(db, run_id)
    if run["status"] not in ("done", "stopped", "paused", "interrupted", "failed"):
        raise Conflict(f"Run {run_id} is {run['status']}; it can be extended once it has ended.")
    if not epochs > 0:
        raise Invalid("An extension needs more than 0 epochs.")
    found = checkpoints.newest(settings.runs / run["folder"])
    if found is None or not found[1].step:
        raise Conflict(f"Run {run_id} has no checkpoint on this machine to go on from; clone it with more epochs instead.")
    step, old = found[1].step, run["recipe"]
    told = run_rows.value_at(db, run_id, "epoch", step)
    a_pass = round(step / told) if told else recipes.steps_per_epoch(old, run["version_rows"])
    total = step + max(1, round(epochs * a_pass))
    recipe = dataclasses.replace(old, epochs=total / a_pass, max_steps=total if old.max_steps else 0)
    return recipe, step, _rate_words(old, recipe, step, max(step, run["steps_total"] or step), total)


def _rate_words(old: Recipe, recipe: Recipe, step: int, before: int, total: int) -> str:
    last, first = recipes.learning_rate_at(old, step, before), recipes.learning_rate_at(recipe, step + 1, total)
    begin = f"It goes on at step {step + 1} of {total} with the weights and the optimizer of step {step}."
    if recipe.schedule == "constant":
        return f"{begin} The learning rate stays at {first:.2g}, so this is what a longer run would have been."
    return (
        f"{begin} The {recipe.schedule} schedule is drawn anew over all {total} steps: the learning rate was {last:.2g} and"
        f" goes on at {first:.2g}. So it rises once, and the result is not quite that of a run planned this long at once."
    )


def extend(db: Database, settings: Settings, run_id: int, *, person: Person, epochs: float = 1.0, name: str = "") -> int:
    """Queue a new run that goes on where a run ended, for so many epochs more; its id. The old run stays as it is.

    It has the old one's curves up to there, its best weights, and the count of measurings without a best begins anew.
    Raises what `extended` and `runs.create` raise, and Unavailable when the disk is full.
    """
    parent = runs.get(db, run_id)
    recipe, step, words = extended(db, settings, run_id, epochs=epochs)
    with store.writing(db):  # so that nobody can take it before its checkpoint is there
        made = runs.create(
            db,
            person=person,
            version_id=parent["version_id"],
            recipe=recipe,
            settings=settings,
            name=name or _name(parent["name"], f"{epochs:g} epochs more"),
            parent_run_id=run_id,
            starts_from=run_id,
            **mixture.again(db, run_id),
        )
        checkpoints.begin_from(settings.runs / parent["folder"], settings.runs / runs.get(db, made)["folder"])
        run_rows.copy_metrics(db, run_id, made, steps=step)
        run_rows.change(db, made, ("queued",), {"steps_done": step})
        run_rows.add_event(db, made, "extends", f"It extends run {run_id}. {words}")
    return made


def retry(db: Database, run_id: int, *, person: Person) -> None:
    """Try a run again that failed or was interrupted, from its last checkpoint. Raises NotAllowed, Conflict."""
    status = runs.own(db, run_id, person)["status"]
    if status not in ("failed", "interrupted"):
        raise Conflict(f"Run {run_id} is {status}; only a run that failed or was interrupted can be tried again.")
    runs.resume(db, run_id, person=person)


def make_way(db: Database, run_id: int, token: str) -> None:
    """Give a run back to the queue that was asked to yield; it goes on by itself. Raises Conflict if another has it."""
    changes = {"status": "queued", "wish": None, "not_before": store.now() + YIELD_SECONDS, **run_rows.NOBODY}
    with store.writing(db):
        run_rows.change_mine(db, run_id, token, changes)
        words = f"It made way after its step; it goes on by itself in {YIELD_SECONDS:.0f} s, or when chat has been quiet."
        run_rows.add_event(db, run_id, "yielded", words)


def held_up_by(db: Database, settings: Settings, run: dict[str, Any]) -> str | None:
    """Why a queued run is not started now, as a sentence without its full stop; None where it is its turn."""
    wait = (run["not_before"] or 0) - store.now()
    if wait > 0:
        return f"waits {wait:.0f} s before it goes on"
    holder = device.holder(settings)
    if holder is not None and holder.run_id != run["id"]:
        return holder.words
    quiet = device.quiet_in(settings)
    if quiet > 0:
        return f"chat was used just now; starts in {quiet:.0f} s unless somebody asks again"
    free, needs = shutil.disk_usage(settings.home).free, run["estimate"]["disk_bytes"]
    if free < needs:
        return f"needs {needs / 2**20:,.0f} MiB of disk, and {free / 2**20:,.0f} MiB are free; make some room"
    chat = chat_in_the_way(settings, run)
    if chat:
        return f"needs the memory that the chat process holds ({chat['memory_bytes'] / 2**30:.1f} GiB)"
    return None


def chat_in_the_way(settings: Settings, run: dict[str, Any]) -> dict[str, int] | None:
    """The chat process (pid, memory_bytes) where a run fits into memory only without it, else None.

    On a GPU nobody can say whose memory is whose, so there a chat process is in the way of every run.
    """
    chat = device.resident(settings)
    if chat is None:
        return None
    needs, machine = run["estimate"]["memory_bytes"], estimate.machine(settings)
    if machine["gpu"]:
        return chat
    room = machine["memory_available_bytes"]
    return chat if room < needs <= room + chat["memory_bytes"] else None


def send_idle_chat_away(settings: Settings, run: dict[str, Any]) -> bool:
    """End a chat process that a run needs the memory of, once it was quiet for a minute; whether it was asked to end."""
    chat, last = chat_in_the_way(settings, run), device.last(settings)
    quiet = last is None or last.kind != device.CHAT or (last.until or store.now()) + IDLE_CHAT_SECONDS < store.now()
    if chat is None or not quiet:
        return False
    with suppress(OSError):
        os.kill(chat["pid"], signal.SIGTERM)
    return True


def free(db: Database, settings: Settings, *, person: Person) -> str:
    """Free the device: ask the run that holds it to make way, and say what will happen. Raises Conflict, NotAllowed."""
    found: Holder | None = device.holder(settings)
    if found is None:
        return "Nobody holds the device."
    if found.run_id is None:
        raise Conflict(f"{found.words}, which cannot be interrupted; it ends by itself soon.")
    runs.ask(db, found.run_id, "yield", person=person)
    return f"Run {found.run_id} makes way after its present step, and goes on by itself once chat has been quiet."
