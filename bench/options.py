"""The arguments that all benchmarks share."""

import argparse
import os
import sys
from pathlib import Path

import environment
from engines import Qetl, Worker, default_qetl


def shared(description: str, known: list[str]) -> argparse.ArgumentParser:
    """`known` are the names of the engines."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=environment.CACHE / "work", help="folder for what the engines write")
    parser.add_argument("--keep", action="store_true", help="leave what the engines wrote in --work (always left after a failure)")
    parser.add_argument("--engines", help=f"comma-separated choice of: {', '.join(known)}")
    parser.add_argument("--qetl", type=Path, default=default_qetl(), help="the qetl binary (%(default)s)")
    parser.add_argument("--memory-limit", default="2GB", help="qetl's memory_limit (2GB)")
    parser.add_argument("--duckdb-memory-limit", help="DuckDB's memory_limit (DuckDB's own default: 80 %% of the memory)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    return parser


def finish(parser: argparse.ArgumentParser, args: argparse.Namespace, known: list[str], default: list[str]) -> None:
    """Makes paths absolute, counts the threads and turns `args.engines` into the list of the engines to run."""
    args.work, args.qetl = args.work.resolve(), args.qetl.resolve()
    args.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chosen = [name.strip() for name in args.engines.split(",")] if args.engines else default
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"unknown engine {unknown[0]}; known: {', '.join(known)}")
    if "qetl" in chosen and not args.qetl.exists():
        message = f"no qetl binary at {args.qetl}: build one (cargo build --release) or name it with --qetl"
        if args.engines or default == ["qetl"]:
            parser.error(message)
        print(f"{message}; going on without", file=sys.stderr)
        chosen = [name for name in chosen if name != "qetl"]
    args.engines = chosen


def worker(args: argparse.Namespace, name: str, script: str, variant: str = "") -> Worker:
    limit = args.duckdb_memory_limit if name != "polars" else None
    return Worker(name, args.work / name, args.threads, script, variant, limit)


def qetl(args: argparse.Namespace, flow_id: str, flow: str, datasets: dict[str, str]) -> Qetl:
    return Qetl("qetl", args.work / "qetl", args.threads, args.qetl, args.memory_limit, flow_id, flow, datasets)
