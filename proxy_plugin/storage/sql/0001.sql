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

CREATE TABLE provider_files (
    id TEXT PRIMARY KEY REFERENCES files (id),
    slug TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_id TEXT NOT NULL
);

CREATE TABLE uploads (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    kept_seconds BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    file_id TEXT REFERENCES files (id)
);
CREATE INDEX uploads_by_expiry ON uploads (expires_at) WHERE state = 'pending';

CREATE TABLE upload_parts (
    id TEXT PRIMARY KEY,
    upload_id TEXT NOT NULL REFERENCES uploads (id),
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    place INTEGER,
    removed_at BIGINT
);
CREATE INDEX upload_parts_by_upload ON upload_parts (upload_id);
CREATE INDEX upload_parts_kept ON upload_parts (id) WHERE removed_at IS NULL;

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
    guessed INTEGER NOT NULL DEFAULT 0,
    doubled_job TEXT,
    PRIMARY KEY (batch_id, part, n),
    FOREIGN KEY (batch_id, part) REFERENCES parts (batch_id, n)
);
CREATE INDEX submissions_by_job ON submissions (job) WHERE job IS NOT NULL;
CREATE INDEX submissions_open ON submissions (account) WHERE state IN ('sent', 'unknown');
CREATE INDEX submissions_guessed ON submissions (batch_id, part) WHERE guessed = 1;

CREATE TABLE spending (
    batch_id TEXT NOT NULL,
    part INTEGER NOT NULL,
    model TEXT NOT NULL,
    lines BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost DOUBLE PRECISION,
    PRIMARY KEY (batch_id, part, model),
    FOREIGN KEY (batch_id, part) REFERENCES parts (batch_id, n)
);

CREATE TABLE spending_totals (
    workspace TEXT NOT NULL,
    virtual_key TEXT NOT NULL,
    lines BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (workspace, virtual_key)
);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    batch_id TEXT NOT NULL,
    part INTEGER,
    at DOUBLE PRECISION NOT NULL,
    what TEXT NOT NULL,
    detail TEXT
);
CREATE INDEX events_by_batch ON events (batch_id, seq);
