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
create table forgetting (                             -- base against tuned on the neutral text that ships with the program
    evaluation_id integer primary key references evaluations(id),
    text_hash text not null,                          -- sha-256 of its passages
    chunk_count integer not null,
    tokens integer not null,
    base_loss real not null,                          -- mean negative log-likelihood per token, nats
    tuned_loss real not null,
    difference real not null,                         -- tuned minus base; above zero was forgotten
    low real not null,                                -- 95% paired bootstrap interval over the passages
    high real not null
) strict;
create table forgetting_chunks (
    evaluation_id integer not null references forgetting(evaluation_id),
    position integer not null,
    tokens integer not null,
    base_loss real not null,                          -- summed over the passage's tokens, nats
    tuned_loss real not null,
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
create table reproductions (
    run_id integer primary key references runs(id),   -- the run that trains anew
    original_run_id integer not null references runs(id),
    person_id integer not null references people(id),
    asked_at real not null,
    verdict text check (verdict in ('identical', 'near', 'different')),
    findings text,                                    -- JSON: differences measured, and what differs in the manifests
    compared_at real
) strict;
create index reproductions_original on reproductions (original_run_id, run_id);
