"""Datasets that DuckDB writes as Parquet files, one a batch, and reads again."""

from pathlib import Path

import duckdb

from step import COPY_OPTIONS, Step, make_durable


class Datasets:
    def __init__(self, step: Step) -> None:
        """With a view `source` of the batch's rows, their file and their place in it."""
        self.step = step
        self.written: list[Path] = []
        self.connection = duckdb.connect(config=step.duckdb_config())
        self.execute(f"CREATE TEMP VIEW source AS FROM read_parquet('{step.parquet}', filename = true, file_row_number = true)")

    def execute(self, statement: str) -> None:
        self.connection.execute(statement)

    def land(self, columns: str) -> None:
        """Keeps the batch as it came."""
        self.write("landing", f"""
            SELECT {columns}, {self.step.batch}::BIGINT AS xt_batch_id, {self.now} AS xt_loaded_at,
                parse_filename(filename) AS xt_source_file, file_row_number + 1 AS xt_row_number FROM source""")

    def write(self, dataset: str, query: str) -> None:
        file = self.step.file(dataset)
        self.execute(f"COPY ({query}) TO '{file}' ({COPY_OPTIONS})")
        self.written.append(file)

    def finish(self) -> None:
        make_durable(*self.written)

    def of(self, dataset: str, batch: int | None = None) -> str:
        """The file of a dataset for this batch, or for another one, as a table in SQL."""
        return f"'{self.step.file(dataset, batch)}'"

    def all(self, dataset: str) -> str:
        """The files of all batches so far."""
        return f"'{self.step.folder / dataset / 'batch_*.parquet'}'"

    @property
    def now(self) -> str:
        return f"TIMESTAMPTZ '{self.step.at.isoformat()}'"
