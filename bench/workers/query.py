"""Prints the result of a query as CSV, for counting what an engine has written. Not measured."""

import csv
import sys

import duckdb

database, query = sys.argv[1:]
result = duckdb.connect(database, read_only=database != ":memory:").execute(query)
writer = csv.writer(sys.stdout)
writer.writerow(column[0] for column in result.description)
writer.writerows(result.fetchall())
