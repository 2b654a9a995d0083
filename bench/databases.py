#!/usr/bin/env python3
"""Measures a change feed in a database: qetl's engine for PostgreSQL or DuckDB against a script that a person writes for it.

Both are given the same files, CSV for PostgreSQL and Parquet for DuckDB, and keep landing and feed as tables, each in a
database of its own. The PostgreSQL server is started for this run; its settings are its defaults but for its memory and the
size of its log.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import environment
import options
from change_feed import COUNTS, per_record_type
from conclude import conclude, figures, write_json
from engines import Engine, Qetl, Worker
from generate import Dataset, batch_file
from report import ratio, table
from run import Question, Run

SCRIPT, QETL = "script", "qetl"
ALL = [SCRIPT, QETL]
DATABASE = "QETL_BENCH_DATABASE"
SETTINGS = {"listen_addresses": "", "shared_buffers": "2GB", "work_mem": "256MB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB"}

FLOW = """\
id = "orders_change_feed"
name = "Orders change feed"
flow_type = "change_feed"

[input]
primary_key = ["id"]
columns = [{columns}]
"""


@dataclass(frozen=True)
class Script(Worker):
    database: str = ""

    def environment(self) -> dict[str, str]:
        return {DATABASE: self.database}

    def query_command(self, batch: int, query: str, datasets: list[str]) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("workers") / "postgres_query.py"), query.format(feed="feed")]


@dataclass(frozen=True)
class QetlOn(Qetl):
    engine: str = ""
    config: str = ""
    database: str = ""

    def environment(self) -> dict[str, str]:
        return {DATABASE: self.database}

    def _project(self) -> str:
        return f'{super()._project()}name = "{self.engine}"\n\n[engine.config]\n{self.config}\n'


@contextmanager
def server():
    """A PostgreSQL server on a socket in a temporary folder; yields the function that makes a database and gives its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        sys.exit("there is no PostgreSQL server: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="qetl-bench-", dir=environment.CACHE if os.getuid() else "/var/tmp"))
    as_user: list[str] = []
    if os.getuid() == 0:
        # The server does not run as root.
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    initdb = [found[-1], "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run([*as_user, *map(str, initdb)], check=True, stdout=subprocess.DEVNULL, cwd="/")
    given = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    command = [*as_user, str(found[-1].with_name("postgres")), "-D", str(folder / "data"), "-k", str(folder), *given]
    process = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL)

    def database(name: str) -> str:
        psql = ["psql", "-X", "-q", "-h", str(folder), "-U", "postgres", "-c", f'CREATE DATABASE "{name}"']
        for _ in range(100):
            if subprocess.run(psql, capture_output=True).returncode == 0:
                return f"postgres://postgres@{str(folder).replace('/', '%2F')}/{name}"
            subprocess.run(["sleep", "0.1"])
        sys.exit("the PostgreSQL server does not answer")

    try:
        yield database
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def as_csv(args: argparse.Namespace, dataset: Dataset) -> list[Path]:
    """The batches as CSV files, beside the Parquet files that they are made of."""
    sources = [batch_file(args.data, batch).with_suffix(".csv") for batch in range(1, dataset.batches + 1)]
    for source in sources:
        if not source.exists():
            text = f"import duckdb; duckdb.sql(\"COPY (FROM '{source.with_suffix('.parquet')}') TO '{source}.new' (HEADER)\")"
            subprocess.run([sys.executable, "-c", text], check=True)
            source.with_suffix(".csv.new").rename(source)
    return sources


def typed_columns(source: Path) -> str:
    """The columns with the types of the Parquet file, as a flow file has them."""
    names = {"BIGINT": "integer", "INTEGER": "integer", "DOUBLE": "float", "VARCHAR": "string", "BOOLEAN": "boolean", "DATE": "date"}
    text = f"import duckdb; print(*(f'{{c[0]}} {{c[1]}}' for c in duckdb.sql(\"DESCRIBE FROM '{source.with_suffix('.parquet')}'\").fetchall()), sep='\\n')"
    described = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout.splitlines()
    columns = [line.split(" ", 1) for line in described]
    typed = {name: names.get(ty, "timestamp" if ty.startswith("TIMESTAMP") else ty.lower()) for name, ty in columns}
    return ", ".join(f'{{ name = "{name}", schema_type = "{ty}" }}' for name, ty in typed.items())


def row(run: Run, engine: str, spans: list[range]) -> list[str]:
    costs = [run.total(engine, span) for span in spans]
    script = run.total(SCRIPT, spans[-1])
    walls = [f"{cost.wall:.2f}" if cost else "failed" for cost in costs]
    peak = f"{max(cost.peak_mb for cost in costs if cost):.0f}" if any(costs) else "–"
    return [engine, *walls, peak, ratio(costs[-1].wall, script.wall) if costs[-1] and script else "–"]


def on_postgres(args: argparse.Namespace, flow: str, database) -> dict[str, Engine]:
    """Both in databases of one server."""
    script = Script(SCRIPT, args.work / SCRIPT, args.threads, "postgres_feed.py", database=database("script"))
    return {SCRIPT: script, QETL: qetl_on(args, flow, "postgres", f'url_env = "{DATABASE}"', database("qetl"))}


def on_duckdb(args: argparse.Namespace, flow: str) -> dict[str, Engine]:
    """Both in files; the hand-written statement with one full outer join."""
    script = Worker(SCRIPT, args.work / SCRIPT, args.threads, "duckdb_native.py", "join", args.memory_limit)
    return {SCRIPT: script, QETL: qetl_on(args, flow, "duckdb", 'path = "feed.duckdb"')}


def qetl_on(args: argparse.Namespace, flow: str, engine: str, config: str, database: str = "") -> Qetl:
    return QetlOn(QETL, args.work / QETL, args.threads, args.qetl, args.memory_limit, "orders_change_feed", flow,
                  {"feed": "orders_change_feed"}, engine, config, database)


def main() -> None:
    parser = options.shared(__doc__, ALL)
    parser.add_argument("--database", choices=["postgres", "duckdb"], default="postgres")
    parser.add_argument("--data", type=Path, required=True, help="folder filled by bench/generate.py")
    args = parser.parse_args()
    args.data = args.data.resolve()
    options.finish(parser, args, ALL, ALL)
    dataset = Dataset.read(args.data)
    sources = [batch_file(args.data, batch) for batch in range(1, dataset.batches + 1)]
    flow = FLOW.replace("{columns}", typed_columns(sources[0]))
    question = Question("feed", COUNTS.replace("{measure}", dataset.columns[1]), ["feed"])
    if args.database == "duckdb":
        known = on_duckdb(args, flow)
        run = Run([known[name] for name in args.engines], sources, [question])
        run.run()
    else:
        with server() as database:
            known = on_postgres(args, flow, database)
            run = Run([known[name] for name in args.engines], as_csv(args, dataset), [question])
            run.run()
    print(f"\n{dataset.keys:,} keys, {dataset.batches} batches, {len(dataset.columns)} columns, on {args.database}")
    for batch in run.batches:
        print(f"batch {batch}: {per_record_type(run.answers.get((batch, 'feed'), []))}")
    later = run.batches[1:] or run.batches
    spans = [range(batch, batch + 1) for batch in run.batches] + [later]
    rows = [row(run, engine.name, spans) for engine in run.engines]
    header = ["engine, s", *(f"batch {batch}" for batch in run.batches), f"{later[0]}–{later[-1]}", "client's peak MB", f"{later[0]}–{later[-1]} / script"]
    print(f"\n{table(header, rows, args.markdown)}")
    if args.json:
        write_json(args.json, args, asdict(dataset), {"figures": figures(run), "failures": run.failures})
    conclude(args, [run], "", [], "feeds")


if __name__ == "__main__":
    environment.enter()
    main()
