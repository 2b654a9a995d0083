"""What every benchmark ends with: tables of costs, the JSON file, and the verdict."""

import argparse
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import environment
from report import ratio, table
from run import Run


def print_costs(title: str, run: Run, batches: range, duckdb: str | None, copy: str, markdown: bool) -> None:
    """`duckdb` and `copy` are the engines that the others are compared with."""
    header = ["engine", "wall s", "cpu s", "peak MB", "wall / duckdb", "cpu / duckdb", "wall / copy floor", "cpu / copy floor"]
    bases = [run.total(duckdb, batches) if duckdb else None, run.total(copy, batches)]
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


def write_json(path: Path, args: argparse.Namespace, dataset: dict, results: dict) -> None:
    import psutil

    machine = {"system": platform.platform(), "cores": os.cpu_count(), "memory_mb": round(psutil.virtual_memory().total / 1e6)}
    packages = environment.REQUIREMENTS.read_text().split()
    settings = {"threads": args.threads, "qetl_memory_limit": args.memory_limit, "duckdb_memory_limit": args.duckdb_memory_limit}
    head = {"machine": machine, "packages": packages, "settings": settings, "dataset": dataset}
    path.write_text(json.dumps(head | results, indent=2) + "\n")


def figures(run: Run) -> list[dict]:
    return [{"engine": f.engine, "batch": f.batch, **asdict(f.cost)} for f in run.figures]


def conclude(args: argparse.Namespace, runs: list[Run], copy: str, folders: list[Path], what: str) -> None:
    """Removes what was written, `folders` included, and says whether all engines agree; exit code 1 if not."""
    failures = [failure for run in runs for failure in run.failures]
    if not args.keep and not failures:
        for folder in [*(engine.folder for run in runs for engine in run.engines), *folders]:
            shutil.rmtree(folder, ignore_errors=True)
    if failures:
        sys.exit("\n".join(["", "FAILED:", *failures]))
    for run in runs:
        compared = [e.name for e in run.engines if e.name != copy]
        if len(compared) > 1:
            print(f"\nAll {what} agree: {', '.join(compared)}")
