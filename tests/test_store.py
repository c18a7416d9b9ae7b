"""The store: opened by many at once, written as a whole or not at all, refusing what must not change."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from sqlite_utils import Database

from factory.base import schema, store
from factory.base.errors import Unavailable
from factory.base.settings import ROOT, Settings
from factory.intake import formats

OPENER = """
import sys
from pathlib import Path
from factory.base import store
folder = Path(sys.argv[1])
print("ready", flush=True)
for round in range(int(sys.argv[2])):
    sys.stdin.readline()
    try:
        with store.connect(folder / f"round{round}" / "factory.db") as db:
            tables = store.value(db, "select count(*) from sqlite_master where type = 'table'")
            with store.writing(db):
                store.insert(db, "people", {"name": f"person{sys.argv[3]}", "display_name": "x", "created_at": store.now()})
        print("opened", tables, flush=True)
    except Exception as problem:
        print("failed", repr(problem), flush=True)
"""

SUBMITTER = """
import sys
from pathlib import Path
from factory.base import people, store
from factory.intake import contributions
db = store.open_store(Path(sys.argv[1]))
ada = people.get(db, "ada")
for number in range(1000):
    words = " ".join(f"{'abcdefghij'[int(digit)]}{number}{place}" for place, digit in enumerate(f"{number * 7919:09d}"))
    rows = [
        [{"role": "user", "content": f"{number} {part}?"}, {"role": "assistant", "content": f"{part} {words} {part}"}]
        for part in ("first", "second")
    ]
    rows = rows[: 1 + number % 2]
    made = contributions.submit(db, 1, person=ada, rows=rows, source="api", licence="CC0-1.0", attested=True)
    print(number, *made.example_ids, flush=True)
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_six_processes_open_a_new_database_at_once_thirty_times_and_none_fails(tmp_path: Path) -> None:
    rounds, processes = 30, [python(OPENER, str(tmp_path), "30", str(number)) for number in range(6)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        answers = []
        for _ in range(rounds):
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            answers.append({process.stdout.readline().strip() for process in processes if process.stdout})
        assert len({answer for group in answers for answer in group}) == 1, answers
        assert answers[0].pop().startswith("opened ")
    finally:
        for process in processes:
            process.communicate()
    for number in range(rounds):
        with store.connect(tmp_path / f"round{number}" / "factory.db") as db:
            assert store.value(db, "select count(*) from people") == 6


@pytest.mark.slow
def test_after_kill_9_every_acknowledged_row_is_there_and_no_half_row(settings: Settings, db: Database) -> None:
    from factory.base import people
    from factory.intake import datasets
    from factory.intake.policy import Policy

    owner = people.create(db, "owner", roles=("curator",))
    people.create(db, "ada")
    policy = Policy(daily_base_examples=10_000, daily_cap_examples=10_000)
    datasets.create(db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=owner, policy=policy)
    acknowledged: list[list[int]] = []
    for stop_after in (100, 400, 700):
        process = python(SUBMITTER.replace("range(1000)", f"range({len(acknowledged)}, 1000)"), str(settings.database))
        assert process.stdout is not None
        while len(acknowledged) < stop_after:
            acknowledged.append([int(number) for number in process.stdout.readline().split()])
        process.send_signal(signal.SIGKILL)
        acknowledged += [
            [int(n) for n in line.split()]
            for line in process.stdout.read().splitlines()
            if line.endswith(tuple("0123456789"))
        ]
        assert process.wait() == -signal.SIGKILL
        _nothing_is_half(db, acknowledged)


def _nothing_is_half(db: Database, acknowledged: list[list[int]]) -> None:
    kept = {record["id"]: record for record in store.rows(db, "select * from examples")}
    for number, *example_ids in acknowledged:
        assert len(example_ids) == 1 + number % 2
        for example_id in example_ids:
            assert formats.question_of(kept[example_id]["content"]).startswith(f"{number} ")
    for record in kept.values():
        assert formats.content_hash(record["content"]) == record["content_hash"]
        assert record["refused_by_checks"] == 0
    for submission in store.rows(
        db, "select id, (select count(*) from examples where submission_id = s.id) as n from submissions s"
    ):
        first = min(r["id"] for r in kept.values() if r["submission_id"] == submission["id"])
        assert submission["n"] == 1 + int(formats.question_of(kept[first]["content"]).split()[0]) % 2
    buckets = store.rows(db, "select example_id, count(*) as n from signature_buckets group by example_id")
    assert {record["example_id"] for record in buckets} == set(kept)
    assert len({record["n"] for record in buckets}) == 1
    assert store.value(db, "pragma integrity_check") == "ok"
    assert store.rows(db, "pragma foreign_key_check") == []


def test_opening_again_changes_nothing_and_settings_hold(db: Database, settings: Settings) -> None:
    with store.connect(settings) as again:
        assert store.value(again, "pragma user_version") == schema.VERSION
        assert store.value(again, "pragma foreign_keys") == 1
        assert store.value(again, "pragma journal_mode") == "wal"
        with pytest.raises(sqlite3.IntegrityError):
            again.execute("insert into roles (person_id, role, granted_at) values (99, 'admin', 0)")


def test_a_database_of_the_first_version_is_brought_up_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = Database(path, strict=True)
    later = next(iter(schema.LATER), None)
    schema.MIGRATIONS.apply(old, stop_before=later or ())
    old.execute("pragma user_version = 1")
    store.insert(old, "people", person("ada"))
    old.conn.commit()
    old.close()
    with store.connect(path) as now, store.connect(tmp_path / "new.db") as new:
        assert store.value(now, "select name from people") == "ada"
        listed = "select name, sql from sqlite_master where name not like 'sqlite%' order by name"
        assert store.rows(now, listed) == store.rows(new, listed)
        assert store.value(now, "pragma user_version") == schema.VERSION


def test_a_database_of_a_newer_program_is_left_alone(db: Database, settings: Settings) -> None:
    db.execute(f"pragma user_version = {schema.VERSION + 1}")
    with pytest.raises(Unavailable, match="newer version"):
        store.open_store(settings)


def test_what_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "factory.db"
    path.write_bytes(b"this is not a database, but it is long enough to look at " * 20)
    with pytest.raises(Unavailable, match="cannot be opened"):
        store.open_store(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable, match="cannot be opened"):
        store.open_store(tmp_path / "file" / "factory.db")


def person(name: str) -> dict[str, object]:
    return {"name": name, "display_name": name, "created_at": store.now()}


def _insert_and_fail(db: Database, name: str) -> None:
    store.insert(db, "people", person(name))
    raise ZeroDivisionError


def test_a_transaction_that_fails_leaves_nothing(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), store.writing(db):
        _insert_and_fail(db, "ada")
    assert store.value(db, "select count(*) from people") == 0
    assert not db.conn.in_transaction


def test_a_nested_transaction_fails_alone(db: Database) -> None:
    with store.writing(db):
        store.insert(db, "people", person("ada"))
        with pytest.raises(ZeroDivisionError), store.writing(db):
            _insert_and_fail(db, "bob")
        store.insert(db, "people", person("eve"))
    assert [r["name"] for r in store.rows(db, "select name from people order by id")] == ["ada", "eve"]


def test_writers_wait_for_each_other_instead_of_failing(db: Database, settings: Settings) -> None:
    problems: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with store.connect(settings) as own:
                for turn in range(20):
                    with store.writing(own):
                        before = store.value(own, "select count(*) from people")
                        store.insert(own, "people", person(f"p{number}-{turn}"))
                        assert store.value(own, "select count(*) from people") == before + 1
        except (sqlite3.Error, AssertionError) as problem:
            problems.append(problem)

    threads = [Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.value(db, "select count(*) from people") == 80


def _insert_much(db: Database) -> None:
    for number in range(1_000):
        store.insert(db, "people", {**person(f"p{number}"), "email": "x" * 500})


def test_a_full_disk_is_one_sentence_and_nothing_is_kept(db: Database) -> None:
    db.execute(f"pragma max_page_count = {store.value(db, 'pragma page_count') + 2}")
    with pytest.raises(Unavailable, match="disk is full"), store.writing(db):
        _insert_much(db)
    db.execute("pragma max_page_count = 1000000")
    assert store.value(db, "select count(*) from people") == 0
    with store.writing(db):
        store.insert(db, "people", person("ada"))


@pytest.mark.parametrize("verb", ["update", "delete"])
@pytest.mark.parametrize("table", schema.UNCHANGING)
def test_every_append_only_table_has_its_triggers(db: Database, table: str, verb: str) -> None:
    name = f"{table}_refuses_{verb}"
    assert store.value(db, "select sql from sqlite_master where type = 'trigger' and name = ?", name)


def test_every_table_is_strict_and_none_deletes_by_cascade(db: Database) -> None:
    for record in store.rows(
        db, "select name, sql from sqlite_master where type = 'table' and name not like '\\_%' escape '\\'"
    ):
        assert "cascade" not in record["sql"].lower(), record["name"]
        if not record["name"].startswith(("sqlite_", "example_words")):  # an index of words has no columns to be strict
            assert "strict" in record["sql"].lower().rsplit(")", 1)[1], record["name"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="permissions"):
        store.open_store(tmp_path / "home" / "factory.db")


def test_a_reader_is_not_held_up_by_a_writer(db: Database, settings: Settings) -> None:
    with store.connect(settings) as reader, store.writing(db):
        store.insert(db, "people", person("ada"))
        assert store.value(reader, "select count(*) from people") == 0


def test_the_state_changes_with_every_write_and_with_nothing_else(db: Database, settings: Settings) -> None:
    def write(where: Database, name: str) -> None:
        with store.writing(where):
            store.insert(where, "people", {"name": name, "display_name": "x", "created_at": store.now()})

    seen = [store.state_of(db)]
    assert store.rows(db, "select * from people") == []
    with store.connect(settings) as other:
        assert store.state_of(db) == seen[0]
        write(other, "ada")
        seen.append(store.state_of(db))
        with store.writing(db):
            assert store.state_of(db) == seen[1]
        write(db, "bob")
        seen.append(store.state_of(db))
        write(other, "cid")
        seen.append(store.state_of(db))
    assert len(set(seen)) == 4


def test_a_query_without_rows_to_give_is_not_one(db: Database) -> None:
    assert store.rows(db, "select 1 as one, 2 as one") == [{"one": 1, "one_2": 2}]
    assert store.row(db, "select 1 as one where 0") is None
