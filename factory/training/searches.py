"""Searches over recipes: trials that run one at a time through the queue. The only writer of `searches`, `search_trials`.

    running → done       its trials, its minutes or its combinations are used up
       ├────→ stopped    a person asked
       └────→ failed     its trials fail one after the other, or the next cannot be started

All state is in rows. The worker calls `advance` at each look round, and a trainer asks `wish_of` after each step: whatever
is killed, the next worker finds the search where it was. A trial is an ordinary run of the person who started the search.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlite_utils import Database

from factory.base import people, store
from factory.base.errors import Conflict, FactoryError, Invalid, NotAllowed, NotFound
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import datasets
from factory.training import checkpoints, plans, presets, proposals, recipes, runs, spaces
from factory.training.plans import Plan
from factory.training.proposals import Trial
from factory.training.recipes import Recipe

FAILURES_IN_A_ROW = 3
BEHIND_PEOPLE = -1  # a trial's place in the queue
PAUSE_SECONDS = 300.0  # a longer silence between two steps was no training: the machine was off, or a person paused it
ENDED = ("done", "stopped", "failed", "cancelled", "interrupted")
UNDER_WAY = ("queued", "running", "paused")


def start(
    db: Database, *, person: Person, version_id: int, recipe: Recipe, plan: Plan, settings: Settings, name: str = ""
) -> int:
    """Begin a search and return its id; a worker runs its trials. Needs the role builder.

    Raises NotAllowed, NotFound (version), Invalid with every problem, Conflict where nothing is held out to judge by.
    """
    people.need(person, "builder")
    wrong = plans.problems(plan, recipe)
    name = " ".join(name.split())
    if len(name) > 60:
        wrong.append("A search's name has at most 60 characters.")
    if wrong:
        raise Invalid(wrong)
    version = datasets.version(db, version_id)
    if not version["held_out_root"]:
        raise Conflict("This dataset version has no held-out rows to compare trials by; seal some, freeze, then search.")
    runs.estimate_for(db, settings, version_id=version_id, recipe=recipe)  # refuses what cannot be trained at all
    with store.writing(db):
        return store.insert(
            db,
            "searches",
            {
                "name": name or f"{version['slug']} v{version['number']} over {', '.join(plan.over)}"[:60],
                "person_id": person.id,
                "version_id": version_id,
                "recipe": json.dumps(recipes.to_dict(recipe), sort_keys=True),
                "plan": json.dumps(dataclasses.asdict(plan)),
                "status": "running",
                "words": "It begins when no run waits.",
                "at": store.now(),
            },
        )


def get(db: Database, search_id: int) -> dict[str, Any]:
    """A search: its columns, recipe (a Recipe), plan (a Plan), dataset, person's names, trials (see `trials`), best.

    `best` is the trial with the lowest held-out loss, or None. Raises NotFound.
    """
    found = store.row(
        db,
        "select s.*, p.name as person, p.display_name, v.number as version_number, d.slug as dataset_slug,"
        " d.title as dataset_title from searches s join people p on p.id = s.person_id"
        " join dataset_versions v on v.id = s.version_id join datasets d on d.id = v.dataset_id where s.id = ?",
        search_id,
    )
    if found is None:
        raise NotFound(f"There is no search {search_id}; `search list` shows those there are.")
    known = {field.name for field in dataclasses.fields(Recipe)}
    recipe = Recipe(**{name: value for name, value in json.loads(found["recipe"]).items() if name in known})
    tried = trials(db, search_id)
    done = [trial for trial in tried if trial["value"] is not None and trial["status"] == "done"]
    best = min(done, key=lambda trial: (trial["value"], trial["number"])) if done else None
    return {**found, "recipe": recipe, "plan": Plan(**json.loads(found["plan"])), "trials": tried, "best": best}


def listing(db: Database, *, limit: int = 100) -> list[dict[str, Any]]:
    """Searches as `get` gives them, the newest first."""
    found = store.rows(db, "select id from searches order by id desc limit ?", limit)
    return [get(db, row["id"]) for row in found]


def trials(db: Database, search_id: int) -> list[dict[str, Any]]:
    """The trials of a search in their order: number, settings, run_id, status, value, words, curve, seconds, run_status.

    `curve` maps a measuring's place (1 to measurings + 1, the last at the end) to the held-out loss there, so that trials
    with different batches stand at the same number of rows; `seconds` is time spent training.
    """
    found = store.rows(
        db,
        "select t.*, r.status as run_status, r.steps_done, r.steps_total, json_extract(r.recipe, '$.evaluations') as places"
        " from search_trials t join runs r on r.id = t.run_id where t.search_id = ? order by t.number",
        search_id,
    )
    return [
        {
            **trial,
            "settings": json.loads(trial["settings"]),
            "curve": _curve(db, trial["run_id"], trial["steps_total"], trial["places"]),
            "seconds": _seconds(db, trial["run_id"]),
        }
        for trial in found
    ]


def _curve(db: Database, run_id: int, steps: int | None, places: int) -> dict[int, float]:
    """Held-out loss by place; a measuring that was made only because the trial was given up has none."""
    measured = dict(runs.metrics(db, run_id, ["held_out_loss"])["held_out_loss"])
    at = {round((steps or 0) * place / (places + 1)): place for place in range(1, places + 2)}
    return {at[step]: value for step, value in measured.items() if step in at and step}


def _seconds(db: Database, run_id: int) -> float:
    return float(
        store.value(
            db,
            "select total(min(at - before, ?)) from (select at, lag(at) over (order by at) as before from"
            " (select started_at as at from runs where id = ? and started_at is not null"
            " union select at from metrics where run_id = ? and name in ('loss', 'held_out_loss')))",
            PAUSE_SECONDS,
            run_id,
            run_id,
        )
    )


def trial_of(db: Database, run_id: int) -> dict[str, Any] | None:
    """The trial that a run is: search_id, number, status, words, whole_line; None for any other run."""
    found = store.row(
        db,
        "select t.search_id, t.number, t.status, t.words, json_extract(s.plan, '$.whole_line') as whole_line"
        " from search_trials t join searches s on s.id = t.search_id where t.run_id = ?",
        run_id,
    )
    return {**found, "whole_line": bool(found["whole_line"])} if found else None


def wish_of(db: Database, run_id: int) -> Callable[[], str | None]:
    """What a run's loop asks after each step: what a person wishes, and for a trial whether it is given up.

    A trial is judged in its own process at each new measuring, not by whoever happens to look: so the same search prunes
    the same trials on any machine.
    """
    trial = trial_of(db, run_id)
    if trial is None:
        return lambda: runs.wish(db, run_id)
    search, judged = get(db, trial["search_id"]), [0]
    before = as_trials({"trials": [each for each in search["trials"] if each["number"] < trial["number"]]})

    def wish() -> str | None:
        asked = runs.wish(db, run_id)
        measured = store.value(db, "select count(*) from metrics where run_id = ? and name = 'held_out_loss'", run_id)
        if asked or measured == judged[0]:
            return asked
        judged[0] = measured
        run = runs.get(db, run_id)
        last = run["recipe"].evaluations + 1
        curve = _curve(db, run_id, run["steps_total"], last - 1)
        if last in curve or not proposals.hopeless(before, curve, pruner=search["plan"].pruner):
            return None
        place = max(curve)
        words = (
            f"Given up at measuring {place} of {last}: its held-out loss, {curve[place]:.4f}, falls behind earlier trials."
        )
        with store.writing(db):
            _settle(db, trial["search_id"], trial["number"], "pruned", words)
            runs.note(db, run_id, "pruned", words)
        return "stop"

    return wish


def _settle(db: Database, search_id: int, number: int, status: str, words: str, value: float | None = None) -> None:
    db.execute(
        "update search_trials set status = ?, words = ?, value = ? where search_id = ? and number = ?",
        [status, words, value, search_id, number],
    )


def advance(db: Database, settings: Settings) -> None:
    """Take every running search one turn further: settle the trial that ended, queue the next when nobody waits."""
    for found in store.rows(db, "select id from searches where status = 'running' order by id"):
        search = get(db, found["id"])
        try:
            _turn(db, settings, search)
        except FactoryError as problem:
            _end(db, search["id"], "failed", f"The next trial could not be started: {problem}")


def _turn(db: Database, settings: Settings, search: dict[str, Any]) -> None:
    open_trial = next((t for t in search["trials"] if t["status"] == "running" or t["run_status"] in UNDER_WAY), None)
    if open_trial is not None:
        if not _settled(db, search, open_trial):
            return
        search = get(db, search["id"])
    plan, tried = search["plan"], search["trials"]
    if tried and not plan.whole_line:  # only its numbers are wanted: the best recipe is trained in full afterwards
        checkpoints.clear(settings.runs / f"run-{tried[-1]['run_id']}")
    if len(tried) >= FAILURES_IN_A_ROW and all(t["status"] == "failed" for t in tried[-FAILURES_IN_A_ROW:]):
        _end(db, search["id"], "failed", f"{FAILURES_IN_A_ROW} trials in a row failed, the last so: {tried[-1]['words']}")
    elif len(tried) >= plan.trials:
        _end(db, search["id"], "done", f"All {plan.trials} trials were run.")
    elif plan.minutes and tried and 60 * plan.minutes - seconds_used(search) < _seconds_a_trial(search):
        _end(db, search["id"], "done", f"Another trial would not end within its {plan.minutes:g} minutes.")
    elif not runs.listing(db, status=("queued", "running"), limit=1):  # what people queued goes first
        chosen = proposals.propose(
            plan.ranges, as_trials(search), method=plan.method, seed=plan.seed, start=search["recipe"]
        )
        if chosen is None:
            _end(db, search["id"], "done", f"Every combination was tried, in {len(tried)} trials.")
        else:
            _queue(db, settings, search, chosen)


def _queue(db: Database, settings: Settings, search: dict[str, Any], chosen: dict[str, Any]) -> None:
    plan, number = search["plan"], len(search["trials"]) + 1
    recipe = spaces.trial_recipe(search["recipe"], chosen, steps=plan.steps, measurings=plan.measurings)
    name = f"search {search['id']}, trial {number}: " + ", ".join(f"{key} {value}" for key, value in chosen.items())
    name = name if len(name) <= 80 else name[:79] + "…"
    owner = people.get(db, search["person"])
    with store.writing(db):  # the run and its trial are there together, or not at all
        run_id = runs.create(
            db, person=owner, version_id=search["version_id"], recipe=recipe, settings=settings, name=name,
            priority=BEHIND_PEOPLE,
        )  # fmt: skip
        record = {"search_id": search["id"], "number": number, "settings": json.dumps(chosen), "run_id": run_id}
        store.insert(db, "search_trials", {**record, "status": "running", "words": ""})
        if number == 1:
            db.execute("update searches set words = ? where id = ?", ["Its trials run one after the other.", search["id"]])


def _settled(db: Database, search: dict[str, Any], trial: dict[str, Any]) -> bool:
    """Settle a trial whose run ended; one whose process was lost goes on by itself. Whether it has ended."""
    run = runs.get(db, trial["run_id"])
    if run["status"] not in ENDED:
        return False
    value, status, words = None, "failed", run["error"] or "Its run failed."
    if run["status"] == "done":
        places = list(trial["curve"].values())
        value = min(places) if places else None
        status, words = ("done", "") if places else ("failed", "It ended without a held-out loss.")
    elif run["status"] in ("stopped", "cancelled"):
        status, words = trial["status"], trial["words"]
        if status != "pruned":
            status, words = "stopped", f"A person {run['status']} it, so it says nothing."
    with store.writing(db):
        _settle(db, search["id"], trial["number"], status, words, value)
    return True


def _end(db: Database, search_id: int, status: str, words: str) -> None:
    with store.writing(db):
        db.execute(
            "update searches set status = ?, words = ?, ended_at = ? where id = ? and status = 'running'",
            [status, words, store.now(), search_id],
        )


def stop(db: Database, search_id: int, *, person: Person) -> None:
    """End a search: no further trial, and the one under way is stopped. Its results stay.

    Raises NotAllowed unless it is one's own (or one is an admin), NotFound, Conflict when it has ended.
    """
    people.need(person, "builder")
    search = get(db, search_id)
    if search["person_id"] != person.id and not person.may("admin"):
        raise NotAllowed(f"Search {search_id} was started by {search['display_name']}; only they or an admin can stop it.")
    if search["status"] != "running":
        raise Conflict(f"Search {search_id} is {search['status']} already, so there is nothing to stop.")
    _end(db, search_id, "stopped", f"{person.display_name} stopped it after {len(search['trials'])} trials.")
    for trial in search["trials"]:
        if trial["status"] != "running":
            continue
        with suppress(Conflict):  # it ended by itself a moment ago
            if trial["run_status"] == "queued":
                runs.cancel(db, trial["run_id"], person=person)
            elif trial["run_status"] == "running":
                runs.ask(db, trial["run_id"], "stop", person=person)
        with store.writing(db):
            _settle(db, search_id, trial["number"], "stopped", "The search was stopped, so it says nothing.")


def best_recipe(db: Database, search_id: int) -> Recipe:
    """The starting recipe with the best trial's settings, at its full length. Raises Conflict where no trial is done."""
    search = get(db, search_id)
    if search["best"] is None:
        raise Conflict(f"No trial of search {search_id} has ended yet, so there is no best recipe; wait for the first.")
    return spaces.applied(search["recipe"], search["best"]["settings"])


def keep_best(db: Database, search_id: int, name: str, *, person: Person) -> str:
    """Keep the best recipe as a preset; its name. Raises NotAllowed, Invalid and Conflict as `presets.keep` does."""
    found = get(db, search_id)["best"]
    words = f"The best of search {search_id}" + (f", held-out loss {found['value']:.4f}." if found else ".")
    return presets.keep(db, name, best_recipe(db, search_id), person=person, words=words)


def train_best(db: Database, search_id: int, *, person: Person, settings: Settings) -> int:
    """Queue a run of the best recipe at its full length, on the same data; its id. Raises what `runs.create` raises."""
    search, recipe = get(db, search_id), best_recipe(db, search_id)
    name = f"best of search {search_id}"
    return runs.create(db, person=person, version_id=search["version_id"], recipe=recipe, settings=settings, name=name)


def as_trials(search: dict[str, Any]) -> list[Trial]:
    """The ended trials of a search (as `get` gives it) as `proposals` takes them."""
    return [Trial(t["settings"], t["status"], t["value"], t["curve"]) for t in search["trials"] if t["status"] != "running"]


def seconds_used(search: dict[str, Any]) -> float:
    """Seconds that the trials of a search (as `get` gives it) have trained."""
    return float(sum(trial["seconds"] for trial in search["trials"]))


def _seconds_a_trial(search: dict[str, Any]) -> float:
    full = [trial["seconds"] for trial in search["trials"] if trial["status"] == "done"]
    return sum(full) / len(full) if full else 0.0


def progress(search: dict[str, Any]) -> tuple[float, float | None]:
    """How much of a search is done (0 to 1), and how many seconds may be left, None before the first trial is done."""
    plan = search["plan"]
    if search["status"] != "running":
        return 1.0, 0.0
    tried = search["trials"]
    ended = sum(t["status"] != "running" for t in tried)
    under_way = sum(t["steps_done"] / (t["steps_total"] or 1) for t in tried if t["status"] == "running")
    whole = spaces.size(plan.ranges)
    if plan.method == "grid":
        whole = len(spaces.grid(plan.ranges, seed=plan.seed))
    count = min(plan.trials, whole or plan.trials)
    share, each = min(1.0, (ended + under_way) / count), [t["seconds"] for t in tried if t["status"] in ("done", "pruned")]
    left = (1 - share) * count * sum(each) / len(each) if each else None
    if plan.minutes:
        used = seconds_used(search)
        share, rest = max(share, min(1.0, used / (60 * plan.minutes))), max(0.0, 60 * plan.minutes - used)
        left = rest if left is None else min(left, rest)
    return share, left
