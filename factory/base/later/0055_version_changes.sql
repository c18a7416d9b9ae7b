create table version_changes (                        -- what two versions differ in: found once, as versions stay as they are
    older_id integer not null references dataset_versions(id),
    newer_id integer not null references dataset_versions(id),
    people text not null,                             -- JSON: [person's id, rows added, rows removed]
    rows text not null,                               -- JSON: [example's id, change] of the first thousand
    primary key (older_id, newer_id)
) strict, without rowid;
create table version_people (                         -- whose rows a version holds: counted once, when it is first asked
    version_id integer not null references dataset_versions(id),
    person_id integer not null references people(id),
    rows integer not null,
    primary key (version_id, person_id)
) strict, without rowid;
