create table held_verdicts (                          -- said on the page a moment ago; counts soon, unless it is taken back
    reviewer_id integer primary key references people(id),
    example_id integer not null references examples(id),
    decision text not null check (decision in ('accept', 'return', 'reject')),
    reason text,
    note text not null default '',
    seconds real,
    at real not null
) strict;
