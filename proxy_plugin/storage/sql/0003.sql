ALTER TABLE parts ADD COLUMN workspace TEXT NOT NULL DEFAULT '';
ALTER TABLE parts ADD COLUMN place BIGINT NOT NULL DEFAULT 0;
UPDATE parts SET
    workspace = (SELECT batches.workspace FROM batches WHERE batches.id = parts.batch_id),
    place = (SELECT batches.seq FROM batches WHERE batches.id = parts.batch_id);

CREATE INDEX files_due ON files (workspace, due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX batches_due ON batches (workspace, due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX parts_due ON parts (workspace, due_at, place, n) WHERE due_at IS NOT NULL;

DROP INDEX parts_in_flight;
CREATE INDEX parts_in_flight ON parts (slug, state, workspace, lines);
CREATE INDEX parts_queued ON parts (slug, state, note, workspace, place, n) WHERE note IS NOT NULL;

CREATE TABLE turns (
    slug TEXT NOT NULL,
    queue TEXT NOT NULL,
    workspace TEXT NOT NULL,
    served BIGINT NOT NULL,
    PRIMARY KEY (slug, queue, workspace)
);

ALTER TABLE workspaces ADD COLUMN files BIGINT NOT NULL DEFAULT 0;

INSERT INTO workspaces (name, bytes) SELECT DISTINCT workspace, 0 FROM uploads WHERE state = 'pending'
    ON CONFLICT (name) DO NOTHING;

UPDATE workspaces SET files =
    (SELECT COUNT(*) FROM files f WHERE f.workspace = workspaces.name AND f.removed_at IS NULL)
    + (SELECT COUNT(*) FROM uploads u WHERE u.workspace = workspaces.name AND u.state = 'pending')
    + (SELECT COUNT(*) FROM uploads u JOIN upload_parts p ON p.upload_id = u.id
        WHERE u.workspace = workspaces.name AND p.removed_at IS NULL);

CREATE INDEX batches_open ON batches (workspace) WHERE state IN ('validating', 'splitting', 'running', 'merging');
