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
