#!/usr/bin/env python3
"""Measures growth accounting by days: the events of a year, then those of one more day.

Hand-written DuckDB finds out from all events again who was active on which day, or adds the new ones to what it knows.
"""

import argparse

import options
from benchmark import COPY, Benchmark, main
from engines import Engine
from run import Question

FLOW = """\
id = "app"
name = "Growth of the app"
flow_type = "growth_accounting"

[input]
columns = [
    { name = "user_id", schema_type = "integer" },
    { name = "timestamp", schema_type = "timestamp" },
    { name = "event_type", schema_type = "string" },
]

[properties]
user_id_column = "user_id"
timestamp_column = "timestamp"
period_type = "daily"
churn_threshold_days = 30
"""

DATASETS = ["activity_periods", "acquisitions", "churn", "resurrections", "growth_summary"]
QUESTIONS = [
    Question("growth_summary", """\
        SELECT period, acquisitions, churn, resurrections, net_growth, active_users, user_base, is_final
        FROM {growth_summary}""", ["growth_summary"]),
    Question("activity_periods", """\
        SELECT period, count(*) AS row_count, sum(user_id) AS sum_user, sum(activity_count) AS activities,
            min(first_activity_at) AS first_at, max(last_activity_at) AS last_at, max(first_activity_at) AS latest_first
        FROM {activity_periods} GROUP BY period""", ["activity_periods"]),
    Question("acquisitions", """\
        SELECT period, count(*) AS row_count, sum(user_id) AS sum_user,
            min(first_activity_at) AS first_at, max(first_activity_at) AS last_at
        FROM {acquisitions} GROUP BY period""", ["acquisitions"]),
    Question("churn", """\
        SELECT period, churn_date, last_activity_date, count(*) AS row_count, sum(user_id) AS sum_user
        FROM {churn} GROUP BY period, churn_date, last_activity_date""", ["churn"]),
    Question("resurrections", """\
        SELECT period, return_date, count(*) AS row_count, sum(user_id) AS sum_user, sum(days_inactive) AS sum_days,
            min(churn_date) AS first_churn, max(churn_date) AS last_churn
        FROM {resurrections} GROUP BY period, return_date""", ["resurrections"]),
]

DUCKDB = ["duckdb-recompute", "duckdb-merge"]


def engines(args: argparse.Namespace) -> dict[str, Engine]:
    return {
        COPY: options.worker(args, COPY, "copy_floor.py"),
        **{name: options.worker(args, name, "duckdb_growth.py", name.removeprefix("duckdb-")) for name in DUCKDB},
        "qetl": options.qetl(args, "app", FLOW, {name: f"app_{name}" for name in DATASETS}),
    }


if __name__ == "__main__":
    main(Benchmark(
        about=__doc__,
        generator="generate_growth.py",
        sizes={"events": 100_000_000, "users": 10_000_000, "days": 365, "files": 4, "seed": 1},
        quick={"events": 200_000, "users": 20_000, "days": 365, "files": 4, "seed": 1},
        titles=["the events of all days but the last", "one more day"],
        runs={"datasets": engines},
        questions=QUESTIONS,
        duckdb=DUCKDB,
    ))
