ALTER TABLE parts ADD COLUMN way TEXT NOT NULL DEFAULT 'native';
ALTER TABLE parts ADD COLUMN requests BIGINT;
ALTER TABLE parts ADD COLUMN goes_on INTEGER;
ALTER TABLE parts ADD COLUMN rescue TEXT;
ALTER TABLE batches ADD COLUMN cached BIGINT NOT NULL DEFAULT 0;
CREATE INDEX parts_rescued ON parts (slug) WHERE rescue IS NOT NULL;
CREATE INDEX parts_answered ON parts (state, slug, workspace, place, n) WHERE way = 'direct';
