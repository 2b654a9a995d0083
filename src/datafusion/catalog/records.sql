-- qetl's own records: they become true in the same transaction as the data. `details` are JSON.
CREATE TABLE qetl_meta(version INTEGER NOT NULL);
INSERT INTO qetl_meta VALUES (3);
-- Grows with every holder of a flow's lock; a publish under an older number is refused.
CREATE TABLE qetl_fences(flow TEXT PRIMARY KEY, fence INTEGER NOT NULL);
-- Every generation of every batch; the greatest is the one that stands.
CREATE TABLE qetl_batches(
    flow TEXT NOT NULL, batch_id INTEGER NOT NULL, generation INTEGER NOT NULL, run_id TEXT NOT NULL, version INTEGER NOT NULL,
    processed_at INTEGER NOT NULL, published_at INTEGER NOT NULL, row_count INTEGER NOT NULL, content_hash TEXT NOT NULL, shape TEXT NOT NULL,
    details TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (flow, batch_id, generation));
CREATE TABLE qetl_files(
    flow TEXT NOT NULL, batch_id INTEGER NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL,
    size INTEGER NOT NULL, modified INTEGER NOT NULL, content_hash TEXT NOT NULL, loaded_at INTEGER NOT NULL,
    details TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (flow, batch_id, generation, position));
-- Keys that were deleted, as they stood after a batch: so that later ones need not look through all batches for them.
-- One row a file; one without a path when there was no such key.
CREATE TABLE qetl_checkpoints(table_id INTEGER NOT NULL, batch_id INTEGER NOT NULL, path TEXT, row_count INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE qetl_columns(flow TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, inferred INTEGER NOT NULL,
    details TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (flow, position));
CREATE TABLE qetl_flows(flow TEXT PRIMARY KEY, details TEXT NOT NULL);
CREATE TABLE qetl_runs(
    run_id TEXT NOT NULL, flow TEXT NOT NULL, batch_id INTEGER, status TEXT NOT NULL, started_at INTEGER NOT NULL, seconds REAL NOT NULL,
    row_count INTEGER NOT NULL, message TEXT NOT NULL);
CREATE INDEX qetl_runs_flow ON qetl_runs(flow, started_at);
-- Allowed by the format; without them reading one batch's files would look at every file.
CREATE INDEX qetl_live_files ON ducklake_data_file(table_id, end_snapshot);
CREATE INDEX qetl_file_stats ON ducklake_file_column_stats(table_id, column_id, data_file_id);
CREATE INDEX qetl_file_partitions ON ducklake_file_partition_value(data_file_id);
CREATE INDEX qetl_file_deletes ON ducklake_delete_file(data_file_id);
