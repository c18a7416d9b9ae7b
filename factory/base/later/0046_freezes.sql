create table freezes (                                -- credits held while something is examined
    id integer primary key,
    person_id integer references people(id),          -- what the person has, and what is paid to them meanwhile
    adapter_id integer references adapters(id),       -- or all that was and is paid for an adapter
    reason text not null,                             -- for everybody to read
    by_id integer not null references people(id),
    at real not null,
    ends_at real not null,                            -- released by itself then
    check ((person_id is null) <> (adapter_id is null))
) strict;
create index freezes_person on freezes (person_id);
create index freezes_adapter on freezes (adapter_id);
create table freeze_ends (
    freeze_id integer primary key references freezes(id),
    outcome text not null check (outcome in ('released', 'taken back')),
    by_id integer references people(id),              -- null: its end date came
    reason text not null,
    at real not null
) strict;
create temp table kept_transactions as select * from ledger_transactions;
create temp table kept_entries as select * from ledger_entries;
drop table ledger_entries;
drop table ledger_transactions;
create table ledger_transactions (
    id integer primary key,
    kind text not null,                               -- pay, hold, counter, freeze, release, take_back; verify knows each rule
    formula text not null,                            -- JSON: rule, version, pool, interval, the rows it was computed from
    adapter_id integer references adapters(id),
    attribution_id integer references attributions(id),
    at real not null,
    previous_hash text not null,
    hash text not null unique                         -- sha-256 over this row, its entries and previous_hash
) strict;
create table ledger_entries (
    transaction_id integer not null references ledger_transactions(id),
    position integer not null,
    account text not null,                            -- 'pool', 'person:ID' or 'held:ID', which is that person's while held
    micro_credits integer not null,                   -- the entries of one transaction sum to zero
    primary key (transaction_id, position)
) strict, without rowid;
insert into ledger_transactions select * from kept_transactions order by id;
insert into ledger_entries select * from kept_entries order by transaction_id, position;
drop table kept_transactions;
drop table kept_entries;
create index ledger_entries_account on ledger_entries (account);
create unique index ledger_once on ledger_transactions (attribution_id) where kind in ('pay', 'hold');
create index ledger_paid on ledger_transactions (json_extract(formula, '$.held_out_root'), id) where kind = 'pay';
create index ledger_of_freeze on ledger_transactions (json_extract(formula, '$.freeze_id'))
    where kind in ('freeze', 'release', 'take_back');
create index ledger_of_adapter on ledger_transactions (adapter_id);
create trigger ledger_entries_earned after insert on ledger_entries when new.account glob 'person:*' begin insert into earnings select v.dataset_id, cast(substr(new.account, 8) as integer), new.micro_credits from ledger_transactions t join adapters a on a.id = t.adapter_id join runs r on r.id = a.run_id join dataset_versions v on v.id = r.version_id where t.id = new.transaction_id on conflict do update set micro_credits = micro_credits + excluded.micro_credits; end;
create trigger ledger_transactions_refuses_update before update on ledger_transactions begin select raise(abort, 'ledger_transactions is append-only'); end;
create trigger ledger_transactions_refuses_delete before delete on ledger_transactions begin select raise(abort, 'ledger_transactions is append-only'); end;
create trigger ledger_entries_refuses_update before update on ledger_entries begin select raise(abort, 'ledger_entries is append-only'); end;
create trigger ledger_entries_refuses_delete before delete on ledger_entries begin select raise(abort, 'ledger_entries is append-only'); end;
alter table policies add column reason text not null default '';
