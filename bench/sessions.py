#!/usr/bin/env python3
"""Measures sessionization: many events at once, then a late batch with a few more for users and times all over.

Hand-written DuckDB makes all sessions again for the late batch, or those of the touched users and copies the others.
"""

import argparse

import options
from benchmark import COPY, Benchmark, main
from engines import Engine
from run import Question

FLOW = """\
id = "visits"
name = "Visits"
flow_type = "sessionization"

[input]
columns = [
    { name = "user_id", schema_type = "integer" },
    { name = "timestamp", schema_type = "timestamp" },
    { name = "page", schema_type = "string" },
    { name = "event_type", schema_type = "string" },
    { name = "device", schema_type = "string" },
]

[properties]
session_timeout_seconds = 1800
"""

# Durations are summed as whole microseconds, since a sum of floats depends on its order.
QUESTIONS = [
    Question("totals", """\
        SELECT count(*) AS sessions, sum(event_count) AS events, min(event_count) AS fewest, max(event_count) AS most,
            sum(user_id) AS sum_user, sum(CAST(round(duration_seconds * 1000000) AS BIGINT)) AS sum_duration,
            min(duration_seconds) AS shortest, max(duration_seconds) AS longest, min(start_time) AS first_start,
            max(start_time) AS last_start, min(end_time) AS first_end, max(end_time) AS last_end,
            min(session_id) AS least_id, max(session_id) AS greatest_id, sum(length(session_id)) AS sum_id,
            sum(length(first_page)) AS sum_first_page, sum(length(last_page)) AS sum_last_page
        FROM {sessions}""", ["sessions"]),
    Question("ends", """\
        SELECT xt_batch_id, first_event_type, last_event_type, first_device, last_device,
            count(*) AS sessions, sum(event_count) AS events, sum(user_id) AS sum_user
        FROM {sessions} GROUP BY xt_batch_id, first_event_type, last_event_type, first_device, last_device""", ["sessions"]),
]

DUCKDB = ["duckdb-recompute", "duckdb-touched"]


def engines(args: argparse.Namespace) -> dict[str, Engine]:
    return {
        COPY: options.worker(args, COPY, "copy_floor.py"),
        **{name: options.worker(args, name, "duckdb_sessions.py", name.removeprefix("duckdb-")) for name in DUCKDB},
        "qetl": options.qetl(args, "visits", FLOW, {"sessions": "visits_sessions"}),
    }


if __name__ == "__main__":
    main(Benchmark(
        about=__doc__,
        generator="generate_sessions.py",
        sizes={"events": 50_000_000, "users": 2_000_000, "late_one_in": 1000, "files": 4, "seed": 1},
        quick={"events": 200_000, "users": 8_000, "late_one_in": 1000, "files": 4, "seed": 1},
        titles=["the events of 30 days", "late events"],
        runs={"sessions": engines},
        questions=QUESTIONS,
        duckdb=DUCKDB,
    ))
