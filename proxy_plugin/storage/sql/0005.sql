ALTER TABLE parts ADD COLUMN way TEXT NOT NULL DEFAULT 'native';
ALTER TABLE parts ADD COLUMN requests BIGINT;
ALTER TABLE parts ADD COLUMN goes_on INTEGER;
ALTER TABLE parts ADD COLUMN rescue TEXT;
ALTER TABLE batches ADD COLUMN cached BIGINT NOT NULL DEFAULT 0;
CREATE TABLE kept_totals (
    workspace TEXT NOT NULL PRIMARY KEY,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE INDEX parts_rescued ON parts (slug) WHERE rescue IS NOT NULL;
CREATE INDEX parts_answered ON parts (state, slug, workspace, place, n) WHERE way = 'direct';
