"""Files people have become rows; the canonical form is one for all of them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.base.errors import Invalid
from factory.base.settings import ROOT, Settings
from factory.intake import formats

PAIR = [{"role": "user", "content": "Which port?"}, {"role": "assistant", "content": "Port 22."}]


def read(data: bytes | str, name: str = "rows.jsonl", **limits: int) -> formats.Reading:
    settings = Settings(home=Path("unused"), **limits)  # type: ignore[arg-type]
    return formats.read(data.encode() if isinstance(data, str) else data, name=name, settings=settings)


def refusal(data: bytes | str, name: str = "rows.jsonl", **limits: int) -> str:
    with pytest.raises(Invalid) as caught:
        read(data, name, **limits)
    assert len(caught.value.problems) == 1
    return str(caught.value)


SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": PAIR}),
    ("messages", {"messages": [PAIR[0], {"role": "assistant", "content": [{"type": "text", "text": "Port 22."}]}]}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Which port?"}, {"from": "gpt", "value": "Port 22."}]}),
    ("alpaca", {"instruction": "Which port?", "input": "", "output": "Port 22."}),
    ("prompt_completion", {"prompt": "Which port?", "completion": "Port 22."}),
    ("prompt_completion", {"prompt": "Which port?", "response": "Port 22."}),
    ("prompt_completion", {"prompt": PAIR[:1], "completion": PAIR[1:]}),
    ("question_answer", {"question": "Which port?", "answer": "Port 22."}),
]


@pytest.mark.parametrize(("shape", "row"), SHAPES)
def test_every_shape_becomes_the_same_messages(shape: str, row: dict[str, Any]) -> None:
    for name, text in (("a.jsonl", json.dumps(row)), ("a.json", json.dumps([row])), ("a", json.dumps(row, indent=1))):
        reading = read(text, name)
        assert (reading.shape, [r.messages for r in reading.rows]) == (shape, [PAIR]), name


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_is_read_with_the_separator_it_has(separator: str) -> None:
    reading = read(f'Question{separator}Answer\n"Which{separator} port?"{separator}"two\nlines"\n', "a.csv")
    assert reading.container == ("tsv" if separator == "\t" else "csv")
    assert reading.rows[0].messages == [
        {"role": "user", "content": f"Which{separator} port?"},
        {"role": "assistant", "content": "two\nlines"},
    ]


def test_alpaca_input_follows_the_instruction_and_system_goes_first() -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day", "system": "Be brief."}
    assert read(json.dumps(row)).rows[0].messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Translate.\n\nGuten Tag"},
        {"role": "assistant", "content": "Good day"},
    ]


@pytest.mark.parametrize(
    "name", ["messages.jsonl", "alpaca.json", "sharegpt.json", "prompt_completion.csv", "question_answer.parquet"]
)
def test_the_samples_in_the_repository_are_read_whole(name: str) -> None:
    reading = formats.read(ROOT / "data" / "samples" / name, name=name, settings=Settings(home=Path("unused")))
    assert reading.shape == name.split(".")[0]
    assert len(reading.rows) >= 24
    for row in reading.rows:
        assert row.problem is None
        assert row.messages is not None
        formats.canonical(row.messages)


@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_one_packed_file_is_read_like_itself(packing: str) -> None:
    text = json.dumps({"question": "Which port?", "answer": "Port 22."}).encode()
    if packing == "gz":
        data = gzip.compress(text)
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("folder/rows.jsonl", text)
            archive.writestr("__MACOSX/._rows.jsonl", b"\0")
        data = buffer.getvalue()
    reading = read(data, f"rows.jsonl.{packing}")
    assert (reading.container, reading.rows[0].messages) == (f"jsonl.{packing}", PAIR)


def test_a_bad_row_keeps_its_place_and_the_others_survive() -> None:
    lines = [
        '{"question": "a", "answer": "b"}',
        "{broken",
        "[1]",
        '{"question": 3, "answer": "b"}',
        '{"x": 1}',
        '{"question": "c", "answer": "d"}',
    ]
    reading = read("\n".join(lines))
    assert [row.position for row in reading.rows] == [0, 1, 2, 3, 4, 5]
    assert [row.problem is None for row in reading.rows] == [True, False, False, False, False, True]
    assert "Line 2 is not JSON" in (reading.rows[1].problem or "")
    assert "question is a number" in (reading.rows[3].problem or "")
    assert "columns x" in (reading.rows[4].problem or "")


def test_ragged_csv_rows_are_named_by_their_line() -> None:
    reading = read('question,answer\n"a\nb",c\n\nonly one\nx,y,z\np,q\n', "a.csv")
    assert [row.problem is None for row in reading.rows] == [True, False, False, True]
    assert "Line 5 has 1 cells" in (reading.rows[1].problem or "")
    assert "Line 6 has 3 cells" in (reading.rows[2].problem or "")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(encoding: str) -> None:
    assert read("question,answer\nGrüße?,Schön.\n".encode(encoding), "a.csv").rows[0].messages == [
        {"role": "user", "content": "Grüße?"},
        {"role": "assistant", "content": "Schön."},
    ]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le", "utf-16-be"])
def test_encodings_without_a_mark_are_found_out_and_said(encoding: str) -> None:
    reading = read("question,answer\nGrüße an Jürgen?,Schön.\n".encode(encoding), "a.csv")
    assert reading.rows[0].messages == [
        {"role": "user", "content": "Grüße an Jürgen?"},
        {"role": "assistant", "content": "Schön."},
    ]
    assert ("not UTF-8" in reading.note) is not encoding.startswith("utf")


def test_a_damaged_byte_costs_its_own_row_alone() -> None:
    data = "question,answer\nGrüße?,b\nWie geht’s?,gut\n".encode().replace(b"\xc3\x9f", b"\xc3", 1)
    reading = read(data, "a.csv")
    assert "damaged character" in (reading.rows[0].problem or "")
    assert reading.rows[1].problem is None


def test_unknown_columns_name_what_was_found_and_what_is_needed() -> None:
    words = refusal("foo,bar\n1,2\n", "a.csv")
    assert "foo, bar" in words
    assert "question and answer" in words


def test_columns_left_out_and_mixed_shapes_are_noted() -> None:
    note = read('{"question": "a", "answer": "b", "id": 1}\n{"prompt": "a", "completion": "b"}').note
    assert "Columns left out: id" in note
    assert "1 question_answer, 1 prompt_completion" in note


@pytest.mark.parametrize("value", ["[" * 10_000, '{"a":' * 10_000, "[" * 10_000 + "]" * 10_000])
def test_json_ten_thousand_deep_is_one_sentence(value: str) -> None:
    for name in ("a.json", "a.jsonl"):
        assert "nested too deep" in refusal(value, name) or "not JSON" in refusal(value, name)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "9" * 5_000, '"half \\ud800"'])
def test_values_json_cannot_carry_refuse_their_row_alone(value: str) -> None:
    reading = read(f'{{"question": "a", "answer": {value}}}\n{{"question": "a", "answer": "b"}}')
    assert reading.rows[1].problem is None
    if reading.rows[0].problem is None:
        with pytest.raises(Invalid, match="surrogate"):
            formats.canonical(reading.rows[0].messages or [])


def test_roles_nobody_knows_are_a_problem_of_the_row() -> None:
    row = {"messages": [{"role": "tool", "content": "x"}, *PAIR]}
    other = {"messages": PAIR}
    assert "'tool'" in (read(json.dumps(row) + "\n" + json.dumps(other)).rows[0].problem or "")


def test_a_csv_cell_with_a_formula_stays_text_and_is_escaped_on_the_way_out() -> None:
    row = read('question,answer\na,"=HYPERLINK(""x"")"\n', "a.csv").rows[0]
    assert row.messages is not None
    assert row.messages[1]["content"] == '=HYPERLINK("x")'
    assert formats.csv_safe(row.messages[1]["content"]).startswith("'=")


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [{"role": "user", "content": "a"}],
        [PAIR[1], PAIR[0]],
        [PAIR[0], PAIR[0], PAIR[1]],
        [PAIR[0], {"role": "system", "content": "x"}, PAIR[1]],
        [PAIR[0], {"role": "assistant", "content": None}],
        "text",
    ],
)
def test_only_conversations_that_end_with_an_answer_are_canonical(turns: Any) -> None:
    with pytest.raises(Invalid):
        formats.canonical(turns)


def test_line_ends_composition_and_closing_spaces_do_not_change_the_hash() -> None:
    other = [{"content": "Cafe\u0301\r\nnoir  \n", "role": "user"}, {"role": "assistant", "content": "x", "weight": 1}]
    plain = [{"role": "user", "content": "Café\nnoir"}, {"role": "assistant", "content": "x"}]
    assert formats.canonical(other) == formats.canonical(plain)
    assert formats.content_hash(formats.canonical(other)) == formats.content_hash(formats.canonical(plain))


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4), st.none() | st.text())
def test_the_canonical_form_is_its_own_canonical_form(pairs: list[tuple[str, str]], system: str | None) -> None:
    turns = [{"role": "system", "content": system}] if system is not None else []
    turns += [
        {"role": role, "content": text} for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    content = formats.canonical(turns)
    assert formats.canonical(list(formats.messages(content))) == content
    assert content.encode().decode() == content


@settings(deadline=None)  # the first call loads what tells encodings apart
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_in_words(data: bytes) -> None:
    for name in ("a.jsonl", "a.json", "a.csv", "a.parquet", "a.zip"):
        with contextlib.suppress(Invalid):
            assert read(data, name).rows
