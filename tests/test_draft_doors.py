"""Drafts by command and by HTTP: the same functions as on the page, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlite_utils import Database

from factory import __main__ as commands
from factory.api import application
from factory.base import people
from factory.base.people import Person
from factory.base.settings import Settings
from factory.intake import allowances, contributions, datasets, drafts, provenance
from factory.intake.policy import Policy
from tests.test_drafts import GOOD, talk

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ada(db: Database) -> Person:
    curator = people.create(db, "cora", roles=("curator",))
    datasets.create(
        db, slug="notes", title="Notes", purpose="Short notes.", guidelines="Be brief.", licence="CC-BY-4.0", owner=curator,
        policy=Policy(daily_base_examples=3),
    )  # fmt: skip
    return people.create(db, "ada", roles=("contributor",))


@pytest.fixture
def run(ada: Person, capsys: pytest.CaptureFixture[str]) -> Run:
    def typed(*words: object) -> tuple[int, str, str]:
        code = commands.main([*map(str, words), "--as", "ada"])
        out, err = capsys.readouterr()
        return code, out, err

    return typed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [*GOOD[:2], GOOD[0], ("Too short?", "Yes.")]
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows))
    return path


def test_check_gives_a_table_with_a_line_for_each_finding_and_the_same_as_json(run: Run, file: Path) -> None:
    code, out, _ = run("check", file, "--dataset", "notes")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["row", "verdict", "code", "what", "was", "found"]
    assert "repeated_in_file" in lines[1]
    assert "repeats row 1" in lines[1]
    assert "too_short" in lines[2]
    told = json.loads(run("check", file, "--dataset", "notes", "--json")[1])
    assert [row["refused"] for row in told["rows"]] == [False, False, True, True]
    assert told["rows"][2]["findings"][0]["evidence"] == {"position": 0, "jaccard": 1.0}


def test_a_draft_is_kept_mended_and_sent_by_commands(run: Run, file: Path, db: Database, ada: Person) -> None:
    assert "2 of them refused" in run("drafts", "keep", file, "--dataset", "notes")[1]
    (draft,) = json.loads(run("drafts", "list", "--json")[1])
    draft_id = draft["id"]
    assert "rows.jsonl" in run("drafts", "list")[1]
    shown = run("drafts", "show", draft_id, "--shown", "refused")[1]
    assert "2 are refused (1 twice in this submission, 1 answer too short)" in shown
    assert "is clean" in run("drafts", "edit", draft_id, 4, "--answer", "It is long enough now, as one can see.")[1]
    assert "1 dropped" in run("drafts", "mark", draft_id, "drop", 3)[1]
    code, _, err = run("drafts", "edit", draft_id, 1)
    assert (code, "new words" in err) == (1, True)
    assert allowances.allowance(db, 1, ada).used == 0
    assert run("drafts", "send", draft_id)[0] == 1, "without the word that one may give them"
    assert "3 rows wait for review" in run("drafts", "send", draft_id, "--mine-to-give")[1]
    assert allowances.allowance(db, 1, ada).used == 3
    assert contributions.counts(db, ada) == {"waiting": 3}
    assert run("drafts", "delete", draft_id)[0] == 0 or not drafts.listing(db, ada)


def door(db: Database, settings: Settings, person: Person) -> TestClient:
    token = people.issue_token(db, person, "tests")
    return TestClient(application(settings), headers={"Authorization": f"Bearer {token}"})


def test_a_draft_is_kept_mended_and_sent_over_http(db: Database, settings: Settings, ada: Person, file: Path) -> None:
    http = door(db, settings, ada)
    made = http.post("/datasets/notes/drafts/file", files={"file": ("rows.jsonl", file.read_bytes())})
    assert made.status_code == 201
    (draft,) = made.json()
    draft_id = draft["id"]
    assert (draft["refused"], draft["clean"]) == (2, 2)
    refused = http.get(f"/drafts/{draft_id}/rows", params={"shown": "refused"}).json()
    assert [row["position"] for row in refused] == [2, 3]
    words: Any = talk("Is it long enough?", "It is long enough now, as one can see.")
    assert http.put(f"/drafts/{draft_id}/rows/3", json={"messages": words}).json()["state"] == "clean"
    assert http.patch(f"/drafts/{draft_id}/rows", json={"positions": [2], "dropped": True}).json()["dropped"] == 1
    outlook = http.get(f"/drafts/{draft_id}").json()["outlook"]
    assert (outlook["sent"], outlook["refused"], outlook["dropped"]) == (3, 0, 1)
    other = door(db, settings, people.create(db, "eve", roles=("admin", "contributor")))
    assert other.get("/drafts").json() == []
    for answer in (
        other.get(f"/drafts/{draft_id}"),
        other.get(f"/drafts/{draft_id}/rows"),
        other.delete(f"/drafts/{draft_id}"),
        other.post(f"/drafts/{draft_id}/send", json={"licence": "CC-BY-4.0", "mine_to_give": True}),
    ):
        assert answer.status_code == 404
    assert http.post(f"/drafts/{draft_id}/check").json()["clean"] == 3
    sent = http.post(f"/drafts/{draft_id}/send", json={"licence": "CC-BY-4.0", "mine_to_give": True})
    assert (sent.status_code, sent.json()["waiting"]) == (201, 3)
    typed = http.post("/datasets/notes/drafts", json={"rows": [talk(*GOOD[3])]}).json()
    assert http.delete(f"/drafts/{typed['id']}").status_code == 204


SHEET = "nr\tfoo\tbar\n" + "".join(f"{n}\t{question}\t{answer}\n" for n, (question, answer) in enumerate(GOOD))
MAPPING = {"question": "foo", "answer": "bar"}


def test_a_file_of_unknown_columns_is_looked_at_and_mapped_by_command(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sheet.tsv"
    path.write_text(SHEET)
    code, out, _ = run("look", path)
    assert code == 0
    assert "The columns are nr, foo, bar" in out
    typed = [word for part, name in MAPPING.items() for word in ("--map", f"{part}={name}")]
    assert GOOD[2][0] in run("look", path, *typed)[1]
    code, _, err = run("drafts", "keep", path, "--dataset", "notes")
    assert (code, "which column is which" in err) == (1, True)
    (draft,) = json.loads(run("drafts", "keep", path, "--dataset", "notes", *typed, "--start", 2, "--json")[1])
    assert (draft["clean"], "rows 2 to 4" in draft["note"]) == (3, True)
    assert run("drafts", "keep", path, "--dataset", "notes", *typed, "--start", 9)[0] == 1
    assert run("look", path, "--map", "question")[0] == 1


def test_a_file_of_unknown_columns_is_looked_at_and_mapped_over_http(db: Database, settings: Settings, ada: Person) -> None:
    http, sheet = door(db, settings, ada), {"file": ("sheet.tsv", SHEET.encode())}
    seen = http.post("/look", files=sheet).json()
    assert (seen["certain"], seen["columns"]) == (False, ["nr", "foo", "bar"])
    mapped = http.post("/look", files=sheet, data={"mapping": json.dumps(MAPPING)}).json()
    assert mapped["first"][0]["messages"] == talk(*GOOD[0])
    assert http.post("/datasets/notes/drafts/file", files=sheet).status_code == 422
    assert http.post("/look", files=sheet, data={"mapping": "{"}).status_code == 422
    (draft,) = http.post("/datasets/notes/drafts/file", files=sheet, data={"mapping": json.dumps(MAPPING)}).json()
    assert (draft["clean"], draft["file_format"]) == (4, "tsv/mapped")


def test_a_document_is_confirmed_over_http_before_any_row_of_it_is_sent(
    db: Database, settings: Settings, ada: Person
) -> None:
    http = door(db, settings, ada)
    text = f"Q: {GOOD[0][0]}\nA: {GOOD[0][1]}\n\nQ: {GOOD[1][0]}\nA: {GOOD[1][1]}\n"
    (draft,) = http.post("/datasets/notes/drafts/file", files={"file": ("faq.txt", text.encode())}).json()
    assert (draft["rows"], draft["to_confirm"]) == (2, 2)
    terms = {"licence": "CC-BY-4.0", "mine_to_give": True}
    assert http.post(f"/drafts/{draft['id']}/send", json=terms).status_code == 409
    assert http.patch(f"/drafts/{draft['id']}/rows", json={"positions": [1], "confirmed": True}).json()["to_confirm"] == 1
    sent = http.post(f"/drafts/{draft['id']}/send", json=terms).json()
    assert sent["waiting"] == 1
    place = provenance.of(db, sent["example_ids"][0])
    assert place is not None
    assert GOOD[1][1] in place.passage
