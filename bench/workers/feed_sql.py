"""A change feed as a person would write it in DuckDB's SQL, in three variants.

The statements read two views: `source`, the batch, and `state`, the last known row of every key before the batch
with `xt_deleted`. Variants: `join` compares all columns in one full outer join. `stored_hash` joins key and row hash
alone, the state's hash being stored in its feed, and fetches the old values of the few differing keys afterwards.
`computed_hash` is the same with the state's hash computed anew, so that the feed stays smaller.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

VARIANTS = ["join", "stored_hash", "computed_hash"]


@dataclass(frozen=True)
class FeedSql:
    columns: list[str]  # the key `id` first
    batch: int
    at: datetime
    variant: str

    @cached_property
    def payload(self) -> list[str]:
        return self.columns[1:]

    @cached_property
    def state_columns(self) -> str:
        """What a state row consists of, besides being deleted or not."""
        return ", ".join(self.columns + (["xt_row_hash"] if self.variant == "stored_hash" else []))

    def landing(self, source_file: str) -> str:
        return (
            f"SELECT {', '.join(self.columns)}, {self.batch}::BIGINT AS xt_batch_id, {self._now} AS xt_loaded_at, "
            f"'{source_file}' AS xt_source_file, file_row_number + 1 AS xt_row_number FROM source"
        )

    def preparations(self) -> list[str]:
        """Temporary tables that `feed` reads: the keys that are not STALE, then those with their old values."""
        if self.variant == "join" or self.batch == 1:
            return []
        hash_in_state = "xt_row_hash" if self.variant == "stored_hash" else self._hash()
        differing = f"""
            CREATE TEMP TABLE differing AS
            SELECT coalesce(l.id, s.id) AS id, {self._record_type("l.row_hash <> s.row_hash")} AS xt_record_type
            FROM (SELECT id, {self._hash()} AS row_hash FROM source) l
            FULL JOIN (SELECT id, {hash_in_state} AS row_hash, xt_deleted FROM state) s ON l.id = s.id
            WHERE {_HAS_ROW} AND xt_record_type <> 'STALE'"""
        old = f"""
            CREATE TEMP TABLE old AS
            SELECT d.id, d.xt_record_type, {_list("s.{}", self.payload)}
            FROM differing d LEFT JOIN state s ON d.id = s.id"""
        return [differing, old]

    def feed(self) -> str:
        if self.batch == 1:
            return self._rows(self.columns, "'NEW'", "NULL::VARCHAR", "source")
        return self._feed_by_join() if self.variant == "join" else self._feed_by_hash()

    def tombstones(self, feed: str) -> str:
        """The keys deleted before this batch that are still absent; `feed` is this batch's."""
        returned = f"SELECT id FROM {feed} WHERE xt_batch_id = {self.batch} AND xt_record_type = 'REACTIVATED'"
        return f"SELECT {self.state_columns} FROM state WHERE xt_deleted AND id NOT IN ({returned})"

    def _feed_by_join(self) -> str:
        differs = " OR ".join(f"l.{c} IS DISTINCT FROM s.{c}" for c in self.payload)
        joined = f"""
            SELECT {_list("CASE WHEN l.id IS NULL THEN s.{0} ELSE l.{0} END AS {0}", self.columns)},
                {self._record_type(differs)} AS record_type,
                CASE WHEN record_type IN ('CHANGED', 'REACTIVATED') THEN {self._changed_columns} END AS changed_columns
            FROM source l FULL JOIN state s ON l.id = s.id WHERE {_HAS_ROW}"""
        return self._rows(self.columns, "record_type", "changed_columns", f"({joined})")

    def _feed_by_hash(self) -> str:
        changed = f"CASE WHEN s.xt_record_type IN ('CHANGED', 'REACTIVATED') THEN {self._changed_columns} END"
        present = self._rows([f"l.{c}" for c in self.columns], "coalesce(s.xt_record_type, 'STALE')", changed,
                             "source l LEFT JOIN old s ON l.id = s.id")
        deleted = self._rows(self.columns, "xt_record_type", "NULL", "old WHERE xt_record_type = 'DELETED'")
        return f"{present} UNION ALL {deleted}"

    def _rows(self, values: list[str], record_type: str, changed_columns: str, rows: str) -> str:
        """Feed rows with their system columns."""
        row_hash = f", {self._hash(values[1:])} AS xt_row_hash" if self.variant == "stored_hash" else ""
        return (
            f"SELECT {', '.join(values)}{row_hash}, {self.batch}::BIGINT AS xt_batch_id, {record_type} AS xt_record_type, "
            f"{changed_columns} AS xt_changed_columns, {self._now} AS xt_processed_at FROM {rows}"
        )

    def _record_type(self, differs: str) -> str:
        return (
            "CASE WHEN s.id IS NULL THEN 'NEW' WHEN l.id IS NULL THEN 'DELETED' WHEN s.xt_deleted THEN 'REACTIVATED' "
            f"WHEN {differs} THEN 'CHANGED' ELSE 'STALE' END"
        )

    @property
    def _changed_columns(self) -> str:
        names = _list("CASE WHEN l.{0} IS DISTINCT FROM s.{0} THEN '{0}' END", self.payload)
        return f"nullif(concat_ws(',', {names}), '')"

    def _hash(self, values: list[str] | None = None) -> str:
        return f"hash({', '.join(values or self.payload)})"

    @property
    def _now(self) -> str:
        return f"TIMESTAMPTZ '{self.at.isoformat()}'"


# A key that was deleted and is still absent has no feed row.
_HAS_ROW = "(l.id IS NOT NULL OR NOT s.xt_deleted)"


def _list(form: str, columns: list[str]) -> str:
    return ", ".join(form.format(c) for c in columns)
