"""A batch in a DuckDB database file: the tables landing, feed and tombstones, written in one transaction."""

import duckdb

from feed_sql import FeedSql
from step import Step


def main() -> None:
    step = Step.from_arguments()
    step.folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(str(step.folder / "feed.duckdb"), config=step.duckdb_config())
    columns = [c[0] for c in connection.execute(f"FROM '{step.source}' LIMIT 0").description]
    sql = FeedSql(columns, step.batch, step.at, step.variant)

    connection.execute(f"CREATE TEMP VIEW source AS FROM read_parquet('{step.source}', file_row_number = true)")
    for statement in ["BEGIN", *_tables(sql), *_batch(sql, step.source.name), "COMMIT"]:
        connection.execute(statement)
    connection.close()  # checkpoints


def _tables(sql: FeedSql) -> list[str]:
    """The empty tables, made with the first batch, and the view of the state."""
    if sql.batch == 1:
        return [
            f"CREATE TABLE landing AS {sql.landing('')} WITH NO DATA",
            f"CREATE TABLE feed AS {sql.feed()} WITH NO DATA",
            f"CREATE TABLE tombstones AS SELECT {sql.state_columns} FROM feed WITH NO DATA",
        ]
    state = f"""
        CREATE TEMP VIEW state AS
        SELECT {sql.state_columns}, xt_record_type = 'DELETED' AS xt_deleted FROM feed WHERE xt_batch_id = {sql.batch - 1}
        UNION ALL SELECT {sql.state_columns}, true FROM tombstones"""
    return [state]


def _batch(sql: FeedSql, source_file: str) -> list[str]:
    rows = [f"INSERT INTO landing {sql.landing(source_file)}", *sql.preparations(), f"INSERT INTO feed {sql.feed()}"]
    if sql.batch == 1:
        return rows
    return [
        *rows,
        f"CREATE TEMP TABLE absent AS {sql.tombstones('feed')}",
        "DELETE FROM tombstones",
        "INSERT INTO tombstones FROM absent",
    ]


main()
