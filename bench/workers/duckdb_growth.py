"""Growth accounting by days over all events so far, in DuckDB.

Variants: `recompute` finds out from all events who was active on which day. `merge` adds the batch's events to what the
batch before found out. Everything else is made from that in both.
"""

from datasets import Datasets
from step import Step

THRESHOLD_DAYS = 30


def main() -> None:
    step = Step.from_arguments()
    datasets = Datasets(step)
    datasets.land("user_id, timestamp, event_type")
    if step.batch == 1 or step.variant == "recompute":
        datasets.write("activity_periods", _activity(datasets.all("landing")))
    else:
        datasets.execute(f"CREATE TEMP TABLE added AS {_activity('source')}")
        datasets.write("activity_periods", _merged(datasets.of("activity_periods", step.batch - 1)))
    active = datasets.of("activity_periods")

    datasets.write("acquisitions", f"""
        SELECT min(period) AS period, user_id, min(first_activity_at) AS first_activity_at FROM {active} GROUP BY user_id""")
    datasets.execute(f"""
        CREATE TEMP TABLE absences AS
        SELECT user_id, period AS last_activity_date, period + {THRESHOLD_DAYS} AS churn_date, return_date
        FROM (SELECT user_id, period, lead(period) OVER (PARTITION BY user_id ORDER BY period) AS return_date FROM {active})
        WHERE coalesce(return_date > churn_date, churn_date <= (SELECT max(period) FROM {active}))""")
    datasets.write("churn", "SELECT churn_date AS period, user_id, last_activity_date, churn_date FROM absences")
    datasets.write("resurrections", """
        SELECT return_date AS period, user_id, churn_date, return_date, return_date - last_activity_date AS days_inactive
        FROM absences WHERE return_date IS NOT NULL""")
    datasets.write("growth_summary", _summary(datasets))
    datasets.finish()


def _activity(events: str) -> str:
    return f"""
        SELECT user_id, timestamp::DATE AS period, count(*) AS activity_count,
            min(timestamp) AS first_activity_at, max(timestamp) AS last_activity_at
        FROM {events} GROUP BY user_id, timestamp::DATE"""


def _merged(before: str) -> str:
    return f"""
        SELECT * FROM {before} ANTI JOIN added USING (user_id, period)
        UNION ALL
        SELECT user_id, period, sum(activity_count)::BIGINT, min(first_activity_at), max(last_activity_at)
        FROM (SELECT * FROM added UNION ALL (SELECT * FROM {before} SEMI JOIN added USING (user_id, period)))
        GROUP BY user_id, period"""


def _summary(datasets: Datasets) -> str:
    def counts(dataset: str, name: str) -> str:
        return f"(SELECT period, count(*) AS {name} FROM {datasets.of(dataset)} GROUP BY period)"

    return f"""
        WITH active AS {counts("activity_periods", "active_users")},
        periods AS (
            SELECT unnest(generate_series(min(period), max(period), INTERVAL 1 DAY))::DATE AS period FROM active
        ),
        counted AS (
            SELECT period, coalesce(acquisitions, 0) AS acquisitions, coalesce(churn, 0) AS churn,
                coalesce(resurrections, 0) AS resurrections, coalesce(active_users, 0) AS active_users
            FROM periods
            LEFT JOIN {counts("acquisitions", "acquisitions")} USING (period)
            LEFT JOIN {counts("churn", "churn")} USING (period)
            LEFT JOIN {counts("resurrections", "resurrections")} USING (period)
            LEFT JOIN active USING (period)
        )
        SELECT period, acquisitions, churn, resurrections, acquisitions - churn + resurrections AS net_growth, active_users,
            (sum(net_growth) OVER (ORDER BY period))::BIGINT AS user_base, true AS is_final
        FROM counted ORDER BY period"""


main()
