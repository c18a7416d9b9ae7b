create table topic_maps (                             -- what a version's rows are about; of a dataset the newest counts
    id integer primary key,
    dataset_id integer not null references datasets(id),
    version_id integer not null references dataset_versions(id),
    held_out_set_id integer references held_out_sets(id),  -- the set that was laid onto it
    model text not null,                              -- name and version of the vectors' model
    method text not null,                             -- how groups and places were found
    row_count integer not null,
    point_count integer not null,                     -- rows that were drawn: all, or a fair sample
    seconds real not null,
    made_at real not null
) strict;
create index topic_maps_dataset on topic_maps (dataset_id, id);
create table topics (
    map_id integer not null references topic_maps(id),
    number integer not null,
    words text not null,                              -- JSON list: the most telling ones first, of accepted rows only
    rows integer not null,
    people integer not null,
    centroid blob not null,                           -- 256 float32, little-endian, of length 1
    closeness real not null,                          -- cosine to the centroid that nine of ten of its rows reach
    x real not null,
    y real not null,
    primary key (map_id, number)
) strict;
create table topic_points (
    map_id integer not null references topic_maps(id),
    example_id integer not null references examples(id),
    number integer not null,
    likeness real not null,                           -- cosine to the topic's centroid
    x real not null,
    y real not null,
    primary key (map_id, example_id)
) strict, without rowid;
create index topic_points_topic on topic_points (map_id, number, likeness);
create table topic_questions (                        -- where held-out rows fall; leaves the house only summed over five or more
    map_id integer not null references topic_maps(id),
    position integer not null,                        -- in the map's held-out set
    number integer,                                   -- null: near no topic
    primary key (map_id, position)
) strict, without rowid;
