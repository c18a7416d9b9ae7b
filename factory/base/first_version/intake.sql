create table datasets (
    id integer primary key,
    slug text not null unique,
    title text not null,
    purpose text not null,
    guidelines text not null,
    licence text not null,                            -- an SPDX identifier
    owner_id integer not null references people(id),
    is_demo integer not null default 0,
    created_at real not null
) strict;
create table policies (                               -- the rules of a dataset; the newest row counts
    id integer primary key,
    dataset_id integer not null references datasets(id),
    version integer not null,
    rules text not null,                              -- JSON of datasets.Policy
    set_by integer not null references people(id),
    set_at real not null,
    unique (dataset_id, version)
) strict;
create table held_out_sets (                          -- sealed questions nobody can submit to; the newest one counts
    id integer primary key,
    dataset_id integer not null references datasets(id),
    root text not null,                               -- Merkle root: names exactly these rows in this order
    row_count integer not null,
    sealed_by integer not null references people(id),
    sealed_at real not null
) strict;
create table held_out_rows (
    set_id integer not null references held_out_sets(id),
    position integer not null,
    content text not null,
    content_hash text not null,
    primary key (set_id, position)
) strict, without rowid;
create table submissions (
    id integer primary key,
    dataset_id integer not null references datasets(id),
    person_id integer not null references people(id),
    source text not null check (source in ('form', 'file', 'terminal', 'api', 'import')),
    file_name text,
    file_format text,
    licence text not null,
    created_at real not null
) strict;
create index submissions_person on submissions (person_id, dataset_id, created_at);
create table examples (
    id integer primary key,
    submission_id integer not null references submissions(id),
    dataset_id integer not null references datasets(id),
    person_id integer not null references people(id),
    position integer not null,                        -- the row's place in what was submitted, from 0
    content text not null,                            -- canonical JSON: {"messages": [{"content": …, "role": …}, …]}
    content_hash text not null,                       -- sha-256 of content
    bytes integer not null,
    supersedes integer references examples(id),
    cluster_id integer not null,                      -- the first example this one nearly repeats, else its own id
    refused_by_checks integer not null,               -- 1 when a finding refuses it; never reviewed then
    created_at real not null
) strict;
create index examples_hash on examples (dataset_id, content_hash);
create index examples_person on examples (person_id, dataset_id, created_at);
create index examples_open on examples (dataset_id, refused_by_checks, id);
create index examples_cluster on examples (cluster_id);
create table findings (
    id integer primary key,
    example_id integer not null references examples(id),
    code text not null,                               -- a key of checks.RULES
    refuses integer not null,
    rule_version integer not null,
    evidence text not null,                           -- JSON: spans, the near-duplicate's id, a number against its limit
    sentence text not null
) strict;
create index findings_example on findings (example_id);
create index findings_code on findings (code);
create table signature_buckets (                      -- MinHash bands: examples in one bucket may be near-duplicates
    dataset_id integer not null,
    bucket integer not null,
    example_id integer not null references examples(id),
    primary key (dataset_id, bucket, example_id)
) strict, without rowid;
create table verdicts (
    id integer primary key,
    example_id integer not null references examples(id),
    reviewer_id integer not null references people(id),
    decision text not null check (decision in ('accept', 'return', 'reject')),
    reason text,                                      -- a key of reviews.REASONS; null only with accept
    note text not null default '',
    seconds real,
    at real not null,
    unique (example_id, reviewer_id)
) strict;
create index verdicts_reviewer on verdicts (reviewer_id, at);
create table draw_secret (                            -- decides which places of a queue are gold; one row, made once
    value blob not null
) strict;
create table gold_verdicts (                          -- verdicts on settled examples, shown to learn who judges well
    id integer primary key,
    example_id integer not null references examples(id),
    reviewer_id integer not null references people(id),
    decision text not null check (decision in ('accept', 'return', 'reject')),
    reason text,
    note text not null default '',
    seconds real,
    expected text not null check (expected in ('accept', 'return', 'reject')),
    at real not null,
    unique (example_id, reviewer_id)
) strict;
create index gold_verdicts_reviewer on gold_verdicts (reviewer_id, id);
create table gold_disputes (
    id integer primary key,
    gold_verdict_id integer not null unique references gold_verdicts(id),
    words text not null,
    at real not null,
    answered_by integer references people(id),
    answer text check (answer in ('upheld', 'struck')),
    answer_words text,
    answered_at real
) strict;
create table review_conflicts (                       -- a reviewer said that they had better not judge this one
    example_id integer not null references examples(id),
    reviewer_id integer not null references people(id),
    words text not null default '',
    at real not null,
    primary key (example_id, reviewer_id)
) strict, without rowid;
create table decisions (                              -- written in the transaction of the verdict that settles it
    id integer primary key,
    example_id integer not null references examples(id),
    decision text not null check (decision in ('accepted', 'returned', 'rejected')),
    by text not null check (by in ('review', 'appeal', 'deadline', 'import')),
    reason text,
    verdict_ids text not null,                        -- JSON list of the verdicts it was computed from
    at real not null
) strict;
create index decisions_example on decisions (example_id, id);
create table appeals (
    id integer primary key,
    example_id integer not null unique references examples(id),
    person_id integer not null references people(id),
    words text not null,
    at real not null,
    answered_by integer references people(id),
    answer text check (answer in ('upheld', 'overturned')),
    answer_words text,
    answered_at real
) strict;
create table withdrawals (
    example_id integer primary key references examples(id),
    person_id integer not null references people(id),
    reason text not null,
    at real not null
) strict;
create view example_states as
    select e.id as example_id, e.dataset_id, e.person_id, e.submission_id, e.cluster_id, e.created_at,
        case
            when w.example_id is not null then 'withdrawn'
            when e.refused_by_checks then 'refused'
            when d.decision is not null then d.decision
            else 'waiting'
        end as state,
        d.at as decided_at, d.reason as reason
    from examples e
    left join withdrawals w on w.example_id = e.id
    left join decisions d on d.id = (select max(id) from decisions where example_id = e.id);
create table dataset_versions (
    id integer primary key,
    dataset_id integer not null references datasets(id),
    number integer not null,
    root text not null,                               -- Merkle root over the rows, in order
    sorted_root text not null,                        -- the same over their hashes in ascending order: proves absence
    row_count integer not null,
    held_out_set_id integer references held_out_sets(id),
    policy_id integer not null references policies(id),
    note text not null default '',
    frozen_by integer not null references people(id),
    frozen_at real not null,
    unique (dataset_id, number)
) strict;
create table version_rows (
    version_id integer not null references dataset_versions(id),
    position integer not null,
    example_id integer not null references examples(id),
    content_hash text not null,
    primary key (version_id, position)
) strict, without rowid;
create index version_rows_example on version_rows (example_id);
