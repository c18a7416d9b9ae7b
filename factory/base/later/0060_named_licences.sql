-- The licence that a column of a row names: a draft forgot it, so that only a submission without one looked at it.
alter table draft_rows add column given_under text not null default '';
