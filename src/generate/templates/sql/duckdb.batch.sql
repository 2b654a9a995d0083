{{ part("sql/head", flow) -}}
--
-- Derives a batch whose rows were landed in {{ flow.landing.name }}, in one transaction:
--
--   duckdb shop.duckdb -bail -cmd "SET VARIABLE batch_id = 2" -f {{ flow.id }}/batch.sql
--
-- SET VARIABLE processed_at = '2024-01-02T00:00:00Z' is the execution time to record; else the one recorded before, else now.
-- SET VARIABLE accept_guards = 1 lets the batch through its guards.
{% if flow.late == "again" %}
-- The last query lists the later batches: run the script for each of them, ascending, with accept_guards = 1.
{% endif %}
BEGIN;
SET VARIABLE accept_guards = COALESCE(CAST(GETVARIABLE('accept_guards') AS BIGINT), 0);
SET VARIABLE previous_batch_id = (
  SELECT COALESCE(MAX(batch_id), 0) FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id < GETVARIABLE('batch_id')
);
SET VARIABLE processed_at = (
  SELECT COALESCE(CAST(GETVARIABLE('processed_at') AS TIMESTAMP WITH TIME ZONE), MAX(processed_at), now())
  FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id = GETVARIABLE('batch_id')
);
SELECT ERROR('give the batch: SET VARIABLE batch_id = …') WHERE GETVARIABLE('batch_id') IS NULL;

INSERT INTO {{ flow.batches }} (flow, batch_id, processed_at)
VALUES ({{ flow.id | literal }}, GETVARIABLE('batch_id'), GETVARIABLE('processed_at'))
ON CONFLICT (flow, batch_id) DO UPDATE SET processed_at = excluded.processed_at;
{% if flow.late == "refuse" %}

-- rule: batches come in order
SELECT ERROR('refused: a later batch is derived already, and `late_batches` is `reject`')
FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id > GETVARIABLE('batch_id') LIMIT 1;
{% endif %}
{% if flow.times_rise %}

-- rule: execution times rise with the batches
SELECT ERROR('refused: the execution time does not stand between those of the batches before and after')
FROM {{ flow.batches }} AS this JOIN {{ flow.batches }} AS other ON this.flow = other.flow
WHERE this.flow = {{ flow.id | literal }} AND this.batch_id = GETVARIABLE('batch_id')
  AND ((other.batch_id < this.batch_id AND other.processed_at >= this.processed_at)
    OR (other.batch_id > this.batch_id AND other.processed_at <= this.processed_at))
LIMIT 1;
{% endif %}
{% for check in flow.landed %}
{{ part("sql/duckdb/judge", check) }}
{%- endfor %}
{% for task in flow.tasks %}

-- {{ task.target }}: {{ task.about | comment }}; {{ task.mode }}
{%- for check in task.before %}
{{ part("sql/duckdb/judge", check) }}
{%- endfor %}
{% for statement in task.statements %}

{{ statement }};
{% endfor %}
{% for check in task.after %}
{{ part("sql/duckdb/judge", check) }}
{%- endfor %}
{% endfor %}

COMMIT;
-- The next batch must not take these values for its own.
RESET VARIABLE processed_at;
RESET VARIABLE accept_guards;
{% if flow.late == "again" %}

SELECT batch_id AS batches_to_derive_again FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id > GETVARIABLE('batch_id') ORDER BY 1;
{% endif %}
