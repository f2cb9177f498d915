CREATE TABLE claims (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    n BIGINT NOT NULL,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (kind, id, n)
);
CREATE INDEX claims_by_holder ON claims (holder);
CREATE INDEX claims_by_end ON claims (until);

CREATE TABLE replicas (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL,
    gone_at DOUBLE PRECISION
);

CREATE TABLE holds (
    account TEXT NOT NULL PRIMARY KEY,
    until DOUBLE PRECISION NOT NULL
);

ALTER TABLE submissions ADD COLUMN sender TEXT;
ALTER TABLE parts ADD COLUMN held_until DOUBLE PRECISION;
