{{ part("sql/head", flow) -}}
--
-- Derives a batch whose rows were landed in {{ flow.landing.name }}, in one transaction:
--
--   sqlite3 -bail shop.sqlite ".parameter set :batch_id 2" ".read {{ flow.id }}/batch.sql"
--
-- .parameter set :processed_at "'2024-01-02T00:00:00.000000Z'" is the execution time to record; else the one recorded before, else now.
-- .parameter set :accept_guards 1 lets the batch through its guards.
{% if flow.late == "again" %}
-- The last query lists the later batches: run the script for each of them, ascending, with :accept_guards 1.
{% endif %}
.bail on
.parameter init
BEGIN IMMEDIATE;
INSERT OR IGNORE INTO temp.sqlite_parameters (key, value) VALUES (':accept_guards', 0);
INSERT OR REPLACE INTO temp.sqlite_parameters (key, value)
SELECT ':previous_batch_id', COALESCE(MAX(batch_id), 0) FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id < :batch_id;
INSERT OR REPLACE INTO temp.sqlite_parameters (key, value)
SELECT ':processed_at', COALESCE(:processed_at, MAX(processed_at), STRFTIME('%Y-%m-%dT%H:%M:%f000Z', 'now'))
FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id = :batch_id;

-- rule: the batch is given
{{ part("sql/sqlite/refuse_if", {"rule": "the batch is given: .parameter set :batch_id N", "count": "SELECT :batch_id IS NULL"}) }}

INSERT INTO {{ flow.batches }} (flow, batch_id, processed_at)
VALUES ({{ flow.id | literal }}, :batch_id, :processed_at)
ON CONFLICT (flow, batch_id) DO UPDATE SET processed_at = excluded.processed_at;
{% if flow.late == "refuse" %}

-- rule: batches come in order, as `late_batches` is `reject`
{{ part("sql/sqlite/refuse_if", {"rule": "no later batch is derived already", "count": "SELECT COUNT(*) FROM " ~ flow.batches ~ " WHERE flow = " ~ (flow.id | literal) ~ " AND batch_id > :batch_id"}) }}
{%- endif %}
{% if flow.times_rise %}

-- rule: execution times rise with the batches
{% set count %}
SELECT
  COUNT(*)
FROM
  {{ flow.batches }} AS this
  JOIN {{ flow.batches }} AS other ON this.flow = other.flow
WHERE
  this.flow = {{ flow.id | literal }} AND this.batch_id = :batch_id
  AND ((other.batch_id < this.batch_id AND other.processed_at >= this.processed_at)
    OR (other.batch_id > this.batch_id AND other.processed_at <= this.processed_at))
{%- endset %}
{{ part("sql/sqlite/refuse_if", {"rule": "the execution time stands between those of the batches before and after", "count": count}) }}
{%- endif %}
{% for check in flow.landed %}
{{ part("sql/sqlite/judge", check) }}
{%- endfor %}
{% for task in flow.tasks %}

-- {{ task.target }}: {{ task.about | comment }}; {{ task.mode }}
{%- for check in task.before %}
{{ part("sql/sqlite/judge", check) }}
{%- endfor %}
{% for statement in task.statements %}

{{ statement }};
{% endfor %}
{% for check in task.after %}
{{ part("sql/sqlite/judge", check) }}
{%- endfor %}
{% endfor %}

COMMIT;
-- The next batch must not take these values for its own.
DELETE FROM temp.sqlite_parameters WHERE key IN (':processed_at', ':accept_guards');
{% if flow.late == "again" %}

SELECT batch_id AS batches_to_derive_again FROM {{ flow.batches }} WHERE flow = {{ flow.id | literal }} AND batch_id > :batch_id ORDER BY 1;
{% endif %}
