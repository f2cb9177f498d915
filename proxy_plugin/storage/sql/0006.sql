ALTER TABLE batches ADD COLUMN identity TEXT;
CREATE TABLE charges (
    batch_id TEXT NOT NULL PRIMARY KEY REFERENCES batches (id),
    key_hash TEXT NOT NULL,
    team_id TEXT,
    state TEXT NOT NULL,
    tokens BIGINT NOT NULL DEFAULT 0,
    cost DOUBLE PRECISION NOT NULL DEFAULT 0,
    report TEXT,
    due_at DOUBLE PRECISION,
    tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX charges_of_key ON charges (key_hash) WHERE state IN ('open', 'due');
CREATE INDEX charges_of_team ON charges (team_id) WHERE state IN ('open', 'due');
CREATE INDEX charges_due ON charges (due_at) WHERE due_at IS NOT NULL;
