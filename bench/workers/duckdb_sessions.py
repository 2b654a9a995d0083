"""The sessions of all events so far, in DuckDB: the distance to the user's previous event, then a running count of the starts.

Variants: `recompute` makes all sessions again with each batch. `touched` makes those of the users who have events in the
batch, and copies the others.
"""

from datasets import Datasets
from step import Step

TIMEOUT_SECONDS = 1800
COLUMNS = ["page", "event_type", "device"]


def main() -> None:
    step = Step.from_arguments()
    datasets = Datasets(step)
    datasets.land(", ".join(["user_id", "timestamp", *COLUMNS]))
    landed = datasets.all("landing")
    if step.batch == 1 or step.variant == "recompute":
        datasets.write("sessions", _sessions(f"{landed}", datasets.now))
    else:
        datasets.execute("CREATE TEMP TABLE touched AS SELECT DISTINCT user_id FROM source")
        again = _sessions(f"(FROM {landed} SEMI JOIN touched USING (user_id))", datasets.now)
        others = f"FROM {datasets.of('sessions', step.batch - 1)} ANTI JOIN touched USING (user_id)"
        datasets.write("sessions", f"{again} UNION ALL ({others})")
    datasets.finish()


def _sessions(events: str, now: str) -> str:
    # Values that are NULL count as first and last ones too.
    ends = ", ".join(f"arg_min_null({c}, timestamp) AS first_{c}, arg_max_null({c}, timestamp) AS last_{c}" for c in COLUMNS)
    return f"""
        SELECT user_id || '_' || number AS session_id, user_id, min(timestamp) AS start_time, max(timestamp) AS end_time,
            (epoch_us(end_time) - epoch_us(start_time)) / 1e6 AS duration_seconds, count(*) AS event_count, {ends},
            max(xt_batch_id) AS xt_batch_id, {now} AS xt_processed_at
        FROM (
            SELECT *, count(*) FILTER (starts) OVER (by_time ROWS UNBOUNDED PRECEDING) AS number
            FROM (
                SELECT *, coalesce(timestamp > lag(timestamp) OVER by_time + INTERVAL {TIMEOUT_SECONDS} SECOND, true) AS starts
                FROM {events} WINDOW by_time AS (PARTITION BY user_id ORDER BY timestamp)
            ) WINDOW by_time AS (PARTITION BY user_id ORDER BY timestamp)
        ) GROUP BY user_id, number"""


main()
