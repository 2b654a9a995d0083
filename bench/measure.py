"""What one process costs: wall seconds, user + system seconds, peak resident memory.

The kernel counts the memory of the process that starts another one into the peak of the other (both share it until
`exec`), so the process that measures must stay small: it imports neither DuckDB nor Polars.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float
    peak_mb: float


class Failed(Exception):
    """The process ended with another exit code than 0."""


def measure(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Cost:
    """Runs a command in a folder, its output going to the log, and waits for it."""
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"exit code {process.returncode}, see {log}:\n{_tail(log)}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_UNIT / 1e6)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
