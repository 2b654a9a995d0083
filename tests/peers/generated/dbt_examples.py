"""The worked examples of change_feed and delta_publishing, run by dbt: dbt_examples.py duckdb|postgres FOLDER."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import examples
from dbt.cli.main import dbtRunner
from examples import FEED, LATE, LEDGERS, NULL, ORDERS, expect, plain, transactions


class DuckDb:
    def __init__(self, folder):
        self.file = str(folder / "test.duckdb")
        os.environ["QETL_DUCKDB"] = self.file

    def rows(self, sql):
        import duckdb

        with duckdb.connect(self.file) as connection:
            return [[NULL if cell is None else str(cell) for cell in row] for row in connection.execute(sql).fetchall()]

    def stop(self):
        pass


class Postgres(examples.Postgres):
    def __init__(self, folder):
        super().__init__(folder)
        os.environ |= {"PGHOST": str(folder), "PGUSER": "postgres", "PGDATABASE": "postgres"}


def main():
    dialect, project = sys.argv[1], Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(prefix="qetl-", dir="/tmp") as folder:
        database = {"duckdb": DuckDb, "postgres": Postgres}[dialect](Path(folder))
        os.chdir(project)
        os.environ |= {"DBT_SEND_ANONYMOUS_USAGE_STATS": "False", "DO_NOT_TRACK": "1"}
        runner = dbtRunner()

        def dbt(*arguments):
            # Both adapters keep what they know of a database's tables between calls of one process.
            with open(Path(folder) / "dbt.log", "w+") as log, contextlib.redirect_stdout(log):
                done = runner.invoke([*arguments, "--profiles-dir", ".", "--project-dir", ".", "--target-path", f"{folder}/target", "--log-path", f"{folder}/logs"])
                log.seek(0)
                return done.success, log.read()

        def build(batch, *selected, **values):
            vars = ", ".join(f"{name}: {value}" for name, value in {"batch_id": batch, **values}.items())
            success, log = dbt("build", "--vars", f"{{{vars}}}", "--select", *[f"path:models/{flow}" for flow in selected], *[f"path:tests/{flow}" for flow in selected])
            return success, log

        def land(flow, batch):
            values = [f"({', '.join('NULL' if value is None else repr(str(value)) for value in row)}, {batch}, now(), 'batch.csv', {number})" for number, row in enumerate(ORDERS[batch], 1)]
            names = "id, status, amount, xt_batch_id, xt_loaded_at, xt_source_file, xt_row_number"
            database.rows(f"DELETE FROM {flow}_landing WHERE xt_batch_id = {batch}")
            database.rows(f"INSERT INTO {flow}_landing ({names}) VALUES {', '.join(values)}")

        def rows(table, columns):
            found = database.rows(f"SELECT {', '.join(columns)} FROM {table}")
            return sorted(tuple(plain(cell) for cell in row) for row in found)

        try:
            success, log = dbt("parse")
            assert success, log
            success, log = build(0, "orders")
            assert not success and "name the batch" in log, log
            flows = ["orders", *LEDGERS]
            for flow in flows:
                database.rows((project / "landing" / f"{flow}.sql").read_text())
            feed = ["xt_batch_id", "id", "xt_record_type", "amount"]
            ledger = ["xt_batch_id", "xt_transaction_id", "xt_transaction_type", "status", "amount", "xt_referred_transaction_id"]
            for batch in [1, 2, 4, 5, 6]:
                for flow in flows:
                    land(flow, batch)
                success, log = build(batch, *flows)
                assert success, log
            expect(f"dbt on {dialect}: change feed", rows("orders_change_feed", feed), [(batch, *row) for batch, found in FEED.items() for row in found])
            for method in LEDGERS:
                expect(f"dbt on {dialect}: ledger by {method}", rows(f"{method}_delta_transaction", ledger), transactions(LEDGERS[method]))
            land("orders", 3)
            for batch in [3, 4, 5, 6]:
                success, log = build(batch, "orders", accept_guards="true")
                assert success, log
            expected = [(batch, *row) for batch, found in (FEED | LATE).items() for row in found]
            expect(f"dbt on {dialect}: late batch 3", rows("orders_change_feed", feed), expected)
            expect(f"dbt on {dialect}: live keys", rows("orders_state", ["id", "status", "amount"]), examples.feed("A open 100, B paid 150, C open 50, E open 10, F open 25"))
            ORDERS[7] = examples.order("A open 1, A open 2")
            land("orders", 7)
            success, log = build(7, "orders")
            assert not success and "one_row_a_key" in log, log
            expect(f"dbt on {dialect}: what was refused is not there", [row for row in rows("orders_change_feed", feed) if row[0] == "7"], [])
            success, log = dbt("docs", "generate", "--no-compile")
            assert success, log
            print(f"ok: dbt on {dialect}: docs")
        finally:
            database.stop()


if __name__ == "__main__":
    main()
