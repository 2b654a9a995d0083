-- Records of version 2 as those of version 3 are.
ALTER TABLE qetl_batches ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
ALTER TABLE qetl_files ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
ALTER TABLE qetl_columns ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
CREATE TABLE qetl_flows(flow TEXT PRIMARY KEY, details TEXT NOT NULL);
UPDATE qetl_meta SET version = 3;
