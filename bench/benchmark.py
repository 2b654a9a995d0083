"""A benchmark of two batches: a great one, then a small one that changes what was made of the first."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import environment
import options
from batches import batch_folder, ensure, option
from conclude import conclude, figures, print_costs, write_json
from engines import Engine
from run import Question, Row, Run

COPY = "copy-floor"


@dataclass(frozen=True)
class Benchmark:
    about: str
    generator: str
    sizes: dict[str, int]  # the generator's arguments, and this script's
    quick: dict[str, int]  # the same, for a run of seconds
    titles: list[str]  # what the batches are
    runs: dict[str, Callable[[argparse.Namespace], dict[str, Engine]]]  # by what is made; the same engines each
    questions: list[Question]
    duckdb: list[str]  # the hand-written engines

    @property
    def engines(self) -> list[str]:
        return [COPY, *self.duckdb, "qetl"]


def main(benchmark: Benchmark) -> None:
    environment.enter()
    args, sizes = _arguments(benchmark)
    data = args.data or args.work / f"{Path(sys.argv[0]).stem}_data"
    ensure(benchmark.generator, data, sizes)
    runs = {what: _run(benchmark, args, data, what) for what in benchmark.runs}

    print(f"\n{', '.join(f'{name} {value:,}' for name, value in sizes.items())}; {args.threads} threads")
    for what, run in runs.items():
        for batch, title in zip(run.batches, benchmark.titles):
            only = range(batch, batch + 1)
            duckdb = run.fastest(benchmark.duckdb, only)
            print_costs(f"{what}, batch {batch}: {title} (duckdb = {duckdb})", run, only, duckdb, COPY, args.markdown)
    if args.json:
        write_json(args.json, args, sizes, {"runs": {what: _described(run) for what, run in runs.items()}})
    folders = [args.work / what for what in runs]
    conclude(args, list(runs.values()), COPY, folders if args.data else [*folders, data], "answers")


def _run(benchmark: Benchmark, args: argparse.Namespace, data: Path, what: str) -> Run:
    print(f"{what}:", file=sys.stderr)
    known = benchmark.runs[what](argparse.Namespace(**vars(args) | {"work": args.work / what}))
    sources = [batch_folder(data, batch) for batch in range(1, len(benchmark.titles) + 1)]
    run = Run([known[name] for name in args.engines], sources, benchmark.questions)
    run.run()
    return run


def _described(run: Run) -> dict:
    """Answers of many rows are left out."""
    answers = {f"batch {batch}, {about}": rows for (batch, about), rows in run.answers.items() if len(rows) <= 50}
    return {
        "figures": figures(run),
        "answers": {what: [_texts(row) for row in rows] for what, rows in answers.items()},
        "failures": run.failures,
    }


def _texts(row: Row) -> dict[str, str | None]:
    return {name: None if cell is None else str(cell) for name, cell in row.items()}


def _arguments(benchmark: Benchmark) -> tuple[argparse.Namespace, dict[str, int]]:
    parser = options.shared(benchmark.about, benchmark.engines)
    parser.add_argument("--data", type=Path, help="folder for the generated batches, kept for the next run (one in --work, removed)")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a run of seconds")
    for name, size in benchmark.sizes.items():
        parser.add_argument(option(name), type=int, help=f"see {benchmark.generator} ({size}; --quick {benchmark.quick[name]})")
    args = parser.parse_args()
    args.data = args.data and args.data.resolve()
    options.finish(parser, args, benchmark.engines, benchmark.engines)
    sizes = benchmark.quick if args.quick else benchmark.sizes
    chosen = {name: size if getattr(args, name) is None else getattr(args, name) for name, size in sizes.items()}
    if too_small := [name for name, size in chosen.items() if size < 1]:
        parser.error(f"{option(too_small[0])} from 1")
    return args, chosen
