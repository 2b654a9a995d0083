"""A batch of a change feed as a person would write it for PostgreSQL: COPY, one full outer join, one transaction."""

import os

import psycopg

from step import Step

TABLES = """
    CREATE TABLE landing (
        id BIGINT, {payload}, xt_batch_id BIGINT, xt_loaded_at TIMESTAMPTZ, xt_source_file TEXT, xt_row_number BIGINT);
    CREATE INDEX landing_by_batch ON landing (xt_batch_id);
    CREATE TABLE feed (
        id BIGINT, {payload}, xt_batch_id BIGINT, xt_record_type TEXT, xt_changed_columns TEXT, xt_processed_at TIMESTAMPTZ);
    CREATE INDEX feed_by_batch ON feed (xt_batch_id);
    CREATE INDEX feed_by_key ON feed (id, xt_batch_id);
    CREATE TABLE tombstones (id BIGINT, {payload});
    CREATE SEQUENCE row_number"""


def main() -> None:
    step = Step.from_arguments()
    header = step.source.open().readline().strip().split(",")
    with psycopg.connect(os.environ["QETL_BENCH_DATABASE"]) as connection, connection.cursor() as cursor:
        cursor.execute("SET jit = off")
        if step.batch == 1:
            cursor.execute(TABLES.replace("{payload}", ", ".join(f"{name} {ty}" for name, ty in _types(step).items())))
        cursor.execute(f"""
            ALTER SEQUENCE row_number RESTART;
            ALTER TABLE landing ALTER xt_batch_id SET DEFAULT {step.batch}, ALTER xt_loaded_at SET DEFAULT now(),
                ALTER xt_source_file SET DEFAULT '{step.source.name}', ALTER xt_row_number SET DEFAULT nextval('row_number')""")
        with cursor.copy(f"COPY landing ({', '.join(header)}) FROM STDIN (FORMAT csv, HEADER)") as copy, step.source.open("rb") as file:
            while block := file.read(1 << 20):
                copy.write(block)
        cursor.execute("ANALYZE landing")
        cursor.execute(_feed(header, step.batch))
        if step.batch > 1:
            cursor.execute(f"""
                DELETE FROM tombstones t USING feed f WHERE f.xt_batch_id = {step.batch} AND f.xt_record_type = 'REACTIVATED' AND f.id = t.id;
                INSERT INTO tombstones SELECT {', '.join(header)} FROM feed WHERE xt_batch_id = {step.batch} AND xt_record_type = 'DELETED'""")


def _types(step: Step) -> dict[str, str]:
    """The columns after the key, with the types of the Parquet file of the same name."""
    import duckdb

    described = duckdb.sql(f"DESCRIBE FROM '{step.source.with_suffix('.parquet')}'").fetchall()
    names = {"DOUBLE": "DOUBLE PRECISION", "VARCHAR": "TEXT COLLATE \"C\""}
    return {name: names.get(ty, ty) for name, ty, *_ in described if name != "id"}


def _feed(columns: list[str], batch: int) -> str:
    payload = columns[1:]
    differs = " OR ".join(f"l.{c} IS DISTINCT FROM s.{c}" for c in payload)
    changed = ", ".join(f"CASE WHEN l.{c} IS DISTINCT FROM s.{c} THEN '{c}' END" for c in payload)
    values = ", ".join(f"CASE WHEN l.id IS NULL THEN s.{c} ELSE l.{c} END AS {c}" for c in columns)
    return f"""
        INSERT INTO feed
        WITH state AS (
            SELECT {', '.join(columns)}, false AS gone FROM feed WHERE xt_batch_id = {batch} - 1 AND xt_record_type <> 'DELETED'
            UNION ALL SELECT {', '.join(columns)}, true FROM tombstones
        ), joined AS (
            SELECT {values}, CASE WHEN s.id IS NULL THEN 'NEW' WHEN l.id IS NULL THEN 'DELETED' WHEN s.gone THEN 'REACTIVATED'
                    WHEN {differs} THEN 'CHANGED' ELSE 'STALE' END AS record_type,
                CASE WHEN s.id IS NOT NULL AND l.id IS NOT NULL THEN nullif(concat_ws(',', {changed}), '') END AS changed_columns
            FROM (SELECT * FROM landing WHERE xt_batch_id = {batch}) l FULL JOIN state s ON l.id = s.id
            WHERE l.id IS NOT NULL OR NOT s.gone
        )
        SELECT {', '.join(columns)}, {batch}, record_type, changed_columns, now() FROM joined"""


main()
