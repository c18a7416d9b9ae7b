"""Copies with small changes are found, questions of one template are not copies, held-out questions are defended."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlite_utils import Database

from factory.base import people
from factory.intake import contributions, datasets, formats, similarity
from factory.intake.policy import Policy

LIMIT = Policy().near_duplicate_jaccard
JOIN = (
    "What does os.path.join do?",
    "It puts the parts of a path together with one separator between them;"
    " a part that begins at the root throws away all before it.",
)
WORDS = [
    *("river", "stone", "cloud", "window", "paper", "garden", "silver", "engine"),
    *("harbour", "candle", "market", "thunder", "bridge", "forest", "mirror", "letter"),
]


def content(question: str, answer: str) -> str:
    return formats.canonical([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def likeness(a: tuple[str, str], b: tuple[str, str]) -> float:
    return similarity.resemblance(similarity.features(content(*a)), similarity.features(content(*b)))


@pytest.mark.parametrize(
    "copy",
    [
        (JOIN[0].upper(), JOIN[1].upper()),
        ("what does os.path.join do", JOIN[1].replace(";", " —").replace(".", "!")),
        ("Please tell me: what does os.path.join do?", JOIN[1]),
        (JOIN[0], JOIN[1].replace("separator", "slash")),
        (JOIN[0], JOIN[1].replace("separator", "slash").replace("throws away", "drops")),
        ("What would os.path.join do?", JOIN[1].replace("parts", "pieces")),
        (JOIN[0], "Well: " + JOIN[1] + " Hope that helps!"),
    ],
)
def test_a_copy_with_small_changes_is_a_near_duplicate(copy: tuple[str, str]) -> None:
    assert likeness(JOIN, copy) >= LIMIT
    assert likeness(copy, JOIN) == likeness(JOIN, copy)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (
            JOIN,
            ("What does os.path.split do?", "It cuts a path in two at its last separator and gives both halves as a pair."),
        ),
        (
            JOIN,
            (
                JOIN[0],
                "Join glues path components; absolute ones reset the result. On Windows drive letters complicate this.",
            ),
        ),
        (
            ("Is 7 prime?", "Yes, nothing but one and itself divides it."),
            ("Is 9 prime?", "No, three times three makes nine."),
        ),
        (
            ("What does str.isalpha do?", "It is true when a string is not empty and every character of it is a letter."),
            ("What does str.isdigit do?", "It is true when a string is not empty and all that it holds are digits."),
        ),
        (
            ("Yes or no: " + "a long story about many things " * 20, "Yes it is."),
            ("Yes or no: " + "a long story about many things " * 20, "No way."),
        ),
    ],
)
def test_templates_and_shared_passages_are_not_copies(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert likeness(a, b) < LIMIT


def test_signatures_estimate_the_exact_likeness() -> None:
    random.seed(1)
    base = [random.choice(WORDS) + str(i) for i in range(400)]
    for changed in (0, 10, 40, 120):
        other = base[: 400 - changed] + [f"other{i}" for i in range(changed)]
        exact = similarity.exact_jaccard(" ".join(base), " ".join(other))
        guess = similarity.estimate(similarity.signature(" ".join(base)), similarity.signature(" ".join(other)))
        assert abs(guess - exact) < 0.15


def test_a_signature_never_changes_since_buckets_are_stored() -> None:
    assert similarity.signature("one two three four")[:3] == [3510962464, 3700486561, 3526129536]
    marks = similarity.features(content(*JOIN)).marks
    assert len(marks) == similarity.BANDS + 1
    assert all(0 <= mark < 2**63 for mark in marks)


def test_texts_without_words_resemble_nothing() -> None:
    assert similarity.exact_jaccard("", "") == 0
    assert likeness(("?!", "…"), ("?!", "…")) == 0


def test_scripts_without_spaces_are_compared_too() -> None:
    a = ("東京はどこですか", "東京は日本の首都であり、関東地方にあります。人口は約千四百万人です。")
    assert likeness(a, (a[0], a[1].replace("約", "およそ"))) >= LIMIT
    assert likeness(a, ("大阪はどこですか", "大阪は近畿地方の中心で、食べ物がおいしい町として知られています。")) < LIMIT


@pytest.fixture
def dataset(db: Database) -> tuple[int, people.Person, people.Person]:
    curator = people.create(db, "curator", roles=("curator",))
    policy = Policy(daily_base_examples=2_000)
    made = datasets.create(
        db, slug="a", title="A", purpose="p", guidelines="g", licence="CC0-1.0", owner=curator, policy=policy
    )
    return made["id"], curator, people.create(db, "ada")


def offer(db: Database, dataset_id: int, person: people.Person, rows: list[tuple[str, str]]) -> contributions.Submission:
    drafts = [list(formats.messages(content(*row))) for row in rows]
    return contributions.submit(db, dataset_id, person=person, rows=drafts, source="form", licence="CC0-1.0", attested=True)


def test_nearest_finds_a_changed_copy_among_a_thousand(
    db: Database, dataset: tuple[int, people.Person, people.Person]
) -> None:
    random.seed(2)
    rows = [
        (f"What is known about {a}{i}?", " ".join(random.choices(WORDS, k=9)) + f" {i}.") for i, a in enumerate(WORDS * 60)
    ]
    offer(db, dataset[0], dataset[2], rows)
    place = 500
    changed = content("Tell me: " + rows[place][0], rows[place][1].upper())
    found = similarity.nearest(db, dataset[0], changed)
    assert found is not None
    assert found[1] >= LIMIT
    original = db.execute("select content from examples where id = ?", [found[0]]).fetchone()[0]
    assert similarity.same_question(formats.question_of(original), rows[place][0])


def test_withdrawn_and_rejected_examples_do_not_stand_in_the_way(
    db: Database, dataset: tuple[int, people.Person, people.Person]
) -> None:
    first = offer(db, dataset[0], dataset[2], [JOIN]).example_ids[0]
    assert similarity.nearest(db, dataset[0], content(*JOIN)) == (first, 1.0)
    assert similarity.nearest(db, dataset[0], content(*JOIN), except_ids=(first,)) is None
    contributions.withdraw(db, first, person=dataset[2], reason="mine no more")
    assert similarity.nearest(db, dataset[0], content(*JOIN)) is None
    assert offer(db, dataset[0], dataset[2], [JOIN]).accepted_for_review == 1


@pytest.mark.parametrize(
    ("question", "answer", "overlaps"),
    [
        (JOIN[0], "Something quite different that nobody wrote before.", True),
        ("please tell me, what does os.path.join do?", "Something quite different.", True),
        ("Unrelated words go here?", JOIN[1], True),
        ("What does os.path.split do?", "It cuts a path in two at its last separator.", False),
    ],
)
def test_held_out_rows_are_defended_by_question_alone(question: str, answer: str, overlaps: bool) -> None:
    crowd = similarity.crowd([content("What is a tree?", "A plant with a trunk."), content(*JOIN)])
    found = similarity.nearest_in(crowd, similarity.features(content(question, answer)), by_question=True)
    assert (found is not None and found[0] == 1 and found[1] >= Policy().held_out_jaccard) == overlaps


@pytest.mark.parametrize(
    "template", ["What does {} do in Python?", "{}", "{} what", "Please {}", "tell me about {} now please do"]
)
def test_a_crowd_finds_the_same_question_wherever_it_stands(template: str) -> None:
    asked = [
        "ls",
        "what is ls",
        "please tell me what is ls",
        "oh do please tell me what is ls",
        "one two three four five six what is ls",
    ]
    for a, b in itertools.product([template.format(words) for words in asked], repeat=2):
        crowd = similarity.crowd([content("Who goes there?", "A friend."), content(a, "One answer.")])
        found = similarity.nearest_in(crowd, similarity.features(content(b, "Another reply")), by_question=True)
        assert (found == (1, 1.0)) == similarity.same_question(a, b)


@pytest.mark.parametrize(
    ("held_out", "offered"),
    [
        (["Hi there", "And you", "How do bees fly home"], ["Hi there and you how do bees fly home"]),
        (["Why?"], ["why"]),
        (["Say two"], ["Say two", "Now"]),
        (["How does a lock on a canal work?"], ["Tell me please: how does a lock on a canal work"]),
        (["How does a lock on a canal work?"], ["What is a lock on a canal for?"]),
        (["How does a lock on a canal work?"], ["Where do swallows spend the winter?"]),
    ],
)
def test_whoever_is_like_somebody_of_a_crowd_is_no_stranger_to_it(held_out: list[str], offered: list[str]) -> None:
    kept, came = (
        formats.canonical(
            [{"role": role, "content": words} for one in asked for role, words in (("user", one), ("assistant", answer))]
        )
        for asked, answer in ((held_out, "Gates hold the water back."), (offered, "Nobody knows that for certain."))
    )
    crowd = similarity.crowd([kept])
    like = similarity.nearest_in(crowd, similarity.features(came), by_question=True)
    assert not (similarity.strangers(crowd)(came) and like)
    far = formats.canonical(
        [{"role": "user", "content": "Where do storks go in May"}, {"role": "assistant", "content": "On."}]
    )
    assert similarity.strangers(similarity.crowd([far]))(kept)
