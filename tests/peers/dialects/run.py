"""Lives of flows, run as the SQL of a dialect: run.py DIALECT CASES ANSWERS.

CASES holds a case a line, as JSON; ANSWERS gets a line for each: null, or what went wrong.
"""

import collections
import decimal
import json
import os
import re
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path


class DuckDb:
    quote, micros = '"', "EPOCH_US"
    zones = ["America/New_York", "Asia/Kathmandu", "Pacific/Apia"]

    def __init__(self, folder):
        pass

    def open(self, number, session):
        import duckdb

        self.connection = duckdb.connect()
        self.connection.execute(f"SET TimeZone = '{self.zones[number % len(self.zones)]}'")
        self.connection.execute("SET threads = 1")
        for statement in session:
            self.connection.execute(statement)

    def close(self):
        self.connection.close()

    def run(self, sql):
        self.connection.execute(sql)

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()

    def land(self, landing, batch_id, rows):
        table = quoted(self, landing["table"])
        self.run(f"DELETE FROM {table} WHERE xt_batch_id = {batch_id}")
        if rows:
            # The database reads the texts.
            row = f"({', '.join('?' for _ in landing['columns'])})"
            values = [cell for row in rows for cell in row]
            self.connection.execute(f"INSERT INTO {table} VALUES {', '.join([row] * len(rows))}", values)


class Spark:
    """Tables are folders of Parquet files, a batch that lands is such a file, and each life has a database."""

    quote, micros = "`", "UNIX_MICROS"

    def __init__(self, folder):
        os.chdir(folder)
        os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": folder}
        from pyspark.sql import SparkSession

        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "OFF",
            "spark.sql.warehouse.dir": folder,
            "spark.driver.memory": "1g",
            # The dialect's session sets the zone.
            "spark.driver.extraJavaOptions": "-Duser.timezone=America/New_York -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            # What is best for a few rows: no code is compiled for a query.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.shuffle.partitions": "1",
            "spark.sql.adaptive.enabled": "false",
        }
        builder = SparkSession.builder.master("local[1]")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.folder, self.spark = Path(folder), builder.getOrCreate()

    def open(self, number, session):
        for statement in session:
            self.spark.sql(statement)
        self.database = f"life_{number}"
        self.spark.sql(f"CREATE DATABASE {self.database}")
        self.spark.sql(f"USE {self.database}")

    def close(self):
        self.spark.sql("USE default")
        self.spark.sql(f"DROP DATABASE {self.database} CASCADE")

    def run(self, sql):
        deletes = re.fullmatch(r"DELETE FROM\s+`(\w+)`(?:\s+WHERE\s+(.*))?", sql, re.DOTALL)
        if deletes:
            self.delete(*deletes.groups())
        else:
            self.spark.sql(sql)

    def rows(self, sql):
        return [tuple(row) for row in self.spark.sql(sql).collect()]

    def delete(self, table, condition):
        """Parquet files know no DELETE: those rows stay for which the condition is not true."""
        import pyarrow.parquet

        files = list(self.place(table).glob("*.parquet"))
        if not files:
            return
        kept = self.spark.sql(f"SELECT * FROM `{table}` WHERE NOT COALESCE({condition}, FALSE)").toArrow() if condition else None
        for file in files:
            file.unlink()
        if kept is not None and kept.num_rows:
            pyarrow.parquet.write_table(kept, self.place(table) / "kept.parquet")
        self.spark.catalog.refreshTable(table)

    def place(self, table):
        folder = self.folder / f"{self.database}.db" / table
        assert folder.is_dir(), folder
        return folder

    def land(self, landing, batch_id, rows):
        import pyarrow
        import pyarrow.parquet

        cells = zip(*rows) if rows else [[] for _ in landing["columns"]]
        columns = [pyarrow.array(column, pyarrow.string()).cast(self.type(type)) for column, type in zip(cells, landing["types"])]
        file = self.place(landing["table"]) / f"batch_{batch_id}.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns, landing["columns"]), file)
        self.spark.catalog.refreshTable(landing["table"])

    def type(self, type):
        import pyarrow

        if type.startswith("decimal"):
            return pyarrow.decimal128(*map(int, re.findall(r"\d+", type)))
        types = {"string": pyarrow.string(), "integer": pyarrow.int64(), "float": pyarrow.float64(), "boolean": pyarrow.bool_()}
        return (types | {"date": pyarrow.date32(), "timestamp": pyarrow.timestamp("us", "UTC")})[type]


DATABASES = {"duckdb": DuckDb, "databricks": Spark}


def quoted(database, name):
    return database.quote + name.replace(database.quote, database.quote * 2) + database.quote


def cell(type, value):
    """The text of a value, given as the database has it or as the model writes it."""
    if value is None:
        return None
    if type == "float":
        return repr(float(value))
    if isinstance(value, str):
        return value
    if type == "timestamp":
        return (datetime(1970, 1, 1) + timedelta(microseconds=value)).isoformat(timespec="microseconds") + "Z"
    if type == "date":
        return value.isoformat()
    return str(value).lower() if type == "boolean" else format(value, "f") if isinstance(value, decimal.Decimal) else str(value)


def compare(database, expected, when):
    for table in expected:
        types = table["types"]
        columns = [quoted(database, name) for name in table["columns"]]
        columns = [f"{database.micros}({column})" if type == "timestamp" else column for column, type in zip(columns, types)]
        found = database.rows(f"SELECT {', '.join(columns)} FROM {quoted(database, table['table'])}")
        found = collections.Counter(tuple(map(cell, types, row)) for row in found)
        wanted = collections.Counter(tuple(map(cell, types, row)) for row in table["rows"])

        def only(rows):
            return "".join(f"\n    {row}" for row in rows.elements())

        assert found == wanted, f"{when}, `{table['table']}` differs: {table['columns']}\n  only there:{only(found - wanted)}\n  only in the model:{only(wanted - found)}"


def live(database, case):
    for statement in case["tables"]:
        database.run(statement)
    for batch in case["batches"]:
        for statement in batch["before"]:
            database.run(statement)
        database.land(case["landing"], batch["id"], batch["rows"])
        for statement in batch["then"]:
            database.run(statement)
    compare(database, case["expected"], "in the end")
    for query in case["queries"]:
        rows = database.rows(query["sql"])
        assert not (query["invariant"] and rows), f"{query['invariant']} is broken by {rows}"
    for statement in case["refresh"]:
        database.run(statement)
    compare(database, case["expected"], "after a full refresh")


def main():
    dialect, cases, answers = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="qetl-") as folder, open(cases) as cases, open(answers, "w") as answers:
        database = DATABASES[dialect](folder)
        for number, line in enumerate(cases):
            case, why = json.loads(line), None
            database.open(number, case["session"])
            try:
                live(database, case)
            except Exception as error:
                why = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            database.close()
            print(json.dumps(why), file=answers, flush=True)


if __name__ == "__main__":
    main()
