"""A delta batch in DuckDB: the change feed of its keys and the transactions of a ledger.

Variants: `reverse_replay` and `delta_correction`. The measure is `amount`, `note` an attribute; batches delete nothing.
"""

from datasets import Datasets
from step import Step

COLUMNS = ["id", "account", "region", "amount", "note"]
PAYLOAD = COLUMNS[1:]
DIMENSIONS = ["account", "region"]


def main() -> None:
    step = Step.from_arguments()
    datasets = Datasets(step)
    datasets.land(", ".join(COLUMNS))
    if step.batch == 1:
        rows = ", ".join(COLUMNS)
        datasets.execute(f"CREATE TEMP VIEW compared AS SELECT {rows}, 'NEW' AS record_type, NULL::VARCHAR AS changed_columns FROM source")
        ledger = [_transaction("INITIAL_BOOKING", "amount", step.batch, "record_type = 'NEW'")]
    else:
        for statement in _preparations(datasets):
            datasets.execute(statement)
        ledger = _transactions(step)
    datasets.write("feed", f"""
        SELECT {', '.join(COLUMNS)}, {step.batch}::BIGINT AS xt_batch_id, record_type AS xt_record_type,
            changed_columns AS xt_changed_columns, {datasets.now} AS xt_processed_at FROM compared""")
    rows = " UNION ALL ".join(ledger)
    datasets.write("ledger", f"SELECT *, {step.batch}::BIGINT AS xt_batch_id, {datasets.now} AS xt_processed_at FROM ({rows})")
    datasets.finish()


def _preparations(datasets: Datasets) -> list[str]:
    """The batch's keys with their last state, and for those that changed the booking that is open."""
    def each(form: str) -> str:
        return ", ".join(form.format(c) for c in PAYLOAD)

    state = f"""
        CREATE TEMP TABLE state AS SELECT {', '.join(COLUMNS)} FROM {datasets.all('feed')} SEMI JOIN source USING (id)
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY xt_batch_id DESC) = 1"""
    names = each("CASE WHEN l.{0} IS DISTINCT FROM s.{0} THEN '{0}' END")
    compared = f"""
        CREATE TEMP TABLE compared AS
        SELECT l.id, {each('l.{0}')}, {each('s.{0} AS old_{0}')},
            CASE WHEN s.id IS NOT NULL THEN nullif(concat_ws(',', {names}), '') END AS changed_columns,
            CASE WHEN s.id IS NULL THEN 'NEW' WHEN changed_columns IS NULL THEN 'STALE' ELSE 'CHANGED' END AS record_type
        FROM source l LEFT JOIN state s ON l.id = s.id"""
    bookings = f"""
        CREATE TEMP TABLE bookings AS
        SELECT id, arg_max(xt_transaction_id, xt_batch_id) AS booking
        FROM {datasets.all('ledger')} SEMI JOIN (SELECT id FROM compared WHERE record_type = 'CHANGED') USING (id)
        WHERE xt_transaction_type = 'INITIAL_BOOKING' GROUP BY id"""
    changes = """
        CREATE TEMP VIEW changes AS SELECT * FROM compared JOIN bookings USING (id) WHERE record_type = 'CHANGED'"""
    return [state, compared, bookings, changes]


def _transactions(step: Step) -> list[str]:
    moved = " OR ".join(f"{c} IS DISTINCT FROM old_{c}" for c in DIMENSIONS)
    other_amount = "amount IS DISTINCT FROM old_amount"
    rows = [_transaction("INITIAL_BOOKING", "amount", step.batch, "record_type = 'NEW'")]
    if step.variant == "reverse_replay":
        booked_anew = f"{moved} OR {other_amount}"
    else:
        booked_anew = moved
        difference = "coalesce(amount, 0) - coalesce(old_amount, 0)"
        rows.append(_transaction("DELTA_CORRECTION", difference, step.batch, f"NOT ({moved}) AND {other_amount}", "changes"))
    rows.append(_transaction("INITIAL_BOOKING", "amount", step.batch, booked_anew, "changes"))
    rows.append(_transaction("REVERSAL", "-old_amount", step.batch, booked_anew, "changes"))
    return rows


def _transaction(kind: str, amount: str, batch: int, condition: str, rows: str = "compared") -> str:
    """A REVERSAL has the old values, the others have the new ones; an INITIAL_BOOKING refers to nothing."""
    old = "old_" if kind == "REVERSAL" else ""
    leg = {"INITIAL_BOOKING": "B", "REVERSAL": "R", "DELTA_CORRECTION": "D"}[kind]
    referred = "NULL::VARCHAR" if kind == "INITIAL_BOOKING" else "booking"
    return f"""
        SELECT id, {old}account AS account, {old}region AS region, ({amount})::DECIMAL(38, 2) AS amount, {old}note AS note,
            id || '#{batch}#{leg}' AS xt_transaction_id, '{kind}' AS xt_transaction_type, {referred} AS xt_referred_transaction_id
        FROM {rows} WHERE {condition}"""


main()
