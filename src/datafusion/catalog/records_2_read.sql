-- What a session that only reads records of version 2 sees in their place: those of version 3.
CREATE TEMP VIEW qetl_batches AS SELECT *, '{}' AS details FROM main.qetl_batches;
CREATE TEMP VIEW qetl_files AS SELECT *, '{}' AS details FROM main.qetl_files;
CREATE TEMP VIEW qetl_columns AS SELECT *, '{}' AS details FROM main.qetl_columns;
CREATE TEMP TABLE qetl_flows(flow TEXT PRIMARY KEY, details TEXT NOT NULL);
