"""A batch in DuckDB over Parquet files: one landing, one feed and one tombstone file a batch."""

import duckdb

from feed_sql import FeedSql
from step import COPY_OPTIONS, Step, make_durable


def main() -> None:
    step = Step.from_arguments()
    connection = duckdb.connect(config=step.duckdb_config())
    columns = [c[0] for c in connection.execute(f"FROM '{step.source}' LIMIT 0").description]
    sql = FeedSql(columns, step.batch, step.at, step.variant)
    landing, feed, tombstones = step.file("landing"), step.file("feed"), step.file("tombstones")

    connection.execute(f"CREATE TEMP VIEW source AS FROM read_parquet('{step.source}', file_row_number = true)")
    _copy(connection, sql.landing(step.source.name), landing)
    if step.batch > 1:
        connection.execute(_state(step, sql))
    for statement in sql.preparations():
        connection.execute(statement)
    _copy(connection, sql.feed(), feed)
    written = [landing, feed]
    if step.batch > 1:
        _copy(connection, sql.tombstones(f"'{feed}'"), tombstones)
        written.append(tombstones)
    make_durable(*written)


def _state(step: Step, sql: FeedSql) -> str:
    """The feed of the batch before, and the keys that were deleted in earlier ones."""
    feed = f"SELECT {sql.state_columns}, xt_record_type = 'DELETED' AS xt_deleted FROM '{step.file('feed', step.batch - 1)}'"
    if step.batch > 2:
        feed += f" UNION ALL SELECT {sql.state_columns}, true FROM '{step.file('tombstones', step.batch - 1)}'"
    return f"CREATE TEMP VIEW state AS {feed}"


def _copy(connection: duckdb.DuckDBPyConnection, query: str, target) -> None:
    connection.execute(f"COPY ({query}) TO '{target}' ({COPY_OPTIONS})")


main()
