create table drafts (                                 -- rows somebody prepares; theirs alone, counted nowhere, gone once sent
    id integer primary key,
    dataset_id integer not null references datasets(id),
    person_id integer not null references people(id),
    source text not null check (source in ('form', 'file', 'terminal', 'api')),
    file_name text,
    file_format text,
    note text not null default '',
    rules text not null default '',                   -- what its rows were judged by; another value: judge them again
    checked_at real,
    created_at real not null,
    changed_at real not null
) strict;
create index drafts_person on drafts (person_id, dataset_id, changed_at);
create index drafts_changed on drafts (changed_at);
create table draft_rows (
    draft_id integer not null references drafts(id),
    position integer not null,                        -- the row's place in the file, from 0
    proposed integer not null default 0,              -- 1: made from a document, and its author has not confirmed it
    dropped integer not null default 0,
    edited integer not null default 0,
    bytes integer not null default 0,                 -- of the canonical text
    own_refused integer not null default 0,
    state text not null default 'unchecked' check (state in ('unchecked', 'refused', 'hints', 'clean')),
    problem text,                                     -- why it could not be read
    place text,                                       -- JSON: where in the file it stands
    among text not null default '[]',                 -- JSON findings about the rows of the draft before it
    own text,                                         -- JSON findings that no other row of the draft has a part in
    raw text not null default '',
    messages text,                                    -- JSON list of turns, as they would be sent; null: unreadable
    primary key (draft_id, position)
) strict;
create index draft_rows_state on draft_rows (draft_id, dropped, state, proposed, edited, position);
