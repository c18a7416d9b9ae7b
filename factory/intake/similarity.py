"""Which examples are the same in other clothes: MinHash finds candidates, exact comparison decides.

Words are case-folded and stripped of punctuation; `os.path.join` stays one word, so that two questions with one template
about different things differ in a word that counts. Three words in a row make a shingle. Buckets of three MinHash
values, 42 an example, find pairs with a likeness of 0.4 in 94 of 100 cases and of 0.6 in 99.99; one more holds the question.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rensa import RMinHash
from sqlite_utils import Database

from factory.base import store
from factory.intake import formats

PERMUTATIONS, SEED, ROWS_PER_BAND = 128, 20_240_501, 3
BANDS = PERMUTATIONS // ROWS_PER_BAND
CANDIDATES, VERIFIED = 60, 10
PREFIX_WORDS = 5
FEW = 2_000  # held-out rows that are worth keeping in memory: some 40 MB
# Scripts written without spaces: there each character is a word.
_SPACELESS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f"
WORD = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+(?:[.'’][^\W{_SPACELESS}]+)*")
ACTIVE = "('waiting', 'accepted', 'returned')"


def words(text: str) -> list[str]:
    """The words of a text, case-folded, without punctuation.

    >>> words("What does os.path.join() DO?")
    ['what', 'does', 'os.path.join', 'do']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str) -> set[str]:
    """Every three words in a row; of a shorter text, all its words at once.

    >>> sorted(shingles("one two three four"))
    ['one two three', 'two three four']
    """
    found = words(text)
    return {" ".join(found[i : i + 3]) for i in range(max(1, len(found) - 2))} if found else set()


def jaccard(a: set[str], b: set[str]) -> float:
    """What two sets share, of all they have; 0 where one is empty."""
    return len(a & b) / len(a | b) if a and b else 0.0


def exact_jaccard(a_text: str, b_text: str) -> float:
    """How alike two texts are by their shingles, 0 to 1.

    >>> exact_jaccard("One, two, three, four!", "one two three four")
    1.0
    """
    return jaccard(shingles(a_text), shingles(b_text))


def same_question(a: str, b: str) -> bool:
    """Whether two questions have the same words, but for up to five in front ("Please tell me: …").

    >>> same_question("What does os.path.join do?", "please tell me: what does os.path.join do")
    True
    >>> same_question("What does os.path.join do?", "What does os.path.split do?")
    False
    """
    return _same_words(words(a), words(b))


def _same_words(a: list[str], b: list[str]) -> bool:
    short, long = sorted((a, b), key=len)
    if len(short) < 3:
        return bool(short) and short == long
    return len(long) - len(short) <= PREFIX_WORDS and long[len(long) - len(short) :] == short


@dataclass(frozen=True)
class Features:
    """What an example is compared by: shingles of all that is said, the answers' words, the questions'."""

    whole: set[str]
    answer: set[str]
    question: list[str]
    question_shingles: set[str]

    @cached_property
    def marks(self) -> list[int]:
        """The buckets it falls into: one a band of its signature, and one for its question word by word."""
        return [*buckets(_signature(self.whole)), _bucket("question:" + " ".join(self.question))]


def features(content: str) -> Features:
    """The features of a canonical text."""
    question = formats.question_of(content)
    return Features(
        shingles(formats.text_of(content)), set(words(formats.answer_of(content))), words(question), shingles(question)
    )


def resemblance(a: Features, b: Features) -> float:
    """How much one example is a copy of another, 0 to 1.

    The likeness of all that is said, or, where the questions are the same, of the answers' words: in a short answer one
    changed word breaks three shingles of few. Examples whose answers have less than half of their words in common are
    not copies, however alike their questions and passages are.
    """
    answers = jaccard(a.answer, b.answer)
    whole = jaccard(a.whole, b.whole)
    if answers < 0.5:
        return min(whole, answers)
    return max(whole, answers) if _same_words(a.question, b.question) else whole


def signature(text: str) -> list[int]:
    """128 MinHash values of a text's shingles; the share of equal places estimates `exact_jaccard`."""
    return _signature(shingles(text))


def _signature(shingles: set[str]) -> list[int]:
    minhash = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    minhash.update(list(shingles))
    return [int(value) for value in minhash.digest()]


def estimate(a: list[int], b: list[int]) -> float:
    """The Jaccard likeness that two signatures suggest; its standard error is at most 0.045."""
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


def buckets(signature: list[int]) -> list[int]:
    """One 63-bit number a band of a signature: alike texts share some."""
    return [_bucket(f"{band}:{signature[band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND]}") for band in range(BANDS)]


def _bucket(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def index(db: Database, dataset_id: int, example_id: int, content: str) -> None:
    """Make an example findable by `nearest`; inside the transaction that inserts it."""
    db.conn.executemany(
        "insert or ignore into signature_buckets (dataset_id, bucket, example_id) values (?, ?, ?)",
        [(dataset_id, bucket, example_id) for bucket in features(content).marks],
    )


def nearest(db: Database, dataset_id: int, content: str, *, except_ids: tuple[int, ...] = ()) -> tuple[int, float] | None:
    """The id of the example most like this one and how like it is, of those waiting, accepted or returned, or None."""
    return nearest_to(db, dataset_id, features(content), except_ids=except_ids)


def nearest_to(
    db: Database, dataset_id: int, mine: Features, *, except_ids: tuple[int, ...] = ()
) -> tuple[int, float] | None:
    """`nearest` for features that are known already."""
    marks = mine.marks
    candidates = store.rows(
        db,
        f"""select e.id, e.content from (
                select example_id, count(*) as shared from signature_buckets
                where dataset_id = ? and bucket in ({", ".join("?" * len(marks))})
                group by example_id order by shared desc, example_id limit ?
            ) found join example_states s on s.example_id = found.example_id and s.state in {ACTIVE}
            join examples e on e.id = found.example_id order by found.shared desc, e.id limit ?""",
        dataset_id,
        *marks,
        CANDIDATES + len(except_ids),
        VERIFIED + len(except_ids),
    )
    best: tuple[int, float] | None = None
    for candidate in candidates:
        if candidate["id"] not in except_ids:
            likeness = resemblance(mine, features(candidate["content"]))
            if likeness > 0 and (best is None or likeness > best[1]):
                best = candidate["id"], likeness
    return best


def exact(db: Database, dataset_id: int, content_hash: str, *, except_ids: tuple[int, ...] = ()) -> int | None:
    """The id of the first example waiting, accepted or returned with exactly this content, or None."""
    found = store.rows(
        db,
        "select e.id from examples e join example_states s on s.example_id = e.id"
        f" where e.dataset_id = ? and e.content_hash = ? and s.state in {ACTIVE} order by e.id",
        dataset_id,
        content_hash,
    )
    return next((record["id"] for record in found if record["id"] not in except_ids), None)


@dataclass(frozen=True)
class Crowd:
    """Examples held in memory to compare with: a batch as it is read, or the held-out rows of a dataset."""

    members: list[Features]
    by_mark: dict[int, list[int]]
    by_shingle: dict[str, list[int]]
    by_question: dict[str, list[int]]
    by_ending: dict[str, list[int]]


def crowd(contents: Sequence[str]) -> Crowd:
    """A crowd of canonical texts; `nearest_in` answers with their places in this list."""
    gathered = Crowd([], defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list))
    for content in contents:
        join(gathered, features(content))
    return gathered


def join(crowd: Crowd, member: Features) -> int:
    """Add a member; its place in the crowd."""
    place = len(crowd.members)
    crowd.members.append(member)
    for mark in member.marks:
        crowd.by_mark[mark].append(place)
    for shingle in member.whole:
        crowd.by_shingle[shingle].append(place)
    for ending in _endings(member.question):
        crowd.by_ending[ending].append(place)
    crowd.by_question[" ".join(member.question)].append(place)
    return place


def _endings(question: list[str]) -> list[str]:
    """A question's words, and without the first, the first two … up to PREFIX_WORDS of them."""
    return [" ".join(question[start:]) for start in range(min(PREFIX_WORDS, max(0, len(question) - 3)) + 1)]


def _askers(crowd: Crowd, other: Features) -> set[int]:
    """The places of members who ask the same question, as `same_question` says."""
    if not other.question:
        return set()
    shorter = [crowd.by_question.get(ending, ()) for ending in _endings(other.question)]
    return {place for places in (*shorter, crowd.by_ending.get(" ".join(other.question), ())) for place in places}


def nearest_in(crowd: Crowd, other: Features, *, by_question: bool = False) -> tuple[int, float] | None:
    """The place of the member most like `other` and how like it is, or None.

    With `by_question`, as held-out rows are defended, the same question is a likeness of 1 whatever the answer is, else the
    likeness of the questions counts where it is above that of the whole, and candidates are found by every shingle.
    """
    found = (
        [crowd.by_shingle.get(key, ()) for key in other.whole]
        if by_question
        else [crowd.by_mark.get(key, ()) for key in other.marks]
    )
    shared = Counter(place for places in found for place in places)
    same = _askers(crowd, other)
    best: tuple[int, float] | None = None
    for place in sorted(
        {place for place, _ in shared.most_common(VERIFIED)} | (same if by_question else set(sorted(same)[:VERIFIED]))
    ):
        member = crowd.members[place]
        likeness = resemblance(member, other)
        if by_question:
            questions = 1.0 if place in same else jaccard(member.question_shingles, other.question_shingles)
            likeness = max(likeness, jaccard(member.whole, other.whole), questions)
        if likeness > 0 and (best is None or likeness > best[1]):
            best = place, likeness
    return best


def strangers(crowd: Crowd) -> Callable[[str], bool]:
    """A quick look at a canonical text: True when `nearest_in(…, by_question=True)` surely finds nobody like it.

    Who shares no three words in a row with anybody, neither in all that is said nor in what is asked, is like nobody. Where
    somebody in the crowd has fewer words than that, nothing is sure.
    """
    shared = [*crowd.by_shingle, *(shingle for member in crowd.members for shingle in member.question_shingles)]
    known = {tuple(shingle.split(" ")) for shingle in shared}
    sure = all(len(key) == 3 for key in known) and all(len(member.question) >= 3 for member in crowd.members)

    def strange(content: str) -> bool:
        said, asked = words(formats.text_of(content)), words(formats.question_of(content))
        threes = (*zip(said, said[1:], said[2:], strict=False), *zip(asked, asked[1:], asked[2:], strict=False))
        return sure and len(said) >= 3 and known.isdisjoint(threes)

    return strange


def held_out_crowd(db: Database, dataset_id: int) -> Crowd:
    """The newest sealed held-out rows of a dataset, to compare with; empty when none were sealed. Not to be joined.

    Those of the last two sets are kept in this process by what stands in them: reading them anew took most of a submission.
    """
    found = store.rows(
        db,
        "select content from held_out_rows where set_id = (select max(id) from held_out_sets where dataset_id = ?)"
        " order by position",
        dataset_id,
    )
    contents = tuple(record["content"] for record in found)
    return _crowd_of_few(contents) if len(contents) <= FEW else crowd(contents)


@lru_cache(maxsize=2)
def _crowd_of_few(contents: tuple[str, ...]) -> Crowd:
    return crowd(contents)
