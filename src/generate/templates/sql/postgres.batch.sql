{{ part("sql/head", flow) -}}
--
-- Derives a batch whose rows were landed in {{ flow.landing.name }}, in one transaction:
--
--   psql -v batch_id=2 -f {{ flow.id }}/batch.sql DATABASE
--
-- -v processed_at=2024-01-02T00:00:00Z is the execution time to record; else the one recorded before, else now.
-- -v accept_guards=1 lets the batch through its guards.
{% if flow.late == "again" %}
-- The last query lists the later batches: run the script for each of them, ascending, with accept_guards=1.
{% endif %}
\set ON_ERROR_STOP on
\set QUIET on
\if :{?processed_at} \else \set processed_at '' \endif
\if :{?accept_guards} \else \set accept_guards 0 \endif
SET client_min_messages = warning;
BEGIN;
-- One run of the flow at a time.
SELECT pg_advisory_xact_lock(hashtext({{ ("qetl " ~ flow.id) | literal }})) \gset
SELECT
  set_config('qetl.batch_id', CAST(CAST(:'batch_id' AS BIGINT) AS TEXT), true),
  set_config('qetl.accept_guards', CAST(CAST(:'accept_guards' AS BIGINT) AS TEXT), true) \gset
SELECT
  set_config('qetl.previous_batch_id', CAST(COALESCE(MAX(batch_id), 0) AS TEXT), true)
FROM
  {{ flow.batches }}
WHERE
  flow = {{ flow.id | literal }} AND batch_id < CAST(:'batch_id' AS BIGINT) \gset
SELECT
  set_config('qetl.processed_at', TO_CHAR(
    COALESCE(CAST(NULLIF(:'processed_at', '') AS TIMESTAMP WITH TIME ZONE), MAX(processed_at), now()) AT TIME ZONE 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
  ), true)
FROM
  {{ flow.batches }}
WHERE
  flow = {{ flow.id | literal }} AND batch_id = CAST(:'batch_id' AS BIGINT) \gset

INSERT INTO {{ flow.batches }} (flow, batch_id, processed_at)
VALUES ({{ flow.id | literal }}, CAST(CURRENT_SETTING('qetl.batch_id') AS BIGINT), CAST(CURRENT_SETTING('qetl.processed_at') AS TIMESTAMP WITH TIME ZONE))
ON CONFLICT (flow, batch_id) DO UPDATE SET processed_at = excluded.processed_at;
{% if flow.late == "refuse" %}

-- rule: batches come in order
DO $qetl$
BEGIN
  IF EXISTS (SELECT 1 FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id > CAST(CURRENT_SETTING('qetl.batch_id') AS BIGINT)) THEN
    RAISE EXCEPTION USING MESSAGE = 'refused: a later batch is derived already, and `late_batches` is `reject`';
  END IF;
END
$qetl$;
{% endif %}
{% if flow.times_rise %}

-- rule: execution times rise with the batches
DO $qetl$
BEGIN
  IF EXISTS (
    SELECT 1 FROM {{ flow.batches }} AS this JOIN {{ flow.batches }} AS other ON this.flow = other.flow
    WHERE this.flow = {{ flow.id | literal }} AND this.batch_id = CAST(CURRENT_SETTING('qetl.batch_id') AS BIGINT)
      AND ((other.batch_id < this.batch_id AND other.processed_at >= this.processed_at)
        OR (other.batch_id > this.batch_id AND other.processed_at <= this.processed_at))
  ) THEN
    RAISE EXCEPTION USING MESSAGE = 'refused: the execution time does not stand between those of the batches before and after';
  END IF;
END
$qetl$;
{% endif %}

-- what the planner knows of the rows that were landed
ANALYZE {{ flow.landing.name }};
{% for check in flow.landed %}
{{ part("sql/postgres/judge", check) }}
{%- endfor %}
{% for task in flow.tasks %}

-- {{ task.target }}: {{ task.about | comment }}; {{ task.mode }}
{%- for check in task.before %}
{{ part("sql/postgres/judge", check) }}
{%- endfor %}
{% for statement in task.statements %}

{{ statement }};
{% endfor %}
{% for check in task.after %}
{{ part("sql/postgres/judge", check) }}
{%- endfor %}
{% endfor %}

COMMIT;
{% if flow.late == "again" %}

SELECT batch_id AS batches_to_derive_again FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id > CAST(:'batch_id' AS BIGINT) ORDER BY 1;
{% endif %}
