"""Every engine over every batch: what each costs, and whether their datasets agree."""

import csv
import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from engines import Engine, files_of
from measure import Cost, Failed, measure


@dataclass(frozen=True)
class Question:
    """A query that every engine answers after each batch, all with the same rows in any order.

    Its text suits DuckDB and qetl alike; `{name}` stands for the dataset `name`, `{batch}` for the batch.
    """

    about: str
    query: str
    datasets: list[str]

    def text(self, batch: int) -> str:
        """The query for a batch; the names of its datasets are left for the engine to fill in."""
        return self.query.replace("{batch}", str(batch))


# The cells of a row by the names of their columns. Numbers are Decimals, so that 1.0 equals 1.00; NULL is None.
Row = dict[str, str | Decimal | None]


@dataclass(frozen=True)
class Figure:
    engine: str
    batch: int
    cost: Cost


class Run:
    """Batch after batch, so that a busy machine is busy for all."""

    def __init__(self, engines: list[Engine], sources: list[Path], questions: list[Question]) -> None:
        """`sources` are the batches 1, 2, …, each a file or a folder of files."""
        self.engines, self.sources, self.questions = engines, sources, questions
        self.batches = range(1, len(sources) + 1)
        self.figures: list[Figure] = []
        self.answers: dict[tuple[int, str], list[Row]] = {}  # by batch and what the question is about
        self.failures: list[str] = []

    def run(self) -> None:
        for engine in self.engines:
            shutil.rmtree(engine.folder, ignore_errors=True)
            engine.folder.mkdir(parents=True)
        working = list(self.engines)
        for batch in self.batches:
            found: dict[str, list[list[Row]]] = {}
            for engine in list(working):
                try:
                    self.figures.append(Figure(engine.name, batch, self._execute(engine, batch)))
                    answers = [self._ask(engine, batch, question) for question in self.questions]
                    if None not in answers:
                        found[engine.name] = answers
                except Failed as failure:
                    self._fail(f"{engine.name}, batch {batch}: {failure}")
                    working.remove(engine)
            for index, question in enumerate(self.questions):
                self._compare(batch, question, {name: answers[index] for name, answers in found.items()})

    def cost(self, engine: str, batch: int) -> Cost | None:
        return next((f.cost for f in self.figures if (f.engine, f.batch) == (engine, batch)), None)

    def total(self, engine: str, batches: range) -> Cost | None:
        """Sums of seconds and the highest peak; None if a batch is missing."""
        costs = [self.cost(engine, batch) for batch in batches]
        if not costs or None in costs:
            return None
        return Cost(sum(c.wall for c in costs), sum(c.cpu for c in costs), max(c.peak_mb for c in costs))

    def fastest(self, engines: list[str], batches: range) -> str | None:
        totals = {name: total.wall for name in engines if (total := self.total(name, batches))}
        return min(totals, key=totals.get) if totals else None

    def _execute(self, engine: Engine, batch: int) -> Cost:
        source = self.sources[batch - 1]
        engine.prepare(batch, source)
        _read_once(source)
        os.sync()
        cost = measure(engine.command(batch, source), engine.folder, engine.environment(), engine.folder / "log.txt")
        print(f"batch {batch}, {engine.name}: {cost.wall:.2f} s, cpu {cost.cpu:.2f} s, {cost.peak_mb:.0f} MB", file=sys.stderr)
        return cost

    def _ask(self, engine: Engine, batch: int, question: Question) -> list[Row] | None:
        command = engine.query_command(batch, question.text(batch), question.datasets)
        if command is None:
            return None
        done = subprocess.run(command, cwd=engine.folder, env=os.environ | engine.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"what it wrote could not be queried ({question.about}):\n{done.stderr}")
        return [{name: _cell(text) for name, text in row.items()} for row in csv.DictReader(io.StringIO(done.stdout))]

    def _compare(self, batch: int, question: Question, found: dict[str, list[Row]]) -> None:
        if not found:
            return
        first, expected = next(iter(found.items()))
        self.answers[batch, question.about] = expected
        for name, rows in found.items():
            missing, extra = _multiset(expected) - _multiset(rows), _multiset(rows) - _multiset(expected)
            if missing or extra:
                self._fail(f"batch {batch}, {question.about}: {name} lacks {_sample(missing)} of {first}, and has {_sample(extra)} instead")

    def _fail(self, message: str) -> None:
        print(message, file=sys.stderr)
        self.failures.append(message)


def _read_once(source: Path) -> None:
    """Every engine finds its source files in the page cache."""
    for path in files_of(source):
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def _cell(text: str) -> str | Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return text


def _multiset(rows: list[Row]) -> Counter:
    return Counter(tuple(row.items()) for row in rows)


def _sample(rows: Counter) -> str:
    shown = [", ".join(f"{name} {cell}" for name, cell in row) for row in list(rows)[:3]]
    return f"{rows.total()} rows ({'; '.join(shown)}{', …' if len(rows) > 3 else ''})" if rows else "nothing"
