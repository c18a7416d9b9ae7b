create table pot_gifts (                              -- credits that somebody gave to a dataset, for bounties on its topics
    id integer primary key,
    dataset_id integer not null references datasets(id),
    person_id integer not null references people(id),
    micro_credits integer not null check (micro_credits > 0),
    at real not null
) strict;
create index pot_gifts_dataset on pot_gifts (dataset_id);
create table bounties (                               -- credits promised for accepted rows of a topic; a promise is not changed
    id integer primary key,
    dataset_id integer not null references datasets(id),
    map_id integer not null references topic_maps(id),
    topic integer not null,
    opened_by integer not null references people(id),
    payer text not null,                              -- 'person:ID' or 'pot:DATASET': where it came from and flows back to
    row_count integer not null check (row_count > 0),
    each_micro_credits integer not null check (each_micro_credits > 0),
    most_per_person integer not null check (most_per_person > 0),
    stands_days real not null,                        -- how long an acceptance has to stand before it is paid
    words text not null,                              -- what is wished, for everybody to read
    after_example_id integer not null,                -- only rows that came later count
    opened_at real not null,
    ends_at real not null
) strict;
create index bounties_dataset on bounties (dataset_id, id);
create table bounty_rows (                            -- accepted rows that a bounty looked at, each once
    bounty_id integer not null references bounties(id),
    example_id integer not null references examples(id),
    likeness real not null,                           -- cosine to the middle of the topic that is nearest
    fits integer not null,                            -- 1: that topic is the bounty's, and the row is no farther out than nine of ten
    at real not null,
    primary key (bounty_id, example_id)
) strict, without rowid;
create table bounty_ends (
    bounty_id integer primary key references bounties(id),
    reason text not null check (reason in ('paid out', 'its date came')),
    at real not null
) strict;
create unique index ledger_rewards on ledger_transactions (json_extract(formula, '$.example_id')) where kind = 'reward';
create index ledger_of_bounty on ledger_transactions (json_extract(formula, '$.bounty_id')) where kind = 'reward';
