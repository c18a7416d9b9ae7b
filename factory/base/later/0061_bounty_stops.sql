create table bounty_stops (                           -- bounties that somebody ended early: rows that come later are not paid
    bounty_id integer primary key references bounties(id),
    by_id integer not null references people(id),
    reason text not null,                             -- for everybody to read
    at real not null
) strict;
