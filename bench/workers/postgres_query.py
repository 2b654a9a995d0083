"""Prints the result of a query as CSV. Not measured."""

import csv
import os
import sys

import psycopg


def main() -> None:
    with psycopg.connect(os.environ["QETL_BENCH_DATABASE"]) as connection:
        result = connection.execute(sys.argv[1])
        writer = csv.writer(sys.stdout)
        writer.writerow(column.name for column in result.description)
        writer.writerows(result.fetchall())


main()
