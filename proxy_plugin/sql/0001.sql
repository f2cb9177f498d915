CREATE TABLE workspaces (
    name TEXT PRIMARY KEY,
    bytes BIGINT NOT NULL
);

CREATE TABLE files (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    state TEXT NOT NULL,
    facts TEXT,
    hidden_at BIGINT,
    removed_at BIGINT,
    due_at DOUBLE PRECISION,
    tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX files_by_workspace ON files (workspace, seq);
CREATE INDEX files_by_due ON files (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE batches (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    caller TEXT NOT NULL,
    input_file_id TEXT NOT NULL REFERENCES files (id),
    endpoint TEXT NOT NULL,
    completion_window TEXT NOT NULL,
    metadata TEXT,
    output_expires_after BIGINT,
    route TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    idempotency_key TEXT,
    trace_id TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    replied_at DOUBLE PRECISION,
    in_progress_at BIGINT,
    finalizing_at BIGINT,
    completed_at BIGINT,
    failed_at BIGINT,
    expired_at BIGINT,
    cancelling_at BIGINT,
    cancelled_at BIGINT,
    deadline_at BIGINT,
    errors TEXT,
    model TEXT,
    total BIGINT NOT NULL DEFAULT 0,
    completed BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    usage TEXT,
    output_file_id TEXT,
    error_file_id TEXT,
    split_dir TEXT,
    rejected BIGINT NOT NULL DEFAULT 0,
    sealed TEXT,
    due_at DOUBLE PRECISION,
    tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX batches_by_workspace ON batches (workspace, seq);
CREATE INDEX batches_by_due ON batches (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX batches_by_input ON batches (input_file_id);
CREATE INDEX batches_by_request ON batches (workspace, request_hash, seq);
CREATE INDEX batches_by_key ON batches (workspace, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE parts (
    batch_id TEXT NOT NULL REFERENCES batches (id),
    n INTEGER NOT NULL,
    slug TEXT NOT NULL,
    provider TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT,
    partition_key TEXT NOT NULL,
    lines BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    mark TEXT NOT NULL UNIQUE,
    file TEXT NOT NULL,
    state TEXT NOT NULL,
    staged TEXT,
    job TEXT,
    cancel_sent_at DOUBLE PRECISION,
    end_reason TEXT,
    refusal TEXT,
    results TEXT,
    completed BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    accepted_at DOUBLE PRECISION,
    missing_since DOUBLE PRECISION,
    note TEXT,
    due_at DOUBLE PRECISION,
    tries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, n)
);
CREATE INDEX parts_by_due ON parts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX parts_in_flight ON parts (slug, state);

CREATE TABLE submissions (
    batch_id TEXT NOT NULL,
    part INTEGER NOT NULL,
    n INTEGER NOT NULL,
    state TEXT NOT NULL,
    account TEXT NOT NULL,
    fence TEXT,
    job TEXT,
    reason TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    sent_at DOUBLE PRECISION,
    first_absent_at DOUBLE PRECISION,
    lookups INTEGER NOT NULL DEFAULT 0,
    provisional INTEGER NOT NULL DEFAULT 0,
    not_ours TEXT,
    revoking_at DOUBLE PRECISION,
    revoked_at DOUBLE PRECISION,
    ended_at DOUBLE PRECISION,
    PRIMARY KEY (batch_id, part, n),
    FOREIGN KEY (batch_id, part) REFERENCES parts (batch_id, n)
);
CREATE INDEX submissions_by_job ON submissions (job) WHERE job IS NOT NULL;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    batch_id TEXT NOT NULL,
    part INTEGER,
    at DOUBLE PRECISION NOT NULL,
    what TEXT NOT NULL,
    detail TEXT
);
CREATE INDEX events_by_batch ON events (batch_id, seq);
