create table attributions (
    id integer primary key,
    adapter_id integer not null references adapters(id),
    evaluation_id integer not null references evaluations(id),
    method text not null,
    method_version integer not null,
    settings text not null,                           -- JSON: damping, sketch, seed, how many rows and tokens
    rows_root text not null,                          -- Merkle root over the hashes of its attribution_rows, by example_id
    seconds real not null, at real not null,
    unique (adapter_id, method, method_version)
) strict;
create table attribution_rows (
    attribution_id integer not null references attributions(id),
    example_id integer not null references examples(id),
    person_id integer not null references people(id), -- the payee: of near-duplicates, the author of the first accepted one
    value real not null,                              -- nats per held-out label token it took away; above zero helped
    error real not null,                              -- standard error of value
    hash text not null,                               -- sha-256 of the row, so that a changed one is found by name
    primary key (attribution_id, example_id)
) strict, without rowid;
create table attribution_people (                     -- sums over a person's rows: the error of a sum is not a sum of errors
    attribution_id integer not null references attributions(id),
    person_id integer not null references people(id),
    rows integer not null,
    value real not null,
    error real not null,
    primary key (attribution_id, person_id)
) strict, without rowid;
create table ledger_transactions (
    id integer primary key,
    kind text not null check (kind in ('pay', 'hold', 'counter')),
    formula text not null,                            -- JSON: rule, version, pool, interval, the rows it was computed from
    adapter_id integer references adapters(id),
    attribution_id integer references attributions(id),
    at real not null,
    previous_hash text not null,
    hash text not null unique                         -- sha-256 over this row, its entries and previous_hash
) strict;
create table ledger_entries (
    transaction_id integer not null references ledger_transactions(id),
    position integer not null,
    account text not null,                            -- 'pool' or 'person:ID'
    micro_credits integer not null,                   -- the entries of one transaction sum to zero
    primary key (transaction_id, position)
) strict, without rowid;
create index ledger_entries_account on ledger_entries (account);
create unique index ledger_once on ledger_transactions (attribution_id) where kind <> 'counter';
create index ledger_paid on ledger_transactions (json_extract(formula, '$.held_out_root'), id) where kind = 'pay';
