create table meaning_codes (                          -- three buckets an example: what says the same falls into one of them
    dataset_id integer not null,
    bucket integer not null,
    example_id integer not null references examples(id),
    code integer not null,                            -- on which side of 64 planes its vector lies
    primary key (dataset_id, bucket, example_id)
) strict, without rowid;
create table meaning_reached (                        -- up to which example a dataset's codes are written, and by which model
    dataset_id integer primary key references datasets(id),
    model text not null,
    example_id integer not null
) strict;
