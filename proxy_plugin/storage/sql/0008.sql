ALTER TABLE batches ADD COLUMN webhook TEXT;
ALTER TABLE batches ADD COLUMN tenths INTEGER NOT NULL DEFAULT 0;

CREATE TABLE webhook_endpoints (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    event_types TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT
);
CREATE INDEX webhook_endpoints_by_workspace ON webhook_endpoints (workspace, seq) WHERE removed_at IS NULL;

CREATE TABLE webhook_secrets (
    owner TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    previous_until BIGINT NOT NULL
);

CREATE TABLE webhook_deliveries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    endpoint_id TEXT,
    url TEXT,
    target TEXT NOT NULL,
    batch_id TEXT,
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    due_at DOUBLE PRECISION,
    tries INTEGER NOT NULL DEFAULT 0,
    tried_at DOUBLE PRECISION,
    status INTEGER,
    error TEXT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (workspace, due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_due ON webhook_deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (target, batch_id, seq) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_of_target ON webhook_deliveries (target, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_workspace ON webhook_deliveries (workspace, seq);
CREATE INDEX webhook_deliveries_by_endpoint ON webhook_deliveries (endpoint_id, seq);
CREATE INDEX webhook_deliveries_by_batch ON webhook_deliveries (batch_id, seq);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (created_at) WHERE due_at IS NULL;
