"""What becomes of damaged and hostile files: rows, or a refusal in one sentence; never a traceback, a hang or a lost row.

    python -m benchmarks.mutations [--count 20000] [--seed 1] [--only pdf] [--quick]

Real files of every format that is read (`data/samples`, and the same rows packed and encoded in other ways) are mutated by
plans that Hypothesis draws from a seed: cut, bits flipped, parts doubled, dropped and swapped, huge numbers, deep nesting,
formulas, quotation marks, zeros; in archives also the entries, and what is in them, packed again so that it gets past their
checksums. Each result is looked at and read as intake does, documents down to their drafts. Counted as failures are:

- `tracebacks`: anything but a FactoryError of one sentence;
- `hangs`: over 10 seconds; `crashes`: the end of the process;
- `lost`: a row whose own bytes are still whole in the file and that neither comes out nor is said to be damaged. Of packed
  and binary files this can be told only where they were not changed: `controls` rows of those all came out.

Each format runs in a process of its own. The last line printed is one JSON object; the exit status is 1 with any failure.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from factory.base.errors import Invalid
from factory.base.settings import ROOT, Settings
from factory.intake import formats, proposals

SAMPLES = ROOT / "data" / "samples"
PAYLOADS = (
    *(b'"', b'""', b"'", b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b"[" * 5_000, b"{" * 5_000, b'{"a":' * 3_000, b"<a>" * 5_000, b">" * 3_000, b"- " * 2_000, b"9" * 6_000, b"1e999999"),
    *(b"-0", b"NaN", b"Infinity", b"\\ud800", b"=cmd|' /C calc'!A0", b"@SUM(1+1)*", b"${jndi:ldap://x}",),
    *(b'<!DOCTYPE a [<!ENTITY b "cc">]>', b"&lol;" * 500, b"PK\x03\x04", b"%PDF-1.7", b"\x1f\x8b\x08", b"PAR1"),
    *(b"```\n", b"# ", b"Q: ", b"A: ", b"<|im_start|>user\n", b"x" * 200_000, b"1 0 obj"),
    *(b"\xf0\x9f\x92\xa9", b"4294967295", b"18446744073709551615", b"../../etc/passwd"),
)  # fmt: skip
TEXTS = ("document.xml", "sheet1.xml", "sharedStrings.xml", "workbook.xml")
LINED = ("jsonl", "csv", "tsv")
QUIET = list(HealthCheck)
_PLACE = st.floats(0, 1, exclude_max=True)
_STEP = st.tuples(
    st.sampled_from(["cut", "flip", "flips", "double", "drop", "swap", "put", "put", "over", "zero", "tail"]),
    _PLACE, _PLACE, st.integers(1, 4_000), st.sampled_from(PAYLOADS),
)  # fmt: skip
PLAN = st.tuples(st.lists(_STEP, min_size=1, max_size=4), st.sampled_from(["outer", "inner", "entries"]), _PLACE)


def pairs(count: int = 40) -> list[tuple[str, str]]:
    """Real questions and answers of the samples, each once."""
    settings_ = Settings(home=Path("unused"))
    found: dict[str, str] = {}
    for name in ("alpaca.json", "prompt_completion.csv", "question_answer.parquet"):
        for row in formats.read(SAMPLES / name, name=name, settings=settings_).rows:
            assert row.messages is not None
            found.setdefault(row.messages[0]["content"], row.messages[1]["content"])
    return list(found.items())[:count]


def _csv(rows: list[tuple[str, str]], separator: str) -> bytes:
    def cell(text: str) -> str:
        quoted = any(mark in text for mark in f'{separator}"\n\r')
        return '"' + text.replace('"', '""') + '"' if quoted else text

    lines = [separator.join(map(cell, row)) for row in [("question", "answer"), *rows]]
    return ("\n".join(lines) + "\n").encode()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _zst(data: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "jsonl.gz": (gzip.decompress, gzip.compress),
    "csv.bz2": (bz2.decompress, bz2.compress),
    "json.xz": (lzma.decompress, lzma.compress),
}


def seeds() -> dict[str, bytes]:
    """A real file of every format, by the name under which it is read."""
    rows = pairs()
    lines = "".join(json.dumps({"question": q, "answer": a}, ensure_ascii=False) + "\n" for q, a in rows).encode()
    listed = json.dumps([{"prompt": q, "completion": a} for q, a in rows], ensure_ascii=False, indent=1).encode()
    other = {name: (SAMPLES / "other" / f"backups.{name}").read_bytes() for name in ("xlsx", "md", "txt", "docx", "pdf")}
    samples = {
        name: (SAMPLES / name).read_bytes() for name in ("messages.jsonl", "sharegpt.json", "question_answer.parquet")
    }
    several = {**samples, **{f"backups.{name}": other[name] for name in ("xlsx", "md", "docx")}, "rows.csv": _csv(rows, ",")}
    return {
        "jsonl": lines, "json": listed, "csv": _csv(rows, ","), "tsv": _csv(rows, "\t"),
        "parquet": samples["question_answer.parquet"], **other, "zip": _zip(several),
        "jsonl.gz": gzip.compress(lines), "csv.bz2": bz2.compress(_csv(rows, ",")), "json.xz": lzma.compress(listed),
        "jsonl.zst": _zst(lines), "utf16.jsonl": lines.decode().encode("utf-16"),
        "cp1252.csv": _csv([(q, a + " Größe, naïve, façade") for q, a in rows], ";").decode().encode("cp1252", "replace"),
        "chat.json": samples["sharegpt.json"],
    }  # fmt: skip


def mutated(data: bytes, steps: list[tuple[str, float, float, int, bytes]]) -> bytes:  # noqa: C901 - a list of cases
    """The file after each step; a step is (what, where, where else, how much, what with)."""
    for what, first, second, size, payload in steps:
        at, to = int(first * (len(data) + 1)), int(second * (len(data) + 1))
        if what == "cut":
            data = data[:at]
        elif what == "tail":
            data = data[min(at, size) :]
        elif what in ("flip", "flips"):
            changed = bytearray(data)
            for bit in range(1 if what == "flip" else 1 + size % 16):
                if changed:
                    changed[(at + bit * (to + 1)) % len(changed)] ^= 1 << ((size + bit) % 8)
            data = bytes(changed)
        elif what == "double":
            data = data[: at + size] + data[at : at + size] + data[at + size :]
        elif what == "drop":
            data = data[:at] + data[at + size :]
        elif what == "swap":
            low, high = sorted((at, to))
            data = data[:low] + data[high : high + size] + data[low:high] + data[high + size :]
        elif what == "put":
            data = data[:at] + payload + data[at:]
        elif what == "over":
            data = data[:at] + payload + data[at + len(payload) :]
        elif what == "zero":
            data = data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]
    return data


def damaged(name: str, data: bytes, plan: Any) -> bytes:
    """The file by a plan: its bytes, what is packed in it (then packed again), or the entries of a zip."""
    steps, depth, place = plan
    if depth == "outer":
        return mutated(data, steps)
    if name in PACKINGS:
        unpack, pack = PACKINGS[name]
        return pack(mutated(unpack(data), steps))
    if not data.startswith(b"PK"):
        return mutated(data, steps)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    names = list(files)
    chosen = names[int(place * len(names))]
    if depth == "inner":
        # The parts with the text in them are the ones worth most of the tries.
        texts = [
            entry for entry in names if entry.endswith(("document.xml", "sheet1.xml", "sharedStrings.xml", "workbook.xml"))
        ]
        chosen = texts[int(place * 2 * len(texts)) % len(texts)] if texts and place < 0.8 else chosen
        return _zip({**files, chosen: mutated(files[chosen], steps)})
    other = names[int(steps[0][1] * len(names))]
    files[chosen], files[other] = files[other], files[chosen]
    renamed = {
        "../../" + entry if entry == chosen and steps[0][3] % 3 == 0 else entry: part for entry, part in files.items()
    }
    if steps[0][3] % 5 == 0:
        renamed.pop(names[int(steps[0][2] * len(names))], None)
    return _zip(renamed)


def _controls(name: str, original: bytes, data: bytes) -> list[tuple[str, str]]:
    """The rows of a text file whose own lines are still whole, under a header that is."""
    kind = name.rsplit(".", 1)[-1]
    if kind not in LINED or name != kind:
        return []
    before, after = original.split(b"\n"), data.split(b"\n")
    if kind != "jsonl" and (not after or after[0] != before[0]):
        return []
    whole, rows = Counter(after), pairs_of(name, original)
    lines = before[:-1] if kind == "jsonl" else before[1:-1]
    if len(lines) != len(rows):  # cells with line breaks: the lines are not the rows
        return []
    return [row for line, row in zip(lines, rows, strict=True) if whole[line]]


def pairs_of(name: str, data: bytes) -> list[tuple[str, str]]:
    """Question and answer of each good row of a file."""
    found = formats.read(data, name=f"a.{name}", settings=Settings(home=Path("unused"))).rows
    return [(row.messages[0]["content"], row.messages[-1]["content"]) for row in found if row.messages]


def told(name: str, data: bytes, here: Settings) -> tuple[str, list[formats.Row]]:
    """What intake says of a file: "rows" with them, "drafts", or "refused"; raises what is a failure."""
    file_name = f"a.{name}"
    try:
        look = formats.look(data, name=file_name, settings=here)
        if look.documents:
            made = proposals.proposals(data, name=file_name, settings=here)
            assert made.drafts
            proposals.confirmed(made.drafts, {1: ("What?", made.drafts[0].answer)})
        if look.is_document:
            return "drafts", []
        return "rows", formats.read(data, name=file_name, settings=here).rows
    except Invalid as refusal:
        if len(refusal.problems) != 1 or not 0 < len(str(refusal)) < 1_000 or "\n" in str(refusal):
            raise ValueError(f"no sentence: {refusal.problems!r}") from refusal
        return "refused", []


def run(name: str, count: int, chosen: int, keep: Path | None) -> dict[str, Any]:
    """`count` mutated files of one format; the figures of what became of them."""
    original = seeds()[name]
    here = Settings(home=Path("unused"), max_upload_bytes=16 * 2**20, max_text_bytes=64 * 2**20)
    kind, controls = told(name, original, here)
    tally: Counter[str] = Counter(controls=len(controls) if kind == "rows" else 0)
    unread = sum(row.problem is not None for row in controls)
    failures: list[str] = ["the unchanged file"] if kind == "refused" or unread else []
    slowest = 0.0

    @seed(chosen)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(PLAN)
    def each(plan: Any) -> None:
        nonlocal slowest
        if tally["files"] >= count:
            return
        tally["files"] += 1
        data = damaged(name, original, plan)
        began = time.perf_counter()
        try:
            became, rows = told(name, data, here)
        except Exception as problem:
            became, rows = "tracebacks", []
            failures.append("".join(traceback.format_exception(problem)[-3:])[-900:])
        seconds = time.perf_counter() - began
        slowest = max(slowest, seconds)
        tally[became] += 1
        tally["hangs"] += seconds > 10
        if became == "rows":
            good = {(row.messages[0]["content"], row.messages[-1]["content"]) for row in rows if row.messages}
            text = "\n".join(turn["content"] for row in rows for turn in row.messages or [])
            gone = [row for row in _controls(name, original, data) if row not in good]
            swallowed = [row for row in gone if row[0] in text]
            tally["within_another"] += len(swallowed)
            tally["lost"] += len(gone) - len(swallowed)
            failures.extend([f"lost {row}" for row in gone if row not in swallowed][:1])
        if keep is not None and (became == "tracebacks" or seconds > 10 or len(failures) > tally["kept"]):
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{tally['kept']}.{name}").write_bytes(data)
            tally["kept"] = len(failures)

    each()
    return {**tally, "slowest_s": round(slowest, 2), "failures": failures[:5]}


def main() -> int:
    """Run every format in a process of its own and print what became of its files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="FORMAT")
    parser.add_argument("--keep", type=Path, help="a folder for the files that failed")
    parser.add_argument("--quick", action="store_true")
    given_ = parser.parse_args()
    if given_.only:
        print(json.dumps(run(given_.only, given_.count, given_.seed, given_.keep)))
        return 0
    names = list(seeds())
    each = -(-(170 if given_.quick else given_.count) // len(names))
    found: dict[str, Any] = {}
    for name in names:
        command = [
            sys.executable,
            "-m",
            "benchmarks.mutations",
            "--only",
            name,
            "--count",
            str(each),
            "--seed",
            str(given_.seed),
        ]
        command += ["--keep", str(given_.keep)] if given_.keep else []
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        lines = ended.stdout.strip().splitlines()
        found[name] = (
            json.loads(lines[-1]) if ended.returncode == 0 and lines else {"crashes": 1, "failures": [ended.stderr[-900:]]}
        )
        print(name, json.dumps({k: v for k, v in found[name].items() if k != "failures"}), flush=True)
        for failure in found[name]["failures"]:
            print("   ", failure.replace("\n", "\n    "), flush=True)
    total: Counter[str] = Counter()
    for figures in found.values():
        total.update({key: value for key, value in figures.items() if isinstance(value, int)})
    slowest = max(figures.get("slowest_s", 0) for figures in found.values())
    wrong = sum(total[key] for key in ("tracebacks", "hangs", "crashes", "lost")) + sum(
        len(f["failures"]) for f in found.values()
    )
    print(json.dumps({"formats": len(names), "seed": given_.seed, **total, "slowest_s": slowest, "by_format": found}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
