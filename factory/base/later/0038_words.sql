create virtual table example_words using fts5 (words, content = '', detail = none, columnsize = 0);
create trigger examples_words after insert on examples when json_valid(new.content) begin insert into example_words (rowid, words) select new.id, 'indataset' || new.dataset_id || ' ' || coalesce(group_concat(json_extract(value, '$.content'), ' '), '') from json_each(new.content, '$.messages'); end;
insert into example_words (rowid, words)
    select e.id, 'indataset' || e.dataset_id || ' ' ||
        coalesce((select group_concat(json_extract(value, '$.content'), ' ') from json_each(e.content, '$.messages')), '')
    from examples e where json_valid(e.content) order by e.id;
