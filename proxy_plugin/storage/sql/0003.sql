CREATE INDEX files_kept ON files (workspace) WHERE removed_at IS NULL;

CREATE INDEX uploads_open ON uploads (workspace) WHERE state = 'pending';

CREATE INDEX batches_open ON batches (workspace) WHERE state IN ('validating', 'splitting', 'running', 'merging');
