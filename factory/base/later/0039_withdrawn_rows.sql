create table withdrawn_rows (                         -- rows of frozen versions that were withdrawn; kept by triggers
    version_id integer not null references dataset_versions(id),
    example_id integer not null references examples(id),
    primary key (version_id, example_id)
) strict, without rowid;
insert into withdrawn_rows
    select r.version_id, r.example_id from withdrawals w cross join version_rows r on r.example_id = w.example_id;
create trigger withdrawals_rows after insert on withdrawals begin insert or ignore into withdrawn_rows select version_id, new.example_id from version_rows where example_id = new.example_id; end;
create trigger version_rows_withdrawn after insert on version_rows when exists (select 1 from withdrawals where example_id = new.example_id) begin insert or ignore into withdrawn_rows values (new.version_id, new.example_id); end;
