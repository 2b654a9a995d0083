"""The benchmark's own virtual environment, made when it is missing or its pinned packages have changed."""

import os
import subprocess
import sys
from pathlib import Path

CACHE = Path.home() / ".cache" / "qetl-bench"
VENV = CACHE / "venv"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def enter() -> None:
    """Starts the running script again inside the virtual environment, unless it is there already."""
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    installed = VENV / "requirements.txt"
    if not installed.exists() or installed.read_text() != REQUIREMENTS.read_text():
        _make(installed)
    python = VENV / "bin" / "python"
    os.execv(python, [str(python), *sys.argv])


def _make(installed: Path) -> None:
    if sys.version_info < (3, 11):
        sys.exit("the benchmark needs Python 3.11 or newer")
    print(f"making {VENV}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    subprocess.run([VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
    installed.write_text(REQUIREMENTS.read_text())
