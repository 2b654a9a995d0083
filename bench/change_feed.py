#!/usr/bin/env python3
"""Measures a change feed of whole-state batches: plain copies, hand-written DuckDB and Polars, and qetl.

Every engine works on every batch in a process of its own; all must write the same feed. `--many N` instead asks whether
the cost of a batch grows with the number of batches before it.
"""

import argparse
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import environment
import options
from conclude import conclude, figures, print_costs, write_json
from engines import Engine, QetlFolder
from generate import Dataset, batch_file
from report import ratio, table
from run import Question, Row, Run

COPY = "copy-floor"
FILES = ["duckdb-join", "duckdb-stored-hash", "duckdb-computed-hash"]
ALL = [COPY, *FILES, "duckdb-native", "polars", "qetl"]

COUNTS = """\
SELECT xt_record_type AS record_type, xt_changed_columns AS changed_columns,
    count(*) AS row_count, sum(id) AS sum_id, sum({measure}) AS sum_measure
FROM {feed} WHERE xt_batch_id = {batch} GROUP BY xt_record_type, xt_changed_columns"""

FLOW = """\
id = "orders_change_feed"
name = "Orders change feed"
flow_type = "change_feed"

[input]
primary_key = ["id"]
columns = [{columns}]

[properties.load]
source_path = "data/orders"
file_pattern = "orders_*.parquet"
format = "parquet"
batch_id_from = 'orders_(\\d+)'
"""


def compare(args: argparse.Namespace) -> Run:
    """The ordinary mode: all engines over a generated folder, and their ratios."""
    if args.data is None or not (args.data / "dataset.json").exists():
        sys.exit("--data must name a folder that bench/generate.py has filled")
    dataset = Dataset.read(args.data)
    if missing := [b for b in range(1, dataset.batches + 1) if not batch_file(args.data, b).exists()]:
        sys.exit(f"{args.data} lacks batch {missing[0]}; run bench/generate.py again")
    run = make_run(args, args.data, dataset)
    run.run()

    batches = run.batches
    later = batches[1:] or batches
    duckdb = run.fastest(FILES, later)
    print(f"\n{dataset.keys:,} keys, {dataset.batches} batches, {len(dataset.columns)} columns; {args.threads} threads")
    if duckdb:
        print(f"duckdb = the fastest hand-written statement over Parquet files here: {duckdb}")
    for batch in batches:
        counts = per_record_type(run.answers.get((batch, "feed"), []))
        print_costs(f"Batch {batch}: {counts}", run, range(batch, batch + 1), duckdb, COPY, args.markdown)
    if len(batches) > 1:
        print_costs(f"Batches {later[0]} to {later[-1]} together", run, later, duckdb, COPY, args.markdown)
    return run


def per_record_type(rows: list[Row]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row["record_type"]):
        sums[row["record_type"]] = sums.get(row["record_type"], 0) + int(row["row_count"])
    return sums


def many(args: argparse.Namespace) -> Run:
    """Many small batches: is the last one as fast as the second?"""
    if args.many < 4:
        sys.exit("--many needs at least 4 batches")
    data = args.work / "many_data"
    # In a process of its own, since this one must stay small.
    generator = [sys.executable, str(Path(__file__).with_name("generate.py")), "--out", str(data)]
    subprocess.run([*generator, "--keys", str(args.keys), "--batches", str(args.many)], check=True)
    dataset = Dataset.read(data)
    run = make_run(args, data, dataset)
    run.run()

    chosen = [2, args.many // 2, args.many]
    span = min(5, args.many // 2)
    first, last = range(2, 2 + span), range(args.many - span + 1, args.many + 1)
    header = ["engine", *(f"batch {b} s" for b in chosen), f"median of {first[0]}–{first[-1]}",
              f"median of {last[0]}–{last[-1]}", "growth"]
    rows = []
    for engine in run.engines:
        walls = {f.batch: f.cost.wall for f in run.figures if f.engine == engine.name}
        if len(walls) < args.many:
            rows.append([engine.name, "failed", *["–"] * (len(header) - 2)])
            continue
        early, late = (statistics.median(walls[b] for b in batches) for batches in (first, last))
        rows.append([engine.name, *(f"{walls[b]:.2f}" for b in chosen), f"{early:.2f}", f"{late:.2f}", ratio(late, early)])
    print(f"\n{args.many} batches of {args.keys:,} keys\n\n{table(header, rows, args.markdown)}")
    return run


def make_run(args: argparse.Namespace, data: Path, dataset: Dataset) -> Run:
    sources = [batch_file(data, batch) for batch in range(1, dataset.batches + 1)]
    query = COUNTS.replace("{measure}", dataset.columns[1])
    return Run(make_engines(args, dataset), sources, [Question("feed", query, ["feed"])])


def make_engines(args: argparse.Namespace, dataset: Dataset) -> list[Engine]:
    flow = FLOW.replace("{columns}", ", ".join(f'"{c}"' for c in dataset.columns))
    qetl = QetlFolder("qetl", args.work / "qetl", args.threads, args.qetl, args.memory_limit, "orders_change_feed", flow,
                      {"feed": "orders_change_feed"}, "data/orders")
    known: dict[str, Engine] = {
        COPY: options.worker(args, COPY, "copy_floor.py"),
        **{name: options.worker(args, name, "duckdb_files.py", name.removeprefix("duckdb-").replace("-", "_")) for name in FILES},
        "duckdb-native": options.worker(args, "duckdb-native", "duckdb_native.py", "join"),
        "polars": options.worker(args, "polars", "polars_files.py"),
        "qetl": qetl,
    }
    return [known[name] for name in args.engines]


def parse_arguments() -> argparse.Namespace:
    parser = options.shared(__doc__, ALL)
    parser.add_argument("--data", type=Path, help="folder filled by bench/generate.py")
    parser.add_argument("--many", type=int, metavar="N", help="run N small batches, to see whether their cost grows")
    parser.add_argument("--keys", type=int, default=100_000, help="rows of each of the small batches of --many (100000)")
    args = parser.parse_args()
    args.data = args.data and args.data.resolve()
    options.finish(parser, args, ALL, ["qetl"] if args.many else ALL)
    return args


def main() -> None:
    args = parse_arguments()
    run = many(args) if args.many else compare(args)
    if args.json:
        dataset = Dataset.read(args.work / "many_data" if args.many else args.data)
        types = {batch: per_record_type(rows) for (batch, _), rows in run.answers.items()}
        write_json(args.json, args, asdict(dataset), {
            "duckdb": run.fastest(FILES, run.batches[1:]),
            "figures": figures(run),
            "record_types": types,
            "failures": run.failures,
        })
    conclude(args, [run], COPY, [args.work / "many_data"], "feeds")


if __name__ == "__main__":
    environment.enter()
    main()
