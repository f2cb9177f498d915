CREATE TABLE waits (
    batch_id TEXT NOT NULL REFERENCES batches (id),
    part INTEGER NOT NULL,
    slug TEXT NOT NULL,
    reason TEXT NOT NULL,
    rank INTEGER NOT NULL,
    code TEXT NOT NULL,
    said TEXT NOT NULL,
    detail TEXT NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    next_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (batch_id, part)
);
CREATE INDEX waits_by_rank ON waits (batch_id, rank, since);

ALTER TABLE parts ADD COLUMN cut TEXT;

ALTER TABLE batches ADD COLUMN suspects TEXT;

CREATE INDEX parts_cut ON parts (batch_id) WHERE cut IS NOT NULL;
