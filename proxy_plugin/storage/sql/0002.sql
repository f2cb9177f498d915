ALTER TABLE parts ADD COLUMN cut TEXT;

ALTER TABLE batches ADD COLUMN suspects TEXT;

CREATE INDEX parts_cut ON parts (batch_id) WHERE cut IS NOT NULL;
