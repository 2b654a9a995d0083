"""Prints the result of a query as CSV, written as `qetl query --format csv` writes it. Not measured."""

import csv
import sys
from datetime import datetime

import duckdb


def main() -> None:
    database, query = sys.argv[1:]
    result = duckdb.connect(database, read_only=database != ":memory:").execute(query)
    writer = csv.writer(sys.stdout)
    writer.writerow(column[0] for column in result.description)
    writer.writerows([_cell(value) for value in row] for row in result.fetchall())


def _cell(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"
    return value


main()
