-- The sentence its giver ticked; null for what came before it was kept, and for imports.
alter table submissions add column attested text
