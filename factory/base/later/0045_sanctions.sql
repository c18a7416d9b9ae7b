create table reports (                                -- anybody's word that a row or a person should be looked at
    id integer primary key,
    by_id integer not null references people(id),     -- never shown to the person it is about
    person_id integer references people(id),
    example_id integer references examples(id),
    reason text not null,                             -- a key of sanctions.REASONS
    words text not null,
    at real not null,
    check ((person_id is null) <> (example_id is null))
) strict;
create index reports_by on reports (by_id, at);
create table report_answers (
    report_id integer primary key references reports(id),
    by_id integer not null references people(id),
    answer text not null check (answer in ('acted', 'dismissed')),
    words text not null,                              -- what the person who reported reads
    at real not null
) strict;
create table sanctions (
    id integer primary key,
    person_id integer not null references people(id),
    kind text not null check (kind in ('warning', 'no_submitting', 'no_reviewing', 'paused')),
    reason text not null,                             -- a key of sanctions.REASONS
    words text not null,                              -- what happened, for everybody to read
    evidence text not null,                           -- JSON: ids of examples, and the codes that checks found in them
    by_id integer not null references people(id),
    report_id integer references reports(id),
    starts_at real not null,
    ends_at real not null
) strict;
create index sanctions_person on sanctions (person_id, ends_at);
create table sanction_lifts (                         -- ended before its date by somebody, for a reason
    sanction_id integer primary key references sanctions(id),
    by_id integer not null references people(id),
    words text not null,
    at real not null
) strict;
create table sanction_appeals (
    sanction_id integer primary key references sanctions(id),
    words text not null,
    at real not null,
    answer_by real not null                           -- unanswered at this moment, the appeal lifts the sanction by itself
) strict;
create table sanction_answers (
    sanction_id integer primary key references sanctions(id),
    by_id integer not null references people(id),
    answer text not null check (answer in ('upheld', 'overturned')),
    words text not null,
    at real not null
) strict;
create table sanction_receipts (                      -- when the person was shown it first
    sanction_id integer primary key references sanctions(id),
    at real not null
) strict;
create view sanction_states as
    select s.*, a.words as appeal, a.at as appealed_at, a.answer_by, r.answer, r.words as answer_words,
        r.by_id as answered_by, r.at as answered_at, l.words as lift_words, l.by_id as lifted_by, l.at as lifted_at,
        case
            when r.answer = 'overturned' then 'overturned'
            when l.at is not null then 'lifted'
            when a.answer_by is not null and r.at is null and a.answer_by <= t.now and a.answer_by < s.ends_at then 'unanswered'
            when s.ends_at <= t.now then 'over'
            else 'active'
        end as state
    from sanctions s cross join (select (julianday('now') - 2440587.5) * 86400.0 as now) t
    left join sanction_appeals a on a.sanction_id = s.id left join sanction_answers r on r.sanction_id = s.id
    left join sanction_lifts l on l.sanction_id = s.id;
