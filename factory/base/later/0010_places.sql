create table example_places (                         -- where in a file a row was found, as its contributor confirmed it
    example_id integer primary key references examples(id),
    file text not null,                               -- its name; what is inside an archive follows after " › "
    unit text not null check (unit in ('line', 'row', 'paragraph', 'page')),
    first integer not null,                           -- of these, counted from 1
    last integer not null,
    start integer,                                    -- characters of the document's text; null for rows of tables
    end integer,
    passage text not null                             -- what stands there, at most 4,000 characters
) strict;
