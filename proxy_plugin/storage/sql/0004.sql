CREATE TABLE clearings (
    batch_id TEXT NOT NULL,
    part INTEGER NOT NULL,
    slug TEXT NOT NULL,
    workspace TEXT NOT NULL,
    place BIGINT NOT NULL,
    state TEXT NOT NULL,
    stagings TEXT NOT NULL,
    sealed TEXT,
    since DOUBLE PRECISION,
    due_at DOUBLE PRECISION,
    tries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, part),
    FOREIGN KEY (batch_id, part) REFERENCES parts (batch_id, n)
);
CREATE INDEX clearings_due ON clearings (workspace, due_at, place, part) WHERE due_at IS NOT NULL;
CREATE INDEX clearings_by_due ON clearings (due_at) WHERE due_at IS NOT NULL;
