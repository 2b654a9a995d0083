#!/usr/bin/env python3
"""Writes snapshot batches `orders_1.parquet`, `orders_2.parquet`, … into a folder, the same ones for the same arguments.

Batch k+1 is batch k with a share of its rows changed in one column each, half that share deleted and as many new
keys inserted. One in ten of the deleted keys is absent from two batches and then returns, half of those with another value.
Each file is streamed from the files before it, so memory does not grow with the number of keys.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import environment

ROW_GROUP = 128 * 1024
PARTS = 1_000_000  # shares are compared as parts in a million


@dataclass(frozen=True)
class Dataset:
    """What a folder of batches holds; kept beside them as `dataset.json`."""

    keys: int
    batches: int
    columns: list[str]
    change: float
    seed: int

    @staticmethod
    def read(folder: Path) -> "Dataset":
        return Dataset(**json.loads((folder / "dataset.json").read_text()))


def batch_file(folder: Path, batch: int) -> Path:
    return folder / f"orders_{batch}.parquet"


def generate(folder: Path, keys: int, batches: int, columns: int, change: float, seed: int) -> None:
    import duckdb
    from columns import payload

    _clear(folder)
    dataset = Dataset(keys, batches, ["id", *(c.name for c in payload(columns - 1))], change, seed)
    (folder / "dataset.json").write_text(json.dumps(asdict(dataset), indent=2) + "\n")
    connection = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(folder)})
    writer = _Batches(folder, keys, payload(columns - 1), change, seed)
    for batch in range(1, batches + 1):
        started = time.monotonic()
        path = batch_file(folder, batch)
        query = writer.first() if batch == 1 else writer.following(batch)
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s", file=sys.stderr)


def _clear(folder: Path) -> None:
    """Removes the batches of an earlier run, and refuses a folder that this script has not filled."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / "dataset.json").exists():
        sys.exit(f"{folder} holds other files; --out must be an empty folder, or one that this script has filled")
    for old in folder.glob("orders_*.parquet"):
        old.unlink()


class _Batches:
    """The queries whose results are the batches."""

    def __init__(self, folder: Path, keys: int, columns: list, change: float, seed: int) -> None:
        self.folder, self.keys, self.columns, self.seed = folder, keys, columns, seed
        self.changed = round(change * PARTS)
        self.deleted = round(change / 2 * PARTS)
        self.inserted = round(change / 2 * keys)

    def first(self) -> str:
        return self._new_keys(1, self.keys, batch=1)

    def following(self, batch: int) -> str:
        low = self.keys + (batch - 2) * self.inserted + 1
        parts = [self._kept(batch), self._new_keys(low, low + self.inserted - 1, batch)]
        if batch >= 4:
            parts.append(self._returning(batch))
        return " UNION ALL ".join(parts)

    def _new_keys(self, low: int, high: int, batch: int) -> str:
        values = ", ".join(f"{c.drawn(self._random(c.name, batch))} AS {c.name}" for c in self.columns)
        return f"SELECT id, {values} FROM range({low}, {high + 1}) AS keys(id)"

    def _kept(self, batch: int) -> str:
        """The batch before, without the deleted rows; the fate of a changed row also chooses its column."""
        changes = f"fate >= {self.deleted} AND fate < {self.deleted + self.changed}"
        values = ", ".join(
            f"CASE WHEN {changes} AND fate % {len(self.columns)} = {i} "
            f"THEN {c.changed(self._random(c.name, batch))} ELSE {c.name} END AS {c.name}"
            for i, c in enumerate(self.columns)
        )
        rows = f"SELECT *, {self._fate(batch)} AS fate FROM '{batch_file(self.folder, batch - 1)}'"
        return f"SELECT id, {values} FROM ({rows}) WHERE fate >= {self.deleted}"

    def _returning(self, batch: int) -> str:
        """Keys last seen three batches ago, one in ten of those that were deleted then."""
        first = self.columns[0]
        other = first.changed(self._random(first.name, batch))
        value = f"CASE WHEN {self._random('return', batch)} % 2 = 0 THEN {other} ELSE {first.name} END AS {first.name}"
        others = "".join(f", {c.name}" for c in self.columns[1:])
        return (
            f"SELECT id, {value}{others} FROM '{batch_file(self.folder, batch - 3)}' "
            f"WHERE {self._fate(batch - 2)} < {self.deleted} AND {self._random('chosen', batch)} % 10 = 0"
        )

    def _fate(self, batch: int) -> str:
        return f"({self._random('fate', batch)} % {PARTS})::INTEGER"

    def _random(self, what: str, batch: int) -> str:
        return f"hash(id, '{what}', {batch}, {self.seed})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000, help="rows of a batch (1000000)")
    parser.add_argument("--batches", type=int, default=5, help="number of batches (5)")
    parser.add_argument("--columns", type=int, default=4, help="columns of a row, the key included; at least 2 (4)")
    parser.add_argument("--change", type=float, default=0.01, help="share of the rows that change from batch to batch (0.01)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; batches of an earlier run are removed")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other values (1)")
    args = parser.parse_args()
    if args.keys < 1 or args.batches < 1 or args.columns < 2 or not 0 <= args.change <= 0.5:
        parser.error("--keys and --batches from 1, --columns from 2, --change from 0 to 0.5")
    generate(args.out.resolve(), args.keys, args.batches, args.columns, args.change, args.seed)


if __name__ == "__main__":
    environment.enter()
    main()
