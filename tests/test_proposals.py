"""Documents become drafts, drafts become rows only when somebody confirms them, and where they stood is kept."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from sqlite_utils import Database

from factory.base import people
from factory.base.errors import Invalid
from factory.base.settings import ROOT, Settings
from factory.intake import contributions, datasets, documents, formats, proposals, provenance, reviews
from factory.intake.policy import Policy

HERE = Settings(home=Path("unused"))
OTHER = ROOT / "data" / "samples" / "other"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def drafts(data: bytes | Path | str, name: str) -> list[proposals.Proposal]:
    return proposals.proposals(data.encode() if isinstance(data, str) else data, name=name, settings=HERE).drafts


def word(body: str, **parts: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>')
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["md", "txt", "docx", "pdf"])
def test_no_row_comes_of_a_document_by_itself(kind: str) -> None:
    file = OTHER / f"backups.{kind}"
    look = formats.look(file, name=file.name, settings=HERE)
    assert (look.is_document, look.first) == (True, [])
    with pytest.raises(Invalid, match="is a document"):
        formats.read(file, name=file.name, settings=HERE)
    found = drafts(file, file.name)
    asked = [draft.question for draft in found if draft.kind == "pair"]
    assert asked[:2] == ["What does --delete do in rsync?", "Why is the second run of rsync so fast?"]
    assert proposals.confirmed(found, {}) == []


@pytest.mark.parametrize("kind", ["md", "txt", "docx", "pdf"])
def test_every_word_of_a_document_is_in_a_draft_and_every_span_is_where_it_says(kind: str) -> None:
    file = OTHER / f"backups.{kind}"
    (document,) = documents.open_all(file, name=file.name, settings=HERE)
    covered = set()
    for draft in drafts(file, file.name):
        assert draft.place.start is not None
        assert draft.place.end is not None
        assert document.text[draft.place.start : draft.place.end] == draft.place.passage
        covered |= set(range(draft.place.start, draft.place.end))
    lines = document.text.split("\n")
    headings = {line for line, _, _ in document.headings}
    at = 0
    for number, line in enumerate(lines):
        whole = all(place in covered for place, letter in enumerate(line, at) if not letter.isspace())
        assert whole or number in headings, line
        at += len(line) + 1


def test_a_section_is_asked_by_its_headings_and_code_is_no_heading() -> None:
    found = drafts("# Guide\n\n## Ports\n\nPort 22.\n\n```\n# no heading\n```\n\nIs it open?\n---\n\nYes.\n", "a.md")
    assert [(draft.kind, draft.question) for draft in found] == [("section", "Guide › Ports"), ("section", "Is it open?")]
    assert found[0].answer.endswith("# no heading\n```")
    assert found[1].place.words() == "a.md, line 14, characters 68–72"


def test_a_long_text_without_headings_becomes_passages_for_which_a_question_is_written() -> None:
    paragraphs = [f"Paragraph {n} says that {'words ' * 60}end." for n in range(20)]
    found = drafts("\n\n".join(paragraphs), "a.txt")
    assert {draft.kind for draft in found} == {"passage"}
    assert {draft.question for draft in found} == {""}
    assert max(len(draft.answer) for draft in found) <= proposals.LONGEST_PASSAGE
    assert " ".join(draft.answer for draft in found).split() == " ".join(paragraphs).split()


def test_what_was_struck_out_in_word_is_not_read_and_breaks_are() -> None:
    text = "<w:p><w:r><w:t>One</w:t><w:br/><w:t>two</w:t></w:r><w:del><w:r><w:t>gone</w:t></w:r></w:del></w:p>"
    heading = '<w:p><w:pPr><w:pStyle w:val="Heading2"/><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>Head</w:t></w:r></w:p>'
    (draft,) = drafts(word(heading + text), "a.docx")
    assert (draft.question, draft.answer) == ("Head", "One\ntwo")
    assert draft.place.words() == "a.docx, paragraph 2, characters 5–12"


def test_hostile_word_files_are_refused_in_one_sentence() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    deep = f'<w:document xmlns:w="{WORD}">' + "<w:p>" * 200_000
    for xml in (bomb, deep, "<broken"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/document.xml", xml)
        with pytest.raises(Invalid) as caught:
            drafts(buffer.getvalue(), "a.docx")
        assert len(caught.value.problems) == 1


def test_a_pdf_that_is_none_or_has_no_text_is_refused_in_one_sentence() -> None:
    for data in (b"%PDF-1.7\n" + b"x" * 1_000, b"%PDF-1.4\n%%EOF"):
        with pytest.raises(Invalid, match="damaged or unusual PDF"):
            drafts(data, "a.pdf")


def test_only_confirmed_drafts_become_rows_and_each_lacks_nothing() -> None:
    found = drafts(OTHER / "backups.md", "backups.md")
    rows = proposals.confirmed(found, {5: ("What does --delete do?", "It deletes.")})
    assert [row.messages for row in rows] == [
        [{"role": "user", "content": "What does --delete do?"}, {"role": "assistant", "content": "It deletes."}]
    ]
    assert rows[0].place == found[4].place
    with pytest.raises(Invalid) as caught:
        proposals.confirmed(found, {1: (" ", "x"), 99: ("a", "b")})
    assert len(caught.value.problems) == 2


def test_the_passage_is_kept_with_the_row_when_it_is_submitted_without_what_is_personal(db: Database) -> None:
    curator = people.create(db, "cora", roles=("curator",))
    ada = people.create(db, "ada", roles=("contributor",))
    made = datasets.create(
        db, slug="notes", title="Notes", purpose="Short notes.", guidelines="Be brief.", licence="CC0-1.0", owner=curator,
        policy=Policy(),
    )  # fmt: skip
    text = "What does --delete do in rsync, says ada@lovelace.org, it removes from the copy what is gone."
    (draft,) = drafts(text, "notes.txt")
    said = ("What does --delete do in rsync?", "It removes from the copy what is gone from the original.")
    rows = [*proposals.confirmed([draft], {1: said})]
    sent = contributions.submit(db, made["id"], person=ada, rows=rows, source="file", licence="CC0-1.0", attested=True)
    place = provenance.of(db, sent.example_ids[0])
    assert place is not None
    assert place.words() == f"notes.txt, line 1, characters 0–{len(text)}"
    remo = people.create(db, "remo", roles=("reviewer",))
    (shown,) = reviews.queue(db, made["id"], reviewer=remo)
    assert shown["made_from"] == {"where": place.inside(), "passage": place.passage}
    assert "notes.txt" not in str(shown)  # a file's name may say whose it is
    assert place.passage == text.replace("ada@lovelace.org", "█" * 16)
