create table states (                                 -- where each example stands; only triggers write it, with what it tells
    example_id integer primary key references examples(id),
    dataset_id integer not null,
    person_id integer not null,
    submission_id integer not null,
    cluster_id integer not null,
    created_at real not null,
    state text not null,                              -- waiting, accepted, returned, rejected, refused or withdrawn
    decision text,                                    -- the newest one
    reason text,
    decided_at real
) strict;
insert into states
    select e.id, e.dataset_id, e.person_id, e.submission_id, e.cluster_id, e.created_at, s.state, d.decision, d.reason, d.at
    from examples e join example_states s on s.example_id = e.id
    left join decisions d on d.id = (select max(id) from decisions where example_id = e.id);
create index states_dataset on states (dataset_id);
create index states_state on states (dataset_id, state);
create index states_person on states (person_id, dataset_id, state);
create index states_cluster on states (cluster_id, person_id);
create trigger examples_state after insert on examples begin insert into states (example_id, dataset_id, person_id, submission_id, cluster_id, created_at, state) values (new.id, new.dataset_id, new.person_id, new.submission_id, new.cluster_id, new.created_at, case when new.refused_by_checks then 'refused' else 'waiting' end); end;
create trigger decisions_state after insert on decisions begin update states set decision = new.decision, reason = new.reason, decided_at = new.at, state = case when state in ('withdrawn', 'refused') then state else new.decision end where example_id = new.example_id; end;
create trigger withdrawals_state after insert on withdrawals begin update states set state = 'withdrawn' where example_id = new.example_id; end;
drop view example_states;
create view example_states as
    select example_id, dataset_id, person_id, submission_id, cluster_id, created_at, state, decided_at, reason from states;
create index verdicts_newest on verdicts (reviewer_id, id);
create index examples_superseded on examples (supersedes) where supersedes is not null;
create index submissions_dataset on submissions (dataset_id, person_id);
create index review_conflicts_reviewer on review_conflicts (reviewer_id);
