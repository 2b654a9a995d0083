"""The floor: a batch read and written again as it is. Nothing that keeps the data can be faster."""

import duckdb

from step import COPY_OPTIONS, Step, make_durable

step = Step.from_arguments()
target = step.file("copy")
duckdb.connect(config=step.duckdb_config()).execute(f"COPY (FROM '{step.parquet}') TO '{target}' ({COPY_OPTIONS})")
make_durable(target)
