create table detected_conflicts (                     -- ties that rows show: the reviewer is not asked about this author's rows
    id integer primary key,
    reviewer_id integer not null references people(id),
    author_id integer not null references people(id),
    kind text not null,                               -- a key of conflicts.KINDS
    evidence text not null,                           -- JSON: the counts it was seen in
    found_at real not null,
    lifted_by integer references people(id),
    lifted_words text,
    lifted_at real,
    unique (reviewer_id, author_id, kind)
) strict;
create index detected_conflicts_author on detected_conflicts (author_id);
