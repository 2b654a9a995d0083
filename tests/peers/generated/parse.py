"""Parses generated scripts in their dialect: parse.py DIALECT FOLDER. Commands of the shell are left out."""

import sys
from pathlib import Path

import sqlglot

dialect, folder = sys.argv[1], Path(sys.argv[2])
count = 0
for file in sorted(folder.rglob("*.sql")):
    lines = file.read_text().splitlines()
    text = "\n".join(line.replace("\\gset", ";") for line in lines if not line.startswith(("\\", ".")))
    if dialect == "postgres":
        # psql puts these in.
        for name in ["batch_id", "processed_at", "accept_guards"]:
            text = text.replace(f":'{name}'", "'1'")
    count += sum(statement is not None for statement in sqlglot.parse(text, dialect=dialect))
print(f"{dialect}: {count} statements")
