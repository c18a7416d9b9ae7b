"""The examples of a dataset a page at a time, by state and by words, as far as somebody may see them.

Words are looked up in an index that a trigger fills (`example_words` in the schema): each word typed has to begin a word of
the example. Of what the index finds, the newest 20,000 are looked at; what lies further back a search does not find.
Known gap: in scripts without spaces a sentence is one word to the index, so only its beginning is found.
"""

from __future__ import annotations

import re
from typing import Any

from sqlite_utils import Database

from factory.base import store
from factory.base.people import Person

LOOKED_AT, COUNTED = 20_000, 1_000
SOME = """
    from {source} join examples e on e.id = s.example_id join submissions u on u.id = s.submission_id
    join people p on p.id = s.person_id where {visible}
"""
FOUND = f"""
    (select rowid as found_id from example_words where example_words match :words order by rowid desc limit {LOOKED_AT}) f
    cross join states s on s.example_id = f.found_id
"""


def examples(
    db: Database,
    dataset_id: int,
    *,
    person: Person,
    state: str | None = None,
    search: str = "",
    limit: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Examples of a dataset, newest first, in one query, perhaps of one state, perhaps with the words of `search`.

    Dictionaries with example_id, state, content, bytes, licence, source, cluster_id, created_at, decided_at, reason,
    sentences (of the findings) and author: a display name for accepted ones, else None, so that review stays blind.
    Accepted ones are open to everybody, others to their author, to reviewers (not those withdrawn) and to curators.
    """
    chosen = SOME.format(source=FOUND if search.strip() else "states s", visible=_visible(person, state))
    return store.rows(
        db,
        f"""select s.example_id, s.state, e.content, e.bytes, u.licence, u.source, s.cluster_id, s.created_at, s.decided_at,
            s.reason, (select group_concat(sentence, ' ') from findings f where f.example_id = e.id) as sentences,
            case when s.state = 'accepted' then p.display_name end as author
        {chosen} order by s.example_id desc limit :limit offset :offset""",
        **_named(dataset_id, person, state, search),
        limit=limit,
        offset=offset,
    )


def how_many(db: Database, dataset_id: int, *, person: Person, state: str, search: str = "") -> int:
    """How many examples of a state `examples` lists; of those with the words of a search, 1,000 stands for that or more."""
    visible, named = _visible(person, state), _named(dataset_id, person, state, search)
    if search.strip():
        counted = f"select count(*) from (select 1 from {FOUND} where {visible} limit {COUNTED})"
        return int(store.value(db, counted, **named))
    if ":me" in visible:
        return int(store.value(db, f"select count(*) from states s where {visible}", **named))
    if state not in ("waiting", "accepted", "returned", "rejected", "refused", "withdrawn"):
        return 0
    return int(store.value(db, f"select coalesce(sum({state}), 0) from tallies where dataset_id = ?", dataset_id))


def words(dataset_id: int, search: str) -> str:
    """What is typed as a query of the index: every word, or the beginning of one, in this dataset.

    >>> words(7, 'Oak "trees" 50%')
    '"indataset7" "oak"* "trees"* "50"*'
    """
    typed = re.findall(r"[^\W_]+", search.casefold())
    return " ".join([f'"indataset{dataset_id}"', *(f'"{word}"*' for word in typed[:20])])


def _named(dataset_id: int, person: Person, state: str | None, search: str) -> dict[str, Any]:
    return {"dataset_id": dataset_id, "state": state, "me": person.id, "words": words(dataset_id, search)}


def _visible(person: Person, state: str | None) -> str:
    """The examples of a dataset, of one state or of all, that a person may see, as a condition an index can answer."""
    chosen = "s.dataset_id = :dataset_id" + (" and s.state = :state" if state else "")
    if person.may("curator") or state == "accepted" or (state not in (None, "withdrawn") and person.may("reviewer")):
        return chosen
    if state:
        return f"{chosen} and s.person_id = :me"
    more = "s.state <> 'withdrawn'" if person.may("reviewer") else "s.state = 'accepted'"
    return f"{chosen} and ({more} or s.person_id = :me)"
