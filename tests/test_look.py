"""What a file seems to be is said before anything is made of it: its format, shape, columns, and first rows."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from factory.base.errors import Invalid
from factory.base.settings import ROOT, Settings
from factory.intake import columns, formats, sandbox
from factory.intake.columns import Mapping

HERE = Settings(home=Path("unused"))
PAIR = [{"role": "user", "content": "Which port?"}, {"role": "assistant", "content": "Port 22."}]
LINE = b'{"question": "Which port?", "answer": "Port 22."}\n'


def look(data: bytes | str, name: str, **how: Any) -> formats.Look:
    return formats.look(data.encode() if isinstance(data, str) else data, name=name, settings=HERE, **how)


def rows(data: bytes | str, name: str, **how: Any) -> list[Any]:
    found = formats.read(data.encode() if isinstance(data, str) else data, name=name, settings=HERE, **how).rows
    return [row.messages or row.problem for row in found]


def test_known_columns_are_certain_and_others_only_suggested() -> None:
    known = look(LINE, "a.jsonl")
    assert (known.container, known.shape, known.certain, known.why) == ("jsonl", "question_answer", True, "")
    other = look("Nr;Frage;Antwort\n1;Which port?;Port 22.\n", "a.csv")
    assert (other.shape, other.certain) == ("", False)
    assert "nr, frage, antwort" in other.why
    assert other.mapping == Mapping(question="frage", answer="antwort")
    assert other.first[0].messages == PAIR


def test_columns_that_fit_two_shapes_are_not_certain() -> None:
    found = look(json.dumps({"prompt": "a", "response": "b", "question": "c", "answer": "d"}), "a.jsonl")
    assert (found.shape, found.shapes, found.certain) == (
        "prompt_completion",
        ["prompt_completion", "question_answer"],
        False,
    )


def test_a_guess_looks_at_what_stands_in_the_columns() -> None:
    found = look("x,y,z\n1,what is this thing here,it is some thing\n2,and what is that,it is another\n", "a.csv")
    assert found.mapping == Mapping(question="y", answer="z")
    turns = json.dumps([{"from": "human", "value": "Which port?"}, {"from": "gpt", "value": "Port 22."}])
    talk = look(json.dumps({"id": 1, "dialog_json": turns}), "a.jsonl")
    assert talk.mapping == Mapping(turns="dialog_json")
    assert talk.first[0].messages == PAIR


def test_a_mapping_is_kept_to_and_refused_where_a_column_is_not_there() -> None:
    data = "a;b;c\nPort 22.;Which port?;Be brief.\n"
    mapping = columns.said({"question": "B", "answer": "a", "system": "c"})
    assert rows(data, "a.csv", mapping=mapping) == [[{"role": "system", "content": "Be brief."}, *PAIR]]
    wrong = look(data, "a.csv", mapping=Mapping(question="b", answer="nothing"))
    assert (wrong.certain, "no column 'nothing'" in wrong.why) == (False, True)
    with pytest.raises(Invalid, match="no part"):
        columns.said({"colour": "a"})


@pytest.mark.parametrize(
    "text",
    [
        "Q: Which port?\nA: Port 22.",
        "### Instruction:\nWhich port?\n\n### Response:\nPort 22.",
        "<|im_start|>user\nWhich port?<|im_end|>\n<|im_start|>assistant\nPort 22.<|im_end|>\n",
        "<s>[INST] Which port? [/INST] Port 22. </s>",
        "<|user|>\nWhich port?</s>\n<|assistant|>\nPort 22.</s>",
        "User: Which port?\nAssistant: Port 22.",
    ],
)
def test_a_conversation_written_out_as_text_is_read(text: str) -> None:
    assert rows(json.dumps({"text": text}), "a.jsonl") == [PAIR]


def test_plain_text_beside_a_title_is_not_certain_and_the_title_is_suggested_as_the_question() -> None:
    found = look(json.dumps({"title": "Which port?", "text": "Port 22 is what ssh listens on."}), "a.jsonl")
    assert (found.shape, found.certain, found.mapping) == ("", False, Mapping(question="title", answer="text"))
    alone = look(json.dumps({"text": "Port 22 is what ssh listens on."}), "a.jsonl")
    assert (alone.certain, alone.mapping, "drafts" in alone.why) == (False, None, True)


def test_a_plain_text_in_a_row_is_no_conversation_and_says_so() -> None:
    assert "plain text" in rows(json.dumps({"text": "Port 22."}) + '\n{"text": "Q: a\\nA: b"}', "a.jsonl")[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_line_ends_of_every_kind_are_read(end: str, name: str) -> None:
    lines = {"a.csv": ["question,answer", "Which port?,Port 22."] * 1, "a.json": ["[", LINE.decode().strip(), "]"]}
    text = end.join(lines.get(name, [LINE.decode().strip()] * 2)) + end
    assert rows(text, name)[0] == PAIR


def test_packed_files_of_every_kind_are_read() -> None:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(LINE)
    packed = {"bz2": bz2.compress(LINE), "xz": lzma.compress(LINE) * 2, "zst": bytes(sink.getvalue())}
    for ending, data in packed.items():
        found = formats.read(data, name=f"a.jsonl.{ending}", settings=HERE)
        assert (found.container, found.rows[0].messages) == (f"jsonl.{ending}", PAIR)


def test_a_stream_is_read_like_its_bytes_and_left_open() -> None:
    stream = io.BytesIO(LINE)
    assert formats.look(stream, name="a.jsonl", settings=HERE).certain
    assert formats.read(stream, name="a.jsonl", settings=HERE).rows[0].messages == PAIR
    assert not stream.closed


def test_a_workbook_is_read_sheet_by_sheet() -> None:
    file = ROOT / "data" / "samples" / "other" / "backups.xlsx"
    found = formats.read(file, name=file.name, settings=HERE)
    assert (found.container, len(found.rows), {row.problem for row in found.rows}) == ("xlsx", 14, {None})
    assert [row.place.words() for row in found.rows[11:13] if row.place] == [
        "backups.xlsx › Questions, row 13",
        "backups.xlsx › More, row 2",
    ]


def test_two_cells_far_apart_end_the_reader_and_not_the_house() -> None:
    cells = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    source, target = ROOT / "data" / "samples" / "other" / "backups.xlsx", io.BytesIO()
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as changed:
        for name in given.namelist():
            sheet = f'<worksheet xmlns="{space}"><sheetData>{cells}</sheetData></worksheet>'.encode()
            changed.writestr(name, sheet if name.endswith("sheet1.xml") else given.read(name))
    with pytest.raises(Invalid, match="more memory"):
        look(target.getvalue(), "a.xlsx")


def test_a_reader_that_takes_too_long_is_ended() -> None:
    book = io.BytesIO((ROOT / "data" / "samples" / "other" / "backups.xlsx").read_bytes())
    at_once = Settings(home=Path("unused"), reading_seconds=0)
    with pytest.raises(Invalid, match="takes more than 0 seconds"):
        list(sandbox.read("xlsx", book, name="a.xlsx", settings=at_once))


@pytest.mark.parametrize("bad", ['"never closed,b', 'a "b,c', '"a"x,"b\n'])
def test_a_stray_quotation_mark_costs_its_own_row_and_not_those_after_it(bad: str) -> None:
    good = "".join(f"question {n},answer {n}\n" for n in range(300))
    found = rows(f"question,answer\n{good}{bad}\n{good}", "a.csv")
    kept = [row for row in found if isinstance(row, list)]
    assert sum(row[0]["content"].startswith("question") for row in kept) == 600


def test_a_damaged_character_further_on_costs_its_own_row() -> None:
    data = ("".join(f'{{"question": "Größe {n}?", "answer": "groß"}}\n' for n in range(500))).encode()
    found = rows(data.replace("Größe 400".encode(), b"Gr\xff\xfe 400"), "a.jsonl")
    assert [n for n, row in enumerate(found) if isinstance(row, str)] == [400]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.xlsx", "a.pdf", "a.docx", "a.parquet", "a.zip"])
def test_a_file_that_is_not_what_it_is_called_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="damaged"):
        look(bytes(range(256)) * 20, name)


@pytest.mark.parametrize(("data", "words"), [(b"\xd0\xcf\x11\xe0" + b"x" * 99, "old Office"), (b"{\\rtf1 x}", "RTF"),
                                             (bytes(range(1, 256)) * 20, "not text")])  # fmt: skip
def test_what_is_not_read_is_refused_with_what_to_send_instead(data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        look(data, "a.bin")


def test_a_wrapped_list_and_objects_one_after_another_are_read() -> None:
    row = json.loads(LINE)
    assert rows(json.dumps({"version": 1, "data": [row, row]}, indent=1), "a.json") == [PAIR, PAIR]
    assert rows(json.dumps(row, indent=1) + "\n" + json.dumps(row, indent=1), "a.json") == [PAIR, PAIR]
    assert rows(json.dumps([PAIR, PAIR]), "a.json") == [PAIR, PAIR]


def test_a_long_list_of_json_is_read_piece_by_piece_wherever_the_pieces_end() -> None:
    many = [{"question": f"{n} " + "x" * (n % 97) + "\u00fc?", "answer": "y" * (n % 89)} for n in range(20_000)]
    found = formats.rows(json.dumps(many, ensure_ascii=False).encode(), name="a.json", settings=HERE)
    assert [row.messages[0]["content"] for row in found if row.messages] == [row["question"] for row in many]


def test_limits_are_told_as_they_are_set() -> None:
    assert "64 MiB, 256 MiB unpacked and 100,000 rows" in formats.limits(HERE)
    assert "7 rows" in formats.limits(Settings(home=Path("unused"), max_file_rows=7))
