create table tallies (                                -- how much of each person is in each state; kept by triggers
    dataset_id integer not null,
    person_id integer not null,
    submitted integer not null default 0,
    waiting integer not null default 0,
    accepted integer not null default 0,
    returned integer not null default 0,
    rejected integer not null default 0,
    refused integer not null default 0,
    withdrawn integer not null default 0,
    last_at real not null default 0,
    primary key (dataset_id, person_id)
) strict, without rowid;
insert into tallies
    select dataset_id, person_id, count(*), sum(state = 'waiting'), sum(state = 'accepted'), sum(state = 'returned'),
        sum(state = 'rejected'), sum(state = 'refused'), sum(state = 'withdrawn'), max(created_at)
    from states group by dataset_id, person_id;
create index tallies_person on tallies (person_id);
create trigger states_tally after insert on states begin insert into tallies (dataset_id, person_id) values (new.dataset_id, new.person_id) on conflict do nothing; update tallies set submitted = submitted + 1, waiting = waiting + (new.state = 'waiting'), refused = refused + (new.state = 'refused'), last_at = max(last_at, new.created_at) where dataset_id = new.dataset_id and person_id = new.person_id; end;
create trigger states_tally_change after update of state on states when new.state <> old.state begin update tallies set waiting = waiting + (new.state = 'waiting') - (old.state = 'waiting'), accepted = accepted + (new.state = 'accepted') - (old.state = 'accepted'), returned = returned + (new.state = 'returned') - (old.state = 'returned'), rejected = rejected + (new.state = 'rejected') - (old.state = 'rejected'), refused = refused + (new.state = 'refused') - (old.state = 'refused'), withdrawn = withdrawn + (new.state = 'withdrawn') - (old.state = 'withdrawn') where dataset_id = new.dataset_id and person_id = new.person_id; end;
create table decided_days (                           -- what was decided each day (UTC), by each example's newest decision
    dataset_id integer not null,
    day integer not null,                             -- since 1970
    decision text not null,
    examples integer not null,
    primary key (dataset_id, day, decision)
) strict, without rowid;
insert into decided_days
    select dataset_id, cast(decided_at / 86400 as integer), decision, count(*) from states where decision is not null
    group by 1, 2, 3;
create trigger states_decided after update of decision, decided_at on states when new.decision is not null begin update decided_days set examples = examples - 1 where dataset_id = old.dataset_id and day = cast(old.decided_at / 86400 as integer) and decision = old.decision; insert into decided_days values (new.dataset_id, cast(new.decided_at / 86400 as integer), new.decision, 1) on conflict do update set examples = examples + 1; end;
create table turned_down (                            -- why examples are rejected or returned at present
    dataset_id integer not null,
    state text not null,
    reason text not null,                             -- '' where none was given
    examples integer not null,
    primary key (dataset_id, state, reason)
) strict, without rowid;
insert into turned_down
    select dataset_id, state, coalesce(reason, ''), count(*) from states where state in ('rejected', 'returned') group by 1, 2, 3;
create trigger states_turned after update of state, reason on states begin update turned_down set examples = examples - 1 where dataset_id = old.dataset_id and state = old.state and reason = coalesce(old.reason, ''); insert into turned_down select new.dataset_id, new.state, coalesce(new.reason, ''), 1 where new.state in ('rejected', 'returned') on conflict do update set examples = examples + 1; end;
create table refused_by_rule (                        -- how many examples of each person each rule refused
    dataset_id integer not null,
    code text not null,
    person_id integer not null,
    examples integer not null,
    primary key (dataset_id, code, person_id)
) strict, without rowid;
insert into refused_by_rule
    select e.dataset_id, f.code, e.person_id, count(distinct e.id) from findings f join examples e on e.id = f.example_id
    where f.refuses group by 1, 2, 3;
create trigger findings_tally after insert on findings when new.refuses and not exists (select 1 from findings f where f.example_id = new.example_id and f.code = new.code and f.refuses and f.id < new.id) begin insert into refused_by_rule select dataset_id, new.code, person_id, 1 from examples where id = new.example_id on conflict do update set examples = examples + 1; end;
create table earnings (                               -- micro-credits a person earned from adapters of a dataset
    dataset_id integer not null,
    person_id integer not null,
    micro_credits integer not null,
    primary key (dataset_id, person_id)
) strict, without rowid;
insert into earnings
    select v.dataset_id, cast(substr(e.account, 8) as integer), sum(e.micro_credits)
    from ledger_entries e join ledger_transactions t on t.id = e.transaction_id join adapters a on a.id = t.adapter_id
    join runs r on r.id = a.run_id join dataset_versions v on v.id = r.version_id where e.account <> 'pool' group by 1, 2;
create trigger ledger_entries_earned after insert on ledger_entries when new.account <> 'pool' begin insert into earnings select v.dataset_id, cast(substr(new.account, 8) as integer), new.micro_credits from ledger_transactions t join adapters a on a.id = t.adapter_id join runs r on r.id = a.run_id join dataset_versions v on v.id = r.version_id where t.id = new.transaction_id on conflict do update set micro_credits = micro_credits + excluded.micro_credits; end;
