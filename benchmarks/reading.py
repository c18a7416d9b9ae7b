"""How much memory reading a file of a gigabyte takes, by the functions that intake reads with.

    python -m benchmarks.reading [--mib 1024] [--quick]

Makes a file of rows in each of several formats in a temporary folder and reads it in a process of its own: `formats.look`,
then every row of `formats.rows`, counting what can be read, as `look --count` does. `peak_mib` is the process's peak
resident memory, all of Python and its libraries included; `--quick` makes 32 MiB. The control reads JSON lines at once with
`json.loads` over the whole file, as a simple reader would (at most 64 MiB of it). The last line printed is one JSON object;
the exit status is 1 when a row was lost or the peak for JSON lines is over 300 MiB.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.base.settings import Settings
from factory.intake import formats

MOST_MIB = 300
NAMES = ("a.jsonl", "a.jsonl.gz", "a.csv", "a.json", "a.parquet")
WORDS = [
    "port",
    "key",
    "file",
    "branch",
    "commit",
    "host",
    "shell",
    "loop",
    "disk",
    "copy",
    "row",
    "table",
    "größe",
    "naïve",
    "質問",
    "path",
    "user",
    "group",
    "time",
    "zone",
]


def texts(mib: int) -> Iterator[tuple[str, str]]:
    """Questions and answers of some 1,000 characters, about `mib` MiB of them as JSON lines."""
    draws, size, number = random.Random(1), 0, 0
    while size < mib * 2**20:
        number += 1
        answer = " ".join(draws.choices(WORDS, k=150))
        row = (f"{number}: what about {draws.choice(WORDS)} and {draws.choice(WORDS)}?", answer)
        size += len(json.dumps({"question": row[0], "answer": row[1]}, ensure_ascii=False).encode()) + 1
        yield row


def make(path: Path, mib: int) -> int:
    """Write the rows as the path's ending says; how many there are."""
    count = 0
    if path.suffix == ".parquet":
        return _parquet(path, mib)
    with gzip.open(path, "wt", 1, encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        file.write("question,answer\n" if ".csv" in path.name else "[\n" if path.suffix == ".json" else "")
        for question, answer in texts(mib):
            row = json.dumps({"question": question, "answer": answer}, ensure_ascii=False)
            line = f'"{question}","{answer}"\n' if ".csv" in path.name else row + "\n"
            file.write((",\n" if count else "") + row if path.suffix == ".json" else line)
            count += 1
        file.write("]" if path.suffix == ".json" else "")
    return count


def _parquet(path: Path, mib: int) -> int:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([("question", pyarrow.string()), ("answer", pyarrow.string())])
    count, batch = 0, list[tuple[str, str]]()
    with parquet.ParquetWriter(path, schema) as writer:
        for row in texts(mib):
            batch.append(row)
            if len(batch) == 5_000:
                writer.write_table(pyarrow.table(dict(zip(schema.names, zip(*batch, strict=True), strict=True)), schema))
                count, batch = count + len(batch), []
        if batch:
            writer.write_table(pyarrow.table(dict(zip(schema.names, zip(*batch, strict=True), strict=True)), schema))
    return count + len(batch)


def read(path: Path) -> dict[str, Any]:
    """Look at a file and read every row of it; what that took in this process."""
    here = Settings(home=Path("unused"), max_upload_bytes=2**34, max_text_bytes=2**34, max_file_rows=10**9)
    began = time.perf_counter()
    seen = formats.look(path, name=path.name, settings=here)
    good = bad = 0
    for row in formats.rows(path, name=path.name, settings=here):
        good, bad = good + (row.problem is None), bad + (row.problem is not None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "container": seen.container, "rows": good, "unreadable": bad, "peak_mib": round(peak),
        "file_mib": round(path.stat().st_size / 2**20), "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def control(path: Path) -> dict[str, Any]:
    """The same of JSON lines, read at once."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(rows), "peak_mib": round(peak), "file_mib": round(path.stat().st_size / 2**20)}


def _beside(what: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.reading", what, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Make the files, read each in a process of its own, and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--control", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read or given.control:
        print(json.dumps(read(given.read) if given.read else control(given.control)))
        return 0
    mib = 32 if given.quick else given.mib
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [given.only] if given.only else NAMES:
            path = Path(folder) / name
            count = make(path, mib)
            found[name] = {**_beside("--read", path), "made": count}
            path.unlink()
            print(name, json.dumps(found[name]), flush=True)
        plain = Path(folder) / "b.jsonl"
        make(plain, min(mib, 64))
        found["control"] = _beside("--control", plain)
    lost = [name for name, figures in found.items() if figures["rows"] != figures.get("made", figures["rows"])]
    print(json.dumps({"mib": mib, "limit_mib": MOST_MIB, "lost_in": lost, **found}))
    return 1 if lost or found.get("a.jsonl", {}).get("peak_mib", 0) > MOST_MIB else 0


if __name__ == "__main__":
    sys.exit(main())
