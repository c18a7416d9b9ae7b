"""How long the server takes to draw the wizard anew when a slider moves, with every number on its card.

    python -m benchmarks.wizard [--quick] [--home FOLDER]

Opens the wizard as a builder on a version of 60 rows and the default base model, and moves the rank up and down. The first
opening, which counts tokens and looks at the machine, is what the later drawings are held against. Run it on an otherwise
idle machine. The last line printed is one JSON object; the promise is `p95_ms` under 200.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from benchmarks import estimates
from factory.base import people, store
from factory.base import settings as settings_module
from factory.base.settings import ROOT
from factory.sign_in import COOKIE
from factory.training import models

RANKS = (8, 32, 64, 16, 128, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer moves")
    parser.add_argument("--home", type=Path, default=ROOT / "data" / "estimates", help="where it works")
    chosen = parser.parse_args()
    plain = settings_module.load()
    if models.find(plain, models.DEFAULT) is None:
        models.fetch(plain, models.DEFAULT)
    os.environ["FACTORY_HOME"] = str(chosen.home)
    settings = settings_module.load()
    settings.models.mkdir(parents=True, exist_ok=True)
    link = settings.models / models.DEFAULT
    if not link.exists():
        link.symlink_to(models.get(plain, models.DEFAULT)["folder"])
    from streamlit.testing.v1 import AppTest

    with store.connect(settings) as db:
        builder, _ = estimates.frozen(db)
        page = AppTest.from_file(str(ROOT / "pages" / "index.py"), default_timeout=60)
        page.session_state[COOKIE] = people.issue_session(db, settings, builder)
    page.run()
    began = time.perf_counter()
    page.switch_page("train.py").run()
    first = time.perf_counter() - began
    times = []
    for move in range(12 if chosen.quick else 60):
        (rank,) = (each for each in page.select_slider if each.label == "LoRA rank")
        rank.set_value(RANKS[move % len(RANKS)])
        began = time.perf_counter()
        page.run()
        times.append(1000 * (time.perf_counter() - began))
        assert not page.exception, page.exception
    times.sort()
    result = {
        "moves": len(times),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[max(0, round(0.95 * len(times)) - 1)], 1),
        "first_opening_ms": round(1000 * first, 1),
        "ratio": round(1000 * first / statistics.median(times), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
