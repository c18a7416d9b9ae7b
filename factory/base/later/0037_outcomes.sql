create table half_lives (                             -- of a dataset's newest policy, in days
    dataset_id integer primary key,
    days real not null
) strict;
insert into half_lives
    select dataset_id, coalesce(json_extract(rules, '$.standing_half_life_days'), 365.0) from policies p
    where version = (select max(version) from policies where dataset_id = p.dataset_id);
create table outcomes (                               -- a person's cluster counts once: by its newest decided example
    person_id integer not null,
    cluster_id integer not null,
    dataset_id integer not null,
    accepted integer not null,
    day integer not null,                             -- of the decision, since 1970
    primary key (person_id, cluster_id)
) strict, without rowid;
create table outcome_days (                           -- the same, counted by day
    dataset_id integer not null,
    person_id integer not null,
    day integer not null,
    accepted integer not null,
    clusters integer not null,
    primary key (dataset_id, person_id, day, accepted)
) strict, without rowid;
create index outcome_days_person on outcome_days (person_id, day);
create table standings (                              -- the same, summed, each faded by its age on `day`
    dataset_id integer not null,
    person_id integer not null,
    day integer not null,                             -- of the newest outcome
    accepted integer not null,
    decided integer not null,
    good real not null,
    weight real not null,
    primary key (dataset_id, person_id)
) strict, without rowid;
create index standings_person on standings (person_id);
create trigger outcomes_came after insert on outcomes begin insert into outcome_days values (new.dataset_id, new.person_id, new.day, new.accepted, 1) on conflict do update set clusters = clusters + 1; insert into standings values (new.dataset_id, new.person_id, new.day, 0, 0, 0.0, 0.0) on conflict do nothing; update standings set day = max(day, new.day), accepted = accepted + new.accepted, decided = decided + 1, good = good * fade(max(new.day - day, 0), (select days from half_lives where dataset_id = new.dataset_id)) + new.accepted * fade(max(day - new.day, 0), (select days from half_lives where dataset_id = new.dataset_id)), weight = weight * fade(max(new.day - day, 0), (select days from half_lives where dataset_id = new.dataset_id)) + fade(max(day - new.day, 0), (select days from half_lives where dataset_id = new.dataset_id)) where dataset_id = new.dataset_id and person_id = new.person_id; end;
create trigger outcomes_went after delete on outcomes begin update outcome_days set clusters = clusters - 1 where dataset_id = old.dataset_id and person_id = old.person_id and day = old.day and accepted = old.accepted; update standings set accepted = accepted - old.accepted, decided = decided - 1, good = case when accepted = old.accepted then 0.0 else good - old.accepted * fade(day - old.day, (select days from half_lives where dataset_id = old.dataset_id)) end, weight = case when decided = 1 then 0.0 else weight - fade(day - old.day, (select days from half_lives where dataset_id = old.dataset_id)) end where dataset_id = old.dataset_id and person_id = old.person_id; end;
insert into outcomes
    select person_id, cluster_id, dataset_id, decision = 'accepted', cast(decided_at / 86400 as integer)
    from (select *, row_number() over (partition by person_id, cluster_id order by example_id desc) as place from states
        where decision <> 'returned')
    where place = 1 order by decided_at;
create trigger states_outcome after update of decision, decided_at on states when new.decision is not null begin delete from outcomes where person_id = new.person_id and cluster_id = new.cluster_id; insert into outcomes select person_id, cluster_id, dataset_id, decision = 'accepted', cast(decided_at / 86400 as integer) from states where cluster_id = new.cluster_id and person_id = new.person_id and decision <> 'returned' order by example_id desc limit 1; end;
create trigger policies_half_life after insert on policies begin insert into half_lives values (new.dataset_id, coalesce(json_extract(new.rules, '$.standing_half_life_days'), 365.0)) on conflict do update set days = excluded.days; update standings set (good, weight) = (select coalesce(sum(o.clusters * o.accepted * fade(standings.day - o.day, (select days from half_lives where dataset_id = new.dataset_id))), 0.0), coalesce(sum(o.clusters * fade(standings.day - o.day, (select days from half_lives where dataset_id = new.dataset_id))), 0.0) from outcome_days o where o.dataset_id = standings.dataset_id and o.person_id = standings.person_id) where dataset_id = new.dataset_id; end;
