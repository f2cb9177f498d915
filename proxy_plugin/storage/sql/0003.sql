ALTER TABLE workspaces ADD COLUMN files BIGINT NOT NULL DEFAULT 0;

INSERT OR IGNORE INTO workspaces (name, bytes) SELECT DISTINCT workspace, 0 FROM uploads WHERE state = 'pending';

UPDATE workspaces SET files =
    (SELECT COUNT(*) FROM files f WHERE f.workspace = workspaces.name AND f.removed_at IS NULL)
    + (SELECT COUNT(*) FROM uploads u WHERE u.workspace = workspaces.name AND u.state = 'pending')
    + (SELECT COUNT(*) FROM uploads u JOIN upload_parts p ON p.upload_id = u.id
        WHERE u.workspace = workspaces.name AND p.removed_at IS NULL);

CREATE INDEX batches_open ON batches (workspace) WHERE state IN ('validating', 'splitting', 'running', 'merging');
