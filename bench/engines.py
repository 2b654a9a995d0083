"""The engines that are compared: how each is given a batch, and how its datasets are queried afterwards.

A batch is a file or a folder of files.
"""

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

    def query_command(self, batch: int, query: str, datasets: list[str]) -> list[str] | None:
        """Prints the result of a query as CSV. `{feed}` stands for the dataset `feed`; None: there are no datasets."""
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

    def query_command(self, batch: int, query: str, datasets: list[str]) -> list[str] | None:
        if self.script == "copy_floor.py":
            return None
        native = self.script == "duckdb_native.py"
        database = str(self.folder / "feed.duckdb") if native else ":memory:"
        places = {name: name if native else f"'{self.folder / name / f'batch_{batch}.parquet'}'" for name in datasets}
        return [sys.executable, str(WORKERS / "query.py"), database, query.format(**places)]

    def environment(self) -> dict[str, str]:
        return {"POLARS_MAX_THREADS": str(self.threads)}


@dataclass(frozen=True)
class Qetl(Engine):
    """The qetl binary in a project of its own, which is told the files of each batch."""

    binary: Path
    memory_limit: str
    flow_id: str
    flow: str  # the text of the flow file
    datasets: dict[str, str]  # qetl's names of the datasets, by the names in queries

    def prepare(self, batch: int, source: Path) -> None:
        if batch > 1:
            return
        (self.folder / "flows").mkdir()
        (self.folder / "qetl.toml").write_text(self._project())
        (self.folder / "flows" / f"{self.flow_id}.toml").write_text(self.flow)

    def command(self, batch: int, source: Path) -> list[str]:
        inputs = [word for file in files_of(source) for word in ("--input", str(file))]
        return [str(self.binary), "execute", self.flow_id, "--batch-id", str(batch), *inputs, "--format", "json"]

    def query_command(self, batch: int, query: str, datasets: list[str]) -> list[str] | None:
        return [str(self.binary), "query", query.format(**{name: self.datasets[name] for name in datasets}), "--format", "csv"]

    def _project(self) -> str:
        return f"""\
[project]
name = "benchmark"

[engine]
memory_limit = "{self.memory_limit}"
threads = {self.threads}
"""


@dataclass(frozen=True)
class QetlFolder(Qetl):
    """The same, with one more file for each batch in a folder that the flow loads from."""

    load_from: str

    def prepare(self, batch: int, source: Path) -> None:
        super().prepare(batch, source)
        data = self.folder / self.load_from
        data.mkdir(parents=True, exist_ok=True)
        _link(source, data / source.name)

    def command(self, batch: int, source: Path) -> list[str]:
        return [str(self.binary), "execute", "--format", "json"]


def files_of(source: Path) -> list[Path]:
    return sorted(source.iterdir()) if source.is_dir() else [source]


def default_qetl() -> Path:
    target = os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache" / "qetl-target"
    return Path(target) / "release" / "qetl"


def _link(source: Path, target: Path) -> None:
    """One file under two names where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
