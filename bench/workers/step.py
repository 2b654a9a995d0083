"""What every worker is told: one batch to work on, and where its files are."""

import argparse
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

ROW_GROUP = 128 * 1024
ZSTD_LEVEL = 1
COPY_OPTIONS = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {ZSTD_LEVEL}, PARQUET_VERSION v2, ROW_GROUP_SIZE {ROW_GROUP}"


@dataclass(frozen=True)
class Step:
    folder: Path
    batch: int
    source: Path  # a file, or a folder of files
    threads: int
    memory_limit: str | None
    variant: str
    at: datetime

    @staticmethod
    def from_arguments() -> "Step":
        parser = argparse.ArgumentParser()
        parser.add_argument("--folder", type=Path, required=True)
        parser.add_argument("--batch", type=int, required=True)
        parser.add_argument("--source", type=Path, required=True)
        parser.add_argument("--threads", type=int, required=True)
        parser.add_argument("--memory-limit")
        parser.add_argument("--variant", default="")
        return Step(**vars(parser.parse_args()), at=datetime.now(timezone.utc))

    def file(self, dataset: str, batch: int | None = None) -> Path:
        """The file of a dataset for this batch, or for another one."""
        path = self.folder / dataset / f"batch_{batch or self.batch}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def parquet(self) -> str:
        """The files of the batch, as DuckDB is told of them."""
        return str(self.source / "*.parquet" if self.source.is_dir() else self.source)

    def duckdb_config(self) -> dict:
        config = {"threads": self.threads, "temp_directory": str(self.folder / "spill"), "preserve_insertion_order": False}
        return config | ({"memory_limit": self.memory_limit} if self.memory_limit else {})


def make_durable(*files: Path) -> None:
    """Returns once the files, and their names in their folders, are on disk."""
    for path in [*files, *{file.parent for file in files}]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
