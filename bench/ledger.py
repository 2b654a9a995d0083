#!/usr/bin/env python3
"""Measures a ledger: all keys in batch 1, then a delta batch of corrections; with either method."""

import argparse
from functools import partial

import options
from benchmark import COPY, Benchmark, main
from engines import Engine
from run import Question

FLOW = """\
id = "bookings"
name = "Bookings"
flow_type = "delta_publishing"

[input]
primary_key = ["id"]
columns = [
    {{ name = "id", schema_type = "integer" }},
    {{ name = "account", schema_type = "string" }},
    {{ name = "region", schema_type = "string" }},
    {{ name = "amount", schema_type = "decimal(18,2)" }},
    {{ name = "note", schema_type = "string" }},
]
batch_mode = "delta"

[properties]
DELTA_METHOD = "{method}"
measure_columns = ["amount"]
attribute_columns = ["note"]
"""

METHODS = ["REVERSE_REPLAY", "DELTA_CORRECTION"]
QETL_DATASETS = {"feed": "bookings_change_feed", "ledger": "bookings_delta_transaction"}
QUESTIONS = [
    Question("feed", """\
        SELECT xt_record_type, xt_changed_columns, count(*) AS row_count, sum(id) AS sum_id, sum(amount) AS sum_amount,
            sum(length(note)) AS sum_note
        FROM {feed} WHERE xt_batch_id = {batch} GROUP BY xt_record_type, xt_changed_columns""", ["feed"]),
    Question("ledger", """\
        SELECT xt_transaction_type, region, count(*) AS row_count, count(amount) AS amounts, sum(amount) AS sum_amount, sum(id) AS sum_id,
            min(xt_transaction_id) AS least_id, max(xt_transaction_id) AS greatest_id, sum(length(xt_transaction_id)) AS sum_length,
            count(xt_referred_transaction_id) AS referring, min(xt_referred_transaction_id) AS least_referred,
            max(xt_referred_transaction_id) AS greatest_referred, sum(length(account)) AS sum_account, sum(length(note)) AS sum_note
        FROM {ledger} WHERE xt_batch_id = {batch} GROUP BY xt_transaction_type, region""", ["ledger"]),
]


def engines(method: str, args: argparse.Namespace) -> dict[str, Engine]:
    return {
        COPY: options.worker(args, COPY, "copy_floor.py"),
        "duckdb": options.worker(args, "duckdb", "duckdb_ledger.py", method.lower()),
        "qetl": options.qetl(args, "bookings", FLOW.format(method=method), QETL_DATASETS),
    }


if __name__ == "__main__":
    main(Benchmark(
        about=__doc__,
        generator="generate_ledger.py",
        sizes={"keys": 10_000_000, "corrected_one_in": 10, "seed": 1},
        quick={"keys": 200_000, "corrected_one_in": 10, "seed": 1},
        titles=["all keys", "corrections"],
        runs={method: partial(engines, method) for method in METHODS},
        questions=QUESTIONS,
        duckdb=["duckdb"],
    ))
