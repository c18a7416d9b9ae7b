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
    starts_from integer references runs(id),          -- the run whose last checkpoint it begins with: an extension
    priority integer not null default 0,              -- higher first; among equals, queue_order
    queue_order real not null,
    not_before real,                                  -- while queued: not started before this moment
    queued_at real not null,
    started_at real,
    claimed_at real,                                  -- when the process that has it, or had it last, took it
    ended_at real,
    heartbeat_at real,
    moved_at real,                                    -- when it last got further: a step, a stage, a part of a stage
    pid integer,
    pid_started real,                                 -- the process's own start time: a reused pid is another one
    token text,                                       -- of the one process that may write for this run
    wish text check (wish in ('stop', 'pause', 'yield')),  -- what a person asked for; the loop reads it
    attempts integer not null default 0,              -- how many processes have taken it
    retries integer not null default 0,               -- put back without a hand, since it last got further
    broke_at text,                                    -- JSON [stage, step]: where the last process was lost
    steps_total integer,
    steps_done integer not null default 0,
    error text
) strict;
create index runs_status on runs (status, queue_order);
create table run_sources (
    run_id integer not null references runs(id),
    position integer not null,                        -- 0 is runs.version_id, whose held-out set is measured on
    version_id integer not null references dataset_versions(id),
    weight real not null check (weight > 0),          -- how often its rows come in an epoch
    primary key (run_id, position),
    unique (run_id, version_id)
) strict, without rowid;
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
create table samples (
    run_id integer not null references runs(id),
    step integer not null,
    position integer not null,                        -- which of the run's questions
    prompt text not null,
    answer text not null,
    cut integer not null check (cut in (0, 1)),       -- whether it would have gone on
    seconds real not null,                            -- its share of the time this round of answers took
    at real not null,
    primary key (run_id, step, position)
) strict, without rowid;
create table preflights (                             -- the longest packs of a choice, tried for real
    id integer primary key,
    person_id integer not null references people(id),
    version_id integer not null references dataset_versions(id),
    version_root text not null,
    model_hash text not null,
    cost_hash text not null,                          -- of the recipe's settings that cost memory or time
    recipe text not null,                             -- JSON of recipes.Recipe, complete
    machine text not null,                            -- JSON: what has to be the same for it to hold
    measured text not null,                           -- JSON: memory, seconds of packs, what else was seen
    at real not null
) strict;
create index preflights_model on preflights (model_hash, machine, at);
create table presets (
    name text primary key,
    recipe text not null,                             -- JSON of recipes.Recipe, complete
    words text not null,                              -- where it comes from
    person_id integer not null references people(id),
    at real not null
) strict;
create table searches (
    id integer primary key,
    name text not null,
    person_id integer not null references people(id),
    version_id integer not null references dataset_versions(id),
    recipe text not null,                             -- JSON of recipes.Recipe: what every trial starts from
    plan text not null,                               -- JSON of searches.Plan: what is varied, how, and how long
    status text not null check (status in ('running', 'stopped', 'failed', 'done')),
    words text not null,                              -- why it is in that state
    at real not null,
    ended_at real
) strict;
create table search_trials (
    search_id integer not null references searches(id),
    number integer not null,
    settings text not null,                           -- JSON: setting → value, what this trial changes in the recipe
    run_id integer not null unique references runs(id),
    status text not null check (status in ('running', 'done', 'pruned', 'stopped', 'failed')),
    value real,                                       -- lowest held-out loss, once the trial is done
    words text not null,
    primary key (search_id, number)
) strict, without rowid;
