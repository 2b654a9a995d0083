#!/usr/bin/env python3
"""Measures a change feed of whole-state batches: plain copies, hand-written DuckDB and Polars, and qetl.

Every engine works on every batch in a process of its own; all must write the same feed. `--many N` instead asks whether
the cost of a batch grows with the number of batches before it.
"""

import argparse
import csv
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import environment
from engines import Engine, Qetl, Worker, default_qetl
from generate import Dataset, batch_file
from measure import Cost, Failed, measure
from report import ratio, table

COPY = "copy-floor"
FILES = ["duckdb-join", "duckdb-stored-hash", "duckdb-computed-hash"]
ALL = [COPY, *FILES, "duckdb-native", "polars", "qetl"]

# Any engine of the comparison understands this; `{feed}` is left for it to fill in.
COUNTS = """\
SELECT xt_record_type AS record_type, xt_changed_columns AS changed_columns,
    count(*) AS row_count, sum(id) AS sum_id, sum({measure}) AS sum_measure
FROM {{feed}} WHERE xt_batch_id = {batch} GROUP BY xt_record_type, xt_changed_columns"""

Counts = dict[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True)
class Figure:
    engine: str
    batch: int
    cost: Cost


class Run:
    """Every engine over every batch, batch after batch, so that a busy machine is busy for all."""

    def __init__(self, engines: list[Engine], data: Path, dataset: Dataset) -> None:
        self.engines, self.data, self.dataset = engines, data, dataset
        self.figures: list[Figure] = []
        self.counts: dict[int, dict[str, int]] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        for engine in self.engines:
            shutil.rmtree(engine.folder, ignore_errors=True)
            engine.folder.mkdir(parents=True)
        working = list(self.engines)
        for batch in range(1, self.dataset.batches + 1):
            found: dict[str, Counts] = {}
            for engine in list(working):
                try:
                    self.figures.append(Figure(engine.name, batch, self._execute(engine, batch)))
                    counts = self._count(engine, batch)
                    if counts is not None:
                        found[engine.name] = counts
                except Failed as failure:
                    self._fail(f"{engine.name}, batch {batch}: {failure}")
                    working.remove(engine)
            self._compare(batch, found)

    def cost(self, engine: str, batch: int) -> Cost | None:
        return next((f.cost for f in self.figures if (f.engine, f.batch) == (engine, batch)), None)

    def total(self, engine: str, batches: range) -> Cost | None:
        """Sums of seconds and the highest peak; None if a batch is missing."""
        costs = [self.cost(engine, batch) for batch in batches]
        if not costs or None in costs:
            return None
        return Cost(sum(c.wall for c in costs), sum(c.cpu for c in costs), max(c.peak_mb for c in costs))

    def _execute(self, engine: Engine, batch: int) -> Cost:
        source = batch_file(self.data, batch)
        engine.prepare(batch, source)
        _read_once(source)
        os.sync()
        cost = measure(engine.command(batch, source), engine.folder, engine.environment(), engine.folder / "log.txt")
        print(f"batch {batch}, {engine.name}: {cost.wall:.2f} s, cpu {cost.cpu:.2f} s, {cost.peak_mb:.0f} MB", file=sys.stderr)
        return cost

    def _count(self, engine: Engine, batch: int) -> Counts | None:
        query = COUNTS.format(measure=self.dataset.columns[1], batch=batch)
        command = engine.counts_command(batch, query)
        if command is None:
            return None
        done = subprocess.run(command, cwd=engine.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"the feed could not be counted:\n{done.stderr}")
        rows = csv.DictReader(io.StringIO(done.stdout))
        return {(r["record_type"], r["changed_columns"]): (r["row_count"], r["sum_id"], r["sum_measure"]) for r in rows}

    def _compare(self, batch: int, found: dict[str, Counts]) -> None:
        """All feeds must agree: rows and keys per record type and list of changed columns."""
        if not found:
            return
        first, expected = next(iter(found.items()))
        self.counts[batch] = _per_record_type(expected)
        for name, counts in found.items():
            if counts != expected:
                self._fail(f"batch {batch}: {name} has {_per_record_type(counts)}, {first} has {_per_record_type(expected)}; "
                           f"different groups: {sorted(set(counts.items()) ^ set(expected.items()))[:6]}")

    def _fail(self, message: str) -> None:
        print(message, file=sys.stderr)
        self.failures.append(message)


def _read_once(path: Path) -> None:
    """Every engine finds its source file in the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def _per_record_type(counts: Counts) -> dict[str, int]:
    sums: dict[str, int] = {}
    for (record_type, _), (rows, *_) in sorted(counts.items()):
        sums[record_type] = sums.get(record_type, 0) + int(rows)
    return sums


def compare(args: argparse.Namespace) -> Run:
    """The ordinary mode: all engines over a generated folder, and their ratios."""
    if args.data is None or not (args.data / "dataset.json").exists():
        sys.exit("--data must name a folder that bench/generate.py has filled")
    dataset = Dataset.read(args.data)
    if missing := [b for b in range(1, dataset.batches + 1) if not batch_file(args.data, b).exists()]:
        sys.exit(f"{args.data} lacks batch {missing[0]}; run bench/generate.py again")
    run = Run(make_engines(args, dataset), args.data, dataset)
    run.run()

    batches = range(1, dataset.batches + 1)
    later = batches[1:] or batches
    duckdb = best_duckdb(run, later)
    print(f"\n{dataset.keys:,} keys, {dataset.batches} batches, {len(dataset.columns)} columns; {args.threads} threads")
    if duckdb:
        print(f"duckdb = the fastest hand-written statement over Parquet files here: {duckdb}")
    for batch in batches:
        print_costs(f"Batch {batch}: {run.counts.get(batch, {})}", run, range(batch, batch + 1), duckdb, args.markdown)
    if len(batches) > 1:
        print_costs(f"Batches {later[0]} to {later[-1]} together", run, later, duckdb, args.markdown)
    return run


def best_duckdb(run: Run, batches: range) -> str | None:
    totals = {name: total.wall for name in FILES if (total := run.total(name, batches))}
    return min(totals, key=totals.get) if totals else None


def print_costs(title: str, run: Run, batches: range, duckdb: str | None, markdown: bool) -> None:
    header = ["engine", "wall s", "cpu s", "peak MB", "wall / duckdb", "cpu / duckdb", "wall / copy floor", "cpu / copy floor"]
    bases = [run.total(duckdb, batches) if duckdb else None, run.total(COPY, batches)]
    rows = []
    for engine in run.engines:
        total = run.total(engine.name, batches)
        if total is None:
            rows.append([engine.name, "failed", *["–"] * (len(header) - 2)])
            continue
        row = [engine.name, f"{total.wall:.2f}", f"{total.cpu:.2f}", f"{total.peak_mb:.0f}"]
        for base in bases:
            row += [ratio(total.wall, base and base.wall), ratio(total.cpu, base and base.cpu)]
        rows.append(row)
    print(f"\n{title}\n\n{table(header, rows, markdown)}")


def many(args: argparse.Namespace) -> Run:
    """Many small batches: is the last one as fast as the second?"""
    if args.many < 4:
        sys.exit("--many needs at least 4 batches")
    data = args.work / "many_data"
    # In a process of its own, since this one must stay small.
    generator = [sys.executable, str(Path(__file__).with_name("generate.py")), "--out", str(data)]
    subprocess.run([*generator, "--keys", str(args.keys), "--batches", str(args.many)], check=True)
    dataset = Dataset.read(data)
    run = Run(make_engines(args, dataset), data, dataset)
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


def make_engines(args: argparse.Namespace, dataset: Dataset) -> list[Engine]:
    def worker(name: str, script: str, variant: str = "") -> Worker:
        limit = args.duckdb_memory_limit if name != "polars" else None
        return Worker(name, args.work / name, args.threads, script, variant, limit)

    known: dict[str, Engine] = {
        COPY: worker(COPY, "copy_floor.py"),
        **{name: worker(name, "duckdb_files.py", name.removeprefix("duckdb-").replace("-", "_")) for name in FILES},
        "duckdb-native": worker("duckdb-native", "duckdb_native.py", "join"),
        "polars": worker("polars", "polars_files.py"),
        "qetl": Qetl("qetl", args.work / "qetl", args.threads, args.qetl, dataset.columns, args.memory_limit),
    }
    return [known[name] for name in args.engines]


def write_json(path: Path, args: argparse.Namespace, run: Run) -> None:
    import psutil

    machine = {"system": platform.platform(), "cores": os.cpu_count(), "memory_mb": round(psutil.virtual_memory().total / 1e6)}
    packages = environment.REQUIREMENTS.read_text().split()
    settings = {"threads": args.threads, "qetl_memory_limit": args.memory_limit, "duckdb_memory_limit": args.duckdb_memory_limit}
    later = range(2, run.dataset.batches + 1)
    path.write_text(json.dumps({
        "machine": machine,
        "packages": packages,
        "settings": settings,
        "dataset": asdict(run.dataset),
        "duckdb": best_duckdb(run, later),
        "figures": [{"engine": f.engine, "batch": f.batch, **asdict(f.cost)} for f in run.figures],
        "record_types": run.counts,
        "failures": run.failures,
    }, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder filled by bench/generate.py")
    parser.add_argument("--work", type=Path, default=environment.CACHE / "work", help="folder for what the engines write")
    parser.add_argument("--keep", action="store_true", help="leave what the engines wrote in --work (always left after a failure)")
    parser.add_argument("--engines", help=f"comma-separated choice of: {', '.join(ALL)} (all; with --many: qetl)")
    parser.add_argument("--qetl", type=Path, default=default_qetl(), help="the qetl binary (%(default)s)")
    parser.add_argument("--memory-limit", default="2GB", help="qetl's memory_limit (2GB)")
    parser.add_argument("--duckdb-memory-limit", help="DuckDB's memory_limit (DuckDB's own default: 80 %% of the memory)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--many", type=int, metavar="N", help="run N small batches, to see whether their cost grows")
    parser.add_argument("--keys", type=int, default=100_000, help="rows of each of the small batches of --many (100000)")
    args = parser.parse_args()
    args.work, args.qetl = args.work.resolve(), args.qetl.resolve()
    args.data = args.data and args.data.resolve()
    args.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    choose_engines(parser, args)
    return args


def choose_engines(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    default = ["qetl"] if args.many else ALL
    chosen = [name.strip() for name in args.engines.split(",")] if args.engines else default
    if unknown := [name for name in chosen if name not in ALL]:
        parser.error(f"unknown engine {unknown[0]}; known: {', '.join(ALL)}")
    if "qetl" in chosen and not args.qetl.exists():
        message = f"no qetl binary at {args.qetl}: build one (cargo build --release) or name it with --qetl"
        if args.engines or args.many:
            parser.error(message)
        print(f"{message}; going on without", file=sys.stderr)
        chosen = [name for name in chosen if name != "qetl"]
    args.engines = chosen


def main() -> None:
    args = parse_arguments()
    run = many(args) if args.many else compare(args)
    if args.json:
        write_json(args.json, args, run)
    if not args.keep and not run.failures:
        for folder in [*(engine.folder for engine in run.engines), args.work / "many_data"]:
            shutil.rmtree(folder, ignore_errors=True)
    if run.failures:
        sys.exit("\n".join(["", "FAILED:", *run.failures]))
    compared = [e.name for e in run.engines if e.name != COPY]
    if len(compared) > 1:
        print(f"\nAll feeds agree: {', '.join(compared)}")


if __name__ == "__main__":
    environment.enter()
    main()
