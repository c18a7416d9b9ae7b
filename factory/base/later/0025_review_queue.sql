create table waiting_examples (                       -- what waits for review and nothing else; kept by the triggers below
    example_id integer primary key references examples(id),
    dataset_id integer not null references datasets(id),
    person_id integer not null references people(id),
    cluster_id integer not null,
    verdicts integer not null default 0,
    likeness real not null default 0,                 -- to the nearest that a check named, rounded to quarters
    since real not null
) strict;
create index waiting_next on waiting_examples (dataset_id, verdicts desc, likeness, example_id);
create index waiting_since on waiting_examples (dataset_id, since);
create trigger waiting_begins after insert on examples when new.refused_by_checks = 0 begin insert into waiting_examples (example_id, dataset_id, person_id, cluster_id, since) values (new.id, new.dataset_id, new.person_id, new.cluster_id, new.created_at); end;
create trigger waiting_is_like after insert on findings when json_extract(new.evidence, '$.jaccard') is not null begin update waiting_examples set likeness = max(likeness, round(json_extract(new.evidence, '$.jaccard') * 4) / 4.0) where example_id = new.example_id; end;
create trigger waiting_is_judged after insert on verdicts begin update waiting_examples set verdicts = verdicts + 1 where example_id = new.example_id; end;
create trigger waiting_is_decided after insert on decisions begin delete from waiting_examples where example_id = new.example_id; end;
create trigger waiting_is_withdrawn after insert on withdrawals begin delete from waiting_examples where example_id = new.example_id; end;
insert into waiting_examples (example_id, dataset_id, person_id, cluster_id, verdicts, since)
    select s.example_id, s.dataset_id, s.person_id, s.cluster_id,
        (select count(*) from verdicts v where v.example_id = s.example_id), s.created_at
    from example_states s where s.state = 'waiting';
create table review_pairs (                           -- how often a reviewer took what an author offered, gold included
    reviewer_id integer not null references people(id),
    author_id integer not null references people(id),
    accepted integer not null,
    judged integer not null,
    primary key (reviewer_id, author_id)
) strict, without rowid;
create index review_pairs_author on review_pairs (author_id, reviewer_id);
create trigger pairs_count_verdicts after insert on verdicts begin insert into review_pairs (reviewer_id, author_id, accepted, judged) select new.reviewer_id, person_id, new.decision = 'accept', 1 from examples where id = new.example_id on conflict do update set accepted = accepted + excluded.accepted, judged = judged + 1; end;
create trigger pairs_count_gold after insert on gold_verdicts begin insert into review_pairs (reviewer_id, author_id, accepted, judged) select new.reviewer_id, person_id, new.decision = 'accept', 1 from examples where id = new.example_id on conflict do update set accepted = accepted + excluded.accepted, judged = judged + 1; end;
insert into review_pairs (reviewer_id, author_id, accepted, judged)
    select said.reviewer_id, e.person_id, sum(said.decision = 'accept'), count(*)
    from (select reviewer_id, example_id, decision from verdicts
        union all select reviewer_id, example_id, decision from gold_verdicts) said
    join examples e on e.id = said.example_id group by 1, 2;
create index examples_cluster_person on examples (cluster_id, person_id);
create index examples_repeating on examples (person_id, cluster_id) where cluster_id <> id;
create index appeals_open on appeals (example_id) where answer is null;
create index gold_disputes_open on gold_disputes (gold_verdict_id) where answer is null;
create index gold_verdicts_example on gold_verdicts (example_id);
