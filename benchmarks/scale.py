"""How quick everything stays with 10,000 to 1,000,000 examples, each figure against its limit.

    python -m benchmarks.scale [--where FOLDER] [--sizes 10000,100000,1000000] [--part pages,preflight,…] [--again] [--quick]

Stores are filled by `benchmarks.populate` below FOLDER where they are not there yet, and kept; what was measured is in
`scale.json` beside them, so that parts can be run one by one (`--again` measures anew). Pages are opened in the real app
over its websocket, by a contributor, a reviewer, a builder and an admin. Run it on an otherwise idle machine. The last line
printed is one JSON object: every part by size, `growth` from the smallest size to the largest, and `missed`: what is over
its limit. `processor_ms` is what a page costs however busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import populate, visits
from benchmarks.scale_peers import board_from_verdicts, datasketch_preflight
from factory.base import people, store
from factory.base.settings import ROOT, Settings
from factory.credit import leaderboards
from factory.intake import contributions, datasets, judging, similarity
from factory.intake import policy as policies
from factory.intake.policy import Policy, to_json

LIMITS = {"page_p95_ms": 300, "preflight_seconds": 3, "board_p95_ms": 100, "app_bytes": 10**9}
BIG = "field-notes"
PAGES = {  # who opens what: every page, and every part of one that has an address
    "contributor": (
        "home", "datasets", f"datasets?dataset={BIG}", f"datasets?dataset={BIG}&state=rejected",
        f"datasets?dataset={BIG}&state=refused", f"datasets?dataset={BIG}&search=bake",
        f"datasets?dataset={BIG}&part=Versions", f"datasets?dataset={BIG}&part=Versions&older=2&newer=3",
        f"datasets?dataset={BIG}&part=Statistics", f"datasets?dataset={BIG}&part=Needed",
        f"datasets?dataset={BIG}&part=Needed&topic=0", f"datasets?dataset={BIG}&part=Guidelines",
        f"datasets?dataset={BIG}&part=Rules", "contribute", "contribute?way=File", "contribute?draft=1", "leaderboard",
        "leaderboard?people=2", "leaderboard?tab=Datasets", "leaderboard?tab=Adapters", "credits",
        "credits?part=Public+ledger", "credits?part=Held", "adapters", "adapters?search=person", "adapters?adapter=1",
        "adapters?adapter=1&part=Credit", "adapters?adapter=1&part=Talk", "adapters?adapter=1&part=Card",
        "adapters?adapter=1&part=Export", "account", "sanctions", "sanctions?show=About+me", "sanctions?show=Report",
        "runs", "runs?run=1", "runs?compare=1,2,3",
    ),
    "reviewer": ("home", "review", f"review?dataset={BIG}", "review?part=What+I+judged", "account",
                 f"datasets?dataset={BIG}&state=waiting", f"datasets?dataset={BIG}&state=returned"),
    "builder": ("home", "train", "train?version=11", "train?clone=1", "search", "search?search=1", "runs?run=1",
                "adapters?adapter=1&part=Export"),
    "curator": ("home", "reviewers", "reviewers?part=Ties", "sanctions?show=Queue", "datasets", "review",
                f"datasets?dataset={BIG}&part=Versions", f"datasets?dataset={BIG}&part=Rules",
                f"datasets?dataset={BIG}&part=Needed"),
    "admin": ("home", "admin", "admin?search=person-1", "admin?part=Machine", "sanctions?show=Queue", "credits?part=Held",
              f"datasets?dataset={BIG}&state=withdrawn"),
}  # fmt: skip


def percentile(values: list[float], share: float) -> float:
    """The value that this share of values does not exceed."""
    return round(sorted(values)[max(0, round(share * len(values)) - 1)], 1)


def timed(does: Callable[[], Any], rounds: int) -> list[float]:
    """Milliseconds of each call, after one that warms up."""
    does()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        does()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def told(values: list[float]) -> dict[str, float]:
    """The middle and the tail of some milliseconds."""
    return {"p50_ms": percentile(values, 0.5), "p95_ms": percentile(values, 0.95)}


def visitors(settings: Settings) -> dict[str, str]:
    """Who visits: the busiest contributor, the reviewer with most verdicts, a builder, an admin; names by role."""
    busiest = "select p.name from tallies t join people p on p.id = t.person_id order by t.submitted desc limit 1"
    judge = (
        "select p.name from people p join (select reviewer_id from verdicts group by 1 order by count(*) desc limit 1)"
        " on reviewer_id = p.id"
    )
    held = "select p.name from roles r join people p on p.id = r.person_id where r.role = ? limit 1"
    with store.connect(settings) as db:
        found = {role: store.value(db, held, role) for role in ("builder", "curator", "admin")}
        return {
            "contributor": store.value(db, busiest),
            "reviewer": store.value(db, judge),
            **found,
        }


def pages(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """Every page and important tab: its server and processor time, the slowest, errors shown, and the app's memory."""
    rounds, found, errors = 2 if quick else 10, dict[str, dict[str, float]](), dict[str, list[str]]()
    names, port = visitors(settings), visits.free_port()
    with visits.served(settings.home, port) as app:
        for role, address in ((role, address) for role, addresses in PAGES.items() for address in addresses):
            page, _, query = address.partition("?")
            with visits.signed_in(settings, port, names[role]) as browser:
                visits.visit(browser, page, query)
                before = visits.busy(app)
                taken = [visits.visit(browser, page, query) for _ in range(rounds)]
                processor = round((visits.busy(app) - before) / rounds, 1)
            found[f"{role}: {address}"] = {**told([ms for ms, _, _ in taken]), "processor_ms": processor}
            if taken[-1][2]:
                errors[f"{role}: {address}"] = taken[-1][2][:2]
        app_bytes = visits.memory(app)
    slowest = max(found, key=lambda name: found[name]["p95_ms"])
    return {"pages": found, "slowest": slowest, "page_p95_ms": found[slowest]["p95_ms"], "errors": errors,
            "app_bytes": app_bytes}  # fmt: skip


def preflight(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """A file of 1,000 rows before submitting, a tenth of them copies with a word changed; and the same by datasketch."""
    rounds, draw = 1 if quick else 5, random.Random(3)
    with store.connect(settings) as db:
        dataset_id = datasets.get(db, BIG)["id"]
        talks = _file(db, dataset_id, draw)
        person = people.get(db, visitors(settings)["contributor"])
        judged = contributions.preflight(db, dataset_id, person=person, rows=talks)
        ours = timed(lambda: contributions.preflight(db, dataset_id, person=person, rows=talks), rounds)
        contents = [verdict.content for verdict in judged if verdict.content is not None]
        search = timed(lambda: [similarity.nearest(db, dataset_id, content) for content in contents], rounds)
        refused = sum(verdict.refused for verdict in judged)
        theirs = datasketch_preflight(db, dataset_id, talks, rounds=rounds, computed=1_000 if quick else 20_000)
    seconds = percentile(ours, 0.5) / 1000
    slowest = round(percentile(ours, 0.95) / 1000, 2)
    ratio = round(theirs["datasketch_seconds"] / seconds, 2)
    ours_told = {"preflight_seconds": slowest, "p50_seconds": round(seconds, 2), "refused": refused}
    alone = percentile(search, 0.5) / 1000  # the near-duplicates only, which is all that datasketch looks for
    ours_told |= {"near_duplicates_seconds": round(alone, 2)}
    return {**ours_told, **theirs, "ratio_to_datasketch": ratio,
            "near_duplicates_ratio_to_datasketch": round(theirs["datasketch_seconds"] / alone, 2)}  # fmt: skip


def _file(db: Any, dataset_id: int, draw: random.Random) -> list[list[dict[str, str]]]:
    words = populate.Words(99)
    rows = [words.talk() for _ in range(900)]
    newest = store.value(db, "select max(id) from examples")
    taken = (
        "select e.content from states s join examples e on e.id = s.example_id"
        " where s.example_id >= ? and s.dataset_id = ? and s.state = 'accepted' order by s.example_id limit 1"
    )
    for _ in range(100):
        content = store.value(db, taken, draw.randrange(newest // 2), dataset_id)
        question, answer = (turn["content"] for turn in json.loads(content)["messages"])
        said = answer.split()
        said[draw.randrange(len(said))] = "otherwise"
        rows.append((question, " ".join(said)))
    return [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in rows]


def boards(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """The contributors' board, first page and last, against counting every decision anew; both name the same first ten."""
    rounds = 5 if quick else 20
    with store.connect(settings) as db:
        last = max(0, leaderboards.how_many_contributors(db) - 50)
        first_page = timed(lambda: leaderboards.contributors(db, limit=50), rounds)
        last_page = timed(lambda: leaderboards.contributors(db, limit=50, offset=last), rounds)
        of_one = timed(lambda: leaderboards.contributors(db, dataset_id=1, limit=50), rounds)
        lately = timed(lambda: leaderboards.contributors(db, since=store.now() - 30 * 86_400, limit=50), rounds)
        plain = timed(lambda: board_from_verdicts(db), 1 if quick else 3)
        assert board_from_verdicts(db)[:10] == [entry["person_id"] for entry in leaderboards.contributors(db, limit=10)]
    worst = max(first_page, last_page, of_one, key=lambda taken: percentile(taken, 0.95))
    return {"first_page": told(first_page), "last_page": told(last_page), "one_dataset": told(of_one),
            "active_lately": told(lately),
            "board_p95_ms": percentile(worst, 0.95), "from_verdicts_ms": percentile(plain, 0.5),
            "ratio_to_verdicts": round(percentile(plain, 0.5) / percentile(first_page, 0.5), 1)}  # fmt: skip


def freeze(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """Freezing the next version of the largest dataset, undone afterwards; and of a changed policy's half-life."""
    with store.connect(settings) as db:
        person, dataset_id = people.maintainer(db), datasets.get(db, BIG)["id"]
        db.execute("begin immediate")
        began = time.perf_counter()
        made = datasets.freeze(db, dataset_id, person=person)
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        changed = {"dataset_id": dataset_id, "version": 999, "rules": to_json(Policy(standing_half_life_days=90)),
                   "set_by": person.id, "set_at": store.now()}  # fmt: skip
        store.insert(db, "policies", changed)
        policy_seconds = time.perf_counter() - began
        db.rollback()
    return {"rows": made["row_count"], "seconds": round(seconds, 2), "policy_seconds": round(policy_seconds, 2)}


def seal(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """Holding every example of the largest dataset against 200 rows that shall be sealed."""
    words = populate.Words(41)
    talks = [words.talk() for _ in range(200)]
    with store.connect(settings) as db:
        dataset_id, seen = datasets.get(db, BIG)["id"], list[int]()
        rows = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in talks]
        _, policy = policies.current(db, dataset_id)
        contents, _ = judging.sealable(rows, policy)
        began = time.perf_counter()
        leaks = judging.leaks(db, dataset_id, contents, policy, tell=seen.append)
        seconds = time.perf_counter() - began
    return {"looked_at": seen[-1] if seen else 0, "leaks": len(leaks), "seal_seconds": round(seconds, 2)}


def size(settings: Settings, *, quick: bool) -> dict[str, Any]:
    """Bytes of the database, whole and by its largest tables, and bytes an example."""
    with store.connect(settings) as db:
        whole = settings.database.stat().st_size
        count = store.value(db, "select count(*) from examples")
    return {"bytes": whole, "bytes_an_example": round(whole / count)}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "pages": pages, "preflight": preflight, "boards": boards, "freeze": freeze, "seal": seal, "size": size,
}  # fmt: skip


def judged(results: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What is over its limit, and how much every limited figure grew from the smallest size to the largest."""
    missed, growth = [], {}
    for name, limit in LIMITS.items():
        seen = {int(size): part[name] for size, parts in results.items() for part in parts.values() if name in part}
        missed += [f"{name} at {size:,}: {value:,} over {limit:,}" for size, value in sorted(seen.items()) if value > limit]
        if len(seen) > 1:
            growth[name] = round(seen[max(seen)] / seen[min(seen)], 2)
    return {"limits": LIMITS, "growth": growth, "missed": missed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()) / "factory-scale")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--part", default=",".join(PARTS), help="comma-separated")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--quick", action="store_true", help="2,000 examples, fewer rounds")
    chosen = parser.parse_args()
    kept = chosen.where / "scale.json"
    results: dict[str, dict[str, dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    for number in ["2000"] if chosen.quick else chosen.sizes.split(","):
        settings = Settings(home=chosen.where / number)
        if not settings.database.exists():
            settings.home.mkdir(parents=True, exist_ok=True)
            print(f"filling {number} examples: {populate.populate(settings, examples=int(number))}", flush=True)
        if (ROOT / "data" / "models").is_dir() and not settings.models.exists():  # else the wizard stops at its second step
            settings.models.symlink_to(ROOT / "data" / "models")
        for part in chosen.part.split(","):
            if chosen.again or chosen.quick or part not in results.get(number, {}):
                results.setdefault(number, {})[part] = PARTS[part](settings, quick=chosen.quick)
                print(f"{number} {part}: {json.dumps(results[number][part])}", flush=True)
                kept.write_text(json.dumps(results))
    print(json.dumps({"sizes": results, **judged(results)}))


if __name__ == "__main__":
    main()
