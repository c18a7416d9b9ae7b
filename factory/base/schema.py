"""Every table of the program, as migrations that are never edited once landed.

Moments are seconds since 1970 (UTC) in columns ending in `_at`. Content that must stay as it was is guarded by
triggers, so that not even a bug can rewrite it. `docs/schema.md` is printed from here.
"""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("factory")

PEOPLE = """
create table people (
    id integer primary key,
    name text not null collate nocase unique,         -- what one types to sign in
    display_name text not null,
    email text,
    password_hash text,                               -- argon2id; null: signs in another way
    oidc_subject text unique,
    is_demo integer not null default 0,               -- invented by the program, and labelled so wherever shown
    session_epoch integer not null default 0,         -- raised to sign out everywhere
    created_at real not null,
    disabled_at real
) strict;
create table roles (
    person_id integer not null references people(id),
    role text not null check (role in ('contributor', 'reviewer', 'curator', 'builder', 'admin')),
    granted_by integer references people(id),
    granted_at real not null,
    primary key (person_id, role)
) strict, without rowid;
create table tokens (
    id integer primary key,
    person_id integer not null references people(id),
    name text not null,
    token_hash text not null unique,                  -- sha-256; the token itself is shown once
    created_at real not null,
    expires_at real not null,
    last_used_at real,
    revoked_at real
) strict;
create table sign_in_links (
    token_hash text primary key,
    person_id integer not null references people(id),
    created_at real not null,
    expires_at real not null,
    used_at real
) strict, without rowid;
create table sign_in_attempts (
    id integer primary key,
    name text not null collate nocase,
    address text not null,
    at real not null,
    succeeded integer not null
) strict;
create index sign_in_attempts_name on sign_in_attempts (name, at);
create index sign_in_attempts_address on sign_in_attempts (address, at);
"""

INTAKE = """
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
    source text not null check (source in ('form', 'file', 'terminal', 'api')),
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
create table decisions (                              -- written in the transaction of the verdict that settles it
    id integer primary key,
    example_id integer not null references examples(id),
    decision text not null check (decision in ('accepted', 'returned', 'rejected')),
    by text not null check (by in ('review', 'appeal')),
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
"""

TRAINING = """
create table runs (
    id integer primary key,
    name text not null,
    person_id integer not null references people(id),
    status text not null check (status in
        ('queued', 'running', 'paused', 'stopped', 'interrupted', 'failed', 'cancelled', 'done')),
    stage text not null default 'train',              -- while running: the stage of the line it is in
    recipe text not null,                             -- JSON of recipes.Recipe, complete
    version_id integer not null references dataset_versions(id),
    version_root text not null,
    held_out_root text,
    model_name text not null,
    model_hash text not null,
    manifest text not null,                           -- JSON: library versions, threads, device, template fingerprint
    estimate text not null,                           -- JSON of estimate.Estimate, as predicted before the start
    measured text,                                    -- JSON, the same keys as measured at the end
    parent_run_id integer references runs(id),
    folder text not null,                             -- relative to the runs folder
    queue_order real not null,
    queued_at real not null,
    started_at real,
    ended_at real,
    heartbeat_at real,
    pid integer,
    pid_started real,                                 -- the process's own start time: a reused pid is another one
    token text,                                       -- of the one process that may write for this run
    wish text check (wish in ('stop', 'pause')),      -- what a person asked for; the loop reads it
    steps_total integer,
    steps_done integer not null default 0,
    error text
) strict;
create index runs_status on runs (status, queue_order);
create table metrics (
    run_id integer not null references runs(id),
    name text not null,
    step integer not null,
    value real not null,
    at real not null,
    primary key (run_id, name, step)
) strict, without rowid;
create table run_events (
    id integer primary key,
    run_id integer not null references runs(id),
    at real not null,
    kind text not null,
    words text not null
) strict;
create index run_events_run on run_events (run_id, id);
"""

ADAPTERS = """
create table adapters (
    id integer primary key,
    run_id integer not null unique references runs(id),
    name text not null,
    folder text not null,                             -- relative to the adapters folder; named by the hash
    sha256 text not null,                             -- of adapter_model.safetensors
    template_hash text not null,                      -- the chat template it was trained with, enforced in chat and export
    step integer not null,                            -- the optimizer step these weights are from
    bytes integer not null,
    kept_at real not null
) strict;
create table evaluations (
    id integer primary key,
    adapter_id integer not null references adapters(id),
    held_out_root text not null,
    row_count integer not null,
    label_tokens integer not null,
    base_loss real not null,                          -- mean negative log-likelihood per label token, nats
    tuned_loss real not null,
    difference real not null,                         -- tuned minus base; below zero is better
    low real not null,                                -- 95% paired bootstrap interval of the difference
    high real not null,
    method text not null,
    seconds real not null,
    at real not null
) strict;
create index evaluations_adapter on evaluations (adapter_id, id);
create table evaluation_rows (
    evaluation_id integer not null references evaluations(id),
    position integer not null,
    label_tokens integer not null,
    base_loss real not null,                          -- summed over the row's label tokens, nats
    tuned_loss real not null,
    primary key (evaluation_id, position)
) strict, without rowid;
create table generations (
    evaluation_id integer not null references evaluations(id),
    position integer not null,
    prompt text not null,
    expected text not null,
    base_text text not null,
    tuned_text text not null,
    primary key (evaluation_id, position)
) strict, without rowid;
create table exports (
    id integer primary key,
    adapter_id integer not null references adapters(id),
    kind text not null,
    file text not null,                               -- relative to the exports folder
    sha256 text not null,
    bytes integer not null,
    verified integer not null,                        -- loaded back, the same greedy tokens
    person_id integer not null references people(id),
    at real not null
) strict;
"""

CREDIT = """
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
"""

UNCHANGING = (
    *("policies", "held_out_sets", "held_out_rows", "submissions", "examples", "findings", "verdicts", "decisions"),
    *("withdrawals", "dataset_versions", "version_rows", "metrics", "evaluations", "evaluation_rows", "generations"),
    *("attributions", "attribution_rows", "attribution_people", "ledger_transactions", "ledger_entries"),
)


@MIGRATIONS()
def first_version(db: Database) -> None:
    """Every table of the first version, and the triggers that keep the append-only ones so."""
    for script in (PEOPLE, INTAKE, TRAINING, ADAPTERS, CREDIT):
        for statement in script.split(";\n"):
            if statement.strip():
                db.execute(statement)
    for table in UNCHANGING:
        for verb in ("update", "delete"):
            db.execute(
                f"create trigger {table}_refuses_{verb} before {verb} on {table} "
                f"begin select raise(abort, '{table} is append-only'); end"
            )


VERSION = len(MIGRATIONS._migrations)
