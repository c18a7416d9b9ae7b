"""What is lost when trainer, worker and app are killed with -9 at random moments, again and again: nothing.

    python -m benchmarks.kills [--quick] [--kills 20] [--seed 1] [--without-app]

A fresh installation, a tiny model, one undisturbed run, then equal runs while processes are killed at seeded moments. What
was killed is started again as the system's own service manager would do it: the app by this program, its worker by the app,
a trainer by the worker; nobody resumes a run. A run is put back three times without its getting further, so no trainer is
killed a fourth time at the same place. `--quick` takes under 50 s. The last line printed is one JSON object; `ok` is
true when every run ended done, its losses equal those of the undisturbed run (1e-5), no metric, adapter, evaluation,
attribution or payment is there twice or missing, and no process is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from sqlite_utils import Database

from factory import line
from factory.base import settings as settings_module
from factory.base import store
from factory.base.settings import ROOT, Settings
from factory.training import models, runs
from factory.training.recipes import Recipe

CLOSE = 1e-5
PATIENCE_SECONDS = 1800.0
LATER = line.STAGES[1:]
CURVES = ("loss", "held_out_loss", "learning_rate", "gradient_norm")
RECIPE = Recipe(
    base_model="tiny", rank=4, epochs=20, effective_batch=1, evaluations=3, early_stopping_patience=0, checkpoint_steps=10,
    dropout=0.1,
)  # fmt: skip


def tiny(settings: Settings, source: Path) -> None:
    """A base model of two layers with the real tokenizer, as an installed model named tiny."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = settings.home / "tiny-source"
    config = AutoConfig.from_pretrained(source)
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config.update({**sizes, "num_key_value_heads": 2, "head_dim": 16})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    models.fetch(settings, folder, name="tiny")


def environment(settings: Settings) -> dict[str, str]:
    """What every process of the installation is started with: one thread, so that small steps are quick."""
    return {**os.environ, "FACTORY_HOME": str(settings.home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@contextmanager
def kept_alive(settings: Settings, words: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A command that is started again whenever it ends, as a service manager does; the list holds the process of now."""
    now: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def again() -> None:
        with (settings.home / "service.log").open("ab") as log:
            while not over.is_set():
                command = [sys.executable, "-m", "factory", *words]
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment(settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                now[:] = [process]
                while process.poll() is None and not over.wait(0.1):
                    pass
                over.wait(0.5)

    keeper = threading.Thread(target=again)
    keeper.start()
    try:
        yield now
    finally:
        over.set()
        keeper.join()
        now[0].terminate()
        now[0].wait(60)


def belonging(settings: Settings) -> dict[int, psutil.Process]:
    """Every process of this installation that lives, by pid: known by its FACTORY_HOME."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            lives = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if lives and process.environ().get("FACTORY_HOME") == str(settings.home):
                found[process.pid] = process
    return found


def what(process: psutil.Process) -> str:
    """Which part of the program a process is: trainer, worker, serve or app."""
    with suppress(psutil.Error):
        line = process.cmdline()
        return "app" if "streamlit" in line else "trainer" if "work" in line else line[3] if len(line) > 3 else "?"
    return "gone"


def kill_one(db: Database, settings: Settings, part: str) -> dict[str, Any] | None:
    """Kill that part with -9, if it lives at this moment, and say where the running run was."""
    run = next(iter(runs.listing(db, status="running", limit=1)), None)
    chosen = None
    if part == "trainer" and run and run["pid"]:  # looking through all processes would take longer than a stage
        with suppress(psutil.NoSuchProcess):
            chosen = psutil.Process(run["pid"])
    chosen = chosen or next((p for p in belonging(settings).values() if what(p) == part), None)
    if chosen is None:
        return None
    if part == "trainer" and run and run["retries"] >= runs.RETRIES:
        return None  # once more at the same place, and a person is asked: that rule has a test of its own
    with suppress(psutil.NoSuchProcess):
        chosen.send_signal(signal.SIGKILL)
    return {"part": part, "run": run and run["id"], "stage": run and run["stage"], "step": run and run["steps_done"]}


def moment(db: Database, chance: random.Random) -> str:
    """Wait for a seeded moment: anywhere, in the middle of training, or in one of the stages after it; which it was."""
    wanted, wait, deadline = (
        chance.choice(("any", "train", "train", "train", *LATER)),
        chance.uniform(0, 2),
        time.monotonic() + 60,
    )
    while wanted != "any" and time.monotonic() < deadline:
        run = next(iter(runs.listing(db, status="running", limit=1)), None)
        if run and run["stage"] == wanted and (wanted != "train" or run["steps_done"]):
            break
        if not runs.listing(db, status=("queued", "running"), limit=1):
            break
        time.sleep(0.02 if wanted == "train" else 0.001)  # the later ones are soon over
    time.sleep({"any": 4 * wait, "train": wait}.get(wanted, wait / 100))
    return wanted


def until_ended(db: Database, run_ids: list[int]) -> None:
    """Wait until no run waits or runs. Raises TimeoutError when that takes far too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(runs.get(db, run_id)["status"] in ("queued", "running") for run_id in run_ids):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not over: {[(i, runs.get(db, i)['status']) for i in run_ids]}")
        time.sleep(0.2)


def judged(db: Database, whole: int, run_ids: list[int]) -> dict[str, Any]:
    """What became of the runs, against the undisturbed one."""
    curves = {i: runs.metrics(db, i, CURVES, points=10**6) for i in [whole, *run_ids]}
    apart, missing = 0.0, 0
    for run_id in run_ids:
        for name in CURVES:
            ours, theirs = dict(curves[run_id][name]), dict(curves[whole][name])
            missing += len(set(ours) ^ set(theirs))
            if name in ("loss", "held_out_loss"):
                apart = max([apart, *(abs(ours[step] - theirs[step]) for step in ours.keys() & theirs.keys())])
    one_each = {
        "adapters": "select count(*) from adapters where run_id = ?",
        "evaluations": "select count(*) from evaluations e join adapters a on a.id = e.adapter_id where a.run_id = ?",
        "attributions": "select count(*) from attributions t join adapters a on a.id = t.adapter_id where a.run_id = ?",
        "payments": "select count(*) from ledger_transactions l join attributions t on t.id = l.attribution_id"
        " join adapters a on a.id = t.adapter_id where a.run_id = ?",
    }
    not_one = {
        name: wrong for name, sql in one_each.items() if (wrong := sum(store.value(db, sql, i) != 1 for i in run_ids))
    }
    twice = store.value(db, "select count(*) from (select 1 from metrics group by run_id, name, step having count(*) > 1)")
    return {
        "statuses": dict(Counter(runs.get(db, run_id)["status"] for run_id in run_ids)),
        "largest_loss_difference": apart,
        "metrics_missing_or_too_many": missing,
        "metrics_twice": twice,
        "not_exactly_one": not_one,
        "retries": sum(event["kind"] == "retry" for run_id in run_ids for event in runs.events(db, run_id)),
        "events_by_hand": sum("put it back" in event["words"] for run_id in run_ids for event in runs.events(db, run_id)),
    }


def trial(settings: Settings, source: Path, *, kills: int, seed: int, with_app: bool, at_least: int = 1) -> dict[str, Any]:
    """Kill so many processes while runs go on, and say what became of these. `source` holds a tokenizer to borrow."""
    from tests import trained

    chance, began = random.Random(seed), time.monotonic()
    with store.connect(settings) as db:
        tiny(settings, source)
        builder, _, version = trained.frozen_version(db)

        def queued(name: str) -> int:
            return runs.create(db, person=builder, version_id=version["id"], recipe=RECIPE, settings=settings, name=name)

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        words = ["serve", "--no-browser", "--no-sample", "--port", port] if with_app else ["worker"]
        parts = ["trainer", "trainer", "worker", *(["app", "serve"] if with_app else [])]
        done: list[dict[str, Any]] = []
        with kept_alive(settings, words):
            whole = queued("undisturbed")
            until_ended(db, [whole])
            disturbed = [queued(f"disturbed {n + 1}") for n in range(at_least)]
            while len(done) < kills:
                if all(runs.get(db, i)["status"] not in ("queued", "running") for i in disturbed):
                    disturbed.append(queued(f"disturbed {len(disturbed) + 1}"))
                stage = moment(db, chance)
                part, patience = "trainer" if stage in LATER else chance.choice(parts), time.monotonic() + 30
                while not (found := kill_one(db, settings, part)) and time.monotonic() < patience:
                    time.sleep(0.05)  # it was killed a moment ago and is not there yet
                if found:
                    done.append(found)
                    print(json.dumps(found), flush=True)
            until_ended(db, disturbed)
        deadline = time.monotonic() + 30  # who was only starting sees by itself that nobody needs it
        while belonging(settings) and time.monotonic() < deadline:
            time.sleep(0.2)
        left = [f"{what(process)} {pid}" for pid, process in belonging(settings).items()]
        found = judged(db, whole, disturbed)
        ok = (
            runs.get(db, whole)["status"] == "done" and set(found["statuses"]) == {"done"} and not left
            and found["largest_loss_difference"] <= CLOSE
            and not any(found[name] for name in ("metrics_missing_or_too_many", "metrics_twice", "not_exactly_one"))
            and not found["events_by_hand"]
        )  # fmt: skip
        killed = Counter(str(each["part"]) for each in done)
        where = Counter(str(each["stage"] or "no run") for each in done if each["part"] == "trainer")
        return {
            "ok": ok, "kills": len(done), "killed": dict(killed), "trainer_killed_in": dict(where), "seed": seed,
            "runs": len(disturbed), **found, "left_over": left, "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two kills of trainer and worker")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-app", action="store_true", help="kill trainers and the worker only")
    chosen = parser.parse_args()
    here = settings_module.load()
    if models.find(here, models.DEFAULT) is None:
        models.fetch(here, models.DEFAULT)
    source = here.models / models.DEFAULT
    kills, with_app = (2, False) if chosen.quick else (chosen.kills, not chosen.without_app)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        settings.home.mkdir()
        os.environ["FACTORY_HOME"] = str(settings.home)
        found = trial(settings, source, kills=kills, seed=chosen.seed, with_app=with_app, at_least=1 if chosen.quick else 4)
    print(json.dumps(found))
    sys.exit(0 if found["ok"] else 1)


if __name__ == "__main__":
    main()
