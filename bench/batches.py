"""Folders of generated batches: `batch_1/`, `batch_2/`, … with Parquet files, and `dataset.json`, which says how they were made."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROW_GROUP = 128 * 1024

# The batch, the number of the file in it, and the query whose result is the file.
File = tuple[int, int, str]


def batch_folder(folder: Path, batch: int) -> Path:
    return folder / f"batch_{batch}"


def ensure(script: str, folder: Path, arguments: dict[str, int]) -> None:
    """Fills a folder with a generator's batches, unless they are there already."""
    dataset = folder / "dataset.json"
    if dataset.exists() and json.loads(dataset.read_text()) == _described(script, arguments):
        return
    # In a process of its own, since the one that measures must stay small.
    words = [word for name, value in arguments.items() for word in (option(name), str(value))]
    subprocess.run([sys.executable, str(Path(__file__).with_name(script)), "--out", str(folder), *words], check=True)


def generator(about: str, arguments: dict[str, str], files: Callable[..., Iterator[File]]) -> None:
    """The main function of a generator: `files` is called with the arguments, integers all."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; batches of an earlier run are removed")
    for name, text in arguments.items():
        parser.add_argument(option(name), type=int, required=True, help=text)
    chosen = vars(parser.parse_args())
    folder = chosen.pop("out").resolve()
    if too_small := [name for name, value in chosen.items() if value < 1]:
        parser.error(f"{option(too_small[0])} from 1")
    _clear(folder)
    _write(folder, files(**chosen))
    # Last, so that a folder half written is never taken for a whole one.
    (folder / "dataset.json").write_text(json.dumps(_described(Path(sys.argv[0]).name, chosen), indent=2) + "\n")


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _described(script: str, arguments: dict[str, int]) -> dict:
    return {"generator": script, **arguments}


def _clear(folder: Path) -> None:
    """Removes the batches of an earlier run, and refuses a folder with anything else in it."""
    folder.mkdir(parents=True, exist_ok=True)
    old = list(folder.glob("batch_*/part_*.parquet"))
    known = {folder / "dataset.json", folder / "spill", *(path.parent for path in old)}
    if foreign := sorted(set(folder.iterdir()) - known):
        sys.exit(f"{folder} holds other files, such as {foreign[0].name}; name an empty folder, or one that this script has filled")
    for path in [folder / "dataset.json", *old]:
        path.unlink(missing_ok=True)


def _write(folder: Path, files: Iterator[File]) -> None:
    import duckdb

    connection = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(folder / "spill")})
    for batch, part, query in files:
        started = time.monotonic()
        path = batch_folder(folder, batch) / f"part_{part}.parquet"
        path.parent.mkdir(exist_ok=True)
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s", file=sys.stderr)
