"""The engines that are compared: how each is given a batch, and how its feed is counted afterwards."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

WORKERS = Path(__file__).with_name("workers")


@dataclass(frozen=True)
class Engine:
    name: str
    folder: Path  # everything the engine writes
    threads: int

    def prepare(self, batch: int, source: Path) -> None:
        """What happens before the clock starts."""

    def command(self, batch: int, source: Path) -> list[str]:
        raise NotImplementedError

    def counts_command(self, batch: int, query: str) -> list[str] | None:
        """Prints the result of a query, in which `{feed}` stands for the feed, as CSV; None: there is no feed."""
        return None

    def environment(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class Worker(Engine):
    """A Python script of the folder `workers`."""

    script: str
    variant: str = ""
    memory_limit: str | None = None

    def command(self, batch: int, source: Path) -> list[str]:
        command = [sys.executable, str(WORKERS / self.script), "--folder", str(self.folder), "--batch", str(batch)]
        command += ["--source", str(source), "--threads", str(self.threads), "--variant", self.variant]
        return command + (["--memory-limit", self.memory_limit] if self.memory_limit else [])

    def counts_command(self, batch: int, query: str) -> list[str] | None:
        if self.script == "copy_floor.py":
            return None
        native = self.script == "duckdb_native.py"
        database = str(self.folder / "feed.duckdb") if native else ":memory:"
        feed = "feed" if native else f"'{self.folder / 'feed' / f'batch_{batch}.parquet'}'"
        return [sys.executable, str(WORKERS / "query.py"), database, query.format(feed=feed)]

    def environment(self) -> dict[str, str]:
        return {"POLARS_MAX_THREADS": str(self.threads)}


@dataclass(frozen=True)
class Qetl(Engine):
    """The qetl binary in a project of its own, which finds one more file for each batch."""

    binary: Path
    columns: list[str]
    memory_limit: str

    def prepare(self, batch: int, source: Path) -> None:
        data = self.folder / "data" / "orders"
        if batch == 1:
            data.mkdir(parents=True)
            (self.folder / "flows").mkdir()
            (self.folder / "qetl.toml").write_text(self._project())
            (self.folder / "flows" / "orders.toml").write_text(self._flow())
        _link(source, data / source.name)

    def command(self, batch: int, source: Path) -> list[str]:
        return [str(self.binary), "execute", "--format", "json"]

    def counts_command(self, batch: int, query: str) -> list[str] | None:
        return [str(self.binary), "query", query.format(feed="orders_change_feed"), "--format", "csv"]

    def _project(self) -> str:
        return f"""\
[project]
name = "change_feed_benchmark"

[engine]
memory_limit = "{self.memory_limit}"
threads = {self.threads}
"""

    def _flow(self) -> str:
        columns = ", ".join(f'"{c}"' for c in self.columns)
        return f"""\
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


def default_qetl() -> Path:
    target = os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache" / "qetl-target"
    return Path(target) / "release" / "qetl"


def _link(source: Path, target: Path) -> None:
    """One file under two names where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
